"""REINFORCE on the analytic probes, with each baseline; and that which episodes count does not depend on how they go."""

import json

import numpy as np
import pytest
import torch

from cumulant.algos.reinforce import Average, Episodes
from cumulant.data.batch import Rollout
from cumulant.engine.policy import Policy
from cumulant.envs import lookup, probes

GAMMA = 0.9
SETTING = {
    "total_steps": 16_384,
    "num_envs": 8,
    "horizon": 8,
    "hidden": (32,),
    "learning_rate": 1e-2,
    "gamma": GAMMA,
    "eval_every_steps": 16_384,
    "eval_episodes": 8,
}
TABLES = [name for name in probes.ENVIRONMENTS if name != "probe-continuous"]
ONLY_ONE = ("probe-value", "probe-action", "probe-truncation")  # the other observation never occurs
DECIDES = ("probe-action", "probe-both")  # elsewhere every action is as good
BASELINES = ("none", "average", "value")


def learn(train_one, name, seed, tabular=False, **fields):
    """Train on a probe; return its options, the observations that occur, their learned values and greedy actions."""
    options = {"tabular": True} if tabular else {}
    policy = Policy.load(
        train_one("reinforce", name, seed, env_options=options, **{**SETTING, **fields}) / "policy", "last"
    )
    obs = np.array([0, 1]) if tabular else np.array([[-1.0], [1.0]], np.float32)
    obs = obs[1:] if name in ONLY_ONE else obs
    with torch.no_grad():
        value = policy.net.value(policy.net.encode(torch.from_numpy(obs))).numpy()
    return lookup.options_class(name)(**options), obs, value, policy.act(obs)


@pytest.mark.parametrize(("tabular", "seed"), [(False, 0), (False, 1), (True, 0)], ids=["box", "box, 1", "discrete"])
@pytest.mark.parametrize("name", TABLES)
def test_the_learned_baseline_is_exact_and_actions_best(train_one, name, tabular, seed):
    probe, obs, value, action = learn(train_one, name, seed, tabular)
    # seen: below 0.004, a truncation taken for an end would be off by 6; where values of 10 follow each other, below 0.08, and
    # a start of the next episode taken for the final observation would be off by 0.4 at least
    atol = 0.2 if name == "probe-cut" else 0.02
    np.testing.assert_allclose(value, probe.exact_value(obs, GAMMA), atol=atol)
    if name in DECIDES:
        np.testing.assert_array_equal(action, probe.best_action(obs))


@pytest.mark.parametrize("baseline", ["none", "average"])
@pytest.mark.parametrize("name", DECIDES)
def test_actions_are_best_without_a_learned_baseline(train_one, name, baseline):
    probe, obs, _, action = learn(train_one, name, 0, baseline=baseline)
    np.testing.assert_array_equal(action, probe.best_action(obs))


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("baseline", BASELINES)
def test_continuous_actions_are_best(train_one, baseline, seed):
    probe, obs, value, action = learn(train_one, "probe-continuous", seed, baseline=baseline, total_steps=49_152)
    np.testing.assert_allclose(action, probe.best_action(obs), atol=0.1)  # seen: 0.012
    if baseline == "value":
        np.testing.assert_allclose(value, probe.exact_value(obs, GAMMA), atol=0.1)  # seen: 0.014, what exploring costs


def test_scaled_advantages_get_there_too(train_one):
    probe, obs, value, action = learn(train_one, "probe-both", 0, normalize_advantage=True, normalize_obs=True)
    np.testing.assert_allclose(value, probe.exact_value(obs, GAMMA), atol=0.1)
    np.testing.assert_array_equal(action, probe.best_action(obs))


def test_without_a_learned_value_what_is_cut_off_counts_as_nothing(train_one):
    run = train_one("reinforce", "probe-truncation", **SETTING, baseline="average")
    row = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])
    cut = np.mean([(1.0 - GAMMA**left) / (1.0 - GAMMA) for left in (1, 2, 3, 4)])
    np.testing.assert_allclose(row["value/average"], cut, rtol=1e-5)


def test_an_episode_that_goes_on_is_cut_and_its_value_bootstrapped(train_one):
    """No end in sight within 16 steps: the learned value of what is cut off still leads to the exact one."""
    run = train_one("reinforce", "probe-truncation", env_options={"max_steps": 10_000}, **SETTING, cut_after=16)
    net = Policy.load(run / "policy", "last").net
    with torch.no_grad():
        value = net.value(torch.tensor([[1.0]]))
    np.testing.assert_allclose(value, 1.0 / (1.0 - GAMMA), atol=0.1)
    assert '"loss/policy"' in (run / "metrics.jsonl").read_text()


