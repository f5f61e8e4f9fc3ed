"""Plain perceptrons forward and backward, clipping and Adam, on one flat vector of parameters.

On networks of 64 units PyTorch spends most of its time on the way to the arithmetic. Here a pass is a call. Activations are
stored unit by unit, each for a block of samples, so that every inner loop runs over samples, many at a time, as vector
instructions do (``kernels/products.py``). The vector is that of ``nn.flat.Flat``: the modules of torch see what is written here,
and the other way round.

A perceptron is ``start``, where its parameters begin in the vector, and ``sizes``: of its input and of each layer's output. A
block ``[units of all layers, columns]`` (``block_of``) holds what went in, then what came out of each layer.

Axes: m samples of a block, P parameters.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from cumulant.kernels import coarse
from cumulant.kernels.elementary import F32, tanh
from cumulant.kernels.products import LANES, add_outer, affine, to_inputs
from cumulant.kernels.twins import loop, twin

BLOCK = 128  # samples at once: the activations of a layer stay in the fastest cache
RELU, TANH = 0, 1
COARSE = 2  # more than these: of layers that ``coarse.fits``, factors are rounded to bfloat16 (``kernels/coarse.py``)
# No kernel has fast-math flags. What a compiler makes of them depends on what it inlines, and code that comes from the cache is
# not inlined: the first process and the second one would differ in the last bits, and a run would not resume exactly.
ONE, ZERO = F32(1.0), F32(0.0)
_SUMS = 128
_TINY = F32(np.finfo(np.float32).tiny)
_LINE = 64  # bytes of a cache line, which a load should not straddle


@loop()
@njit(cache=True, error_model="numpy")
def block_of(rows, samples):  # type: ignore[no-untyped-def]
    """Return room for so many units of so many samples, at most ``BLOCK``: zeros that begin with a cache line.

    ``[rows, columns]``, where columns are the samples rounded up to ``LANES``.
    """
    columns = min((samples + LANES - 1) // LANES * LANES, BLOCK)
    room = np.zeros(rows * columns + _LINE // 4, F32)
    first = (-room.ctypes.data % _LINE) // 4
    return room[first : first + rows * columns].reshape((rows, columns))


@twin("cumulant.nn.mlp.mlp")
@njit(cache=True, error_model="numpy")
def forward(vector, start, sizes, kind, m, block):  # type: ignore[no-untyped-def]
    """Run a perceptron on the first m columns of a block, whose first rows hold the inputs; the last rows get the outputs.

    Args:
        vector: Parameters, ``[P]`` float32.
        start: Where those of this perceptron begin.
        sizes: Of input and of each layer, ``[L + 1]`` int64.
        kind: Activation between layers: ``RELU`` or ``TANH``, or ``COARSE`` more than that.
        m: Samples.
        block: ``[sum of sizes, columns]`` float32, of ``block_of``.
    """
    place, row, last = start, 0, sizes.shape[0] - 2
    for layer in range(last + 1):
        num_in, num_out = sizes[layer], sizes[layer + 1]
        weight = vector[place : place + num_in * num_out].reshape((num_out, num_in))
        place += num_in * num_out
        out = block[row + num_in : row + num_in + num_out]
        if kind >= COARSE and coarse.fits(weight, block):
            coarse.affine(weight, vector[place : place + num_out], block[row : row + num_in], m, out)
        else:
            affine(weight, vector[place : place + num_out], block[row : row + num_in], m, out)
        place += num_out
        row += num_in
        if layer < last:  # one row after the other, or all as one, with the few columns that have no sample
            full = m > out.shape[1] - LANES
            for j in range(1 if full else num_out):
                line = out.reshape(-1) if full else out[j, :m]
                if kind % COARSE == TANH:
                    tanh(line)
                else:
                    for i in range(line.shape[0]):
                        line[i] = ZERO if line[i] < ZERO else line[i]  # handing NaN on


@twin("cumulant.nn.backward.Pass")
@njit(cache=True, error_model="numpy")
def backward(vector, start, sizes, kind, m, block, delta, grad):  # type: ignore[no-untyped-def]
    """Add the gradient of a perceptron's parameters to ``grad``, given that of its outputs; see ``propagate``."""
    propagate(vector, start, sizes, kind, m, block, delta, True, grad, False)


