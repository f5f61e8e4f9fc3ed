"""The batch's book-keeping, against a plain Python count."""

import dataclasses

import numpy as np
import pytest

from cumulant.envs import lookup
from cumulant.envs.batched import Batch, BatchVectorEnv, EpisodeLog, SingleEnv
from cumulant.errors import ConfigError
from cumulant.reward import Reward, Term


def rewarded_bandit():
    """A native environment whose reward is computed from outcome columns, in two terms."""
    terms = (Term("good", 2.0, lambda o: o["optimal"]), Term("loss", -1.0, lambda o: o["regret"]))
    return dataclasses.replace(lookup.build("bandit-gaussian", {}), reward=Reward("two", terms))


@pytest.mark.parametrize("name", ["cartpole", "garnet", "probe-discount", "rewarded"])
def test_episode_log_counts_returns_lengths_and_columns(name):
    kernel = rewarded_bandit() if name == "rewarded" else lookup.build(name, {})
    batch, rng = Batch(kernel, 5, seed=1), np.random.default_rng(0)
    episodes: list[list[np.ndarray]] = [[] for _ in range(5)]
    expected = []
    for _ in range(260):
        batch.step(rng.integers(0, kernel.action_space.n, 5))
        for i in range(5):
            terms = [] if batch.terms is None else batch.terms[i]
            episodes[i].append(np.array([batch.reward[i], *batch.outcomes[i], *terms], np.float64))
            assert batch.clock[i] == (0 if batch.ended[i] else len(episodes[i]))
            if batch.ended[i]:
                steps = np.array(episodes[i])
                expected.append([steps[:, 0].sum(), len(steps), *steps[:, 1:].mean(axis=0)])
                episodes[i] = []
    summary = batch.episodes.drain()
    assert list(summary) == ["return", "length", *batch.episodes.names]
    assert len(expected) >= 10
    np.testing.assert_allclose(np.stack(list(summary.values()), axis=1), expected, rtol=1e-12)
    assert len(batch.episodes.drain()["return"]) == 0


def test_reward_terms_make_the_reward():
    batch = Batch(rewarded_bandit(), 64)
    batch.step(np.arange(64) % 10)
    optimal, regret = batch.outcomes[:, 1], batch.outcomes[:, 0]
    np.testing.assert_allclose(batch.reward, 2 * optimal - regret, rtol=1e-6)
    assert batch.episodes.names == ("regret", "optimal", "reward_good", "reward_loss")


def test_truncation_is_not_termination():
    """At the last allowed step an episode that terminates is terminated and not truncated."""
    kernel = dataclasses.replace(lookup.build("probe-value", {}), max_steps=1)
    batch = Batch(kernel, 2)
    batch.step(np.zeros(2, np.int64))
    assert batch.terminated.all()
    assert not batch.truncated.any()


def test_restart_gives_up_the_open_episode():
    """What was earned in an episode that was given up is not counted in the next one."""
    batch = Batch(lookup.build("probe-truncation", {}), 2)
    zero = np.zeros(2, np.int64)
    batch.step(zero)
    batch.restart(np.array([True, False]))
    for _ in range(4):
        batch.step(zero)
    assert batch.episodes.drain()["return"].tolist() == [4.0, 4.0]
    assert batch.episode.tolist() == [2, 1]


def test_without_autoreset_the_last_observation_stays():
    batch = Batch(lookup.build("probe-discount", {}), 2, autoreset=False)
    for _ in range(2):
        batch.step(np.zeros(2, np.int64))
    assert batch.ended.all()
    np.testing.assert_array_equal(batch.obs, batch.next_obs)


def test_gymnasium_views_do_not_collect_episodes_for_ever():
    many, one = BatchVectorEnv("probe-value", 3), SingleEnv("probe-value")
    many.reset(seed=0)
    for _ in range(5):
        many.step(np.zeros(3, np.int64))
        one.reset()
        one.step(0)
    assert len(many.batch.episodes.drain()["return"]) == 0
    assert len(one.batch.episodes.drain()["return"]) == 1


def test_episode_log_can_be_used_by_itself():
    log = EpisodeLog(2, ("speed",))
    log.record(np.array([1.0, 2.0]), np.array([[3.0], [5.0]]), np.array([False, False]))
    log.record(np.array([1.0, 2.0]), np.array([[1.0], [9.0]]), np.array([False, True]))
    assert {name: values.tolist() for name, values in log.drain().items()} == {
        "return": [4.0],
        "length": [2.0],
        "speed": [7.0],
    }
    log.record(np.array([1.0, 2.0]), None, np.array([True, False]))
    assert log.drain()["return"].tolist() == [3.0]


def test_no_environments_is_refused():
    with pytest.raises(ConfigError, match="num_envs = 0"):
        Batch(lookup.build("cartpole", {}), 0)
