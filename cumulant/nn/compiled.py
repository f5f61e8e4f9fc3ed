"""Plain perceptrons on the CPU as one operation of autograd, in compiled code.

In an update of SAC on networks of 256 units nearly everything is matrix products; the rest is the price of many small operations.
Here all towers of a network are one call each way (``kernels/passes.py``), with products as fast as a core can multiply, and only
the gradients that are asked for are computed. The formulas around it stay torch's.

Axes: N towers, M rows, K inputs and J outputs of a tower, P parameters.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor, nn

from cumulant.kernels import passes, perceptron

KINDS = {"relu": perceptron.RELU, "tanh": perceptron.TANH}
MOST_THREADS = 2  # beyond, torch's products on all of them are faster than these on one


class Plan:
    """What compiled code needs of towers of the same shape: their parameters as one vector, where each begins, sizes, activation.

    Args:
        kind: Activation, of ``KINDS``.
        towers: Weight, bias, weight, bias and so on of each, float32 on the CPU.

    Attributes:
        usable: Whether the parameters of each tower follow one another in memory, as ``nn.flat.Flat`` puts them.
    """

    def __init__(self, kind: str, towers: Sequence[Sequence[nn.Parameter]]) -> None:
        self.parameters = [parameter for tower in towers for parameter in tower]
        self.kind, self.at = KINDS[kind], self.parameters[0].data_ptr()
        first = towers[0]
        self.sizes = np.array([first[0].shape[1], *(bias.shape[0] for bias in first[1::2])])
        self.units = int(self.sizes.sum())
        self.starts, self._count = (
            np.array([tower[0].data_ptr() - self.at for tower in towers]) // 4,
            sum(map(torch.numel, first)),
        )
        self.usable = all(map(_follow, towers)) and bool((self.starts >= 0).all())
        if self.usable:
            self.vector = self._whole(self.parameters[0].detach())

    def _whole(self, beginning: Tensor) -> np.ndarray:
        count = int(self.starts.max()) + self._count
        return beginning.as_strided((count,), (1,), beginning.storage_offset()).numpy()

    def grad(self) -> np.ndarray | None:
        """Return the memory of the parameters' gradients, laid out as they are; None if it is not."""
        grads = [parameter.grad for parameter in self.parameters]
        beginning = grads[0]
        if beginning is None:
            return None
        for parameter, grad in zip(self.parameters, grads):
            if grad is None or grad.data_ptr() - beginning.data_ptr() != parameter.data_ptr() - self.at:
                return None
        return self._whole(beginning)

    def blocks(self, rows: int) -> np.ndarray:
        """Return room for activations of so many rows, ``[N, C, units, BLOCK]``, that begins with a cache line."""
        shape = (len(self.starts), -(-rows // perceptron.BLOCK), self.units, perceptron.BLOCK)
        count = int(np.prod(shape))
        room = np.empty(count + 16, np.float32)
        first = (-room.ctypes.data % 64) // 4
        return room[first : first + count].reshape(shape)


def _follow(parameters: Sequence[Tensor]) -> bool:
    place = parameters[0].data_ptr()
    for parameter in parameters:
        if parameter.data_ptr() != place or not parameter.is_contiguous():
            return False
        place += 4 * parameter.numel()
    return True


_plans: WeakKeyDictionary[nn.Module, dict[int, Plan]] = WeakKeyDictionary()  # by the number of towers


def plan_of(owner: nn.Module, kind: str | None, towers: Sequence[Sequence[nn.Parameter]]) -> Plan | None:
    """Return what compiled code needs of towers; None if it cannot run them.

    Args:
        owner: The module that they belong to, under which the plan is kept.
        kind: Activation.
        towers: See ``Plan``.
    """
    if kind not in KINDS or torch.get_num_threads() > MOST_THREADS:
        return None
    kept = _plans.setdefault(owner, {})
    plan = kept.get(len(towers))
    if plan is None or plan.at != towers[0][0].data_ptr():
        plan = kept[len(towers)] = Plan(kind, towers)
    return plan if plan.usable else None


def run_plan(plan: Plan, x: Tensor) -> Tensor:
    """Return what each tower says of the rows ``x [M, K]``: ``[N, M, J]``."""
    return Perceptrons.apply(x, plan, *plan.parameters)


class Perceptrons(torch.autograd.Function):
    """Towers of linear layers with an activation between each two: ``apply(x, plan, *plan.parameters)``.

    The formulas are those of ``nn.backward.Perceptron``. Where every parameter has its gradient allocated by ``nn.flat.Flat``,
    the gradients of the parameters are added to it at once, and autograd gets none to add.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, plan: Plan, *parameters: Tensor) -> Tensor:
        """Return the outputs, ``[N, M, J]``, for inputs ``[M, K]``; raises ValueError for others, as compiled code cannot."""
        if x.dim() != 2 or x.shape[1] != plan.sizes[0]:
            raise ValueError(f"inputs are {list(x.shape)}; these perceptrons read [rows, {plan.sizes[0]}]")
        out = torch.empty(len(plan.starts), len(x), int(plan.sizes[-1]))
        ctx.plan, ctx.blocks = plan, plan.blocks(len(x))
        ctx.save_for_backward(
            *parameters
        )  # so that autograd notices if they change before the way back, which reads them
        seen = x.detach().contiguous().numpy()
        passes.run(plan.vector, plan.starts, plan.sizes, plan.kind, seen, ctx.blocks, out.numpy())
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        """Return the gradients that are needed of x, nothing for ``plan``, and of the parameters."""
        plan, rows, _ = ctx.plan, slope.shape[1], ctx.saved_tensors
        inputs, weights = ctx.needs_input_grad[0], any(ctx.needs_input_grad[2:])
        to_x = torch.zeros(rows if inputs else 0, int(plan.sizes[0]))
        in_place = plan.grad() if weights else None
        grad = np.zeros(len(plan.vector) if weights else 0, np.float32) if in_place is None else in_place
        passes.run_back(
            plan.vector, plan.starts, plan.sizes, plan.kind, ctx.blocks, slope.contiguous().numpy(), plan.blocks(1)[0, 0],
            weights, grad, inputs, to_x.numpy(),
        )  # fmt: skip
        parts: list[Tensor | None] = [None] * len(plan.parameters)
        if weights and in_place is None:
            for k, parameter in enumerate(plan.parameters):
                at = (parameter.data_ptr() - plan.at) // 4
                parts[k] = torch.from_numpy(grad[at : at + parameter.numel()]).view_as(parameter)
        return (to_x if inputs else None, None, *parts)
