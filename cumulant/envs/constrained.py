"""Small problems with costs whose best policy under a limit is known exactly, with continuous actions and with discrete ones.

The outcome column ``cost`` says what each step cost. What is asked for is the policy with the highest expected return among those
whose expected sum of costs in an episode is at most a limit; the best policy without a limit exceeds every limit that matters.
Actions change nothing but the reward and the cost of their own step, so that the best policy maximises

    reward - multiplier * cost

in each observation by itself. Both problems are made so that there is exactly one such multiplier for each limit, that the
policy changes smoothly with it, and that the policy is deterministic: then ascent in the policy and descent in the multiplier
lead to it, which they need not elsewhere.

Axes: B parallel environments, N observations.
"""

from __future__ import annotations

import abc
import math
from dataclasses import dataclass
from typing import NamedTuple

import gymnasium
import numpy as np
from numba import njit

from cumulant.envs.batched import Kernel
from cumulant.envs.counter_rng import uniform
from cumulant.errors import ConfigError

ENVIRONMENTS = {"constrained-effort": "ConstrainedEffort-v0", "constrained-risk": "ConstrainedRisk-v0"}


class Optimum(NamedTuple):
    """What the best policy under a limit reaches.

    Args:
        value: Its expected sum of rewards in an episode.
        cost: Its expected sum of costs in an episode: the limit, or less where that does not bind.
        multiplier: What a unit of cost is worth at the optimum (the Lagrange multiplier); 0 where the limit does not bind.
        policy: The one number that its policy depends on; see ``best_action``.
    """

    value: float
    cost: float
    multiplier: float
    policy: float


@dataclass(frozen=True)
class _Constrained(abc.ABC):
    """What both problems share."""

    steps: int = 4

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ConfigError(f"environment '{type(self).__name__}': steps = {self.steps}; it must be at least 1")

    def optimum(self, limit: float, gamma: float = 1.0) -> Optimum:
        """Return what the best policy reaches whose expected cost is at most the limit.

        Args:
            limit: Of the expected sum of costs in an episode; positive.
            gamma: Discount of that sum and of the value; 1 for plain sums.

        Raises:
            ConfigError: If the limit is not positive.
        """
        if not limit > 0.0:
            raise ConfigError(f"limit = {limit}; it must be positive")
        weight = float(sum(gamma**t for t in range(self.steps)))
        value, cost, multiplier, policy = self._per_step(limit / weight)
        return Optimum(weight * value, weight * cost, multiplier, policy)

    @abc.abstractmethod
    def _per_step(self, limit: float) -> Optimum:
        """Return the optimum of one step at a limit per step."""

    def _space(self) -> gymnasium.spaces.Box:
        return gymnasium.spaces.Box(0.0, 1.0, (1,), np.float32)


@dataclass(frozen=True)
class ConstrainedEffort(_Constrained):
    """Continuous: match the demand with an effort whose square is the cost.

    Observation: the demand x, 0.5 or 1 at random and new in each step, ``[1]``. Action a from -1 to 1. Reward x^2 - (a - x)^2,
    cost a^2. Without a limit the best is a = x, which costs 0.625 a step. With a limit L of the expected cost of a step
    everything is scaled down alike:

        a = scale * x,  scale = min(1, sqrt(L / 0.625)),  multiplier = 1 / scale - 1,  value = 0.625 scale (2 - scale)

    A stochastic policy of deviation s around it pays s^2 more and earns s^2 less.

    Args:
        steps: Steps of an episode.

    Raises:
        ConfigError: If ``steps`` is not positive.

    >>> ConstrainedEffort(steps=4).optimum(limit=0.625)
    Optimum(value=1.875, cost=0.625, multiplier=1.0, policy=0.5)
    """

    def _per_step(self, limit: float) -> Optimum:
        scale = min(1.0, math.sqrt(limit / 0.625))
        return Optimum(0.625 * scale * (2.0 - scale), 0.625 * scale**2, 1.0 / scale - 1.0, scale)

    def best_action(self, obs: np.ndarray, limit: float, gamma: float = 1.0) -> np.ndarray:
        """Return the best action of each observation under a limit, ``[N, 1]``: ``policy`` times the demand."""
        return np.float32(self.optimum(limit, gamma).policy) * np.asarray(obs, np.float32)

    def kernel(self) -> Kernel:
        """Return the batch kernel."""
        return Kernel(
            observation_space=self._space(),
            action_space=gymnasium.spaces.Box(-1.0, 1.0, (1,), np.float32),
            state_size=1,
            reset=_reset_effort,
            step=_step_effort,
            params=np.array([self.steps], np.float64),
            outcome_names=("cost",),
        )


