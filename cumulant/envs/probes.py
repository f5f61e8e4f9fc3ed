"""Probe environments: problems so small that the exact value is known, one for each thing an algorithm can get wrong.

===================  ====================================================  ====================================
probe                what happens                                          a learner that fails it
===================  ====================================================  ====================================
probe-value          reward 1, then the end                                cannot fit a constant
probe-observation    reward = observation (-1 or 1), then the end          does not see the observation
probe-discount       reward 1 one step later                               does not discount or bootstrap
probe-action         reward 1 for action 1, -1 for action 0                does not improve its policy
probe-both           reward 1 if the action matches the observation        does not connect policy and observation
probe-truncation     reward 1 for ever, cut by the time limit              takes a truncation for an end
probe-cut            cut right before the prize                            bootstraps from the next episode's start
probe-continuous     reward -(action - observation / 2)^2                  the same as probe-both, continuous
===================  ====================================================  ====================================

Try them in this order: each needs what the ones before it test. Every class has ``exact_value(obs, gamma)``, the value
of an observation under the best policy, and ``best_action(obs)``.

Except for the last, all are one kernel over a table of rewards by (step, symbol, action), where the symbol is what the
observation shows: -1 or 1 as a Box, or 0 and 1 as a Discrete space with ``tabular=True``.

Axes: B parallel environments, N observations.
"""

from __future__ import annotations

from dataclasses import dataclass

import gymnasium
import numpy as np
from numba import njit

from cumulant.envs.batched import Kernel
from cumulant.envs.counter_rng import uniform
from cumulant.errors import ConfigError

ENVIRONMENTS = {
    "probe-value": "ProbeValue-v0",
    "probe-observation": "ProbeObservation-v0",
    "probe-discount": "ProbeDiscount-v0",
    "probe-action": "ProbeAction-v0",
    "probe-both": "ProbeBoth-v0",
    "probe-truncation": "ProbeTruncation-v0",
    "probe-cut": "ProbeCut-v0",
    "probe-continuous": "ProbeContinuous-v0",
}

# What the symbol is at the start of an episode; the second step of a probe of two steps shows symbol 1.
_ALWAYS_ZERO, _ALWAYS_ONE, _RANDOM = 0.0, 1.0, 2.0

# In place of the number of steps: symbol 1 is the last of an episode and follows symbol 0.
_UNTIL_ONE = -1


@dataclass(frozen=True)
class _Probe:
    """Options that the table probes share, and what they are made of."""

    tabular: bool = False

    def symbol(self, obs: np.ndarray) -> np.ndarray:
        """Return which of the two symbols each observation shows, ``[N]`` of 0 or 1."""
        return (np.asarray(obs).reshape(-1) > 0).astype(np.int64)

    def best_action(self, obs: np.ndarray) -> np.ndarray:
        """Return the best action for observations ``[N, 1]`` (or ``[N]`` if tabular), ``[N]``; 0 if all are."""
        return np.zeros(len(self.symbol(obs)), np.int64)

    def _kernel(self, reward: list, start: float, length: int, max_steps: int = 0) -> Kernel:
        """Make the kernel of a reward table ``[2 steps, 2 symbols, 2 actions]``; length 0 never terminates."""
        space: gymnasium.Space = gymnasium.spaces.Box(-1.0, 1.0, (1,), np.float32)
        first, spacing = -1.0, 2.0
        if self.tabular:
            space, first, spacing = gymnasium.spaces.Discrete(2), 0.0, 1.0
        table = np.broadcast_to(np.array(reward, np.float64), (2, 2, 2)).ravel()
        return Kernel(
            observation_space=space,
            action_space=gymnasium.spaces.Discrete(2),
            state_size=1,
            reset=_reset,
            step=_step,
            params=np.concatenate([[first, spacing, start, length], table]),
            max_steps=max_steps,
        )


