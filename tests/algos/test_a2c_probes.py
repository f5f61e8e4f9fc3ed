"""A2C on the analytic probes: what it learned is the exact value and the best action, of every observation."""

import numpy as np
import pytest
import torch

from cumulant.engine.policy import Policy
from cumulant.envs import lookup, probes
from cumulant.errors import ConfigError

GAMMA = 0.9
SETTING = {
    "total_steps": 16_384,
    "num_envs": 8,
    "num_steps": 4,
    "horizon": 64,
    "hidden": (32,),
    "learning_rate": 1e-2,
    "gamma": GAMMA,
    "entropy_coef": 0.0,
    "eval_every_steps": 16_384,
    "eval_episodes": 8,
}
TABLES = [name for name in probes.ENVIRONMENTS if name != "probe-continuous"]
ONLY_ONE = ("probe-value", "probe-action", "probe-truncation")  # the other observation never occurs
DECIDES = ("probe-action", "probe-both")  # elsewhere every action is as good


def learn(train_one, name, seed, fields=SETTING, **options):
    """Train on a probe; return its options, the observations that occur, their learned values and greedy actions."""
    run = train_one("a2c", name, seed, env_options=options, **fields)
    policy = Policy.load(run / "policy", "last")
    obs = np.array([0, 1]) if options.get("tabular") else np.array([[-1.0], [1.0]], np.float32)
    obs = obs[1:] if name in ONLY_ONE else obs
    with torch.no_grad():
        value = policy.net.value(policy.net.encode(torch.from_numpy(obs))).numpy()
    return lookup.options_class(name)(**options), obs, value, policy.act(obs)


@pytest.mark.parametrize(("tabular", "seed"), [(False, 0), (False, 1), (True, 0)], ids=["box", "box, 1", "discrete"])
@pytest.mark.parametrize("name", TABLES)
def test_values_are_exact_and_actions_best(train_one, name, tabular, seed):
    probe, obs, value, action = learn(train_one, name, seed, tabular=tabular)
    # seen: below 1e-5; a truncation taken for an end would be off by 6
    np.testing.assert_allclose(value, probe.exact_value(obs, GAMMA), atol=0.01)
    if name in DECIDES:
        np.testing.assert_array_equal(action, probe.best_action(obs))


@pytest.mark.parametrize("seed", [0, 1])
def test_continuous_actions_are_best(train_one, seed):
    probe, obs, value, action = learn(train_one, "probe-continuous", seed)
    np.testing.assert_allclose(value, probe.exact_value(obs, GAMMA), atol=0.1)  # seen: 0.011, what exploring costs
    np.testing.assert_allclose(action, probe.best_action(obs), atol=0.1)  # seen: 0.013


def test_gae_and_whitening_get_there_too(train_one):
    fields = {**SETTING, "lam": 0.5, "normalize_advantage": True}
    probe, obs, value, _ = learn(train_one, "probe-discount", 0, fields)
    np.testing.assert_allclose(value, probe.exact_value(obs, GAMMA), atol=0.1)
    probe, obs, _, action = learn(train_one, "probe-both", 0, {**fields, "name": "both"})
    np.testing.assert_array_equal(action, probe.best_action(obs))


def test_normalised_rewards_scale_the_values_and_nothing_else(train_one):
    """The value is then in units of the return's spread; ratios between observations stay what they are."""
    fields = {**SETTING, "normalize_obs": True, "normalize_reward": True}
    _, _, (first, second), _ = learn(train_one, "probe-discount", 0, fields)
    assert second > 1.5
    assert abs(first / second - GAMMA) < 0.05


def test_a_horizon_may_end_with_a_shorter_gradient_step(train_one):
    probe, obs, value, _ = learn(train_one, "probe-discount", 0, {**SETTING, "num_steps": 7})
    np.testing.assert_allclose(value, probe.exact_value(obs, GAMMA), atol=0.1)


def test_one_step_of_one_environment_cannot_be_whitened(train_one):
    with pytest.raises(ConfigError, match="num_envs = 1"):
        train_one("a2c", "CartPole-v1", num_envs=1, normalize_advantage=True)
