"""Distributional targets and losses: hand numbers, definitions by loop, identities, closed-form gradients."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from cumulant.errors import ConfigError
from cumulant.maths.distributional import (
    categorical_loss,
    categorical_target,
    quantile_huber_loss,
    quantile_target,
    truncated_mixture,
)
from cumulant.maths.value import huber_loss, q_learning_target

exact = settings(deadline=None, max_examples=60, derandomize=True, database=None)


def random_step(seed: int, shape: tuple[int, ...], num_atoms: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    reward = 2.0 * torch.randn(shape, generator=generator, dtype=torch.float64)
    numbers = torch.randn((*shape, num_atoms), generator=generator, dtype=torch.float64)
    terminated = torch.rand(shape, generator=generator) < 0.3
    gamma = torch.rand(shape, generator=generator, dtype=torch.float64)
    return reward, numbers, terminated, gamma


def projected(reward: float, probability: list[float], over: bool, gamma: float, support: list[float]) -> list[float]:
    """Algorithm 1 of Bellemare et al. 2017, atom by atom."""
    low, high, last = support[0], support[-1], len(support) - 1
    target = [0.0] * len(support)
    for p, atom in zip(probability, support):
        place = min(max(reward + (0.0 if over else gamma) * atom, low), high)
        b = (place - low) / (high - low) * last
        below = min(math.floor(b), last - 1)
        target[below] += p * (below + 1 - b)
        target[below + 1] += p * (b - below)
    return target


@exact
@given(
    st.integers(0, 1000), st.sampled_from([(), (1,), (5,), (3, 2)]), st.integers(2, 9), st.floats(-3, 1), st.booleans()
)
def test_categorical_target_is_its_definition(
    seed: int, shape: tuple[int, ...], num_atoms: int, low: float, own_gamma: bool
) -> None:
    reward, logits, terminated, gammas = random_step(seed, shape, num_atoms)
    probability, support = logits.softmax(-1), torch.linspace(low, low + 4.0, num_atoms, dtype=torch.float64)
    target = categorical_target(reward, probability, terminated, gammas if own_gamma else 0.7, support)
    rows = zip(
        target.reshape(-1, num_atoms), reward.reshape(-1), probability.reshape(-1, num_atoms),
        terminated.reshape(-1), gammas.reshape(-1),
    )  # fmt: skip
    for got, r, p, over, own in rows:
        gamma = own.item() if own_gamma else 0.7
        expected = projected(r.item(), p.tolist(), bool(over), gamma, support.tolist())
        assert got.tolist() == pytest.approx(expected, abs=1e-12)
    torch.testing.assert_close(target.sum(-1), torch.ones(shape, dtype=torch.float64))


@exact
@given(st.integers(0, 1000), st.integers(2, 9))
def test_projection_keeps_the_mean_where_nothing_is_clipped(seed: int, num_atoms: int) -> None:
    reward, logits, terminated, gamma = random_step(seed, (6,), num_atoms)
    probability, support = logits.softmax(-1), torch.linspace(-20, 20, num_atoms, dtype=torch.float64)
    support = support * 1.0
    reward, gamma = reward.clamp(-2, 2), gamma * 0.9
    target = categorical_target(reward, probability, terminated, gamma, support)
    mean = q_learning_target(reward, (probability @ support).unsqueeze(-1), terminated, gamma)
    torch.testing.assert_close(target @ support, mean)


def test_categorical_by_hand() -> None:
    support, terminated = torch.tensor([-1.0, 0.0, 1.0]), torch.tensor([False, True, False])
    probability = torch.tensor([[0.2, 0.3, 0.5], [0.2, 0.3, 0.5], [0.0, 0.0, 1.0]])
    target = categorical_target(torch.tensor([0.0, 0.25, 5.0]), probability, terminated, 0.5, support)
    expected = torch.tensor([[0.1, 0.65, 0.25], [0.0, 0.75, 0.25], [0.0, 0.0, 1.0]])
    torch.testing.assert_close(target, expected)


@exact
@given(st.integers(0, 1000), st.integers(2, 7))
def test_gradient_of_the_categorical_loss_is_the_difference_of_probabilities(seed: int, num_atoms: int) -> None:
    _, logits, _, _ = random_step(seed, (4,), num_atoms)
    target = random_step(seed + 1, (4,), num_atoms)[1].softmax(-1)
    leaf = logits.clone().requires_grad_()
    categorical_loss(leaf, target).sum().backward()
    torch.testing.assert_close(leaf.grad, logits.softmax(-1) - target)
    assert (categorical_loss(logits, target) >= categorical_loss(target.log(), target) - 1e-12).all()


@exact
@given(
    st.integers(0, 1000), st.sampled_from([(), (3,), (2, 2)]), st.integers(1, 5), st.integers(1, 4), st.floats(0.1, 3)
)
def test_quantile_huber_loss_is_its_definition(
    seed: int, shape: tuple[int, ...], num_quantiles: int, num_samples: int, delta: float
) -> None:
    quantiles = random_step(seed, shape, num_quantiles)[1]
    target = 2.0 * random_step(seed + 1, shape, num_samples)[1]
    loss = quantile_huber_loss(quantiles, target, delta).reshape(-1)
    rows = zip(quantiles.reshape(-1, num_quantiles).tolist(), target.reshape(-1, num_samples).tolist())
    for k, (ours, theirs) in enumerate(rows):
        expected = 0.0
        for i, quantile in enumerate(ours):
            tau = (2 * i + 1) / (2 * num_quantiles)
            for sample in theirs:
                error = sample - quantile
                size = abs(error)
                huber = 0.5 * error**2 if size <= delta else delta * (size - 0.5 * delta)
                expected += abs(tau - (1.0 if error < 0 else 0.0)) * huber / delta / num_samples
        assert loss[k].item() == pytest.approx(expected, abs=1e-12)


def test_quantiles_settle_at_the_quantiles() -> None:
    """Four quantiles of 0..7 are the middles of its quarters; with a small delta the loss is the plain quantile loss."""
    samples = torch.arange(8.0, dtype=torch.float64).unsqueeze(0)
    quantiles = torch.zeros(1, 4, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.SGD([quantiles], lr=0.05)
    for _ in range(2000):
        optimizer.zero_grad()
        quantile_huber_loss(quantiles, samples, delta=0.01).sum().backward()
        optimizer.step()
    assert quantiles.detach().squeeze().tolist() == pytest.approx([1.0, 3.0, 5.0, 7.0], abs=1.0)
    assert (quantiles.detach().diff() > 1.0).all()


def test_one_quantile_is_half_a_huber_loss() -> None:
    value, target = torch.tensor([[0.3], [2.0], [-4.0]]), torch.tensor([[0.0], [0.0], [0.0]])
    torch.testing.assert_close(quantile_huber_loss(value, target), 0.5 * huber_loss(value, target).squeeze(-1))


@exact
@given(st.integers(0, 1000), st.integers(1, 5))
def test_quantile_target_moves_every_quantile(seed: int, num_quantiles: int) -> None:
    reward, quantiles, terminated, gamma = random_step(seed, (4,), num_quantiles)
    target = quantile_target(reward, quantiles, terminated, gamma)
    for k in range(num_quantiles):
        torch.testing.assert_close(target[:, k], q_learning_target(reward, quantiles[:, k : k + 1], terminated, gamma))
    torch.testing.assert_close(
        quantile_target(reward, quantiles, terminated, 0.5),
        quantile_target(reward, quantiles, terminated, torch.full_like(reward, 0.5)),
    )


def test_nothing_is_read_behind_a_termination_and_targets_are_held_fixed() -> None:
    reward, terminated = torch.tensor([1.0]), torch.tensor([True])
    nothing = torch.full((1, 3), float("nan"))
    assert quantile_target(reward, nothing, terminated, 0.9).tolist() == [[1.0, 1.0, 1.0]]
    out, target = torch.zeros(1, 3, requires_grad=True), torch.full((1, 3), 1 / 3, requires_grad=True)
    (categorical_loss(out, target) + quantile_huber_loss(out, target)).sum().backward()
    assert out.grad is not None
    assert target.grad is None
    assert not quantile_target(reward, out, terminated, 0.9).requires_grad
    assert not categorical_target(reward, out, terminated, 0.9, torch.arange(3.0)).requires_grad


def test_what_does_not_fit_is_refused() -> None:
    reward, three, over = torch.zeros(2), torch.zeros(2, 3), torch.zeros(2, dtype=torch.bool)
    with pytest.raises(ConfigError, match="support has shape"):
        categorical_target(reward, three, over, 0.9, torch.arange(4.0))
    with pytest.raises(ConfigError, match="at least two atoms"):
        categorical_target(reward, three[:, :1], over, 0.9, torch.arange(1.0))
    with pytest.raises(ConfigError, match=r"gamma = 1\.5"):
        quantile_target(reward, three, over, 1.5)
    with pytest.raises(ConfigError, match="gamma has shape"):
        quantile_target(reward, three, over, torch.ones(2, 1))
    with pytest.raises(ConfigError, match="terminated is float32"):
        categorical_target(reward, three, reward, 0.9, torch.arange(3.0))
    with pytest.raises(ConfigError, match="differ in the last axis only"):
        quantile_huber_loss(three, torch.zeros(1, 3))
    with pytest.raises(ConfigError, match="delta = 0"):
        quantile_huber_loss(three, three, 0)
    with pytest.raises(ConfigError, match="target has shape"):
        categorical_loss(three, torch.zeros(2, 4))


def test_the_largest_quantiles_of_the_mixture_are_dropped() -> None:
    quantiles = torch.tensor([[[1.0, 5.0, 9.0], [2.0, 8.0, 7.0]]])  # one transition, two critics
    assert truncated_mixture(quantiles, 0).tolist() == [[1.0, 2.0, 5.0, 7.0, 8.0, 9.0]]
    assert truncated_mixture(quantiles, 1).tolist() == [[1.0, 2.0, 5.0, 7.0]]
    assert truncated_mixture(quantiles, 2).tolist() == [[1.0, 2.0]]
    generator = torch.Generator().manual_seed(0)
    many = torch.randn(50, 5, 25, generator=generator).requires_grad_()
    kept = truncated_mixture(many, 2)
    assert kept.shape == (50, 115)
    assert not kept.requires_grad
    assert (kept.mean(-1) < many.mean((-2, -1))).all()  # caution
    for drop in (-1, 3):
        with pytest.raises(ConfigError, match="one must be kept"):
            truncated_mixture(quantiles, drop)
    with pytest.raises(ConfigError, match="the last axes must be critics and quantiles"):
        truncated_mixture(torch.zeros(3), 1)
