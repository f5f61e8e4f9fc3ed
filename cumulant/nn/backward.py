"""The forward and backward pass of a plain perceptron by hand, for updates on the CPU.

In an update of SAC on networks of 256 units nearly everything is matrix products. PyTorch gives those of float32 linear layers to
MKL, which on some processors reaches half of what oneDNN, the library that it uses for convolutions, does; and autograd runs an
operation and a pass over memory for each bias and activation. Here a whole perceptron is one operation of autograd, and only the
gradients that are asked for are computed: in compiled code (``nn.compiled``) where that can be, which is faster still; else the
large products are oneDNN's, bias and ReLU included.

Axes: M rows, D inputs or outputs of a layer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from cumulant.nn.compiled import plan_of, run_plan

# Multiplications from which it pays, of the largest layer in compiled code and by oneDNN, and of a single product.
_SMALL_LAYER, _LARGE_LAYER, _LARGE_PRODUCT, _FEWEST_ROWS = 2**18, 2**22, 2**21, 64
_KINDS: dict[type[nn.Module], str] = {nn.ReLU: "relu", nn.Tanh: "tanh", nn.SiLU: "silu"}
_plans: WeakKeyDictionary[nn.Module, tuple[str | None, list[nn.Parameter]]] = (
    WeakKeyDictionary()
)  # of layers seen so far
_onednn = getattr(getattr(torch.ops, "mkldnn", None), "_linear_pointwise", None)
_available = torch.backends.mkldnn.is_available() and _onednn is not None


def run_layers(layers: nn.Module, x: Tensor, coarse: bool = False) -> Tensor:
    """Run the layers of ``nn.mlp.mlp`` on ``x``, on the CPU by whatever code is fastest for their size.

    Args:
        layers: Linear layers, with activations between them or whatever else.
        x: Inputs, ``[..., D]``.
        coarse: Whether factors and results of a perceptron's large products, of 64 rows and more, are rounded to bfloat16.

    Returns:
        ``layers(x)``, to the rounding of float32, or of bfloat16.
    """
    kind, parameters = _kind(layers, x)
    if kind is None:
        return layers(x)
    if coarse and _rounds(x, parameters):
        return Perceptron.apply(x, kind, True, *parameters)
    plan = plan_of(layers, kind, [parameters])
    if plan is not None:
        return run_plan(plan, x).squeeze(0)
    if len(x) * max(map(torch.numel, parameters)) < _LARGE_LAYER:
        return layers(x)
    return (
        Perceptron.apply(x, kind, False, *parameters) if torch.is_grad_enabled() else _forward(x, kind, parameters)[0]
    )


def run_towers(towers: nn.ModuleList, x: Tensor, count: int, coarse: bool = False) -> Tensor:
    """Run the first ``count`` towers, all of the same shape, on ``x [M, K]``, in one go where that is faster: ``[N, M, J]``."""
    asked = list(towers)[:count]
    kind, parameters = _kind(asked[0], x)
    kind = None if coarse and _rounds(x, parameters) else kind
    plan = None if kind is None else plan_of(towers, kind, [_plan(tower)[1] for tower in asked])
    return torch.stack([run_layers(tower, x, coarse) for tower in asked]) if plan is None else run_plan(plan, x)


def _rounds(x: Tensor, parameters: Sequence[Tensor]) -> bool:
    """Return whether any product of a perceptron is large enough to be rounded."""
    return len(x) * max(map(torch.numel, parameters)) >= _LARGE_PRODUCT


def _kind(layers: nn.Module, x: Tensor) -> tuple[str | None, list[nn.Parameter]]:
    """Return the activation and the parameters of layers that can be run by hand and are worth it; None for others."""
    if not _available or x.dim() != 2 or len(x) < _FEWEST_ROWS or x.dtype != torch.float32 or x.device.type != "cpu":
        return None, []
    kind, parameters = _plan(layers)
    return kind if kind and len(x) * max(map(torch.numel, parameters)) >= _SMALL_LAYER else None, parameters


def _plan(layers: nn.Module) -> tuple[str | None, list[nn.Parameter]]:
    """Return the one activation between linear layers with biases, None for other layers, and all parameters."""
    found = _plans.get(layers)
    if found is None:
        each = list(layers) if isinstance(layers, nn.Sequential) else []
        linear = [layer for layer in each[::2] if type(layer) is nn.Linear and layer.bias is not None]
        kinds = {_KINDS.get(type(layer)) for layer in each[1::2]} or {"relu"}  # of a single layer, any will do
        plain = len(each) == 2 * len(linear) - 1 and len(kinds) == 1
        found = _plans[layers] = (kinds.pop() if plain else None, list(layers.parameters()))
    return found


@contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """Hold parameters fixed in what is computed inside: gradients pass through the module, and none are computed for it.

    >>> layer, x = nn.Linear(1, 1), torch.ones(1, 1, requires_grad=True)
    >>> with frozen(layer):
    ...     y = layer(x)
    >>> y.backward()
    >>> x.grad is None, layer.weight.grad is None
    (False, True)
    """
    parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
    for parameter in parameters:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in parameters:
            parameter.requires_grad_(True)


class Perceptron(torch.autograd.Function):
    """Linear layers with an activation between each two, as one operation: ``apply(x, kind, coarse, weight, bias, ...)``.

    h_0 = x,   z_k = h_k W_k^T + b_k,   h_{k+1} = activation(z_k), but for the last, which is returned: y = z_K

    With g_K = dL/dy, and backwards from it:

    dL/dW_k = g_k^T h_k,   dL/db_k = sum of g_k over rows,   g_{k-1} = (g_k W_k) activation'(z_{k-1})
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, kind: str, coarse: bool, *parameters: Tensor) -> Tensor:
        """Return the outputs, ``[M, D]``, for inputs ``[M, D]``; ``kind`` is "relu", "tanh" or "silu"; see ``run_layers``."""
        out, inner, before = _forward(x, kind, parameters, coarse)
        ctx.kind, ctx.coarse, ctx.num_layers = kind, coarse, len(inner)
        ctx.save_for_backward(*inner, *parameters[::2], *before)
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        """Return the gradients that are needed of x, nothing for ``kind`` and ``coarse``, and of weights and biases."""
        count, saved = ctx.num_layers, ctx.saved_tensors
        inner, weights, before = saved[:count], saved[count : 2 * count], saved[2 * count :]
        grads: list[Tensor | None] = [None] * (3 + 2 * count)
        for k in range(count - 1, -1, -1):
            if ctx.needs_input_grad[3 + 2 * k]:
                grads[3 + 2 * k] = _product(grad.t(), inner[k].t(), ctx.coarse)
            if ctx.needs_input_grad[4 + 2 * k]:
                grads[4 + 2 * k] = grad.sum(0)
            if k == 0:
                break
            grad = _before(grad, weights[k], ctx.kind, inner[k], before[k - 1] if before else None, ctx.coarse)
        if ctx.needs_input_grad[0]:
            grads[0] = _input_gradient(grad, weights[0], ctx.coarse)
        return tuple(grads)


