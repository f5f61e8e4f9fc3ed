"""Solve a small game completely: the value of every position that can be reached, in one table.

Axes: B positions, W words of a row, A actions.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from cumulant.envs.games.game import Game
from cumulant.errors import UsageError

_MOST = 200_000  # positions; tic-tac-toe has 5,478


class Table:
    """The value of every position of a game, for the player to move; by the end of the game each counts its own moves.

    A won position is worth 1, a drawn one 0, a lost one -1, and ``1e-3`` per move to the end makes early wins the better ones.

    Args:
        game: A game with few positions, such as tictactoe.

    Raises:
        UsageError: If it has too many.

    >>> from cumulant.envs.games.lookup import make_game
    >>> table = Table(make_game("tictactoe"))
    >>> len(table.values), table.values[make_game("tictactoe").start().tobytes()]
    (5478, 0.0)
    """

    def __init__(self, game: Game) -> None:
        self.game = game
        self.values: dict[bytes, float] = {}
        self._solve(game.start())

    def _solve(self, state: np.ndarray) -> float:
        key = state.tobytes()
        if key not in self.values:
            result = float(self.game.outcome(state))
            if np.isnan(result):
                if len(self.values) >= _MOST:
                    raise UsageError(f"{self.game.name} has too many positions to be solved completely")
                result = max(0.0 - _later(self._solve(after)) for _, after in children(self.game, state))
            self.values[key] = result
        return self.values[key]

    def move_values(self, state: np.ndarray) -> np.ndarray:
        """Return what every action is worth to the player to move, ``[A]``; minus infinity where it is not legal."""
        values = np.full(self.game.num_actions, -np.inf)
        for action, after in children(self.game, state):
            values[action] = -_later(self.values[after.tobytes()])
        return values


def _later(value: float) -> float:
    """Return a value one move earlier: nearer to a draw."""
    return value - math.copysign(1e-3, value) if value else 0.0


def children(game: Game, state: np.ndarray) -> list[tuple[int, np.ndarray]]:
    """Return every legal action and the position after it."""
    found = []
    for action in game.legal_actions(state):
        after = state.copy()
        game.play(after, action)
        found.append((int(action), after))
    return found


def losing_line(choose_moves: Callable[[np.ndarray], np.ndarray], game: Game) -> list[int] | None:
    """Play a deterministic player against every reply of the opponent, from both sides, and return a game that it loses.

    Args:
        choose_moves: ``actions [B] = choose_moves(states [B, W])``; called once per move, with all positions of that length.
        game: A game with few positions, in which players take turns.

    Returns:
        The actions of a lost game, one in which the player makes an illegal move, or None where it never loses: then nobody,
        however good, beats it.
    """
    for side in (0, 1):
        level: dict[bytes, tuple[np.ndarray, list[int]]] = {game.start().tobytes(): (game.start(), [])}
        while level:
            after: dict[bytes, tuple[np.ndarray, list[int]]] = {}
            own = [each for each in level.values() if game.player(each[0]) == side]
            chosen = choose_moves(np.stack([state for state, _ in own])) if own else ()
            replies = [(state, moves, [int(action)]) for (state, moves), action in zip(own, chosen)]
            replies += [(s, m, list(game.legal_actions(s))) for s, m in level.values() if game.player(s) != side]
            for state, moves, actions in replies:
                for action in actions:
                    line = [*moves, int(action)]
                    if action not in game.legal_actions(state):
                        return line
                    position = state.copy()
                    game.play(position, action)
                    result = game.outcome(position)
                    if np.isnan(result):
                        after[position.tobytes()] = (position, line)
                    elif result * (1 if game.player(position) == side else -1) < 0:
                        return line
            level = after
    return None
