"""Losses on comparisons: values by hand, gradients in closed form, and what their minima and symmetries must be."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from cumulant.errors import ConfigError
from cumulant.maths.preference import bradley_terry_loss, dpo_loss, implicit_reward, ipo_loss

exact = settings(deadline=None, max_examples=60, derandomize=True, database=None)
shares, gaps, betas = st.floats(0.0, 1.0), st.floats(-8.0, 8.0), st.floats(0.01, 3.0)
LOG_2 = math.log(2.0)


def one(value: float) -> Tensor:
    return torch.tensor([value], dtype=torch.float64, requires_grad=True)


def sigmoid(x: float) -> float:
    return 1.0 / (1.0 + math.exp(-x))


def gradient(loss: Tensor, *leaves: Tensor) -> list[float]:
    return [g.item() for g in torch.autograd.grad(loss.sum(), leaves)]


def test_bradley_terry_by_hand() -> None:
    # Three raters of four prefer a response that the model puts 1 ahead: sigmoid(1) = 0.7310585786.
    loss = bradley_terry_loss(one(1.0), share=0.75)
    assert loss.item() == pytest.approx(-0.75 * math.log(0.7310585786300049) - 0.25 * math.log(0.2689414213699951))
    assert bradley_terry_loss(one(1.0), margin=1.0).item() == pytest.approx(LOG_2)
    assert bradley_terry_loss(one(0.0), share=0.5).item() == pytest.approx(LOG_2)  # a tie, scored as one


def test_bradley_terry_takes_a_share_and_a_margin_for_every_pair() -> None:
    difference, share, margin = torch.tensor([1.0, -1.0]), torch.tensor([1.0, 0.5]), torch.tensor([0.5, 0.0])
    both = bradley_terry_loss(difference, share, margin)
    alone = [bradley_terry_loss(difference[i : i + 1], share[i].item(), margin[i].item()).item() for i in range(2)]
    assert both.tolist() == pytest.approx(alone)
    assert both.shape == (2,)


@exact
@given(gaps, shares, st.floats(-3.0, 3.0))
def test_bradley_terry_gradient_in_closed_form(difference: float, share: float, margin: float) -> None:
    x = one(difference)
    (found,) = gradient(bradley_terry_loss(x, share, margin), x)
    assert found == pytest.approx(sigmoid(difference - margin) - share, abs=1e-12)


@exact
@given(gaps, shares)
def test_a_pair_turned_round_has_the_same_loss(difference: float, share: float) -> None:
    turned = bradley_terry_loss(one(-difference), 1.0 - share)
    assert bradley_terry_loss(one(difference), share).item() == pytest.approx(turned.item(), rel=1e-12)


@exact
@given(st.floats(0.05, 0.95), st.floats(-3.0, 3.0), st.floats(0.01, 2.0))
def test_the_minimum_is_where_the_model_is_as_sure_as_the_raters(share: float, margin: float, step: float) -> None:
    best = math.log(share / (1.0 - share)) + margin
    at_best = bradley_terry_loss(one(best), share, margin).item()
    for other in (best - step, best + step):
        assert bradley_terry_loss(one(other), share, margin).item() > at_best


@exact
@given(st.integers(0, 1000), st.integers(2, 12))
def test_a_share_is_the_mean_over_its_raters(seed: int, num_raters: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    votes = torch.randint(0, 2, (num_raters,), generator=generator).double()
    difference = torch.randn(1, generator=generator, dtype=torch.float64)
    each = bradley_terry_loss(difference.expand(num_raters), votes)
    together = bradley_terry_loss(difference, votes.mean(0, keepdim=True))
    assert together.item() == pytest.approx(each.mean().item(), rel=1e-12)


def test_far_apart_scores_stay_finite() -> None:
    x = torch.tensor([-1e4, 1e4], requires_grad=True)
    loss = bradley_terry_loss(x)
    assert loss.tolist() == [1e4, 0.0]
    loss.sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [-1.0, 0.0]


def test_implicit_reward_by_hand() -> None:
    assert implicit_reward(one(-10.0), one(-12.5), 0.2).item() == pytest.approx(0.5)


@exact
@given(st.floats(-50.0, 50.0), betas, shares, st.floats(0.0, 0.49))
def test_dpo_at_equal_log_ratios_is_log_2(ratio: float, beta: float, share: float, eps: float) -> None:
    for smoothing in ("conservative", "robust"):
        loss = dpo_loss(one(ratio), one(ratio), beta, share=share, label_smoothing=eps, smoothing=smoothing)
        assert loss.item() == pytest.approx(LOG_2, rel=1e-12)


@exact
@given(gaps, gaps, betas, shares, st.floats(0.0, 0.49))
def test_dpo_gradients_in_closed_form(a: float, b: float, beta: float, share: float, eps: float) -> None:
    wins = sigmoid(beta * (a - b))
    for smoothing, s in (
        ("conservative", share * (1.0 - eps) + (1.0 - share) * eps),
        ("robust", (share * (1.0 - eps) - (1.0 - share) * eps) / (1.0 - 2.0 * eps)),
    ):
        chosen, rejected = one(a), one(b)
        loss = dpo_loss(chosen, rejected, beta, share=share, label_smoothing=eps, smoothing=smoothing)  # type: ignore[arg-type]
        expected = beta * (wins - s)
        assert gradient(loss, chosen, rejected) == pytest.approx([expected, -expected], rel=1e-9, abs=1e-12)


@exact
@given(gaps, gaps, betas)
def test_dpo_is_bradley_terry_on_implicit_rewards(a: float, b: float, beta: float) -> None:
    zero = one(0.0)
    difference = implicit_reward(one(a), zero, beta) - implicit_reward(one(b), zero, beta)
    assert dpo_loss(one(a), one(b), beta).item() == pytest.approx(bradley_terry_loss(difference).item(), rel=1e-12)


@exact
@given(gaps, betas, st.floats(0.0, 0.45))
def test_robust_smoothing_is_unbiased_under_wrong_labels(gap: float, beta: float, eps: float) -> None:
    """A fraction eps of the pairs turned round: the mean of the robust loss is the plain loss of the clean pairs."""
    right = dpo_loss(one(gap), one(0.0), beta, label_smoothing=eps, smoothing="robust").item()
    wrong = dpo_loss(one(0.0), one(gap), beta, label_smoothing=eps, smoothing="robust").item()
    clean = dpo_loss(one(gap), one(0.0), beta).item()
    assert (1.0 - eps) * right + eps * wrong == pytest.approx(clean, rel=1e-9, abs=1e-12)


def test_conservative_smoothing_stops_at_a_finite_gap() -> None:
    beta, eps = 0.5, 0.1
    best = math.log((1.0 - eps) / eps) / beta
    x = one(best)
    assert gradient(dpo_loss(x, one(0.0), beta, label_smoothing=eps), x) == pytest.approx([0.0], abs=1e-12)
    x = one(best)
    assert gradient(dpo_loss(x, one(0.0), beta), x)[0] < -0.01  # without smoothing it goes on


def test_ipo_by_hand() -> None:
    # tau = 0.25 asks for a gap of 2: at 0.5 the loss is 1.5 squared.
    assert ipo_loss(one(1.0), one(0.5), 0.25).item() == pytest.approx(2.25)
    assert ipo_loss(one(2.5), one(0.5), 0.25).item() == 0.0
    assert ipo_loss(one(3.0), one(3.0), 0.25, share=0.5).item() == pytest.approx(4.0)


@exact
@given(gaps, gaps, betas, shares)
def test_ipo_gradients_in_closed_form(a: float, b: float, beta: float, share: float) -> None:
    chosen, rejected = one(a), one(b)
    expected = 2.0 * (a - b) - (2.0 * share - 1.0) / beta
    found = gradient(ipo_loss(chosen, rejected, beta, share=share), chosen, rejected)
    assert found == pytest.approx([expected, -expected], rel=1e-9, abs=1e-9)


@exact
@given(gaps, betas, shares)
def test_ipo_turned_round_has_the_same_loss(gap: float, beta: float, share: float) -> None:
    turned = ipo_loss(one(0.0), one(gap), beta, share=1.0 - share).item()
    assert ipo_loss(one(gap), one(0.0), beta, share=share).item() == pytest.approx(turned, rel=1e-12)


def test_numbers_out_of_range_are_refused() -> None:
    x = torch.zeros(2)
    for call, message in (
        (lambda: bradley_terry_loss(x, share=1.2), r"share = 1\.2 is out of range"),
        (lambda: bradley_terry_loss(x, margin=float("nan")), r"margin = nan is out of range"),
        (lambda: implicit_reward(x, x, 0.0), r"beta = 0\.0 is out of range"),
        (lambda: dpo_loss(x, x, -1.0), r"beta = -1\.0 is out of range"),
        (lambda: dpo_loss(x, x, 0.1, label_smoothing=0.5), r"label_smoothing = 0\.5 .* \[0, 0\.5\)"),
        (lambda: dpo_loss(x, x, 0.1, share=-0.1), r"share = -0\.1 is out of range"),
        (lambda: dpo_loss(x, x, 0.1, smoothing="robus"), "did you mean 'robust'"),  # type: ignore[arg-type]
        (lambda: ipo_loss(x, x, 0.0), r"beta = 0\.0 is out of range"),
        (lambda: ipo_loss(x, x, 0.1, share=2.0), r"share = 2\.0 is out of range"),
    ):
        with pytest.raises(ConfigError, match=message):
            call()


def test_shapes_that_broadcasting_would_hide_are_refused() -> None:
    row, column = torch.zeros(3), torch.zeros(3, 1)
    for call in (
        lambda: bradley_terry_loss(row, column),
        lambda: bradley_terry_loss(row, 1.0, column),
        lambda: implicit_reward(row, column, 0.1),
        lambda: dpo_loss(row, column, 0.1),
        lambda: dpo_loss(row, row, 0.1, share=column),
        lambda: ipo_loss(row, column, 0.1),
        lambda: ipo_loss(row, row, 0.1, share=column),
    ):
        with pytest.raises(ConfigError, match="has shape"):
            call()