class Pass:
    """One pass through plain layers and back whose gradients go straight to where they belong.

    For an update that is small enough for the bookkeeping of autograd to count. A loss of the output is differentiated by
    autograd as ever, so that its formula stays where it is; the layers, which are nearly all of the work, are not on its tape.

    Args:
        layers: Linear layers with activations between them; every parameter has a gradient allocated (``nn.flat.Flat``).
        x: Inputs, ``[M, D]``, without a gradient of their own.

    Attributes:
        out: The outputs, ``[M, D]``: compute a loss of them, call ``backward`` of it, then ``backward`` here.

    Raises:
        ValueError: If these layers cannot be run by hand (see ``Pass.fits``).

    >>> layers = nn.Sequential(nn.Linear(1, 1))
    >>> layers[0].weight.grad, layers[0].bias.grad = torch.zeros(1, 1), torch.zeros(1)
    >>> made = Pass(layers, torch.tensor([[2.0], [3.0]]))
    >>> made.out.sum().backward()
    >>> made.backward()
    >>> layers[0].weight.grad, layers[0].bias.grad
    (tensor([[5.]]), tensor([2.]))
    """

    def __init__(self, layers: nn.Module, x: Tensor) -> None:
        kind, self._parameters = _plan(layers)
        if kind is None:
            raise ValueError("these layers are not linear ones with biases and one kind of activation between them")
        self._kind = kind
        with torch.no_grad():
            self.out, self._inner, self._before = _forward(x, kind, self._parameters)
        self.out.requires_grad_()

    @staticmethod
    def fits(layers: nn.Module, x: Tensor) -> bool:
        """Return whether layers can be run by hand on inputs like these."""
        plain = x.dim() == 2 and x.dtype == torch.float32 and x.device.type == "cpu" and not x.requires_grad
        return _available and plain and _plan(layers)[0] is not None

    @torch.no_grad()
    def backward(self) -> None:
        """Write the gradient of every parameter, over whatever was there, given that of ``out``."""
        grad, parameters = self.out.grad, self._parameters
        assert grad is not None
        for k in range(len(self._inner) - 1, -1, -1):
            to_weight, to_bias = parameters[2 * k].grad, parameters[2 * k + 1].grad
            assert to_weight is not None
            assert to_bias is not None
            inner = self._inner[k]
            if inner.numel() * grad.shape[1] >= _LARGE_PRODUCT:
                to_weight.copy_(_product(grad.t(), inner.t()))
            else:
                torch.mm(grad.t(), inner, out=to_weight)
            torch.sum(grad, 0, out=to_bias)
            if k:
                before = self._before[k - 1] if self._before else None
                grad = _before(grad, parameters[2 * k], self._kind, inner, before)


