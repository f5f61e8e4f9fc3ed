"""The matrix products of the compiled code against torch's, for ``test_twins.py``."""

import numpy as np
import torch

from cumulant.kernels.perceptron import BLOCK
from cumulant.kernels.products import COLUMNS, LANES, ROWS

CLOSE = {"rtol": 1e-5, "atol": 1e-5}
# Inputs, outputs, samples: none, one and several whole tiles in every direction, and what is left over.
SHAPES = [
    (4, 64, 128),
    (7, 5, 3),
    (1, 1, 1),
    (9, 6, 100),
    (COLUMNS + 1, ROWS + 1, LANES + 1),
    (2 * LANES - 1, 2 * ROWS, COLUMNS),
    (70, 40, 65),
    (70, 3, 65),
]


def arrays(shape, *kinds):
    """Weights, "w", of random numbers for a shape, biases "b", inputs "x" and outputs "o", in blocks."""
    num_in, num_out, _ = shape
    sizes = {"w": (num_out, num_in), "b": (num_out,), "x": (num_in, BLOCK), "o": (num_out, BLOCK)}
    generator = np.random.default_rng(sum(shape))
    return [generator.standard_normal(sizes[kind]).astype(np.float32) for kind in kinds]


def rounded(m):
    return -(-m // LANES) * LANES


def compare_multiply(kernel, original):
    """As it is, transposed, added, and with something before, between and behind that must stay as it is."""
    for rows, columns, inner in SHAPES:
        width = rounded(columns)
        for transposed in (False, True):
            for add in (False, True):
                generator = np.random.default_rng(rows)
                a = generator.standard_normal((inner, rows) if transposed else (rows, inner)).astype(np.float32)
                b = generator.standard_normal((inner, width)).astype(np.float32)
                c = generator.standard_normal((rows, width + 3)).astype(np.float32)
                expected = c.copy()
                left = torch.from_numpy(a.T.copy() if transposed else a)
                product = original(left, torch.from_numpy(b)).numpy()
                expected[:, 2 : 2 + width] = product + (c[:, 2 : 2 + width] if add else 0.0)
                steps = (1, rows) if transposed else (inner, 1)
                kernel(a, 0, *steps, b, 0, width, c, 2, width + 3, rows, columns, inner, add)
                np.testing.assert_allclose(c, expected, rtol=1e-5, atol=2e-5)


def compare_affine(kernel, original):
    for shape in SHAPES:
        m = shape[2]
        weight, bias, x = arrays(shape, "w", "b", "x")
        out = np.full((shape[1], BLOCK), np.nan, np.float32)
        kernel(weight, bias, x, m, out)
        expected = original(*(torch.from_numpy(each) for each in (x.T.copy(), weight, bias))).numpy().T
        np.testing.assert_allclose(out[:, :m], expected[:, :m], **CLOSE)
        assert np.isnan(out[:, rounded(m) :]).all()


def compare_to_inputs(kernel, original):
    for shape in SHAPES:
        m = shape[2]
        weight, delta = arrays(shape, "w", "o")
        out = np.full((shape[0], BLOCK), np.nan, np.float32)
        kernel(weight, delta, m, out)
        expected = original(torch.from_numpy(weight.T.copy()), torch.from_numpy(delta[:, :m].copy()))
        np.testing.assert_allclose(out[:, :m], expected, rtol=1e-5, atol=2e-5)
        assert np.isnan(out[:, rounded(m) :]).all()


def compare_add_outer(kernel, original):
    for shape in SHAPES:
        m = shape[2]
        delta, x, total = arrays(shape, "o", "x", "w")
        delta[:, m:] = x[:, m:] = np.nan  # not read
        parts = (total, delta[:, :m], x[:, :m].T.copy())
        expected = original(*(torch.from_numpy(each) for each in parts)).numpy()
        kernel(delta, x, m, total)
        np.testing.assert_allclose(total, expected, rtol=1e-5, atol=1e-4)


TWINS = {
    "cumulant.kernels.products.multiply": compare_multiply,
    "cumulant.kernels.products.affine": compare_affine,
    "cumulant.kernels.products.to_inputs": compare_to_inputs,
    "cumulant.kernels.products.add_outer": compare_add_outer,
    "cumulant.kernels.products._add_narrow": compare_add_outer,
}