@dataclass(frozen=True)
class ProbeValue(_Probe):
    """Probe 1: reward 1 whatever happens, one step. The value is 1.

    Args:
        tabular: Observe a Discrete(2) space instead of a Box.
    """

    def exact_value(self, obs: np.ndarray, gamma: float) -> np.ndarray:
        """Return the value of each observation, ``[N]``: 1."""
        return np.ones(len(self.symbol(obs)))

    def kernel(self) -> Kernel:
        """Return the batch kernel."""
        return self._kernel([[[1.0, 1.0]]], _ALWAYS_ONE, 1)


@dataclass(frozen=True)
class ProbeObservation(_Probe):
    """Probe 2: the reward is the observation, -1 or 1 at random, one step. The value is the observation.

    Args:
        tabular: Observe a Discrete(2) space instead of a Box.
    """

    def exact_value(self, obs: np.ndarray, gamma: float) -> np.ndarray:
        """Return the value of each observation, ``[N]``: -1 or 1."""
        return 2.0 * self.symbol(obs) - 1.0

    def kernel(self) -> Kernel:
        """Return the batch kernel."""
        return self._kernel([[[-1.0, -1.0], [1.0, 1.0]]], _RANDOM, 1)


@dataclass(frozen=True)
class ProbeDiscount(_Probe):
    """Probe 3: two steps, observation -1 then 1, and the reward 1 comes with the second. The values are gamma and 1.

    Args:
        tabular: Observe a Discrete(2) space instead of a Box.
    """

    def exact_value(self, obs: np.ndarray, gamma: float) -> np.ndarray:
        """Return the value of each observation, ``[N]``: gamma at the first step, 1 at the second."""
        return np.where(self.symbol(obs) == 1, 1.0, gamma)

    def kernel(self) -> Kernel:
        """Return the batch kernel."""
        return self._kernel([[[0.0, 0.0], [0.0, 0.0]], [[1.0, 1.0], [1.0, 1.0]]], _ALWAYS_ZERO, 2)


@dataclass(frozen=True)
class ProbeAction(_Probe):
    """Probe 4: reward 1 for action 1 and -1 for action 0, one step. The best value is 1.

    Args:
        tabular: Observe a Discrete(2) space instead of a Box.
    """

    def exact_value(self, obs: np.ndarray, gamma: float) -> np.ndarray:
        """Return the value of each observation under the best policy, ``[N]``: 1."""
        return np.ones(len(self.symbol(obs)))

    def best_action(self, obs: np.ndarray) -> np.ndarray:
        """Return the best action of each observation, ``[N]``: 1."""
        return np.ones(len(self.symbol(obs)), np.int64)

    def kernel(self) -> Kernel:
        """Return the batch kernel."""
        return self._kernel([[[-1.0, 1.0]]], _ALWAYS_ONE, 1)


@dataclass(frozen=True)
class ProbeBoth(_Probe):
    """Probe 5: reward 1 if the action matches the random observation (0 for -1, 1 for 1), else -1. The best value is 1.

    Args:
        tabular: Observe a Discrete(2) space instead of a Box.
    """

    def exact_value(self, obs: np.ndarray, gamma: float) -> np.ndarray:
        """Return the value of each observation under the best policy, ``[N]``: 1."""
        return np.ones(len(self.symbol(obs)))

    def best_action(self, obs: np.ndarray) -> np.ndarray:
        """Return the best action of each observation, ``[N]``: 0 for -1, 1 for 1."""
        return self.symbol(obs)

    def kernel(self) -> Kernel:
        """Return the batch kernel."""
        return self._kernel([[[1.0, -1.0], [-1.0, 1.0]]], _RANDOM, 1)


@dataclass(frozen=True)
class ProbeTruncation(_Probe):
    """Probe 6: reward 1 for ever, one observation, cut by the time limit. The value is 1 / (1 - gamma).

    An algorithm that takes a truncation for an end learns (1 - gamma^n) / (1 - gamma) at best.

    Args:
        tabular: Observe a Discrete(2) space instead of a Box.
        max_steps: Episodes are truncated after so many steps.

    Raises:
        ConfigError: If ``max_steps`` is less than 2.
    """

    max_steps: int = 4

    def __post_init__(self) -> None:
        if self.max_steps < 2:
            raise ConfigError(f"environment 'probe-truncation': max_steps = {self.max_steps}; it must be at least 2")

    def exact_value(self, obs: np.ndarray, gamma: float) -> np.ndarray:
        """Return the value of each observation, ``[N]``: 1 / (1 - gamma)."""
        return np.full(len(self.symbol(obs)), 1.0 / (1.0 - gamma))

    def kernel(self) -> Kernel:
        """Return the batch kernel."""
        return self._kernel([[[1.0, 1.0]]], _ALWAYS_ONE, 0, self.max_steps)


