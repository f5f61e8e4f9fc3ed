"""Who plays board games: one shape for baselines, referees, engines of others and trained policies, found by what people write.

    random   mcts:1000   alphabeta:4   perfect   gtp:COMMAND   rust_reversi:5

Axes: B positions, W words of a row, A actions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cumulant.engine.rollouts import alpha_beta, tree_search
from cumulant.envs.games import minimax
from cumulant.envs.games.game import Game
from cumulant.errors import ConfigError, UsageError, did_you_mean

RESIGNED = -1  # instead of an action
Moves = Sequence[int]
Choose = Callable[[np.ndarray, Sequence[Moves]], np.ndarray]
Analyse = Callable[[np.ndarray, Sequence[Moves]], "Analysis"]


@dataclass(frozen=True)
class Analysis:
    """What a player thinks of positions.

    Args:
        action: What it would play, ``[B]`` int64.
        value: What it expects for the player to move, from -1 (lost) to 1 (won), ``[B]`` float64.
        visits: How often it tried every action, ``[B, A]`` int64; None where it does not count.
        policy: How much it thinks of every action, ``[B, A]`` float64, each row sums to 1.
    """

    action: np.ndarray
    value: np.ndarray
    visits: np.ndarray | None
    policy: np.ndarray


@dataclass
class Player:
    """A player of one game.

    Args:
        name: What tables call it.
        choose: ``actions [B] = choose(states [B, W], moves)``, where ``moves`` has the actions that led to each position. What it
            returns need not be legal: who asks looks; `RESIGNED` gives up. Raises PlayerFault when the player cannot go on.
        at_once: Positions that one call may have. A player with a memory of its own has 1, and gets game after game.
        analyse: The same for ``Analysis``; None where a player has only moves to tell.
        close: Called when nobody needs it any more; ends what it started.
    """

    name: str
    choose: Choose
    at_once: int = 1024
    analyse: Analyse | None = None
    close: Callable[[], None] = lambda: None


def make_player(
    spec: str, game: Game, *, seed: int = 0, simulations: int | None = None, seconds: float = 60.0
) -> Player:
    """Make a player from what people write.

    Args:
        spec: A baseline, ``gtp:COMMAND``, or the directory of a run or checkpoint, with or without ``:SIMULATIONS``.
        game: What it shall play.
        seed: Of its random choices.
        simulations: Of a trained player's search; by default those that it was trained with.
        seconds: How long a GTP engine may think about a move.

    Raises:
        UsageError: If there is no such player, or it does not play this game (message says which do).
    """
    name, _, argument = spec.partition(":")
    if name == "gtp":
        from cumulant.engine.gtp import gtp_player

        return gtp_player(argument, game, seconds)
    if name not in BASELINES:
        hint = did_you_mean(name, [*BASELINES, "gtp"])
        raise UsageError(f"no player '{spec}', and no run of that name: {hint} (players: {PLAYERS})")
    maker, what, default = BASELINES[name]
    if argument and what is None:
        raise UsageError(f"player '{spec}': '{name}' takes no number")
    if what and not argument and default is None:
        raise UsageError(f"player '{spec}' needs {what}: {name}:5, for example")
    number = default if not argument else _number(spec, argument, what or "")
    return maker(game, seed, number)


PLAYERS = (
    "random, mcts:ROLLOUTS, alphabeta:DEPTH, perfect, rust_reversi:DEPTH, gtp:COMMAND, RUN, RUN@last, RUN@STEPS, "
    "RUN:SIMULATIONS"
)


def _number(spec: str, text: str, what: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise ConfigError(f"player '{spec}': {what} must be a whole number of at least 1")
    return int(text)


def _random(game: Game, seed: int, number: int | None) -> Player:
    rng = np.random.default_rng(seed)

    def choose(states: np.ndarray, moves: Sequence[Moves]) -> np.ndarray:
        return np.array([rng.choice(game.legal_actions(state)) for state in states], np.int64)

    return Player("random", choose)


def _mcts(game: Game, seed: int, number: int | None) -> Player:
    """Random games decide; each call draws new ones, so that two games need not be the same."""
    assert number is not None
    rng = np.random.default_rng(seed)

    def analyse(states: np.ndarray, moves: Sequence[Moves]) -> Analysis:
        visits, values = tree_search(game, states, number, int(rng.integers(2**62)))
        return Analysis(visits.argmax(1), values, visits, visits / visits.sum(1, keepdims=True))

    return Player(f"mcts:{number}", lambda states, moves: analyse(states, moves).action, analyse=analyse)


def _alpha_beta(game: Game, seed: int, number: int | None) -> Player:
    assert number is not None

    def analyse(states: np.ndarray, moves: Sequence[Moves]) -> Analysis:
        values = alpha_beta(game, states, number)
        best = values.argmax(1)
        return Analysis(best, np.clip(values.max(1), -1.0, 1.0), None, np.eye(game.num_actions)[best])

    return Player(f"alphabeta:{number}", lambda states, moves: analyse(states, moves).action, analyse=analyse)


def _perfect(game: Game, seed: int, number: int | None) -> Player:
    """Play a move that keeps the value; among several the quickest win, or one at random."""
    rng = np.random.default_rng(seed)
    if game.name == "connect_four":
        from cumulant.envs.games.solver_connect_four import NO_MOVE, Solver

        solver = Solver()

        def worth(state: np.ndarray) -> np.ndarray:
            own, mask = int(state[0]), int(state[1])
            if mask.bit_count() < _EXACT_FROM:
                value, keeps = solver.keeping(own, mask)
                return np.where(keeps, value, -np.inf)
            scores = solver.move_scores(own, mask)
            return np.where(scores == NO_MOVE, -np.inf, scores)

    elif game.name == "tictactoe":
        table = minimax.Table(game)
        worth = table.move_values
    else:
        raise UsageError(f"there is no perfect player of {game.name}: of connect_four and tictactoe only")

    def analyse(states: np.ndarray, moves: Sequence[Moves]) -> Analysis:
        values = np.stack([worth(state) for state in states])
        best = values == values.max(1, keepdims=True)
        action = np.array([rng.choice(np.flatnonzero(row)) for row in best], np.int64)
        return Analysis(action, np.sign(values.max(1)), None, best / best.sum(1, keepdims=True))

    return Player("perfect", lambda states, moves: analyse(states, moves).action, at_once=8, analyse=analyse)


_EXACT_FROM = (
    12  # stones from which the perfect player knows how soon it wins; before that it would think twice as long
)


def _rust_reversi(game: Game, seed: int, number: int | None) -> Player:
    from cumulant.engine.reversi_player import reversi_player

    assert number is not None
    return reversi_player(game, number)


BASELINES: dict[str, tuple[Callable[[Game, int, int | None], Player], str | None, int | None]] = {
    "random": (_random, None, None),
    "mcts": (_mcts, "the number of its rollouts", None),
    "alphabeta": (_alpha_beta, "its depth", None),
    "perfect": (_perfect, None, None),
    "rust_reversi": (_rust_reversi, "its depth", None),
}


def written(game: Game, action: int) -> str:
    """Return an action as people write it, and "action 99" for one that the game has not."""
    return game.action_name(action) if 0 <= action < game.num_actions else f"action {action}"


def close_all(players: Sequence[Any]) -> None:
    """Close players; what one of them raises does not keep the others open."""
    problem: BaseException | None = None
    for player in players:
        try:
            player.close()
        except Exception as each:
            problem = problem or each
    if problem is not None:
        raise problem
