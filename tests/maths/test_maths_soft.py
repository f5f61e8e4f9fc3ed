"""Maximum-entropy formulas: hand numbers, densities that integrate to one, closed-form gradients, both forms agree."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from cumulant.errors import ConfigError
from cumulant.maths.soft import (
    discrete_sac_policy_loss,
    discrete_sac_target,
    sac_policy_loss,
    sac_target,
    squashed_gaussian_logp,
    temperature_loss,
)
from cumulant.maths.value import expected_sarsa_target, one_step_target

exact = settings(deadline=None, max_examples=60, derandomize=True, database=None)
INF = float("inf")


def double(values: list[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_squashed_density_by_hand() -> None:
    # At raw = 0 the tanh has slope 1; at raw = 1 its slope is 1 - tanh(1)^2 = 0.4199743.
    assert squashed_gaussian_logp(double([0.0]), double([0.0]), double([0.0])).item() == pytest.approx(-0.9189385332)
    by_hand = -0.5 - 0.9189385332 - math.log(1.0 - math.tanh(1.0) ** 2)
    assert squashed_gaussian_logp(double([1.0]), double([0.0]), double([0.0])).item() == pytest.approx(by_hand)


def test_squashed_density_integrates_to_one_over_the_box() -> None:
    action = torch.linspace(-1.0, 1.0, 400_001, dtype=torch.float64)[1:-1].unsqueeze(-1)
    mean, log_std = torch.full_like(action, 0.4), torch.full_like(action, -0.3)
    logp = squashed_gaussian_logp(action.atanh(), mean, log_std)
    assert (logp.exp().sum() * 2.0 / 400_000).item() == pytest.approx(1.0, abs=1e-6)


@exact
@given(st.integers(0, 1000))
def test_squashed_density_agrees_with_torch_distributions(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    raw, mean, log_std = (torch.randn(4, 3, generator=generator, dtype=torch.float64) for _ in range(3))
    tanh = torch.distributions.transforms.TanhTransform(cache_size=1)
    normal = torch.distributions.Normal(mean, log_std.exp())
    reference = torch.distributions.TransformedDistribution(normal, tanh)
    log_prob = reference.log_prob(tanh(raw)).sum(-1)
    torch.testing.assert_close(squashed_gaussian_logp(raw, mean, log_std), log_prob)


def test_squashed_density_is_finite_where_the_action_is_saturated() -> None:
    raw = torch.tensor([[60.0], [-60.0]], requires_grad=True)
    logp = squashed_gaussian_logp(raw, torch.zeros(2, 1), torch.zeros(2, 1))
    # log(1 - tanh^2) is 2 log 2 - 2 |raw| out there.
    torch.testing.assert_close(logp, torch.full((2,), -1800.0 - 0.9189385 + 120.0 - 2.0 * math.log(2.0)))
    (slope,) = torch.autograd.grad(logp.sum(), raw)
    torch.testing.assert_close(slope, torch.tensor([[-58.0], [58.0]]))


def test_gradient_of_the_sampled_density_is_the_closed_form() -> None:
    mean, log_std, noise = double([0.3]).requires_grad_(), double([-0.5]).requires_grad_(), double([0.7])
    raw = mean + log_std.exp() * noise
    by_mean, by_log_std = torch.autograd.grad(squashed_gaussian_logp(raw, mean, log_std), (mean, log_std))
    # -noise^2 / 2 does not move with the parameters; -log(1 - tanh(raw)^2) has the slope 2 tanh(raw).
    slope = 2.0 * math.tanh(raw.item())
    assert by_mean.item() == pytest.approx(slope)
    assert by_log_std.item() == pytest.approx(slope * 0.7 * math.exp(-0.5) - 1.0)


def test_targets_by_hand() -> None:
    reward, over = double([1.0, 1.0]), torch.tensor([False, True])
    assert one_step_target(reward, double([4.0, INF]), over, 0.5).tolist() == [3.0, 1.0]
    target = sac_target(reward, double([4.0, INF]), double([-3.0, -INF]), over, 0.5, temperature=0.2)
    assert target.tolist() == pytest.approx([1.0 + 0.5 * (4.0 + 0.6), 1.0])
    # 0.25 (2 + 0.2 log 4) + 0.75 (6 - 0.2 log 0.75)
    logp, q = double([0.25, 0.75]).log().expand(2, 2), double([2.0, 6.0]).expand(2, 2)
    soft = 0.25 * (2.0 + 0.2 * math.log(4.0)) + 0.75 * (6.0 - 0.2 * math.log(0.75))
    assert discrete_sac_target(reward, q, logp, over, 0.5, 0.2).tolist() == pytest.approx([1.0 + 0.5 * soft, 1.0])
    per_step = discrete_sac_target(
        reward, q, logp, torch.tensor([False, False]), double([0.5, 0.25]), torch.tensor(0.2)
    )
    assert per_step.tolist() == pytest.approx([1.0 + 0.5 * soft, 1.0 + 0.25 * soft])


@exact
@given(st.integers(0, 1000))
def test_discrete_forms_are_the_mean_of_the_sampled_ones(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    q, logits = (torch.randn(5, 3, generator=generator, dtype=torch.float64) for _ in range(2))
    logp = logits.log_softmax(-1)
    each = torch.stack([sac_policy_loss(q[:, a], logp[:, a], 0.3) for a in range(3)], -1)
    torch.testing.assert_close(discrete_sac_policy_loss(q, logp, 0.3), (logp.exp() * each).sum(-1))
    reward, over = torch.randn(5, generator=generator, dtype=torch.float64), torch.tensor([True, *[False] * 4])
    cold = discrete_sac_target(reward, q, logp, over, 0.9, temperature=0.0)
    torch.testing.assert_close(cold, expected_sarsa_target(reward, q, logp.exp(), over, 0.9))


def test_gradient_of_the_discrete_policy_loss_is_the_closed_form() -> None:
    logits, q, temperature = double([0.3, -1.0, 0.8]).requires_grad_(), double([1.0, 5.0, -2.0]), 0.7
    loss = discrete_sac_policy_loss(q, logits.log_softmax(-1), temperature)
    (slope,) = torch.autograd.grad(loss, logits)
    logp = logits.detach().log_softmax(-1)
    worth = temperature * logp - q
    torch.testing.assert_close(slope, logp.exp() * (worth - (logp.exp() * worth).sum()))


def test_the_best_policy_of_the_discrete_loss_is_the_boltzmann_one() -> None:
    q, temperature = double([1.0, 2.0, 0.5]), 0.5
    logits = (q / temperature).requires_grad_()
    (slope,) = torch.autograd.grad(discrete_sac_policy_loss(q, logits.log_softmax(-1), temperature), logits)
    torch.testing.assert_close(slope, torch.zeros_like(q))


def test_an_illegal_action_changes_neither_value_nor_gradient() -> None:
    legal, q = double([0.3, -1.0]).requires_grad_(), double([1.0, 5.0])
    masked = torch.cat([legal.detach(), double([-INF])]).requires_grad_()
    losses = [
        discrete_sac_policy_loss(q, legal.log_softmax(-1), 0.7),
        discrete_sac_policy_loss(torch.cat([q, double([-INF])]), masked.log_softmax(-1), 0.7),
    ]
    torch.testing.assert_close(losses[0], losses[1])
    (plain,), (with_it,) = torch.autograd.grad(losses[0], legal), torch.autograd.grad(losses[1], masked)
    torch.testing.assert_close(with_it, torch.cat([plain, double([0.0])]))


def test_who_has_a_gradient() -> None:
    q, logp, temperature = (double([2.0]).requires_grad_() for _ in range(3))
    sac_policy_loss(q, logp, temperature.sum()).sum().backward()
    assert (q.grad.item(), logp.grad.item(), temperature.grad) == (-1.0, 2.0, None)
    values = double([1.0, 2.0]).requires_grad_()
    discrete_sac_policy_loss(values, double([0.5, 0.5]).log().requires_grad_(), temperature.sum()).backward()
    assert (values.grad, temperature.grad) == (None, None)
    entropy, log_temperature = double([3.0, 2.0]).requires_grad_(), double([0.1]).requires_grad_()
    temperature_loss(log_temperature.squeeze(), entropy, 1.0).mean().backward()
    assert entropy.grad is None
    assert log_temperature.grad.item() == pytest.approx(1.5)  # too random: gradient descent lowers the temperature
    assert not sac_target(q, q, logp, torch.tensor([False]), 0.9, temperature.sum()).requires_grad


def test_shapes_that_broadcasting_would_hide_are_refused() -> None:
    row, column, flags = torch.zeros(3), torch.zeros(3, 1), torch.zeros(3, dtype=torch.bool)
    for call in (
        lambda: squashed_gaussian_logp(column, column, torch.zeros(1)),
        lambda: sac_target(row, row, column, flags, 0.9, 0.1),
        lambda: sac_target(row, column, column, flags, 0.9, 0.1),
        lambda: one_step_target(row, column, flags, 0.9),
        lambda: discrete_sac_target(row, column, torch.zeros(3, 2), flags, 0.9, 0.1),
        lambda: sac_policy_loss(row, column, 0.1),
        lambda: discrete_sac_policy_loss(row, column, 0.1),
        lambda: discrete_sac_policy_loss(torch.tensor(0.0), torch.tensor(0.0), 0.1),
        lambda: temperature_loss(row, row, 0.0),
    ):
        with pytest.raises(ConfigError, match="has shape"):
            call()