# -- which steps count -------------------------------------------------------------------------------------------------------


def rollout(ended):
    """A rollout of which only the ends matter."""
    ended = torch.tensor(np.asarray(ended), dtype=torch.bool)
    zero = torch.zeros(ended.shape)
    return Rollout(*(zero,) * 8, ended, ended)


def test_every_environment_finishes_the_episode_that_it_is_in():
    episodes = Episodes(horizon=2, cut_after=100)
    episodes.parts.append(rollout([[1, 0, 0], [0, 1, 0]]))
    assert episodes.whole() is None
    episodes.parts.append(rollout([[0, 0, 1], [1, 1, 1]]))
    steps, counts = episodes.whole()
    assert steps.ended.shape == (4, 3)
    assert counts.int().tolist() == [[1, 1, 1], [1, 1, 1], [1, 0, 1], [1, 0, 0]]


def test_an_end_at_the_horizon_is_soon_enough():
    episodes = Episodes(horizon=2, cut_after=100)
    episodes.parts.append(rollout([[1, 0], [1, 1]]))
    assert episodes.whole()[1].all()


def test_nobody_waits_for_ever():
    episodes = Episodes(horizon=2, cut_after=4)
    episodes.parts += [rollout([[0, 0], [0, 1]])]
    assert episodes.whole() is None
    episodes.parts += [rollout([[0, 0], [0, 0]])]
    assert episodes.whole()[1].int().tolist() == [[1, 1], [1, 1], [1, 0], [1, 0]]


def test_long_and_short_episodes_count_as_often_as_they_begin():
    """Half of the episodes take 1 step and half take 9; by those that end within a window, most would be short."""
    rng = np.random.default_rng(0)
    short = long = short_within = long_within = 0
    for _ in range(1000):
        episodes = Episodes(horizon=6, cut_after=100)
        lengths = np.where(rng.random((3, 30)) < 0.5, 1, 9)
        ended = np.zeros((36, 3), bool)
        for i, ends in enumerate(lengths.cumsum(1) - 1):
            ended[ends[ends < 36], i] = True
        played = None
        while played is None:
            at = 6 * len(episodes.parts)
            episodes.parts.append(rollout(ended[at : at + 6]))
            played = episodes.whole()
        counts = played[1].numpy()
        for i in range(3):
            ends = np.flatnonzero(ended[:, i])
            counted = np.diff(ends[ends < counts[:, i].sum()], prepend=-1)
            within = np.diff(ends[ends < 6], prepend=-1)
            short, long = short + (counted == 1).sum(), long + (counted == 9).sum()
            short_within, long_within = short_within + (within == 1).sum(), long_within + (within == 9).sum()
    share = short / (short + long)
    assert abs(share - 0.5) < 4 * 0.5 / np.sqrt(short + long)
    assert short_within > 0
    assert long_within == 0


@pytest.mark.parametrize("normalize_obs", [False, True])
def test_what_counts_are_whole_episodes_under_one_policy(train_one, monkeypatch, normalize_obs):
    """The first steps are first steps of episodes, although others were open when the policy changed."""
    seen = []
    whole = Episodes.whole

    def watch(self):
        played = whole(self)
        seen.extend([] if played is None else [played])
        return played

    monkeypatch.setattr(Episodes, "whole", watch)
    fields = {"num_envs": 3, "horizon": 8, "total_steps": 3000, "eval_episodes": 2, "normalize_obs": normalize_obs}
    train_one("reinforce", "CartPole-v1", **fields)
    assert len(seen) > 10
    assert not all(counts.all() for _, counts in seen)
    for steps, counts in seen:
        assert (steps.flat[0].abs() <= 0.05).all()  # CartPole starts there and leaves it
        last = counts.sum(0) - 1
        assert steps.ended[last, torch.arange(3)].all()
        assert (last >= 7).all()


def test_the_average_forgets_and_starts_unbiased():
    average = Average(0.5)
    assert average.value() == 0.0
    average.update(torch.tensor([2.0, 4.0]))
    assert average.value() == 3.0
    average.update(torch.tensor([6.0]))
    np.testing.assert_allclose(average.value(), (0.25 * 3.0 + 0.5 * 6.0) / 0.75)
