"""Advantages within a group: several answers to one question judge one another, so that no value function is needed.

Axes: any batch shape ``[...]``; G group (the answers to one prompt), always last. Advantages carry no gradient.

A group whose answers all earned the same teaches nothing: its advantages are exactly zero, in every function and for any
rounding of the mean. (Divided by a deviation that is nothing but rounding, they would be noise of size one.)
"""

from __future__ import annotations

import torch
from torch import Tensor

from cumulant.errors import ConfigError
from cumulant.maths.ranges import check_positive
from cumulant.maths.shapes import check_dtypes, check_flags, check_shapes


@torch.no_grad()
def group_relative_advantage(
    reward: Tensor, mask: Tensor | None = None, standardise: bool = True, eps: float = 1e-4
) -> Tensor:
    """Compare each answer with the mean of its group, in standard deviations of the group.

    Use it for GRPO. Dividing by the deviation gives the same weight to every prompt, also to those that are nearly always
    or nearly never solved; without it (Dr. GRPO) a prompt counts by how much its answers differ.

        advantage_i = (reward_i - mean(reward)) / (std(reward) + eps)        std with G - 1, as torch.std
        advantage_i =  reward_i - mean(reward)                               if not standardised

    Args:
        reward: Rewards, ``[..., G]``.
        mask: True for answers that count, ``[..., G]`` bool; the others enter nowhere and get 0. All count if not given.
        standardise: Whether to divide by the standard deviation.
        eps: Added to the deviation, above 0, in units of the reward: differences much smaller than it are not blown up.

    Returns:
        Advantages, ``[..., G]``; 0 in a group of equal rewards or of a single answer that counts.

    Raises:
        ConfigError: If there is no group axis, shapes differ, the mask is not bool, or eps is not above 0.

    Source:
        Shao et al. 2024, "DeepSeekMath", section 4.1.2; without deviation: Liu et al. 2025, "Understanding R1-Zero-like
        training". Differs from source: equal rewards give 0 and not 0 / 0.

    >>> group_relative_advantage(torch.tensor([[0.0, 0.0, 3.0], [1.0, 1.0, 1.0]]), standardise=False)
    tensor([[-1., -1.,  2.],
            [ 0.,  0.,  0.]])
    """
    check_positive("eps", eps)
    shifted, count = _centred(reward, mask)
    if not standardise:
        return shifted
    variance = shifted.square().sum(-1, keepdim=True) / (count - 1).clamp(min=1)
    return shifted / (variance.sqrt() + eps)


@torch.no_grad()
def leave_one_out_advantage(reward: Tensor, mask: Tensor | None = None) -> Tensor:
    """Compare each answer with the mean of the others.

    Use it for RLOO. The baseline does not depend on the answer that it judges, so the policy gradient stays unbiased; the
    mean over the whole group would shrink it by (G - 1) / G.

        advantage_i = reward_i - mean_{j != i}(reward_j) = (reward_i - mean(reward)) * G / (G - 1)

    Args:
        reward: Rewards, ``[..., G]``.
        mask: True for answers that count, ``[..., G]`` bool; the others enter nowhere and get 0. All count if not given.

    Returns:
        Advantages, ``[..., G]``; 0 in a group of equal rewards or of a single answer that counts.

    Raises:
        ConfigError: If there is no group axis, shapes differ or the mask is not bool.

    Source:
        Kool et al. 2019, "Buy 4 REINFORCE samples, get a baseline for free!"; for language models Ahmadian et al. 2024.

    >>> leave_one_out_advantage(torch.tensor([0.0, 0.0, 3.0]))
    tensor([-1.5000, -1.5000,  3.0000])
    """
    shifted, count = _centred(reward, mask)
    return shifted * (count / (count - 1).clamp(min=1))


def _centred(reward: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return rewards less their group's mean, 0 where nothing can be compared, and how many count, ``[..., 1]``."""
    if reward.dim() == 0 or reward.shape[-1] == 0:
        raise ConfigError(f"reward has shape {list(reward.shape)}; the last axis must be the answers of a group")
    check_dtypes(reward=reward)
    mask = torch.ones_like(reward, dtype=torch.bool) if mask is None else mask
    check_shapes(reward=reward, mask=mask)
    check_flags(mask=mask)
    kept = reward.masked_fill(~mask, 0)
    count = mask.sum(-1, keepdim=True).to(reward.dtype)
    mean = kept.sum(-1, keepdim=True) / count.clamp(min=1)
    infinite = float("inf")
    highest = reward.masked_fill(~mask, -infinite).amax(-1, keepdim=True)
    lowest = reward.masked_fill(~mask, infinite).amin(-1, keepdim=True)
    return (kept - mean).masked_fill(~mask | (highest <= lowest), 0), count
