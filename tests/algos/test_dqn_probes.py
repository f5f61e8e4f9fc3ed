"""DQN on the analytic probes, in every mode: what it learned is the exact value and the best action of every observation."""

import numpy as np
import pytest
import torch

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
    "updates together": {"train_every": 4},
    "boltzmann": {"explore": {"strategy": "boltzmann"}},
    "persistent": {"explore": {"strategy": "persistent"}},
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


def test_returns_outside_the_range_of_c51_are_doubted_once(train_one):
    fields = {**SETTING, "network": {"head": "c51", "hidden": (16,), "value_range": (20.0, 30.0), "num_atoms": 11}}
    with pytest.warns(UserWarning, match=r"at an end of value_range = \(20\.0, 30\.0\)") as caught:
        train_one("dqn", "probe-value", **fields)
    assert len(caught) == 1