@twin("cumulant.nn.backward.Perceptron")
@njit(cache=True, error_model="numpy")
def propagate(vector, start, sizes, kind, m, block, delta, weights, grad, inputs):  # type: ignore[no-untyped-def]
    """Go backwards through a perceptron, given the gradient of its outputs, for as much as is wanted.

    Args:
        vector: Parameters, ``[P]``.
        start: See ``forward``, as for ``sizes``, ``kind``, ``m`` and ``block``, which ``forward`` has filled.
        sizes: See above.
        kind: See above.
        m: See above.
        block: See above.
        delta: Of the shape of ``block``; its last rows hold the gradient of the outputs, the others are written.
        weights: Whether to add the gradient of the parameters to ``grad``.
        grad: ``[P]``.
        inputs: Whether to write that of the inputs to the first rows of ``delta``.
    """
    place, row = start, 0
    for layer in range(sizes.shape[0] - 1):
        place += (sizes[layer] + 1) * sizes[layer + 1]
        row += sizes[layer]
    ones = np.ones((1, block.shape[1]), F32)
    for layer in range(sizes.shape[0] - 2, -1, -1):
        num_in, num_out = sizes[layer], sizes[layer + 1]
        of_output, above, end = delta[row : row + num_out], row - num_in, place
        place -= num_in * num_out + num_out
        inner, weight = block[above:row], vector[place : end - num_out].reshape((num_out, num_in))
        rounds = kind >= COARSE and coarse.fits(weight, block)
        if weights:
            add_outer(ones, of_output, m, grad[end - num_out : end].reshape((1, num_out)))
            to_weight = grad[place : end - num_out].reshape((num_out, num_in))
            if rounds:
                coarse.add_outer(of_output, inner, m, to_weight)
            else:
                add_outer(of_output, inner, m, to_weight)
        if layer > 0 or inputs:
            of_input = delta[above:row]
            if rounds:
                coarse.to_inputs(weight, of_output, m, of_input)
            else:
                to_inputs(weight, of_output, m, of_input)
            if layer > 0:
                for k in range(num_in):
                    if kind % COARSE == TANH:
                        for i in range(m):
                            of_input[k, i] *= ONE - inner[k, i] * inner[k, i]
                    else:
                        for i in range(m):
                            of_input[k, i] = ZERO if inner[k, i] <= ZERO else of_input[k, i]
        row = above


@twin("cumulant.nn.flat.Flat")
@njit(cache=True, error_model="numpy")
def clip_grad_norm(grad, limit):  # type: ignore[no-untyped-def]
    """Scale a gradient ``[P]`` down to a norm of at most ``limit``; return the norm before."""
    sums = np.zeros(_SUMS, F32)  # side by side: one sum would wait for every addition, and took a third of DQN's time
    even = grad.shape[0] // _SUMS * _SUMS
    for p in range(0, even, _SUMS):
        for i in range(_SUMS):
            sums[i] += grad[p + i] * grad[p + i]
    for p in range(even, grad.shape[0]):
        sums[p - even] += grad[p] * grad[p]
    norm = F32(math.sqrt(sums.sum()))
    scale = F32(limit) / (norm + F32(1e-6))
    if scale < ONE:
        for p in range(grad.shape[0]):
            grad[p] *= scale
    return norm


@twin("cumulant.nn.flat.FlatAdam")
@njit(cache=True, error_model="numpy")
def adam(vector, grad, mean, square, steps, learning_rate, eps):  # type: ignore[no-untyped-def]
    """Take step number ``steps``, from 1, of Adam with averages of 0.9 and 0.999; all arrays are ``[P]``.

    Averages too small for ordinary numbers become 0: many processors take a hundred times as long over such a number, and the
    averages of a unit that has nothing to learn shrink there.
    """
    keep_mean, keep_square = F32(0.9), F32(0.999)
    size = F32(learning_rate / (1.0 - 0.9**steps))
    scale = F32(1.0 / math.sqrt(1.0 - 0.999**steps))
    small = F32(eps)
    for p in range(vector.shape[0]):
        g = grad[p]
        a = keep_mean * mean[p] + (ONE - keep_mean) * g
        b = keep_square * square[p] + (ONE - keep_square) * g * g
        a, b = ZERO if abs(a) < _TINY else a, ZERO if b < _TINY else b
        mean[p], square[p] = a, b
        vector[p] -= size * a / (np.sqrt(b) * scale + small)


@twin("cumulant.nn.flat.FlatRMSProp")
@njit(cache=True, error_model="numpy")
def rmsprop(vector, grad, square, learning_rate, decay, eps):  # type: ignore[no-untyped-def]
    """Take a step of RMSProp whose running mean square keeps ``decay``; all arrays are ``[P]``."""
    keep, size, small = F32(decay), F32(learning_rate), F32(eps)
    for p in range(vector.shape[0]):
        a = keep * square[p] + (ONE - keep) * grad[p] * grad[p]
        square[p] = ZERO if a < _TINY else a  # see ``adam``
        vector[p] -= size * grad[p] / (np.sqrt(square[p]) + small)
