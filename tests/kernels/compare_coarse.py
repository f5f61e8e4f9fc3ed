"""Products of factors rounded to bfloat16 against torch's products of the same factors, for ``test_twins.py``."""

import numpy as np
import torch

from cumulant.kernels import coarse
from cumulant.kernels.perceptron import BLOCK

SHAPES = [
    (32, 32, 32),
    (64, 32, 128),
    (32, 96, 128),
    (256, 256, 128),
    (96, 64, 100),
    (32, 64, 1),
]  # inputs, outputs, samples


def arrays(shape, *kinds):
    """Weights, "w", biases "b", inputs "x" and outputs "o", in blocks, and how wide these are; what is behind m is garbage."""
    num_in, num_out, m = shape
    width = min(BLOCK, -(-m // 32) * 32)
    sizes = {"w": (num_out, num_in), "b": (num_out,), "x": (num_in, width), "o": (num_out, width)}
    generator = np.random.default_rng(sum(shape))
    found = [generator.standard_normal(sizes[kind]).astype(np.float32) for kind in kinds]
    for kind, array in zip(kinds, found):
        if kind in "xo":
            array[:, m:] = np.nan
    return *found, width


def nearest(array):
    """The nearest numbers that bfloat16 has."""
    return torch.from_numpy(array).bfloat16().float()


def close(ours, theirs, inner):
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6 * inner)


def compare_affine(kernel, original):
    for shape in SHAPES:
        weight, bias, x, width = arrays(shape, "w", "b", "x")
        m, out = shape[2], np.full((shape[1], width), np.nan, np.float32)
        kernel(weight, bias, x, m, out)
        expected = original(nearest(x[:, :m].T.copy()), nearest(weight), torch.from_numpy(bias)).numpy().T
        close(out[:, :m], expected, shape[0])


def compare_to_inputs(kernel, original):
    for shape in SHAPES:
        weight, delta, width = arrays(shape, "w", "o")
        m, out = shape[2], np.full((shape[0], width), np.nan, np.float32)
        kernel(weight, delta, m, out)
        close(out[:, :m], original(nearest(weight).t(), nearest(delta[:, :m].copy())), shape[1])


def compare_add_outer(kernel, original):
    for shape in SHAPES:
        m = shape[2]
        delta, x, total, _ = arrays(shape, "o", "x", "w")
        expected = original(torch.from_numpy(total.copy()), nearest(delta[:, :m].copy()), nearest(x[:, :m].T.copy()))
        kernel(delta, x, m, total)
        close(total, expected, m)


def numbers():
    """Random numbers, halves between two neighbours, infinities, zeros and what rounds to infinity."""
    odd = np.array([0x3F808000, 0x3F818000, 0x7F800000, 0xFF800000, 0xBF828000, 0x80000000, 0x7F7FFFFF, 1], np.uint32)
    generator = np.random.default_rng(0)
    return np.concatenate([generator.standard_normal(32 * 32 - 8).astype(np.float32), odd.view(np.float32)]).reshape(
        32, 32
    )


def bits_of(array):
    return torch.from_numpy(array).bfloat16().view(torch.int16).numpy().view(np.uint16)


def compare_rounded(kernel):
    found = [kernel(np.uint32(bits)) & 0xFFFF for bits in numbers().reshape(-1).view(np.uint32)]
    np.testing.assert_array_equal(found, bits_of(numbers()).reshape(-1))
    for bits in (0x7FC00000, 0xFFC00000, 0x7FFFFFFF, 0x7F800001):
        assert np.isnan(np.array([kernel(np.uint32(bits)) << 16], np.uint32).view(np.float32)).all()


def compare_round_rows(kernel):
    out = np.full((32, 32), 7, np.uint16)
    kernel(numbers(), 30, out)
    np.testing.assert_array_equal(out[:, :30], bits_of(numbers())[:, :30])
    assert not out[:, 30:].any()


def compare_pair_rows(kernel):
    out = np.empty((16, 32), np.uint32)
    kernel(numbers(), 32, out)
    bits = bits_of(numbers())
    np.testing.assert_array_equal(out, bits[::2] | bits[1::2].astype(np.uint32) << 16)


def compare_turned(kernel):
    x, out = np.random.default_rng(0).standard_normal((32, 64)).astype(np.float32), np.empty((64, 32), np.float32)
    kernel(x, 32, 64, out)
    np.testing.assert_array_equal(out, x.T)


def compare_multiply(kernel):
    """On tiles where they may be used, else the slow one that stands for them."""
    for rows, columns, inner in ((32, 32, 32), (64, 96, 160)):
        generator = np.random.default_rng(rows)
        a, b, c = (
            generator.standard_normal(shape).astype(np.float32)
            for shape in ((rows, inner), (inner, columns), (rows, columns))
        )
        pairs = np.empty((inner // 2, columns), np.uint32)
        coarse._pair_rows.py_func(b, columns, pairs)
        product = (nearest(a) @ nearest(b)).numpy()
        for add in (False, True):
            out = c.copy()
            kernel(bits_of(a), pairs, out, rows, columns, inner, add)
            close(out, product + c if add else product, inner)


def compare_fits(kernel):
    for shape, columns, expected in (
        ((64, 32), 96, True),
        ((64, 33), 96, False),
        ((16, 32), 96, False),
        ((32, 32), 16, False),
    ):
        assert kernel(np.zeros(shape), np.zeros((1, columns))) is expected


TWINS = {
    "cumulant.kernels.coarse.affine": compare_affine,
    "cumulant.kernels.coarse.to_inputs": compare_to_inputs,
    "cumulant.kernels.coarse.add_outer": compare_add_outer,
}
LOOPS = {
    "cumulant.kernels.coarse._rounded": compare_rounded,
    "cumulant.kernels.coarse._round_rows": compare_round_rows,
    "cumulant.kernels.coarse._pair_rows": compare_pair_rows,
    "cumulant.kernels.coarse._turned": compare_turned,
    "cumulant.kernels.coarse._multiply": compare_multiply,
    "cumulant.kernels.coarse.fits": compare_fits,
}
