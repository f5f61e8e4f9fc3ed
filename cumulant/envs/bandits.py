"""Bandits: choose one arm, get its reward, and that is the episode.

Each class has ``action_values(obs)``, the exact mean reward of every arm. Two outcome columns say how good a choice
was: ``regret``, the mean reward of the best arm minus that of the chosen one, and ``optimal``, 1 if it was the best.

Axes: B parallel environments, N observations, A arms, F features.
"""

from __future__ import annotations

import abc
from dataclasses import dataclass

import gymnasium
import numpy as np
from numba import njit

from cumulant.envs.batched import Kernel
from cumulant.envs.counter_rng import normal, uniform
from cumulant.errors import ConfigError

ENVIRONMENTS = {
    "bandit-gaussian": "GaussianBandit-v0",
    "bandit-bernoulli": "BernoulliBandit-v0",
    "bandit-linear": "LinearBandit-v0",
}

_GAUSSIAN, _BERNOULLI = 0.0, 1.0


@dataclass(frozen=True)
class _Bandit(abc.ABC):
    """What all bandits share."""

    arms: int = 10
    instance: int = 0

    def __post_init__(self) -> None:
        for name, least in (("arms", 2), ("instance", 0), ("features", 1), ("noise", 0.0)):
            value = getattr(self, name, least)
            if value < least:
                raise ConfigError(f"environment '{type(self).__name__}': {name} = {value}; it must be at least {least}")

    @abc.abstractmethod
    def action_values(self, obs: np.ndarray) -> np.ndarray:
        """Return the mean reward of every arm for each observation, ``[N, A]``."""

    def exact_value(self, obs: np.ndarray, gamma: float = 1.0) -> np.ndarray:
        """Return the mean reward of the best arm for each observation, ``[N]``; gamma does not matter."""
        return self.action_values(obs).max(axis=1)

    def best_action(self, obs: np.ndarray) -> np.ndarray:
        """Return the best arm for each observation, ``[N]``."""
        return self.action_values(obs).argmax(axis=1)


@dataclass(frozen=True)
class _ArmedBandit(_Bandit):
    """A bandit without context: the observation is always 0."""

    @abc.abstractmethod
    def means(self) -> np.ndarray:
        """Return the mean reward of every arm, ``[A]``."""

    def action_values(self, obs: np.ndarray) -> np.ndarray:
        """Return the mean reward of every arm for each observation, ``[N, A]``."""
        return np.tile(self.means(), (len(obs), 1))

    def _kernel(self, kind: float, noise: float) -> Kernel:
        return Kernel(
            observation_space=gymnasium.spaces.Discrete(1),
            action_space=gymnasium.spaces.Discrete(self.arms),
            state_size=0,
            reset=_reset_armed,
            step=_step_armed,
            params=np.concatenate([[kind, noise, self.means().max()], self.means()]),
            outcome_names=("regret", "optimal"),
            outcome="optimal",
        )


@dataclass(frozen=True)
class GaussianBandit(_ArmedBandit):
    """Arms with normally distributed rewards: the ten-armed testbed of Sutton & Barto.

    Args:
        arms: Number of arms.
        instance: Which of the random bandits; the mean of an arm is drawn from the standard normal distribution.
        noise: Standard deviation of a reward around its arm's mean.

    Raises:
        ConfigError: If a number is too small.

    Source: Sutton & Barto 2018, section 2.3.
    """

    noise: float = 1.0

    def means(self) -> np.ndarray:
        """Return the mean reward of every arm, ``[A]``."""
        return np.random.default_rng(self.instance).standard_normal(self.arms)

    def kernel(self) -> Kernel:
        """Return the batch kernel."""
        return self._kernel(_GAUSSIAN, self.noise)


