"""The mountain car, with three pushes or a continuous one, as batch kernels.

The operations and their precision are Gymnasium's: float64 with three pushes, float32 with a continuous one.

Axes: B parallel environments, S state columns (position, velocity).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import gymnasium
import numpy as np
from numba import njit

from cumulant.envs.batched import Kernel
from cumulant.envs.counter_rng import uniform
from cumulant.errors import ConfigError

ENVIRONMENTS = {"mountain-car": "MountainCar-v0", "mountain-car-continuous": "MountainCarContinuous-v0"}

LEFT, RIGHT = -1.2, 0.6
MAX_SPEED = 0.07
PUSH, CONTINUOUS_PUSH = 0.001, 0.0015
PULL = 0.0025
GOAL, CONTINUOUS_GOAL = 0.5, 0.45


@dataclass(frozen=True)
class _MountainCar:
    """What both share."""

    max_steps: int = 200

    def __post_init__(self) -> None:
        if self.max_steps < 1:
            name = next(
                name for name, versioned in ENVIRONMENTS.items() if versioned.startswith(type(self).__name__ + "-")
            )
            raise ConfigError(f"environment '{name}': max_steps = {self.max_steps}; it must be at least 1")

    @staticmethod
    def _space() -> gymnasium.spaces.Box:
        low, high = np.array([LEFT, -MAX_SPEED], np.float32), np.array([RIGHT, MAX_SPEED], np.float32)
        return gymnasium.spaces.Box(low, high, dtype=np.float32)


@dataclass(frozen=True)
class MountainCar(_MountainCar):
    """Rock an underpowered car out of a valley; Gymnasium's MountainCar-v0, step for step.

    Observation: position and velocity, ``[2]`` float32. Action: 0 pushes left, 1 not at all, 2 right. Reward -1 for every
    step. Terminates at the flag, position 0.5.

    Args:
        max_steps: Episodes are truncated after so many steps.

    Raises:
        ConfigError: If ``max_steps`` is not positive.

    Source: Moore 1990; the equations are those of Sutton & Barto 1998, example 8.2, with a flag further left.
    """

    replaces: ClassVar[str] = "MountainCar-v0"

    def kernel(self) -> Kernel:
        """Return the batch kernel."""
        return Kernel(
            observation_space=self._space(),
            action_space=gymnasium.spaces.Discrete(3),
            state_size=2,
            reset=_reset,
            step=_step,
            max_steps=self.max_steps,
        )


@dataclass(frozen=True)
class MountainCarContinuous(_MountainCar):
    """Rock a car out of a valley with little force; Gymnasium's MountainCarContinuous-v0, step for step.

    Observation: position and velocity, ``[2]`` float32. Action: the push, of which -1 to 1 has an effect. Reward
    -0.1 action^2 (of the action as given, clipped or not) for every step, and 100 at the flag, position 0.45, where it
    terminates.

    Args:
        max_steps: Episodes are truncated after so many steps.

    Raises:
        ConfigError: If ``max_steps`` is not positive.
    """

    max_steps: int = 999

    replaces: ClassVar[str] = "MountainCarContinuous-v0"

    def kernel(self) -> Kernel:
        """Return the batch kernel."""
        return Kernel(
            observation_space=self._space(),
            action_space=gymnasium.spaces.Box(-1.0, 1.0, (1,), np.float32),
            state_size=2,
            reset=_reset,
            step=_step_continuous,
            max_steps=self.max_steps,
        )


@njit(cache=True, error_model="numpy")
def _reset(mask, key, params, state, obs):  # type: ignore[no-untyped-def]
    for i in range(mask.shape[0]):
        if mask[i]:
            obs[i, 0], obs[i, 1] = -0.6 + 0.2 * uniform(key[i], -1, 0), 0.0
            state[i, 0], state[i, 1] = obs[i, 0], obs[i, 1]  # a float32 number, which both variants can start from


@njit(cache=True, error_model="numpy")
def _step(key, clock, action, params, state, obs, reward, terminated, outcomes):  # type: ignore[no-untyped-def]
    for i in range(action.shape[0]):
        position, velocity = state[i, 0], state[i, 1]
        velocity = velocity + (float(action[i] - 1) * PUSH + math.cos(3.0 * position) * -PULL)
        velocity = min(max(velocity, -MAX_SPEED), MAX_SPEED)
        position = min(max(position + velocity, LEFT), RIGHT)
        if position == LEFT and velocity < 0.0:
            velocity = 0.0
        state[i, 0], state[i, 1] = position, velocity
        obs[i, 0], obs[i, 1] = position, velocity
        terminated[i] = position >= GOAL and velocity >= 0.0
        reward[i] = -1.0


@njit(cache=True, error_model="numpy")
def _step_continuous(key, clock, action, params, state, obs, reward, terminated, outcomes):  # type: ignore[no-untyped-def]
    fastest, left, right = np.float32(MAX_SPEED), np.float32(LEFT), np.float32(RIGHT)
    for i in range(action.shape[0]):
        position, velocity = np.float32(state[i, 0]), np.float32(state[i, 1])
        wanted = action[i, 0]
        slope = PULL * math.cos(np.float64(np.float32(3.0) * position))
        if abs(wanted) > 1.0:  # Gymnasium's clipped force is a Python number, so the sum is rounded once
            change = np.float32(math.copysign(CONTINUOUS_PUSH, np.float64(wanted)) - slope)
        else:
            change = wanted * np.float32(CONTINUOUS_PUSH) - np.float32(slope)
        velocity = min(max(velocity + change, -fastest), fastest)
        position = min(max(position + velocity, left), right)
        if position == left and velocity < 0.0:
            velocity = np.float32(0.0)
        state[i, 0], state[i, 1] = position, velocity
        obs[i, 0], obs[i, 1] = position, velocity
        terminated[i] = position >= np.float32(CONTINUOUS_GOAL) and velocity >= 0.0
        reward[i] = (100.0 if terminated[i] else 0.0) - 0.1 * np.float64(wanted) ** 2
