"""PPO under a limit on costs: the policy, its price and what it earns are those of the known optimum."""

import json
from pathlib import Path

import numpy as np
import pytest

from cumulant.engine.policy import Policy
from cumulant.envs import lookup
from cumulant.errors import ConfigError

TOYS = Path(__file__).parents[1] / "engine" / "toys.py"
SETTING = {
    "num_envs": 64, "horizon": 32, "learning_rate": 3e-3, "hidden": (32,), "gamma": 0.0, "lam": 0.0,
    "eval_every_steps": 10**9, "eval_episodes": 500, "multiplier_rate": 0.5, "entropy_coef": 0.05,
}  # fmt: skip


def rows(run):
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def late(found, name):
    return np.mean([row[name] for row in found[-len(found) // 3 :]])


def test_risks_are_taken_up_to_the_threshold_that_the_limit_allows(train_one):
    limit, problem = 0.5, lookup.options_class("constrained-risk")()
    run = train_one("ppo", "constrained-risk", total_steps=300_000, cost_limit=limit, **SETTING)
    best, found = problem.optimum(limit), rows(run)
    assert abs(late(found, "episode/cost") - limit) < 0.05 * limit  # what training episodes cost
    assert abs(late(found, "constraint/multiplier") - best.multiplier) < 0.15 * best.multiplier
    assert late(found, "episode/return") > 0.95 * best.value
    obs = np.linspace(0.0, 1.0, 101, dtype=np.float32)[:, None]
    taken = Policy.load(run / "policy", "last").act(obs)
    assert abs(taken.mean() - best.policy) < 0.07  # the share of risks below the threshold


def test_effort_is_scaled_down_as_the_limit_demands(train_one):
    problem = lookup.options_class("constrained-effort")()
    free = problem.optimum(1e9)
    limit = 0.4 * free.cost
    run = train_one("ppo", "constrained-effort", total_steps=300_000, cost_limit=limit, **SETTING)
    found, best = rows(run), problem.optimum(limit)
    assert abs(late(found, "episode/cost") - limit) < 0.07 * limit
    obs = np.array([[0.5], [1.0]], np.float32)
    np.testing.assert_allclose(Policy.load(run / "policy", "last").act(obs), problem.best_action(obs, limit), atol=0.1)
    assert best.value < free.value


def test_without_a_limit_everything_is_spent(train_one):
    problem = lookup.options_class("constrained-risk")()
    run = train_one("ppo", "constrained-risk", total_steps=100_000, **SETTING)
    assert abs(late(rows(run), "episode/cost") - problem.optimum(1e9).cost) < 0.1
    assert "constraint/multiplier" not in rows(run)[-1]


def test_a_limit_that_does_not_bind_has_no_price(train_one):
    run = train_one("ppo", "constrained-risk", total_steps=60_000, cost_limit=50.0, **SETTING)
    assert rows(run)[-1]["constraint/multiplier"] == 0.0


@pytest.mark.parametrize("algo", ["ppo", "sac"])
def test_a_limit_where_there_are_no_costs_is_refused_or_doubted(train_one, algo):
    fields = {"total_steps": 64, "num_envs": 2, "horizon": 16, "eval_episodes": 2, "cost_limit": 1.0}
    with pytest.raises(ConfigError, match=r"cost_limit = 1.0: this environment reports no costs"):
        train_one(algo, "Pendulum-v1", **fields)
    with pytest.warns(UserWarning, match=r"no episode so far has reported a cost") as said:
        train_one(algo, f"{TOYS}:Reach", **fields, name="foreign")
    assert len(said) == 1
