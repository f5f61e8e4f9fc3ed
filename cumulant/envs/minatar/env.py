"""MinAtar's five games as batch kernels, frame for frame those of the original.

The rules are in one file a game. What is the same for all: a board of 10 x 10 cells with one channel a kind of thing, six
keys of which a game ignores some, keys that stick (with probability ``sticky`` the last key counts again), and, where there
is a difference, a difficulty that rises (``ramping``).

Source:
    Young & Tian 2019, "MinAtar: An Atari-Inspired Testbed for Thorough and Reproducible Reinforcement Learning Experiments";
    the code is our own and plays by the rules of version 1.0.15 of the package, with which it agrees frame for frame
    (``tests/envs/test_env_minatar.py``).

Differs from source:
    No key sticks at the start of an episode; in the original the last key of the episode before can. Freeway's end after 2501
    frames is a time limit here (it truncates) and a termination there. The other games have no time limit there; published
    results end an episode with the game. Here episodes are cut after 5000 frames unless ``max_steps`` says otherwise, because a
    perfect player of Breakout never comes to an end.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType
from typing import ClassVar

import gymnasium
import numpy as np

from cumulant.envs.batched import Kernel
from cumulant.envs.minatar import asterix, breakout, freeway, seaquest, space_invaders
from cumulant.envs.minatar.board import DOWN, FIRE, LEFT, NOTHING, RIGHT, SIZE, UP
from cumulant.errors import ConfigError

ENVIRONMENTS = {
    "minatar-asterix": "Asterix-v1",
    "minatar-breakout": "Breakout-v1",
    "minatar-freeway": "Freeway-v1",
    "minatar-seaquest": "Seaquest-v1",
    "minatar-space-invaders": "SpaceInvaders-v1",
}


@dataclass(frozen=True)
class _Game:
    """What the games share."""

    sticky: float = 0.1
    ramping: bool = True
    minimal: bool = False
    max_steps: int = 5000

    game: ClassVar[ModuleType]
    keys: ClassVar[tuple[int, ...]]

    def __post_init__(self) -> None:
        name = next(name for name, versioned in ENVIRONMENTS.items() if versioned == f"{type(self).__name__}-v1")
        if not 0.0 <= self.sticky <= 1.0:
            raise ConfigError(f"environment '{name}': sticky = {self.sticky}; it is a probability")
        if self.max_steps < 0:
            raise ConfigError(f"environment '{name}': max_steps = {self.max_steps}; give 0 for no limit, or more")

    def kernel(self) -> Kernel:
        """Return the batch kernel."""
        keys = self.keys if self.minimal else (NOTHING, LEFT, UP, RIGHT, DOWN, FIRE)
        return Kernel(
            observation_space=gymnasium.spaces.Box(0, 1, (SIZE, SIZE, self.game.CHANNELS), np.uint8),
            action_space=gymnasium.spaces.Discrete(len(keys)),
            state_size=self.game.STATE_SIZE,
            reset=self.game.reset,
            step=self.game.step,
            params=np.array([self.sticky, self.ramping, *keys], np.float64),
            max_steps=self.max_steps,
        )


@dataclass(frozen=True)
class Asterix(_Game):
    """MinAtar's Asterix: collect gold, avoid enemies.

    Reward 1 for every piece of gold. An enemy ends the game. Channels: player, enemy, trail, gold.

    Args:
        sticky: Probability that the last action is repeated instead.
        ramping: More and faster arrivals as time goes by.
        minimal: Leave out the actions that do nothing: 0 nothing, 1 left, 2 up, 3 right, 4 down.
        max_steps: Episodes are truncated after so many frames; 0 for never.

    Raises:
        ConfigError: If ``sticky`` is no probability or ``max_steps`` is negative.
    """

    game = asterix
    keys = (NOTHING, LEFT, UP, RIGHT, DOWN)


@dataclass(frozen=True)
class Breakout(_Game):
    """MinAtar's Breakout: keep the ball in play and break bricks.

    Reward 1 for every brick; three new rows when all are broken. A ball that falls past the paddle ends the game. Channels:
    paddle, ball, trail, brick. The difficulty does not rise, with ``ramping`` or without.

    Args:
        sticky: Probability that the last action is repeated instead.
        ramping: Without effect in this game.
        minimal: Leave out the actions that do nothing: 0 nothing, 1 left, 2 right.
        max_steps: Episodes are truncated after so many frames; 0 for never.

    Raises:
        ConfigError: If ``sticky`` is no probability or ``max_steps`` is negative.
    """

    game = breakout
    keys = (NOTHING, LEFT, RIGHT)


@dataclass(frozen=True)
class Freeway(_Game):
    """MinAtar's Freeway: cross the road as often as you can.

    Reward 1 for every crossing. A car sends the chicken back. Channels: chicken, car, five speeds. The difficulty does not
    rise, with ``ramping`` or without.

    Args:
        sticky: Probability that the last action is repeated instead.
        ramping: Without effect in this game.
        minimal: Leave out the actions that do nothing: 0 nothing, 1 up, 2 down.
        max_steps: Episodes are truncated after so many frames; 0 for never. The original stops after 2501.

    Raises:
        ConfigError: If ``sticky`` is no probability or ``max_steps`` is negative.
    """

    max_steps: int = 2501

    game = freeway
    keys = (NOTHING, UP, DOWN)


@dataclass(frozen=True)
class Seaquest(_Game):
    """MinAtar's Seaquest: shoot fish and submarines, rescue divers, come up for air.

    Reward 1 for every fish or submarine, and up to 10, for the air that is left, for surfacing with six divers. Whatever hits the
    submarine ends the game, and so does the end of its air and surfacing without a diver. Channels: front, back, own shot,
    trail, enemy shot, fish, enemy submarine, oxygen, divers on board, diver.

    Args:
        sticky: Probability that the last action is repeated instead.
        ramping: More and faster enemies every time that the submarine surfaces.
        minimal: Without effect: all actions do something.
        max_steps: Episodes are truncated after so many frames; 0 for never.

    Raises:
        ConfigError: If ``sticky`` is no probability or ``max_steps`` is negative.
    """

    game = seaquest
    keys = (NOTHING, LEFT, UP, RIGHT, DOWN, FIRE)


@dataclass(frozen=True)
class SpaceInvaders(_Game):
    """MinAtar's Space Invaders: shoot the aliens before they are down.

    Reward 1 for every alien. Their shots, and an alien that reaches the bottom row, end the game. Channels: cannon, alien, alien
    moving left, alien moving right, own shot, enemy shot.

    Args:
        sticky: Probability that the last action is repeated instead.
        ramping: Every wave is faster than the one before.
        minimal: Leave out the actions that do nothing: 0 nothing, 1 left, 2 right, 3 fire.
        max_steps: Episodes are truncated after so many frames; 0 for never.

    Raises:
        ConfigError: If ``sticky`` is no probability or ``max_steps`` is negative.
    """

    game = space_invaders
    keys = (NOTHING, LEFT, RIGHT, FIRE)
