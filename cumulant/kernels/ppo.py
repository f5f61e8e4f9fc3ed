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
from cumulant.kernels.elementary import EXACT, F32, exp, log
from cumulant.kernels.perceptron import (
    BLOCK,
    FAST,
    ONE,
    ZERO,
    adam,
    backward,
    block_of,
    clip_grad_norm,
    forward,
)
from cumulant.kernels.twins import loop, twin

HALF_LOG_2PI = 0.5 * math.log(2.0 * math.pi)
POLICY, VALUE, GRAD_NORM, ENTROPY, KL, CLIPPED = range(6)  # what an update measures
_WEYL = np.uint64(0x9E3779B97F4A7C15)
_S11 = np.uint64(11)


@loop(forward, uniform, normal)
@njit(cache=True, error_model="numpy", fastmath=EXACT)
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
@njit(cache=True, error_model="numpy", fastmath=EXACT)
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
@njit(cache=True, error_model="numpy", fastmath=FAST)
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


# Rows of numbers that a pass over a block of samples needs.
_WORTH, _LOGP, _LOGP_OLD, _ENTROPY, _CHOICE, _VALUE_OLD, _TARGET, _LARGEST, _TOTAL, _SPREAD = range(10)
NUM_ROWS = 10


@loop(exp, log)
@njit(cache=True, error_model="numpy", fastmath=FAST)
def _categorical(head, probability, rows, m):  # type: ignore[no-untyped-def]
    """Make logits ``[A, m]`` log-probabilities, and write probabilities, entropies and log-probabilities of the choices."""
    largest, total, spread = rows[_LARGEST], rows[_TOTAL], rows[_SPREAD]
    choice, logp, entropy = rows[_CHOICE], rows[_LOGP], rows[_ENTROPY]
    num_out = head.shape[0]
    for i in range(m):
        largest[i] = head[0, i]
        total[i] = logp[i] = entropy[i] = ZERO
    for a in range(1, num_out):
        for i in range(m):
            largest[i] = head[a, i] if head[a, i] > largest[i] else largest[i]
    for a in range(num_out):
        for i in range(m):
            head[a, i] -= largest[i]
            probability[a, i] = head[a, i]
        exp(probability[a, :m])
        for i in range(m):
            total[i] += probability[a, i]
    for i in range(m):
        spread[i] = total[i]
    log(spread[:m])
    for a in range(num_out):
        for i in range(m):
            probability[a, i] /= total[i]
            head[a, i] -= spread[i]
            entropy[i] -= probability[a, i] * head[a, i] if probability[a, i] > ZERO else ZERO
            logp[i] = head[a, i] if choice[i] == F32(a) else logp[i]


