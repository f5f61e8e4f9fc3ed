"""The gradient of a policy-gradient loss of an actor-critic of perceptrons: PPO's, A2C's and REINFORCE's.

Axes: N samples, M of them in a step, D numbers of an observation, A actions (choices of a categorical policy, dimensions of a
Gaussian one), P parameters.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from cumulant.kernels.elementary import F32, exp, log
from cumulant.kernels.perceptron import BLOCK, ONE, ZERO, backward, block_of, forward
from cumulant.kernels.twins import loop, twin

HALF_LOG_2PI = 0.5 * math.log(2.0 * math.pi)
POLICY, VALUE, GRAD_NORM, ENTROPY, KL, CLIPPED = range(6)  # what a gradient step measures

# Rows of numbers that a pass over a block of samples needs.
_WORTH, _LOGP, _LOGP_OLD, _ENTROPY, _CHOICE, _VALUE_OLD, _TARGET, _LARGEST, _TOTAL, _SPREAD = range(10)
NUM_ROWS = 10


@loop(exp, log)
@njit(cache=True, error_model="numpy")
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


@loop(block_of)
@njit(cache=True, error_model="numpy")
def room_of(actor_sizes, critic_sizes):  # type: ignore[no-untyped-def]
    """Return what ``gradient`` works in: activations and their gradients of both perceptrons, and numbers of samples."""
    return (
        block_of(actor_sizes.sum(), BLOCK),
        block_of(actor_sizes.sum(), BLOCK),
        block_of(critic_sizes.sum(), BLOCK),
        block_of(critic_sizes.sum(), BLOCK),
        block_of(NUM_ROWS, BLOCK),
    )


@loop(forward, backward, exp, _categorical)
@njit(cache=True, error_model="numpy")
def gradient(  # type: ignore[no-untyped-def]
    vector, starts, actor_sizes, critic_sizes, kind, continuous, index,
    obs, allowed, choice, numbers, logp_old, value_old, advantage, target, middle, scale, share,
    clip, value_clip, value_coef, entropy_coef, room, grad, measured,
):  # fmt: skip
    """Write the gradient of a policy-gradient loss, and measure it.

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
        advantage: ``[N]``; of each ``middle`` is subtracted, and it is multiplied by ``scale``.
        target: What values should be, ``[N]``.
        middle: See above.
        scale: See above.
        share: Weight of a sample, such as 1 / M.
        clip: See ``maths.policy.clipped_policy_loss``; 0 for ``maths.policy.policy_gradient_loss``.
        value_clip: See ``maths.value.clipped_value_loss``; infinite for none.
        value_coef: Weight of the value loss.
        entropy_coef: Weight of the entropy bonus.
        room: Of ``room_of``.
        grad: ``[P]``, overwritten.
        measured: Means of the samples, ``[6]`` float64, in the order of ``POLICY`` and so on.
    """
    num_samples, num_obs, num_out = index.shape[0], actor_sizes[0], actor_sizes[-1]
    plain = clip <= 0.0
    middle, scale, share = F32(middle), F32(scale), F32(share)
    free, bonus, value_weight, value_free = F32(clip), F32(entropy_coef), F32(value_coef), F32(value_clip)
    actor_block, actor_delta, critic_block, critic_delta, rows = room
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
        policy, uncertain, kl, clipped = ZERO, ZERO, ZERO, ZERO
        if not plain:
            for i in range(m):
                ratio[i] = logp[i] - before[i]
            exp(ratio[:m])
        for i in range(m):
            uncertain += entropy[i]
        for i in range(m if plain else 0):
            policy -= logp[i] * worth[i]
            worth[i] = -worth[i] * share  # now the slope along logp
        for i in range(0 if plain else m):
            bounded = ONE + free if ratio[i] > ONE + free else ratio[i]
            bounded = ONE - free if bounded < ONE - free else bounded
            # No gradient where the clipped surrogate is the smaller one and moving on changes nothing.
            stopped = bounded * worth[i] < ratio[i] * worth[i]
            policy -= bounded * worth[i] if stopped else ratio[i] * worth[i]
            kl += ratio[i] - ONE - (logp[i] - before[i])
            clipped += ONE if abs(ratio[i] - ONE) > free else ZERO
            worth[i] = ZERO if stopped else -worth[i] * ratio[i] * share
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


@twin("cumulant.algos.a2c.rollout_loss")
@njit(cache=True, error_model="numpy")
def plain_gradient(  # type: ignore[no-untyped-def]
    vector, starts, actor_sizes, critic_sizes, kind, continuous, index, obs, allowed, choice, numbers, advantage, target, share,
    value_coef, entropy_coef, room, grad, measured,
):  # fmt: skip
    """Write the gradient of the loss of A2C, or of REINFORCE, of which ``share`` is the difference; args are ``gradient``'s."""
    gradient(
        vector, starts, actor_sizes, critic_sizes, kind, continuous, index, obs, allowed, choice, numbers, advantage, advantage,
        advantage, target, 0.0, 1.0, share, 0.0, np.inf, value_coef, entropy_coef, room, grad, measured,
    )  # fmt: skip
