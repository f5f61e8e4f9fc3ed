"""The optima of the constrained problems, against simulation and against a search over policies and multipliers."""

import numpy as np
import pytest

from cumulant.envs.batched import Batch
from cumulant.envs.constrained import ConstrainedEffort, ConstrainedRisk
from cumulant.errors import ConfigError

PROBLEMS = [ConstrainedEffort(), ConstrainedRisk(), ConstrainedEffort(steps=1), ConstrainedRisk(steps=7)]
IDS = ["effort", "risk", "effort, 1 step", "risk, 7 steps"]


def play(problem, policy, gamma, num_envs=20_000):
    """Mean discounted sums of rewards and of costs of an episode under a policy, each with its standard error."""
    batch = Batch(problem.kernel(), num_envs, seed=3, autoreset=False)
    sums = np.zeros((2, num_envs))
    for step in range(problem.steps):
        batch.step(policy(batch.obs))
        sums += gamma**step * np.stack([batch.reward, batch.cost])
        assert batch.terminated.all() == (step == problem.steps - 1)
    return sums.mean(axis=1), sums.std(axis=1) / np.sqrt(num_envs)


@pytest.mark.parametrize("gamma", [1.0, 0.9])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 2.0])
@pytest.mark.parametrize("problem", PROBLEMS, ids=IDS)
def test_the_best_policy_reaches_the_optimum(problem, share, gamma):
    """Its value and its cost, within four standard errors; the cost is at the limit unless that does not bind."""
    free = problem.optimum(1e9, gamma)
    assert free.multiplier == 0
    limit = share * free.cost
    best = problem.optimum(limit, gamma)
    mean, error = play(problem, lambda obs: problem.best_action(obs, limit, gamma), gamma)
    assert (np.abs(mean - [best.value, best.cost]) < 4 * error + 1e-6).all()
    np.testing.assert_allclose(best.cost, min(limit, free.cost))
    assert (best.multiplier > 0) == (best.value < free.value) == (share < 1)


@pytest.mark.parametrize("limit", [0.2, 0.6, 1.0])
@pytest.mark.parametrize("problem", PROBLEMS[:2], ids=IDS[:2])
def test_the_multiplier_makes_the_best_policy_the_best_in_every_observation(problem, limit):
    """A search over actions finds the same policy, and its value less what it is charged is the dual value."""
    best = problem.optimum(limit)
    step, multiplier = 1e-6, best.multiplier
    if isinstance(problem, ConstrainedEffort):
        actions = np.linspace(-1, 1, 2001)
        for demand in (0.5, 1.0):
            worth = demand**2 - (actions - demand) ** 2 - multiplier * actions**2
            found = problem.best_action(np.array([[demand]], np.float32), limit)[0, 0]
            assert abs(actions[worth.argmax()] - found) <= 1e-3
    else:
        risks = np.linspace(0, 1, 1001, dtype=np.float32)[:, None]
        np.testing.assert_array_equal(problem.best_action(risks, limit), 1 - multiplier * risks[:, 0] > 0)
    # what a unit of cost is worth: the slope of the value over the limit
    slope = (problem.optimum(limit + step).value - problem.optimum(limit - step).value) / (2 * step)
    np.testing.assert_allclose(slope, multiplier, rtol=1e-5)


@pytest.mark.parametrize("problem", PROBLEMS[:2], ids=IDS[:2])
def test_ascent_and_descent_lead_to_the_optimum(problem):
    """The policy's one number climbs, the multiplier follows the excess cost: both arrive from afar."""
    limit, steps = 0.8, problem.steps
    best = problem.optimum(limit)
    policy, multiplier = 1.0, 0.0
    for _ in range(4000):
        if isinstance(problem, ConstrainedEffort):
            slope, cost = 0.625 * (2 * (1 - policy) - multiplier * 2 * policy), 0.625 * policy**2
        else:
            slope, cost = 1 - multiplier * policy, policy**2 / 2
        policy = float(np.clip(policy + 0.05 * slope, 0, 1))
        multiplier = max(multiplier + 0.02 * (cost * steps - limit), 0.0)
    np.testing.assert_allclose([policy, multiplier], [best.policy, best.multiplier], atol=1e-3)


def test_effort_beyond_the_range_is_clipped():
    batch = Batch(ConstrainedEffort().kernel(), 2)
    batch.step(np.array([[1.0], [3.0]], np.float32))
    assert batch.cost.tolist() == [1.0, 1.0]


def test_nonsense_is_refused():
    with pytest.raises(ConfigError, match="steps = 0"):
        ConstrainedRisk(steps=0)
    with pytest.raises(ConfigError, match=r"limit = 0\.0"):
        ConstrainedEffort().optimum(0.0)
