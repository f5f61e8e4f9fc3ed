"""What self-play leaves to learn from: positions of finished games, in a window that grows with the games that were played.

Axes: N positions, G games that are played side by side, A actions, C planes, P points of the board, R bytes of a packed position.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cumulant.data.packed_planes import Packing, pack_owners, unpack_owners
from cumulant.data.shards import Shards
from cumulant.envs.games.game import Game
from cumulant.run import checkpoint
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
        planes: As the player to move sees them, ``[N, C, P]`` float32.
        policy: What the search made of the moves, ``[N, A]`` float32.
        value: What to expect, for the player to move, in [-1, 1], ``[N]`` float32.
        ownership: Whose each point was at the end, for the player to move, ``[N, P]`` int8, ``UNKNOWN`` of a game that was
            given up; P is 0 for a game without.
    """

    planes: np.ndarray
    policy: np.ndarray
    value: np.ndarray
    ownership: np.ndarray


class GameReplay:
    """A ring of the newest positions, packed, and the games that are not finished yet.

    Its state survives a kill without being rewritten: a checkpoint appends the positions since the one before as a shard in
    ``folder``, and names all shards that hold the window.

    Args:
        game: The game.
        config: Options.
        games: G.
        folder: Of the shards; nothing else may be in it.

    Attributes:
        added: Positions that were ever added.
    """

    def __init__(self, game: Game, config: WindowConfig, games: int, folder: Path) -> None:
        self.game, self.config, self.added = game, config, 0
        self.packing = Packing(game)
        self.points = game.rows * game.columns if game.ownership is not None else 0
        self._ring: dict[str, np.ndarray] = {
            "row": np.zeros((config.capacity, self.packing.size), np.uint8),
            "policy": np.zeros((config.capacity, game.num_actions), np.float16),
            "value": np.zeros(config.capacity, np.float32),
            "owners": np.zeros((config.capacity, -(-self.points // 4)), np.uint8),
        }
        moves = (games, game.max_moves)
        self._open: dict[str, np.ndarray] = {
            "row": np.zeros((*moves, self.packing.size), np.uint8),
            "policy": np.zeros((*moves, game.num_actions), np.float16),
            "value": np.zeros(moves, np.float32),
            "player": np.zeros(moves, np.int8),
            "counts": np.zeros(moves, bool),
        }
        self.moves = np.zeros(games, np.int64)
        """Moves of each open game, ``[G]``, not counting those of its opening."""
        self._shards = Shards(folder)
        self._needed: list[int] = []  # first position of the window at the last checkpoints, oldest first

    def remember(
        self, row: np.ndarray, policy: np.ndarray, value: np.ndarray, player: np.ndarray, counts: np.ndarray,
        first: int = 0,
    ) -> None:  # fmt: skip
        """Note the next position of every open game, or of some that follow each other.

        Args:
            row: As ``packing`` packs them, ``[G, R]``.
            policy: ``[G, A]``.
            value: By the search, ``[G]``.
            player: Who is to move, ``[G]``.
            counts: Whether it shall be learned from, ``[G]`` bool.
            first: The first game.
        """
        games = np.arange(first, first + len(row))
        given = {"row": row, "policy": policy, "value": value, "player": player, "counts": counts}
        for name, array in given.items():
            self._open[name][games, self.moves[games]] = array
        self.moves[games] += 1

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
        owners = np.full((len(kept), self.points), UNKNOWN) if ownership is None else sign[:, None] * ownership
        places = (self.added + np.arange(len(kept))) % self.config.capacity
        self._ring["row"][places] = self._open["row"][g, kept]
        self._ring["policy"][places] = self._open["policy"][g, kept]
        self._ring["value"][places] = (1.0 - mix) * result * sign + mix * self._open["value"][g, kept]
        self._ring["owners"][places] = pack_owners(owners)
        self.added += len(kept)
        self.moves[g] = 0
        return len(kept)

    @property
    def window(self) -> int:
        """How many of the newest positions are learned from."""
        start, power = self.config.window, self.config.window_power
        grown = start if self.added <= start else int(start * (self.added / start) ** power + 0.5)
        return min(self.added, grown, self.config.capacity)

    def draw(self, count: int, generator: np.random.Generator) -> Positions:
        """Return positions of the window, drawn uniformly with replacement."""
        return self._at(self.added - 1 - generator.integers(0, self.window, count))

    def newest(self, count: int) -> Positions:
        """Return the newest positions, oldest first."""
        return self._at(np.arange(self.added - count, self.added))

    def _at(self, numbers: np.ndarray) -> Positions:
        row, policy, value, owners = (array[numbers % self.config.capacity] for array in self._ring.values())
        return Positions(self.packing.unpack(row), policy.astype(np.float32), value, unpack_owners(owners, self.points))

    def state_dict(self) -> dict[str, Any]:
        """Append what is new to the shards, and return what finds everything again, with the open games.

        Shards that no checkpoint needs any more, the older ones on the disk included, are deleted.
        """
        needed = self.added - self.window  # never falls: the window grows no faster than what is added
        last = self._shards.records[-1] if self._shards.records else {"first": 0, "rows": 0}
        first = max(last["first"] + last["rows"], needed)
        if self.added > first:
            new = np.arange(first, self.added) % self.config.capacity
            self._shards.append(first, {name: array[new] for name, array in self._ring.items()})
        if len(self._needed) == checkpoint.KEEP:
            self._shards.drop(self._needed[0])
        self._needed = [*self._needed, needed][-checkpoint.KEEP :]
        return {
            "added": self.added,
            "needed": list(self._needed),
            "shards": [dict(record) for record in self._shards.records],
            "open": {name: array[:, : int(self.moves.max(initial=0))] for name, array in self._open.items()},
            "moves": self.moves,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Undo ``state_dict``.

        Raises:
            CheckpointError: If a shard is missing or damaged (message names it).
        """
        self.added, self._needed = int(state["added"]), list(state["needed"])
        for first, columns in self._shards.restore(state["shards"], self._needed[-1]):
            numbers = np.arange(max(first, self._needed[-1]), first + len(columns["value"]))
            for name, array in columns.items():
                self._ring[name][numbers % self.config.capacity] = array[numbers - first]
        for name, array in state["open"].items():
            self._open[name][:, : array.shape[1]] = array
        self.moves[:] = state["moves"]
