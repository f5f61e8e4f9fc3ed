"""Reduce over the real entries of padded tensors: sum, mean, whitening.

The one place where maths reduces. What stands in the padding, NaN included, changes neither results nor gradients.

A mean needs a denominator, and with micro-batches it is *not* the number of entries at hand: average the averages
of unequal parts and the short ones weigh too much. Count once over the whole batch, pass that count as ``denominator``
for every part, and the parts add up to the whole.
"""

from __future__ import annotations

import torch
from torch import Tensor

from cumulant.maths.ranges import check_positive
from cumulant.maths.shapes import check_flags, check_shapes


def masked_sum(x: Tensor, mask: Tensor, dim: int | tuple[int, ...] | None = None) -> Tensor:
    """Sum the entries that the mask keeps.

        sum_i mask_i * x_i

    Args:
        x: Values, ``[...]``.
        mask: True for entries that count, ``[...]`` bool.
        dim: Axis or axes to sum over; all of them if not given.

    Returns:
        The sum, a scalar or the axes that are left; 0 where nothing counts.

    Raises:
        ConfigError: If the shapes differ or the mask is not bool.

    >>> masked_sum(torch.tensor([1.0, 2.0, float("nan")]), torch.tensor([True, True, False]))
    tensor(3.)
    """
    check_shapes(x=x, mask=mask)
    check_flags(mask=mask)
    kept = x.masked_fill(~mask, 0)
    return kept.sum() if dim is None else kept.sum(dim)


def masked_mean(
    x: Tensor, mask: Tensor, dim: int | tuple[int, ...] | None = None, denominator: float | Tensor | None = None
) -> Tensor:
    """Average the entries that the mask keeps.

        sum_i mask_i * x_i / denominator

    Args:
        x: Values, ``[...]``.
        mask: True for entries that count, ``[...]`` bool.
        dim: Axis or axes to average over; all of them if not given.
        denominator: What to divide by, above 0: a number, or a tensor (scalar or of the result's shape). The number of
            entries that count if not given (right for a whole batch, wrong for micro-batches: see above).

    Returns:
        The mean, a scalar or the axes that are left; 0 where nothing counts.

    Raises:
        ConfigError: If the shapes differ, the mask is not bool, or a denominator given as a number is not above 0.

    >>> x, mask = torch.tensor([1.0, 2.0, 9.0]), torch.tensor([True, True, False])
    >>> masked_mean(x, mask), masked_mean(x, mask, denominator=6)
    (tensor(1.5000), tensor(0.5000))
    """
    total = masked_sum(x, mask, dim)
    if denominator is None:
        return total / (mask.sum() if dim is None else mask.sum(dim)).clamp(min=1)
    if not isinstance(denominator, Tensor):
        check_positive("denominator", denominator)
    elif denominator.dim():
        check_shapes(result=total, denominator=denominator)
    return total / denominator


def masked_whiten(x: Tensor, mask: Tensor, centre: bool = True, eps: float = 1e-8) -> Tensor:
    """Scale the entries that the mask keeps to variance 1, and shift them to mean 0.

    Use it for advantages. For rewards leave the mean where it is (``centre=False``): its sign means something.

        y = (x - mean) / sqrt(var + eps)    (+ mean, if not centred);    var = mean((x - mean)^2)

    Args:
        x: Values, ``[...]``.
        mask: True for entries that count, ``[...]`` bool; mean and variance are over all of them.
        centre: Whether to remove the mean.
        eps: Added to the variance, above 0, so that equal entries give zeros and not noise.

    Returns:
        Whitened values, ``[...]``; 0 in the padding.

    Raises:
        ConfigError: If the shapes differ, the mask is not bool, or eps is not above 0.

    Source:
        A habit of PPO implementations, studied by Andrychowicz et al. 2021. Differs from most: the variance divides by
        the number of entries, not by one less, so that a single entry gives 0 and not NaN.

    >>> masked_whiten(torch.tensor([1.0, 3.0, 9.0]), torch.tensor([True, True, False]))
    tensor([-1.,  1.,  0.])
    """
    check_positive("eps", eps)
    mean = masked_mean(x, mask)
    shifted = (x - mean).masked_fill(~mask, 0)
    whitened = shifted * torch.rsqrt(masked_mean(shifted.square(), mask) + eps)
    return whitened if centre else whitened + mean * mask
