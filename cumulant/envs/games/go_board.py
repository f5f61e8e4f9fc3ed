"""A board of Go as a row: stones, chains with their liberties, captures, and the positions that have been.

A row holds everything, so that a move costs no walk over the board: chains and their liberties are kept up to date, and the
hashes of all positions so far stand behind a Bloom filter. Points are addressed with a border around the board,
``(row + 1) * (size + 1) + column + 1``; row 0 is the top.

Source: liberties and chains as in most programs; hashes of positions: Zobrist 1970; the filter: Bloom 1970.
"""

from __future__ import annotations

import numpy as np
from numba import njit

# Words of the row before the board. Among them: twice the komi; how many stones there are, and the most there were; how many
# positions have been; where the filter begins, and where they do.
SIZE, TO_MOVE, MOVES, PASSES, KOMI2, MAX_MOVES, STONES, MOST, HASH, LAST, SEEN, AT_BLOOM, AT_SEEN = range(13)
HEAD = 16
EMPTY, BORDER, _MARK = 0, 3, 4  # colours; 1 is Black, 2 is White
# What a point gives to a stone beside it: a liberty, a chain that has another one, a capture. By who moves, what stands there,
# and whether that has one liberty.
_FREE, _TAKES = 1, 4
_GIVES = np.array([_FREE, _FREE, 2, 0, 0, _TAKES, 0, 0, _FREE, _FREE, 0, _TAKES, 2, 0, 0, 0], np.uint8)
_1 = np.uint64(1)


def _zobrist() -> np.ndarray:
    """Return a random number for each point (with border) and colour, ``[P, 3]`` uint64."""
    points = 20 * 21 + 1
    return np.random.default_rng(0x60).integers(0, 2**64, (points, 3), np.uint64)


_ZOBRIST = _zobrist()


def row_of(size: int, longest: int) -> tuple[int, int, int]:
    """Return where the filter and the positions begin in a row, and how long it is.

    Args:
        size: Rows and columns of the board.
        longest: The most moves of a game.
    """
    at_bloom = HEAD + (size + 1) * (size + 2) + 1
    at_seen = at_bloom + (1 << max(0, (longest - 1).bit_length() - 3))  # 8 to 16 bits for each position
    return at_bloom, at_seen, at_seen + longest + 1


@njit(cache=True)
def start(state, size, komi2, longest, at_bloom, at_seen):  # type: ignore[no-untyped-def]
    """Write the empty board."""
    state[:] = 0
    state[SIZE], state[KOMI2], state[MAX_MOVES], state[LAST] = size, komi2, longest, -1
    state[AT_BLOOM], state[AT_SEEN] = at_bloom, at_seen
    cells = state.view(np.int16)
    for point in range(at_bloom - HEAD):
        row, column = point // (size + 1), point % (size + 1)
        if row == 0 or row > size or column == 0:
            cells[4 * HEAD + point] = BORDER
    remember(state, np.uint64(0))


@njit(cache=True)
def columns_of(state):  # type: ignore[no-untyped-def]
    """Return where the four int16 columns of the board begin: colours, chains, next stones, liberties."""
    begin, length = 4 * HEAD, state[AT_BLOOM] - HEAD
    return begin, begin + length, begin + 2 * length, begin + 3 * length


