"""Trained policies as players of board games.

Axes: B positions, A actions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from cumulant.engine.players import Analysis, Moves, Player
from cumulant.envs.games.game import Game
from cumulant.errors import ConfigError, UsageError


def fits(game: Game, other: Game) -> bool:
    """Return whether two games are the same, options and all."""
    return game.name == other.name and dict(game.options) == dict(other.options)


def describe(game: Game) -> str:
    """Return a game's name with its options, as in "go (komi 7.0, size 9)"."""
    options = ", ".join(f"{name} {value}" for name, value in sorted(game.options.items()))
    return f"{game.name} ({options})" if options else game.name


def board_player(policy: Any, game: Game, name: str, simulations: int | None) -> Player:
    """Return a policy that searches as a player; without noise, so that it always answers the same.

    Args:
        policy: A ``BoardPolicy``: what ``cumulant.load`` gives of an AlphaZero run.
        game: What shall be played.
        name: What tables call it.
        simulations: Of each move; by default as in training.

    Raises:
        UsageError: If the network is for another game, or another board (message says which).
        ConfigError: If there is not one simulation.
    """
    if not fits(policy.game, game):
        raise UsageError(f"{name} plays {describe(policy.game)}, not {describe(game)}: its network fits no other board")
    if simulations is not None and simulations < 1:
        raise ConfigError(f"simulations = {simulations}: a search needs at least 1")

    def analyse(states: np.ndarray, moves: Sequence[Moves]) -> Analysis:
        found = policy.search(states, simulations)
        return Analysis(
            np.asarray(found.action, np.int64),
            np.asarray(found.value, np.float64),
            np.asarray(found.visits, np.int64),
            np.asarray(found.policy, np.float64),
        )

    return Player(name, lambda states, moves: analyse(states, moves).action, at_once=256, analyse=analyse)
