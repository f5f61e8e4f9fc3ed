"""Probes for what only some algorithms can do: remember, and leave out forbidden actions. Their values are exact, too.

===================  ====================================================  ====================================
probe                what happens                                          a learner that fails it
===================  ====================================================  ====================================
probe-memory         the first observation says which action is right      has no memory, or forgets
                     two steps later
probe-mask           what would be best is forbidden in one observation    chooses it, or bootstraps from it
===================  ====================================================  ====================================

``probes`` has those that every algorithm can learn.

Axes: B parallel environments, N observations.
"""

from __future__ import annotations

from dataclasses import dataclass

import gymnasium
import numpy as np
from numba import njit

from cumulant.envs.batched import Kernel
from cumulant.envs.counter_rng import uniform

ENVIRONMENTS = {"probe-memory": "ProbeMemory-v0", "probe-mask": "ProbeMask-v0"}

_MEMORY_STEPS = 3
# Rewards by observation (-1, 1) and action of the mask probe.
_AT_FIRST, _AT_LAST = (0.0, 0.25), (0.5, 1.0)


@dataclass(frozen=True)
class ProbeMemory:
    """Probe of memory: a sign is shown in the first of three steps, and the action of the third must match it.

    Observation ``[2]``: the sign (-1 or 1 in the first step, 0 later) and how far the episode is (0, 0.5, 1). The reward comes
    with the third step: 1 if the action matches the sign (0 for -1, 1 for 1), else -1. With memory the values are gamma^2,
    gamma and 1; without it nothing is better than chance, and they are 0.
    """

    def exact_value(self, obs: np.ndarray, gamma: float, memory: bool = True) -> np.ndarray:
        """Return the value of each observation ``[N, 2]`` under the best policy with a memory, or without one, ``[N]``."""
        left = np.rint((1.0 - np.asarray(obs, np.float64)[:, 1]) * (_MEMORY_STEPS - 1))
        return gamma**left if memory else np.zeros(len(left))

    def best_action(self, obs: np.ndarray, first: np.ndarray | None = None) -> np.ndarray:
        """Return the best action of each observation, ``[N]``: it matches the sign in the episode's ``first`` observation.

        Without ``first`` the sign is looked for in ``obs``, where only the first step shows it (0 where there is none).
        """
        shown = np.asarray(obs if first is None else first)
        return (shown[:, 0] > 0).astype(np.int64)

    def kernel(self) -> Kernel:
        """Return the batch kernel."""
        return Kernel(
            observation_space=gymnasium.spaces.Box(np.array([-1.0, 0.0], "f4"), np.ones(2, "f4"), dtype=np.float32),
            action_space=gymnasium.spaces.Discrete(2),
            state_size=1,
            reset=_reset_memory,
            step=_step_memory,
        )


@dataclass(frozen=True)
class ProbeMask:
    """Probe of action masks: of two steps the second forbids what would be best. The values are 0.25 + gamma / 2 and 1 / 2.

    Observation: a dictionary of "observation", 1 in the first step and -1 in the second, and "action_mask". In the first step
    both actions are allowed and action 1 pays 0.25, action 0 nothing. In the second action 0 pays 0.5; action 1 is forbidden and
    would pay 1. Who takes it all the same gets that, and is found out by the values, and by the outcome column "forbidden".
    """

    def exact_value(self, obs: np.ndarray, gamma: float) -> np.ndarray:
        """Return the value of each flat observation ``[N, 3]`` under the best allowed policy, ``[N]``."""
        return np.where(self._first(obs), _AT_FIRST[1] + gamma * _AT_LAST[0], _AT_LAST[0])

    def best_action(self, obs: np.ndarray) -> np.ndarray:
        """Return the best allowed action of each flat observation, ``[N]``: 1 in the first step, 0 in the second."""
        return self._first(obs).astype(np.int64)

    def observations(self) -> np.ndarray:
        """Return both flat observations, mask and sign, ``[2, 3]`` float32: that of the second step, then that of the first."""
        return np.array([[1.0, 0.0, -1.0], [1.0, 1.0, 1.0]], np.float32)

    def _first(self, obs: np.ndarray) -> np.ndarray:
        return np.asarray(obs)[:, 2] > 0

    def kernel(self) -> Kernel:
        """Return the batch kernel."""
        return Kernel(
            observation_space=gymnasium.spaces.Dict(
                {
                    "action_mask": gymnasium.spaces.MultiBinary(2),
                    "observation": gymnasium.spaces.Box(-1.0, 1.0, (1,), np.float32),
                }
            ),
            action_space=gymnasium.spaces.Discrete(2),
            state_size=0,
            reset=_reset_mask,
            step=_step_mask,
            params=np.array([*_AT_FIRST, *_AT_LAST]),
            outcome_names=("forbidden",),
        )


@njit(cache=True, error_model="numpy")
def _reset_memory(mask, key, params, state, obs):  # type: ignore[no-untyped-def]
    for i in range(mask.shape[0]):
        if mask[i]:
            state[i, 0] = 1.0 if uniform(key[i], -1, 0) < 0.5 else -1.0
            obs[i, 0], obs[i, 1] = state[i, 0], 0.0


@njit(cache=True, error_model="numpy")
def _step_memory(key, clock, action, params, state, obs, reward, terminated, outcomes):  # type: ignore[no-untyped-def]
    for i in range(action.shape[0]):
        terminated[i] = clock[i] + 1 == _MEMORY_STEPS
        matches = (action[i] == 1) == (state[i, 0] > 0.0)
        reward[i] = 0.0 if not terminated[i] else 1.0 if matches else -1.0
        obs[i, 0], obs[i, 1] = 0.0, min(clock[i] + 1.0, _MEMORY_STEPS - 1.0) / (_MEMORY_STEPS - 1.0)


@njit(cache=True, error_model="numpy")
def _reset_mask(mask, key, params, state, obs):  # type: ignore[no-untyped-def]
    for i in range(mask.shape[0]):
        if mask[i]:
            obs[i, 0], obs[i, 1], obs[i, 2] = 1.0, 1.0, 1.0


@njit(cache=True, error_model="numpy")
def _step_mask(key, clock, action, params, state, obs, reward, terminated, outcomes):  # type: ignore[no-untyped-def]
    for i in range(action.shape[0]):
        second = clock[i] > 0
        reward[i] = params[2 * second + action[i]]
        outcomes[i, 0] = 1.0 if second and action[i] == 1 else 0.0
        terminated[i] = second
        obs[i, 0], obs[i, 1], obs[i, 2] = 1.0, 0.0, -1.0
