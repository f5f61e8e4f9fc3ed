"""Means over seeds of a training that were measured on the same episodes.

Axes: E episodes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from cumulant.stats import Interval, mean_interval


def merged_interval(parts: Sequence[Interval], level: float = 0.95) -> Interval:
    """Return one mean and interval that speak for several seeds which were measured on the same episodes.

    The interval holds both what another seed would have learned (Student t over the seeds' means) and what other episodes would
    have shown (the seeds' own intervals, averaged), added in quadrature; the seeds share their episodes, so the second part does
    not shrink with their number. Two seeds say too little for that (t would be 12.7): there it goes from the lowest to the
    highest end of their own intervals.

    Args:
        parts: Every seed's own mean and interval over episodes, at this level.
        level: Coverage.

    Raises:
        ValueError: If there is none.

    >>> merged_interval([Interval(1.0, 0.5, 1.5), Interval(2.0, 1.0, 3.0)])
    Interval(mean=1.5, low=0.5, high=3.0)
    """
    if not parts:
        raise ValueError("merged_interval needs at least one seed; parts is empty")
    between = mean_interval([part.mean for part in parts], level)
    if len(parts) < 3:
        return Interval(between.mean, min(part.low for part in parts), max(part.high for part in parts))
    below = float(np.mean([part.mean - part.low for part in parts]))
    above = float(np.mean([part.high - part.mean for part in parts]))
    half = between.high - between.mean
    return Interval(between.mean, between.mean - math.hypot(half, below), between.mean + math.hypot(half, above))


def over_seeds(values: Sequence[ArrayLike], level: float = 0.95) -> Interval:
    """Return the mean over seeds that were measured on the same episodes, with its interval; see ``merged_interval``.

    Args:
        values: Every seed's episodes, ``[E]`` each, in the same order.
        level: Coverage.

    >>> over_seeds([[1.0, 3.0], [2.0, 4.0]]).mean
    2.5
    """
    return merged_interval([mean_interval(own, level) for own in values], level)