@dataclass(frozen=True)
class ProbeCut(_Probe):
    """Probe 7: at 1 there is a reward of 10 and the end; at -1 one goes to 1 and is cut there. The values are 10 and 10 gamma.

    An episode starts at -1 or 1 at random. Who bootstraps from the first observation of the next episode, which is 1 half of
    the time only, or who takes the truncation for an end, learns too little for -1.

    Args:
        tabular: Observe a Discrete(2) space instead of a Box.
    """

    def exact_value(self, obs: np.ndarray, gamma: float) -> np.ndarray:
        """Return the value of each observation, ``[N]``: 10, or gamma times that."""
        return np.where(self.symbol(obs) == 1, 10.0, 10.0 * gamma)

    def kernel(self) -> Kernel:
        """Return the batch kernel."""
        return self._kernel([[[0.0, 0.0], [10.0, 10.0]]], _RANDOM, _UNTIL_ONE, max_steps=1)


@dataclass(frozen=True)
class ProbeContinuous:
    """Probe 8: reward -(action - observation / 2)^2 for a random observation of -1 or 1, one step. The best value is 0.

    The action is a Box from -1 to 1. A Gaussian policy of deviation s around the best action has the value -s^2.
    """

    def exact_value(self, obs: np.ndarray, gamma: float) -> np.ndarray:
        """Return the value of each observation under the best policy, ``[N]``: 0."""
        return np.zeros(len(obs))

    def best_action(self, obs: np.ndarray) -> np.ndarray:
        """Return the best action of each observation, ``[N, 1]``: half of it."""
        return np.asarray(obs, np.float32) / 2

    def kernel(self) -> Kernel:
        """Return the batch kernel."""
        return Kernel(
            observation_space=gymnasium.spaces.Box(-1.0, 1.0, (1,), np.float32),
            action_space=gymnasium.spaces.Box(-1.0, 1.0, (1,), np.float32),
            state_size=1,
            reset=_reset,
            step=_step_continuous,
            params=np.array([-1.0, 2.0, _RANDOM, 1.0]),
        )


@njit(cache=True, error_model="numpy")
def _reset(mask, key, params, state, obs):  # type: ignore[no-untyped-def]
    shown = obs.reshape(-1)  # [B, 1] as a Box, [B] as a Discrete space
    for i in range(mask.shape[0]):
        if mask[i]:
            symbol = params[2]
            if symbol == _RANDOM:
                symbol = 1.0 if uniform(key[i], -1, 0) < 0.5 else 0.0
            state[i, 0] = symbol
            shown[i] = params[0] + params[1] * symbol


@njit(cache=True, error_model="numpy")
def _step(key, clock, action, params, state, obs, reward, terminated, outcomes):  # type: ignore[no-untyped-def]
    shown = obs.reshape(-1)
    length = int(params[3])
    for i in range(action.shape[0]):
        stage = min(clock[i], 1)
        reward[i] = params[4 + 4 * stage + 2 * int(state[i, 0]) + action[i]]
        terminated[i] = clock[i] + 1 == length or (length == _UNTIL_ONE and state[i, 0] == 1.0)
        if (length == 2 and clock[i] == 0) or length == _UNTIL_ONE:
            state[i, 0] = 1.0
        shown[i] = params[0] + params[1] * state[i, 0]


@njit(cache=True, error_model="numpy")
def _step_continuous(key, clock, action, params, state, obs, reward, terminated, outcomes):  # type: ignore[no-untyped-def]
    for i in range(action.shape[0]):
        obs[i, 0] = params[0] + params[1] * state[i, 0]
        miss = action[i, 0] - 0.5 * obs[i, 0]
        reward[i] = -miss * miss
        terminated[i] = True
