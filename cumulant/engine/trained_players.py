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


def refuse_other(own: Game, game: Game, name: str) -> None:
    """Refuse a game that a trained player was not made for.

    Raises:
        UsageError: If the games differ, or their boards do (message says which).
    """
    if not fits(own, game):
        raise UsageError(f"{name} plays {describe(own)}, not {describe(game)}: its network fits no other board")


def acting_player(policy: Any, game: Game, name: str) -> Player:
    """Return a policy without a search, which learned the game as an environment, as a player: it takes its likeliest move.

    Args:
        policy: What ``cumulant.load`` gives of a PPO or DQN run on a game.
        game: What shall be played.
        name: What tables call it.
    """

    def choose(states: np.ndarray, moves: Sequence[Moves]) -> np.ndarray:
        mask = np.zeros((len(states), game.num_actions), np.uint8)
        for row, state in zip(mask, states):
            game.legal(state, row)
        planes = np.stack([game.planes(state) for state in states])
        return np.asarray(policy.act({"action_mask": mask.astype(np.int8), "observation": planes}), np.int64)

    return Player(name, choose)


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
    refuse_other(policy.game, game, name)
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
