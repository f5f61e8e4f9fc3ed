"""A whole update of TD3 in one compiled call: targets, critics, and now and then the policy and the slower copies.

Restates, for perceptrons on vectors, what ``algos/td3.py`` does with torch; see ``kernels/sac.py``.

Axes: M transitions, m samples of a block, D numbers of an observation, A action dimensions, P parameters.
"""

from __future__ import annotations

from numba import njit

from cumulant.kernels.critics import POLICY, fill, follow, one_step_target, smallest, value_gradient
from cumulant.kernels.elementary import tanh
from cumulant.kernels.perceptron import BLOCK, F32, ONE, ZERO, adam, backward, forward, propagate
from cumulant.kernels.twins import loop, twin


@twin("cumulant.maths.policy.smoothed_action")
@njit(inline="always")
def smoothed_action(action, noise, deviation, clip):  # type: ignore[no-untyped-def]
    """Blur a number of an action inside its box."""
    return min(max(action + min(max(deviation * noise, -clip), clip), -ONE), ONE)


@loop(fill, forward, tanh)
@njit(cache=True, error_model="numpy")
def act(actor, sizes, kind, obs, first, m, actor_block, block):  # type: ignore[no-untyped-def]
    """Write m observations and the policy's actions to the first rows of a critic's block.

    Args:
        actor: Parameters of the policy, ``[P]``.
        sizes: See ``perceptron.forward``, as for ``kind``.
        kind: See above.
        obs: As networks read them, ``[M, D]``.
        first: Which rows of it.
        m: How many.
        actor_block: See ``forward``.
        block: The same, of a critic.
    """
    num_obs, num_actions = sizes[0], sizes[-1]
    head = actor_block[actor_block.shape[0] - num_actions :]
    fill(obs, first, m, 0, actor_block)
    forward(actor, 0, sizes, kind, m, actor_block)
    fill(obs, first, m, 0, block)
    for a in range(num_actions):
        row = block[num_obs + a]
        for i in range(m):
            row[i] = head[a, i]
        tanh(row[:m])


@loop(act, smoothed_action, smallest, one_step_target)
@njit(cache=True, error_model="numpy")
def targets(  # type: ignore[no-untyped-def]
    slow_actor, slow, starts, actor_sizes, critic_sizes, kind, deviation, clip,
    reward, next_obs, terminated, discount, noise, actor_block, block, target,
):  # fmt: skip
    """Write what both critics should say of the actions taken, ``[M]``.

    Args:
        slow_actor: Parameters of the slower copy of the policy, ``[P]``.
        slow: Those of the slower copies of the critics.
        starts: Where each critic begins, ``[2]``.
        actor_sizes: See ``perceptron.forward``.
        critic_sizes: See above.
        kind: See above.
        deviation: Of the noise, in half-widths of the actions' box.
        clip: Largest noise.
        reward: ``[M]``.
        next_obs: As networks read them, ``[M, D]``.
        terminated: ``[M]``.
        discount: ``[M]``.
        noise: Standard normal, ``[M, A]``.
        actor_block: See ``forward``.
        block: The same, of a critic.
        target: See above.
    """
    num_obs, spread, most = actor_sizes[0], F32(deviation), F32(clip)
    for first in range(0, target.shape[0], BLOCK):
        m = min(BLOCK, target.shape[0] - first)
        act(slow_actor, actor_sizes, kind, next_obs, first, m, actor_block, block)
        for a in range(noise.shape[1]):
            for i in range(m):
                block[num_obs + a, i] = smoothed_action(block[num_obs + a, i], noise[first + i, a], spread, most)
        smallest(slow, starts, critic_sizes, kind, first, m, block, target)
        for i in range(m):
            n = first + i
            target[n] = one_step_target(reward[n], target[n], terminated[n], discount[n])


@loop(act, forward, propagate, backward)
@njit(cache=True, error_model="numpy")
def policy_gradient(  # type: ignore[no-untyped-def]
    actor, critics, actor_sizes, critic_sizes, kind, obs, actor_block, actor_delta, block, delta, grad, measured
):
    """Write the gradient of the policy's mean loss, minus what the first critic says of its actions, and measure that.

    Args:
        actor: Parameters of the policy, ``[P]``.
        critics: Those of the critics, the first one's first.
        actor_sizes: See ``targets``, as for ``critic_sizes`` and ``kind``.
        critic_sizes: See above.
        kind: See above.
        obs: ``[M, D]``.
        actor_block: See ``forward``.
        actor_delta: See ``backward``.
        block: See ``forward``.
        delta: See ``backward``.
        grad: ``[P]``, overwritten.
        measured: ``[4]`` float64.
    """
    count, num_obs, num_actions = obs.shape[0], actor_sizes[0], actor_sizes[-1]
    value, slope = block[block.shape[0] - 1], delta[delta.shape[0] - 1]
    head_delta, share, total = actor_delta[actor_delta.shape[0] - num_actions :], F32(1.0 / count), 0.0
    grad[:] = ZERO
    for first in range(0, count, BLOCK):
        m = min(BLOCK, count - first)
        act(actor, actor_sizes, kind, obs, first, m, actor_block, block)
        forward(critics, 0, critic_sizes, kind, m, block)
        for i in range(m):
            total += value[i]
            slope[i] = -share
        propagate(critics, 0, critic_sizes, kind, m, block, delta, False, grad, True)
        for a in range(num_actions):
            for i in range(m):
                action = block[num_obs + a, i]
                head_delta[a, i] = delta[num_obs + a, i] * (ONE - action * action)
        backward(actor, 0, actor_sizes, kind, m, actor_block, actor_delta, grad)
    measured[POLICY] = -total / count


@loop(targets, value_gradient, policy_gradient, adam, follow)
@njit(cache=True, error_model="numpy")
def update(  # type: ignore[no-untyped-def]
    actor, actor_mean, actor_square, critics, critics_mean, critics_square, slow_actor, slow,
    steps, policy_steps, learning_rate, eps, polyak, moves, deviation, clip, starts, actor_sizes, critic_sizes, kind,
    obs, action, reward, next_obs, terminated, discount, weight, noise,
    actor_block, actor_delta, block, delta, target, actor_grad, critics_grad, error, measured,
):  # fmt: skip
    """Take one update, number ``steps`` from 1 of the critics.

    Args are those of the functions above and of ``adam``, and ``moves``, whether the policy moves, too, for the time number
    ``policy_steps`` from 1, and all slower copies by the part ``polyak`` of the way.
    """
    targets(
        slow_actor, slow, starts, actor_sizes, critic_sizes, kind, deviation, clip,
        reward, next_obs, terminated, discount, noise, actor_block, block, target,
    )  # fmt: skip
    value_gradient(
        critics, starts, critic_sizes, kind, obs, action, target, weight, block, delta, critics_grad, error, measured
    )
    adam(critics, critics_grad, critics_mean, critics_square, steps, learning_rate, eps)
    if moves:
        policy_gradient(
            actor,
            critics,
            actor_sizes,
            critic_sizes,
            kind,
            obs,
            actor_block,
            actor_delta,
            block,
            delta,
            actor_grad,
            measured,
        )
        adam(actor, actor_grad, actor_mean, actor_square, policy_steps, learning_rate, eps)
        follow(slow_actor, actor, polyak)
        follow(slow, critics, polyak)
