"""Counting bits, compiled."""

from __future__ import annotations

import numpy as np
from numba import njit

_PAIRS, _FOURS = np.uint64(0x5555555555555555), np.uint64(0x3333333333333333)
_BYTES, _SUM = np.uint64(0x0F0F0F0F0F0F0F0F), np.uint64(0x0101010101010101)
_1, _2, _4, _56 = np.uint64(1), np.uint64(2), np.uint64(4), np.uint64(56)


@njit(inline="always")
def count_bits(bits: np.uint64) -> np.int64:
    """Return how many bits are set.

    >>> int(count_bits(np.uint64(0b1011 | 1 << 63)))
    4
    """
    bits = bits - ((bits >> _1) & _PAIRS)
    bits = (bits & _FOURS) + ((bits >> _2) & _FOURS)
    return np.int64((((bits + (bits >> _4)) & _BYTES) * _SUM) >> _56)
