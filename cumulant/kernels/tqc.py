"""A whole update of TQC in one compiled call: targets, critics, policy, temperature, slow copies.

Restates, for perceptrons on vectors, what ``algos/tqc.py`` does with torch; see ``kernels/sac.py``.

Axes: M transitions, m samples of a block, D numbers of an observation, A action dimensions, P parameters, N critics, K quantiles,
J samples of a target: what is kept of N K.
"""

from __future__ import annotations

import math

from numba import njit

from cumulant.kernels.critics import CRITIC, ENTROPY, POLICY, VALUE, add_worth, fill, follow
from cumulant.kernels.perceptron import BLOCK, F32, ZERO, adam, backward, forward
from cumulant.kernels.quantiles import mix, quantile_huber_loss
from cumulant.kernels.soft import policy_loss, propose, reprice, sac_target, slopes
from cumulant.kernels.twins import loop


@loop(propose, forward, mix, sac_target)
@njit(cache=True, error_model="numpy")
def targets(  # type: ignore[no-untyped-def]
    actor, slow, starts, actor_sizes, critic_sizes, kind, temperature, kept,
    reward, next_obs, terminated, discount, noise, first, m, actor_block, block, logp, mixture,
):  # fmt: skip
    """Write what the returns of m actions taken should be, samples of the distribution, to the first rows of ``mixture``.

    Args:
        actor: Parameters of the policy, ``[P]``.
        slow: Those of the slower copies of the critics.
        starts: Where each critic begins, ``[N]``.
        actor_sizes: See ``perceptron.forward``.
        critic_sizes: See above.
        kind: See above.
        temperature: Price of a nat.
        kept: J.
        reward: ``[M]``.
        next_obs: As networks read them, ``[M, D]``.
        terminated: ``[M]``.
        discount: ``[M]``.
        noise: Of the next actions, ``[M, A]``.
        first: Which of them.
        m: How many, at most ``BLOCK``.
        actor_block: See ``forward``.
        block: The same, of a critic.
        logp: ``[BLOCK]``.
        mixture: ``[N K, BLOCK]``.
    """
    num_quantiles, price = critic_sizes[-1], F32(temperature)
    head = block[block.shape[0] - num_quantiles :]
    propose(actor, actor_sizes, kind, next_obs, noise, first, m, actor_block, block, logp)
    for c in range(starts.shape[0]):
        forward(slow, starts[c], critic_sizes, kind, m, block)
        for k in range(num_quantiles):
            for i in range(m):
                mixture[c * num_quantiles + k, i] = head[k, i]
    mix(mixture, m)
    for j in range(kept):
        for i in range(m):
            n = first + i
            mixture[j, i] = sac_target(reward[n], mixture[j, i], logp[i], terminated[n], discount[n], price)


@loop(targets, fill, forward, quantile_huber_loss, backward)
@njit(cache=True, error_model="numpy")
def critic_gradient(  # type: ignore[no-untyped-def]
    actor, critics, slow, starts, actor_sizes, critic_sizes, kind, temperature, kept,
    obs, action, reward, next_obs, terminated, discount, weight, noise,
    actor_block, block, delta, logp, value, scale, mixture, grad, error, measured,
):  # fmt: skip
    """Write the gradient of all critics' mean losses, and measure the sum of these and the mean of all quantiles.

    Args:
        actor: See ``targets``, as for all that is not below.
        critics: Parameters of the critics, ``[P]``.
        slow: See above.
        starts: See above.
        actor_sizes: See above.
        critic_sizes: See above.
        kind: See above.
        temperature: See above.
        kept: See above.
        obs: ``[M, D]``.
        action: ``[M, A]``.
        reward: See above.
        next_obs: See above.
        terminated: See above.
        discount: See above.
        weight: Of each loss, ``[M]``; ``[0]`` for 1.
        noise: See above.
        actor_block: See above.
        block: See above.
        delta: See ``backward``.
        logp: See above.
        value: Room, ``[BLOCK]``.
        scale: The same.
        mixture: See above.
        grad: ``[P]``, overwritten.
        error: How wrong the mean of the quantiles was, ``[M]``.
        measured: ``[4]`` float64.
    """
    count, num_critics, num_quantiles = obs.shape[0], starts.shape[0], critic_sizes[-1]
    head, slope = block[block.shape[0] - num_quantiles :], delta[delta.shape[0] - num_quantiles :]
    share, part = F32(1.0 / (count * num_quantiles)), F32(1.0 / (num_critics * num_quantiles))
    each, total, mean = F32(1.0 / kept), 0.0, 0.0
    grad[:] = ZERO
    error[:] = ZERO
    for first in range(0, count, BLOCK):
        m = min(BLOCK, count - first)
        targets(
            actor, slow, starts, actor_sizes, critic_sizes, kind, temperature, kept, reward, next_obs, terminated, discount,
            noise, first, m, actor_block, block, logp, mixture,
        )  # fmt: skip
        wanted, loss = error[first : first + m], logp
        for j in range(kept):
            for i in range(m):
                wanted[i] += each * mixture[j, i]
        value[:] = ZERO
        for i in range(m):
            scale[i] = share * weight[first + i] if weight.shape[0] else share
        fill(obs, first, m, 0, block)
        fill(action, first, m, obs.shape[1], block)
        for start in starts:
            forward(critics, start, critic_sizes, kind, m, block)
            quantile_huber_loss(head, mixture[:kept], m, loss, slope)
            for k in range(num_quantiles):
                for i in range(m):
                    value[i] += part * head[k, i]
                    slope[k, i] *= scale[i]
            for i in range(m):
                total += loss[i] * scale[i]
            backward(critics, start, critic_sizes, kind, m, block, delta, grad)
        for i in range(m):
            mean += value[i]
            wanted[i] = abs(value[i] - wanted[i])
    measured[CRITIC], measured[VALUE] = total, mean / count


