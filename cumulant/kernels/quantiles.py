"""Quantiles of returns in compiled code: the mixture of several critics without its largest, and the loss.

Quantiles stand below one another in rows, samples in columns, as a perceptron's outputs do (``kernels/perceptron.py``), so that
every inner loop runs over samples.

Axes: m samples of a block, N critics, K quantiles of each, J samples of the target distribution.
"""

from __future__ import annotations

from numba import njit

from cumulant.kernels.perceptron import F32, ONE, ZERO
from cumulant.kernels.twins import twin


@twin("cumulant.maths.distributional.truncated_mixture")
@njit(cache=True, error_model="numpy")
def mix(rows, m):  # type: ignore[no-untyped-def]
    """Sort each of the first m columns of ``[N K, BLOCK]``, ascending, in place: what is kept of a mixture is in the first rows.

    Source: merge exchange, Knuth 1998, "The Art of Computer Programming" 5.2.2, algorithm M (Batcher). Which rows are compared
    does not depend on what is in them, so many columns are sorted at once.
    """
    count, top = rows.shape[0], 1
    while 2 * top < count:
        top *= 2
    span = top
    while span > 0:
        far, kind, apart = top, 0, span
        while True:
            for j in range(count - apart):
                if j & span == kind:
                    low, high = rows[j], rows[j + apart]
                    for i in range(m):
                        one, other = low[i], high[i]
                        swapped = other < one
                        low[i], high[i] = other if swapped else one, one if swapped else other
            if far == span:
                break
            apart, far, kind = far - span, far // 2, span
        span //= 2


@twin("cumulant.maths.distributional.quantile_huber_loss")
@njit(cache=True, error_model="numpy")
def quantile_huber_loss(quantiles, target, m, loss, slope):  # type: ignore[no-untyped-def]
    """Write the loss of each sample, ``[m]``, and its gradient by the quantiles, ``[K, m]``.

    Args:
        quantiles: ``[K, BLOCK]``.
        target: Samples of what they should be, ``[J, BLOCK]``.
        m: How many columns count.
        loss: ``[BLOCK]``.
        slope: ``[K, BLOCK]``.
    """
    num_quantiles, num_targets = quantiles.shape[0], target.shape[0]
    share = F32(1.0 / num_targets)
    for i in range(m):
        loss[i] = ZERO
    for k in range(num_quantiles):
        ours, along = quantiles[k], slope[k]
        below = F32((k + 0.5) / num_quantiles)
        above = ONE - below
        for i in range(m):
            along[i] = ZERO
        for j in range(num_targets):
            wanted = target[j]
            for i in range(m):
                error = ours[i] - wanted[i]
                clipped = min(max(error, -ONE), ONE)
                by = (above if error > ZERO else below) * clipped
                along[i] += by
                loss[i] += by * (error - F32(0.5) * clipped)
        for i in range(m):
            along[i] *= share
    for i in range(m):
        loss[i] *= share
