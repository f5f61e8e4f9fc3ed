"""What self-play leaves to learn from: positions of finished games, in a window that grows with the games that were played.

Axes: N positions, G games that are played side by side, W words of a position, A actions, P points of the board.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from cumulant.envs.games.game import Game
from cumulant.run.config import require


@dataclass(frozen=True)
class WindowConfig:
    """What is learned from."""

    capacity: int = 500_000
    """Positions that are kept at most."""
    window: int = 20_000
    """Positions of the first window; as more are made it grows."""
    window_power: float = 0.8
    """How: as their number to this power; 1 keeps them all, up to the capacity."""
    batch_size: int = 512
    """Positions of a gradient step."""
    passes: float = 1.5
    """How often each position is learned from, on average."""
    value_mix: float = 0.3
    """Share of the search's own value, against the result of the game, in what the value learns."""

    def __post_init__(self) -> None:
        for name in ("capacity", "window", "batch_size"):
            require(self, name, getattr(self, name) >= 1, "at least 1")
        require(self, "window_power", 0.0 < self.window_power <= 1.0, "in (0, 1]")
        require(self, "passes", self.passes > 0.0, "above 0")
        require(self, "value_mix", 0.0 <= self.value_mix <= 1.0, "in [0, 1]")


UNKNOWN = 2
"""Ownership that nobody knows."""


class Positions(NamedTuple):
    """Positions and what was found out about them.

    Args:
        state: ``[N, W]`` int64.
        policy: What the search made of the moves, ``[N, A]`` float32.
        value: What to expect, for the player to move, in [-1, 1], ``[N]`` float32.
        ownership: Whose each point was at the end, for the player to move, ``[N, P]`` int8, ``UNKNOWN`` of a game that was
            given up; P is 0 for a game without.
    """

    state: np.ndarray
    policy: np.ndarray
    value: np.ndarray
    ownership: np.ndarray


class GameReplay:
    """A ring of the newest positions, and the games that are not finished yet.

    Args:
        game: The game.
        config: Options.
        games: G.

    Attributes:
        added: Positions that were ever added.
    """

    def __init__(self, game: Game, config: WindowConfig, games: int) -> None:
        self.game, self.config, self.added = game, config, 0
        points = game.rows * game.columns if game.ownership is not None else 0
        self._ring = _positions(game, config.capacity, points)
        moves = (games, game.max_moves)
        self._open: dict[str, np.ndarray] = {
            "state": np.zeros((*moves, game.state_size), np.int64),
            "policy": np.zeros((*moves, game.num_actions), np.float32),
            "value": np.zeros(moves, np.float32),
            "player": np.zeros(moves, np.int8),
            "counts": np.zeros(moves, bool),
        }
        self.moves = np.zeros(games, np.int64)
        """Moves of each open game, ``[G]``, not counting those of its opening."""

    def remember(
        self, states: np.ndarray, policy: np.ndarray, value: np.ndarray, player: np.ndarray, counts: np.ndarray
    ) -> None:
        """Note the next position of every open game.

        Args:
            states: ``[G, W]``.
            policy: ``[G, A]``.
            value: By the search, ``[G]``.
            player: Who is to move, ``[G]``.
            counts: Whether it shall be learned from, ``[G]`` bool.
        """
        rows = np.arange(len(states)), self.moves
        given = {"state": states, "policy": policy, "value": value, "player": player, "counts": counts}
        for name, array in given.items():
            self._open[name][rows] = array
        self.moves += 1

    def finish(self, g: int, result: float, player: int, ownership: np.ndarray | None = None) -> int:
        """Close a game and add its positions; return how many.

        Args:
            g: Which.
            result: How it ended.
            player: For whom.
            ownership: Of the points for that player, ``[P]``.
        """
        moves = slice(0, self.moves[g])
        kept = np.flatnonzero(self._open["counts"][g, moves])
        sign = np.where(self._open["player"][g, kept] == player, 1.0, -1.0).astype(np.float32)
        mix = self.config.value_mix
        value = (1.0 - mix) * result * sign + mix * self._open["value"][g, kept]
        places = (self.added + np.arange(len(kept))) % self.config.capacity
        self._ring.state[places] = self._open["state"][g, kept]
        self._ring.policy[places] = self._open["policy"][g, kept]
        self._ring.value[places] = value
        self._ring.ownership[places] = UNKNOWN if ownership is None else sign[:, None] * ownership
        self.added += len(kept)
        self.moves[g] = 0
        return len(kept)

    @property
    def window(self) -> int:
        """How many of the newest positions are learned from."""
        start, power = self.config.window, self.config.window_power
        grown = start if self.added <= start else int(start * (self.added / start) ** power)
        return min(self.added, grown, self.config.capacity)

    def draw(self, count: int, generator: np.random.Generator) -> Positions:
        """Return positions of the window, drawn uniformly with replacement."""
        places = (self.added - 1 - generator.integers(0, self.window, count)) % self.config.capacity
        return Positions(*(array[places] for array in self._ring))

    def state_dict(self) -> dict[str, Any]:
        """Everything, without the part of the ring that is still empty."""
        used = min(self.added, self.config.capacity)
        return {
            "added": self.added,
            "ring": {name: array[:used] for name, array in self._ring._asdict().items()},
            "open": {name: array[:, : int(self.moves.max(initial=0))] for name, array in self._open.items()},
            "moves": self.moves,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Undo ``state_dict``."""
        self.added = int(state["added"])
        for name, array in state["ring"].items():
            getattr(self._ring, name)[: len(array)] = array
        for name, array in state["open"].items():
            self._open[name][:, : array.shape[1]] = array
        self.moves[:] = state["moves"]


def _positions(game: Game, count: int, points: int) -> Positions:
    return Positions(
        np.zeros((count, game.state_size), np.int64),
        np.zeros((count, game.num_actions), np.float32),
        np.zeros(count, np.float32),
        np.zeros((count, points), np.int8),
    )
