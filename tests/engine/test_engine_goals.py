"""Goal environments: success at the episode's end is an outcome, in training and in evaluation."""

import subprocess
import sys
from importlib.util import find_spec

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from cumulant.engine.evaluate import episode_metrics, play
from cumulant.engine.vector import make_vector

PATH = f"{__file__}:Meet"


class Meet(gymnasium.Env):
    """Stand on a goal when the time is up: right is where even goals are. Success on the way does not count."""

    def __init__(self, length=4):
        line = spaces.Box(-9.0, 9.0, (1,), np.float32)
        self.observation_space = spaces.Dict({"achieved_goal": line, "desired_goal": line, "observation": line})
        self.action_space, self.length = spaces.Discrete(2), length

    def _obs(self):
        at, goal = (np.array([x], np.float32) for x in (self.at, self.goal))
        return {"achieved_goal": at, "desired_goal": goal, "observation": at}

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.at, self.goal, self.steps = 0, int(self.np_random.integers(0, 2)) * 2 - 1, 0
        return self._obs(), {}

    def step(self, action):
        self.steps += 1
        self.at = 2 * int(action) - 1
        success = float(self.at == self.goal)
        return self._obs(), success - 1.0, False, self.steps >= self.length, {"is_success": np.float32(success)}


def test_success_at_the_end_is_logged():
    envs = make_vector(PATH, 4, seed=0)
    assert envs.outcome_names == ("success",)
    for k in range(40):
        goal = envs.obs[:, 1] > 0
        last = k % 4 == 3
        right = goal if last else ~goal  # wrong on the way ...
        right[0] = goal[0] ^ last  # ... except the first, which is right on the way and wrong at the end
        envs.step(right.astype(np.int64))
    metrics = episode_metrics(envs)
    assert metrics["episode/count"] == 40
    assert metrics["outcome/success"] == pytest.approx(0.75)
    assert "episode/cost" not in metrics


def test_evaluation_has_it_too():
    played = play(lambda obs: (obs[:, 1] > 0).astype(np.int64), make_vector(PATH, 3, seed=1, options={"length": 7}), 10)
    assert played["success"].tolist() == [1.0] * 10
    played = play(lambda obs: np.ones(len(obs), np.int64), make_vector(PATH, 3, seed=1, options={"length": 7}), 30)
    assert 0.2 < played["success"].mean() < 0.8
    assert set(played["success"]) == {0.0, 1.0}


def test_a_restored_batch_keeps_its_log():
    envs, other = make_vector(PATH, 2, seed=0), make_vector(PATH, 2, seed=5)
    for _ in range(6):
        envs.step(np.ones(2, np.int64))
    other.load_state_dict(envs.state_dict())
    for batch in (envs, other):
        for _ in range(3):
            batch.step(np.ones(2, np.int64))
    np.testing.assert_array_equal(envs.episodes.drain()["success"], other.episodes.drain()["success"])


def test_fetch_reach_is_a_goal_environment():
    pytest.importorskip("gymnasium_robotics", reason="needs an extra: pip install 'cumulant[robotics]'")
    envs = make_vector("FetchReach-v4", 2, seed=0)
    assert envs.obs.shape == (2, 16)
    assert envs.outcome_names == ("success",)
    shown = spaces.unflatten(envs.observation_space, envs.obs[0])

    def towards(obs):
        found = [spaces.unflatten(envs.observation_space, row) for row in obs]
        return np.array([[*(10.0 * (x["desired_goal"] - x["achieved_goal"])), 0.0] for x in found], np.float32).clip(
            -1, 1
        )

    assert shown.keys() == {"achieved_goal", "desired_goal", "observation"}
    played = play(towards, envs, 4)
    assert played["success"].tolist() == [1.0] * 4
    assert (played["length"] == 50).all()
    assert (played["return"] > -10).all()


@pytest.mark.skipif(find_spec("gymnasium_robotics") is None, reason="needs an extra: pip install 'cumulant[robotics]'")
def test_an_extra_prints_no_news_of_its_own():
    code = "from cumulant.envs.extras import announce; announce('FetchReach-v4')"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout + said.stderr == ""
