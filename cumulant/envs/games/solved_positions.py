"""Positions of Connect Four with what every move is worth, and how often a player keeps what a position is worth.

Two sets, ``random`` (from uniformly random games) and ``strong`` (from games of players who err seldom), of positions with 8 to
28 stones in which nobody can win at once, some moves keep the value of the position (won, drawn or lost) and some do not; most
have less than 12, because those are the hard ones. No opponent takes part, so the share of value-preserving moves is a strength
without that noise. Written by
``python benchmarks/connect_four_positions.py --write`` with `Solver`.

Axes: N positions, W words of a row, A actions.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cumulant.envs.games.lookup import make_game
from cumulant.envs.games.solver_connect_four import NO_MOVE
from cumulant.errors import UsageError, did_you_mean

SETS = ("random", "strong")
_WORTH = {"+": 1, "=": 0, "-": -1, ".": NO_MOVE}


class Solved(NamedTuple):
    """Positions in which some moves keep the value, and some do not.

    Args:
        states: ``[N, W]``.
        keeps: Which moves keep it, ``[N, A]`` bool.
    """

    states: np.ndarray
    keeps: np.ndarray

    def share(self, actions: np.ndarray) -> float:
        """Return in which share of the positions the move keeps the value."""
        return float(self.kept(actions).mean())

    def kept(self, actions: np.ndarray) -> np.ndarray:
        """Return where the move keeps the value, ``[N]`` bool."""
        return np.take_along_axis(self.keeps, actions[:, None], 1)[:, 0]


@dataclass(frozen=True, eq=False)
class SolvedPositions:
    """Positions and what every move in them is worth.

    Args:
        name: Of the set.
        moves: How each was reached: digits of the columns, 1 to 7.
        states: Rows of the game, ``[N, W]`` int64.
        values: What every move is worth to the player to move: 1 wins, 0 draws, -1 loses, `NO_MOVE` where the column is full;
            ``[N, A]`` int64.
    """

    name: str
    moves: tuple[str, ...]
    states: np.ndarray
    values: np.ndarray

    @property
    def solved(self) -> Solved:
        """Which moves keep the value; an illegal one never does."""
        return Solved(self.states, self.values == self.values.max(1, keepdims=True))


@functools.cache
def solved_positions(name: str) -> SolvedPositions:
    """Return a set by its name, `SETS`.

    Raises:
        UsageError: If there is no such set.

    >>> positions = solved_positions("random")
    >>> kept = positions.values == positions.values.max(1, keepdims=True)
    >>> by_chance = kept.sum(1) / (positions.values != NO_MOVE).sum(1)
    >>> print(len(positions.moves), round(by_chance.mean(), 2))
    205 0.34
    """
    if name not in SETS:
        raise UsageError(f"no set of solved positions '{name}': {did_you_mean(name, SETS)}")
    game = make_game("connect_four")
    moves, values = [], []
    for line in Path(__file__).with_name(f"connect_four_{name}.txt").read_text(encoding="ascii").splitlines():
        reached, worth = line.split()
        moves.append(reached)
        values.append([_WORTH[sign] for sign in worth])
    states = np.stack([game.position(list(each)) for each in moves])
    return SolvedPositions(name, tuple(moves), states, np.array(values, np.int64))


def value_preserving_share(choose_moves: Callable[[np.ndarray], np.ndarray], positions: SolvedPositions | str) -> float:
    """Return the share of positions in which a player's move keeps the value.

    Args:
        choose_moves: ``actions [N] = choose_moves(states [N, W])`` for rows of the game ``connect_four``.
        positions: A set, or its name.

    >>> round(value_preserving_share(lambda states: np.full(len(states), 3), "random"), 2)
    0.49
    """
    found = solved_positions(positions) if isinstance(positions, str) else positions
    return found.solved.share(choose_moves(found.states))
