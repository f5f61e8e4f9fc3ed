"""The tanh-squashed Gaussian policy and the price of its entropy, in compiled code: what SAC and TQC have in common.

Axes: M transitions, m samples of a block, A action dimensions, P parameters.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from cumulant.kernels.critics import fill, one_step_target
from cumulant.kernels.perceptron import F32, ONE, ZERO, adam, forward
from cumulant.kernels.twins import loop, twin

LOWEST, HIGHEST = F32(-20.0), F32(2.0)  # logarithm of a deviation
_HALF_LOG_2PI, _LOG_2 = 0.5 * math.log(2.0 * math.pi), math.log(2.0)


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


@loop(fill, forward, squash)
@njit(cache=True, error_model="numpy")
def propose(actor, sizes, kind, obs, noise, first, m, actor_block, block, logp):  # type: ignore[no-untyped-def]
    """Write m observations and sampled actions to the first rows of a critic's block, and the actions' log-densities.

    Args:
        actor: Parameters of the policy, ``[P]``.
        sizes: See ``perceptron.forward``, as for ``kind``.
        kind: See above.
        obs: As networks read them, ``[M, D]``.
        noise: See ``squash``, as for ``first``, ``m`` and ``logp``.
        first: See above.
        m: See above.
        actor_block: See ``forward``.
        block: The same, of a critic.
        logp: See above.
    """
    fill(obs, first, m, 0, actor_block)
    forward(actor, 0, sizes, kind, m, actor_block)
    fill(obs, first, m, 0, block)
    squash(actor_block[actor_block.shape[0] - sizes[-1] :], noise, first, m, block, sizes[0], logp)


@twin("cumulant.maths.soft.sac_target")
@njit(inline="always")
def sac_target(reward, next_q, next_logp, terminated, gamma, temperature):  # type: ignore[no-untyped-def]
    """Bootstrap with the value of an action, and with its surprise as a bonus; numbers of one step."""
    return one_step_target(reward, next_q - temperature * next_logp, terminated, gamma)


@twin("cumulant.maths.soft.sac_policy_loss")
@njit(inline="always")
def policy_loss(q, logp, temperature):  # type: ignore[no-untyped-def]
    """Return minus the soft value of an action; numbers of one step."""
    return temperature * logp - q


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


@twin("cumulant.maths.soft.temperature_loss")
@njit(cache=True, error_model="numpy")
def reprice(log_price, mean, square, steps, learning_rate, eps, entropy, wanted):  # type: ignore[no-untyped-def]
    """Take a step of ``adam`` with the logarithm of the temperature, ``[1]``, so that the mean entropy becomes what is wanted."""
    adam(log_price, np.full(1, entropy - wanted, np.float32), mean, square, steps, learning_rate, eps)