@dataclass(frozen=True)
class ConstrainedRisk(_Constrained):
    """Discrete: take a risk for a reward, or leave it; the risk is shown and is the cost.

    Observation: the risk x, uniform from 0 to 1 and new in each step, ``[1]``. Action 1 earns 1 and costs x, action 0 neither.
    Without a limit the best is always 1, which costs 0.5 a step. With a limit L of the expected cost of a step risks are taken
    up to a threshold:

        a = 1 where x < threshold,  threshold = min(1, sqrt(2 L)),  multiplier = 1 / threshold,  value = threshold

    Args:
        steps: Steps of an episode.

    Raises:
        ConfigError: If ``steps`` is not positive.

    >>> ConstrainedRisk(steps=4).optimum(limit=0.5)
    Optimum(value=2.0, cost=0.5, multiplier=2.0, policy=0.5)
    """

    def _per_step(self, limit: float) -> Optimum:
        threshold = math.sqrt(2.0 * limit)
        if threshold >= 1.0:
            return Optimum(1.0, 0.5, 0.0, 1.0)
        return Optimum(threshold, threshold**2 / 2.0, 1.0 / threshold, threshold)

    def best_action(self, obs: np.ndarray, limit: float, gamma: float = 1.0) -> np.ndarray:
        """Return the best action of each observation under a limit, ``[N]``: 1 where the risk is below ``policy``."""
        return (np.asarray(obs)[:, 0] < self.optimum(limit, gamma).policy).astype(np.int64)

    def kernel(self) -> Kernel:
        """Return the batch kernel."""
        return Kernel(
            observation_space=self._space(),
            action_space=gymnasium.spaces.Discrete(2),
            state_size=1,
            reset=_reset_risk,
            step=_step_risk,
            params=np.array([self.steps], np.float64),
            outcome_names=("cost",),
        )


@njit(cache=True, error_model="numpy")
def _demand(key, step):  # type: ignore[no-untyped-def]
    return 0.5 if uniform(key, step, 0) < 0.5 else 1.0


@njit(cache=True, error_model="numpy")
def _reset_effort(mask, key, params, state, obs):  # type: ignore[no-untyped-def]
    for i in range(mask.shape[0]):
        if mask[i]:
            state[i, 0] = obs[i, 0] = _demand(key[i], -1)


@njit(cache=True, error_model="numpy")
def _step_effort(key, clock, action, params, state, obs, reward, terminated, outcomes):  # type: ignore[no-untyped-def]
    for i in range(action.shape[0]):
        effort = np.float64(min(max(action[i, 0], np.float32(-1.0)), np.float32(1.0)))
        reward[i] = state[i, 0] ** 2 - (effort - state[i, 0]) ** 2
        outcomes[i, 0] = effort**2
        state[i, 0] = obs[i, 0] = _demand(key[i], clock[i])
        terminated[i] = clock[i] + 1 >= params[0]


@njit(cache=True, error_model="numpy")
def _reset_risk(mask, key, params, state, obs):  # type: ignore[no-untyped-def]
    for i in range(mask.shape[0]):
        if mask[i]:
            obs[i, 0] = uniform(key[i], -1, 0)
            state[i, 0] = obs[i, 0]  # as rounded, so that the agent sees exactly what counts


@njit(cache=True, error_model="numpy")
def _step_risk(key, clock, action, params, state, obs, reward, terminated, outcomes):  # type: ignore[no-untyped-def]
    for i in range(action.shape[0]):
        reward[i] = 1.0 if action[i] == 1 else 0.0
        outcomes[i, 0] = state[i, 0] if action[i] == 1 else 0.0
        obs[i, 0] = uniform(key[i], clock[i], 0)
        state[i, 0] = obs[i, 0]
        terminated[i] = clock[i] + 1 >= params[0]