@njit(cache=True)
def point_of(action, size):  # type: ignore[no-untyped-def]
    """Return where an action puts its stone."""
    return (action // size + 1) * (size + 1) + action % size + 1


@njit(cache=True)
def _neighbour(point, side, size):  # type: ignore[no-untyped-def]
    """Return the point above, to the left, to the right or below (side 0 to 3)."""
    return point + (1 + size * (side % 3 == 0)) * (1 if side > 1 else -1)


@njit(cache=True)
def ended(state):  # type: ignore[no-untyped-def]
    """Return whether both have passed, or there were as many moves as there may be."""
    return state[PASSES] >= 2 or state[MOVES] >= state[MAX_MOVES]


@njit(cache=True)
def remember(state, position):  # type: ignore[no-untyped-def]
    """Add the hash of a position to those that have been."""
    words = state.view(np.uint64)
    words[state[AT_SEEN] + state[SEEN]] = position
    state[SEEN] += 1
    bit = position & np.uint64(64 * (state[AT_SEEN] - state[AT_BLOOM]) - 1)
    words[state[AT_BLOOM] + np.int64(bit >> np.uint64(6))] |= np.uint64(1) << (bit & np.uint64(63))


@njit(cache=True)
def _was(state, position):  # type: ignore[no-untyped-def]
    """Return whether this position has been."""
    words = state.view(np.uint64)
    bit = position & np.uint64(64 * (state[AT_SEEN] - state[AT_BLOOM]) - 1)
    if not (words[state[AT_BLOOM] + np.int64(bit >> np.uint64(6))] >> (bit & np.uint64(63))) & np.uint64(1):
        return False
    begin, found = state[AT_SEEN], False
    for k in range(begin, begin + state[SEEN]):
        found |= words[k] == position
    return found


@njit(cache=True)
def _after(state, cells, columns, size, own, point):  # type: ignore[no-untyped-def]
    """Return the hash of the position after a stone is put on an empty point."""
    colour, chain, after, liberties = columns
    position = np.uint64(state[HASH]) ^ _ZOBRIST[point, own]
    for side in range(4):
        near = _neighbour(point, side, size)
        if cells[colour + near] == 3 - own and cells[liberties + cells[chain + near]] == 1:
            if _met(cells, columns, size, point, side):
                continue
            stone = near
            while True:
                position ^= _ZOBRIST[stone, 3 - own]
                stone = np.int64(cells[after + stone])
                if stone == near:
                    break
    return position


@njit(cache=True)
def _met(cells, columns, size, point, side):  # type: ignore[no-untyped-def]
    """Return whether the chain on this side of a point is also on an earlier side."""
    colour, chain = columns[0], columns[1]
    near = _neighbour(point, side, size)
    for before in range(side):
        earlier = _neighbour(point, before, size)
        if cells[colour + earlier] == cells[colour + near] and cells[chain + earlier] == cells[chain + near]:
            return True
    return False


@njit(cache=True)
def legal(state, mask):  # type: ignore[no-untyped-def]
    """See ``Game.legal``."""
    size = state[SIZE]
    if ended(state):
        mask[:] = 0
        return
    cells, columns, own = state.view(np.int16), columns_of(state), state[TO_MOVE] + 1
    # By tables and without branches, because what stands where cannot be predicted; unsigned, or each index is looked at twice.
    board, stride = np.uint64(state[AT_BLOOM] - HEAD), np.uint64(size + 1)
    colours, chains, liberties = np.uint64(columns[0]), np.uint64(columns[1]), np.uint64(columns[3])
    gives, around, player = np.empty(board, np.uint8), np.empty(board, np.uint8), np.uint64(8 * (own - 1))
    for point in range(board):
        few = np.uint64(cells[liberties + np.uint64(cells[chains + point])] == 1)
        gives[point] = _GIVES[player + np.uint64(2) * np.uint64(cells[colours + point]) + few]
    for point in range(stride + _1, board - stride - _1):
        near = gives[point - stride] | gives[point - _1] | gives[point + _1] | gives[point + stride]
        around[point] = near * (gives[point] & _FREE)
    # What takes nothing makes one stone more; as long as there never were so many, that has not been.
    safe = _TAKES - 1 if state[STONES] >= state[MOST] else 0
    for row in range(size):
        for column in range(size):
            point = (row + 1) * (size + 1) + column + 1
            near = around[point]
            mask[row * size + column] = near != 0 and (
                near <= safe or not _was(state, _after(state, cells, columns, size, own, point))
            )
    mask[size * size] = 1


@njit(cache=True)
def _take(state, cells, columns, size, own, head):  # type: ignore[no-untyped-def]
    """Take a chain of the other player off the board."""
    colour, chain, after, liberties = columns
    position, stone, taken = np.uint64(state[HASH]), head, 0
    while True:
        cells[colour + stone] = EMPTY
        position ^= _ZOBRIST[stone, 3 - own]
        taken += 1
        for side in range(4):
            near = _neighbour(stone, side, size)
            if cells[colour + near] == own and not _met(cells, columns, size, stone, side):
                cells[liberties + cells[chain + near]] += 1
        stone = np.int64(cells[after + stone])
        if stone == head:
            break
    state[HASH] = np.int64(position)
    state[STONES] -= taken


@njit(cache=True)
def _count_liberties(cells, columns, size, head):  # type: ignore[no-untyped-def]
    """Count the liberties of a chain from nothing; those counted are marked, and cleared again."""
    colour, _, after, liberties = columns
    found = 0
    for sought, mark in ((EMPTY, _MARK), (_MARK, EMPTY)):
        stone = head
        while True:
            for side in range(4):
                near = colour + _neighbour(stone, side, size)
                if cells[near] == sought:
                    cells[near] = mark
                    found += 1
            stone = np.int64(cells[after + stone])
            if stone == head:
                break
    cells[liberties + head] = found // 2


@njit(cache=True)
def _join(cells, columns, stone, into):  # type: ignore[no-untyped-def]
    """Let the chain of a stone become part of another: two rings become one."""
    chain, after = columns[1], columns[2]
    first = stone
    while True:
        cells[chain + stone] = into
        stone = np.int64(cells[after + stone])
        if stone == first:
            break
    cells[after + first], cells[after + into] = cells[after + into], cells[after + first]


@njit(cache=True)
def play(state, action):  # type: ignore[no-untyped-def]
    """See ``Game.play``."""
    size, own = state[SIZE], state[TO_MOVE] + 1
    state[TO_MOVE] ^= 1
    state[MOVES] += 1
    state[LAST] = action
    if action == size * size:
        state[PASSES] += 1
        return
    state[PASSES] = 0
    cells, columns, point = state.view(np.int16), columns_of(state), point_of(action, size)
    colour, chain, after, liberties = columns
    free, head = 0, point
    cells[colour + point], cells[chain + point], cells[after + point] = own, point, point
    for side in range(4):
        near = _neighbour(point, side, size)
        there = cells[colour + near]
        if there == EMPTY:
            free += 1
        elif there == own:
            mine = np.int64(cells[chain + near])
            if head == point:
                _join(cells, columns, point, mine)
                head = mine
            elif head != mine:
                _join(cells, columns, mine, head)
    if head == point:
        cells[liberties + point] = free
    else:
        _count_liberties(cells, columns, size, head)
    state[HASH] = np.int64(np.uint64(state[HASH]) ^ _ZOBRIST[point, own])
    state[STONES] += 1
    for side in range(4):
        near = _neighbour(point, side, size)
        if cells[colour + near] == 3 - own and not _met(cells, columns, size, point, side):
            theirs = np.int64(cells[chain + near])
            cells[liberties + theirs] -= 1
            if cells[liberties + theirs] == 0:
                _take(state, cells, columns, size, own, theirs)
    state[MOST] = max(state[MOST], state[STONES])
    remember(state, np.uint64(state[HASH]))


@njit(cache=True)
def ownership(state, out):  # type: ignore[no-untyped-def]
    """Write whose each point is: a stone's is its colour's, an empty region's is that of the only colour around it."""
    size, own = state[SIZE], state[TO_MOVE] + 1
    cells, colour = state.view(np.int16), columns_of(state)[0]
    stack = np.empty(size * size, np.int64)
    out[:] = 9.0  # not looked at
    for first in range(size * size):
        if out[first] != 9.0:
            continue
        there = cells[colour + point_of(first, size)]
        if there != EMPTY:
            out[first] = 1.0 if there == own else -1.0
            continue
        # Twice over the same region: what is around it, then its points. The second time only they carry the mark 8.
        around = np.zeros(5, np.bool_)
        for fresh, mark in ((np.float32(9.0), np.float32(8.0)), (np.float32(8.0), np.float32(0.0))):
            value = mark
            if mark == 0.0 and around[1] != around[2]:
                value = np.float32(1.0) if around[own] else np.float32(-1.0)
            stack[0], depth = first, 1
            out[first] = value
            while depth > 0:
                depth -= 1
                point = point_of(stack[depth], size)
                for side in range(4):
                    near = _neighbour(point, side, size)
                    seen = cells[colour + near]
                    around[seen] = True
                    index = (near // (size + 1) - 1) * size + near % (size + 1) - 1
                    if seen == EMPTY and out[index] == fresh:
                        out[index] = value
                        stack[depth] = index
                        depth += 1


@njit(cache=True)
def area(state):  # type: ignore[no-untyped-def]
    """Return the points of the player to move less those of the other, komi included."""
    owned = np.empty(state[SIZE] ** 2, np.float32)
    ownership(state, owned)
    komi = state[KOMI2] / 2.0
    return np.float64(owned.sum()) + (komi if state[TO_MOVE] == 1 else -komi)


@njit(cache=True)
def outcome(state):  # type: ignore[no-untyped-def]
    """See ``Game.outcome``."""
    if not ended(state):
        return np.nan
    return np.sign(area(state))
