"""Constraints by a Lagrange multiplier: what a unit of cost is priced at, and what the price does to an objective."""

from __future__ import annotations

from typing import TypeVar

from torch import Tensor

from cumulant.errors import ConfigError
from cumulant.maths.ranges import check_positive

Number = TypeVar("Number", float, Tensor)


def dual_ascent(multiplier: float, cost: float, limit: float, step_size: float) -> float:
    """Raise the price of cost while there is more of it than allowed, and lower it, never below 0, while there is less.

        multiplier' = max(0, multiplier + step_size * (cost - limit))

    Args:
        multiplier: Price of a unit of cost, at least 0.
        cost: Cost as measured.
        limit: What it may be.
        step_size: How fast the price moves, above 0.

    Returns:
        The new price.

    Raises:
        ConfigError: If the step size is not above 0 or the price is below it.

    Source:
        Arrow, Hurwicz & Uzawa 1958; for policies Tessler et al. 2019, eq. 8.

    >>> dual_ascent(1.0, cost=3.0, limit=1.0, step_size=0.25), dual_ascent(1.0, cost=0.0, limit=8.0, step_size=0.25)
    (1.5, 0.0)
    """
    check_positive("step_size", step_size)
    if not multiplier >= 0.0:
        raise ConfigError(f"multiplier = {multiplier}: it must be at least 0")
    return max(0.0, multiplier + step_size * (cost - limit))


def penalised(gain: Number, cost: Number, multiplier: float) -> Number:
    """Return an objective of which the priced cost is taken off, at a scale that no price inflates.

    Use it on advantages (PPO) or action values (SAC) of reward and cost.

        objective = (gain - multiplier * cost) / (1 + multiplier)

    Args:
        gain: What the reward says, ``[...]``.
        cost: The same of the cost, ``[...]``.
        multiplier: Price of a unit of cost, at least 0.

    Returns:
        The objective, ``[...]``: the gain itself at price 0, minus the cost alone at an infinite one.

    Raises:
        ConfigError: If the multiplier is below 0.

    Source:
        Stooke et al. 2020, section 5.2 (the rescaling).

    >>> penalised(4.0, 1.0, multiplier=1.0)
    1.5
    """
    if not multiplier >= 0.0:
        raise ConfigError(f"multiplier = {multiplier}: it must be at least 0")
    return (gain - multiplier * cost) / (1.0 + multiplier)
