"""A whole rollout of a native environment in one compiled call: what the policy reads, its actions, the steps, the restarts.

The result is that of the same steps one by one through ``Batch.step``, bit for bit.

Axes: T time, B parallel environments, D encoded observation, A actions, K outcome columns, L reward terms.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit

from cumulant.envs.accounting import account, next_episodes, weigh
from cumulant.kernels.elementary import F32
from cumulant.kernels.ppo import act
from cumulant.kernels.twins import loop, twin


class Native(NamedTuple):
    """The functions and arrays of a ``Batch``, and how its observations and actions meet a network."""

    reset: Any
    step: Any
    params: Any
    state: Any
    key: Any
    clock: Any
    episode: Any
    obs: Any
    next_obs: Any
    flat_obs: Any
    """The memory of ``obs`` as vectors, ``[B, D]``."""
    flat_next_obs: Any
    reward: Any
    terminated: Any
    truncated: Any
    ended: Any
    outcomes: Any
    terms: Any
    weights: Any
    """Of the reward terms, ``[L]``."""
    columns: Any
    """Outcome columns whose product each term is, ``[L, ...]``, filled up with -1."""
    order: Any
    """Which number of an observation each column of its encoding is, ``[D]``."""


class Policy(NamedTuple):
    """What ``act`` is given of a network."""

    start: Any
    sizes: Any
    kind: Any
    continuous: Any
    log_std: Any
    key: Any
    block: Any
    mean: Any
    """Of the running normalisation, ``[D]``; ``[0]`` for none."""
    scale: Any
    clip: Any


class Steps(NamedTuple):
    """Where a rollout is written; see ``engine.compiled.Compiled``."""

    flat: Any
    final: Any
    allowed: Any
    choice: Any
    numbers: Any
    logp: Any
    reward: Any
    terminated: Any
    ended: Any


@twin("cumulant.nn.normalisation.RunningNorm")
@njit(cache=True, error_model="numpy")
def normalise(flat, mean, scale, clip, seen):  # type: ignore[no-untyped-def]
    """Write encoded observations as the policy reads them, ``[B, D] -> [B, D]``, or without the columns of a mask."""
    for i in range(seen.shape[0]):
        for k in range(seen.shape[1]):
            x = flat[i, k]
            if mean.shape[0] > 0:
                x = (x - mean[k]) * scale[k]
                x = -clip if x < -clip else x
                x = clip if x > clip else x
            seen[i, k] = x


@twin("cumulant.nn.heads.Gaussian")
@njit(cache=True, error_model="numpy")
def to_env(numbers, scaling, action):  # type: ignore[no-untyped-def]
    """Write a Gaussian policy's actions in the units of the environment, within their bounds, ``[B, A] -> [B, A]``."""
    for i in range(numbers.shape[0]):
        for a in range(numbers.shape[1]):
            x = scaling[0, a] + scaling[1, a] * numbers[i, a]
            x = scaling[2, a] if x < scaling[2, a] else x
            action[i, a] = scaling[3, a] if x > scaling[3, a] else x


@loop()
@njit(cache=True, error_model="numpy")
def encode(obs, order, num_allowed, flat, allowed):  # type: ignore[no-untyped-def]
    """Write observations with their columns in another order, ``[B, D]``, and which choices the last ones allow, ``[B, A]``."""
    for i in range(obs.shape[0]):
        for k in range(order.shape[0]):
            flat[i, k] = obs[i, order[k]]
        for a in range(num_allowed):
            allowed[i, a] = flat[i, order.shape[0] - num_allowed + a] > F32(0.5)


@loop()
@njit(cache=True, error_model="numpy")
def take_choices(  # type: ignore[no-untyped-def]
    step, key, clock, choice, numbers, scaling, action, params, state, obs, reward, terminated, outcomes
):
    """Step the environments with the choices of a categorical policy."""
    step(key, clock, choice, params, state, obs, reward, terminated, outcomes)


@loop(to_env)
@njit(cache=True, error_model="numpy")
def take_numbers(  # type: ignore[no-untyped-def]
    step, key, clock, choice, numbers, scaling, action, params, state, obs, reward, terminated, outcomes
):
    """Step the environments with the numbers of a Gaussian policy."""
    to_env(numbers, scaling, action)
    step(key, clock, action, params, state, obs, reward, terminated, outcomes)


@loop(encode, normalise, act, weigh, account, next_episodes)
@njit(cache=True, error_model="numpy")
def rollout(native, take, scaling, max_steps, seed, open_sums, vector, policy, first_step, steps):  # type: ignore[no-untyped-def]
    """Act for T steps and remember them.

    Args:
        native: Environments; advanced in place.
        take: How its actions are taken: ``take_choices`` or ``take_numbers``.
        scaling: Middle, half width, lowest and highest of each action in the units of the environment, ``[4, A]`` float32.
        max_steps: Time limit; 0 for none.
        seed: Of the episodes.
        open_sums: Running sums of the open episodes, ``EpisodeLog.open``.
        vector: Parameters, ``[P]``.
        policy: The policy.
        first_step: Which numbers of the streams of ``policy.key`` the first step uses.
        steps: Where all is written.

    Returns:
        Whether every reward was a number (what follows one that is none is left out), and the episodes that ended,
        ``[E, 2 + K + L]``.
    """
    horizon, num_envs = steps.logp.shape
    num_allowed, width = steps.allowed.shape[2], native.order.shape[0]
    key, clock, episode, next_obs = native.key, native.clock, native.episode, native.next_obs
    flat_obs, flat_next_obs = native.flat_obs, native.flat_next_obs
    reward, terminated, truncated, ended = native.reward, native.terminated, native.truncated, native.ended
    seen = np.empty((num_envs, policy.sizes[0]), F32)
    action = np.empty((num_envs, steps.numbers.shape[2]), F32)
    ended_rows, count = np.empty((256, open_sums.shape[1])), 0
    for t in range(horizon):
        encode(flat_obs, native.order, num_allowed, steps.flat[t], steps.allowed[t])
        normalise(steps.flat[t], policy.mean, policy.scale, policy.clip, seen)
        act(
            vector, policy.start, policy.sizes, policy.kind, policy.log_std, seen, steps.allowed[t], policy.continuous,
            policy.key, first_step + t, policy.block, steps.choice[t], steps.numbers[t], steps.logp[t],
        )  # fmt: skip
        take(
            native.step, key, clock, steps.choice[t], steps.numbers[t], scaling, action, native.params, native.state,
            next_obs, reward, terminated, native.outcomes,
        )  # fmt: skip
        if not weigh(native.outcomes, native.weights, native.columns, native.terms):
            return False, ended_rows[:count].copy()
        any_ended = account(
            clock, max_steps, reward, native.outcomes, native.terms, terminated, truncated, ended, open_sums
        )
        for i in range(num_envs):
            steps.reward[t, i], steps.terminated[t, i], steps.ended[t, i] = reward[i], terminated[i], ended[i]
            for k in range(width):
                flat_obs[i, k] = flat_next_obs[i, k]
        if any_ended:
            ended_rows, count = next_episodes(ended, seed, clock, episode, key, open_sums, ended_rows, count)
            for i in range(num_envs):
                if truncated[i]:
                    for k in range(width):
                        steps.final[t, i, k] = flat_next_obs[i, native.order[k]]
            native.reset(ended, key, native.params, native.state, native.obs)
    encode(flat_obs, native.order, num_allowed, steps.flat[horizon], steps.allowed[horizon])
    return True, ended_rows[:count].copy()
