"""Plain perceptrons forward and backward, clipping and Adam, on one flat vector of parameters.

On networks of 64 units PyTorch spends most of its time on the way to the arithmetic. Here a pass is a call. Activations are
stored unit by unit, each for a block of samples, so that every inner loop runs over samples, which the compiler turns into vector
instructions. The vector is that of ``nn.flat.Flat``: the modules of torch see what is written here, and the other way round.

A perceptron is ``start``, where its parameters begin in the vector, and ``sizes``: of its input and of each layer's output. A
block ``[units of all layers, BLOCK]`` holds what went in, then what came out of each layer.

Axes: J outputs and K inputs of a layer, m samples of a block, P parameters.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from cumulant.kernels.twins import twin

BLOCK = 128  # samples at once: the activations of a layer stay in the fastest cache
RELU, TANH = 0, 1
# Sums may be ordered as is fastest; infinities and NaN keep their meaning.
FAST = {"reassoc", "contract", "nsz", "arcp"}
F32, ZERO, ONE = np.float32, np.float32(0.0), np.float32(1.0)

# Numerator and denominator of tanh, odd and even powers of x, and where it is 1 to the rounding of float32.
_A1, _A3, _A5, _A7 = (
    F32(4.89352455891786e-3),
    F32(6.37261928875436e-4),
    F32(1.48572235717979e-5),
    F32(5.12229709037114e-8),
)
_A9, _A11, _A13 = F32(-8.60467152213735e-11), F32(2.00018790482477e-13), F32(-2.76076847742355e-16)
_B0, _B2, _B4, _B6 = (
    F32(4.89352518554385e-3),
    F32(2.26843463243900e-3),
    F32(1.18534705686654e-4),
    F32(1.19825839466702e-6),
)
_TANH_END = F32(7.90531110763549805)


@twin("torch.tanh")
@njit(inline="always")
def tanh(x):  # type: ignore[no-untyped-def]
    """Return the hyperbolic tangent to the rounding of float32, without a branch.

    Source: the rational approximation of the linear-algebra library Eigen.
    """
    x = _TANH_END if x > _TANH_END else x
    x = -_TANH_END if x < -_TANH_END else x
    s = x * x
    top = x * (_A1 + s * (_A3 + s * (_A5 + s * (_A7 + s * (_A9 + s * (_A11 + s * _A13))))))
    return top / (_B0 + s * (_B2 + s * (_B4 + s * _B6)))


@twin("torch.nn.functional.linear")
@njit(cache=True, error_model="numpy", fastmath=FAST)
def affine(weight, bias, x, m, out):  # type: ignore[no-untyped-def]
    """Write ``weight x + bias`` for the first m columns: ``[J, K], [J], [K, m] -> [J, m]``; four outputs at a time."""
    num_out, num_in = weight.shape
    j = 0
    while j + 4 <= num_out:
        z0, z1, z2, z3 = bias[j], bias[j + 1], bias[j + 2], bias[j + 3]
        for i in range(m):
            out[j, i], out[j + 1, i], out[j + 2, i], out[j + 3, i] = z0, z1, z2, z3
        k = 0
        while k + 4 <= num_in:
            a0, a1, a2, a3 = weight[j, k], weight[j, k + 1], weight[j, k + 2], weight[j, k + 3]
            b0, b1, b2, b3 = weight[j + 1, k], weight[j + 1, k + 1], weight[j + 1, k + 2], weight[j + 1, k + 3]
            c0, c1, c2, c3 = weight[j + 2, k], weight[j + 2, k + 1], weight[j + 2, k + 2], weight[j + 2, k + 3]
            d0, d1, d2, d3 = weight[j + 3, k], weight[j + 3, k + 1], weight[j + 3, k + 2], weight[j + 3, k + 3]
            for i in range(m):
                x0, x1, x2, x3 = x[k, i], x[k + 1, i], x[k + 2, i], x[k + 3, i]
                out[j, i] += a0 * x0 + a1 * x1 + a2 * x2 + a3 * x3
                out[j + 1, i] += b0 * x0 + b1 * x1 + b2 * x2 + b3 * x3
                out[j + 2, i] += c0 * x0 + c1 * x1 + c2 * x2 + c3 * x3
                out[j + 3, i] += d0 * x0 + d1 * x1 + d2 * x2 + d3 * x3
            k += 4
        while k < num_in:
            a0, b0, c0, d0 = weight[j, k], weight[j + 1, k], weight[j + 2, k], weight[j + 3, k]
            for i in range(m):
                x0 = x[k, i]
                out[j, i] += a0 * x0
                out[j + 1, i] += b0 * x0
                out[j + 2, i] += c0 * x0
                out[j + 3, i] += d0 * x0
            k += 1
        j += 4
    while j < num_out:
        z0 = bias[j]
        for i in range(m):
            out[j, i] = z0
        k = 0
        while k + 4 <= num_in:
            a0, a1, a2, a3 = weight[j, k], weight[j, k + 1], weight[j, k + 2], weight[j, k + 3]
            for i in range(m):
                out[j, i] += a0 * x[k, i] + a1 * x[k + 1, i] + a2 * x[k + 2, i] + a3 * x[k + 3, i]
            k += 4
        while k < num_in:
            a0 = weight[j, k]
            for i in range(m):
                out[j, i] += a0 * x[k, i]
            k += 1
        j += 1


@twin("torch.addmm")
@njit(cache=True, error_model="numpy", fastmath=FAST)
def add_outer(delta, x, m, total):  # type: ignore[no-untyped-def]
    """Add ``delta x^T`` of the first m columns to ``total``: ``[J, m], [K, m] -> [J, K]``; sixteen numbers at a time."""
    num_out, num_in = total.shape
    j = 0
    while j + 4 <= num_out:
        k = 0
        while k + 4 <= num_in:
            s00 = s01 = s02 = s03 = s10 = s11 = s12 = s13 = ZERO
            s20 = s21 = s22 = s23 = s30 = s31 = s32 = s33 = ZERO
            for i in range(m):
                a, b, c, d = delta[j, i], delta[j + 1, i], delta[j + 2, i], delta[j + 3, i]
                x0, x1, x2, x3 = x[k, i], x[k + 1, i], x[k + 2, i], x[k + 3, i]
                s00 += a * x0
                s01 += a * x1
                s02 += a * x2
                s03 += a * x3
                s10 += b * x0
                s11 += b * x1
                s12 += b * x2
                s13 += b * x3
                s20 += c * x0
                s21 += c * x1
                s22 += c * x2
                s23 += c * x3
                s30 += d * x0
                s31 += d * x1
                s32 += d * x2
                s33 += d * x3
            total[j, k] += s00
            total[j, k + 1] += s01
            total[j, k + 2] += s02
            total[j, k + 3] += s03
            total[j + 1, k] += s10
            total[j + 1, k + 1] += s11
            total[j + 1, k + 2] += s12
            total[j + 1, k + 3] += s13
            total[j + 2, k] += s20
            total[j + 2, k + 1] += s21
            total[j + 2, k + 2] += s22
            total[j + 2, k + 3] += s23
            total[j + 3, k] += s30
            total[j + 3, k + 1] += s31
            total[j + 3, k + 2] += s32
            total[j + 3, k + 3] += s33
            k += 4
        while k < num_in:
            s00 = s10 = s20 = s30 = ZERO
            for i in range(m):
                x0 = x[k, i]
                s00 += delta[j, i] * x0
                s10 += delta[j + 1, i] * x0
                s20 += delta[j + 2, i] * x0
                s30 += delta[j + 3, i] * x0
            total[j, k] += s00
            total[j + 1, k] += s10
            total[j + 2, k] += s20
            total[j + 3, k] += s30
            k += 1
        j += 4
    while j < num_out:
        for k in range(num_in):
            s00 = ZERO
            for i in range(m):
                s00 += delta[j, i] * x[k, i]
            total[j, k] += s00
        j += 1


@twin("cumulant.nn.mlp.mlp")
@njit(cache=True, error_model="numpy", fastmath=FAST)
def forward(vector, start, sizes, kind, m, block):  # type: ignore[no-untyped-def]
    """Run a perceptron on the first m columns of a block, whose first rows hold the inputs; the last rows get the outputs.

    Args:
        vector: Parameters, ``[P]`` float32.
        start: Where those of this perceptron begin.
        sizes: Of input and of each layer, ``[L + 1]`` int64.
        kind: Activation between layers: ``RELU`` or ``TANH``.
        m: Samples.
        block: ``[sum of sizes, BLOCK]`` float32.
    """
    place, row, last = start, 0, sizes.shape[0] - 2
    for layer in range(last + 1):
        num_in, num_out = sizes[layer], sizes[layer + 1]
        weight = vector[place : place + num_in * num_out].reshape((num_out, num_in))
        place += num_in * num_out
        out = block[row + num_in : row + num_in + num_out]
        affine(weight, vector[place : place + num_out], block[row : row + num_in], m, out)
        place += num_out
        row += num_in
        if layer < last:
            for j in range(num_out):
                if kind == TANH:
                    for i in range(m):
                        out[j, i] = tanh(out[j, i])
                else:
                    for i in range(m):
                        out[j, i] = out[j, i] if out[j, i] > ZERO else ZERO


@twin("cumulant.nn.backward.Pass")
@njit(cache=True, error_model="numpy", fastmath=FAST)
def backward(vector, start, sizes, kind, m, block, delta, turned, zeros, grad):  # type: ignore[no-untyped-def]
    """Add the gradient of a perceptron's parameters to ``grad``, given that of its outputs.

    Args:
        vector: Parameters, ``[P]``.
        start: See ``forward``, as for ``sizes``, ``kind``, ``m`` and ``block``, which ``forward`` has filled.
        sizes: See above.
        kind: See above.
        m: See above.
        block: See above.
        delta: Of the shape of ``block``; its last rows hold the gradient of the outputs, the others are written.
        turned: The weight matrices of ``vector``, each transposed in its place, by ``turn``.
        zeros: As many zeros as the largest layer has units.
        grad: ``[P]``.
    """
    place, row = start, 0
    for layer in range(sizes.shape[0] - 1):
        place += (sizes[layer] + 1) * sizes[layer + 1]
        row += sizes[layer]
    for layer in range(sizes.shape[0] - 2, -1, -1):
        num_in, num_out = sizes[layer], sizes[layer + 1]
        of_output, above = delta[row : row + num_out], row - num_in
        place -= num_out
        for j in range(num_out):
            total = ZERO
            for i in range(m):
                total += of_output[j, i]
            grad[place + j] += total
        place -= num_in * num_out
        inputs = block[above:row]
        add_outer(of_output, inputs, m, grad[place : place + num_in * num_out].reshape((num_out, num_in)))
        if layer > 0:
            of_input = delta[above:row]
            affine(turned[place : place + num_in * num_out].reshape((num_in, num_out)), zeros, of_output, m, of_input)
            for k in range(num_in):
                if kind == TANH:
                    for i in range(m):
                        of_input[k, i] *= ONE - inputs[k, i] * inputs[k, i]
                else:
                    for i in range(m):
                        of_input[k, i] = of_input[k, i] if inputs[k, i] > ZERO else ZERO
        row = above


@twin("torch.t")
@njit(cache=True, error_model="numpy")
def turn(vector, start, sizes, turned):  # type: ignore[no-untyped-def]
    """Write the transposed weight matrices of a perceptron to the same places of another vector."""
    place = start
    for layer in range(sizes.shape[0] - 1):
        num_in, num_out = sizes[layer], sizes[layer + 1]
        for j in range(num_out):
            for k in range(num_in):
                turned[place + k * num_out + j] = vector[place + j * num_in + k]
        place += (num_in + 1) * num_out


@twin("cumulant.nn.flat.Flat")
@njit(cache=True, error_model="numpy", fastmath=FAST)
def clip_grad_norm(grad, limit):  # type: ignore[no-untyped-def]
    """Scale a gradient ``[P]`` down to a norm of at most ``limit``; return the norm before."""
    total = ZERO
    for p in range(grad.shape[0]):
        total += grad[p] * grad[p]
    norm = F32(math.sqrt(total))
    scale = F32(limit) / (norm + F32(1e-6))
    if scale < ONE:
        for p in range(grad.shape[0]):
            grad[p] *= scale
    return norm


@twin("cumulant.nn.flat.FlatAdam")
@njit(cache=True, error_model="numpy", fastmath=FAST)
def adam(vector, grad, mean, square, steps, learning_rate, eps):  # type: ignore[no-untyped-def]
    """Take step number ``steps``, from 1, of Adam with averages of 0.9 and 0.999; all arrays are ``[P]``."""
    keep_mean, keep_square = F32(0.9), F32(0.999)
    size = F32(learning_rate / (1.0 - 0.9**steps))
    scale = F32(1.0 / math.sqrt(1.0 - 0.999**steps))
    small = F32(eps)
    for p in range(vector.shape[0]):
        g = grad[p]
        a = keep_mean * mean[p] + (ONE - keep_mean) * g
        b = keep_square * square[p] + (ONE - keep_square) * g * g
        mean[p], square[p] = a, b
        vector[p] -= size * a / (np.sqrt(b) * scale + small)
