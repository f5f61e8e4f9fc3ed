"""One flat vector for all parameters and one for all gradients.

The modules stay ordinary modules: their parameters are views. The optimiser then moves one tensor, the gradient norm is one
norm, a checkpoint is one array, and compiled code can work on the same memory.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import nn


class Vector(Protocol):
    """All parameters as one vector with its gradient: `Flat`, or `nn.masters.Masters`."""

    parameter: nn.Parameter


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


class FlatAdam:
    """Adam on a flat vector.

    The same arithmetic as ``torch.optim.Adam``, which takes a second to load in every process, and whose step on a small
    network is mostly bookkeeping.

        mean      = beta1 mean + (1 - beta1) grad
        square    = beta2 square + (1 - beta2) grad^2
        parameter = (1 - learning_rate weight_decay) parameter
                    - learning_rate mean / (1 - beta1^t) / (sqrt(square / (1 - beta2^t)) + eps)

    Args:
        flat: Parameters and their gradient.
        learning_rate: Step size; set ``learning_rate`` to change it on the way.
        betas: How much of the two averages is kept, each in [0, 1).
        eps: What keeps the division finite.
        weight_decay: How fast parameters shrink, per unit of the step size.

    Source:
        Kingma & Ba 2015, algorithm 1; the decay: Loshchilov & Hutter 2019 (AdamW).

    >>> flat = Flat(nn.Linear(1, 1))
    >>> before = flat.parameter.detach().clone()
    >>> _ = flat.parameter.grad.fill_(7.0)
    >>> FlatAdam(flat, 0.1).step()
    >>> before - flat.parameter.detach()  # the first step has the size of the learning rate, whatever the gradient
    tensor([0.1000, 0.1000])
    """

    def __init__(
        self,
        flat: Vector,
        learning_rate: float,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        self.flat, self.learning_rate, self.betas, self.eps = flat, learning_rate, betas, eps
        self.weight_decay = weight_decay
        self.mean, self.square = torch.zeros_like(flat.parameter.data), torch.zeros_like(flat.parameter.data)
        self.steps = 0

    @torch.no_grad()
    def step(self) -> None:
        """Take one step along the gradient."""
        grad, (beta1, beta2) = self.flat.parameter.grad, self.betas
        assert grad is not None
        self.steps += 1
        # One pass over memory, as torch.optim.AdamW(fused=True) does; operation by operation takes three times as long.
        torch._fused_adamw_(
            [self.flat.parameter.data],
            [grad],
            [self.mean],
            [self.square],
            [],
            [torch.tensor(float(self.steps), device=grad.device)],
            lr=self.learning_rate,
            beta1=beta1,
            beta2=beta2,
            weight_decay=self.weight_decay,
            eps=self.eps,
            amsgrad=False,
            maximize=False,
        )

    def state_dict(self) -> dict[str, Any]:
        """Everything that a resumed run needs, but the parameters."""
        return {"mean": self.mean, "square": self.square, "steps": self.steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Undo ``state_dict``."""
        self.mean.copy_(state["mean"])
        self.square.copy_(state["square"])
        self.steps = int(state["steps"])


class FlatRMSProp:
    """RMSProp on a flat vector, as ``torch.optim.RMSprop`` without momentum, which takes a second to load.

        square    = decay square + (1 - decay) grad^2
        parameter = parameter - learning_rate grad / (sqrt(square) + eps)

    Args:
        flat: Parameters and their gradient.
        learning_rate: Step size; set ``learning_rate`` to change it on the way.
        decay: How much of the running mean square is kept.
        eps: What keeps the division finite.

    Source:
        Tieleman & Hinton 2012, "Lecture 6.5: RMSProp". Differs from source: ``eps`` outside the root, as in torch.

    >>> flat = Flat(nn.Linear(1, 1))
    >>> before = flat.parameter.detach().clone()
    >>> _ = flat.parameter.grad.fill_(7.0)
    >>> FlatRMSProp(flat, 0.1, 0.99).step()
    >>> (before - flat.parameter.detach()).round(decimals=3)  # sqrt(0.01) of the gradient is the first mean square
    tensor([1., 1.])
    """

    def __init__(self, flat: Vector, learning_rate: float, decay: float, eps: float = 1e-8) -> None:
        self.flat, self.learning_rate, self.decay, self.eps = flat, learning_rate, decay, eps
        self.square = torch.zeros_like(flat.parameter.data)

    @torch.no_grad()
    def step(self) -> None:
        """Take one step along the gradient."""
        grad = self.flat.parameter.grad
        assert grad is not None
        self.square.mul_(self.decay).addcmul_(grad, grad, value=1.0 - self.decay)
        self.flat.parameter.addcdiv_(grad, self.square.sqrt().add_(self.eps), value=-self.learning_rate)

    def state_dict(self) -> dict[str, Any]:
        """Everything that a resumed run needs, but the parameters."""
        return {"square": self.square}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Undo ``state_dict``."""
        self.square.copy_(state["square"])