@loop(propose, forward, policy_loss, add_worth, slopes, backward)
@njit(cache=True, error_model="numpy")
def policy_gradient(  # type: ignore[no-untyped-def]
    actor, critics, starts, actor_sizes, critic_sizes, kind, temperature, obs, noise,
    actor_block, actor_delta, block, delta, worth, logp, value, grad, measured,
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
        block: See ``forward``.
        delta: See ``backward``.
        worth: Room for the gradient of a critic's inputs, ``[D + A, BLOCK]``.
        logp: See ``targets``.
        value: Room, ``[BLOCK]``.
        grad: ``[P]``, overwritten.
        measured: See ``critic_gradient``.
    """
    count, num_obs, num_out, num_quantiles = obs.shape[0], actor_sizes[0], actor_sizes[-1], critic_sizes[-1]
    head, head_delta = actor_block[actor_block.shape[0] - num_out :], actor_delta[actor_delta.shape[0] - num_out :]
    quantiles, slope = block[block.shape[0] - num_quantiles :], delta[delta.shape[0] - num_quantiles :]
    part, share, loss, entropy = F32(1.0 / (starts.shape[0] * num_quantiles)), F32(1.0 / count), 0.0, 0.0
    grad[:] = ZERO
    for first in range(0, count, BLOCK):
        m = min(BLOCK, count - first)
        propose(actor, actor_sizes, kind, obs, noise, first, m, actor_block, block, logp)
        worth[:] = ZERO
        value[:] = ZERO
        for start in starts:
            forward(critics, start, critic_sizes, kind, m, block)
            for k in range(num_quantiles):
                for i in range(m):
                    value[i] += part * quantiles[k, i]
                    slope[k, i] = part * share
            add_worth(critics, start, critic_sizes, kind, m, block, delta, grad, worth, num_obs)
        for i in range(m):
            loss += policy_loss(value[i], logp[i], F32(temperature))
            entropy -= logp[i]
        slopes(head, noise, first, m, block, worth, num_obs, temperature, share, head_delta)
        backward(actor, 0, actor_sizes, kind, m, actor_block, actor_delta, grad)
    measured[POLICY], measured[ENTROPY] = loss / count, entropy / count


@loop(critic_gradient, policy_gradient, reprice, follow, adam)
@njit(cache=True, error_model="numpy")
def update(  # type: ignore[no-untyped-def]
    actor, actor_mean, actor_square, critics, critics_mean, critics_square, slow, log_price, price_mean, price_square,
    steps, learning_rate, eps, polyak, learn_price, entropy_wanted, kept, starts, actor_sizes, critic_sizes, kind,
    obs, action, reward, next_obs, terminated, discount, weight, next_noise, noise,
    actor_block, actor_delta, block, delta, worth, logp, value, scale, mixture, actor_grad, critics_grad, error, measured,
):  # fmt: skip
    """Take one update, number ``steps`` from 1.

    Args are those of the functions above and of ``sac.update``.
    """
    price = math.exp(log_price[0])
    critic_gradient(
        actor, critics, slow, starts, actor_sizes, critic_sizes, kind, price, kept,
        obs, action, reward, next_obs, terminated, discount, weight, next_noise,
        actor_block, block, delta, logp, value, scale, mixture, critics_grad, error, measured,
    )  # fmt: skip
    adam(critics, critics_grad, critics_mean, critics_square, steps, learning_rate, eps)
    policy_gradient(
        actor, critics, starts, actor_sizes, critic_sizes, kind, price, obs, noise,
        actor_block, actor_delta, block, delta, worth, logp, value, actor_grad, measured,
    )  # fmt: skip
    adam(actor, actor_grad, actor_mean, actor_square, steps, learning_rate, eps)
    if learn_price:
        reprice(log_price, price_mean, price_square, steps, learning_rate, eps, measured[ENTROPY], entropy_wanted)
    follow(slow, critics, polyak)
