"""Several perceptrons over any number of rows against torch, for ``test_twins.py``."""

import numpy as np
import torch

from cumulant.kernels.perceptron import BLOCK, RELU, TANH
from cumulant.nn.flat import Flat
from cumulant.nn.mlp import mlp

SHAPE, COUNT, ROWS = (5, (16, 9), 3), 2, 2 * BLOCK + 7
SIZES = np.array([5, 16, 9, 3])


class Case:
    """Two perceptrons in one vector, rows, and what compiled code is given of them."""

    def __init__(self, kind):
        name, generator = {RELU: "relu", TANH: "tanh"}[kind], torch.Generator().manual_seed(1)
        num_in, hidden, num_out = SHAPE
        self.towers = torch.nn.ModuleList(mlp(num_in, hidden, num_out, name, 1.0, generator) for _ in range(COUNT))
        self.flat = Flat(self.towers)
        self.flat.parameter.data += 0.1 * torch.randn(self.flat.parameter.shape, generator=generator)
        self.x = torch.randn(ROWS, num_in, generator=generator).requires_grad_()
        self.slope = torch.randn(COUNT, ROWS, num_out, generator=generator)
        self.expected = torch.stack([tower(self.x) for tower in self.towers])
        vector = self.flat.parameter.detach().numpy()
        self.shared = (vector, np.array([0, len(vector) // COUNT]), SIZES, kind)
        self.blocks = np.full((COUNT, 3, SIZES.sum(), BLOCK), np.nan, np.float32)


def compare_run(kernel):
    for kind in (RELU, TANH):
        case, out = Case(kind), np.full((COUNT, ROWS, 3), np.nan, np.float32)
        kernel(*case.shared, case.x.detach().numpy(), case.blocks, out)
        np.testing.assert_allclose(out, case.expected.detach(), rtol=1e-5, atol=1e-5)


def compare_run_back(kernel):
    from cumulant.kernels.passes import run

    for kind in (RELU, TANH):
        for weights, inputs in [(True, True), (True, False), (False, True)]:
            case = Case(kind)
            run(*case.shared, case.x.detach().numpy(), case.blocks, np.zeros((COUNT, ROWS, 3), np.float32))
            (case.expected * case.slope).sum().backward()
            grad, to_x = np.ones(len(case.shared[0]), np.float32), np.ones((ROWS, 5), np.float32)
            delta = np.full((SIZES.sum(), BLOCK), np.nan, np.float32)
            kernel(*case.shared, case.blocks, case.slope.numpy(), delta, weights, grad, inputs, to_x)
            for found, expected, wanted in [(grad, case.flat.parameter.grad, weights), (to_x, case.x.grad, inputs)]:
                expected = 1.0 + expected.numpy() * wanted
                np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())


LOOPS = {
    "cumulant.kernels.passes.run": compare_run,
    "cumulant.kernels.passes.run_back": compare_run_back,
}
