"""PPO in compiled calls: act, estimate a rollout, and all epochs of an update.

Restates, for perceptrons on vectors, what ``algos/ppo.py`` does with torch: every formula is registered as the twin of the one
there. Random numbers are those of ``envs.counter_rng``: nothing is remembered between calls, so that runs resume exactly.

Axes: T time, B parallel environments, N = T * B samples, M samples of a minibatch, D numbers of an observation, A actions
(choices of a categorical policy, dimensions of a Gaussian one).
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from cumulant.envs.counter_rng import mix, normal, uniform
from cumulant.kernels.elementary import F32
from cumulant.kernels.perceptron import ZERO, adam, clip_grad_norm, forward
from cumulant.kernels.policy_gradient import GRAD_NORM, HALF_LOG_2PI, KL, gradient, room_of
from cumulant.kernels.twins import loop, twin

_WEYL = np.uint64(0x9E3779B97F4A7C15)
_S11 = np.uint64(11)


@loop(forward, uniform, normal)
@njit(cache=True, error_model="numpy")
def act(  # type: ignore[no-untyped-def]
    vector, start, sizes, kind, log_std, obs, allowed, continuous, key, step, block, choice, numbers, logp
):
    """Draw the actions of one step, and say how likely they were.

    Args:
        vector: Parameters, ``[P]``.
        start: Of the policy's perceptron.
        sizes: Its sizes.
        kind: Its activation.
        log_std: Of a Gaussian policy, ``[A]``.
        obs: Observations as networks read them, ``[B, D]`` float32.
        allowed: Which choices are, ``[B, A]`` bool; ``[B, 0]`` for all.
        continuous: Whether the policy is Gaussian.
        key: Stream of random numbers of each environment, ``[B]`` uint64.
        step: Which numbers of the stream, never the same twice.
        block: See ``forward``.
        choice: Where the actions of a categorical policy are written, ``[B]`` int64.
        numbers: Those of a Gaussian one, ``[B, A]`` float32.
        logp: Where their log-probabilities are written, ``[B]``.
    """
    num_obs, num_out = sizes[0], sizes[-1]
    head = block[block.shape[0] - num_out :]
    for first in range(0, obs.shape[0], block.shape[1]):
        count = min(block.shape[1], obs.shape[0] - first)
        for i in range(count):
            for k in range(num_obs):
                block[k, i] = obs[first + i, k]
        forward(vector, start, sizes, kind, count, block)
        for i in range(count):
            b = first + i
            if continuous:
                density = 0.0
                for a in range(num_out):
                    noise = F32(normal(key[b], step, 2 * a))
                    numbers[b, a] = head[a, i] + F32(math.exp(log_std[a])) * noise
                    density -= 0.5 * noise * noise + log_std[a] + HALF_LOG_2PI
                logp[b] = density
            else:
                if allowed.shape[1]:
                    for a in range(num_out):
                        if not allowed[b, a]:
                            head[a, i] = -np.inf
                largest = head[0, i]
                for a in range(1, num_out):
                    largest = max(largest, head[a, i])
                total = ZERO
                for a in range(num_out):
                    total += F32(math.exp(head[a, i] - largest))
                left, chosen = F32(uniform(key[b], step, 0)) * total, 0
                for a in range(num_out):
                    weight = F32(math.exp(head[a, i] - largest))
                    if weight > ZERO:
                        chosen = a
                        if left < weight:
                            break
                        left -= weight
                choice[b] = chosen
                logp[b] = head[chosen, i] - largest - F32(math.log(total))


@loop(forward)
@njit(cache=True, error_model="numpy")
def values(vector, start, sizes, kind, obs, block, out):  # type: ignore[no-untyped-def]
    """Write the value of each observation: ``[N, D] -> [N]``."""
    head = block[block.shape[0] - 1]
    for first in range(0, obs.shape[0], block.shape[1]):
        count = min(block.shape[1], obs.shape[0] - first)
        for i in range(count):
            for k in range(sizes[0]):
                block[k, i] = obs[first + i, k]
        forward(vector, start, sizes, kind, count, block)
        for i in range(count):
            out[first + i] = head[i]


@twin("cumulant.maths.returns.gae")
@njit(cache=True, error_model="numpy")
def gae(reward, value, next_value, terminated, ended, gamma, lam, advantage):  # type: ignore[no-untyped-def]
    """Write the advantages of a rollout, all arrays ``[T, B]``."""
    gamma, decay = F32(gamma), F32(gamma * lam)
    for t in range(reward.shape[0] - 1, -1, -1):
        for b in range(reward.shape[1]):
            delta = reward[t, b] - value[t, b]
            if not terminated[t, b]:
                delta += gamma * next_value[t, b]
            if not ended[t, b] and t + 1 < reward.shape[0]:
                delta += decay * advantage[t + 1, b]
            advantage[t, b] = delta


@twin("cumulant.algos.ppo.minibatch_loss")
@njit(cache=True, error_model="numpy")
def minibatch_gradient(  # type: ignore[no-untyped-def]
    vector, starts, actor_sizes, critic_sizes, kind, continuous, index,
    obs, allowed, choice, numbers, logp_old, value_old, advantage, target,
    clip, value_clip, value_coef, entropy_coef, room, grad, measured,
):  # fmt: skip
    """Write the gradient of the loss of one minibatch, of whitened advantages, and measure it; args are ``gradient``'s."""
    num_samples = index.shape[0]
    total, squares = 0.0, 0.0
    for i in index:
        total += advantage[i]
    mean = total / num_samples
    for i in index:
        squares += (advantage[i] - mean) ** 2
    scale = 1.0 / (math.sqrt(squares / (num_samples - 1)) + 1e-8)
    gradient(
        vector, starts, actor_sizes, critic_sizes, kind, continuous, index,
        obs, allowed, choice, numbers, logp_old, value_old, advantage, target, mean, scale, 1.0 / num_samples,
        clip, value_clip, value_coef, entropy_coef, room, grad, measured,
    )  # fmt: skip


