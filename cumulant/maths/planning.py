"""What a tree search says of the actions of a node: scores, completed values, improved policies.

Values are the results that the player to move expects, in [-1, 1]. Axes: A actions; any further axes lead.
"""

from __future__ import annotations

import torch
from torch import Tensor

from cumulant.maths.shapes import check_shapes

_SMALLEST_SPREAD = 1e-8


def puct_score(
    value: Tensor, prior: Tensor, visits: Tensor, total: Tensor, exploration: float, exploration_base: float
) -> Tensor:
    """Score actions by value and, the less they were tried, by prior.

        score = value + c * prior * sqrt(1 + total) / (1 + visits)
        c = exploration + log((total + exploration_base + 2) / exploration_base)

    Args:
        value: Mean result of each action, ``[..., A]``; of one that was not tried, what is assumed of it.
        prior: Probability by the network, ``[..., A]``.
        visits: How often each action was tried, ``[..., A]``.
        total: Their sum, ``[..., 1]``.
        exploration: Weight of the prior.
        exploration_base: Visits at which that weight begins to grow.

    Source:
        Silver et al. 2018, supplement; a node's own evaluation counts as a visit, as in mctx.

    >>> half, one = torch.tensor([0.5]), torch.tensor([1.0])
    >>> round(puct_score(half, half, 3 * one, 8 * one, 1.25, 19652.0).item(), 4)
    0.9689
    """
    check_shapes(value=value, prior=prior, visits=visits)
    weight = exploration + torch.log((total + exploration_base + 2.0) / exploration_base)
    return value + weight * prior * torch.sqrt(total + 1.0) / (visits + 1.0)


def completed_values(
    value: Tensor, prior: Tensor, visits: Tensor, node_value: Tensor, scale: float, visits_offset: float, rescale: bool
) -> Tensor:
    """Return what each action adds to its logit: values of those tried, and of all others the node's mixed value.

        mixed     = (node_value + sum(visits) * sum(prior * value) / sum(prior)) / (1 + sum(visits))     over tried actions
        completed = value where tried, else mixed; with ``rescale`` from its lowest to its highest as 0 to 1
        result    = (visits_offset + max(visits)) * scale * completed

    Args:
        value: Mean result of each action, ``[..., A]``; ignored where it was not tried.
        prior: Probability by the network, ``[..., A]``; 0 for what is not allowed, which is left out of everything.
        visits: How often each action was tried, ``[..., A]``.
        node_value: What the network says of the node, ``[..., 1]``.
        scale: Weight of values against logits.
        visits_offset: What is added to the visits in that weight.
        rescale: Whether only differences between actions count; otherwise values in [-1, 1] become 0 to 1.

    Source:
        Danihelka et al. 2022, section 4 and appendix D, equation 33; as mctx's ``qtransform_completed_by_mix_value``.
        Differs from source: actions that are not allowed do not widen the range.

    >>> value, prior = torch.tensor([1.0, 0.0, 0.0]), torch.tensor([0.25, 0.25, 0.5])
    >>> completed_values(value, prior, torch.tensor([1.0, 1.0, 0.0]), torch.tensor([0.2]), 0.1, 50.0, True)
    tensor([5.1000, 0.0000, 2.0400])
    """
    check_shapes(value=value, prior=prior, visits=visits)
    allowed, tried = prior > 0.0, visits > 0
    total = visits.sum(-1, keepdim=True)
    weight = torch.where(tried, prior, 0.0)
    mean = (weight * torch.where(tried, value, 0.0)).sum(-1, keepdim=True) / weight.sum(-1, keepdim=True).clamp_min(
        1e-30
    )
    mixed = (node_value + total * mean) / (1.0 + total)
    completed = torch.where(tried, value, mixed)
    if rescale:
        low = torch.where(allowed, completed, torch.inf).amin(-1, keepdim=True)
        high = torch.where(allowed, completed, -torch.inf).amax(-1, keepdim=True)
        completed = (completed - low) / (high - low).clamp_min(_SMALLEST_SPREAD)
    else:
        completed = (completed + 1.0) / 2.0
    return (visits_offset + visits.amax(-1, keepdim=True)) * scale * torch.where(allowed, completed, 0.0)
