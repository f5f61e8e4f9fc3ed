"""Solve Connect Four exactly: alpha-beta on bitboards, with a table of bounds and null windows.

A position is two words, as in the rows of the game: ``own`` has a bit for every stone of the player to move, ``mask`` one for
every stone. Column ``c`` has the bits ``7 c`` (bottom) to ``7 c + 5`` (top); bit ``7 c + 6`` stays empty, so that no line runs
from one column into the next.

The score of a position is for the player to move, from -21 to 21: 0 is a draw, ``k > 0`` wins with the ``k``-th last of one's own
21 stones (22 minus the stones that one has then placed), ``-k`` loses to such a stone. Its sign is the value of the game.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numba import njit

ROWS, COLUMNS = 6, 7
NO_MOVE = -100  # score of a column that is full
_U = np.uint64
_BOTTOM = _U(sum(1 << 7 * column for column in range(COLUMNS)))
_BOARD = _U(sum(0b111111 << 7 * column for column in range(COLUMNS)))
_COLUMN = np.array([0b111111 << 7 * column for column in range(COLUMNS)], np.uint64)
_ORDER = np.array([3, 2, 4, 1, 5, 0, 6], np.int64)  # lines through the middle are most numerous
_ONE, _TWO, _SIX, _SEVEN, _EIGHT, _ZERO = _U(1), _U(2), _U(6), _U(7), _U(8), _U(0)
# An entry of the table: the key, then a bit for "at least" instead of "at most", then the bound, biased.
_VALUE_BITS, _LOWER, _BOUND, _BIAS = _U(8), _U(128), _U(127), 64
_TABLE_BITS = 23
_SHIFT = _U(64 - _TABLE_BITS)
_PROBED = 28  # stones up to which the table is asked about all moves first: below that a search costs no more than the question
_MIX = _U(0x9E3779B97F4A7C15)  # odd, golden ratio: spreads keys that differ in high bits only


@njit(cache=True, inline="always")
def _four(stones: np.uint64) -> bool:
    """Whether four stones stand in a line."""
    found = _ZERO
    for shift in (_ONE, _SIX, _SEVEN, _EIGHT):
        pairs = stones & (stones >> shift)
        found |= pairs & (pairs >> (shift * _TWO))
    return found != _ZERO


@njit(cache=True, inline="always")
def _completing(stones: np.uint64, mask: np.uint64) -> np.uint64:
    """Every empty square, reachable or not, that would complete a line of four."""
    found = (stones << _ONE) & (stones << _TWO) & (stones << (_ONE + _TWO))
    for shift in (_SIX, _SEVEN, _EIGHT):
        below, above = stones << shift, stones >> shift
        below2, above2 = below << shift, above >> shift
        found |= below & below2 & (above | (below2 << shift))
        found |= above & above2 & (below | (above2 >> shift))
    return found & (_BOARD ^ mask)


@njit(cache=True, inline="always")
def _count(bits: np.uint64) -> int:
    total = 0
    while bits:
        bits &= bits - _ONE
        total += 1
    return total


@njit(cache=True, inline="always")
def _harmless(own: np.uint64, mask: np.uint64) -> np.uint64:
    """Squares on which the player to move can place a stone without losing to the very next one."""
    possible = (mask + _BOTTOM) & _BOARD
    threats = _completing(own ^ mask, mask)
    forced = possible & threats
    if forced:
        if forced & (forced - _ONE):
            return _ZERO  # two threats, one stone
        possible = forced
    return possible & ~(threats >> _ONE)  # not below a square that completes the opponent's line


@njit(cache=True, inline="always")
def _key(own: np.uint64, mask: np.uint64) -> np.uint64:
    """A number of a position that no other one has, and not 0: that is an empty place of the table."""
    return own + mask + _BOTTOM


@njit(cache=True, nogil=True)
def _search(own, mask, stones, alpha, beta, table, room):  # type: ignore[no-untyped-def]
    """Return the score if it lies within (alpha, beta), else a bound of it; the player to move cannot win at once."""
    moves = _harmless(own, mask)
    if moves == _ZERO:
        return -((42 - stones) // 2)
    if stones >= 40:
        return 0
    alpha = max(alpha, -((40 - stones) // 2))  # the opponent cannot win with the next stone,
    beta = min(beta, (41 - stones) // 2)  # nor the player to move with this one
    if alpha >= beta:
        return alpha
    key = _key(own, mask)
    slot = np.int64((key * _MIX) >> _SHIFT)
    entry = table[slot]
    if entry >> _VALUE_BITS == key:
        bound = np.int64(entry & _BOUND) - _BIAS
        if entry & _LOWER:
            alpha = max(alpha, bound)
        else:
            beta = min(beta, bound)
        if alpha >= beta:
            return bound

    if stones < _PROBED:  # is it known already of an answer that it is good enough?
        for column in _ORDER:
            square = moves & _COLUMN[column]
            if square:
                key_after = _key(own ^ mask, mask | square)
                entry = table[np.int64((key_after * _MIX) >> _SHIFT)]
                if (
                    entry >> _VALUE_BITS == key_after
                    and not entry & _LOWER
                    and _BIAS - np.int64(entry & _BOUND) >= beta
                ):
                    return _BIAS - np.int64(entry & _BOUND)

    # Moves that make most threats first, those nearer to the middle among equals.
    squares, threats = room[stones, 0], room[stones, 1]
    count = 0
    for column in _ORDER:
        square = moves & _COLUMN[column]
        if square:
            made = _count(_completing(own | square, mask | square))
            place = count
            while place > 0 and threats[place - 1] < made:
                squares[place], threats[place] = squares[place - 1], threats[place - 1]
                place -= 1
            squares[place], threats[place] = square, made
            count += 1

    for index in range(count):
        score = -_search(own ^ mask, mask | squares[index], stones + 1, -beta, -alpha, table, room)
        if score >= beta:
            table[slot] = (key << _VALUE_BITS) | _LOWER | _U(score + _BIAS)
            return score
        alpha = max(alpha, score)
    table[slot] = (key << _VALUE_BITS) | _U(alpha + _BIAS)
    return alpha


@njit(cache=True, nogil=True)
def _score(own: np.uint64, mask: np.uint64, sign_only: bool, table: np.ndarray, room: np.ndarray) -> int:
    """Return the exact score of a position in which nobody has won, or its sign only, which takes less time."""
    stones = _count(mask)
    if _completing(own, mask) & (mask + _BOTTOM):
        return 1 if sign_only else (43 - stones) // 2
    low, high = (-1, 1) if sign_only else (-((42 - stones) // 2), (41 - stones) // 2)
    while low < high:
        middle = low + (high - low) // 2  # is the score above it? The narrowest question cuts off most
        found = _search(own, mask, stones, middle, middle + 1, table, room)
        if found <= middle:
            high = found
        else:
            low = found
    return np.sign(low) if sign_only else low


@njit(cache=True, nogil=True)
def _scores(
    own: np.uint64, mask: np.uint64, sign_only: bool, scores: np.ndarray, table: np.ndarray, room: np.ndarray
) -> None:
    stones = _count(mask)
    wins = _completing(own, mask) & (mask + _BOTTOM)
    for column in range(COLUMNS):
        square = (mask + _BOTTOM) & _COLUMN[column]
        if square == _ZERO:
            scores[column] = NO_MOVE
        elif square & wins:
            scores[column] = 1 if sign_only else (43 - stones) // 2
        elif stones == 41:
            scores[column] = 0
        else:
            scores[column] = -_score(own ^ mask, mask | square, sign_only, table, room)


@njit(cache=True, nogil=True)
def _above(own: np.uint64, mask: np.uint64, limit: int, found: np.ndarray, table: np.ndarray, room: np.ndarray) -> bool:
    """Write which of the first columns are worth more than a limit of -1 or 0, into ``found``; return whether any is."""
    stones = _count(mask)
    wins = _completing(own, mask) & (mask + _BOTTOM)
    some = False
    for column in range(len(found)):
        square = (mask + _BOTTOM) & _COLUMN[column]
        found[column] = False
        if square == _ZERO:
            continue
        after, all_after = own ^ mask, mask | square
        if square & wins:
            found[column] = True
        elif stones == 41:
            found[column] = limit < 0
        elif not _completing(after, all_after) & (all_after + _BOTTOM):  # else the other wins at once
            found[column] = -_search(after, all_after, stones + 1, -limit - 1, -limit, table, room) > limit
        some |= found[column]
    return some


class Solver:
    """Solves positions; what it learned of one serves the next.

    Milliseconds to a second from 10 stones on, seconds from 8, up to a minute from 4, five for the empty board.
    Its table takes 64 MB once it has been filled.

    >>> own, mask = position("4435516644")
    >>> Solver().move_scores(own, mask).tolist()
    [0, -4, 1, 0, 4, -2, 1]
    """

    def __init__(self) -> None:
        self._table = np.zeros(1 << _TABLE_BITS, np.uint64)
        self._room = np.zeros((43, 2, COLUMNS), np.uint64)

    def score(self, own: int, mask: int) -> int:
        """Return the score of a position in which nobody has won and a square is free."""
        return int(_score(_U(own), _U(mask), False, self._table, self._room))

    def move_scores(self, own: int, mask: int, *, sign_only: bool = False) -> np.ndarray:
        """Return the score of every column, ``[7]``, for the player to move; `NO_MOVE` where it is full.

        Args:
            own: Stones of the player to move.
            mask: All stones.
            sign_only: Whether it is enough to know who wins: 1, 0 or -1, in a fraction of the time.
        """
        scores = np.empty(COLUMNS, np.int64)
        _scores(_U(own), _U(mask), sign_only, scores, self._table, self._room)
        return scores

    def keeping(self, own: int, mask: int) -> tuple[int, np.ndarray]:
        """Return who wins, 1, 0 or -1 for the player to move, and which columns keep that, ``[7]`` bool.

        As much as the signs of ``move_scores`` say of the best moves, in less time: in a won position nothing more is asked of
        the others, and in one that is its own mirror image nothing of the columns to the right.
        """
        is_even = own == _mirrored(own) and mask == _mirrored(mask)
        found = np.zeros(COLUMNS, np.bool_)
        for limit in (0, -1):
            if _above(_U(own), _U(mask), limit, found[: 4 if is_even else COLUMNS], self._table, self._room):
                break
        else:
            return -1, np.array([mask >> 7 * column + 5 & 1 == 0 for column in range(COLUMNS)])
        if is_even:
            found[4:] = found[2::-1]
        return limit + 1, found


def _mirrored(stones: int) -> int:
    return sum((stones >> 7 * column & 127) << 7 * (COLUMNS - 1 - column) for column in range(COLUMNS))


def position(moves: Iterable[str]) -> tuple[int, int]:
    """Return (own, mask) after moves from the empty board, each a digit 1 to 7; they are not checked.

    >>> position("44")
    (2097152, 6291456)
    """
    own, mask = 0, 0
    for move in moves:
        own ^= mask
        mask |= mask + (1 << 7 * (int(move) - 1))
    return own, mask
