"""Classic control problems as batch kernels: CartPole, Pendulum, Acrobot.

The operations are in Gymnasium's order, so that a float64 state agrees with its own to the rounding of sin and cos.

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

ENVIRONMENTS = {"cartpole": "CartPole-v1", "pendulum": "Pendulum-v1", "acrobot": "Acrobot-v1"}

# CartPole
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

# Pendulum: a rod of 1 m and 1 kg
PENDULUM_STEP_S = 0.05
MAX_TORQUE_NM = 2.0
MAX_SPEED = 8.0  # rad/s

# Acrobot: two links of 1 m and 1 kg, each with its centre of mass in the middle and a moment of inertia of 1 kg m^2
ACROBOT_STEP_S = 0.2
CENTRE_M = 0.5
MAX_SPEED_1, MAX_SPEED_2 = 4 * math.pi, 9 * math.pi  # rad/s


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
        _require_limit("cartpole", self.max_steps)

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


@dataclass(frozen=True)
class Pendulum:
    """Swing a pendulum up and hold it there with a weak motor; Gymnasium's Pendulum-v1, step for step.

    Observation: cosine and sine of the angle from upright, angular velocity (rad/s), ``[3]`` float32. Action: the torque
    (N m), clipped to +-2. Reward -(angle^2 + 0.1 velocity^2 + 0.001 torque^2), from -16.3 to 0; only the time limit ends it.

    Args:
        max_steps: Episodes are truncated after so many steps.
        gravity: Acceleration of free fall, m/s^2.

    Raises:
        ConfigError: If ``max_steps`` or ``gravity`` is not positive.
    """

    max_steps: int = 200
    gravity: float = 10.0

    replaces: ClassVar[str] = "Pendulum-v1"

    def __post_init__(self) -> None:
        _require_limit("pendulum", self.max_steps)
        if not 0.0 < self.gravity < math.inf:
            raise ConfigError(f"environment 'pendulum': gravity = {self.gravity}; it must be positive and finite")

    def kernel(self) -> Kernel:
        """Return the batch kernel."""
        high = np.array([1.0, 1.0, MAX_SPEED], np.float32)
        return Kernel(
            observation_space=gymnasium.spaces.Box(-high, high, dtype=np.float32),
            action_space=gymnasium.spaces.Box(-MAX_TORQUE_NM, MAX_TORQUE_NM, (1,), np.float32),
            state_size=2,
            reset=_reset_pendulum,
            step=_step_pendulum,
            params=np.array([self.gravity]),
            max_steps=self.max_steps,
        )


@dataclass(frozen=True)
class Acrobot:
    """Swing the tip of a double pendulum above a line by a torque at its elbow; Gymnasium's Acrobot-v1, step for step.

    Observation: cosine and sine of both angles, both angular velocities (rad/s), ``[6]`` float32; the first angle is from
    hanging down, the second from the first link. Action: torque -1, 0 or 1 N m. Reward -1 for every step but the one that
    reaches the line, one link's length above the shoulder, where the episode terminates.

    Args:
        max_steps: Episodes are truncated after so many steps.

    Raises:
        ConfigError: If ``max_steps`` is not positive.

    Source: Sutton 1996, with the equations of Sutton & Barto 1998 (figure 11.4), integrated by Runge-Kutta steps of order 4.
    """

    max_steps: int = 500

    replaces: ClassVar[str] = "Acrobot-v1"

    def __post_init__(self) -> None:
        _require_limit("acrobot", self.max_steps)

    def kernel(self) -> Kernel:
        """Return the batch kernel."""
        high = np.array([1.0, 1.0, 1.0, 1.0, MAX_SPEED_1, MAX_SPEED_2], np.float32)
        return Kernel(
            observation_space=gymnasium.spaces.Box(-high, high, dtype=np.float32),
            action_space=gymnasium.spaces.Discrete(3),
            state_size=4,
            reset=_reset_acrobot,
            step=_step_acrobot,
            max_steps=self.max_steps,
        )


def _require_limit(name: str, max_steps: int) -> None:
    if max_steps < 1:
        raise ConfigError(f"environment '{name}': max_steps = {max_steps}; it must be at least 1")


@njit(cache=True, error_model="numpy")
def _reset(mask, key, params, state, obs):  # type: ignore[no-untyped-def]
    for i in range(mask.shape[0]):
        if mask[i]:
            for k in range(4):
                state[i, k] = (2.0 * uniform(key[i], -1, k) - 1.0) * START_RANGE
                obs[i, k] = state[i, k]


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


@njit(cache=True, error_model="numpy")
def _reset_pendulum(mask, key, params, state, obs):  # type: ignore[no-untyped-def]
    for i in range(mask.shape[0]):
        if mask[i]:
            state[i, 0] = (2.0 * uniform(key[i], -1, 0) - 1.0) * math.pi
            state[i, 1] = 2.0 * uniform(key[i], -1, 1) - 1.0
            obs[i, 0], obs[i, 1], obs[i, 2] = math.cos(state[i, 0]), math.sin(state[i, 0]), state[i, 1]


@njit(cache=True, error_model="numpy")
def _step_pendulum(key, clock, action, params, state, obs, reward, terminated, outcomes):  # type: ignore[no-untyped-def]
    gravity, limit = params[0], np.float32(MAX_TORQUE_NM)
    for i in range(action.shape[0]):
        angle, speed = state[i, 0], state[i, 1]
        torque = min(max(action[i, 0], -limit), limit)  # float32, and so is what Gymnasium makes of it
        cost, push = np.float64(np.float32(0.001) * (torque * torque)), np.float64(np.float32(3.0) * torque)
        wrapped = (angle + math.pi) % (2.0 * math.pi) - math.pi
        reward[i] = -(wrapped * wrapped + 0.1 * (speed * speed) + cost)
        speed = speed + (3.0 * gravity / 2.0 * math.sin(angle) + push) * PENDULUM_STEP_S
        speed = min(max(speed, -MAX_SPEED), MAX_SPEED)
        angle = angle + speed * PENDULUM_STEP_S
        state[i, 0], state[i, 1] = angle, speed
        obs[i, 0], obs[i, 1], obs[i, 2] = math.cos(angle), math.sin(angle), speed
        terminated[i] = False


@njit(cache=True, error_model="numpy")
def _reset_acrobot(mask, key, params, state, obs):  # type: ignore[no-untyped-def]
    for i in range(mask.shape[0]):
        if mask[i]:
            for k in range(4):
                state[i, k] = np.float32((2.0 * uniform(key[i], -1, k) - 1.0) * 0.1)
            _show_acrobot(state[i], obs[i])


@njit(cache=True, error_model="numpy")
def _show_acrobot(state, obs):  # type: ignore[no-untyped-def]
    obs[0], obs[1], obs[2], obs[3] = math.cos(state[0]), math.sin(state[0]), math.cos(state[1]), math.sin(state[1])
    obs[4], obs[5] = state[2], state[3]


@njit(cache=True, error_model="numpy")
def _acrobot_slope(angle_1, angle_2, speed_1, speed_2, torque):  # type: ignore[no-untyped-def]
    """Return the derivatives of the four columns; every mass and length is 1."""
    cos_2, sin_2 = math.cos(angle_2), math.sin(angle_2)
    inertia = CENTRE_M**2 + (1.0 + CENTRE_M**2 + 2.0 * CENTRE_M * cos_2) + 1.0 + 1.0
    coupling = (CENTRE_M**2 + CENTRE_M * cos_2) + 1.0
    weight_2 = CENTRE_M * GRAVITY * math.cos(angle_1 + angle_2 - math.pi / 2.0)
    load = (
        -CENTRE_M * speed_2**2 * sin_2
        - 2.0 * CENTRE_M * speed_2 * speed_1 * sin_2
        + (CENTRE_M + 1.0) * GRAVITY * math.cos(angle_1 - math.pi / 2.0)
        + weight_2
    )
    pull = torque + coupling / inertia * load - CENTRE_M * speed_1**2 * sin_2 - weight_2
    acc_2 = pull / (CENTRE_M**2 + 1.0 - coupling**2 / inertia)
    return speed_1, speed_2, -(coupling * acc_2 + load) / inertia, acc_2


@njit(cache=True, error_model="numpy")
def _step_acrobot(key, clock, action, params, state, obs, reward, terminated, outcomes):  # type: ignore[no-untyped-def]
    step, half = ACROBOT_STEP_S, ACROBOT_STEP_S / 2.0
    for i in range(action.shape[0]):
        a, b, c, d = state[i, 0], state[i, 1], state[i, 2], state[i, 3]
        torque = float(action[i]) - 1.0
        a1, b1, c1, d1 = _acrobot_slope(a, b, c, d, torque)
        a2, b2, c2, d2 = _acrobot_slope(a + half * a1, b + half * b1, c + half * c1, d + half * d1, torque)
        a3, b3, c3, d3 = _acrobot_slope(a + half * a2, b + half * b2, c + half * c2, d + half * d2, torque)
        a4, b4, c4, d4 = _acrobot_slope(a + step * a3, b + step * b3, c + step * c3, d + step * d3, torque)
        a = _wrapped(a + step / 6.0 * (a1 + 2.0 * a2 + 2.0 * a3 + a4))
        b = _wrapped(b + step / 6.0 * (b1 + 2.0 * b2 + 2.0 * b3 + b4))
        c = min(max(c + step / 6.0 * (c1 + 2.0 * c2 + 2.0 * c3 + c4), -MAX_SPEED_1), MAX_SPEED_1)
        d = min(max(d + step / 6.0 * (d1 + 2.0 * d2 + 2.0 * d3 + d4), -MAX_SPEED_2), MAX_SPEED_2)
        state[i, 0], state[i, 1], state[i, 2], state[i, 3] = a, b, c, d
        _show_acrobot(state[i], obs[i])
        terminated[i] = -math.cos(a) - math.cos(b + a) > 1.0
        reward[i] = 0.0 if terminated[i] else -1.0


@njit(cache=True, error_model="numpy")
def _wrapped(angle):  # type: ignore[no-untyped-def]
    """Return the same angle between -pi and pi."""
    while angle > math.pi:
        angle = angle - 2.0 * math.pi
    while angle < -math.pi:
        angle = angle + 2.0 * math.pi
    return angle
