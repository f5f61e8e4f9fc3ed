"""The Atari batch on ale_py's vector environment; skipped where the extra is not installed."""

import gymnasium
import numpy as np
import pytest
import torch

from cumulant.engine.atari import AtariVector
from cumulant.engine.vector import make_vector
from cumulant.errors import ConfigError, UsageError

pytest.importorskip("ale_py", reason="needs an extra: pip install 'cumulant[atari]'")

SEEN = ("next_obs", "obs", "reward", "terminated", "truncated", "ended")


def make(game="Pong", num_envs=3, seed=0, training=True, **options):
    return make_vector(f"ALE/{game}-v5", num_envs, seed, options, training=training)


def actions(envs, steps, seed=0):
    return np.random.default_rng(seed).integers(0, envs.action_space.n, (steps, envs.num_envs))


def roll(envs, taken):
    seen = []
    for action in taken:
        envs.step(action)
        seen.append([getattr(envs, name).copy() for name in SEEN])
    return seen


def assert_same(one, two):
    for step, (ours, theirs) in enumerate(zip(one, two, strict=True)):
        for name, a, b in zip(SEEN, ours, theirs, strict=True):
            np.testing.assert_array_equal(a, b, err_msg=f"{name} at step {step}")


def test_an_observation_is_four_grey_frames_the_newest_last():
    envs = make()
    assert isinstance(envs, AtariVector)
    assert envs.obs.shape == (3, 84, 84, 4)
    assert envs.obs.dtype == np.uint8
    before = envs.obs.copy()
    envs.step(np.array([2, 3, 0]))
    np.testing.assert_array_equal(envs.obs[..., :3], before[..., 1:])
    assert (envs.obs[..., 3] != before[..., 3]).any()


def test_it_agrees_with_gymnasiums_preprocessing_of_one_game():
    pytest.importorskip("cv2", reason="Gymnasium's AtariPreprocessing resizes with OpenCV")
    from gymnasium.wrappers import AtariPreprocessing, FrameStackObservation

    envs = make(num_envs=1, noop_max=0, repeat_action_probability=0.0, clip_reward=False, fire_on_reset=False)
    single = gymnasium.make("ALE/Pong-v5", frameskip=1, repeat_action_probability=0.0)
    single = FrameStackObservation(AtariPreprocessing(single, noop_max=0), 4, padding_type="zero")
    obs, _ = single.reset(seed=0)
    for action in actions(envs, 200)[:, 0]:
        np.testing.assert_allclose(envs.obs[0].astype(int), np.moveaxis(obs, 0, -1).astype(int), atol=2)
        obs, reward, terminated, truncated, _ = single.step(int(action))
        envs.step(np.array([action]))
        assert envs.reward[0] == reward
        assert not terminated
        assert not truncated


def test_the_seed_addresses_every_game():
    taken = actions(make(), 820)
    one, two = roll(make(seed=1), taken), roll(make(seed=1), taken)
    assert any(step[5].any() for step in one)  # beyond the first games
    assert_same(one, two)
    with pytest.raises(AssertionError):
        assert_same(roll(make(seed=2), taken[:50]), one[:50])


def test_threads_change_nothing():
    one = make()
    torch.set_num_threads(2)
    two = make()
    taken = actions(one, 200)
    assert_same(roll(one, taken), roll(two, taken))


def test_the_end_of_a_game():
    envs = make(num_envs=2, clip_reward=False)
    score, length = np.zeros(2), 0
    while not envs.ended.any():
        envs.step(np.zeros(2, np.int64))
        score, length = score + envs.reward, length + 1
    (i,) = np.flatnonzero(envs.ended)[:1]
    assert envs.terminated[i]
    assert not envs.truncated[i]
    assert score[i] == -21
    assert not np.array_equal(envs.obs[i], envs.next_obs[i])
    ended = envs.episodes.drain()
    assert ended["return"][0] == -21
    assert ended["length"][0] == length
    fresh = make(num_envs=2)
    fresh.restart(np.arange(2) == i)
    np.testing.assert_array_equal(envs.obs[i], fresh.obs[i])


def test_the_limit_of_frames_truncates():
    envs = make(num_envs=2, max_frames=200, noop_max=0, fire_on_reset=False)
    roll(envs, actions(envs, 49))
    assert not envs.ended.any()
    before = envs.obs.copy()
    roll(envs, actions(envs, 1))
    assert envs.truncated.all()
    assert not envs.terminated.any()
    np.testing.assert_array_equal(envs.next_obs[..., :3], before[..., 1:])  # final, not of the next game
    assert envs.max_steps == 50


def test_a_restored_batch_goes_on_exactly_where_it_was():
    envs = make("Breakout", num_envs=4, seed=3)
    taken = actions(envs, 420)
    roll(envs, taken[:320])  # some games have begun anew
    envs.restart(np.array([False, False, True, False]))  # and one has not taken a step
    state = envs.state_dict()
    assert len({len(actions) for actions in state["actions"]}) == 4
    after = roll(envs, taken[320:])
    restored = make("Breakout", num_envs=4, seed=8)
    roll(restored, taken[:20])
    restored.load_state_dict(state)
    assert_same(roll(restored, taken[320:]), after)
    theirs = envs.episodes.drain()
    for name, values in restored.episodes.drain().items():
        np.testing.assert_array_equal(values, theirs[name])


def test_lives_and_clipping_are_for_training_and_the_log_has_the_score():
    options = {"episodic_life": True}
    taken = actions(make("SpaceInvaders", 2), 900)
    learn, true = make("SpaceInvaders", 2, **options), make("SpaceInvaders", 2, training=False, **options)
    one, two = roll(learn, taken), roll(true, taken)
    np.testing.assert_array_equal([step[1] for step in one], [step[1] for step in two])
    assert {float(r) for step in one for r in step[2]} == {0.0, 1.0}
    assert max(step[2].max() for step in two) >= 5.0
    lives, games = sum(step[3].sum() for step in one), sum(step[3].sum() for step in two)
    assert games >= 2
    assert 2 * games < lives <= 3 * games + 2 * 2  # three lives a game, and those of the open games
    logs = learn.episodes.drain(), true.episodes.drain()
    for name in ("return", "length"):
        np.testing.assert_array_equal(logs[0][name], logs[1][name])
    assert logs[0]["return"].max() > 21


@pytest.mark.parametrize(
    ("game", "options", "error", "message"),
    [
        ("Pongg", {}, UsageError, "no environment 'ALE/Pongg-v5': did you mean 'ALE/Pong-v5'"),
        ("Pong", {"clip_rewards": 1}, ConfigError, "has no option 'clip_rewards': did you mean 'clip_reward'"),
        ("Pong", {"noop_max": -1}, ConfigError, "noop_max = -1; it must be a whole number, at least 0"),
        ("Pong", {"repeat_action_probability": 1.0}, ConfigError, "must be in"),
    ],
)
def test_what_is_refused_says_why(game, options, error, message):
    with pytest.raises(error, match=message):
        make(game, 1, **options)
