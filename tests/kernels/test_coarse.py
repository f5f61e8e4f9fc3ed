"""A perceptron whose large products are rounded to bfloat16: near the exact one, equal to it where no layer fits."""

import os
import subprocess
import sys

import numpy as np
import pytest

from cumulant.kernels.perceptron import COARSE, RELU, TANH, block_of, forward, propagate

SIZES = [(4, 64, 96, 2), (64, 64, 1), (3, 20, 20, 2)]


def passes(sizes, kind, m):
    """Outputs, and gradients of the parameters and of the inputs."""
    generator, sizes = np.random.default_rng(0), np.array(sizes)
    vector = 0.2 * generator.standard_normal(int((sizes[:-1] * sizes[1:] + sizes[1:]).sum())).astype(np.float32)
    block, delta, grad = block_of(sizes.sum(), m), block_of(sizes.sum(), m), np.zeros_like(vector)
    block[: sizes[0], :m] = generator.standard_normal((sizes[0], m))
    forward(vector, 0, sizes, kind, m, block)
    delta[-sizes[-1] :, :m] = generator.standard_normal((sizes[-1], m))
    delta[-sizes[-1] :, m:] = np.nan
    propagate(vector, 0, sizes, kind, m, block, delta, True, grad, True)
    return block[-sizes[-1] :, :m].copy(), grad, delta[: sizes[0], :m].copy()


@pytest.mark.parametrize("kind", [RELU, TANH])
@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("m", [128, 60])
def test_a_perceptron_is_near_the_exact_one(kind, sizes, m):
    for place, (ours, exact) in enumerate(zip(passes(sizes, kind + COARSE, m), passes(sizes, kind, m))):
        if sizes == SIZES[-1]:
            np.testing.assert_array_equal(ours, exact)
        else:
            off = np.linalg.norm(ours - exact) / np.linalg.norm(exact)
            assert 0.0 < off < (0.3 if place > 0 and kind == RELU else 0.01)  # a ReLU may be off, not on


def test_there_are_no_tiles_where_numba_compiles_for_any_processor():
    code = "from cumulant.kernels import coarse; print(coarse.HERE)"
    environment = os.environ | {"NUMBA_CPU_NAME": "generic"}
    found = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert found.stdout == "False\n"
