"""Three in a row where, after the first move, everybody moves twice: who has won may be to move again."""

from dataclasses import replace

import numpy as np
from numba import njit

from cumulant.envs.games.lookup import make_game


@njit(cache=True)
def _initial(state):
    state[0], state[1] = 0, 0


@njit(cache=True)
def _moves(state):
    count = 0
    for place in range(9):
        count += ((state[0] | state[1]) >> place) & 1
    return count


@njit(cache=True)
def _player(state):
    return np.int64((_moves(state) + 1) // 2 % 2)


@njit(cache=True)
def _has_line(stones):
    for line in (0b111, 0b111000, 0b111000000, 0b1001001, 0b10010010, 0b100100100, 0b100010001, 0b1010100):  # noqa: SIM110 (compiled)
        if stones & line == line:
            return True
    return False


@njit(cache=True)
def _outcome(state):
    for who in range(2):
        if _has_line(state[who]):
            return 1.0 if _player(state) == who else -1.0
    return 0.0 if _moves(state) == 9 else np.nan


@njit(cache=True)
def _legal(state, mask):
    going = np.isnan(_outcome(state))
    for place in range(9):
        mask[place] = going and not ((state[0] | state[1]) >> place) & 1


@njit(cache=True)
def _play(state, action):
    state[_player(state)] |= np.int64(1) << action


@njit(cache=True)
def _encode(state, planes):
    who = _player(state)
    for place in range(9):
        planes[0, place // 3, place % 3] = (state[who] >> place) & 1
        planes[1, place // 3, place % 3] = (state[1 - who] >> place) & 1


def two_moves():
    """Return the game."""
    return replace(
        make_game("tictactoe"),
        name="two_moves",
        initial=_initial,
        legal=_legal,
        play=_play,
        outcome=_outcome,
        player=_player,
        encode=_encode,
        state_size=2,
    )
