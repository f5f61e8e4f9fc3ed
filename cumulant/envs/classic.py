"""Classic control problems as batch kernels.

Axes: B parallel environments, S state columns.
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

ENVIRONMENTS = {"cartpole": "CartPole-v1"}

GRAVITY = 9.8  # m/s^2
CART_KG, POLE_KG = 1.0, 0.1
TOTAL_KG = POLE_KG + CART_KG
HALF_POLE_M = 0.5
POLE_MOMENT = POLE_KG * HALF_POLE_M  # kg m
PUSH_N = 10.0
STEP_S = 0.02
MAX_X_M = 2.4
MAX_ANGLE_RAD = 12 * 2 * math.pi / 360
START_RANGE = 0.05

# An episode goes on only while cart and pole are inside their limits, so no step has moved them by more than the whole
# width of these: |x_dot| <= 2 * 2.4 / 0.02 = 240 m/s and |angle_dot| <= 20.9 rad/s, and the last step adds under one.
MAX_X_DOT = 250.0  # m/s
MAX_ANGLE_DOT = 25.0  # rad/s


@dataclass(frozen=True)
class CartPole:
    """Balance a pole on a cart by pushing it left or right; Gymnasium's CartPole-v1, step for step.

    Observation: cart position (m) and velocity (m/s), pole angle (rad) and angular velocity (rad/s), ``[4]`` float32.
    Action: 0 pushes left, 1 pushes right. Reward 1 for every step. Terminates beyond 2.4 m or 12 degrees.
    The observation space has finite bounds where Gymnasium's has infinite ones; no velocity can exceed them.

    Args:
        max_steps: Episodes are truncated after so many steps.

    Raises:
        ConfigError: If ``max_steps`` is not positive.

    Source: Barto, Sutton & Anderson 1983; the equations of motion are those of Florian 2007 without friction.
    """

    max_steps: int = 500

    replaces: ClassVar[str] = "CartPole-v1"

    def __post_init__(self) -> None:
        if self.max_steps < 1:
            raise ConfigError(f"environment 'cartpole': max_steps = {self.max_steps}; it must be at least 1")

    def kernel(self) -> Kernel:
        """Return the batch kernel."""
        high = np.array([2 * MAX_X_M, MAX_X_DOT, 2 * MAX_ANGLE_RAD, MAX_ANGLE_DOT], np.float32)
        return Kernel(
            observation_space=gymnasium.spaces.Box(-high, high, dtype=np.float32),
            action_space=gymnasium.spaces.Discrete(2),
            state_size=4,
            reset=_reset,
            step=_step,
            max_steps=self.max_steps,
        )


@njit(cache=True, error_model="numpy")
def _reset(mask, key, params, state, obs):  # type: ignore[no-untyped-def]
    for i in range(mask.shape[0]):
        if mask[i]:
            for k in range(4):
                state[i, k] = (2.0 * uniform(key[i], -1, k) - 1.0) * START_RANGE
                obs[i, k] = state[i, k]


# The operations are in Gymnasium's order, so that the float64 state agrees to the rounding of sin and cos.
@njit(cache=True, error_model="numpy")
def _step(key, clock, action, params, state, obs, reward, terminated, outcomes):  # type: ignore[no-untyped-def]
    for i in range(action.shape[0]):
        x, x_dot, angle, angle_dot = state[i, 0], state[i, 1], state[i, 2], state[i, 3]
        push = PUSH_N if action[i] == 1 else -PUSH_N
        cos, sin = math.cos(angle), math.sin(angle)
        pull = (push + POLE_MOMENT * (angle_dot * angle_dot) * sin) / TOTAL_KG
        angle_acc = (GRAVITY * sin - cos * pull) / (HALF_POLE_M * (4.0 / 3.0 - POLE_KG * (cos * cos) / TOTAL_KG))
        x_acc = pull - POLE_MOMENT * angle_acc * cos / TOTAL_KG
        x = x + STEP_S * x_dot
        x_dot = x_dot + STEP_S * x_acc
        angle = angle + STEP_S * angle_dot
        angle_dot = angle_dot + STEP_S * angle_acc
        state[i, 0], state[i, 1], state[i, 2], state[i, 3] = x, x_dot, angle, angle_dot
        obs[i, 0], obs[i, 1], obs[i, 2], obs[i, 3] = x, x_dot, angle, angle_dot
        reward[i] = 1.0
        terminated[i] = abs(x) > MAX_X_M or abs(angle) > MAX_ANGLE_RAD
