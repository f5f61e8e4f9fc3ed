"""Distributions of returns instead of their means: targets and losses for categorical (C51) and quantile heads.

Axes: any batch shape ``[...]``; K atoms or quantiles, always last. Targets carry no gradient, and the losses hold their
target fixed. Losses are elementwise over the batch: the caller reduces.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from cumulant.errors import ConfigError
from cumulant.maths.ranges import check_between, check_positive
from cumulant.maths.shapes import check_actions, check_dtypes, check_flags, check_shapes


@torch.no_grad()
def categorical_target(
    reward: Tensor, next_probability: Tensor, terminated: Tensor, gamma: float | Tensor, support: Tensor
) -> Tensor:
    """Shift and shrink a distribution over fixed returns by one step, and project it back onto them.

    Use it for C51. Each atom moves to ``reward + gamma * atom``, clipped to the support, and its probability is shared
    between the two atoms beside that place, the nearer one getting more, so that the mean is kept within the support.

        place_i  = clamp(reward + gamma * (1 - terminated) * support_i, support_1, support_K)
        target_j = sum_i next_probability_i * max(0, 1 - |place_i - support_j| / spacing)

    Args:
        reward: Reward of the step, ``[...]``.
        next_probability: Probabilities of the return that follows under the next action, ``[..., K]``.
        terminated: Whether nothing follows, ``[...]`` bool; the return is then the reward. Truncated steps bootstrap.
        gamma: Discount in [0, 1]; ``[...]`` where each step has its own, as gamma^n after n-step rewards.
        support: The K returns, ascending and evenly spaced, ``[K]``; K at least 2.

    Returns:
        Target probabilities, ``[..., K]``, without gradient.

    Raises:
        ConfigError: If gamma is outside [0, 1], the support has fewer than two atoms, or shapes or types differ.

    Source:
        Bellemare et al. 2017, eq. 7.

    >>> support, certain = torch.tensor([0.0, 1.0, 2.0]), torch.tensor([[0.0, 0.0, 1.0]])
    >>> categorical_target(torch.tensor([0.5]), certain, torch.tensor([False]), 0.5, support)  # the return is 1.5
    tensor([[0.0000, 0.5000, 0.5000]])
    """
    check_actions(reward, next_probability=next_probability)
    num_atoms = next_probability.shape[-1]
    if support.shape != (num_atoms,) or num_atoms < 2:
        raise ConfigError(
            f"support has shape {list(support.shape)}; it must be [{num_atoms}] as next_probability's last axis, "
            "with at least two atoms"
        )
    place = _step(reward, support.expand_as(next_probability), terminated, gamma).clamp_(support[0], support[-1])
    spacing = (support[-1] - support[0]) / (num_atoms - 1)
    share = (place.unsqueeze(-1) - support).div_(spacing).abs_().neg_().add_(1.0).clamp_(min=0.0)  # [..., i, j]
    return (next_probability.unsqueeze(-2) @ share).squeeze(-2)


def categorical_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Return the cross-entropy between a target distribution and a predicted one.

    Use it for C51. Its gradient is that of the Kullback-Leibler divergence from the target.

        loss = -sum_j target_j * log softmax(logits)_j

    Args:
        logits: Predictions, ``[..., K]``.
        target: Target probabilities, ``[..., K]``; held fixed.

    Returns:
        Losses, ``[...]``.

    Raises:
        ConfigError: If the shapes differ.

    Source:
        Bellemare et al. 2017, algorithm 1.

    >>> categorical_loss(torch.zeros(1, 4), torch.tensor([[0.0, 0.5, 0.5, 0.0]]))
    tensor([1.3863])
    """
    check_shapes(logits=logits, target=target)
    return -(target.detach() * torch.log_softmax(logits, -1)).sum(-1)


@torch.no_grad()
def quantile_target(reward: Tensor, next_quantiles: Tensor, terminated: Tensor, gamma: float | Tensor) -> Tensor:
    """Shift and shrink quantiles of the return by one step.

    Use it for QR-DQN.

        target_j = reward + gamma * (1 - terminated) * next_quantiles_j

    Args:
        reward: Reward of the step, ``[...]``.
        next_quantiles: Quantiles of the return that follows under the next action, ``[..., K]``.
        terminated: Whether nothing follows, ``[...]`` bool; ``next_quantiles`` is then not used.
        gamma: Discount in [0, 1]; ``[...]`` where each step has its own.

    Returns:
        Samples of the target distribution, ``[..., K]``, without gradient.

    Raises:
        ConfigError: If gamma is outside [0, 1], or shapes or types differ.

    Source:
        Dabney et al. 2018, algorithm 1.

    >>> quantile_target(torch.tensor([1.0]), torch.tensor([[2.0, 4.0]]), torch.tensor([False]), 0.5)
    tensor([[2., 3.]])
    """
    check_actions(reward, next_quantiles=next_quantiles)
    return _step(reward, next_quantiles, terminated, gamma)


