"""Connect Four: seven columns of six, four in a line wins.

A row holds two bitboards, the stones of the player to move and all stones. Bit 7 * column + height, height 0 below; the seventh
bit of each column stays empty, so that lines do not run on into the next one.

Source: the bitboards are those of John Tromp's Fhourstones.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from cumulant.envs.counter_rng import mix
from cumulant.envs.games.game import Game, draw, mirrors, no_move

_ROWS, _COLUMNS = 6, 7
_HIGH = _ROWS + 1  # bits of a column
_BOTTOM = sum(1 << (_HIGH * column) for column in range(_COLUMNS))
_FULL = _BOTTOM * ((1 << _ROWS) - 1)
_TOGETHER = sum(1 << (6 * column) for column in range(1, _COLUMNS + 1))
_BITS = (np.arange(1 << _COLUMNS)[:, None] >> np.arange(_COLUMNS) & 1).astype(np.float32)  # of each number up to 127


def make() -> Game:
    """Return the game. Actions are the columns, written 1 to 7. Planes: own stones, the other's; row 0 is the top.

    >>> game = make()
    >>> print(game.render(game.position(list("4453")), 2))
     . . . . . . .
     . . . . . . .
     . . . . . . .
     . . . . . . .
     . . . O . . .
     . .(O)X X . .
     1 2 3 4 5 6 7
    """
    return Game(
        "connect_four",
        rows=_ROWS,
        columns=_COLUMNS,
        num_actions=_COLUMNS,
        num_planes=2,
        state_size=2,
        max_moves=_ROWS * _COLUMNS,
        initial=_initial,
        legal=_legal,
        play=_play,
        outcome=_outcome,
        player=_player,
        encode=_encode,
        key=_key,
        symmetries_points=mirrors(_ROWS, _COLUMNS),
        symmetries_actions=mirrors(1, _COLUMNS),
        render=_render,
        action_name=lambda action: str(action + 1),
        parse_action=_parse_action,
    )


@njit(cache=True)
def four_in_line(stones):  # type: ignore[no-untyped-def]
    """Return whether a bitboard of one player's stones holds four in a line.

    >>> bool(four_in_line(0b1111)), bool(four_in_line(0b111 | 1 << 7))
    (True, False)
    """
    for step in (_HIGH, _HIGH - 1, _HIGH + 1, 1):  # a row, both diagonals, a column
        pairs = stones & (stones >> step)
        if pairs & (pairs >> 2 * step):
            return True
    return False


@njit(cache=True)
def _initial(state):  # type: ignore[no-untyped-def]
    state[0], state[1] = 0, 0


@njit(cache=True)
def _outcome(state):  # type: ignore[no-untyped-def]
    if four_in_line(state[0] ^ state[1]):  # only who moved last can have made a line
        return -1.0
    return 0.0 if state[1] == _FULL else np.nan


@njit(cache=True)
def _legal(state, mask):  # type: ignore[no-untyped-def]
    going = not four_in_line(state[0] ^ state[1])
    for column in range(_COLUMNS):
        mask[column] = going and not (state[1] >> (_HIGH * column + _ROWS - 1)) & 1


@njit(cache=True)
def _play(state, action):  # type: ignore[no-untyped-def]
    taken = state[1]
    state[0] ^= taken
    state[1] = taken | (taken + (np.int64(1) << (_HIGH * action)))


@njit(cache=True)
def _player(state):  # type: ignore[no-untyped-def]
    odd = state[1]  # whether the number of stones is: the halves of the word laid on each other, again and again
    for half in (32, 16, 8, 4, 2, 1):
        odd ^= odd >> half
    return odd & 1


@njit(cache=True)
def _encode(state, planes):  # type: ignore[no-untyped-def]
    own, other = state[0], state[0] ^ state[1]
    for row in range(_ROWS):
        for plane, stones in enumerate((own, other)):
            # of the bits of a row, which are seven apart, one number: the product has them side by side from bit 42 on
            bits = ((((stones >> (_ROWS - 1 - row)) & _BOTTOM) * _TOGETHER) >> 42) & 127
            for column in range(_COLUMNS):
                planes[plane, row, column] = _BITS[bits, column]


@njit(cache=True)
def _key(state):  # type: ignore[no-untyped-def]
    return mix(np.uint64(state[0] + state[1]))


def _render(state: np.ndarray, last_action: int | None = None) -> str:
    own, taken = int(state[0]), int(state[1])
    mine, theirs = "XO" if _player(state) == 0 else "OX"
    signs = [
        [
            "." if not (taken >> bit) & 1 else mine if (own >> bit) & 1 else theirs
            for bit in range(height, _HIGH * _COLUMNS, _HIGH)
        ]
        for height in reversed(range(_ROWS))
    ]
    marked = None
    if last_action is not None:
        marked = (next((row for row in range(_ROWS) if signs[row][last_action] != "."), _ROWS - 1), last_action)
    return "\n".join([*draw(signs, marked), "".join(f" {column + 1}" for column in range(_COLUMNS))])


def _parse_action(text: str) -> int:
    if text.strip() in tuple("1234567"):
        return int(text) - 1
    raise no_move("connect_four", text, "a column, 1 to 7")
