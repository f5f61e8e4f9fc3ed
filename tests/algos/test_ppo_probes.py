"""PPO on the analytic probes: what it learned is the exact value and the best action, of every observation."""

import numpy as np
import pytest
import torch

from cumulant.engine.policy import Policy
from cumulant.envs import lookup, probes

GAMMA = 0.9
SETTING = {
    "total_steps": 8192,
    "num_envs": 8,
    "horizon": 32,
    "hidden": (32,),
    "learning_rate": 1e-2,
    "gamma": GAMMA,
    "eval_every_steps": 8192,
    "eval_episodes": 8,
}
TABLES = [name for name in probes.ENVIRONMENTS if name != "probe-continuous"]
ONLY_ONE = ("probe-value", "probe-action", "probe-truncation")  # the other observation never occurs
DECIDES = ("probe-action", "probe-both")  # elsewhere every action is as good


def learn(train_one, name, seed, **options):
    """Train on a probe; return its options, the observations that occur, their learned values and greedy actions."""
    run = train_one("ppo", name, seed, env_options=options, **SETTING)
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
    # five seeds stayed below 0.004; a truncation taken for an end would be off by 6
    np.testing.assert_allclose(value, probe.exact_value(obs, GAMMA), atol=0.05)
    if name in DECIDES:
        np.testing.assert_array_equal(action, probe.best_action(obs))


@pytest.mark.parametrize("seed", [0, 1])
def test_continuous_actions_are_best(train_one, seed):
    probe, obs, value, action = learn(train_one, "probe-continuous", seed)
    np.testing.assert_allclose(value, probe.exact_value(obs, GAMMA), atol=0.1)  # seen: 0.013, what exploring costs
    np.testing.assert_allclose(action, probe.best_action(obs), atol=0.1)  # seen: 0.015


@pytest.mark.parametrize(("clip", "low", "high"), [(None, 9.9, 10.1), (1.0, 9.5, 10.5), (0.01, 0.5, 7.0)])
def test_clipped_values_get_there_step_by_step(train_one, clip, low, high):
    """Seen: 10.0 without a limit, 4.1 with one of 0.01 an iteration (Adam's momentum goes a little further)."""
    run = train_one("ppo", "probe-truncation", **SETTING | {"learning_rate": 3e-3, "value_clip": clip})
    net = Policy.load(run / "policy", "last").net
    with torch.no_grad():
        assert low < net.value(net.encode(torch.ones(1, 1))).item() < high


def test_normalised_rewards_scale_the_values_and_nothing_else(train_one):
    """The value is then in units of the return's spread; ratios between observations stay what they are."""
    run = train_one("ppo", "probe-discount", **SETTING, normalize_obs=True, normalize_reward=True)
    net = Policy.load(run / "policy", "last").net
    with torch.no_grad():
        first, second = net.value(net.encode(torch.tensor([[-1.0], [1.0]])))
    assert second > 1.5
    assert abs(first / second - GAMMA) < 0.05
