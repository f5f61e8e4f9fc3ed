"""What the network said of positions that it has seen, whichever way they were turned.

A position and its mirror images share one entry: of all its symmetries the one with the lowest hash is what the network is shown.
So the same search evaluates nothing twice, and the network's answer does not depend on how a board is turned.

Axes: L leaves of a wave, C planes, P points of the board, S symmetries, A actions, T entries.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit

from cumulant.envs.counter_rng import mix
from cumulant.kernels.twins import loop

_PROBES = 16


class Seen(NamedTuple):
    """The entries, a hash table with open addressing; T is a power of 2."""

    key: Any
    """Hash of a position, ``[T]`` uint64; 0 for none."""
    logits: Any
    """``[T, A]`` float32, of the position turned as its hash says."""
    value: Any
    """``[T]`` float32."""


class Turns(NamedTuple):
    """Symmetries of a game, and for each leaf which one it is shown in and where its entry is."""

    points: Any
    """``[S, P]`` int64."""
    places: Any
    """Inverse of each row, ``[S, P]`` int64."""
    actions: Any
    """``[S, A]`` int64."""
    symmetry: Any
    """``[L]`` int32."""
    slot: Any
    """``[L]`` int64; -1 for a leaf that has no entry, because there is no room."""
    row: Any
    """Row among those that the network is shown, ``[L]`` int64; -1 for a leaf whose entry is there."""


@loop(mix)
@njit(cache=True, nogil=True)
def look_up(planes, bits, count, seen, turns, shown):  # type: ignore[no-untyped-def]
    """Find the leaves that have been seen, and write the others, turned, into what the network is shown.

    Args:
        planes: ``[L, C, P]`` float32.
        bits: The same memory as uint32.
        count: Leaves.
        seen: The entries; those to come are made.
        turns: Symmetries; written for each leaf.
        shown: ``[L, C, P]`` float32.

    Returns:
        How many rows were written; leaves of one wave that are the same position share one.
    """
    symmetries, points = turns.points.shape
    hashes = np.zeros(symmetries, np.uint64)
    size, rows = np.uint64(seen.key.shape[0] - 1), 0
    for i in range(count):
        hashes[:] = np.uint64(0)
        for c in range(planes.shape[1]):
            for p in range(points):
                if bits[i, c, p] != 0:
                    for s in range(symmetries):
                        place = np.uint64(c * points + turns.places[s, p] + 1)
                        hashes[s] += mix(place * np.uint64(0x9E3779B97F4A7C15) + np.uint64(bits[i, c, p]))
        best = 0
        for s in range(1, symmetries):
            if hashes[s] < hashes[best]:
                best = s
        key = mix(hashes[best]) | np.uint64(1)
        turns.symmetry[i], turns.slot[i], turns.row[i] = best, -1, -1
        place = key >> np.uint64(20)
        known = False
        for probe in range(_PROBES):
            t = np.int64((place + np.uint64(probe)) & size)
            if seen.key[t] == key:
                turns.slot[i] = t
                known = True
                break
            if seen.key[t] == np.uint64(0):
                seen.key[t] = key
                turns.slot[i] = t
                break
        if not known:
            for c in range(planes.shape[1]):
                for p in range(points):
                    shown[rows, c, p] = planes[i, c, turns.points[best, p]]
            turns.row[i] = rows
            rows += 1
    return rows


@loop()
@njit(cache=True, nogil=True)
def fill_in(count, shown_logits, shown_values, seen, turns, logits, values):  # type: ignore[no-untyped-def]
    """Remember what the network said of what it was shown, and write what is known of every leaf, turned back.

    Args:
        count: Leaves.
        shown_logits: ``[rows, A]`` float32.
        shown_values: ``[rows]`` float32.
        seen: The entries.
        turns: As ``look_up`` left them.
        logits: ``[L, A]`` float32.
        values: ``[L]`` float32.
    """
    actions = logits.shape[1]
    for i in range(count):
        row, slot = turns.row[i], turns.slot[i]
        if row >= 0 and slot >= 0:
            seen.logits[slot] = shown_logits[row]
            seen.value[slot] = shown_values[row]
    for i in range(count):
        row, slot = turns.row[i], turns.slot[i]
        values[i] = seen.value[slot] if slot >= 0 else shown_values[row]
        for a in range(actions):
            turned = turns.actions[turns.symmetry[i], a]
            logits[i, turned] = seen.logits[slot, a] if slot >= 0 else shown_logits[row, a]
