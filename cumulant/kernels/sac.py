"""A whole update of SAC with continuous actions in one compiled call: targets, critics, policy, temperature, slow copies.

Restates, for perceptrons on vectors, what ``algos/sac.py`` does with torch. Samples go through in blocks, and only the gradients
that are needed are computed: of the critics' parameters for their own step, of their inputs for the policy's.

Axes: M transitions, D numbers of an observation, A action dimensions, P parameters.
"""

from __future__ import annotations

import math

from numba import njit

from cumulant.kernels.critics import ENTROPY, POLICY, add_worth, follow, smallest, value_gradient
from cumulant.kernels.perceptron import BLOCK, F32, ZERO, adam, backward, forward
from cumulant.kernels.soft import policy_loss, propose, reprice, sac_target, slopes
from cumulant.kernels.twins import loop


@loop(propose, smallest, sac_target)
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
    price = F32(temperature)
    for first in range(0, target.shape[0], BLOCK):
        m = min(BLOCK, target.shape[0] - first)
        propose(actor, actor_sizes, kind, next_obs, noise, first, m, actor_block, block, logp)
        smallest(slow, starts, critic_sizes, kind, first, m, block, target)
        for i in range(m):
            n = first + i
            target[n] = sac_target(reward[n], target[n], logp[i], terminated[n], discount[n], price)


@loop(propose, forward, policy_loss, add_worth, slopes, backward)
@njit(cache=True, error_model="numpy")
def policy_gradient(  # type: ignore[no-untyped-def]
    actor, critics, starts, actor_sizes, critic_sizes, kind, temperature, obs, noise,
    actor_block, actor_delta, blocks, delta, worth, logp, grad, measured,
):  # fmt: skip
    """Write the gradient of the policy's mean loss, and measure that and the mean entropy.

    Args:
        actor: See ``targets``, as for ``starts``, ``actor_sizes``, ``critic_sizes``, ``kind`` and ``temperature``.
        critics: See ``value_gradient``, as for ``obs``.
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
        measured: See ``value_gradient``.
    """
    count, num_obs, num_out = obs.shape[0], actor_sizes[0], actor_sizes[-1]
    head, head_delta = actor_block[actor_block.shape[0] - num_out :], actor_delta[actor_delta.shape[0] - num_out :]
    slope, last = delta[delta.shape[0] - 1], blocks.shape[1] - 1
    share, loss, entropy = F32(1.0 / count), 0.0, 0.0
    grad[:] = ZERO
    for first in range(0, count, BLOCK):
        m = min(BLOCK, count - first)
        propose(actor, actor_sizes, kind, obs, noise, first, m, actor_block, blocks[0], logp)
        for k in range(critic_sizes[0]):
            for i in range(m):
                blocks[1, k, i] = blocks[0, k, i]
                worth[k, i] = ZERO
        for c in range(2):
            forward(critics, starts[c], critic_sizes, kind, m, blocks[c])
        for i in range(m):
            loss += policy_loss(min(blocks[0, last, i], blocks[1, last, i]), logp[i], F32(temperature))
            entropy -= logp[i]
        for c in range(2):
            for i in range(m):
                smaller = blocks[c, last, i] < blocks[1 - c, last, i]
                slope[i] = share if smaller or (c == 0 and blocks[0, last, i] == blocks[1, last, i]) else ZERO
            add_worth(critics, starts[c], critic_sizes, kind, m, blocks[c], delta, grad, worth, num_obs)
        slopes(head, noise, first, m, blocks[0], worth, num_obs, temperature, share, head_delta)
        backward(actor, 0, actor_sizes, kind, m, actor_block, actor_delta, grad)
    measured[POLICY], measured[ENTROPY] = loss / count, entropy / count


@loop(targets, value_gradient, policy_gradient, reprice, follow, adam)
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
    value_gradient(
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
        reprice(log_price, price_mean, price_square, steps, learning_rate, eps, measured[ENTROPY], entropy_wanted)
    follow(slow, critics, polyak)
