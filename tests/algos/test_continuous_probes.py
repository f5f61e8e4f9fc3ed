"""TD3 and TQC on analytic probes with continuous actions: exact values, best actions, truncations that bootstrap."""

import importlib

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces

from cumulant.engine.policy import Policy
from cumulant.errors import ConfigError

GAMMA = 0.9
SETTING = {
    "total_steps": 3072,
    "num_envs": 8,
    "horizon": 32,
    "learning_rate": 5e-3,
    "gamma": GAMMA,
    "batch_size": 64,
    "updates_per_step": 0.25,
    "warmup_steps": 64,
    "polyak": 0.2,
    "hidden": (64,),
    "eval_every_steps": 10**6,
    "eval_episodes": 8,
}
ALGORITHMS = {
    "td3": {"smoothing_noise": 0.1, "exploration_noise": 0.3},
    # what is dropped makes values smaller where returns are spread; here they are certain
    "tqc": {"temperature": 0.01, "num_quantiles": 5, "drop": 1},
}


@pytest.fixture(params=ALGORITHMS)
def algo(request):
    return request.param


@pytest.fixture
def learn(algo, train_one, monkeypatch):
    """Train; return the policy and ``values(obs)``: the mean of what the critics say of the policy's action."""
    module, made = importlib.import_module(f"cumulant.algos.{algo}"), []

    class Watched(module.QCritics):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            made.append(self)

    monkeypatch.setattr(module, "QCritics", Watched)

    def run(env, seed=0, **fields):
        policy = Policy.load(train_one(algo, env, seed, **{**SETTING, **ALGORITHMS[algo], **fields}) / "policy", "last")

        @torch.no_grad()
        def values(obs):
            encoded = policy.net.encode(torch.from_numpy(obs))
            q = made[0](encoded, policy.net.mode(encoded))
            return (q if q.dim() == 2 else q.mean(-1)).mean(0).numpy()

        return policy, values

    return run


OBS = np.array([[-1.0], [1.0]], np.float32)


@pytest.mark.parametrize("options", [{}, {"prioritised": True, "n_step": 3}], ids=["plain", "replay"])
def test_values_are_exact_and_actions_best(learn, options):
    policy, values = learn("probe-continuous", **options, total_steps=6144, learning_rate=3e-3)
    np.testing.assert_allclose(policy.act(OBS), OBS / 2, atol=0.1)
    np.testing.assert_allclose(values(OBS), [0.0, 0.0], atol=0.1)


class CutBeforeThePrize(gymnasium.Env):
    """Start at -1 or 1. At 1: reward 10, the end. At -1: go to 1, but be cut there. The values are 9 and 10.

    Who bootstraps from the first observation of the next episode, which is 1 half of the time only, learns 8.2 for -1.
    """

    def __init__(self):
        self.observation_space, self.action_space = (
            spaces.Box(-1, 1, (1,), np.float32),
            spaces.Box(-1, 1, (1,), np.float32),
        )

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place = np.array([self.np_random.choice([-1.0, 1.0])], np.float32)
        return self.place, {}

    def step(self, action):
        prize = self.place[0] > 0
        return np.ones(1, np.float32), 10.0 * prize, bool(prize), not prize, {}


def test_truncations_bootstrap_from_the_final_observation(learn):
    _, values = learn(f"{__file__}:CutBeforeThePrize", learning_rate=0.01)
    np.testing.assert_allclose(values(OBS), [9.0, 10.0], atol=0.1)


def test_discrete_actions_are_one_line_at_construction(algo, train_one):
    with pytest.raises(ConfigError, match=r"this environment has Discrete\(2\)"):
        train_one(algo, "CartPole-v1")
