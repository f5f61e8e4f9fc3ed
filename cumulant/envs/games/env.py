"""Board games as environments: the learner plays one side, an opponent the other.

Axes: B parallel games, A actions, C planes, H rows and w columns of the board.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import gymnasium
import numpy as np
from numba import njit, types

from cumulant.envs.batched import Kernel, SingleEnv
from cumulant.envs.counter_rng import uniform
from cumulant.envs.games.game import ENCODE, INITIAL, LEGAL, OUTCOME, PLAY, Address, Game
from cumulant.envs.games.lookup import make_game
from cumulant.errors import ConfigError, UsageError
from cumulant.loading import load_attribute

ENVIRONMENTS = {
    "tictactoe": "TicTacToe-v0",
    "connect_four": "ConnectFour-v0",
    "othello": "Othello-v0",
    "go": "Go-v0",
}
_SEATS = ("any", "first", "second")


@dataclass(frozen=True)
class _Game:
    """What the games share.

    The observation is a dictionary: "observation", the planes ``[C, H, w]`` as the learner sees them, and "action_mask".
    Reward 1 for a win, 0 for a draw, -1 for a loss, at the end. An illegal move loses at once; outcome column "illegal".
    """

    opponent: str = "random"
    """Who plays the other side: random, or a function of observations, module:function or folder/file.py:function."""
    seat: Literal["any", "first", "second"] = "any"
    """Whether the learner begins: any is drawn for each game."""

    game_name: ClassVar[str]

    def game(self) -> Game:
        """Return the game itself."""
        return make_game(self.game_name)

    def kernel(self) -> Kernel:
        """Return the batch kernel."""
        if self.opponent == "random":
            return kernel_of(self.game(), self.seat)
        if ":" not in self.opponent:
            raise ConfigError(
                f"opponent = '{self.opponent}': give random, or a function: module:function or folder/file.py:function"
            )
        return kernel_of(self.game(), self.seat, load_attribute(self.opponent))


@dataclass(frozen=True)
class TicTacToe(_Game):
    """Three in a row on nine points, against a given opponent."""

    game_name: ClassVar[str] = "tictactoe"


@dataclass(frozen=True)
class ConnectFour(_Game):
    """Four in a line on seven columns of six, against a given opponent."""

    game_name: ClassVar[str] = "connect_four"


@dataclass(frozen=True)
class Othello(_Game):
    """Enclosed discs change sides, most discs win, against a given opponent."""

    size: int = 8
    """Rows and columns: 4, 6 or 8."""

    game_name: ClassVar[str] = "othello"

    def game(self) -> Game:
        """Return the game itself."""
        return make_game("othello", size=self.size)


@dataclass(frozen=True)
class Go(_Game):
    """Stones and surrounded points, with superko, against a given opponent."""

    size: int = 9
    """Rows and columns, 2 to 19."""
    komi: float = 7.0
    """Points given to White."""

    game_name: ClassVar[str] = "go"

    def game(self) -> Game:
        """Return the game itself."""
        return make_game("go", size=self.size, komi=self.komi)


def kernel_of(game: Game, seat: str = "any", player: Any = None) -> Kernel:
    """Return any game against an opponent as a batch kernel.

    Args:
        game: The game.
        seat: "any", "first" or "second".
        player: The opponent: None for random moves, which are compiled; else a function of ``{"action_mask": [B, A],
            "observation": [B, C, H, w]}``, or anything with such a method ``act``, that gives B actions.

    Raises:
        ConfigError: If the opponent is nothing that plays, or there is no such seat.
    """
    if seat not in _SEATS:
        raise ConfigError(f"seat = {seat!r}: it must be one of {', '.join(_SEATS)}")
    act = getattr(player, "act", player)
    if act is not None and not callable(act):
        raise ConfigError(f"opponent = {player!r}: it is neither a function nor has it a method 'act'")
    table = _Table(game, _SEATS.index(seat), act)
    first = game.planes(game.start())
    high = max(1.0, float(np.abs(first).max()))  # komi is a plane
    return Kernel(
        observation_space=gymnasium.spaces.Dict(
            {
                "action_mask": gymnasium.spaces.MultiBinary(game.num_actions),
                "observation": gymnasium.spaces.Box(-high if first.min() < 0 else 0.0, high, first.shape, np.float32),
            }
        ),
        action_space=gymnasium.spaces.Discrete(game.num_actions),
        state_size=game.state_size,
        reset=table.reset,
        step=table.step,
        outcome_names=("illegal",),
    )


def against(player: Any, game: str | Game, seat: str = "any", **options: Any) -> gymnasium.Env:
    """Return a game against an opponent as a Gymnasium environment.

    Args:
        player: As in ``kernel_of``; a policy of ``cumulant.load`` is one.
        game: Name of a game, or a game.
        seat: As in ``kernel_of``.
        options: Of the game.

    >>> env = against(lambda seen: seen["action_mask"].argmax(axis=1), "tictactoe", seat="second")
    >>> int(env.reset(seed=0)[0]["observation"][1].sum())
    1
    """
    return SingleEnv(kernel_of(game if isinstance(game, Game) else make_game(game, **options), seat, player))


class _Table:
    """Games of a learner against an opponent: ``reset`` and ``step`` of a kernel.

    The state of an environment is the row of its game; its bits, that is, for a batch keeps numbers.
    """

    def __init__(self, game: Game, seat: int, player: Any) -> None:
        self.game, self.seat, self.player = game, seat, player
        self._rules = (
            Address(game.legal, LEGAL),
            Address(game.play, PLAY),
            Address(game.outcome, OUTCOME),
            Address(game.encode, ENCODE),
        )
        self._initial = Address(game.initial, INITIAL)
        self._board = game.planes(game.start()), np.zeros(game.num_actions, np.uint8)

    def reset(self, mask: np.ndarray, key: np.ndarray, params: np.ndarray, state: np.ndarray, obs: np.ndarray) -> None:
        """Start games, and let the opponent begin some of them."""
        rows, count = state.view(np.int64), len(mask)
        waits = np.zeros(count, bool)
        begin, _, _ = _compiled()
        begin(self._initial, self.seat, mask, key, rows, waits)
        self._reply(key, np.full(count, -1), rows, waits, mask, obs, np.zeros(count, np.float32), np.zeros(count, bool))

    def step(self, key: np.ndarray, clock: np.ndarray, action: np.ndarray, params: np.ndarray, state: np.ndarray,
             obs: np.ndarray, reward: np.ndarray, terminated: np.ndarray, outcomes: np.ndarray) -> None:  # fmt: skip
        """Play the learner's moves and the opponent's."""
        rows, waits, every = state.view(np.int64), np.zeros(len(action), bool), np.ones(len(action), bool)
        _, move, _ = _compiled()
        asks = self.player is not None
        move(*self._rules, *self._board, asks, key, clock, action, rows, waits, obs, reward, terminated, outcomes)
        if asks:
            self._reply(key, clock, rows, waits, every, obs, reward, terminated)

    def _reply(self, key: np.ndarray, clock: np.ndarray, rows: np.ndarray, waits: np.ndarray, shown: np.ndarray,
               obs: np.ndarray, reward: np.ndarray, terminated: np.ndarray) -> None:  # fmt: skip
        answer = np.full(len(waits), -1)
        if self.player is not None and waits.any():
            answer[waits] = self._asked(self.player, rows[waits])
        _, _, reply = _compiled()
        reply(*self._rules, *self._board, key, clock, answer, rows, waits, shown, obs, reward, terminated)

    def _asked(self, player: Any, rows: np.ndarray) -> np.ndarray:
        """Return the moves of an opponent that is a function of observations.

        Raises:
            UsageError: If it does not answer every position with a legal action.
        """
        game = self.game
        planes = np.stack([game.planes(row) for row in rows])
        masks = np.zeros((len(rows), game.num_actions), np.uint8)
        for row, mask in zip(rows, masks):
            game.legal(row, mask)
        chosen = np.asarray(player({"action_mask": masks, "observation": planes}))
        if chosen.shape != (len(rows),) or chosen.dtype.kind not in "iu":
            raise UsageError(
                f"the opponent answered {len(rows)} positions with {chosen!r}: it must give an array of as many actions"
            )
        known = (chosen >= 0) & (chosen < game.num_actions)
        legal = known & (masks[np.arange(len(rows)), np.where(known, chosen, 0)] > 0)
        if not legal.all():
            at = int(np.flatnonzero(~legal)[0])
            raise UsageError(
                f"the opponent plays {chosen[at]}, which is not legal in {game.name}:\n{game.render(rows[at])}"
            )
        return chosen


def _begin(initial, seat, mask, key, rows, waits):  # type: ignore[no-untyped-def]
    for i in range(mask.shape[0]):
        if mask[i]:
            initial(rows[i])
            waits[i] = seat == 2 or (seat == 0 and uniform(key[i], -1, 0) < 0.5)


@njit(cache=True)
def _answer(legal, play, outcome, allowed, row, chosen, key, step):  # type: ignore[no-untyped-def]
    """Play the opponent's move, at random where none is given, and return what it is worth to the learner."""
    if chosen < 0:
        legal(row, allowed)
        left = np.int64(uniform(key, step, 1) * allowed.sum())
        while left >= 0:
            chosen += 1
            left -= allowed[chosen]
    play(row, chosen)
    return outcome(row)


