"""Refuse numbers that are out of range, naming the field and the value. Free of torch."""

from __future__ import annotations

from cumulant.errors import ConfigError


def check_between(field: str, value: float, low: float, high: float) -> None:
    """Refuse a number outside ``[low, high]``.

    Args:
        field: Name that the message shall use.
        value: The number; NaN is refused.
        low: Smallest allowed value.
        high: Largest allowed value.

    Raises:
        ConfigError: If it is outside (message names the field and the value).

    >>> check_between("gamma", 1.5, 0, 1)
    Traceback (most recent call last):
    cumulant.errors.ConfigError: gamma = 1.5 is out of range: it must be in [0, 1]
    """
    if not low <= value <= high:
        raise ConfigError(f"{field} = {value} is out of range: it must be in [{low:g}, {high:g}]")


def check_positive(field: str, value: float, below: float = float("inf")) -> None:
    """Refuse a number that is not above zero and below a limit.

    Args:
        field: Name that the message shall use.
        value: The number; NaN and infinity are refused.
        below: What it must be smaller than.

    Raises:
        ConfigError: If it is not (message names the field and the value).

    >>> check_positive("clip", 20, below=1)
    Traceback (most recent call last):
    cumulant.errors.ConfigError: clip = 20 is out of range: it must be above 0 and below 1
    """
    if not 0.0 < value < below:
        limit = "and finite" if below == float("inf") else f"and below {below:g}"
        raise ConfigError(f"{field} = {value} is out of range: it must be above 0 {limit}")
