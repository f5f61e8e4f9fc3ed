"""Any game of OpenSpiel that fits, by the same facts and functions: two players, no chance, nothing hidden, one result.

A slow path, to try a game before it is written down here: the functions are compiled only in form and ask OpenSpiel in Python.
A row holds the number of moves, and the moves. ``open_spiel`` is an optional package: ``pip install 'cumulant[openspiel]'``.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import numpy as np
from numba import njit, objmode

from cumulant.envs.counter_rng import mix
from cumulant.envs.games.game import Game, no_move
from cumulant.envs.games.lookup import PREFIX
from cumulant.errors import ConfigError, MissingPackage, UsageError, did_you_mean

_REMEMBERED = 10_000  # positions
_REFEREES: list[_Referee] = []


class _Referee:
    """A game of OpenSpiel, asked about rows.

    Args:
        game: What ``pyspiel.load_game`` gave.
    """

    def __init__(self, game: Any) -> None:
        self.game = game
        self._states: OrderedDict[bytes, Any] = OrderedDict()

    def state(self, row: np.ndarray) -> Any:
        """Return OpenSpiel's state of a row; that of a position before is looked for, so that few moves are played again."""
        count = int(row[0])
        start = count
        while start > 0 and row[1 : 1 + start].tobytes() not in self._states:
            start -= 1
        known = self._states.get(row[1 : 1 + start].tobytes()) if start else None
        if start == count and known is not None:
            return known
        state = known.clone() if known is not None else self.game.new_initial_state()
        for action in row[1 + start : 1 + count]:
            state.apply_action(int(action))
        self._states[row[1 : 1 + count].tobytes()] = state
        if len(self._states) > _REMEMBERED:
            self._states.popitem(last=False)
        return state

    def legal(self, row: np.ndarray, mask: np.ndarray) -> None:
        """See ``Game.legal``."""
        state = self.state(row)
        mask[:] = 0
        if not state.is_terminal():
            mask[state.legal_actions()] = 1

    def player(self, row: np.ndarray) -> int:
        """See ``Game.player``; at the end it is who did not move last."""
        state = self.state(row)
        if not state.is_terminal():
            return int(state.current_player())
        return 1 - int(state.full_history()[-1].player)

    def outcome(self, row: np.ndarray) -> float:
        """See ``Game.outcome``."""
        state = self.state(row)
        if not state.is_terminal():
            return float("nan")
        return state.returns()[self.player(row)] / self.game.max_utility()

    def encode(self, row: np.ndarray, planes: np.ndarray) -> None:
        """See ``Game.encode``: OpenSpiel's observation, and in one more plane who is to move."""
        player = self.player(row)
        planes[:-1] = np.asarray(self.state(row).observation_tensor(player), np.float32).reshape(planes[:-1].shape)
        planes[-1] = player


# Compiled code finds a referee by its number, through these, which it takes for what they are only where it is back in Python.
def _ask_legal(number: int, state: np.ndarray, mask: np.ndarray) -> None:
    _REFEREES[number].legal(state, mask)


def _ask_player(number: int, state: np.ndarray) -> int:
    return _REFEREES[number].player(state)


def _ask_outcome(number: int, state: np.ndarray) -> float:
    return _REFEREES[number].outcome(state)


def _ask_encode(number: int, state: np.ndarray, planes: np.ndarray) -> None:
    _REFEREES[number].encode(state, planes)


@njit(cache=True)
def _initial(state):  # type: ignore[no-untyped-def]
    state[:] = 0


@njit(cache=True)
def _play(state, action):  # type: ignore[no-untyped-def]
    state[0] += 1
    state[state[0]] = action


@njit(cache=True)
def _key(state):  # type: ignore[no-untyped-def]
    found = np.uint64(state[0])
    for k in range(1, state[0] + 1):
        found = mix(found ^ np.uint64(state[k] + 1))
    return mix(found)


