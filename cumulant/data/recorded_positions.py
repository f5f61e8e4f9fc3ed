"""Positions of games that were written down, to learn from: what was played there, and who won.

Axes: N positions, A actions, P points of the board, R bytes of a packed position.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cumulant.data.game_records import Record, read_records
from cumulant.data.game_replay import UNKNOWN, Positions
from cumulant.data.packed_planes import Packing, pack_owners, unpack_owners
from cumulant.envs.games.game import Game
from cumulant.errors import DataError
from cumulant.run.config import require


@dataclass(frozen=True)
class RecordsConfig:
    """Games that were written down, to learn from before self-play."""

    records: str = ""
    """File of games, one a line, or games.jsonl of an arena; empty for none."""
    record_steps: int = 2_000
    """Gradient steps on them."""
    held_out: float = 0.1
    """Share of the games that is not learned from, to see how many moves of it are foreseen."""

    def __post_init__(self) -> None:
        require(self, "record_steps", self.record_steps >= 1, "at least 1")
        require(self, "held_out", 0.0 <= self.held_out < 1.0, "in [0, 1)")


class RecordedPositions:
    """Every position of some games in which a player chose a move, packed.

    Args:
        game: The game.
        records: Complete games; what nobody chose, the opening, is left out.
    """

    def __init__(self, game: Game, records: Sequence[Record]) -> None:
        self.game, self.packing = game, Packing(game)
        self.points = game.rows * game.columns if game.ownership is not None else 0
        parts = [self._positions(record) for record in records]
        self._row, self._action, self._value, self._owners = (np.concatenate(part) for part in zip(*parts))

    def __len__(self) -> int:
        """N."""
        return len(self._action)

    def _positions(self, record: Record) -> tuple[np.ndarray, ...]:
        game, state, count = self.game, self.game.start(), len(record.actions)
        planes = np.zeros((count, game.num_planes, game.rows, game.columns), np.float32)
        player = np.zeros(count, np.int8)
        for number, action in enumerate(record.actions):
            game.encode(state, planes[number])
            player[number] = game.player(state)
            game.play(state, action)
        owners = np.full((count, self.points), UNKNOWN)
        if game.ownership is not None and not np.isnan(game.outcome(state)):
            owner = np.zeros(self.points, np.float32)
            game.ownership(state, owner)
            owners = np.where(player == game.player(state), 1, -1)[:, None] * owner.astype(np.int64)
        chosen = slice(record.opening, None)
        value = np.where(player == 0, record.result, -record.result).astype(np.float32)
        rows = self.packing.pack(planes[chosen])
        return rows, np.array(record.actions, np.int64)[chosen], value[chosen], pack_owners(owners[chosen])

    def at(self, numbers: np.ndarray) -> Positions:
        """Return positions; all of the policy is on what was played."""
        policy = np.zeros((len(numbers), self.game.num_actions), np.float32)
        policy[np.arange(len(numbers)), self._action[numbers]] = 1.0
        owners = unpack_owners(self._owners[numbers], self.points)
        return Positions(self.packing.unpack(self._row[numbers]), policy, self._value[numbers], owners)

    def draw(self, count: int, generator: np.random.Generator) -> Positions:
        """Return positions, drawn uniformly with replacement."""
        return self.at(generator.integers(0, len(self), count))


def read_positions(
    path: Path | str, game: Game, held_out: float, seed: int
) -> tuple[RecordedPositions, RecordedPositions | None]:
    """Read games and keep some of them apart.

    Args:
        path: See ``game_records.read_records``.
        game: The game.
        held_out: Share of the different games that is kept apart, at least one; 0 for none.
        seed: Which.

    Returns:
        Positions of the games to learn from, and of those kept apart, if any.

    Raises:
        DataError: As ``read_records``; if in none of them a move was chosen; if there are too few to keep one apart.
    """
    records = [record for record in read_records(path, game) if len(record.actions) > record.opening]
    if not records:
        raise DataError(f"{path} holds no move that a player chose")
    different = list(dict.fromkeys(record.actions for record in records))  # the same game is never on both sides
    apart = max(1, round(held_out * len(different))) if held_out else 0
    if apart >= len(different):
        raise DataError(
            f"{path} holds {len(different)} different games, too few to keep {held_out:.0%} of them apart: give more, or "
            "--held-out 0"
        )
    order = np.random.default_rng(seed).permutation(len(different))
    kept = {different[k] for k in order[:apart]}
    learned = RecordedPositions(game, [record for record in records if record.actions not in kept])
    return learned, RecordedPositions(game, [record for record in records if record.actions in kept]) if apart else None
