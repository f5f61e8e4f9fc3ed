"""What the five games share: the board, the keys of the game pad, and keys that stick.

Axes: B parallel environments.
"""

from __future__ import annotations

from numba import njit

from cumulant.envs.counter_rng import uniform

SIZE = 10
"""Rows and columns of the board."""

NOTHING, LEFT, UP, RIGHT, DOWN, FIRE = range(6)
"""The six actions, the same in every game; a game ignores those that it has no use for."""

STICKY, RAMPING, KEYS = 0, 1, 2
"""Entries of a kernel's ``params``: chance that the last key sticks, whether the game gets harder, the key of every action."""

# Slot of the random number that decides whether a key sticks; those of the games begin after it.
_STICKS = 0


@njit(cache=True)
def pressed(key, clock, action, params, last):  # type: ignore[no-untyped-def]
    """Return the key that counts in this step: that of the action, or the last one if that sticks."""
    if uniform(key, clock, _STICKS) < params[STICKY]:
        return int(last)
    return int(params[KEYS + action])


@njit(cache=True)
def below(key, clock, slot, n):  # type: ignore[no-untyped-def]
    """Return the random whole number from 0 to n - 1 that belongs to this place."""
    return int(uniform(key, clock, slot) * n)
