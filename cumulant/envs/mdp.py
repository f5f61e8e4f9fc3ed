"""Markov decision processes given by their tables: exact solutions, and one compiled kernel that plays any of them.

Axes: S states, A actions, K possible results of an action in a state, B parallel environments.
"""

from __future__ import annotations

from dataclasses import dataclass

import gymnasium
import numpy as np
from numba import njit

from cumulant.envs.batched import Kernel
from cumulant.envs.counter_rng import uniform
from cumulant.errors import ConfigError

_HEADER = 4  # numbers at the head of a packed table: S, A, K, and a zero


@dataclass(frozen=True)
class TabularMDP:
    """A finite Markov decision process whose dynamics are known.

    Args:
        next_obs: Where each result leads, ``[S, A, K]`` int.
        prob: Its probability, ``[S, A, K]``; sums to 1 over K.
        reward: Its reward, ``[S, A, K]``.
        terminated: Whether it ends the episode for good, ``[S, A, K]`` bool.
        start: Probability that an episode starts in a state, ``[S]``; sums to 1.

    Raises:
        ConfigError: If the shapes differ, a probability is wrong or a state does not exist (message says which).

    A coin that pays 1 and ends with probability one half, and otherwise comes again, is worth (1/2) / (1 - gamma/2):

    >>> coin = TabularMDP(*(np.array([[row]]) for row in ([0, 0], [0.5, 0.5], [1.0, 0.0], [True, False])), np.ones(1))
    >>> coin.value_iteration(gamma=0.5).round(6)
    array([[0.666667]])
    """

    next_obs: np.ndarray
    prob: np.ndarray
    reward: np.ndarray
    terminated: np.ndarray
    start: np.ndarray

    def __post_init__(self) -> None:
        shape = self.prob.shape
        for name in ("next_obs", "reward", "terminated"):
            other = getattr(self, name).shape
            if other != shape or len(shape) != 3:
                raise ConfigError(f"TabularMDP: {name} is {other}, prob is {shape}; both are [S, A, K]")
        if self.start.shape != shape[:1]:
            raise ConfigError(
                f"TabularMDP: start is {self.start.shape}; it is one number for each of {shape[0]} states"
            )
        for name, prob in (("prob", self.prob), ("start", self.start)):
            if (prob < 0).any() or np.abs(prob.sum(axis=-1) - 1).max() > 1e-9:
                raise ConfigError(f"TabularMDP: {name} must be non-negative and sum to 1 over its last axis")
        if (self.next_obs < 0).any() or (self.next_obs >= shape[0]).any():
            raise ConfigError(f"TabularMDP: next_obs names a state outside 0..{shape[0] - 1}")

    @property
    def num_states(self) -> int:
        """S."""
        return self.prob.shape[0]

    @property
    def num_actions(self) -> int:
        """A."""
        return self.prob.shape[1]

    def backup(self, value: np.ndarray, gamma: float) -> np.ndarray:
        """Return the action values that follow from state values: one Bellman backup.

        ``q(s, a) = sum_k prob (reward + gamma (1 - terminated) value(next_obs))``

        Args:
            value: State values, ``[S]``.
            gamma: Discount factor.

        Returns:
            Action values, ``[S, A]``.
        """
        return (self.prob * (self.reward + gamma * ~self.terminated * value[self.next_obs])).sum(axis=-1)

    def value_iteration(
        self, gamma: float, *, epsilon: float = 0.0, tolerance: float = 1e-10, max_sweeps: int = 100_000
    ) -> np.ndarray:
        """Return the best action values, of policies that act at random with probability epsilon.

        ``q <- backup((1 - epsilon) max_a q + epsilon mean_a q)``, until no value changes by more than the tolerance.
        With ``epsilon = 0`` these are the values that Q-learning converges to; with an epsilon above 0 those of SARSA
        under an epsilon-greedy policy.

        Args:
            gamma: Discount factor; 1 is allowed if every best policy ends its episodes.
            epsilon: Probability of a random action.
            tolerance: Largest change of the last sweep; the error is at most gamma / (1 - gamma) times that.
            max_sweeps: Give up after so many sweeps.

        Returns:
            Action values, ``[S, A]`` float64.

        Raises:
            ConfigError: If the values have not settled after ``max_sweeps`` (gamma = 1 without an end).
        """
        q = np.zeros(self.prob.shape[:2])
        for _ in range(max_sweeps):
            new = self.backup((1.0 - epsilon) * q.max(axis=1) + epsilon * q.mean(axis=1), gamma)
            change = np.abs(new - q).max()
            q = new
            if change <= tolerance:
                return q
        raise ConfigError(
            f"value iteration: no fixed point after {max_sweeps} sweeps with gamma = {gamma}; use a gamma below 1"
        )

    def policy_evaluation(self, policy: np.ndarray, gamma: float) -> np.ndarray:
        """Return the exact state values of a policy, by solving ``v = r + gamma P v``.

        Args:
            policy: Action probabilities, ``[S, A]``.
            gamma: Discount factor below 1.

        Returns:
            State values, ``[S]`` float64.
        """
        states = np.arange(self.num_states)
        weight = policy[:, :, None] * self.prob
        move = np.zeros((self.num_states, self.num_states))
        np.add.at(move, (states[:, None, None], self.next_obs), weight * ~self.terminated)
        return np.linalg.solve(np.eye(self.num_states) - gamma * move, (weight * self.reward).sum(axis=(1, 2)))

    def reachable(self) -> np.ndarray:
        """Return the states in which an agent can ever have to act, ``[S]`` bool."""
        seen = self.start > 0
        while True:
            goes_on = seen[:, None, None] & (self.prob > 0) & ~self.terminated
            new = seen.copy()
            new[self.next_obs[goes_on]] = True
            if (new == seen).all():
                return seen
            seen = new

    def packed(self) -> np.ndarray:
        """Return everything as one flat vector for compiled code, float64.

        It holds S, A, K and a zero; the cumulative start probabilities ``[S]``; then for each state, action and result:
        the cumulative probability, the next state, the reward and the terminated flag.
        """
        rows = np.stack([_cumulative(self.prob), self.next_obs, self.reward, self.terminated], axis=-1)
        return np.concatenate([[*self.prob.shape, 0.0], _cumulative(self.start), rows.ravel()]).astype(np.float64)

    def kernel(self, max_steps: int) -> Kernel:
        """Return the batch kernel that plays this process; observations are state numbers, int64 ``[B]``.

        Args:
            max_steps: Episodes are truncated after so many steps; 0 for never.
        """
        return Kernel(
            observation_space=gymnasium.spaces.Discrete(self.num_states),
            action_space=gymnasium.spaces.Discrete(self.num_actions),
            state_size=1,
            reset=table_reset,
            step=table_step,
            params=self.packed(),
            max_steps=max_steps,
        )


