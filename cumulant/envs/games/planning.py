"""Problems of one player as games of one: what a search plans in.

A position has the table of its problem in its row, so that the functions are compiled once for all: it is for small ones.
Axes: S states, A actions.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from cumulant.envs.games.game import Game, no_move
from cumulant.envs.mdp import TabularMDP
from cumulant.errors import ConfigError

_STATE, _MOVES, _REWARD, _ENDED, _LONGEST, _STATES, _ACTIONS, _HEAD = range(8)  # words of a position; the table follows


def as_game(mdp: TabularMDP, longest: int, gamma: float, start: int | None = None, name: str = "problem") -> Game:
    """Return a decision process without chance as a game of one player: rewards on the way, and an end.

    A position is shown as one plane ``[1, S]`` with a 1 at the state.

    Args:
        mdp: The tables; an action leads to one state.
        longest: Moves after which it ends.
        gamma: Discount factor, in (0, 1].
        start: Where it begins; by default the first of the likeliest places.
        name: What messages call it.

    Raises:
        ConfigError: If chance plays a part, or a number is refused, such as a start that is no state.

    >>> from cumulant.envs.gridworlds import CliffWalking
    >>> game = as_game(CliffWalking().mdp(), longest=20, gamma=1.0)
    >>> state = game.position(["0", "1"])
    >>> int(state[0]), float(game.reward(state)), float(game.outcome(state))
    (25, -1.0, nan)
    """
    if (mdp.prob.max(2) < 1.0).any():
        raise ConfigError(f"{name}: chance plays a part, which this search knows nothing of")
    if longest < 1 or not 0.0 < gamma <= 1.0:
        raise ConfigError(f"{name}: longest = {longest}, gamma = {gamma}: they must be at least 1, and in (0, 1]")
    likely = mdp.prob.argmax(2)[:, :, None]
    leads, pays, ends = (
        np.take_along_axis(table, likely, 2)[:, :, 0] for table in (mdp.next_obs, mdp.reward, mdp.terminated)
    )
    states, actions = leads.shape
    if start is not None and not 0 <= start < states:
        raise ConfigError(f"{name}: start = {start}: it must be one of the {states} states, 0 to {states - 1}")
    row = np.zeros(_HEAD + 2 * leads.size, np.int64)
    row[_STATE] = int(mdp.start.argmax()) if start is None else start
    row[[_LONGEST, _STATES, _ACTIONS]] = longest, states, actions
    row[_HEAD::2] = (2 * leads + ends).ravel()
    row.view(np.float64)[_HEAD + 1 :: 2] = pays.ravel()

    def initial(state: np.ndarray) -> None:
        state[:] = row

    def parse_action(text: str) -> int:
        if text.isdecimal() and int(text) < actions:
            return int(text)
        raise no_move(name, text, f"a number, 0 to {actions - 1}")

    return Game(
        name,
        rows=1,
        columns=states,
        num_actions=actions,
        num_planes=1,
        state_size=len(row),
        max_moves=longest,
        initial=initial,
        legal=_legal,
        play=_play,
        outcome=_outcome,
        player=_player,
        encode=_encode,
        key=_key,
        symmetries_points=np.arange(states)[None],
        symmetries_actions=np.arange(actions)[None],
        render=lambda state, last_action=None: f"state {state[_STATE]}",
        action_name=str,
        parse_action=parse_action,
        reward=_reward,
        discount=gamma,
    )


@njit(cache=True)
def _outcome(state):  # type: ignore[no-untyped-def]
    return 0.0 if state[_ENDED] or state[_MOVES] >= state[_LONGEST] else np.nan


@njit(cache=True)
def _legal(state, mask):  # type: ignore[no-untyped-def]
    mask[:] = np.isnan(_outcome(state))


@njit(cache=True)
def _play(state, action):  # type: ignore[no-untyped-def]
    entry = _HEAD + 2 * (state[_STATE] * state[_ACTIONS] + action)
    state[_REWARD] = state[entry + 1]  # the bits of a float64
    state[_MOVES] += 1
    state[_STATE], state[_ENDED] = state[entry] >> 1, state[entry] & 1


@njit(cache=True)
def _encode(state, planes):  # type: ignore[no-untyped-def]
    planes[:] = 0.0
    planes[0, 0, state[_STATE]] = 1.0


@njit(cache=True)
def _player(state):  # type: ignore[no-untyped-def]
    return 0


@njit(cache=True)
def _reward(state):  # type: ignore[no-untyped-def]
    return state.view(np.float64)[_REWARD]


@njit(cache=True)
def _key(state):  # type: ignore[no-untyped-def]
    return np.uint64(state[_STATE]) * np.uint64(1 << 32) + np.uint64(2 * state[_MOVES] + state[_ENDED])
