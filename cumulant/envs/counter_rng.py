"""Counter-based random numbers: a number is a pure function of where it is used.

There is no generator to save or to advance. ``uniform(key, step, slot)`` is always the same number for the same
episode key, step and slot, so any state of any episode is addressable by (seed, environment, episode, step), resume needs
no random state, and two policies that are compared meet exactly the same chance events (common random numbers).

Source: the output function is splitmix64 (Steele, Lea & Flood 2014), applied twice to a Weyl-spaced counter.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

_WEYL = np.uint64(0x9E3779B97F4A7C15)
_STEP = np.uint64(0xD1B54A32D192ED03)
_MIX1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX2 = np.uint64(0x94D049BB133111EB)
_S30, _S27, _S31, _S11 = np.uint64(30), np.uint64(27), np.uint64(31), np.uint64(11)


@njit(inline="always")
def mix(x: np.uint64) -> np.uint64:
    """Scramble 64 bits so that neighbouring inputs give unrelated outputs (splitmix64)."""
    x = (x ^ (x >> _S30)) * _MIX1
    x = (x ^ (x >> _S27)) * _MIX2
    return x ^ (x >> _S31)


@njit(cache=True)
def episode_keys(seed: int, first_env: int, episode: np.ndarray, key: np.ndarray) -> None:
    """Write the key of each environment's episode.

    Args:
        seed: Run seed, any non-negative integer below 2**63.
        first_env: Index of the first environment (0 unless a batch is split over workers).
        episode: Number of the episode in each environment, ``[B]`` int64.
        key: Where the keys are written, ``[B]`` uint64.
    """
    base = mix(np.uint64(seed) + _WEYL)
    for i in range(episode.shape[0]):
        env = mix(base + np.uint64(first_env + i) * _STEP + _WEYL)
        key[i] = mix(env + np.uint64(episode[i]) * _STEP + _WEYL)


@njit(inline="always")
def uniform(key: np.uint64, step: int, slot: int) -> float:
    """Return the uniform number in [0, 1) that belongs to this place (53 random bits).

    Args:
        key: Episode key.
        step: Step within the episode; use -1 for what is drawn at its start.
        slot: Which of the numbers of this step; below 2**16.
    """
    counter = np.uint64(step + 1) * np.uint64(65536) + np.uint64(slot)
    return float(mix(mix(key + counter * _WEYL)) >> _S11) * (1.0 / 9007199254740992.0)


@njit(inline="always")
def normal(key: np.uint64, step: int, slot: int) -> float:
    """Return the standard normal number that belongs to this place (Box-Muller; uses slots ``slot`` and ``slot + 1``)."""
    u = 1.0 - uniform(key, step, slot)  # in (0, 1], so that the logarithm is finite
    return math.sqrt(-2.0 * math.log(u)) * math.cos(2.0 * math.pi * uniform(key, step, slot + 1))
