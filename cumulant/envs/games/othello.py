"""Othello, also called Reversi: enclosed discs change sides, most discs win; boards of 4x4, 6x6, 8x8.

A row holds the discs of the player to move, those of the other, the player, all points of the board and its size. Bit
8 * row + column, whatever the size; row 0 is the top. Who has no move must pass, and only then may.
"""

from __future__ import annotations

import re

import numpy as np
from numba import njit

from cumulant.envs.counter_rng import mix
from cumulant.envs.games.bits import count_bits
from cumulant.envs.games.game import Game, draw, no_move, turns, with_pass
from cumulant.errors import ConfigError

_ONE, _NONE = np.uint64(1), np.uint64(0)
_STEPS = np.array([1, 7, 8, 9], np.uint64)
# A line that goes sideways is never continued by a disc of the outer columns, so that it does not run on into the next row.
_BETWEEN = np.array([0x7E7E7E7E7E7E7E7E, 0x7E7E7E7E7E7E7E7E, 0xFFFFFFFFFFFFFFFF, 0x7E7E7E7E7E7E7E7E], np.uint64)


def make(size: int = 8) -> Game:
    """Return the game. Actions are the points, row by row, written d3, and pass. Planes: own discs, the other's.

    Args:
        size: Rows and columns: 4, 6 or 8.

    Raises:
        ConfigError: If there is no such board.

    >>> game = make()
    >>> [game.action_name(action) for action in game.legal_actions(game.start())]
    ['d3', 'c4', 'f5', 'e6']
    """
    if not isinstance(size, int) or size not in (4, 6, 8):
        raise ConfigError(f"othello: size = {size}; boards are 4, 6 or 8 points wide")
    board = sum(1 << (8 * row + column) for row in range(size) for column in range(size))
    high = size // 2  # the lower right of the four points in the middle
    white = (1 << (9 * (high - 1))) | (1 << (9 * high))
    black = (1 << (8 * (high - 1) + high)) | (1 << (8 * high + high - 1))
    points = turns(size)[::2]  # the four that leave the first position as it is

    @njit(cache=True)
    def initial(state):  # type: ignore[no-untyped-def]
        discs = state.view(np.uint64)
        discs[0], discs[1], discs[3] = np.uint64(black), np.uint64(white), np.uint64(board)
        state[2], state[4] = 0, size

    def action_name(action: int) -> str:
        return "pass" if action == size * size else f"{'abcdefgh'[action % size]}{action // size + 1}"

    def parse_action(text: str) -> int:
        plain = text.strip().lower()
        if plain == "pass":
            return size * size
        if re.fullmatch(rf"[a-{'abcdefgh'[size - 1]}][1-{size}]", plain):
            return "abcdefgh".index(plain[0]) + size * (int(plain[1]) - 1)
        raise no_move("othello", text, f"a column and a row, a1 to {action_name(size * size - 1)}, or pass")

    return Game(
        "othello",
        rows=size,
        columns=size,
        num_actions=size * size + 1,
        num_planes=2,
        state_size=5,
        max_moves=2 * (size * size - 4),
        initial=initial,
        legal=_legal,
        play=_play,
        outcome=_outcome,
        player=_player,
        encode=_encode,
        key=_key,
        symmetries_points=points,
        symmetries_actions=with_pass(points),
        render=_render,
        action_name=action_name,
        parse_action=parse_action,
        ownership=_ownership,
        options={"size": size},
    )


@njit(inline="always")
def _along(discs, step, ahead):  # type: ignore[no-untyped-def]
    """Return discs moved by one point in one of four directions, ahead or back."""
    return discs << step if ahead else discs >> step


@njit(inline="always")
def _enclosed(start, other, line, ahead):  # type: ignore[no-untyped-def]
    """Return the other's discs that follow ``start`` without a gap in a direction."""
    step, between = _STEPS[line], other & _BETWEEN[line]
    found = _along(start, step, ahead) & between
    for _ in range(5):
        found |= _along(found, step, ahead) & between
    return found


@njit(cache=True)
def moves(own, other, board):  # type: ignore[no-untyped-def]
    """Return the points where ``own`` can play, as a bitboard."""
    found = _NONE
    for line in range(4):
        for ahead in (False, True):
            found |= _along(_enclosed(own, other, line, ahead), _STEPS[line], ahead)
    return found & board & ~(own | other)


@njit(cache=True)
def flips(own, other, point):  # type: ignore[no-untyped-def]
    """Return the discs of ``other`` that change sides when ``own`` plays at this one bit."""
    found = _NONE
    for line in range(4):
        for ahead in (False, True):
            between = _enclosed(point, other, line, ahead)
            if _along(between, _STEPS[line], ahead) & own:
                found |= between
    return found


@njit(inline="always")
def _bit(action, size):  # type: ignore[no-untyped-def]
    return np.uint64(8 * (action // size) + action % size)


@njit(cache=True)
def _legal(state, mask):  # type: ignore[no-untyped-def]
    discs, size = state.view(np.uint64), state[4]
    found = moves(discs[0], discs[1], discs[3])
    for action in range(size * size):
        mask[action] = (found >> _bit(action, size)) & _ONE
    mask[size * size] = found == _NONE and moves(discs[1], discs[0], discs[3]) != _NONE


@njit(cache=True)
def _play(state, action):  # type: ignore[no-untyped-def]
    discs, size = state.view(np.uint64), state[4]
    own, other = discs[0], discs[1]
    if action < size * size:
        point = _ONE << _bit(action, size)
        turned = flips(own, other, point)
        own, other = own | turned | point, other & ~turned
    discs[0], discs[1] = other, own
    state[2] ^= 1


@njit(cache=True)
def _outcome(state):  # type: ignore[no-untyped-def]
    discs = state.view(np.uint64)
    own, other, board = discs[0], discs[1], discs[3]
    if moves(own, other, board) or moves(other, own, board):
        return np.nan
    return np.float64(np.sign(count_bits(own) - count_bits(other)))


@njit(cache=True)
def _player(state):  # type: ignore[no-untyped-def]
    return state[2]


@njit(cache=True)
def _encode(state, planes):  # type: ignore[no-untyped-def]
    discs, size = state.view(np.uint64), state[4]
    for side in range(2):
        for action in range(size * size):
            planes[side, action // size, action % size] = (discs[side] >> _bit(action, size)) & _ONE


@njit(cache=True)
def _ownership(state, out):  # type: ignore[no-untyped-def]
    discs, size = state.view(np.uint64), state[4]
    for action in range(size * size):
        bit = _bit(action, size)
        out[action] = np.float32((discs[0] >> bit) & _ONE) - np.float32((discs[1] >> bit) & _ONE)


@njit(cache=True)
def _key(state):  # type: ignore[no-untyped-def]
    discs = state.view(np.uint64)
    return mix(mix(discs[0]) + discs[1])


def _render(state: np.ndarray, last_action: int | None = None) -> str:
    size = int(state[4])
    own = np.zeros(size * size, np.float32)
    _ownership(state, own)
    black = own if state[2] == 0 else -own
    signs = [["O.X"[int(side) + 1] for side in row] for row in black.reshape(size, size)]
    marked = None if last_action is None or last_action == size * size else divmod(last_action, size)
    head = "  " + "".join(f" {letter}" for letter in "abcdefgh"[:size])
    return "\n".join([head, *(f"{row:2d}{line}" for row, line in enumerate(draw(signs, marked), 1))])
