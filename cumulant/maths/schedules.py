"""Numbers that change over a run: constant, linear, exponential, cosine with warm-up, piecewise.

Each is a function of the fraction of the run that is over, 0 at the start and 1 at the end, so a schedule keeps its
shape when the run gets longer. Plain floats; no torch, no state: a resumed run computes the same value.

Value-based algorithms use ``linear(0.9, 0.05, fraction)`` for epsilon by default: explore early, exploit late.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

from cumulant.errors import ConfigError
from cumulant.maths.ranges import check_between, check_positive


def constant(value: float, fraction: float) -> float:
    """Return the same value throughout.

    Args:
        value: The value.
        fraction: How much of the run is over, in [0, 1].

    Returns:
        ``value``.

    Raises:
        ConfigError: If the fraction is outside [0, 1].

    >>> constant(0.1, 0.5)
    0.1
    """
    _check_fraction(fraction)
    return value


def linear(start: float, end: float, fraction: float) -> float:
    """Go from one value to another at an even pace.

        (1 - fraction) * start + fraction * end

    Args:
        start: Value at fraction 0.
        end: Value at fraction 1.
        fraction: How much of the run is over, in [0, 1].

    Returns:
        The value; exactly ``start`` and ``end`` at the two ends.

    Raises:
        ConfigError: If the fraction is outside [0, 1].

    Source:
        Mnih et al. 2015 (epsilon). Differs from source: over the whole run; use ``piecewise`` to stop earlier.

    >>> linear(0.9, 0.1, 0.25)
    0.7000000000000001
    """
    _check_fraction(fraction)
    return (1.0 - fraction) * start + fraction * end


def exponential(start: float, end: float, fraction: float) -> float:
    """Go from one value to another by equal factors.

        start * (end / start)^fraction

    Args:
        start: Value at fraction 0, above 0.
        end: Value at fraction 1, above 0.
        fraction: How much of the run is over, in [0, 1].

    Returns:
        The value; exactly ``start`` and ``end`` at the two ends.

    Raises:
        ConfigError: If the fraction is outside [0, 1], or one end is not above 0.

    >>> exponential(1.0, 0.25, 0.5)
    0.5
    """
    _check_fraction(fraction)
    check_positive("start", start)
    check_positive("end", end)
    return start ** (1.0 - fraction) * end**fraction


def cosine(start: float, end: float, fraction: float, warmup: float = 0.0) -> float:
    """Rise from zero, then fall slowly, fast and slowly again.

        start * fraction / warmup                                                    while fraction < warmup
        end + (start - end) * (1 + cos(pi * (fraction - warmup) / (1 - warmup))) / 2       after

    Args:
        start: Value after the warm-up, and at fraction 0 if there is none.
        end: Value at fraction 1.
        fraction: How much of the run is over, in [0, 1].
        warmup: Fraction of the run in which the value rises from 0 to ``start``, in [0, 1).

    Returns:
        The value.

    Raises:
        ConfigError: If the fraction or the warm-up is out of range.

    Source:
        Loshchilov & Hutter 2017, eq. 5, without restarts; the warm-up is that of Goyal et al. 2017, from 0.

    >>> [round(cosine(1.0, 0.0, fraction, warmup=0.2), 6) for fraction in (0.0, 0.1, 0.2, 0.6, 1.0)]
    [0.0, 0.5, 1.0, 0.5, 0.0]
    """
    _check_fraction(fraction)
    if not 0.0 <= warmup < 1.0:
        raise ConfigError(f"warmup = {warmup} is out of range: it must be in [0, 1), a fraction of the run")
    if fraction < warmup:
        return start * fraction / warmup
    left = 0.5 * (1.0 + math.cos(math.pi * (fraction - warmup) / (1.0 - warmup)))
    return left * start + (1.0 - left) * end


def piecewise(points: Sequence[tuple[float, float]], fraction: float) -> float:
    """Join given points by straight lines.

    Before the first and after the last point the value stays. Two points at the same fraction make a jump, where the
    later one holds.

    Args:
        points: Pairs (fraction, value), by fraction, at least one.
        fraction: How much of the run is over, in [0, 1].

    Returns:
        The value.

    Raises:
        ConfigError: If there are no points, they are out of order, or a fraction is outside [0, 1].

    >>> [round(piecewise([(0.0, 0.9), (0.5, 0.1)], fraction), 6) for fraction in (0.0, 0.25, 0.5, 1.0)]
    [0.9, 0.5, 0.1, 0.1]
    """
    _check_fraction(fraction)
    if not points:
        raise ConfigError("points is empty: a piecewise schedule needs at least one (fraction, value)")
    for position, _ in points:
        check_between("points: fraction", position, 0, 1)
    if any(later[0] < earlier[0] for earlier, later in itertools.pairwise(points)):
        raise ConfigError(f"points = {list(points)} are out of order: sort them by fraction")
    value = points[0][1]
    for (left, left_value), (right, right_value) in itertools.pairwise(points):
        if fraction >= right:
            value = right_value
        elif fraction >= left:
            share = (fraction - left) / (right - left)
            return (1.0 - share) * left_value + share * right_value
    return value


def _check_fraction(fraction: float) -> None:
    check_between("fraction", fraction, 0, 1)
