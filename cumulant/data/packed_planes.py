"""Planes of board positions in few bytes: a bit for each point, and one number for each plane.

Axes: N positions, C planes, P points of the board, R bytes of a packed position.
"""

from __future__ import annotations

import numpy as np

from cumulant.envs.games.game import Game
from cumulant.errors import ConfigError


class Packing:
    """How the positions of a game are packed, without loss.

    Args:
        game: The game. One whose planes have more than one value besides 0 (``Game.two_valued``) is kept as float32.

    Attributes:
        size: R.
    """

    def __init__(self, game: Game) -> None:
        self.game = game
        self.shape = game.num_planes, game.rows * game.columns
        planes, points = self.shape
        self.size = 4 * planes + (-(-planes * points // 8) if game.two_valued else 4 * planes * (points - 1))

    def pack(self, planes: np.ndarray) -> np.ndarray:
        """Return positions ``[N, C, H, w]`` or ``[N, C, P]`` float32 as bytes, ``[N, R]`` uint8.

        Raises:
            ConfigError: If a plane has more values than the game says.
        """
        count, values = len(planes), self.shape[0] * self.shape[1]
        planes = np.ascontiguousarray(planes, np.float32).reshape(count, *self.shape)
        if not self.game.two_valued:
            return planes.reshape(count, values).copy().view(np.uint8)  # the caller may use its array again
        high, low = planes.max(2, initial=0.0), planes.min(2, initial=0.0)
        scale = np.where(high > 0.0, high, low)
        bits = planes != 0.0
        if not (planes == bits * scale[:, :, None]).all():
            raise ConfigError(
                f"{self.game.name}: a plane has more than one value besides 0; say two_valued=False where the Game is made"
            )
        return np.concatenate([scale.view(np.uint8), np.packbits(bits.reshape(count, values), axis=1)], 1)

    def unpack(self, rows: np.ndarray) -> np.ndarray:
        """Return what was packed, ``[N, C, P]`` float32."""
        count, planes, points = len(rows), *self.shape
        if not self.game.two_valued:
            return np.ascontiguousarray(rows).view(np.float32).reshape(count, planes, points)
        scale = np.ascontiguousarray(rows[:, : 4 * planes]).view(np.float32)
        bits = np.unpackbits(rows[:, 4 * planes :], axis=1, count=planes * points)
        return bits.reshape(count, planes, points) * scale[:, :, None]


def pack_owners(ownership: np.ndarray) -> np.ndarray:
    """Return owners -1, 0, 1 or 2, ``[N, P]`` int8, four to a byte, ``[N, ceil(P / 4)]`` uint8.

    >>> unpack_owners(pack_owners(np.array([[-1, 0, 1, 2, -1]])), 5).tolist()
    [[-1, 0, 1, 2, -1]]
    """
    level = (ownership + 1).astype(np.uint8)
    return np.packbits(np.stack([level >> 1, level & 1], 2).reshape(len(level), 2 * level.shape[1]), axis=1)


def unpack_owners(packed: np.ndarray, points: int) -> np.ndarray:
    """Return what was packed, ``[N, P]`` int8."""
    bits = np.unpackbits(packed, axis=1, count=2 * points).reshape(len(packed), points, 2)
    return (2 * bits[:, :, 0] + bits[:, :, 1]).astype(np.int8) - 1
