"""What is trained of a model, as one float32 vector, whatever number format the model computes in.

An update is much smaller than a weight; added to a bfloat16 weight it rounds away. So the optimiser moves a float32 copy, the
master, and the model's own numbers follow it. A model in float32 has no copy: its parameters become views of the vector.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from cumulant.errors import ConfigError


class Masters:
    """The master copy of parameters and the sum of their gradients.

    Matrices come first in the vector, then what should not decay (norms, biases), so that ``decay`` is one operation. It takes
    the place of ``nn.flat.Flat`` in ``FlatAdam``.

    Args:
        parameters: What is trained, all of one dtype; each once (tied weights are one parameter).
        dtype: Number format that the model shall compute in; that of the parameters if not given.

    Attributes:
        parameter: All parameters, ``[P]`` float32, with its gradient allocated.
        decayed: How many of its numbers belong to matrices.

    Raises:
        ConfigError: If there is nothing to train, or the dtypes differ.

    >>> layer = nn.Linear(2, 1)
    >>> masters = Masters(layer.parameters(), torch.bfloat16)
    >>> _ = masters.parameter.data.fill_(1.0 + 1e-4)  # too little for a weight of 8 bits; the master keeps it
    >>> masters.publish()
    >>> layer.weight.tolist(), masters.parameter[0].item() > 1.0
    ([[1.0, 1.0]], True)
    """

    def __init__(self, parameters: Iterable[nn.Parameter], dtype: torch.dtype | None = None) -> None:
        self.parts = sorted(parameters, key=lambda part: part.dim() < 2)
        dtypes = {part.dtype for part in self.parts}
        if len(dtypes) != 1:
            raise ConfigError(
                f"what is trained must have one number format, and has {sorted(map(str, dtypes)) or 'none'}"
            )
        self.decayed = sum(part.numel() for part in self.parts if part.dim() >= 2)
        vector = torch.cat([part.detach().reshape(-1) for part in self.parts])
        self.parameter = nn.Parameter(vector.float())  # no copy if it is float32 already
        # the model's own numbers, one vector too; in float32 it is the master itself
        self._own = self.parameter.data.to(dtype or vector.dtype)
        self._own_grad = torch.zeros_like(self._own)
        start = 0
        for part in self.parts:
            stop = start + part.numel()
            part.data = self._own[start:stop].view_as(part)
            part.grad = self._own_grad[start:stop].view_as(part)
            start = stop
        self.parameter.grad = self._own_grad if self.is_own else torch.zeros_like(self.parameter.data)

    @property
    def is_own(self) -> bool:
        """Whether the model's own numbers are the master."""
        return self._own.dtype == torch.float32

    @property
    def grad(self) -> Tensor:
        """Sum of the gradients so far, ``[P]`` float32."""
        assert self.parameter.grad is not None
        return self.parameter.grad

    def zero_grad(self) -> None:
        """Set every gradient to zero, in place (dropping it would cut the views)."""
        self._own_grad.zero_()
        if not self.is_own:
            self.grad.zero_()

    def collect(self) -> None:
        """Add what a backward pass left on the parameters to the sum; call it after each."""
        if not self.is_own:
            self.grad.add_(self._own_grad)
            self._own_grad.zero_()

    def clip_grad_norm(self, limit: float) -> Tensor:
        """Scale the gradient down to a Euclidean norm of at most ``limit``; return the norm before, a scalar."""
        norm = torch.linalg.vector_norm(self.grad)
        self.grad.mul_((limit / (norm + 1e-6)).clamp_(max=1.0))
        return norm

    @torch.no_grad()
    def decay(self, factor: float) -> None:
        """Shrink matrices by a factor; norms and biases stay.

        AdamW's decay is this before Adam's step, with the factor ``learning_rate * weight_decay`` (Loshchilov & Hutter 2019).
        """
        self.parameter.data[: self.decayed].mul_(1.0 - factor)

    def publish(self) -> None:
        """Give the model the masters' values; call it after each step."""
        if not self.is_own:
            self._own.copy_(self.parameter.data)

    def release(self) -> None:
        """Make the model a float32 one that holds the masters' own values, for saving; nothing is trained after it."""
        start = 0
        for part in self.parts:
            stop = start + part.numel()
            part.grad = None
            part.data = self.parameter.data[start:stop].view_as(part)
            start = stop

    def state_dict(self) -> dict[str, Any]:
        """The masters."""
        return {"parameter": self.parameter.data}

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Undo ``state_dict``."""
        self.parameter.data.copy_(state["parameter"])
        self.publish()
