"""SAC under a limit on costs: what it earns, pays and prices cost at are those of the best policy within the limit."""

import json

import numpy as np
import pytest

from cumulant.engine.constraint import ConstraintConfig, Multiplier
from cumulant.engine.policy import Policy
from cumulant.envs import lookup
from cumulant.errors import ConfigError

SETTING = {
    "total_steps": 8192,
    "num_envs": 16,
    "horizon": 16,
    "learning_rate": 3e-3,
    "gamma": 0.9,
    "batch_size": 64,
    "updates_per_step": 0.2,
    "warmup_steps": 128,
    "polyak": 0.1,
    "hidden": (32, 32),
    "activation": "tanh",
    "temperature": 0.005,
    "eval_every_steps": 10**6,
    "eval_episodes": 8,
}


def learn(train_one, env, limit, **fields):
    rows = []
    run = train_one(
        "sac", env, **SETTING | fields, cost_limit=limit, multiplier_rate=0.1, progress=lambda _, row: rows.append(row)
    )
    evaluation = json.loads((run / "evaluation.json").read_text())
    multiplier = np.mean([row["constraint/multiplier"] for row in rows[-10:]])
    return evaluation, Policy.load(run / "policy", "last"), multiplier


@pytest.mark.slow
@pytest.mark.parametrize(
    ("env", "limit", "temperature"),
    # a policy over choices that never doubts does not learn either
    [("constrained-effort", 1.0, 0.005), ("constrained-risk", 0.5, 0.05)],
)
def test_the_best_policy_within_the_limit(train_one, env, limit, temperature):
    problem = lookup.options_class(env)()
    best, free = problem.optimum(limit), problem.optimum(1e9)
    assert free.cost > 1.5 * limit  # who ignores the limit pays much more
    evaluation, _, multiplier = learn(train_one, env, limit, temperature=temperature)
    assert evaluation["outcomes"]["cost"]["mean"] == pytest.approx(best.cost, rel=0.25)
    assert evaluation["return_mean"] == pytest.approx(best.value, abs=0.15 * abs(free.value))
    assert multiplier == pytest.approx(best.multiplier, rel=0.25)


def test_a_limit_that_does_not_bind_changes_nothing(train_one):
    problem = lookup.options_class("constrained-effort")()
    _, policy, multiplier = learn(train_one, "constrained-effort", 50.0, total_steps=4096)
    obs = np.array([[0.5], [1.0]], np.float32)
    assert multiplier == 0.0
    np.testing.assert_allclose(policy.act(obs), problem.best_action(obs, 50.0), atol=0.15)


def test_the_multiplier_survives_and_ignores_rows_without_episodes():
    price = Multiplier(ConstraintConfig(cost_limit=1.0, multiplier_rate=0.5))
    price.update({"episode/count": 0})
    assert price.value == 0.0
    price.update({"episode/count": 3, "episode/cost": 2.0})
    again = Multiplier(price.config)
    again.load_state_dict(price.state_dict())
    assert again.value == price.value == 0.5
    assert again.metrics() == {"constraint/multiplier": 0.5}
    free = Multiplier(ConstraintConfig())
    free.update({"episode/count": 3, "episode/cost": 2.0})
    assert (free.value, free.metrics(), free.active) == (0.0, {}, False)


def test_nonsense_is_refused():
    with pytest.raises(ConfigError, match="cost_limit = -1"):
        ConstraintConfig(cost_limit=-1.0)
    with pytest.raises(ConfigError, match="multiplier_rate = 0"):
        ConstraintConfig(multiplier_rate=0.0)