@twin("cumulant.algos.ppo.minibatch_loss")
@njit(cache=True, error_model="numpy", fastmath=FAST)
def minibatch_gradient(  # type: ignore[no-untyped-def]
    vector, starts, actor_sizes, critic_sizes, kind, continuous, index,
    obs, allowed, choice, numbers, logp_old, value_old, advantage, target,
    clip, value_clip, value_coef, entropy_coef, actor_blocks, critic_blocks, rows, grad, measured,
):  # fmt: skip
    """Write the gradient of the loss of one minibatch, and measure it.

    Args:
        vector: Parameters, ``[P]``.
        starts: Of the policy's perceptron, of the critic's, and of the log deviations of a Gaussian policy.
        actor_sizes: See ``forward``.
        critic_sizes: See ``forward``.
        kind: Activation of both.
        continuous: Whether the policy is Gaussian.
        index: Which samples, ``[M]`` int64.
        obs: ``[N, D]``, as networks read them.
        allowed: Which choices are, ``[N, A]`` bool, or ``[N, 0]``.
        choice: Actions of a categorical policy, ``[N]`` int64.
        numbers: Actions of a Gaussian one, ``[N, A]``.
        logp_old: Log-probability of the action when it was taken, ``[N]``.
        value_old: Value of ``obs`` at that time, ``[N]``.
        advantage: ``[N]``; whitened here.
        target: What values should be, ``[N]``.
        clip: See ``maths.policy.clipped_policy_loss``.
        value_clip: See ``maths.value.clipped_value_loss``; infinite for none.
        value_coef: Weight of the value loss.
        entropy_coef: Weight of the entropy bonus.
        actor_blocks: Activations and their gradients, two arrays of ``block_of``.
        critic_blocks: The same of the critic.
        rows: Room for numbers of samples, ``block_of(NUM_ROWS, BLOCK)``.
        grad: ``[P]``, overwritten.
        measured: Means of the minibatch, ``[6]`` float64, in the order of ``POLICY`` and so on.
    """
    num_samples, num_obs, num_out = index.shape[0], actor_sizes[0], actor_sizes[-1]
    total, squares = 0.0, 0.0
    for i in index:
        total += advantage[i]
    mean = total / num_samples
    for i in index:
        squares += (advantage[i] - mean) ** 2
    middle, scale = F32(mean), F32(1.0 / (math.sqrt(squares / (num_samples - 1)) + 1e-8))
    share = F32(1.0 / num_samples)
    free, bonus, value_weight, value_free = F32(clip), F32(entropy_coef), F32(value_coef), F32(value_clip)
    actor_block, actor_delta = actor_blocks
    critic_block, critic_delta = critic_blocks
    head, head_delta = actor_block[actor_block.shape[0] - num_out :], actor_delta[actor_block.shape[0] - num_out :]
    value, value_delta = critic_block[critic_block.shape[0] - 1], critic_delta[critic_block.shape[0] - 1]
    worth, logp, before, entropy = rows[_WORTH], rows[_LOGP], rows[_LOGP_OLD], rows[_ENTROPY]
    chosen, old, wanted, ratio = rows[_CHOICE], rows[_VALUE_OLD], rows[_TARGET], rows[_TOTAL]
    log_std = vector[starts[2] : starts[2] + num_out]
    grad[:] = ZERO
    measured[:] = 0.0
    for first in range(0, num_samples, BLOCK):
        part = index[first : first + BLOCK]
        m = part.shape[0]
        for i in range(m):
            n = part[i]
            for k in range(num_obs):
                actor_block[k, i] = critic_block[k, i] = obs[n, k]
            worth[i] = (advantage[n] - middle) * scale
            before[i], old[i], wanted[i], chosen[i] = logp_old[n], value_old[n], target[n], F32(choice[n])
        forward(vector, starts[0], actor_sizes, kind, m, actor_block)
        if continuous:
            for i in range(m):
                logp[i] = entropy[i] = ZERO
            for a in range(num_out):
                inverse, constant = F32(math.exp(-log_std[a])), log_std[a] + F32(HALF_LOG_2PI)
                for i in range(m):
                    head[a, i] = (numbers[part[i], a] - head[a, i]) * inverse
                for i in range(m):
                    logp[i] -= F32(0.5) * head[a, i] * head[a, i] + constant
                    entropy[i] += constant + F32(0.5)
        else:
            for a in range(allowed.shape[1]):
                for i in range(m):
                    head[a, i] = head[a, i] if allowed[part[i], a] else -F32(np.inf)
            _categorical(head, head_delta, rows, m)
        for i in range(m):
            ratio[i] = logp[i] - before[i]
        exp(ratio[:m])
        policy, uncertain, kl, clipped = ZERO, ZERO, ZERO, ZERO
        for i in range(m):
            bounded = ONE + free if ratio[i] > ONE + free else ratio[i]
            bounded = ONE - free if bounded < ONE - free else bounded
            # No gradient where the clipped surrogate is the smaller one and moving on changes nothing.
            stopped = bounded * worth[i] < ratio[i] * worth[i]
            policy -= bounded * worth[i] if stopped else ratio[i] * worth[i]
            uncertain += entropy[i]
            kl += ratio[i] - ONE - (logp[i] - before[i])
            clipped += ONE if abs(ratio[i] - ONE) > free else ZERO
            worth[i] = ZERO if stopped else -worth[i] * ratio[i] * share  # now the slope along logp
        measured[POLICY] += policy
        measured[ENTROPY] += uncertain
        measured[KL] += kl
        measured[CLIPPED] += clipped
        for a in range(num_out):
            if continuous:
                inverse, slope = F32(math.exp(-log_std[a])), ZERO
                for i in range(m):
                    scaled = head[a, i]
                    head_delta[a, i] = worth[i] * scaled * inverse
                    slope += worth[i] * (scaled * scaled - ONE) - bonus * share
                grad[starts[2] + a] += slope
            else:
                for i in range(m):
                    probability = head_delta[a, i]
                    slope = worth[i] * ((ONE if chosen[i] == F32(a) else ZERO) - probability)
                    slack = bonus * share * probability * (head[a, i] + entropy[i])
                    head_delta[a, i] = slope + (slack if probability > ZERO else ZERO)
        backward(vector, starts[0], actor_sizes, kind, m, actor_block, actor_delta, grad)
        forward(vector, starts[1], critic_sizes, kind, m, critic_block)
        loss = ZERO
        for i in range(m):
            error = value[i] - wanted[i]
            change = value[i] - old[i]
            bounded = value_free if change > value_free else change
            bounded = -value_free if bounded < -value_free else bounded
            held = old[i] + bounded - wanted[i]
            stopped = abs(change) > value_free and held * held > error * error
            loss += held * held if stopped else error * error
            value_delta[i] = ZERO if stopped else value_weight * share * error
        measured[VALUE] += 0.5 * loss
        backward(vector, starts[1], critic_sizes, kind, m, critic_block, critic_delta, grad)
    for k in range(measured.shape[0]):
        measured[k] *= 1.0 / num_samples


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
@njit(cache=True, error_model="numpy", fastmath=FAST)
def update(  # type: ignore[no-untyped-def]
    vector, mean, square, steps, learning_rate, eps, starts, actor_sizes, critic_sizes, kind, continuous,
    obs, allowed, choice, numbers, logp_old, value_old, advantage, target, clip, value_clip, value_coef,
    entropy_coef, max_grad_norm, epochs, num_minibatches, target_kl, key, iteration, measured,
):  # fmt: skip
    """Take all epochs of an update; return how many steps Adam has taken by then.

    Args are those of ``minibatch_gradient`` and ``adam``, and ``epochs``, ``num_minibatches`` and ``target_kl`` (infinite for
    none) as in ``algos.ppo.Config``, ``key`` and ``iteration``, which name the orders of the samples, and ``measured``, which
    ends as the measures of the last minibatch.
    """
    num_samples, num_parameters = obs.shape[0], vector.shape[0]
    order = np.empty(num_samples, np.int64)
    grad, rows = np.empty(num_parameters, F32), block_of(NUM_ROWS, BLOCK)
    actor_blocks = (block_of(actor_sizes.sum(), BLOCK), block_of(actor_sizes.sum(), BLOCK))
    critic_blocks = (block_of(critic_sizes.sum(), BLOCK), block_of(critic_sizes.sum(), BLOCK))
    small, larger = num_samples // num_minibatches, num_samples % num_minibatches
    for epoch in range(epochs):
        shuffle(order, mix(np.uint64(key) + np.uint64(iteration * epochs + epoch) * _WEYL))
        stop = 0
        for part in range(num_minibatches):
            first, stop = stop, stop + small + (1 if part < larger else 0)
            minibatch_gradient(
                vector, starts, actor_sizes, critic_sizes, kind, continuous, order[first:stop],
                obs, allowed, choice, numbers, logp_old, value_old, advantage, target,
                clip, value_clip, value_coef, entropy_coef, actor_blocks, critic_blocks, rows, grad, measured,
            )  # fmt: skip
            measured[GRAD_NORM] = clip_grad_norm(grad, max_grad_norm)
            steps += 1
            adam(vector, grad, mean, square, steps, learning_rate, eps)
        if measured[KL] > target_kl:
            break
    return steps
