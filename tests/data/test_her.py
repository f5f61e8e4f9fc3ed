"""Hindsight: every relabelled transition is one that the definition allows; and it learns what plain replay cannot."""

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces

from cumulant.data.replay import Replay, ReplayConfig
from cumulant.errors import ConfigError

SPACE = spaces.Dict(
    achieved_goal=spaces.Box(-1e6, 1e6, (2,)),
    desired_goal=spaces.Box(-1e6, 1e6, (2,)),
    observation=spaces.Box(-1e6, 1e6, (1,)),
)


def reward(achieved, desired):
    return -(np.abs(achieved - desired).max(-1) > 0.5).astype(np.float32)


def make(tmp_path, share, capacity=60, num_envs=3, **options):
    config = ReplayConfig(capacity=capacity, hindsight=share, **options)
    return Replay(config, num_envs, SPACE, spaces.Discrete(2), 0.9, tmp_path / "replay", goal_reward=reward)


def tell(replay, num_steps, seed=0):
    """Add steps in which the goal achieved after step t of environment i is (t, i); return where episodes ended."""
    dice, ends = np.random.default_rng(seed), []
    who = np.arange(replay.num_envs, dtype=np.float32)

    def seen(t, fresh=0.0):
        times = np.full(replay.num_envs, float(t), np.float32)
        wanted = np.full((2, replay.num_envs), -9.0, np.float32)
        return np.stack([times, who, *wanted, times + fresh], -1)

    fresh = np.zeros(replay.num_envs, np.float32)
    for t in range(num_steps):
        ended = dice.random(replay.num_envs) < 0.15
        action, worth = np.zeros(replay.num_envs, np.int64), np.full(replay.num_envs, -1.0, np.float32)
        # the first observation of an episode is not what followed the one before
        replay.add(seen(t, fresh), action, worth, seen(t + 1), ended & False, ended)
        ends.append(ended)
        fresh = np.float32(0.25) * ended
    return np.array(ends)


@pytest.mark.parametrize("resumed", [False, True])
@pytest.mark.parametrize("num_steps", [7, 20, 53])
def test_goals_are_what_the_episode_achieved_later(tmp_path, num_steps, resumed):
    replay = make(tmp_path, 0.75)
    ends = tell(replay, num_steps)
    if resumed:
        again = make(tmp_path, 0.75)
        again.load_state_dict(replay.state_dict())
        replay = again
    drawn = replay.sample(4000, 1, torch.Generator().manual_seed(1))
    kept, seen_goals = 0, {}
    for obs, next_obs, worth in zip(drawn.obs.numpy(), drawn.next_obs.numpy(), drawn.reward.numpy()):
        t, i = int(obs[0]), int(obs[1])
        np.testing.assert_array_equal(obs[2:4], next_obs[2:4])
        assert (next_obs[0], next_obs[4]) == (t + 1, t + 1)
        assert obs[4] == t + 0.25 * (t > 0 and ends[t - 1, i])
        if obs[2] == -9.0:
            kept += 1
            assert worth == -1.0
            continue
        goal_time, who = int(obs[2]), int(obs[3])
        stops = np.flatnonzero(ends[t:, i])
        last = t + int(stops[0]) if len(stops) else num_steps - 1
        assert who == i
        assert t + 1 <= goal_time <= last + 1
        assert worth == (0.0 if goal_time == t + 1 else -1.0)
        seen_goals.setdefault((t, i, last), set()).add(goal_time)
    assert kept / 4000 == pytest.approx(0.25, abs=0.03)
    for (t, _, last), times in seen_goals.items():  # and all of them occur
        if last - t <= 2:
            assert times == set(range(t + 1, last + 2))


def test_what_is_stored_stays_as_it_was(tmp_path):
    replay = make(tmp_path, 1.0)
    tell(replay, 10)
    before = {name: rows.copy() for name, rows in replay._rows.items()}
    replay.sample(500, 1, torch.Generator().manual_seed(1))
    for name, rows in replay._rows.items():
        np.testing.assert_array_equal(rows, before[name])


def test_without_goals_it_is_one_line(tmp_path):
    with pytest.raises(ConfigError, match=r"hindsight = 0.5: it needs goals"):
        Replay(
            ReplayConfig(hindsight=0.5),
            1,
            spaces.Box(-1, 1, (2,)),
            spaces.Discrete(2),
            0.9,
            tmp_path,
            goal_reward=reward,
        )
    with pytest.raises(ConfigError, match="and n_step = 3"):
        make(tmp_path, 0.5, n_step=3)


