"""Environments seen with another reward: the outcome alone, without a term, as they are with the outcome beside it."""

import gymnasium
import numpy as np
import pytest

import cumulant
from cumulant.engine.evaluate import play
from cumulant.engine.vector import make_vector
from cumulant.envs import lookup
from cumulant.errors import ConfigError, EnvironmentFault


class Toll(gymnasium.Env):
    """Five steps; action 1 earns 2 and does harm."""

    observation_space = gymnasium.spaces.Discrete(6)
    action_space = gymnasium.spaces.Discrete(2)

    def __init__(self, told=True, outcome=True):
        self.told, self.outcome = told, outcome

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.day = 0
        return 0, {}

    def step(self, action):
        self.day += 1
        info = {"outcome": 1.0 - 3.0 * action} if self.outcome else {}
        if self.told:
            info["reward_terms"] = {"toll": 2.0 * action, "day": 1.0}
        return self.day, 1.0 + 2.0 * action, self.day == 5, False, info


class Strange(Toll):
    """Says what is no number."""

    def step(self, action):
        *rest, info = super().step(action)
        return *rest, info | {"outcome": float("nan")}


HERE = "test_engine_outcomes:Toll"


def played(env, action, options=None, episodes=4):
    envs = make_vector(env, 2, 0, options)
    return {name: values.mean() for name, values in play(lambda obs: np.full(2, action), envs, episodes).items()}


@pytest.mark.parametrize(
    ("view", "returns"),
    [("reward", (5, 15)), ("outcome", (5, -10)), ("without=toll", (5, 5)), ("without=day", (0, 10))],
)
def test_a_gymnasium_environment_is_seen_with_another_reward(view, returns):
    for action in (0, 1):
        found = played(f"{HERE}@{view}", action)
        assert (found["return"], found["outcome"], found["length"]) == (returns[action], (5, -10)[action], 5)
    assert "outcome" not in played(HERE, 0)


@pytest.mark.parametrize("view", ["reward", "outcome", "without=buoy"])
def test_a_native_environment_is_seen_with_another_reward(view):
    found = played(f"trap-loop@{view}", 1)
    assert found["outcome"] == 1.0
    assert found["return"] == {"reward": 2.0, "outcome": 1.0, "without=buoy": 1.0}[view]


def test_the_same_world_whatever_the_reward():
    batches = [make_vector(f"warfarin@{view}", 5, 3) for view in ("reward", "outcome", "without=below")]
    plain = make_vector("warfarin", 5, 3)
    for _ in range(30):
        for batch in (plain, *batches):
            batch.step(np.array([0, 1, 2, 2, 1]))
            np.testing.assert_array_equal(batch.outcomes, plain.outcomes)
            np.testing.assert_array_equal(batch.obs, plain.obs)
        np.testing.assert_array_equal(batches[0].reward, plain.reward)
        np.testing.assert_allclose(batches[1].reward, batches[1].outcome, rtol=1e-6)
        np.testing.assert_allclose(batches[2].reward, plain.reward - plain.terms[:, 1], atol=1e-6)


def test_what_cannot_be_seen_so_is_said():
    with pytest.raises(ConfigError, match="no term 'bouy': did you mean 'buoy'"):
        lookup.build("trap-loop@without=bouy", {})
    with pytest.raises(ConfigError, match="'CartPole-v1' does not say what really matters"):
        make_vector("CartPole-v1@outcome", 1, 0)
    with pytest.raises(ConfigError, match=r"does not say what really matters: put a number into info\['outcome'\]"):
        played(f"{HERE}@reward", 0, {"outcome": False})
    with pytest.raises(EnvironmentFault, match=r"'test_engine_outcomes:Strange': info.*is nan"):
        played("test_engine_outcomes:Strange@reward", 0)
    with pytest.raises(ConfigError, match="nothing but 'alive'"):
        lookup.build("warfarin@without=alive", {"reward": "survival"})


def test_a_run_on_a_view_is_an_ordinary_run(tmp_path):
    small = {"total_steps": 4000, "num_envs": 8, "horizon": 100, "eval_episodes": 5}
    result = cumulant.train("q_learning", "trap-edge@outcome", out=tmp_path / "run", **small)
    assert result.evaluation["outcomes"]["outcome"]["mean"] == pytest.approx(result.evaluation["return_mean"], rel=1e-6)
    assert cumulant.evaluate(tmp_path / "run")["return_mean"] == result.evaluation["return_mean"]
    assert '"eval/outcome"' in (tmp_path / "run/metrics.jsonl").read_text()
