"""Perceptrons forward and backward over any number of rows, in one call each: what ``nn/compiled.py`` puts under autograd.

Rows come and go as torch has them, ``[M, D]``; in between, activations are blocks of ``kernels/perceptron.py``, one for every
``BLOCK`` rows.

Axes: N perceptrons of the same shape, M rows, C blocks, K inputs and J outputs, P parameters.
"""

from __future__ import annotations

from numba import njit

from cumulant.kernels.perceptron import BLOCK, forward, propagate
from cumulant.kernels.twins import loop


@loop(forward)
@njit(cache=True, error_model="numpy")
def run(vector, starts, sizes, kind, x, blocks, out):  # type: ignore[no-untyped-def]
    """Write the outputs ``[N, M, J]`` for rows ``x``, and keep what ``run_back`` needs.

    Args:
        vector: Parameters, ``[P]``.
        starts: Where those of each perceptron begin, ``[N]``.
        sizes: See ``perceptron.forward``, as for ``kind``.
        kind: See above.
        x: ``[M, K]``.
        blocks: ``[N, C, sum of sizes, BLOCK]``.
        out: See above.
    """
    num_in, num_out = sizes[0], sizes[-1]
    for n in range(starts.shape[0]):
        for c in range(blocks.shape[1]):
            first, block = c * BLOCK, blocks[n, c]
            m, head = min(BLOCK, x.shape[0] - first), block[block.shape[0] - num_out :]
            for i in range(m):
                for k in range(num_in):
                    block[k, i] = x[first + i, k]
            forward(vector, starts[n], sizes, kind, m, block)
            for i in range(m):
                for j in range(num_out):
                    out[n, first + i, j] = head[j, i]


@loop(propagate)
@njit(cache=True, error_model="numpy")
def run_back(vector, starts, sizes, kind, blocks, slope, delta, weights, grad, inputs, to_x):  # type: ignore[no-untyped-def]
    """Add the gradients of parameters and inputs, those that are wanted, given that of the outputs.

    Args:
        vector: See ``run``, as for ``starts``, ``sizes``, ``kind`` and ``blocks``, which ``run`` has filled.
        starts: See above.
        sizes: See above.
        kind: See above.
        blocks: See above.
        slope: Gradient of the outputs, ``[N, M, J]``.
        delta: Room, ``[sum of sizes, BLOCK]``.
        weights: Whether that of the parameters is wanted.
        grad: To which it is added, ``[P]``.
        inputs: Whether that of the inputs is.
        to_x: To which it is added, ``[M, K]``.
    """
    num_in, num_out = sizes[0], sizes[-1]
    head = delta[delta.shape[0] - num_out :]
    for n in range(starts.shape[0]):
        for c in range(blocks.shape[1]):
            first = c * BLOCK
            m = min(BLOCK, slope.shape[1] - first)
            for i in range(m):
                for j in range(num_out):
                    head[j, i] = slope[n, first + i, j]
            propagate(vector, starts[n], sizes, kind, m, blocks[n, c], delta, weights, grad, inputs)
            if inputs:
                for i in range(m):
                    for k in range(num_in):
                        to_x[first + i, k] += delta[k, i]
