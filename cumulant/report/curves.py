"""A metric over time, merged over seeds, with a band that says what it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from cumulant.stats import mean_interval

Column = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Curve:
    """A metric over time and over seeds.

    Args:
        steps: Environment steps, ``[N]``.
        mean: Mean over seeds, ``[N]``.
        low: Lower edge of the band, ``[N]``; NaN without one.
        high: Upper edge, ``[N]``.
        seeds: Each seed's values at ``steps``, ``[R, N]``.
        band: What the band is, in words; "" without one.
    """

    steps: np.ndarray
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray
    seeds: np.ndarray
    band: str

    def scaled(self, factor: float) -> Curve:
        """Return the curve in another unit."""
        scaled = {name: factor * getattr(self, name) for name in ("mean", "low", "high", "seeds")}
        return replace(self, **scaled)


def merge(columns: Sequence[Column], points: int = 240) -> Curve | None:
    """Merge one metric's courses over seeds.

    The band is the Student-t interval of the mean from three seeds on, and the range of both with two: the t interval
    of two numbers is 13 standard errors wide and would say nothing about either. One seed has no band.

    Args:
        columns: Per seed its steps ``[N]``, increasing, and values ``[N]``; empty ones are left out.
        points: At most so many; longer courses are thinned by averaging neighbours.

    Returns:
        The curve, between where the last seed begins and the shortest one ends; None when nothing was measured.

    >>> curve = merge([(np.array([0.0, 10.0]), np.array([1.0, 3.0])), (np.array([0.0, 10.0]), np.array([3.0, 5.0]))])
    >>> curve.mean, curve.low, curve.band
    (array([2., 4.]), array([1., 3.]), 'range of both seeds')
    """
    columns = [column for column in columns if len(column[0])]
    if not columns:
        return None
    start, stop = max(steps[0] for steps, _ in columns), min(steps[-1] for steps, _ in columns)
    longest = max((steps for steps, _ in columns), key=len)
    grid = longest[(longest >= start) & (longest <= stop)]
    if not len(grid):
        grid = np.array([min(stop, start)])
    seeds = np.stack([np.interp(grid, steps, values) for steps, values in columns])
    if len(grid) > points:
        edges = np.linspace(0, len(grid), points + 1).astype(int)[:-1]
        sizes = np.diff(np.append(edges, len(grid)))
        grid, seeds = np.add.reduceat(grid, edges) / sizes, np.add.reduceat(seeds, edges, axis=1) / sizes
    mean, low, high = mean_interval(seeds, axis=0)
    band = f"95 % interval of the mean over {len(seeds)} seeds" if len(seeds) > 2 else ""
    if len(seeds) == 2:
        low, high, band = seeds.min(axis=0), seeds.max(axis=0), "range of both seeds"
    return Curve(grid, mean, low, high, seeds, band)


def with_spread(curve: Curve, deviation: Curve | None) -> Curve:
    """Give a single seed's curve the band mean ± standard deviation between episodes, where that was logged.

    Args:
        curve: Returned as it is when it has a band.
        deviation: The logged standard deviation, on the same rows.
    """
    if curve.band or deviation is None or len(deviation.steps) != len(curve.steps):
        return curve
    low, high = curve.mean - deviation.mean, curve.mean + deviation.mean
    return replace(curve, low=low, high=high, band="± 1 standard deviation between episodes")
