"""A whole update of SAC with continuous actions in one compiled call: targets, critics, policy, temperature, slow copies.

Restates, for perceptrons on vectors, what ``algos/sac.py`` does with torch. Samples go through in blocks, and only the gradients
that are needed are computed: of the critics' parameters for their own step, of their inputs for the policy's.

Axes: M transitions, m samples of a block, D numbers of an observation, A action dimensions, P parameters.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from cumulant.kernels.perceptron import BLOCK, F32, ONE, ZERO, adam, backward, forward, propagate
from cumulant.kernels.twins import loop, twin

LOWEST, HIGHEST = F32(-20.0), F32(2.0)  # logarithm of a deviation
_HALF_LOG_2PI, _LOG_2 = 0.5 * math.log(2.0 * math.pi), math.log(2.0)
CRITIC, POLICY, ENTROPY, VALUE = range(4)  # what an update measures


@loop()
@njit(cache=True, error_model="numpy")
def fill(rows, first, m, at, block):  # type: ignore[no-untyped-def]
    """Write m rows of ``[M, K]`` to K rows of a block from ``at`` on, sample by sample in columns."""
    for k in range(rows.shape[1]):
        for i in range(m):
            block[at + k, i] = rows[first + i, k]


@twin("cumulant.maths.soft.squashed_gaussian_logp")
@njit(cache=True, error_model="numpy")
def squash(head, noise, first, m, action, at, logp):  # type: ignore[no-untyped-def]
    """Write squashed actions and their log-densities, ``[m]``.

    Args:
        head: Means and logarithms of deviations, ``[2 A, BLOCK]``.
        noise: Standard normal, ``[M, A]``.
        first: Which rows of it.
        m: How many.
        action: Where the actions are written, in A rows from ``at`` on.
        at: See above.
        logp: ``[BLOCK]``.
    """
    num_actions = head.shape[0] // 2
    for i in range(m):
        logp[i] = ZERO
    for a in range(num_actions):
        for i in range(m):
            log_std = min(max(head[num_actions + a, i], LOWEST), HIGHEST)
            drawn = noise[first + i, a]
            raw = float(head[a, i] + F32(math.exp(log_std)) * drawn)
            action[at + a, i] = math.tanh(raw)
            tail = math.log1p(math.exp(-2.0 * abs(raw)))  # softplus(-2 raw), less its linear part
            log_slope = 2.0 * (_LOG_2 - raw - (tail + max(-2.0 * raw, 0.0)))
            logp[i] -= 0.5 * drawn * drawn + log_std + _HALF_LOG_2PI + log_slope


@twin("cumulant.maths.soft.sac_policy_loss")
@njit(cache=True, error_model="numpy")
def slopes(head, noise, first, m, action, worth, at, temperature, share, delta):  # type: ignore[no-untyped-def]
    """Write the gradient of ``share`` times the policy's losses by the outputs of its network.

    Args:
        head: See ``squash``, as for ``noise``, ``first``, ``m``, ``action`` and ``at``.
        noise: See above.
        first: See above.
        m: See above.
        action: See above.
        worth: The gradient of the actions' values, times ``share``, in the rows of ``action``.
        at: See above.
        temperature: Price of a nat.
        share: See above.
        delta: ``[2 A, BLOCK]``.
    """
    num_actions = head.shape[0] // 2
    price = F32(temperature) * F32(share)
    for a in range(num_actions):
        for i in range(m):
            squashed, log_std = action[at + a, i], head[num_actions + a, i]
            by_raw = F32(2.0) * price * squashed - worth[at + a, i] * (ONE - squashed * squashed)
            delta[a, i] = by_raw
            inside = LOWEST <= log_std <= HIGHEST
            delta[num_actions + a, i] = (
                by_raw * F32(math.exp(log_std)) * noise[first + i, a] - price if inside else ZERO
            )


@loop(fill, forward, squash)
@njit(cache=True, error_model="numpy")
def targets(  # type: ignore[no-untyped-def]
    actor, slow, starts, actor_sizes, critic_sizes, kind, temperature,
    reward, next_obs, terminated, discount, noise, actor_block, block, logp, target,
):  # fmt: skip
    """Write what both critics should say of the actions taken, ``[M]``.

    Args:
        actor: Parameters of the policy, ``[P]``.
        slow: Those of the slower copies of the critics.
        starts: Where each critic begins, ``[2]``.
        actor_sizes: See ``perceptron.forward``.
        critic_sizes: See above.
        kind: See above.
        temperature: Price of a nat.
        reward: ``[M]``.
        next_obs: As networks read them, ``[M, D]``.
        terminated: ``[M]``.
        discount: ``[M]``.
        noise: Of the next actions, ``[M, A]``.
        actor_block: See ``forward``.
        block: The same, of a critic.
        logp: ``[BLOCK]``.
        target: See above.
    """
    num_obs, num_out = actor_sizes[0], actor_sizes[-1]
    head, value = actor_block[actor_block.shape[0] - num_out :], block[block.shape[0] - 1]
    for first in range(0, target.shape[0], BLOCK):
        m = min(BLOCK, target.shape[0] - first)
        fill(next_obs, first, m, 0, actor_block)
        forward(actor, 0, actor_sizes, kind, m, actor_block)
        fill(next_obs, first, m, 0, block)
        squash(head, noise, first, m, block, num_obs, logp)
        forward(slow, starts[0], critic_sizes, kind, m, block)
        for i in range(m):
            target[first + i] = value[i]
        forward(slow, starts[1], critic_sizes, kind, m, block)
        for i in range(m):
            n = first + i
            soft = min(target[n], value[i]) - F32(temperature) * logp[i]
            target[n] = reward[n] if terminated[n] else reward[n] + discount[n] * soft


@loop(fill, forward, backward)
@njit(cache=True, error_model="numpy")
def critic_gradient(  # type: ignore[no-untyped-def]
    critics, starts, sizes, kind, obs, action, target, weight, block, delta, grad, error, measured
):
    """Write the gradient of both critics' mean losses, and measure the sum of these and the mean value.

    Args:
        critics: Parameters, ``[P]``.
        starts: See ``targets``, as for ``sizes``, ``kind`` and ``target``.
        sizes: See above.
        kind: See above.
        obs: ``[M, D]``.
        action: ``[M, A]``.
        target: See above.
        weight: Of each loss, ``[M]``; ``[0]`` for 1.
        block: See ``forward``.
        delta: See ``backward``.
        grad: ``[P]``, overwritten.
        error: How wrong each value was, the mean over the critics, ``[M]``.
        measured: ``[4]`` float64.
    """
    count, slope, value = target.shape[0], delta[delta.shape[0] - 1], block[block.shape[0] - 1]
    share, total, mean = F32(1.0 / count), 0.0, 0.0
    grad[:] = ZERO
    error[:] = ZERO
    for first in range(0, count, BLOCK):
        m = min(BLOCK, count - first)
        fill(obs, first, m, 0, block)
        fill(action, first, m, obs.shape[1], block)
        for start in starts:
            forward(critics, start, sizes, kind, m, block)
            for i in range(m):
                n = first + i
                wrong, counts = value[i] - target[n], weight[n] if weight.shape[0] else ONE
                total += 0.5 * wrong * wrong * counts
                mean += value[i]
                error[n] += F32(0.5) * abs(wrong)
                slope[i] = wrong * counts * share
            backward(critics, start, sizes, kind, m, block, delta, grad)
    measured[CRITIC], measured[VALUE] = total / count, mean / (2 * count)


@loop(fill, forward, squash, propagate, slopes, backward)
@njit(cache=True, error_model="numpy")
def policy_gradient(  # type: ignore[no-untyped-def]
    actor, critics, starts, actor_sizes, critic_sizes, kind, temperature, obs, noise,
    actor_block, actor_delta, blocks, delta, worth, logp, grad, measured,
):  # fmt: skip
    """Write the gradient of the policy's mean loss, and measure that and the mean entropy.

    Args:
        actor: See ``targets``, as for ``starts``, ``actor_sizes``, ``critic_sizes``, ``kind`` and ``temperature``.
        critics: See ``critic_gradient``, as for ``obs``.
        starts: See above.
        actor_sizes: See above.
        critic_sizes: See above.
        kind: See above.
        temperature: See above.
        obs: See above.
        noise: Of the actions, ``[M, A]``.
        actor_block: See ``forward``.
        actor_delta: See ``backward``.
        blocks: Two of a critic.
        delta: See ``backward``.
        worth: Room for the gradient of a critic's inputs, ``[D + A, BLOCK]``.
        logp: ``[BLOCK]``.
        grad: ``[P]``, overwritten.
        measured: See ``critic_gradient``.
    """
    count, num_obs, num_out = obs.shape[0], actor_sizes[0], actor_sizes[-1]
    head, head_delta = actor_block[actor_block.shape[0] - num_out :], actor_delta[actor_delta.shape[0] - num_out :]
    slope, last = delta[delta.shape[0] - 1], blocks.shape[1] - 1
    share, loss, entropy = F32(1.0 / count), 0.0, 0.0
    grad[:] = ZERO
    for first in range(0, count, BLOCK):
        m = min(BLOCK, count - first)
        fill(obs, first, m, 0, actor_block)
        forward(actor, 0, actor_sizes, kind, m, actor_block)
        fill(obs, first, m, 0, blocks[0])
        squash(head, noise, first, m, blocks[0], num_obs, logp)
        for k in range(critic_sizes[0]):
            for i in range(m):
                blocks[1, k, i] = blocks[0, k, i]
                worth[k, i] = ZERO
        for c in range(2):
            forward(critics, starts[c], critic_sizes, kind, m, blocks[c])
        for i in range(m):
            loss += F32(temperature) * logp[i] - min(blocks[0, last, i], blocks[1, last, i])
            entropy -= logp[i]
        for c in range(2):
            for i in range(m):
                smaller = blocks[c, last, i] < blocks[1 - c, last, i]
                slope[i] = share if smaller or (c == 0 and blocks[0, last, i] == blocks[1, last, i]) else ZERO
            propagate(critics, starts[c], critic_sizes, kind, m, blocks[c], delta, False, grad, True)
            for k in range(num_obs, critic_sizes[0]):
                for i in range(m):
                    worth[k, i] += delta[k, i]
        slopes(head, noise, first, m, blocks[0], worth, num_obs, temperature, share, head_delta)
        backward(actor, 0, actor_sizes, kind, m, actor_block, actor_delta, grad)
    measured[POLICY], measured[ENTROPY] = loss / count, entropy / count


@loop(targets, critic_gradient, policy_gradient, adam)
@njit(cache=True, error_model="numpy")
def update(  # type: ignore[no-untyped-def]
    actor, actor_mean, actor_square, critics, critics_mean, critics_square, slow, log_price, price_mean, price_square,
    steps, learning_rate, eps, polyak, learn_price, entropy_wanted, starts, actor_sizes, critic_sizes, kind,
    obs, action, reward, next_obs, terminated, discount, weight, next_noise, noise,
    actor_block, actor_delta, blocks, delta, worth, logp, target, actor_grad, critics_grad, error, measured,
):  # fmt: skip
    """Take one update, number ``steps`` from 1.

    Args are those of the functions above and of ``adam``, and ``log_price``, the logarithm of the temperature, ``[1]``,
    ``learn_price``, whether it is learned so that the entropy becomes ``entropy_wanted``, and ``polyak``, how far the slower
    copies move.
    """
    price = math.exp(log_price[0])
    targets(
        actor, slow, starts, actor_sizes, critic_sizes, kind, price, reward, next_obs, terminated, discount, next_noise,
        actor_block, blocks[0], logp, target,
    )  # fmt: skip
    critic_gradient(
        critics,
        starts,
        critic_sizes,
        kind,
        obs,
        action,
        target,
        weight,
        blocks[0],
        delta,
        critics_grad,
        error,
        measured,
    )
    adam(critics, critics_grad, critics_mean, critics_square, steps, learning_rate, eps)
    policy_gradient(
        actor, critics, starts, actor_sizes, critic_sizes, kind, price, obs, noise,
        actor_block, actor_delta, blocks, delta, worth, logp, actor_grad, measured,
    )  # fmt: skip
    adam(actor, actor_grad, actor_mean, actor_square, steps, learning_rate, eps)
    if learn_price:
        slope = np.full(1, measured[ENTROPY] - entropy_wanted, np.float32)
        adam(log_price, slope, price_mean, price_square, steps, learning_rate, eps)
    share = F32(polyak)
    for p in range(slow.shape[0]):
        slow[p] += share * (critics[p] - slow[p])