@njit(cache=True)
def _show(legal, encode, planes, allowed, row, obs):  # type: ignore[no-untyped-def]
    """Write an observation; everything is allowed where a game has ended, for networks need an option."""
    legal(row, allowed)
    over, actions = not allowed.any(), allowed.shape[0]
    encode(row, planes)
    for action in range(actions):
        obs[action] = over or allowed[action]
    flat = planes.ravel()
    for k in range(flat.shape[0]):
        obs[actions + k] = flat[k]


def _move(  # type: ignore[no-untyped-def]
    legal,
    play,
    outcome,
    encode,
    planes,
    allowed,
    asks,
    key,
    clock,
    action,
    rows,
    waits,
    obs,
    reward,
    terminated,
    outcomes,
):
    for i in range(action.shape[0]):
        row = rows[i]
        legal(row, allowed)
        reward[i], terminated[i], outcomes[i, 0] = -1.0, True, 1.0
        if allowed[action[i]]:
            play(row, action[i])
            result = -outcome(row)  # it is the opponent who is to move
            if np.isnan(result):
                if asks:
                    waits[i] = True
                else:
                    result = _answer(legal, play, outcome, allowed, row, -1, key[i], clock[i])
            terminated[i], outcomes[i, 0] = not np.isnan(result), 0.0
            reward[i] = result if terminated[i] else 0.0
        if not waits[i]:
            _show(legal, encode, planes, allowed, row, obs[i])


