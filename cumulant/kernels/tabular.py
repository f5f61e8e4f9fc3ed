"""Compiled learning of a table of action values: Q-learning, SARSA and expected SARSA.

Three functions make a step of any environment with Discrete spaces: ``choose`` the actions, step, ``td_update``. With a
table environment (``envs/mdp.py``) ``train_on_table`` does many such steps in one call, with exactly the same result.
Random numbers are a pure function of a key, the step and the row, so that nothing but the arrays must be saved.

Axes: S states, A actions, B parallel environments.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from cumulant.envs.accounting import account, next_episodes
from cumulant.envs.batched import Batch
from cumulant.envs.counter_rng import uniform
from cumulant.envs.mdp import is_table, table_reset, table_step
from cumulant.errors import ConfigError
from cumulant.kernels.twins import loop, twin

Q_LEARNING, SARSA, EXPECTED_SARSA = 0, 1, 2


@twin("cumulant.maths.value.q_learning_target")
@njit(cache=True, error_model="numpy")
def q_learning_target(reward: float, next_q: np.ndarray, terminated: bool, gamma: float) -> float:
    """Bootstrap with the best next action; ``next_q`` is ``[A]``."""
    return reward if terminated else reward + gamma * next_q.max()


@twin("cumulant.maths.value.sarsa_target")
@njit(cache=True, error_model="numpy")
def sarsa_target(reward: float, next_q: np.ndarray, next_action: int, terminated: bool, gamma: float) -> float:
    """Bootstrap with the action that is taken next; ``next_q`` is ``[A]``."""
    return reward if terminated else reward + gamma * next_q[next_action]


@twin("cumulant.maths.value.expected_sarsa_target")
@njit(cache=True, error_model="numpy")
def expected_sarsa_target(
    reward: float, next_q: np.ndarray, next_probability: np.ndarray, terminated: bool, gamma: float
) -> float:
    """Bootstrap with the mean over the policy's next actions; both arrays are ``[A]``."""
    if terminated:
        return reward
    expected = 0.0
    for a in range(next_q.shape[0]):
        if next_probability[a] != 0.0:  # an action that cannot be taken may have the value -inf
            expected += next_probability[a] * next_q[a]
    return reward + gamma * expected


@twin("cumulant.maths.exploration.epsilon_greedy")
@njit(cache=True, error_model="numpy")
def epsilon_greedy(q: np.ndarray, epsilon: float, probability: np.ndarray) -> None:
    """Write the probability of each action, ``[A]``; equally good actions share, and -inf marks those that are not allowed."""
    num_actions, allowed, best, ties = q.shape[0], 0, -np.inf, 0
    for a in range(num_actions):
        if q[a] > -np.inf:
            allowed += 1
            if q[a] > best:
                best, ties = q[a], 1
            elif q[a] == best:
                ties += 1
    for a in range(num_actions):
        probability[a] = epsilon / allowed if q[a] > -np.inf else 0.0
        if q[a] == best:
            probability[a] += (1.0 - epsilon) / ties


@loop(epsilon_greedy)
@njit(cache=True, error_model="numpy")
def choose(q: np.ndarray, obs: np.ndarray, epsilon: float, key: int, step: int, action: np.ndarray) -> None:
    """Draw epsilon-greedy actions.

    Args:
        q: Action values, ``[S, A]``; -inf for an action that must not be taken.
        obs: Which row of ``q`` each is about, ``[B]`` int64, B at most 65536.
        epsilon: Probability of a random action.
        key: Names the stream of random numbers, such as a seed.
        step: Which numbers of the stream, from -1; never the same twice.
        action: Where the actions are written, ``[B]`` int64.
    """
    num_actions = q.shape[1]
    probability = np.empty(num_actions)
    for i in range(obs.shape[0]):
        epsilon_greedy(q[obs[i]], epsilon, probability)
        left = uniform(np.uint64(key), step, i)
        a = 0
        while a < num_actions - 1 and left >= probability[a]:
            left -= probability[a]
            a += 1
        while probability[a] == 0.0:  # rounding went past the last possible action
            a -= 1
        action[i] = a


