"""Probabilities from values: hand numbers, sums, ties, invariances, limits."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cumulant.errors import ConfigError
from cumulant.maths.exploration import boltzmann, epsilon_greedy, ucb, ucb_scores

exact = settings(deadline=None, max_examples=60, derandomize=True, database=None)
# Whole numbers, so that ties are common.
tables = st.integers(1, 6).flatmap(
    lambda num_actions: st.lists(
        st.lists(st.integers(-4, 4), min_size=num_actions, max_size=num_actions), min_size=1, max_size=4
    )
)


def test_epsilon_greedy_by_hand() -> None:
    q = torch.tensor([[1.0, 3.0, 2.0, 0.0], [5.0, 5.0, 5.0, 5.0], [2.0, 7.0, 0.0, 7.0]], dtype=torch.float64)
    expected = [[0.1, 0.7, 0.1, 0.1], [0.25, 0.25, 0.25, 0.25], [0.1, 0.4, 0.1, 0.4]]
    torch.testing.assert_close(epsilon_greedy(q, 0.4), torch.tensor(expected, dtype=torch.float64))


def test_boltzmann_by_hand() -> None:
    q = 2.0 * torch.tensor([1.0, 2.0, 5.0], dtype=torch.float64).log()
    torch.testing.assert_close(boltzmann(q, 2.0), torch.tensor([0.125, 0.25, 0.625], dtype=torch.float64))


def test_ucb_by_hand() -> None:
    value, count = torch.tensor([0.5, 0.4, 0.0], dtype=torch.float64), torch.tensor([6, 2, 1])
    bonus = [math.sqrt(2 * math.log(9) / n) for n in (6, 2, 1)]
    expected = torch.tensor([0.5 + bonus[0], 0.4 + bonus[1], bonus[2]], dtype=torch.float64)
    torch.testing.assert_close(ucb_scores(value, count), expected)
    assert ucb(value, count).tolist() == [0.0, 0.0, 1.0]
    # With little weight on the bonus the best mean wins.
    torch.testing.assert_close(ucb_scores(value, count, 0.1), value + 0.1 * (expected - value) / math.sqrt(2))
    assert ucb(value, count, 0.01).tolist() == [1.0, 0.0, 0.0]


@exact
@given(tables, st.floats(0.0, 1.0), st.floats(1e-3, 1e3))
def test_probabilities_sum_to_one(table: list[list[int]], epsilon: float, temperature: float) -> None:
    q = torch.tensor(table, dtype=torch.float64)
    for probability in (epsilon_greedy(q, epsilon), boltzmann(q, temperature), ucb(q, q + 4)):
        assert probability.shape == q.shape
        assert (probability >= 0).all()
        torch.testing.assert_close(probability.sum(-1), torch.ones(len(table), dtype=torch.float64))


@exact
@given(tables, st.floats(0.0, 1.0))
def test_epsilon_greedy_is_its_definition(table: list[list[int]], epsilon: float) -> None:
    probability = epsilon_greedy(torch.tensor(table, dtype=torch.float64), epsilon)
    for row, values in zip(probability.tolist(), table):
        for chance, value in zip(row, values):
            greedy = (1 - epsilon) / values.count(max(values)) if value == max(values) else 0.0
            assert chance == pytest.approx(epsilon / len(values) + greedy, abs=1e-12)


@exact
@given(tables, st.floats(-1e3, 1e3), st.floats(0.1, 10.0))
def test_boltzmann_sees_only_differences(table: list[list[int]], shift: float, temperature: float) -> None:
    q = torch.tensor(table, dtype=torch.float64)
    probability = boltzmann(q, temperature)
    torch.testing.assert_close(boltzmann(q + shift, temperature), probability, rtol=1e-9, atol=1e-9)
    # Values and temperature in another unit: the same policy.
    torch.testing.assert_close(boltzmann(7.0 * q, 7.0 * temperature), probability, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(probability, (q / temperature).softmax(-1))


@exact
@given(tables)
def test_boltzmann_meets_greedy_and_uniform(table: list[list[int]]) -> None:
    q = torch.tensor(table, dtype=torch.float64)
    torch.testing.assert_close(boltzmann(q, 1e-3), epsilon_greedy(q, 0.0))
    torch.testing.assert_close(boltzmann(q, 1e9), epsilon_greedy(q, 1.0))


@exact
@given(tables)
def test_order_of_actions_does_not_matter(table: list[list[int]]) -> None:
    q = torch.tensor(table, dtype=torch.float64)
    for policy in (lambda v: epsilon_greedy(v, 0.3), lambda v: boltzmann(v, 0.7), lambda v: ucb(v, v + 4)):
        torch.testing.assert_close(policy(q.flip(-1)).flip(-1), policy(q))


def test_boltzmann_at_the_edges_of_its_type() -> None:
    assert boltzmann(torch.tensor([3e38, -3e38]), 1e-30).tolist() == [1.0, 0.0]
    assert boltzmann(torch.tensor([0.0, float("-inf")]), 1.0).tolist() == [1.0, 0.0]
    with pytest.raises(ConfigError, match=r"temperature = 1e-50.*epsilon_greedy"):
        boltzmann(torch.zeros(2), 1e-50)


def test_untried_actions_come_first_and_share() -> None:
    value, count = torch.tensor([[9.0, 0.0, 0.0], [0.0, 0.0, 0.0]]), torch.tensor([[50, 0, 0], [0, 0, 0]])
    assert ucb(value, count).tolist() == [[0.0, 0.5, 0.5], [pytest.approx(1 / 3)] * 3]
    scores = ucb_scores(torch.full((1, 2), float("nan")), torch.tensor([[0, 0]]))
    assert scores.tolist() == [[math.inf, math.inf]]


def test_ucb_tries_neglected_actions_again() -> None:
    value = torch.tensor([0.6, 0.5])
    counts = [torch.tensor([tries, 5]) for tries in (5, 500)]
    assert ucb(value, counts[0]).tolist() == [1.0, 0.0]
    assert ucb(value, counts[1]).tolist() == [0.0, 1.0]


def test_ucb_regret_on_a_bandit_grows_slowly() -> None:
    # Auer et al. bound the plays of a worse arm by 8 ln(n) / gap^2 + 1 + pi^2 / 3; here 8 ln(600) / 0.16 + 4.3 = 324.
    generator = torch.Generator().manual_seed(0)
    chance, total, count = torch.tensor([0.3, 0.7]), torch.zeros(2), torch.zeros(2)
    for _ in range(600):
        arm = int(ucb(total / count.clamp(min=1), count).argmax())
        total[arm] += float(torch.rand((), generator=generator) < chance[arm])
        count[arm] += 1
    assert count[0] <= 324
    assert count[0] >= 2  # it is tried again


def test_probabilities_carry_no_gradient() -> None:
    q = torch.tensor([1.0, 2.0], requires_grad=True)
    assert not any(
        result.requires_grad for result in (epsilon_greedy(q, 0.1), boltzmann(q, 1.0), ucb(q, torch.ones(2)))
    )


@pytest.mark.parametrize("value", [-0.1, float("nan")])
def test_numbers_out_of_range_are_refused(value: float) -> None:
    q = torch.zeros(2)
    with pytest.raises(ConfigError, match=f"epsilon = {value}"):
        epsilon_greedy(q, value)
    with pytest.raises(ConfigError, match=r"epsilon = 1\.1"):
        epsilon_greedy(q, 1.1)
    with pytest.raises(ConfigError, match=f"temperature = {value}"):
        boltzmann(q, value)
    for function in (ucb, ucb_scores):
        with pytest.raises(ConfigError, match=f"exploration = {value}"):
            function(q, q, value)


def test_tensors_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ConfigError, match="count has shape"):
        ucb_scores(torch.zeros(4, 2), torch.zeros(2))
    for call in (
        lambda: epsilon_greedy(torch.tensor(0.0), 0.1),
        lambda: boltzmann(torch.zeros(3, 0), 1.0),
        lambda: ucb(torch.tensor(0.0), torch.tensor(0.0)),
    ):
        with pytest.raises(ConfigError, match="last axis must be the actions"):
            call()
    with pytest.raises(ConfigError, match=r"q is .*int64"):
        epsilon_greedy(torch.tensor([1, 2]), 0.1)