def is_table(kernel: Kernel) -> bool:
    """Return whether a kernel plays a packed table, so that its ``params`` are that table."""
    return kernel.step is table_step


def _cumulative(prob: np.ndarray) -> np.ndarray:
    """Return cumulative probabilities that are exactly 1 from the last possible result on, whatever the rounding."""
    total = np.cumsum(prob, axis=-1)
    later = np.cumsum(prob[..., ::-1], axis=-1)[..., ::-1] - prob  # the probability of what follows
    return np.where(later <= 0.0, 1.0, total)


@njit(inline="always")
def start_state(table: np.ndarray, u: float) -> int:
    """Return the state in which an episode starts, given a packed table and a uniform number in [0, 1)."""
    s = 0
    while u >= table[_HEADER + s]:
        s += 1
    return s


@njit(inline="always")
def result_row(table: np.ndarray, s: int, a: int, u: float) -> int:
    """Return where in a packed table the result of an action starts, given a uniform number in [0, 1).

    The next state, reward and terminated flag follow at the returned position plus 1, 2 and 3.
    """
    num_states, num_actions, num_results = int(table[0]), int(table[1]), int(table[2])
    row = _HEADER + num_states + 4 * num_results * (s * num_actions + a)
    while u >= table[row]:
        row += 4
    return row


@njit(cache=True, error_model="numpy")
def table_reset(mask, key, params, state, obs):  # type: ignore[no-untyped-def]
    """Start the episodes where ``mask`` is set; ``Kernel.reset`` of every table."""
    for i in range(mask.shape[0]):
        if mask[i]:
            obs[i] = start_state(params, uniform(key[i], -1, 0))
            state[i, 0] = obs[i]


@njit(cache=True, error_model="numpy")
def table_step(key, clock, action, params, state, obs, reward, terminated, outcomes):  # type: ignore[no-untyped-def]
    """Advance every copy by one step; ``Kernel.step`` of every table."""
    for i in range(action.shape[0]):
        row = result_row(params, int(state[i, 0]), action[i], uniform(key[i], clock[i], 0))
        state[i, 0] = params[row + 1]
        obs[i] = int(params[row + 1])
        reward[i] = params[row + 2]
        terminated[i] = params[row + 3] != 0.0