def _reply(  # type: ignore[no-untyped-def]
    legal, play, outcome, encode, planes, allowed, key, clock, answer, rows, waits, shown, obs, reward, terminated
):
    for i in range(answer.shape[0]):
        if waits[i]:
            result = _answer(legal, play, outcome, allowed, rows[i], answer[i], key[i], clock[i])
            if not np.isnan(result):
                terminated[i], reward[i] = True, result
        if shown[i]:
            _show(legal, encode, planes, allowed, rows[i], obs[i])


@functools.cache
def _compiled() -> tuple[Any, Any, Any]:
    """Return ``_begin``, ``_move`` and ``_reply`` compiled for all games; not at import, which everybody would wait for."""
    flags, numbers, rows, obs = types.boolean[::1], types.int64[::1], types.int64[:, ::1], types.float32[:, ::1]
    keys, reward = types.uint64[::1], types.float32[::1]
    game = (LEGAL, PLAY, OUTCOME, ENCODE, types.float32[:, :, ::1], types.uint8[::1])
    begin = types.void(INITIAL, types.int64, flags, keys, rows, flags)
    move = types.void(
        *game, types.boolean, keys, numbers, numbers, rows, flags, obs, reward, flags, types.float64[:, ::1]
    )
    reply = types.void(*game, keys, numbers, numbers, rows, flags, flags, obs, reward, flags)
    return njit([begin], cache=True)(_begin), njit([move], cache=True)(_move), njit([reply], cache=True)(_reply)
