"""Q-learning and SARSA on the analytic probes, which are no tables: the loop in Python learns the exact values."""

import numpy as np
import pytest

from cumulant.engine.policy import Policy
from cumulant.envs import lookup, probes

GAMMA = 0.9
TABLES = [name for name in probes.ENVIRONMENTS if name != "probe-continuous"]
DECIDES = ("probe-action", "probe-both")
SETTING = {"total_steps": 16_000, "num_envs": 8, "horizon": 500, "step_power": 0.5, "gamma": GAMMA, "eval_episodes": 8}
# What each pair of symbol and action is worth where the action decides.
EXACT = {"probe-action": [[-1.0, 1.0], [-1.0, 1.0]], "probe-both": [[1.0, -1.0], [-1.0, 1.0]]}
ALGORITHMS = [("q_learning", {}), ("sarsa", {}), ("sarsa", {"expected": True})]


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize(("algo", "fields"), ALGORITHMS, ids=["q_learning", "sarsa", "expected sarsa"])
def test_values_are_exact_and_actions_best(train_one, algo, fields, name, seed):
    run = train_one(algo, name, seed, env_options={"tabular": True}, **SETTING, **fields)
    policy = Policy.load(run / "policy", "last")
    q = policy.net.q.numpy()
    probe = lookup.options_class(name)(tabular=True)
    obs = np.array([1]) if name in ("probe-value", "probe-action", "probe-truncation") else np.array([0, 1])
    # nothing is random but the observations, so that values settle; a truncation taken for an end would be off by 6
    np.testing.assert_allclose(q.max(axis=1)[obs], probe.exact_value(obs, GAMMA), atol=1e-3)
    if name in DECIDES:
        np.testing.assert_allclose(q[obs], np.array(EXACT[name])[obs], atol=1e-3)
        np.testing.assert_array_equal(policy.act(obs), probe.best_action(obs))
    else:  # the action decides nothing
        np.testing.assert_allclose(q[obs, 0], q[obs, 1], atol=1e-3)
