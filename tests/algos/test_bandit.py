"""Bandit strategies: scores by hand, regret against theory, best arms found, and what they refuse.

Regret is exact: the environment says what the best arm would have brought. n decisions, gap_a = mean of the best arm - mean of a.
"""

import json

import numpy as np
import pytest

from cumulant import api
from cumulant.algos.bandit import Config, Statistics, score
from cumulant.engine.policy import Policy
from cumulant.envs import lookup
from cumulant.errors import ConfigError

STEPS = 2000
EASY = {"arms": 3, "instance": 1}  # success probabilities 0.51, 0.95, 0.14


def play(train_one, env, strategy, seed=0, options=None, **fields):
    """Return the regret after each iteration of 100 decisions, and the run."""
    fields = {"total_steps": STEPS, "eval_episodes": 50, **fields}
    run = train_one("bandit", env, seed, env_options=options, strategy=strategy, name=f"{strategy}-{seed}", **fields)
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return np.array([row["regret/total"] for row in rows]), run


def gaps(env, options):
    means = lookup.options_class(env)(**options).means()
    return means.max() - means


# -- scores by hand ----------------------------------------------------------------------------------------------------------


def known():
    """Two arms in one context: arm 0 gave 1, 0 and 1; arm 1 gave 1."""
    statistics = Statistics(2, 1)
    statistics.add(np.ones((4, 1)), np.array([0, 0, 0, 1]), np.array([1.0, 0.0, 1.0, 1.0]))
    return statistics


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [
        ("epsilon_greedy", [2 / 4, 1 / 2]),  # one imagined decision with reward 0 each
        ("linucb", [2 / 4 + 3 * np.sqrt(1 / 4), 1 / 2 + 3 * np.sqrt(1 / 2)]),
        ("ucb1", [2 / 3 + 3 * np.sqrt(np.log(4) / 3), 1 + 3 * np.sqrt(np.log(4))]),
    ],
)
def test_scores(strategy, expected):
    config = Config(strategy=strategy, confidence=3.0)
    np.testing.assert_allclose(score(config, known(), np.ones((1, 1)), np.random.default_rng(0))[0], expected)


@pytest.mark.parametrize(
    ("strategy", "mean", "variance"),
    [
        ("thompson", [2 / 4, 1 / 2], [4 / 4, 4 / 2]),  # reward_std 2
        ("thompson_bernoulli", [3 / 5, 2 / 3], [3 * 2 / (25 * 6), 2 / (9 * 4)]),  # Beta(3, 2), Beta(2, 1)
    ],
)
def test_draws_have_the_moments_of_the_posterior(strategy, mean, variance):
    config = Config(strategy=strategy, reward_std=2.0)
    draws = score(config, known(), np.ones((40_000, 1)), np.random.default_rng(0))
    np.testing.assert_allclose(draws.mean(0), mean, atol=0.02)
    np.testing.assert_allclose(draws.var(0), variance, rtol=0.05)


def test_an_untried_arm_comes_first_in_ucb1():
    statistics = Statistics(3, 2)
    statistics.add(np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([0, 1]), np.array([5.0, 5.0]))
    scores = score(Config(strategy="ucb1"), statistics, np.eye(2), np.random.default_rng(0))
    assert np.isinf(scores).tolist() == [[False, True, True], [True, False, True]]  # each symbol has its own table


def test_the_posterior_is_ridge_regression():
    rng = np.random.default_rng(0)
    x, arm, reward = rng.normal(size=(50, 3)), rng.integers(0, 2, 50), rng.normal(size=50)
    statistics = Statistics(2, 3)
    statistics.add(x[:20], arm[:20], reward[:20])
    statistics.add(x[20:], arm[20:], reward[20:])
    theta, covariance = statistics.posterior(0.5)
    for a in (0, 1):
        rows = np.vstack([x[arm == a], np.sqrt(0.5) * np.eye(3)])  # ridge as three more observations of 0
        exact = np.linalg.lstsq(rows, np.concatenate([reward[arm == a], np.zeros(3)]), rcond=None)[0]
        np.testing.assert_allclose(theta[a], exact)
        np.testing.assert_allclose(covariance[a], np.linalg.inv(rows.T @ rows))


# -- regret against theory ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [0, 1])
def test_ucb1_keeps_the_bound_of_auer_and_others(train_one, seed):
    """Theorem 1: 8 sum(log n / gap) + (1 + pi^2 / 3) sum(gap), after every number of decisions."""
    regret, _ = play(train_one, "bandit-bernoulli", "ucb1", seed, EASY)
    gap = gaps("bandit-bernoulli", EASY)
    n = 100.0 * np.arange(1, len(regret) + 1)
    bound = 8.0 * np.log(n) * (1.0 / gap[gap > 0]).sum() + (1.0 + np.pi**2 / 3.0) * gap.sum()
    assert (regret < bound).all()
    assert regret[-1] < 0.1 * STEPS * gap.mean()  # choosing at random has all of it
    assert regret[-1] > 2.0 * np.log(STEPS) * 0.1  # and nobody learns for nothing