@twin("torch.randperm")
@njit(cache=True, error_model="numpy")
def shuffle(order, key):  # type: ignore[no-untyped-def]
    """Write a random order of 0 to N - 1, ``[N]`` int64; the same key gives the same."""
    state = np.uint64(key)
    for i in range(order.shape[0]):
        order[i] = i
    for i in range(order.shape[0] - 1, 0, -1):
        state += _WEYL
        j = int(float(mix(state) >> _S11) * (1.0 / 9007199254740992.0) * (i + 1))
        order[i], order[j] = order[j], order[i]


@loop(shuffle, mix, minibatch_gradient, clip_grad_norm, adam)
@njit(cache=True, error_model="numpy")
def update(  # type: ignore[no-untyped-def]
    vector, mean, square, steps, learning_rate, eps, starts, actor_sizes, critic_sizes, kind, continuous,
    obs, allowed, choice, numbers, logp_old, value_old, advantage, target, clip, value_clip, value_coef,
    entropy_coef, max_grad_norm, epochs, num_minibatches, target_kl, key, iteration, measured,
):  # fmt: skip
    """Take all epochs of an update; return how many steps Adam has taken by then.

    Args are those of ``gradient`` and ``adam``, and ``epochs``, ``num_minibatches`` and ``target_kl`` (infinite for
    none) as in ``algos.ppo.Config``, ``key`` and ``iteration``, which name the orders of the samples, and ``measured``, which
    ends as the measures of the last minibatch.
    """
    num_samples, num_parameters = obs.shape[0], vector.shape[0]
    order = np.empty(num_samples, np.int64)
    grad, room = np.empty(num_parameters, F32), room_of(actor_sizes, critic_sizes)
    small, larger = num_samples // num_minibatches, num_samples % num_minibatches
    for epoch in range(epochs):
        shuffle(order, mix(np.uint64(key) + np.uint64(iteration * epochs + epoch) * _WEYL))
        stop = 0
        for part in range(num_minibatches):
            first, stop = stop, stop + small + (1 if part < larger else 0)
            minibatch_gradient(
                vector, starts, actor_sizes, critic_sizes, kind, continuous, order[first:stop],
                obs, allowed, choice, numbers, logp_old, value_old, advantage, target,
                clip, value_clip, value_coef, entropy_coef, room, grad, measured,
            )  # fmt: skip
            measured[GRAD_NORM] = clip_grad_norm(grad, max_grad_norm)
            steps += 1
            adam(vector, grad, mean, square, steps, learning_rate, eps)
        if measured[KL] > target_kl:
            break
    return steps