@loop(epsilon_greedy)
@njit(cache=True, error_model="numpy")
def choose_by(q: np.ndarray, epsilon: float, noise: np.ndarray, action: np.ndarray) -> None:
    """Draw epsilon-greedy actions by given noise: the largest of ``log(probability) + noise``.

    Args:
        q: Action values, ``[B, A]``; -inf for an action that must not be taken.
        epsilon: Probability of a random action.
        noise: Gumbel noise, ``[B, A]``.
        action: Where the actions are written, ``[B]`` int64.
    """
    probability = np.empty(q.shape[1])
    for i in range(q.shape[0]):
        epsilon_greedy(q[i], epsilon, probability)
        best = -np.inf
        for a in range(q.shape[1]):
            if probability[a] > 0.0:
                score = math.log(probability[a]) + noise[i, a]
                if score > best:
                    best, action[i] = score, a


@loop(q_learning_target, sarsa_target, expected_sarsa_target, epsilon_greedy)
@njit(cache=True, error_model="numpy")
def td_update(  # type: ignore[no-untyped-def]
    q, visits, obs, action, reward, next_obs, next_action, terminated, rule, gamma, epsilon, step_size, step_power
):
    """Move the values of the actions that were taken towards their targets, one row of the batch after the other.

    ``q[obs, action] += step_size / (1 + visits[obs, action])^step_power * (target - q[obs, action])``

    Args:
        q: Action values, ``[S, A]`` float64; changed in place.
        visits: How often each was updated before, ``[S, A]`` int64; counted on.
        obs: States acted in, ``[B]`` int64.
        action: Actions taken, ``[B]`` int64.
        reward: Rewards, ``[B]``.
        next_obs: States that followed (the final one at a truncation), ``[B]`` int64.
        next_action: Actions chosen there, ``[B]`` int64; only SARSA reads them.
        terminated: Where nothing follows, ``[B]`` bool; truncated steps bootstrap.
        rule: ``Q_LEARNING``, ``SARSA`` or ``EXPECTED_SARSA``.
        gamma: Discount factor.
        epsilon: Of the policy; only expected SARSA reads it.
        step_size: Step size of the first update.
        step_power: 0 keeps the step size; 1 with a step size of 1 averages all targets; between 0.5 and 1 converges.
    """
    probability = np.empty(q.shape[1])
    for i in range(obs.shape[0]):
        s, a, next_q = obs[i], action[i], q[next_obs[i]]
        if rule == Q_LEARNING:
            target = q_learning_target(reward[i], next_q, terminated[i], gamma)
        elif rule == SARSA:
            target = sarsa_target(reward[i], next_q, next_action[i], terminated[i], gamma)
        else:
            epsilon_greedy(next_q, epsilon, probability)
            target = expected_sarsa_target(reward[i], next_q, probability, terminated[i], gamma)
        size = step_size
        if step_power != 0.0:
            size *= (1.0 + visits[s, a]) ** -step_power
        visits[s, a] += 1
        q[s, a] += size * (target - q[s, a])


