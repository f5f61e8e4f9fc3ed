"""Convolutions that only evaluate, on a CPU: weights laid out once, and what follows in the same pass over memory.

torch lays the weights of a convolution out anew for oneDNN at every call, and goes through memory again to add and to rectify.
The operations here do neither. torch has no public name for them; they are those that its own compiler calls (torch._inductor).

Axes: N images, C channels, H rows and w columns.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

_IMAGES = 64  # N for which weights are laid out; that for others is the same or nearly so


def can_pack(weight: Tensor) -> bool:
    """Return whether there are such operations for a weight: for its device and number format, in this torch."""
    if weight.device.type != "cpu" or not torch.backends.mkldnn.is_available():
        return False
    names = ("_convolution_pointwise", "_is_mkldnn_bf16_supported")
    if not all(hasattr(torch.ops.mkldnn, name) for name in names) or not hasattr(
        torch._C._nn, "mkldnn_reorder_conv2d_weight"
    ):
        return False
    return weight.dtype == torch.float32 or bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


class PackedConv(nn.Module):
    """``relu(conv(x) + beside)`` without a gradient.

    Args:
        conv: The convolution; its weights are copied.
        rows: H.
        columns: w.
    """

    def __init__(self, conv: nn.Conv2d, rows: int, columns: int) -> None:
        super().__init__()
        self.geometry = conv.padding, conv.stride, conv.dilation, conv.groups
        shape = _IMAGES, conv.in_channels, rows, columns
        pack: Any = torch._C._nn.mkldnn_reorder_conv2d_weight
        self._weight = pack(conv.weight.detach().to_mkldnn(), *self.geometry, shape)
        self._bias = None if conv.bias is None else conv.bias.detach()

    def forward(self, x: Tensor, beside: Tensor | None = None) -> Tensor:
        """Return ``[N, C, H, w]``, channels last in memory."""
        run, given = torch.ops.mkldnn._convolution_pointwise, (self._weight, self._bias, *self.geometry)
        if beside is None:
            return run(x, *given, "relu", [], "")  # type: ignore[no-any-return]
        return run.binary(x, beside, *given, "add", 1.0, "relu", [], "")  # type: ignore[no-any-return]