class Locks(gymnasium.Env):
    """Turn eight switches into the wanted positions; reward -1 until they are. By chance they hardly ever get there and stay."""

    size = 8

    def __init__(self):
        bits = spaces.MultiBinary(self.size)
        self.observation_space = spaces.Dict(achieved_goal=bits, desired_goal=bits, observation=bits)
        self.action_space = spaces.Discrete(self.size + 1)  # the last one leaves all as it is

    def _obs(self):
        return {"achieved_goal": self.bits.copy(), "desired_goal": self.goal.copy(), "observation": self.bits.copy()}

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.bits, self.goal = (self.np_random.integers(0, 2, self.size).astype(np.int8) for _ in range(2))
        self.steps = 0
        return self._obs(), {}

    def compute_reward(self, achieved, desired, info):
        return -(np.asarray(achieved) != np.asarray(desired)).any(-1).astype(np.float32)

    def step(self, action):
        if action < self.size:
            self.bits[action] ^= 1
        self.steps += 1
        worth = float(self.compute_reward(self.bits, self.goal, {}))
        return self._obs(), worth, False, self.steps >= self.size, {"is_success": worth == 0.0}


class Reach(gymnasium.Env):
    """Move a point in a square to a wanted place, within 0.1; reward -1 until it is there."""

    def __init__(self):
        place = spaces.Box(-1, 1, (2,), np.float32)
        self.observation_space = spaces.Dict(achieved_goal=place, desired_goal=place, observation=place)
        self.action_space = spaces.Box(-1, 1, (2,), np.float32)

    def _obs(self):
        return {"achieved_goal": self.place.copy(), "desired_goal": self.goal.copy(), "observation": self.place.copy()}

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place, self.goal = (self.np_random.uniform(-1, 1, 2).astype(np.float32) for _ in range(2))
        self.steps = 0
        return self._obs(), {}

    def compute_reward(self, achieved, desired, info):
        return -(np.linalg.norm(np.asarray(achieved) - np.asarray(desired), axis=-1) > 0.1).astype(np.float32)

    def step(self, action):
        self.place = np.clip(self.place + 0.25 * np.asarray(action, np.float32), -1, 1)
        self.steps += 1
        worth = float(self.compute_reward(self.place, self.goal, {}))
        return self._obs(), worth, False, self.steps >= 15, {"is_success": worth == 0.0}


def success(train_one, algo, env, hindsight, **fields):
    rows = []
    train_one(
        algo, f"{__file__}:{env}", hindsight=hindsight, eval_every_steps=10**6, eval_episodes=40, **fields,
        progress=lambda _, row: rows.append(row),
    )  # fmt: skip
    return rows[-1]["eval/success"]


LOCKS = {
    "total_steps": 12_000, "num_envs": 8, "horizon": 50, "updates_per_step": 0.25, "batch_size": 128, "learning_rate": 2e-3,
    "hidden": (128,), "gamma": 0.9, "target_every": 50, "epsilon_end": 0.1, "exploration": 0.5,
}  # fmt: skip
REACH = {
    "total_steps": 5_000, "num_envs": 8, "horizon": 50, "updates_per_step": 0.25, "batch_size": 128, "learning_rate": 2e-3,
    "hidden": (64, 64), "gamma": 0.9, "polyak": 0.05, "warmup_steps": 400,
}  # fmt: skip


@pytest.mark.slow
def test_what_plain_replay_never_learns_hindsight_does(train_one):
    assert success(train_one, "dqn", "Locks", 0.8, **LOCKS) >= 0.9


@pytest.mark.slow
def test_plain_replay_never_learns_it(train_one):
    assert success(train_one, "dqn", "Locks", 0.0, **LOCKS) <= 0.3


@pytest.mark.slow
def test_sac_reaches_goals(train_one):
    assert success(train_one, "sac", "Reach", 0.8, **REACH) >= 0.8


@pytest.mark.parametrize("algo", ["td3", "tqc"])
def test_the_option_is_heard_by(algo, train_one):
    losses = []
    for share in (0.0, 0.8):
        fields = {**REACH, "total_steps": 800, "hindsight": share, "eval_episodes": 1}
        rows = []
        train_one(
            algo, f"{__file__}:Reach", name=f"run{share}", **fields, progress=lambda _, row, to=rows: to.append(row)
        )
        losses.append(rows[-1]["value/mean"])
    assert losses[1] > losses[0] + 0.05  # goals that are reached are worth more
