"""DQN on the analytic probes, in every mode: what it learned is the exact value and the best action of every observation."""

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces

from cumulant.engine.policy import Policy
from cumulant.envs import lookup, probes

GAMMA = 0.9
SETTING = {
    "total_steps": 4096,
    "num_envs": 8,
    "horizon": 32,
    "learning_rate": 5e-3,
    "gamma": GAMMA,
    "batch_size": 32,
    "updates_per_step": 0.25,
    "warmup_steps": 64,
    "target_every": 20,
    "eval_every_steps": 4096,
    "eval_episodes": 8,
}
WIDE = {"num_atoms": 41, "value_range": (-2.0, 12.0)}
MODES = {
    "plain": {},
    "double, dueling": {"double": True, "network": {"dueling": True}},
    "3 steps": {"replay": {"n_step": 3}},
    "prioritised": {"replay": {"prioritised": True}},
    "boltzmann": {"explore": {"strategy": "boltzmann"}},
    # without double the best of noisy values is too large; the noise takes its time to fade
    "noisy": {"double": True, "network": {"noisy": True}, "replay": {"n_step": 3}, "updates_per_step": 1.5},
    "c51": {"network": {"head": "c51", **WIDE}},
    "quantile": {"network": {"head": "quantile", "num_atoms": 11}},
    "rainbow": {
        "double": True,
        "network": {"dueling": True, "noisy": True, "head": "c51", **WIDE},
        "replay": {"prioritised": True, "n_step": 3},
    },
}
TABLES = [name for name in probes.ENVIRONMENTS if name != "probe-continuous"]
ONLY_ONE = ("probe-value", "probe-action", "probe-truncation")  # the other observation never occurs
DECIDES = ("probe-action", "probe-both")  # elsewhere every action is as good


def learn(train_one, name, seed, mode, **options):
    """Train on a probe; return its options, the observations that occur, and the policy."""
    fields = {**SETTING, **MODES[mode]}
    fields["network"] = {"hidden": (32,), **fields.get("network", {})}
    run = train_one("dqn", name, seed, env_options=options, **fields)
    policy = Policy.load(run / "policy", "last")
    obs = np.array([0, 1]) if options.get("tabular") else np.array([[-1.0], [1.0]], np.float32)
    return lookup.options_class(name)(**options), obs[1:] if name in ONLY_ONE else obs, policy


def values(policy, obs):
    with torch.no_grad():
        return policy.net.q(policy.net.encode(torch.from_numpy(obs))).numpy()


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("mode", MODES)
def test_values_are_exact_and_actions_best(train_one, mode, name):
    probe, obs, policy = learn(train_one, name, 0, mode)
    # a truncation taken for an end would be off by 6
    np.testing.assert_allclose(values(policy, obs).max(axis=1), probe.exact_value(obs, GAMMA), atol=0.1)
    if name in DECIDES:
        np.testing.assert_array_equal(policy.act(obs), probe.best_action(obs))


@pytest.mark.parametrize("name", ["probe-discount", "probe-both"])
def test_discrete_observations(train_one, name):
    probe, obs, policy = learn(train_one, name, 1, "plain", tabular=True)
    np.testing.assert_allclose(values(policy, obs).max(axis=1), probe.exact_value(obs, GAMMA), atol=0.1)


def test_worse_actions_have_their_own_values(train_one):
    _, obs, policy = learn(train_one, "probe-both", 0, "plain")
    np.testing.assert_allclose(values(policy, obs), [[1.0, -1.0], [-1.0, 1.0]], atol=0.1)


class CutBeforeThePrize(gymnasium.Env):
    """Start at -1 or 1. At 1: reward 10, the end. At -1: go to 1, but be cut there. The values are 9 and 10.

    Who bootstraps from the first observation of the next episode, which is 1 half of the time only, learns 8.2 for -1.
    """

    def __init__(self):
        self.observation_space, self.action_space = spaces.Box(-1, 1, (1,), np.float32), spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place = np.array([self.np_random.choice([-1.0, 1.0])], np.float32)
        return self.place, {}

    def step(self, action):
        prize = self.place[0] > 0
        return np.ones(1, np.float32), 10.0 * prize, bool(prize), not prize, {}


@pytest.mark.parametrize("mode", ["plain", "3 steps", "rainbow"])
def test_truncations_bootstrap_from_the_final_observation(train_one, mode):
    fields = {**SETTING, **MODES[mode]}
    fields["network"] = {"hidden": (32,), **fields.get("network", {})}
    run = train_one("dqn", f"{__file__}:CutBeforeThePrize", **fields)
    learned = values(Policy.load(run / "policy", "last"), np.array([[-1.0], [1.0]], np.float32)).max(axis=1)
    np.testing.assert_allclose(learned, [9.0, 10.0], atol=0.1)