@torch.no_grad()
def truncated_mixture(quantiles: Tensor, drop: int) -> Tensor:
    """Mix the quantiles of several critics and drop the largest ones, which are those that err upwards.

    Use it for TQC. How many are dropped says finely how cautious the value is.

        mixture = the N * (K - drop) smallest of all N * K quantiles, ascending

    Args:
        quantiles: Quantiles of the return that each of N critics gives, ``[..., N, K]``.
        drop: How many are dropped per critic, at least 0 and below K.

    Returns:
        The kept quantiles, ``[..., N * (K - drop)]``, without gradient.

    Raises:
        ConfigError: If there are no two last axes, or nothing would be kept.

    Source:
        Kuznetsov et al. 2020, section 3.2.

    >>> truncated_mixture(torch.tensor([[1.0, 9.0], [4.0, 2.0]]), drop=1)
    tensor([1., 2.])
    """
    if quantiles.dim() < 2 or not 0 <= drop < quantiles.shape[-1]:
        raise ConfigError(
            f"quantiles has shape {list(quantiles.shape)} and {drop} of them are dropped per critic; "
            "the last axes must be critics and quantiles, and one must be kept"
        )
    mixed = quantiles.flatten(-2)
    return mixed.sort(-1).values[..., : mixed.shape[-1] - drop * quantiles.shape[-2]]


def quantile_huber_loss(quantiles: Tensor, target: Tensor, delta: float = 1.0) -> Tensor:
    """Pull each quantile towards the target samples, more from the side on which fewer of them should be.

    Use it for QR-DQN. Quantile i of K stands for the fraction ``tau_i = (i - 1/2) / K``: the middle of its K-th part.

        error_ij = target_j - quantiles_i
        loss     = sum_i mean_j |tau_i - [error_ij < 0]| * huber(error_ij, delta) / delta

    Args:
        quantiles: Predictions, ``[..., K]``.
        target: Samples of the target distribution, ``[..., M]``; held fixed.
        delta: Where squared and linear errors meet, above 0, in units of the return.

    Returns:
        Losses, ``[...]``.

    Raises:
        ConfigError: If delta is not above 0, or the batch shapes or types differ.

    Source:
        Dabney et al. 2018, eq. 9 and 10.

    >>> quantile_huber_loss(torch.tensor([[0.0, 0.0]]), torch.tensor([[1.0, 1.0]]))  # 0.25 * 0.5 + 0.75 * 0.5
    tensor([0.5000])
    """
    check_positive("delta", delta)
    check_dtypes(quantiles=quantiles, target=target)
    if quantiles.dim() == 0 or quantiles.shape[:-1] != target.shape[:-1] or quantiles.dim() != target.dim():
        raise ConfigError(
            f"target has shape {list(target.shape)} but quantiles has {list(quantiles.shape)}; "
            "they may differ in the last axis only"
        )
    num_quantiles = quantiles.shape[-1]
    tau = (torch.arange(num_quantiles, dtype=quantiles.dtype, device=quantiles.device) + 0.5) / num_quantiles
    target = target.detach().unsqueeze(-2)  # [..., 1, M]
    ours = quantiles.unsqueeze(-1)  # [..., K, 1]
    shape = torch.broadcast_shapes(ours.shape, target.shape)
    huber = functional.huber_loss(ours.expand(shape), target.expand(shape), reduction="none", delta=delta)
    weight = (tau.unsqueeze(-1) - (target < ours.detach()).to(tau.dtype)).abs_()
    return (weight * huber).mean(-1).sum(-1) / delta


def _step(reward: Tensor, next_value: Tensor, terminated: Tensor, gamma: float | Tensor) -> Tensor:
    """Return ``reward + gamma * (1 - terminated) * next_value`` for every atom, ``[..., K]``."""
    check_shapes(reward=reward, terminated=terminated)
    check_dtypes(reward=reward, next_value=next_value)
    check_flags(terminated=terminated)
    if isinstance(gamma, Tensor):
        check_shapes(reward=reward, gamma=gamma)
        gamma = gamma.unsqueeze(-1)
    else:
        check_between("gamma", gamma, 0, 1)
    return reward.unsqueeze(-1) + gamma * next_value.masked_fill(terminated.unsqueeze(-1), 0.0)