@dataclass(frozen=True)
class BernoulliBandit(_ArmedBandit):
    """Arms that pay 1 with a probability of their own, else 0.

    Args:
        arms: Number of arms.
        instance: Which of the random bandits; the probability of an arm is uniform between 0 and 1.

    Raises:
        ConfigError: If a number is too small.
    """

    def means(self) -> np.ndarray:
        """Return the mean reward of every arm, ``[A]``."""
        return np.random.default_rng(self.instance).random(self.arms)

    def kernel(self) -> Kernel:
        """Return the batch kernel."""
        return self._kernel(_BERNOULLI, 0.0)


@dataclass(frozen=True)
class LinearBandit(_Bandit):
    """A contextual bandit: each arm's mean reward is a linear function of the observed features.

    The observation is a vector of features, each uniform between -1 and 1, new in every episode.

    Args:
        arms: Number of arms.
        instance: Which of the random bandits; an arm's weights are a random unit vector.
        features: Number of features.
        noise: Standard deviation of a reward around its mean.

    Raises:
        ConfigError: If a number is too small.

    Source: Li, Chu, Langford & Schapire 2010 (the disjoint linear model).
    """

    features: int = 5
    noise: float = 0.1

    def weights(self) -> np.ndarray:
        """Return the weights of every arm, ``[A, F]``."""
        weights = np.random.default_rng(self.instance).standard_normal((self.arms, self.features))
        return weights / np.linalg.norm(weights, axis=1, keepdims=True)

    def action_values(self, obs: np.ndarray) -> np.ndarray:
        """Return the mean reward of every arm for observations ``[N, F]``, ``[N, A]``."""
        return np.asarray(obs, np.float64) @ self.weights().T

    def kernel(self) -> Kernel:
        """Return the batch kernel."""
        return Kernel(
            observation_space=gymnasium.spaces.Box(-1.0, 1.0, (self.features,), np.float32),
            action_space=gymnasium.spaces.Discrete(self.arms),
            state_size=self.features,
            reset=_reset_linear,
            step=_step_linear,
            params=np.concatenate([[self.arms, self.noise], self.weights().ravel()]),
            outcome_names=("regret", "optimal"),
            outcome="optimal",
        )


@njit(cache=True, error_model="numpy")
def _reset_armed(mask, key, params, state, obs):  # type: ignore[no-untyped-def]
    for i in range(mask.shape[0]):
        if mask[i]:
            obs[i] = 0


@njit(cache=True, error_model="numpy")
def _step_armed(key, clock, action, params, state, obs, reward, terminated, outcomes):  # type: ignore[no-untyped-def]
    for i in range(action.shape[0]):
        mean, best = params[3 + action[i]], params[2]
        if params[0] == _BERNOULLI:
            reward[i] = 1.0 if uniform(key[i], clock[i], 0) < mean else 0.0
        else:
            reward[i] = mean + params[1] * normal(key[i], clock[i], 0)
        obs[i] = 0
        terminated[i] = True
        outcomes[i, 0] = best - mean
        outcomes[i, 1] = 1.0 if mean == best else 0.0


@njit(cache=True, error_model="numpy")
def _reset_linear(mask, key, params, state, obs):  # type: ignore[no-untyped-def]
    for i in range(mask.shape[0]):
        if mask[i]:
            for f in range(state.shape[1]):
                obs[i, f] = 2.0 * uniform(key[i], -1, f) - 1.0
                state[i, f] = obs[i, f]  # as rounded, so that the agent sees exactly what counts


@njit(cache=True, error_model="numpy")
def _step_linear(key, clock, action, params, state, obs, reward, terminated, outcomes):  # type: ignore[no-untyped-def]
    num_arms, num_features = int(params[0]), state.shape[1]
    for i in range(action.shape[0]):
        best, chosen = -np.inf, 0.0
        for a in range(num_arms):
            mean = 0.0
            for f in range(num_features):
                mean += params[2 + a * num_features + f] * state[i, f]
            best = max(best, mean)
            if a == action[i]:
                chosen = mean
        reward[i] = chosen + params[1] * normal(key[i], clock[i], 0)
        for f in range(num_features):
            obs[i, f] = state[i, f]
        terminated[i] = True
        outcomes[i, 0] = best - chosen
        outcomes[i, 1] = 1.0 if chosen == best else 0.0
