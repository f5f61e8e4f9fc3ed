"""One flat vector for all parameters and one for all gradients.

The modules stay ordinary modules: their parameters are views. The optimiser then moves one tensor, the gradient norm is one
norm, a checkpoint is one array, and compiled code can work on the same memory.
"""

from __future__ import annotations

import torch
from torch import nn


class Flat:
    """The parameters of a module as one vector.

    Args:
        module: Its parameters become views of ``parameter``; its gradients accumulate in ``parameter.grad``.

    Attributes:
        parameter: All parameters, ``[P]`` float32, with its gradient allocated: give this to the optimiser.
    """

    def __init__(self, module: nn.Module) -> None:
        parts = list(module.parameters())
        vector = torch.cat([part.detach().reshape(-1).float() for part in parts])
        self.parameter = nn.Parameter(vector)
        self.parameter.grad = torch.zeros_like(vector)
        start = 0
        for part in parts:
            stop = start + part.numel()
            part.data = self.parameter.data[start:stop].view_as(part)
            part.grad = self.parameter.grad[start:stop].view_as(part)
            start = stop

    def zero_grad(self) -> None:
        """Set every gradient to zero, in place (dropping it would cut the views)."""
        assert self.parameter.grad is not None
        self.parameter.grad.zero_()

    def clip_grad_norm(self, limit: float) -> torch.Tensor:
        """Scale the gradient down to a Euclidean norm of at most ``limit``.

        Returns:
            The norm before clipping, a scalar tensor.
        """
        grad = self.parameter.grad
        assert grad is not None
        norm = torch.linalg.vector_norm(grad)
        grad.mul_((limit / (norm + 1e-6)).clamp_(max=1.0))
        return norm
