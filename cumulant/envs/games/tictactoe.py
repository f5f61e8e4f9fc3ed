"""Tic-tac-toe: three in a row on nine points.

A row holds two bitboards, the stones of the player to move and those of the other; bit 3 * row + column.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from cumulant.envs.counter_rng import mix
from cumulant.envs.games.game import Game, draw, no_move, turns

_FULL = 0b111_111_111
_LINES = np.array([0o7, 0o70, 0o700, 0o111, 0o222, 0o444, 0o421, 0o124], np.int64)


def make() -> Game:
    """Return the game. Actions are the nine points, row by row, written 1 to 9. Planes: own stones, the other's.

    >>> game = make()
    >>> state = game.position(["5", "1", "3", "2"])
    >>> print(game.render(state, 1))
     O(O)X
     4 X 6
     7 8 9
    """
    points = turns(3)
    return Game(
        "tictactoe",
        rows=3,
        columns=3,
        num_actions=9,
        num_planes=2,
        state_size=2,
        max_moves=9,
        initial=_initial,
        legal=_legal,
        play=_play,
        outcome=_outcome,
        player=_player,
        encode=_encode,
        key=_key,
        symmetries_points=points,
        symmetries_actions=points,
        render=_render,
        action_name=lambda action: str(action + 1),
        parse_action=_parse_action,
    )


@njit(cache=True)
def _initial(state):  # type: ignore[no-untyped-def]
    state[0], state[1] = 0, 0


@njit(cache=True)
def _outcome(state):  # type: ignore[no-untyped-def]
    for line in _LINES:  # only who moved last can have made a row
        if state[1] & line == line:
            return -1.0
    return 0.0 if state[0] | state[1] == _FULL else np.nan


@njit(cache=True)
def _legal(state, mask):  # type: ignore[no-untyped-def]
    going, taken = np.isnan(_outcome(state)), state[0] | state[1]
    for point in range(9):
        mask[point] = going and not (taken >> point) & 1


@njit(cache=True)
def _play(state, action):  # type: ignore[no-untyped-def]
    own = state[0] | (np.int64(1) << action)
    state[0], state[1] = state[1], own


@njit(cache=True)
def _player(state):  # type: ignore[no-untyped-def]
    stones, count = state[0] | state[1], np.int64(0)
    for point in range(9):
        count += (stones >> point) & 1
    return count & 1


@njit(cache=True)
def _encode(state, planes):  # type: ignore[no-untyped-def]
    for side in range(2):
        for point in range(9):
            planes[side, point // 3, point % 3] = (state[side] >> point) & 1


@njit(cache=True)
def _key(state):  # type: ignore[no-untyped-def]
    return mix(np.uint64(state[0] | (state[1] << 9) | (1 << 18)))


def _render(state: np.ndarray, last_action: int | None = None) -> str:
    mine, theirs = "XO" if _player(state) == 0 else "OX"
    signs = [
        mine if (state[0] >> point) & 1 else theirs if (state[1] >> point) & 1 else str(point + 1) for point in range(9)
    ]
    marked = None if last_action is None else divmod(last_action, 3)
    return "\n".join(draw([signs[row : row + 3] for row in (0, 3, 6)], marked))


def _parse_action(text: str) -> int:
    if text.strip() in tuple("123456789"):
        return int(text) - 1
    raise no_move("tictactoe", text, "a point, 1 to 9")
