"""Divergences: exact values by definition, and what the estimates do as values and as losses, by full enumeration."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from cumulant.errors import ConfigError
from cumulant.maths.kl import (
    adaptive_coefficient,
    categorical_kl,
    gaussian_kl,
    kl_estimate,
    kl_loss,
    off_policy_kl_loss,
)

exact = settings(deadline=None, max_examples=60, derandomize=True, database=None)
KINDS = ("k1", "k2", "k3")


def pair(seed: int, num_actions: int = 5) -> tuple[Tensor, Tensor]:
    """Logits of a policy (with gradient) and of a reference."""
    generator = torch.Generator().manual_seed(seed)
    logits, logits_ref = (torch.randn(num_actions, generator=generator, dtype=torch.float64) for _ in range(2))
    return logits.requires_grad_(), logits_ref


def mean_gradient(loss: Tensor, logp: Tensor, logits: Tensor) -> Tensor:
    """Gradient of a loss, averaged over all actions as the current policy would draw them."""
    (result,) = torch.autograd.grad((logp.detach().exp() * loss).sum(), logits)
    return result


def exact_gradient(divergence: Tensor, logits: Tensor) -> Tensor:
    (result,) = torch.autograd.grad(divergence, logits)
    return result


def test_categorical_kl_by_hand() -> None:
    policy, reference = torch.tensor([0.5, 0.5]).log(), torch.tensor([0.25, 0.75]).log()
    expected = 0.5 * math.log(0.5 / 0.25) + 0.5 * math.log(0.5 / 0.75)
    assert categorical_kl(policy, reference).item() == pytest.approx(expected, rel=1e-6)
    assert categorical_kl(policy.expand(3, 2), reference.expand(3, 2)).shape == (3,)


@exact
@given(st.integers(0, 1000), st.integers(1, 6), st.floats(-30.0, 30.0))
def test_categorical_kl_is_its_definition(seed: int, num_actions: int, shift: float) -> None:
    logits, logits_ref = pair(seed, num_actions)
    p, q = logits.detach().softmax(-1).tolist(), logits_ref.softmax(-1).tolist()
    expected = sum(a * math.log(a / b) for a, b in zip(p, q))
    assert categorical_kl(logits, logits_ref + shift).item() == pytest.approx(expected, abs=1e-12)
    assert categorical_kl(logits, logits_ref).item() >= -1e-12
    assert categorical_kl(logits, logits).item() == 0.0


def test_categorical_kl_with_impossible_actions() -> None:
    minus = float("-inf")
    half = torch.tensor([0.0, 0.0, minus], dtype=torch.float64).requires_grad_()
    third = torch.zeros(3, dtype=torch.float64)
    divergence = categorical_kl(half, third)
    assert divergence.item() == pytest.approx(math.log(1.5))
    torch.testing.assert_close(exact_gradient(divergence, half), torch.zeros(3, dtype=torch.float64))
    assert categorical_kl(half, half).item() == 0.0
    assert categorical_kl(third, half).item() == float("inf")


def test_gaussian_kl_by_hand() -> None:
    zero, one = torch.zeros(1, dtype=torch.float64), torch.ones(1, dtype=torch.float64)
    assert gaussian_kl(one, zero, zero, zero).item() == pytest.approx(0.5)
    assert gaussian_kl(2 * one, zero, zero, math.log(2.0) * one).item() == pytest.approx(math.log(2) + 5 / 8 - 0.5)


@exact
@given(st.integers(0, 1000))
def test_gaussian_kl_agrees_with_torch_distributions(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    mean, log_std, mean_ref, log_std_ref = (
        torch.randn(4, 3, generator=generator, dtype=torch.float64) for _ in range(4)
    )
    policy = torch.distributions.Normal(mean, log_std.exp())
    reference = torch.distributions.Normal(mean_ref, log_std_ref.exp())
    expected = torch.distributions.kl_divergence(policy, reference).sum(-1)
    torch.testing.assert_close(gaussian_kl(mean, log_std, mean_ref, log_std_ref), expected)


def test_gaussian_kl_of_nearly_equal_policies_is_not_rounded_away() -> None:
    zero, little = torch.zeros(1), torch.full((1,), 1e-4)
    # Second order: (2 * 0.0001)^2 / 4.
    assert gaussian_kl(zero, little, zero, zero).item() == pytest.approx(1e-8, rel=1e-2, abs=0.0)


def test_estimates_by_hand() -> None:
    logp, logp_ref = torch.tensor([-1.0, -2.0]), torch.tensor([-2.0, -1.0])
    assert kl_estimate(logp, logp_ref).tolist() == [1.0, -1.0]
    assert kl_estimate(logp, logp_ref, "k2").tolist() == [0.5, 0.5]
    expected = [math.exp(-1) - 1 + 1, math.exp(1) - 1 - 1]
    assert kl_estimate(logp, logp_ref, "k3").tolist() == pytest.approx(expected, rel=1e-6)


@exact
@given(st.integers(0, 1000))
def test_k1_and_k3_are_unbiased_values(seed: int) -> None:
    logits, logits_ref = pair(seed)
    logp, logp_ref = logits.detach().log_softmax(-1), logits_ref.log_softmax(-1)
    divergence = categorical_kl(logp, logp_ref).item()
    for kind in ("k1", "k3"):
        mean = (logp.exp() * kl_estimate(logp, logp_ref, kind)).sum().item()
        assert mean == pytest.approx(divergence, abs=1e-12)
    assert (kl_estimate(logp, logp_ref, "k3") >= 0).all()


def test_k2_is_nearly_unbiased_when_the_policies_are_near() -> None:
    logits, logits_ref = pair(0)
    near = logits.detach() + 0.01 * (logits_ref - logits.detach())
    logp, logp_ref = logits.detach().log_softmax(-1), near.log_softmax(-1)
    mean = (logp.exp() * kl_estimate(logp, logp_ref, "k2")).sum().item()
    assert mean == pytest.approx(categorical_kl(logp, logp_ref).item(), rel=0.02)


@exact
@given(st.integers(0, 1000), st.integers(2, 6))
def test_mean_gradient_of_kl_loss_is_that_of_the_reverse_divergence(seed: int, num_actions: int) -> None:
    logits, logits_ref = pair(seed, num_actions)
    logp, logp_ref = logits.log_softmax(-1), logits_ref.log_softmax(-1)
    expected = exact_gradient(categorical_kl(logits, logits_ref), logits)
    torch.testing.assert_close(mean_gradient(kl_loss(logp, logp_ref), logp, logits), expected, rtol=1e-9, atol=1e-12)


@exact
@given(st.integers(0, 1000), st.integers(2, 6))
def test_k1_as_a_loss_teaches_nothing(seed: int, num_actions: int) -> None:
    logits, logits_ref = pair(seed, num_actions)
    logp = logits.log_softmax(-1)
    result = mean_gradient(kl_estimate(logp, logits_ref.log_softmax(-1), "k1"), logp, logits)
    torch.testing.assert_close(result, torch.zeros_like(result), rtol=0.0, atol=1e-12)


@exact
@given(st.integers(0, 1000))
def test_k3_as_a_loss_follows_the_forward_divergence(seed: int) -> None:
    logits, logits_ref = pair(seed)
    logp = logits.log_softmax(-1)
    result = mean_gradient(kl_estimate(logp, logits_ref.log_softmax(-1), "k3"), logp, logits)
    forward = exact_gradient(categorical_kl(logits_ref, logits), logits)
    torch.testing.assert_close(result, forward, rtol=1e-9, atol=1e-12)
    reverse = exact_gradient(categorical_kl(logits, logits_ref), logits)
    assert (result - reverse).abs().max() > 1e-3


def test_kl_loss_by_hand_holds_the_reference_fixed() -> None:
    logp, logp_ref = torch.tensor([-1.0, -4.0]).requires_grad_(), torch.tensor([-3.0, -1.0]).requires_grad_()
    loss = kl_loss(logp, logp_ref)
    assert loss.tolist() == [2.0, 4.5]
    loss.sum().backward()
    assert logp.grad is not None
    assert logp.grad.tolist() == [2.0, -3.0]
    assert logp_ref.grad is None


@pytest.mark.parametrize(
    ("kl", "expected"),
    [
        (6.0, 0.5),  # on target: unchanged
        (6.6, 0.5 * 1.01),  # a tenth too far: a hundredth stronger
        (60.0, 0.5 * 1.02),  # errors are cut at a fifth
        (0.0, 0.5 * 0.98),
        (-1.0, 0.5 * 0.98),
    ],
)
def test_adaptive_coefficient_by_hand(kl: float, expected: float) -> None:
    assert adaptive_coefficient(0.5, kl, 6.0) == pytest.approx(expected)


def test_adaptive_coefficient_with_other_settings() -> None:
    assert adaptive_coefficient(1.0, 8.0, 4.0, step=0.5, limit=0.4) == pytest.approx(1.2)


def test_adaptive_coefficient_finds_the_one_that_meets_the_target() -> None:
    # A policy whose divergence is 3 / coefficient meets a target of 6 at 0.5.
    coefficient = 5.0
    for _ in range(1000):
        coefficient = adaptive_coefficient(coefficient, 3.0 / coefficient, 6.0)
    assert coefficient == pytest.approx(0.5, rel=1e-3)


@pytest.mark.parametrize(
    ("field", "value"), [("coefficient", 0.0), ("target", -1.0), ("step", 1.5), ("limit", -0.1), ("kl", float("nan"))]
)
def test_numbers_out_of_range_are_refused(field: str, value: float) -> None:
    with pytest.raises(ConfigError, match=f"{field} = {value}"):
        adaptive_coefficient(**{"coefficient": 0.1, "kl": 1.0, "target": 1.0, field: value})


def test_an_unknown_estimate_is_refused_with_a_hint() -> None:
    with pytest.raises(ConfigError, match=r"kind = 'k4'.*'k"):
        kl_estimate(torch.zeros(1), torch.zeros(1), "k4")  # type: ignore[arg-type]


def test_shapes_that_broadcasting_would_hide_are_refused() -> None:
    row, column, table = torch.zeros(3), torch.zeros(3, 1), torch.zeros(4, 3)
    for call in (
        lambda: categorical_kl(table, row),
        lambda: categorical_kl(torch.tensor(0.0), torch.tensor(0.0)),
        lambda: gaussian_kl(table, row, table, table),
        lambda: gaussian_kl(table, table, table, row),
        lambda: kl_estimate(row, column),
        lambda: kl_loss(row, column),
    ):
        with pytest.raises(ConfigError, match="has shape"):
            call()


@exact
@given(st.integers(0, 1000))
def test_the_loss_on_older_samples_has_the_value_and_the_gradient_of_kl(seed: int) -> None:
    logits, logits_ref = pair(seed)
    logp, logp_ref = logits.log_softmax(-1), logits_ref.log_softmax(-1).requires_grad_()
    older = (logits + pair(seed + 1)[1]).log_softmax(-1)
    loss = off_policy_kl_loss(logp, older, logp_ref)
    divergence = categorical_kl(logits, logits_ref)
    expected = (older.detach().exp() * loss).sum()
    assert expected.item() == pytest.approx(divergence.item(), abs=1e-12)
    gradient, of_reference = torch.autograd.grad(expected, (logits, logp_ref), retain_graph=True, allow_unused=True)
    torch.testing.assert_close(gradient, exact_gradient(divergence, logits))
    assert of_reference is None
    assert (loss >= 0.0).all()
