"""What followed each step against a plain copy of everything; and how little is stored."""

import numpy as np
import pytest
from gymnasium import spaces

from cumulant.data.following import Following
from cumulant.data.replay import Replay, ReplayConfig


def story(num_steps, num_envs, dice, ends=0.2, given_up=0.05):
    """Observations and what followed them; an episode may also be given up, which no flag says."""
    obs = dice.normal(size=(num_envs, 2))
    for _ in range(num_steps):
        next_obs = dice.normal(size=(num_envs, 2))
        yield obs, next_obs
        anew = dice.random(num_envs) < ends + given_up
        obs = np.where(anew[:, None], dice.normal(size=(num_envs, 2)), next_obs)


@pytest.mark.parametrize("ends", [0.0, 0.2, 1.0])
@pytest.mark.parametrize("num_steps", [1, 4, 5, 6, 23])
def test_it_is_what_a_full_copy_has(num_steps, ends):
    num_rows, num_envs = 5, 3
    ring, copy = np.zeros((num_rows, num_envs, 2)), np.zeros((num_rows, num_envs, 2))
    following = Following(ring)
    for t, (obs, next_obs) in enumerate(story(num_steps, num_envs, np.random.default_rng(0), ends)):
        row = t % num_rows
        following.add(row, obs, next_obs)
        ring[row], copy[row] = obs, next_obs
        slots = np.arange(min(t + 1, num_rows) * num_envs)
        np.testing.assert_array_equal(following.take(slots), copy.reshape(-1, 2)[slots])
    rows = np.arange(max(0, num_steps - num_rows), num_steps) % num_rows
    own = following.own(rows)
    for k, row in enumerate(rows):
        rebuilt = Following.rebuilt(ring[rows], own["next_at"], own["next_obs"], k)
        np.testing.assert_array_equal(rebuilt, copy[row])


def test_only_final_observations_are_stored():
    ring = np.zeros((1000, 2, 2))
    following = Following(ring)
    for t, (obs, next_obs) in enumerate(story(5000, 2, np.random.default_rng(1), ends=0.01, given_up=0.0)):
        following.add(t % 1000, obs, next_obs)
        ring[t % 1000] = obs
    assert len(following._pool) <= 64  # about 20 of 2000 at a time: places are used again


def make(folder):
    return Replay(ReplayConfig(capacity=33), 3, spaces.Box(-9, 9, (2,), np.float64), spaces.Discrete(2), 0.9, folder)


@pytest.mark.parametrize("between", [1, 4, 25])
def test_a_restored_buffer_knows_what_followed(tmp_path, between):
    replay, copy = make(tmp_path), np.zeros((11, 3, 2))
    for t, (obs, next_obs) in enumerate(story(60, 3, np.random.default_rng(2))):
        reward, over = np.zeros(3, np.float32), np.zeros(3, bool)
        replay.add(obs, np.zeros(3, np.int64), reward, next_obs, over, over)
        copy[t % 11] = next_obs
        if t % between == between - 1:
            other = make(tmp_path)
            other.load_state_dict(replay.state_dict())
            slots = np.arange(len(replay))
            np.testing.assert_array_equal(other._following.take(slots), copy.reshape(-1, 2)[slots])
            np.testing.assert_array_equal(other._following.newest, next_obs)
