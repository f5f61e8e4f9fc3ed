"""Begin with games that were written down: learn what was played and who won, before any game against oneself.

Source: Silver et al. 2016, "Mastering the game of Go with deep neural networks and tree search", the supervised policy.
Differs from source: policy and value are learned together, by one network.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from cumulant.data.recorded_positions import RecordedPositions, RecordsConfig, read_positions
from cumulant.envs.games.game import Game
from cumulant.nn.board import BoardNet, for_inference

STEPS = 100  # gradient steps of an iteration
_SHOWN = 2_000  # positions of the games kept apart that are looked at


class RecordedStart:
    """The iterations before self-play; none where no records are given.

    Args:
        config: Options.
        game: The game.
        seed: Which games are kept apart.

    Attributes:
        iterations: How many.
    """

    def __init__(self, config: RecordsConfig, game: Game, seed: int) -> None:
        self.config, self.game, self.seed = config, game, seed
        self.iterations = -(-config.record_steps // STEPS) if config.records else 0
        self._read: tuple[RecordedPositions, RecordedPositions | None] | None = None

    def learn(
        self, iteration: int, net: BoardNet, teach: Callable[[RecordedPositions, int], dict[str, float]]
    ) -> dict[str, float]:
        """Do one iteration; return what to log.

        Args:
            iteration: Its number.
            net: What learns.
            teach: ``teach(positions, steps)`` takes gradient steps.

        Raises:
            DataError: If the file is not what it should be (at the first call).
        """
        if self._read is None:
            self._read = read_positions(Path(self.config.records), self.game, self.config.held_out, self.seed)
        positions, apart = self._read
        learned = teach(positions, min(STEPS, self.config.record_steps - iteration * STEPS))
        learned["records/positions"] = len(positions)
        return learned | (foreseen(net, apart) if apart is not None else {})


@torch.inference_mode()
def foreseen(net: BoardNet, positions: RecordedPositions) -> dict[str, float]:
    """Return in which share of positions what was played is the network's likeliest move, and how wrong its values are."""
    numbers = np.linspace(0, len(positions) - 1, min(len(positions), _SHOWN)).astype(int)
    known, game = positions.at(numbers), positions.game
    fast = for_inference(net, "float32")
    planes = torch.from_numpy(known.planes.reshape(len(numbers), -1, game.rows, game.columns))
    said = [fast(part.to(fast.value.weight.device)) for part in planes.split(256)]
    likeliest = torch.cat([each.logits for each in said]).argmax(1).cpu().numpy()
    value = torch.cat([each.value for each in said]).cpu().numpy()
    return {
        "records/foreseen": float((likeliest == known.policy.argmax(1)).mean()),
        "records/value_error": float(((value - known.value) ** 2).mean()),
    }
