"""DQN in compiled calls: the values of actions, and all updates that follow one step of the environments.

Restates, for perceptrons on vectors, what ``algos/dqn.py`` does with torch: every formula is registered as the twin of the one
there.

Axes: M observations or remembered transitions, D numbers of an observation as networks read it, A actions.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from cumulant.kernels.perceptron import BLOCK, F32, ONE, RELU, ZERO, adam, backward, clip_grad_norm, forward
from cumulant.kernels.tabular import q_learning_target
from cumulant.kernels.twins import loop, twin


@twin("cumulant.maths.value.double_q_target")
@njit(cache=True, error_model="numpy")
def double_q_target(reward, next_q_online, next_q_target, terminated, gamma):  # type: ignore[no-untyped-def]
    """Bootstrap with the best next action of one estimate, judged by the other; both are ``[A]``."""
    return reward if terminated else reward + gamma * next_q_target[next_q_online.argmax()]


@twin("cumulant.maths.value.huber_loss")
@njit(inline="always")
def huber_loss(error):  # type: ignore[no-untyped-def]
    """Return the loss of an error, value minus target, and its slope."""
    size = abs(error)
    loss = F32(0.5) * error * error if size <= ONE else size - F32(0.5)
    return loss, min(max(error, -ONE), ONE)


@loop()
@njit(inline="always")
def fill(obs, first, m, num_in, block):  # type: ignore[no-untyped-def]
    """Write what a network reads of m observations to the first rows of a block, sample by sample in columns."""
    for k in range(num_in):
        for i in range(m):
            block[k, i] = obs[first + i, k]


@twin("cumulant.nn.q_network.QNetwork")
@njit(cache=True, error_model="numpy")
def values(vector, sizes, dueling, num_actions, obs, block, q):  # type: ignore[no-untyped-def]
    """Write the value of each action, -inf for one that is forbidden.

    Args:
        vector: Parameters, ``[P]``.
        sizes: Of the perceptron.
        dueling: Whether its first output is the value and the others are advantages.
        num_actions: A.
        obs: Encoded observations, ``[M, D]``, or ``[M, D + A]`` with which actions are allowed.
        block: See ``forward``.
        q: ``[M, A]`` float32.
    """
    num_in, num_out = sizes[0], sizes[-1]
    head, masked = block[block.shape[0] - num_out :], obs.shape[1] > num_in
    for first in range(0, obs.shape[0], BLOCK):
        m = min(BLOCK, obs.shape[0] - first)
        fill(obs, first, m, num_in, block)
        forward(vector, 0, sizes, RELU, m, block)
        for i in range(m):
            base = ZERO
            if dueling:
                for a in range(num_actions):
                    base += head[1 + a, i]
                base = head[0, i] - base / F32(num_actions)
            for a in range(num_actions):
                allowed = not masked or obs[first + i, num_in + a] >= 0.5
                q[first + i, a] = base + head[num_out - num_actions + a, i] if allowed else -np.inf


@loop(values, q_learning_target, double_q_target)
@njit(cache=True, error_model="numpy")
def targets(  # type: ignore[no-untyped-def]
    vector, slow, sizes, dueling, num_actions, double, reward, next_obs, terminated, discount, block, target
):
    """Write what the value of each action taken should be, ``[M]``.

    Args:
        vector: Parameters of the network, ``[P]``.
        slow: Those of its slower copy.
        sizes: See ``values``, as for ``dueling`` and ``num_actions``.
        dueling: See above.
        num_actions: See above.
        double: Whether the network chooses the next action and its copy judges it.
        reward: ``[M]``.
        next_obs: See ``obs`` of ``values``.
        terminated: ``[M]``.
        discount: What the value of ``next_obs`` counts, ``[M]``.
        block: See ``forward``.
        target: ``[M]``.
    """
    q, online = np.empty((BLOCK, num_actions), np.float32), np.empty((BLOCK, num_actions), np.float32)
    for first in range(0, target.shape[0], BLOCK):
        last = min(first + BLOCK, target.shape[0])
        values(slow, sizes, dueling, num_actions, next_obs[first:last], block, q)
        if double:
            values(vector, sizes, dueling, num_actions, next_obs[first:last], block, online)
        for i in range(last - first):
            n = first + i
            if double:
                target[n] = double_q_target(reward[n], online[i], q[i], terminated[n], discount[n])
            else:
                target[n] = q_learning_target(reward[n], q[i], terminated[n], discount[n])


@loop(forward, backward, huber_loss)
@njit(cache=True, error_model="numpy")
def minibatch_gradient(  # type: ignore[no-untyped-def]
    vector, sizes, dueling, num_actions, obs, action, target, weight, start, stop, block, delta, grad, error
):
    """Write the gradient of the mean loss of the transitions from ``start`` to ``stop``, and return that mean.

    Args:
        vector: See ``values``, as for ``sizes``, ``dueling``, ``num_actions`` and ``obs``.
        sizes: See above.
        dueling: See above.
        num_actions: See above.
        obs: See above.
        action: Taken, ``[M]`` int64.
        target: What their values should be, ``[M]``.
        weight: Of each loss, ``[M]``; ``[0]`` for 1.
        start: First transition.
        stop: Behind the last one.
        block: See ``forward``.
        delta: See ``backward``.
        grad: ``[P]``, overwritten.
        error: How wrong each value was, ``[M]``; written for these transitions.
    """
    num_in, num_out = sizes[0], sizes[-1]
    head, slopes = block[block.shape[0] - num_out :], delta[delta.shape[0] - num_out :]
    share, total = F32(1.0 / (stop - start)), 0.0
    grad[:] = ZERO
    for first in range(start, stop, BLOCK):
        m = min(BLOCK, stop - first)
        fill(obs, first, m, num_in, block)
        forward(vector, 0, sizes, RELU, m, block)
        for i in range(m):
            n = first + i
            place = num_out - num_actions + action[n]
            value = head[place, i]
            if dueling:
                mean = ZERO
                for a in range(num_actions):
                    mean += head[1 + a, i]
                value += head[0, i] - mean / F32(num_actions)
            loss, slope = huber_loss(value - target[n])
            counts = weight[n] if weight.shape[0] else ONE
            total += loss * counts
            error[n] = abs(value - target[n])
            slope *= counts * share
            for j in range(num_out):
                slopes[j, i] = ZERO
            if dueling:
                for a in range(num_actions):
                    slopes[1 + a, i] = -slope / F32(num_actions)
                slopes[0, i] = slope
            slopes[place, i] += slope
        backward(vector, 0, sizes, RELU, m, block, delta, grad)
    return total * share


@loop(targets, minibatch_gradient, clip_grad_norm, adam)
@njit(cache=True, error_model="numpy")
def update(  # type: ignore[no-untyped-def]
    vector, slow, mean, square, steps, learning_rate, eps, sizes, dueling, num_actions, double, max_grad_norm, batch_size,
    obs, action, reward, next_obs, terminated, discount, weight, block, delta, grad, target, error, losses,
):  # fmt: skip
    """Take an update for every ``batch_size`` transitions, all targets first; return how many steps Adam has taken by then.

    Args are those of ``targets``, ``minibatch_gradient`` and ``adam``, and ``losses``, where the mean loss of each is written.
    """
    targets(
        vector, slow, sizes, dueling, num_actions, double, reward, next_obs, terminated, discount, block, target
    )  # fmt: skip
    for k in range(losses.shape[0]):
        losses[k] = minibatch_gradient(
            vector, sizes, dueling, num_actions, obs, action, target, weight, k * batch_size, (k + 1) * batch_size,
            block, delta, grad, error,
        )  # fmt: skip
        clip_grad_norm(grad, max_grad_norm)
        steps += 1
        adam(vector, grad, mean, square, steps, learning_rate, eps)
    return steps