@pytest.mark.parametrize("seed", [0, 1])
def test_thompson_sampling_is_near_the_lower_bound_of_lai_and_robbins(train_one, seed):
    """No consistent strategy has less than sum(gap / KL) log n in the long run, and Thompson sampling reaches it."""
    regret, _ = play(train_one, "bandit-bernoulli", "thompson_bernoulli", seed, EASY)
    p = lookup.options_class("bandit-bernoulli")(**EASY).means()
    best = p.max()
    kl = p * np.log(p / best) + (1.0 - p) * np.log((1.0 - p) / (1.0 - best))
    least = np.log(STEPS) * ((best - p)[p < best] / kl[p < best]).sum()
    assert 0.2 * least < regret[-1] < 2.0 * least  # seen: 0.54 and 0.92 of it


@pytest.mark.parametrize(
    ("env", "strategy", "fields"),
    [
        ("bandit-bernoulli", "ucb1", {}),
        ("bandit-bernoulli", "thompson_bernoulli", {}),
        ("bandit-bernoulli", "epsilon_greedy", {"epsilon": 0.5}),
        ("bandit-gaussian", "thompson", {}),
        ("bandit-linear", "linucb", {}),
        ("bandit-linear", "thompson", {"reward_std": 0.1}),
    ],
)
def test_regret_grows_ever_more_slowly(train_one, env, strategy, fields):
    """The second half of the decisions costs much less than the first: with linear growth it would be the same."""
    halves = []
    for seed in range(3):
        regret, _ = play(train_one, env, strategy, seed, {"instance": 1}, **fields)
        halves.append((regret[9], regret[-1] - regret[9]))
    first, second = np.mean(halves, axis=0)
    assert second < 0.6 * first  # seen: 0.06 (LinUCB) to 0.48


def test_a_constant_share_of_random_arms_costs_a_constant_share_of_the_mean_gap(train_one):
    regret, _ = play(train_one, "bandit-bernoulli", "epsilon_greedy", 0, EASY, epsilon=0.3, epsilon_end=0.3)
    late = regret[-1] - regret[9]
    exact = 0.3 * gaps("bandit-bernoulli", EASY).mean() * STEPS / 2
    spread = np.sqrt(0.3 * (gaps("bandit-bernoulli", EASY) ** 2).mean() * STEPS / 2)
    assert abs(late - exact) < 4.0 * spread
    assert 4.0 * spread < 0.6 * exact


def test_decisions_that_are_made_at_once_share_what_is_known(train_one):
    regret, run = play(train_one, "bandit-linear", "linucb", num_envs=20, total_steps=4000, horizon=10)
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [row["steps"] for row in rows][:2] == [200, 400]
    assert regret[-1] - regret[9] < 0.3 * regret[9]


# -- what is left behind -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", ["ucb1", "thompson", "thompson_bernoulli", "epsilon_greedy"])
def test_the_policy_takes_the_best_arm(train_one, strategy):
    _, run = play(train_one, "bandit-bernoulli", strategy, options=EASY, reward_std=0.5)
    assert Policy.load(run / "policy", "best").act(0) == gaps("bandit-bernoulli", EASY).argmin()


def test_the_policy_takes_the_best_arm_of_each_context(train_one):
    _, run = play(train_one, "bandit-linear", "linucb", total_steps=4000)
    obs = np.random.default_rng(0).uniform(-1.0, 1.0, (1000, 5)).astype(np.float32)
    values = lookup.options_class("bandit-linear")().action_values(obs)
    chosen = Policy.load(run / "policy", "last").act(obs)
    lost = values.max(axis=1) - values[np.arange(1000), chosen]
    assert lost.mean() < 0.01 * (values.max(axis=1) - values.mean(axis=1)).mean()  # seen: 0.0004


def test_symbols_are_contexts_too(train_one):
    options = {"tabular": True}
    run = train_one("bandit", "probe-both", env_options=options, total_steps=400, strategy="ucb1", eval_episodes=10)
    assert Policy.load(run / "policy", "best").act(np.array([0, 1])).tolist() == [0, 1]


# -- what it refuses ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("env", "strategy", "message"),
    [
        ("bandit-linear", "ucb1", "strategy = ucb1: it counts .* use linucb or thompson"),
        ("bandit-linear", "thompson_bernoulli", "strategy = thompson_bernoulli: it counts"),
        ("bandit-gaussian", "thompson_bernoulli", "needs rewards from 0 to 1 and got .*: use thompson"),
        ("probe-continuous", "thompson", "chooses among Discrete actions"),
    ],
)
def test_what_does_not_fit_is_refused(train_one, env, strategy, message):
    with pytest.raises(ConfigError, match=message):
        train_one("bandit", env, strategy=strategy)


def test_the_command_line_takes_a_strategy(cli, workspace):
    words = ["--total-steps", "300", "--strategy", "ucb1", "--noise", "0.5", "--quiet", "--out", "run"]
    assert cli("train", "bandit", "bandit-gaussian", *words).code == 0
    spec = api.read_spec(workspace / "run")
    assert (spec["config"]["strategy"], spec["env_options"]["noise"]) == ("ucb1", 0.5)
