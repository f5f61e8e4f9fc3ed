"""What follows every step of a batch, compiled: reward terms, clocks, flags, sums over episodes.

Axes: B parallel environments, K outcome columns, L reward terms.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from cumulant.envs.counter_rng import episode_keys


@njit(cache=True)
def weigh(outcomes, weights, columns, terms):  # type: ignore[no-untyped-def]
    """Write the weighted terms of a reward of products (``Reward.products``); return whether all are numbers.

    Args:
        outcomes: ``[B, K]``.
        weights: ``[L]``.
        columns: Which outcomes are multiplied, ``[L, most]`` int64, filled up with -1.
        terms: Where they are written, ``[B, L]``.
    """
    finite = True
    for i in range(outcomes.shape[0]):
        for k in range(weights.shape[0]):
            product = outcomes[i, columns[k, 0]]
            for c in range(1, columns.shape[1]):
                if columns[k, c] >= 0:
                    product = product * outcomes[i, columns[k, c]]
            terms[i, k] = weights[k] * product
            finite &= np.isfinite(terms[i, k])
    return finite


# In one compiled call, because with few environments the price of a step is the number of numpy calls.
@njit(cache=True)
def account(  # type: ignore[no-untyped-def]
    clock, max_steps, reward, outcomes, terms, terminated, truncated, ended, open_sums
):
    """Sum the reward's terms, advance the clocks, set the flags, add the step to the open episodes; return whether any ended."""
    num_outcomes, num_terms, any_ended = outcomes.shape[1], terms.shape[1], False
    for i in range(clock.shape[0]):
        clock[i] += 1
        truncated[i] = max_steps > 0 and clock[i] >= max_steps and not terminated[i]
        ended[i] = terminated[i] or truncated[i]
        any_ended |= ended[i]
        if num_terms > 0:
            total = 0.0
            for k in range(num_terms):
                total += terms[i, k]
            reward[i] = total
        open_sums[i, 0] += reward[i]
        open_sums[i, 1] += 1.0
        for k in range(num_outcomes):
            open_sums[i, 2 + k] += outcomes[i, k]
        for k in range(num_terms):
            open_sums[i, 2 + num_outcomes + k] += terms[i, k]
    return any_ended


@njit(cache=True, error_model="numpy")
def next_episodes(  # type: ignore[no-untyped-def]
    ended, seed, clock, episode, key, open_sums, ended_rows, count
):
    """Note the sums of episodes that ended, count and key the next ones; return ``ended_rows``, which may grow, and ``count``.

    Args:
        ended: ``[B]`` bool.
        seed: Of the batch.
        clock: Steps of the open episodes, ``[B]``; set to 0.
        episode: Their numbers, ``[B]``; advanced.
        key: Of their random numbers, ``[B]``.
        open_sums: ``[B, 2 + K + L]``; set to 0.
        ended_rows: Where sums of ended episodes are noted, ``[room, 2 + K + L]``.
        count: How many are there.
    """
    for i in range(ended.shape[0]):
        if ended[i]:
            if count == ended_rows.shape[0]:
                ended_rows = np.concatenate((ended_rows, np.empty_like(ended_rows)))
            ended_rows[count] = open_sums[i]
            count += 1
            open_sums[i] = 0.0
            clock[i] = 0
            episode[i] += 1
            episode_keys(seed, i, episode[i : i + 1], key[i : i + 1])
    return ended_rows, count