def _forward(
    x: Tensor, kind: str, parameters: Sequence[Tensor], coarse: bool = False
) -> tuple[Tensor, list[Tensor], list[Tensor]]:
    """Return the outputs, the inputs of each layer, and what SiLU's derivative needs."""
    inner, before = [x], []
    last = len(parameters) - 2
    for k in range(0, last, 2):
        z = _linear(inner[-1], parameters[k], parameters[k + 1], kind == "relu", coarse)
        if kind == "silu":
            before.append(z)
            z = nn.functional.silu(z)
        elif kind == "tanh":
            z.tanh_()
        inner.append(z)
    return _linear(inner[-1], parameters[last], parameters[last + 1], False, coarse), inner, before


def _before(
    grad: Tensor, weight: Tensor, kind: str, inner: Tensor, before: Tensor | None, coarse: bool = False
) -> Tensor:
    """Return the gradient before an activation and the layer that follows it, given that of the layer's output."""
    grad = _input_gradient(grad, weight, coarse)
    if kind == "relu":
        return torch.ops.aten.threshold_backward(grad, inner, 0)
    if kind == "tanh":
        return torch.ops.aten.tanh_backward(grad, inner)
    return torch.ops.aten.silu_backward(grad, before)


def _linear(x: Tensor, weight: Tensor, bias: Tensor, relu: bool, coarse: bool) -> Tensor:
    """Return ``x weight^T + bias``, and of it what is above zero if wanted."""
    if len(x) * weight.numel() >= _LARGE_PRODUCT:
        if not coarse:
            return _onednn(x, weight, bias, "relu" if relu else "none", [], "")
        out = _coarse_product(x, weight).add_(bias)
    else:
        out = torch.addmm(bias, x, weight.t())
    return out.relu_() if relu else out


def _input_gradient(grad: Tensor, weight: Tensor, coarse: bool) -> Tensor:
    """Return ``grad weight``, contiguous: what follows is elementwise, and slow on rows of different strides."""
    if len(grad) * weight.numel() >= _LARGE_PRODUCT:
        return _coarse_product(grad, weight.t()) if coarse else _onednn(grad, weight.t(), None, "none", [], "")
    if len(weight) == 1:
        return grad * weight
    return grad.mm(weight)


def _product(x: Tensor, y: Tensor, coarse: bool = False) -> Tensor:
    """Return ``x y^T``; a narrow result transposed in memory, which is up to five times as fast."""
    narrow = len(y) < len(x)
    if narrow:
        x, y = y, x
    if x.numel() * len(y) >= _LARGE_PRODUCT:
        out = _coarse_product(x, y) if coarse else _onednn(x, y, None, "none", [], "")
    else:
        out = x.mm(y.t())
    return out.t() if narrow else out


def _coarse_product(x: Tensor, y: Tensor) -> Tensor:
    """Return ``x y^T`` of factors rounded to bfloat16, rounded itself; sums are in float32."""
    return x.bfloat16().mm(y.bfloat16().t()).float()
