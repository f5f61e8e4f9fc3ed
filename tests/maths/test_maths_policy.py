"""Losses and measures of policies: hand numbers, closed-form gradients, densities that integrate to one."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from cumulant.errors import ConfigError
from cumulant.maths.policy import (
    categorical_entropy,
    clip_fraction,
    clipped_policy_loss,
    gaussian_entropy,
    gaussian_logp,
    policy_gradient_loss,
    smoothed_action,
)

exact = settings(deadline=None, max_examples=60, derandomize=True, database=None)


def double(values: list[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def gradient(loss: Tensor, leaf: Tensor) -> Tensor:
    (result,) = torch.autograd.grad(loss.sum(), leaf)
    return result


def test_losses_by_hand() -> None:
    assert policy_gradient_loss(double([-2.0, -1.0]), double([3.0, -4.0])).tolist() == [6.0, -4.0]
    # Ratios 1.5 and 0.5 with both signs of the advantage, then 1.1, which is inside.
    logp = double([1.5, 1.5, 0.5, 0.5, 1.1]).log()
    loss = clipped_policy_loss(logp, torch.zeros_like(logp), double([2.0, -2.0, 2.0, -2.0, 2.0]), 0.2)
    torch.testing.assert_close(loss, double([-2.4, 3.0, -1.0, 1.6, -2.2]))


@exact
@given(st.integers(0, 1000), st.floats(0.05, 0.9))
def test_clipped_loss_is_its_definition(seed: int, clip: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    logp, logp_old, advantage = (torch.randn(4, 3, generator=generator, dtype=torch.float64) for _ in range(3))
    loss = clipped_policy_loss(logp, logp_old, advantage, clip)
    assert loss.shape == (4, 3)
    for new, old, a, result in zip(*(part.flatten().tolist() for part in (logp, logp_old, advantage, loss))):
        ratio = math.exp(new - old)
        expected = -min(ratio * a, min(max(ratio, 1 - clip), 1 + clip) * a)
        assert result == pytest.approx(expected, rel=1e-12)


def test_gradient_at_ratio_one_is_minus_the_advantage() -> None:
    advantage = double([2.0, -3.0, 0.0])
    logp = double([-1.0, -2.0, -0.5]).requires_grad_()
    torch.testing.assert_close(gradient(clipped_policy_loss(logp, logp.detach(), advantage, 0.2), logp), -advantage)


@pytest.mark.parametrize(
    ("ratio", "advantage", "expected"),
    [
        (1.3, 1.0, 0.0),  # good and already likelier by more than the clip
        (0.7, -1.0, 0.0),  # bad and already rarer by more than the clip
        (1.3, -1.0, 1.3),  # bad and likelier: pulled back, with the full weight of the ratio
        (0.7, 1.0, -0.7),  # good and rarer: likewise
        (1.1, 1.0, -1.1),  # inside: minus ratio times advantage
        (0.9, -2.0, 1.8),
    ],
)
def test_gradient_of_the_clipped_loss(ratio: float, advantage: float, expected: float) -> None:
    logp = double([math.log(ratio)]).requires_grad_()
    loss = clipped_policy_loss(logp, torch.zeros_like(logp), double([advantage]), 0.2)
    assert gradient(loss, logp).item() == pytest.approx(expected, rel=1e-12)


@exact
@given(st.integers(0, 1000), st.floats(0.1, 0.9))
def test_an_inactive_clip_is_the_importance_weighted_policy_gradient(seed: int, clip: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    old, advantage = (torch.randn(6, generator=generator, dtype=torch.float64) for _ in range(2))
    inside = 0.99 * math.log1p(clip)  # the nearer of the two bounds, in logarithms
    move = inside * (2 * torch.rand(6, generator=generator, dtype=torch.float64) - 1)
    logp = (old + move).requires_grad_()
    clipped = gradient(clipped_policy_loss(logp, old, advantage, clip), logp)
    plain = gradient(policy_gradient_loss(logp, advantage * move.exp()), logp)
    torch.testing.assert_close(clipped, plain, rtol=1e-12, atol=1e-12)


def test_policy_gradient_of_a_softmax_is_the_textbook_one() -> None:
    # Mean over all actions of (advantage * grad log p) is p * (advantage - mean advantage).
    logits = double([0.3, -1.0, 0.8]).requires_grad_()
    advantage = double([1.0, 5.0, -2.0])
    logp = logits.log_softmax(-1)
    probability = logp.detach().exp()
    result = gradient(probability * policy_gradient_loss(logp, advantage), logits)
    torch.testing.assert_close(result, -probability * (advantage - (probability * advantage).sum()))


def test_what_is_measured_is_held_fixed() -> None:
    logp, old, advantage = (double([-1.0, -2.0]).requires_grad_() for _ in range(3))
    (policy_gradient_loss(logp, advantage) + clipped_policy_loss(logp, old, advantage, 0.2)).sum().backward()
    assert logp.grad is not None
    assert old.grad is None
    assert advantage.grad is None


def test_clip_fraction_marks_both_sides() -> None:
    logp = torch.tensor([1.3, 1.1, 1.0, 0.9, 0.7]).log().requires_grad_()
    marked = clip_fraction(logp, torch.zeros(5), 0.2)
    assert marked.tolist() == [1.0, 0.0, 0.0, 0.0, 1.0]
    assert marked.dtype == torch.float32
    assert not marked.requires_grad


@exact
@given(st.lists(st.floats(-8.0, 8.0), min_size=1, max_size=6), st.floats(-50.0, 50.0))
def test_categorical_entropy_is_its_definition(logits: list[float], shift: float) -> None:
    weights = [math.exp(logit) for logit in logits]
    expected = -sum(w / sum(weights) * math.log(w / sum(weights)) for w in weights)
    entropy = categorical_entropy(double(logits))
    assert entropy.shape == ()
    assert entropy.item() == pytest.approx(expected, abs=1e-10)
    assert categorical_entropy(double(logits) + shift).item() == pytest.approx(expected, abs=1e-10)
    assert categorical_entropy(double(logits).log_softmax(-1)).item() == pytest.approx(expected, abs=1e-10)


def test_entropy_of_even_chances_is_the_logarithm_of_their_number() -> None:
    torch.testing.assert_close(categorical_entropy(torch.zeros(2, 3, 8)), torch.full((2, 3), math.log(8)))


def test_illegal_actions_change_neither_entropy_nor_gradient() -> None:
    legal = double([0.3, -1.0, 0.8]).requires_grad_()
    masked = torch.cat([legal, double([float("-inf")])]).detach().requires_grad_()
    torch.testing.assert_close(categorical_entropy(masked), categorical_entropy(legal))
    expected = torch.cat([gradient(categorical_entropy(legal), legal), double([0.0])])
    torch.testing.assert_close(gradient(categorical_entropy(masked), masked), expected)


def test_gradient_of_the_categorical_entropy() -> None:
    logits = double([0.3, -1.0, 0.8]).requires_grad_()
    entropy = categorical_entropy(logits)
    logp = logits.detach().log_softmax(-1)
    torch.testing.assert_close(gradient(entropy, logits), -logp.exp() * (logp + entropy.detach()))


def test_gaussian_numbers_by_hand() -> None:
    # At the mean, with standard deviation e: -1 - log(2 pi) / 2.
    at_mean = gaussian_logp(double([[3.0]]), double([[3.0]]), double([[1.0]]))
    assert at_mean.item() == pytest.approx(-1.9189385332046727)
    # One and two standard deviations off in two dimensions: -0.5 - 2 - log(2 pi) - log 2 - log 3.
    off = gaussian_logp(double([3.0, 7.0]), double([1.0, 1.0]), double([2.0, 3.0]).log())
    assert off.item() == pytest.approx(-2.5 - math.log(2 * math.pi) - math.log(6.0))
    assert gaussian_entropy(double([0.0])).item() == pytest.approx(1.4189385332046727)


@exact
@given(st.integers(0, 1000))
def test_gaussian_functions_agree_with_torch_distributions(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    action, mean, log_std = (torch.randn(4, 3, generator=generator, dtype=torch.float64) for _ in range(3))
    reference = torch.distributions.Independent(torch.distributions.Normal(mean, log_std.exp()), 1)
    torch.testing.assert_close(gaussian_logp(action, mean, log_std), reference.log_prob(action))
    torch.testing.assert_close(gaussian_entropy(log_std), reference.entropy())


def test_gaussian_density_integrates_to_one_and_entropy_is_its_mean_surprise() -> None:
    grid = torch.linspace(-12.0, 14.0, 20_001, dtype=torch.float64).unsqueeze(-1)
    log_std = double([0.4])
    logp = gaussian_logp(grid, torch.ones_like(grid), log_std.expand_as(grid))
    width = 26.0 / 20_000
    assert (logp.exp().sum() * width).item() == pytest.approx(1.0, abs=1e-9)
    assert -(logp.exp() * logp).sum().item() * width == pytest.approx(gaussian_entropy(log_std).item(), abs=1e-9)


def test_gradients_of_the_gaussian_log_density() -> None:
    action, mean, log_std = double([2.0]), double([0.5]).requires_grad_(), double([0.3]).requires_grad_()
    by_mean, by_log_std = torch.autograd.grad(gaussian_logp(action, mean, log_std), (mean, log_std))
    scaled = 1.5 * math.exp(-0.3)
    assert by_mean.item() == pytest.approx(scaled * math.exp(-0.3))
    assert by_log_std.item() == pytest.approx(scaled**2 - 1.0)


@pytest.mark.parametrize("clip", [0.0, -0.1, 1.0, 20.0, float("nan")])
def test_clips_out_of_range_are_refused(clip: float) -> None:
    one = torch.zeros(1)
    with pytest.raises(ConfigError, match=f"clip = {clip}"):
        clipped_policy_loss(one, one, one, clip)
    with pytest.raises(ConfigError, match=f"clip = {clip}"):
        clip_fraction(one, one, clip)


def test_shapes_that_broadcasting_would_hide_are_refused() -> None:
    row, column = torch.zeros(3), torch.zeros(3, 1)
    for call in (
        lambda: policy_gradient_loss(row, column),
        lambda: clipped_policy_loss(row, column, row, 0.2),
        lambda: clipped_policy_loss(row, row, column, 0.2),
        lambda: clip_fraction(row, column, 0.2),
        lambda: gaussian_logp(torch.zeros(4, 3), torch.zeros(4, 3), torch.zeros(3)),
        lambda: gaussian_logp(torch.zeros(3), torch.zeros(4, 3), torch.zeros(4, 3)),
        lambda: gaussian_entropy(torch.tensor(0.0)),
        lambda: categorical_entropy(torch.tensor(0.0)),
    ):
        with pytest.raises(ConfigError, match="has shape"):
            call()


def test_smoothed_actions_stay_near_and_inside() -> None:
    action, noise = double([0.0, 0.5, -0.95, 0.1]), double([0.5, 9.0, -1.0, -9.0])
    smoothed = smoothed_action(action.requires_grad_(), noise, 0.2, 0.4)
    torch.testing.assert_close(smoothed, double([0.1, 0.9, -1.0, -0.3]))
    assert not smoothed.requires_grad
    with pytest.raises(ConfigError, match="clip = 0"):
        smoothed_action(action, noise, 0.2, 0.0)
    with pytest.raises(ConfigError, match="has shape"):
        smoothed_action(action, noise.unsqueeze(-1), 0.2, 0.4)
