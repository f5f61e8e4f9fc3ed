"""Critics that value actions, in compiled code: what the updates of SAC, TD3 and TQC have in common.

Samples go through in blocks (``kernels/perceptron.py``). A critic reads an observation and an action, one below the other.

Axes: M transitions, m samples of a block, D numbers of an observation, A action dimensions, P parameters, N critics.
"""

from __future__ import annotations

from numba import njit

from cumulant.kernels.perceptron import BLOCK, F32, ONE, ZERO, backward, forward, propagate
from cumulant.kernels.twins import loop, twin

CRITIC, POLICY, ENTROPY, VALUE = range(4)  # what an update measures


@twin("cumulant.maths.value.one_step_target")
@njit(inline="always")
def one_step_target(reward, next_value, terminated, gamma):  # type: ignore[no-untyped-def]
    """Bootstrap with a value of what followed; numbers of one step."""
    return reward if terminated else reward + gamma * next_value


@twin("cumulant.maths.value.value_loss")
@njit(inline="always")
def value_loss(error):  # type: ignore[no-untyped-def]
    """Return half the square of an error, value minus target; its slope is the error."""
    return F32(0.5) * error * error


@twin("torch.lerp")
@njit(cache=True, error_model="numpy")
def follow(slow, fast, polyak):  # type: ignore[no-untyped-def]
    """Move slower copies of parameters towards these, by a part of the way; both ``[P]``."""
    share = F32(polyak)
    for p in range(slow.shape[0]):
        slow[p] += share * (fast[p] - slow[p])


@loop()
@njit(cache=True, error_model="numpy")
def fill(rows, first, m, at, block):  # type: ignore[no-untyped-def]
    """Write m rows of ``[M, K]`` to K rows of a block from ``at`` on, sample by sample in columns."""
    for k in range(rows.shape[1]):
        for i in range(m):
            block[at + k, i] = rows[first + i, k]


@loop(forward)
@njit(cache=True, error_model="numpy")
def smallest(vector, starts, sizes, kind, first, m, block, out):  # type: ignore[no-untyped-def]
    """Write the smallest value that any critic gives m samples.

    Args:
        vector: Parameters, ``[P]``.
        starts: Where each critic begins, ``[N]``.
        sizes: See ``perceptron.forward``.
        kind: See above.
        first: Where the samples begin in ``out``.
        m: How many.
        block: Its first rows hold observations and actions; see ``forward``.
        out: ``[M]``.
    """
    value = block[block.shape[0] - 1]
    for c in range(starts.shape[0]):
        forward(vector, starts[c], sizes, kind, m, block)
        for i in range(m):
            out[first + i] = value[i] if c == 0 else min(out[first + i], value[i])


@loop(propagate)
@njit(cache=True, error_model="numpy")
def add_worth(critics, start, sizes, kind, m, block, delta, nothing, worth, first):  # type: ignore[no-untyped-def]
    """Add the gradient of a critic's outputs by the actions, given that by its outputs.

    Args:
        critics: Parameters, ``[P]``.
        start: Where those of the critic begin.
        sizes: See ``perceptron.propagate``, as for ``kind``, ``m``, ``block`` and ``delta``.
        kind: See above.
        m: See above.
        block: See above.
        delta: See above.
        nothing: Stands for a gradient of the parameters, which is not computed.
        worth: ``[D + A, BLOCK]``, of which the rows from ``first`` on are added to.
        first: D.
    """
    propagate(critics, start, sizes, kind, m, block, delta, False, nothing, True)
    for k in range(first, sizes[0]):
        for i in range(m):
            worth[k, i] += delta[k, i]


@loop(fill, forward, backward, value_loss)
@njit(cache=True, error_model="numpy")
def value_gradient(  # type: ignore[no-untyped-def]
    critics, starts, sizes, kind, obs, action, target, weight, block, delta, grad, error, measured
):
    """Write the gradient of all critics' mean losses, and measure the sum of these and the mean value.

    Args:
        critics: Parameters, ``[P]``.
        starts: See ``smallest``, as for ``sizes`` and ``kind``.
        sizes: See above.
        kind: See above.
        obs: ``[M, D]``.
        action: ``[M, A]``.
        target: What all critics should say, ``[M]``.
        weight: Of each loss, ``[M]``; ``[0]`` for 1.
        block: See ``forward``.
        delta: See ``backward``.
        grad: ``[P]``, overwritten.
        error: How wrong each value was, the mean over the critics, ``[M]``.
        measured: ``[4]`` float64.
    """
    count, slope, value = target.shape[0], delta[delta.shape[0] - 1], block[block.shape[0] - 1]
    share, part, total, mean = F32(1.0 / count), F32(1.0 / starts.shape[0]), 0.0, 0.0
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
                total += value_loss(wrong) * counts
                mean += value[i]
                error[n] += part * abs(wrong)
                slope[i] = wrong * counts * share
            backward(critics, start, sizes, kind, m, block, delta, grad)
    measured[CRITIC], measured[VALUE] = total / count, mean / (starts.shape[0] * count)
