"""The forward and backward pass of a plain perceptron by hand, for updates on the CPU.

In an update of SAC on networks of 256 units nearly everything is matrix products. PyTorch gives those of float32 linear layers to
MKL, which on some processors reaches half of what oneDNN, the library that it uses for convolutions, does; and autograd runs an
operation and a pass over memory for each bias and activation. Here a whole perceptron is one operation of autograd, of which the
large products are oneDNN's, bias and ReLU included, and only the gradients that are asked for are computed.

Axes: M rows, D inputs or outputs of a layer.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

# Multiplications from which it pays, of the largest layer and of a single product: calls of Python and of oneDNN have a price.
_LARGE_LAYER, _LARGE_PRODUCT = 2**23, 2**21
_KINDS: dict[type[nn.Module], str] = {nn.ReLU: "relu", nn.Tanh: "tanh", nn.SiLU: "silu"}
_available = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def run_layers(layers: nn.Module, x: Tensor) -> Tensor:
    """Run the layers of ``nn.mlp.mlp`` on ``x``; large ones on the CPU by ``Perceptron``, which is faster, all others as ever.

    Args:
        layers: Linear layers, with activations between them or whatever else.
        x: Inputs, ``[..., D]``.

    Returns:
        ``layers(x)``, to the rounding of float32.
    """
    kind = _kind(layers, x)
    return layers(x) if kind is None else Perceptron.apply(x, kind, *layers.parameters())


def _kind(layers: nn.Module, x: Tensor) -> str | None:
    """Return the activation of layers that ``Perceptron`` can run and that are worth it; None for others."""
    if not _available or x.dim() != 2 or x.dtype != torch.float32 or x.device.type != "cpu":
        return None
    each = list(layers) if isinstance(layers, nn.Sequential) else []
    linear = [layer for layer in each[::2] if type(layer) is nn.Linear and layer.bias is not None]
    kinds = {_KINDS.get(type(layer)) for layer in each[1::2]}
    if len(each) != 2 * len(linear) - 1 or len(kinds) != 1:
        return None
    return kinds.pop() if len(x) * max(layer.weight.numel() for layer in linear) >= _LARGE_LAYER else None


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
    """Linear layers with an activation between each two, as one operation: ``apply(x, kind, weight, bias, weight, bias, ...)``.

    h_0 = x,   z_k = h_k W_k^T + b_k,   h_{k+1} = activation(z_k), but for the last, which is returned: y = z_K

    With g_K = dL/dy, and backwards from it:

    dL/dW_k = g_k^T h_k,   dL/db_k = sum of g_k over rows,   g_{k-1} = (g_k W_k) activation'(z_{k-1})
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, kind: str, *parameters: Tensor) -> Tensor:
        """Return the outputs, ``[M, D]``, for inputs ``[M, D]``; ``kind`` is "relu", "tanh" or "silu"."""
        inner, before = [x], []  # inputs of each layer; what SiLU's derivative needs
        last = len(parameters) - 2
        for k in range(0, last, 2):
            z = _linear(inner[-1], parameters[k], parameters[k + 1], kind == "relu")
            if kind == "silu":
                before.append(z)
                z = nn.functional.silu(z)
            elif kind == "tanh":
                z.tanh_()
            inner.append(z)
        ctx.kind, ctx.num_layers = kind, len(inner)
        ctx.save_for_backward(*inner, *parameters[::2], *before)
        return _linear(inner[-1], parameters[last], parameters[last + 1], False)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        """Return the gradients that are needed of x, nothing for ``kind``, and of weights and biases."""
        count, saved = ctx.num_layers, ctx.saved_tensors
        inner, weights, before = saved[:count], saved[count : 2 * count], saved[2 * count :]
        grads: list[Tensor | None] = [None] * (2 + 2 * count)
        for k in range(count - 1, -1, -1):
            if ctx.needs_input_grad[2 + 2 * k]:
                grads[2 + 2 * k] = _product(grad.t(), inner[k].t())
            if ctx.needs_input_grad[3 + 2 * k]:
                grads[3 + 2 * k] = grad.sum(0)
            if k == 0:
                break
            grad = _product(grad, weights[k].t())
            if ctx.kind == "relu":
                grad = torch.ops.aten.threshold_backward(grad, inner[k], 0)
            elif ctx.kind == "tanh":
                grad = torch.ops.aten.tanh_backward(grad, inner[k])
            else:
                grad = torch.ops.aten.silu_backward(grad, before[k - 1])
        if ctx.needs_input_grad[0]:
            grads[0] = _product(grad, weights[0].t())
        return tuple(grads)


def _linear(x: Tensor, weight: Tensor, bias: Tensor, relu: bool) -> Tensor:
    """Return ``x weight^T + bias``, and of it what is above zero if wanted."""
    if len(x) * weight.numel() >= _LARGE_PRODUCT:
        return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "relu" if relu else "none", [], "")
    out = torch.addmm(bias, x, weight.t())
    return out.relu_() if relu else out


def _product(x: Tensor, y: Tensor) -> Tensor:
    """Return ``x y^T``; a narrow result transposed in memory, which is up to five times as fast."""
    narrow = len(y) < len(x)
    if narrow:
        x, y = y, x
    if x.numel() * len(y) >= _LARGE_PRODUCT:
        out = torch.ops.mkldnn._linear_pointwise(x, y, None, "none", [], "")
    else:
        out = x.mm(y.t())
    return out.t() if narrow else out