def openspiel_game(name: str) -> Game:
    """Make a game of OpenSpiel, such as "hex(board_size=5)"; actions are numbers, as OpenSpiel counts them.

    Raises:
        MissingPackage: If open_spiel is not installed.
        UsageError: If there is no such game.
        ConfigError: If it is not of the kind that fits (message says what is in the way).
    """
    try:
        import pyspiel
    except ImportError as problem:
        raise MissingPackage(
            "games of OpenSpiel need the package 'open_spiel': pip install 'cumulant[openspiel]'"
        ) from problem
    if name.partition("(")[0] not in pyspiel.registered_names():
        hint = did_you_mean(name.partition("(")[0], pyspiel.registered_names())
        raise UsageError(f"OpenSpiel has no game '{name}': {hint}")
    try:
        game = pyspiel.load_game(name)
    except pyspiel.SpielError as problem:
        raise ConfigError(f"OpenSpiel refuses '{name}': {problem}") from problem
    _check(name, game, pyspiel.GameType)
    number = len(_REFEREES)
    referee = _Referee(game)
    _REFEREES.append(referee)
    shape = [1, 1, *game.observation_tensor_shape()][-3:]
    actions, longest = game.num_distinct_actions(), game.max_game_length()

    @njit
    def legal(state, mask):  # type: ignore[no-untyped-def]
        with objmode():
            _ask_legal(number, state, mask)

    @njit
    def player(state):  # type: ignore[no-untyped-def]
        with objmode(found="int64"):
            found = _ask_player(number, state)
        return found

    @njit
    def outcome(state):  # type: ignore[no-untyped-def]
        with objmode(found="float64"):
            found = _ask_outcome(number, state)
        return found

    @njit
    def encode(state, planes):  # type: ignore[no-untyped-def]
        with objmode():
            _ask_encode(number, state, planes)

    def parse_action(text: str) -> int:
        plain = text.strip()
        if plain.isascii() and plain.isdigit() and int(plain) < actions:
            return int(plain)
        raise no_move(PREFIX + name, text, f"a number, 0 to {actions - 1}")

    def render(state: np.ndarray, last_action: int | None = None) -> str:
        return str(referee.state(state))

    return Game(
        PREFIX + name,
        rows=shape[1],
        columns=shape[2],
        num_actions=actions,
        num_planes=shape[0] + 1,
        state_size=longest + 1,
        max_moves=longest,
        initial=_initial,
        legal=legal,
        play=_play,
        outcome=outcome,
        player=player,
        encode=encode,
        key=_key,
        symmetries_points=np.arange(shape[1] * shape[2])[None],
        symmetries_actions=np.arange(actions)[None],
        render=render,
        action_name=str,
        parse_action=parse_action,
        two_valued=False,
    )


def _check(name: str, game: Any, kinds: Any) -> None:
    """Refuse a game that does not fit.

    Raises:
        ConfigError: Saying what is in the way.
    """
    kind = game.get_type()
    for wrong, why in (
        (game.num_players() != 2, f"it has {game.num_players()} players, not 2"),
        (kind.dynamics != kinds.Dynamics.SEQUENTIAL, "the players do not move in turn"),
        (kind.chance_mode != kinds.ChanceMode.DETERMINISTIC, "chance plays a part"),
        (kind.information != kinds.Information.PERFECT_INFORMATION, "something is hidden"),
        (kind.reward_model != kinds.RewardModel.TERMINAL, "it pays before the end"),
        (kind.utility != kinds.Utility.ZERO_SUM, "it is not zero-sum"),
        (not kind.provides_observation_tensor, "it has no observations as numbers"),
    ):
        if wrong:
            raise ConfigError(f"the game '{name}' of OpenSpiel does not fit: {why}")
    shape = game.observation_tensor_shape()
    if len(shape) > 3:
        raise ConfigError(f"the game '{name}' of OpenSpiel does not fit: its observations are {shape}, not planes")