def train_on_table(
    batch: Batch,
    q: np.ndarray,
    visits: np.ndarray,
    action: np.ndarray,
    *,
    steps: int,
    first_step: int,
    key: int,
    rule: int,
    gamma: float,
    epsilon: float,
    step_size: float,
    step_power: float,
) -> None:
    """Play and learn for many steps of a table environment in one compiled call.

    The result is that of the same steps one by one, bit for bit, and ``batch.episodes`` counts the episodes as ever:

        for step in range(first_step, first_step + steps):
            obs = batch.obs.copy()
            batch.step(action)
            if rule == SARSA:
                choose(q, batch.next_obs, epsilon, key, 2 * step, next_action)
            td_update(q, visits, obs, action, batch.reward, batch.next_obs, next_action, batch.terminated, rule, ...)
            choose(q, batch.obs, epsilon, key, 2 * step + 1, action)
            if rule == SARSA:
                action[~batch.ended] = next_action[~batch.ended]

    What must be saved to go on: ``batch.state_dict()``, ``q``, ``visits``, ``action`` and the number of steps.

    Args:
        batch: B copies of a table environment (``is_table(batch.kernel)``); advanced in place.
        q: Action values, ``[S, A]`` float64; changed in place.
        visits: How often each was updated, ``[S, A]`` int64; changed in place.
        action: What to do next, ``[B]`` int64; changed in place. The first ones are
            ``choose(q, batch.obs, epsilon, key, -1, action)``.
        steps: How many steps of every copy.
        first_step: How many were taken before.
        key: See ``choose``.
        rule: See ``td_update``, as for ``gamma``, ``step_size`` and ``step_power``.
        gamma: Discount factor.
        epsilon: Probability of a random action.
        step_size: Step size of the first update of a value.
        step_power: How fast step sizes fall.

    Raises:
        ConfigError: If the environment is not a table, or an array has the wrong shape or type (message names it).
    """
    if not is_table(batch.kernel):
        raise ConfigError("train_on_table: the environment is not a table; take its steps one by one with td_update")
    spaces = (int(batch.observation_space.n), int(batch.action_space.n))  # type: ignore[attr-defined]
    wanted = {"q": (q, spaces, np.float64), "visits": (visits, spaces, np.int64)}
    for name, (array, shape, dtype) in (wanted | {"action": (action, (batch.num_envs,), np.int64)}).items():
        if array.shape != shape or array.dtype != dtype:
            needed = f"{list(shape)} {np.dtype(dtype)}"
            raise ConfigError(f"train_on_table: {name} is {list(array.shape)} {array.dtype}; it must be {needed}")
    ended_rows = _train_on_table(
        batch.kernel.params, batch.kernel.max_steps, batch.seed, batch.key, batch.clock, batch.episode, batch.state,
        batch.obs, batch.next_obs, batch.reward, batch.terminated, batch.truncated, batch.ended, batch.outcomes,
        batch.episodes.open, q, visits, action, steps, first_step, np.uint64(key), rule, float(gamma), float(epsilon),
        float(step_size), float(step_power),
    )  # fmt: skip
    batch.episodes.add(ended_rows)


@loop(table_step, account, choose, td_update, table_reset, next_episodes)
@njit(cache=True, error_model="numpy")
def _train_on_table(  # type: ignore[no-untyped-def]
    table, max_steps, seed, key, clock, episode, state,
    obs, next_obs, reward, terminated, truncated, ended, outcomes,
    open_sums, q, visits, action, steps, first_step, stream, rule, gamma, epsilon,
    step_size, step_power,
):  # fmt: skip
    next_action = np.zeros_like(action)
    ended_rows, count = np.empty((256, open_sums.shape[1])), 0
    for step in range(first_step, first_step + steps):
        table_step(key, clock, action, table, state, next_obs, reward, terminated, outcomes)
        any_ended = account(clock, max_steps, reward, outcomes, outcomes, terminated, truncated, ended, open_sums)
        if rule == SARSA:
            choose(q, next_obs, epsilon, stream, 2 * step, next_action)
        td_update(
            q,
            visits,
            obs,
            action,
            reward,
            next_obs,
            next_action,
            terminated,
            rule,
            gamma,
            epsilon,
            step_size,
            step_power,
        )
        obs[:] = next_obs
        if any_ended:
            ended_rows, count = next_episodes(ended, seed, clock, episode, key, open_sums, ended_rows, count)
            table_reset(ended, key, table, state, obs)
        choose(q, obs, epsilon, stream, 2 * step + 1, action)
        if rule == SARSA:
            for i in range(ended.shape[0]):
                if not ended[i]:
                    action[i] = next_action[i]
    return ended_rows[:count].copy()
