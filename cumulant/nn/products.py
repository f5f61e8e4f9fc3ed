"""Matrix products for passes that are differentiated by hand, in whatever way this machine is fastest.

Axes: N rows.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

# oneDNN multiplies float32 at twice the speed of what torch takes otherwise on processors that are not Intel's, at the
# same precision. The operation is what torch.compile uses for products; where it is missing, the ordinary one does.
_ONEDNN = (
    getattr(getattr(torch.ops, "mkldnn", None), "_linear_pointwise", None)
    if torch.backends.mkldnn.is_available()
    else None
)


def _fast(x: Tensor) -> bool:
    return _ONEDNN is not None and x.dtype == torch.float32 and x.device.type == "cpu" and x.numel() > 0


def linear(x: Tensor, weight: Tensor) -> Tensor:
    """Return ``x weight^T``, ``[N, in], [out, in] -> [N, out]``, without gradients."""
    if weight.is_mkldnn or _fast(x):
        return _ONEDNN(x, weight, None, "none", [], "")  # type: ignore[misc]
    return F.linear(x, weight)


def packed(weight: Tensor, rows: int) -> Tensor:
    """Return a matrix in the order of memory that ``linear`` reads fastest with this many rows; worth it for many products."""
    if _ONEDNN is None or weight.device.type != "cpu" or weight.dtype not in (torch.float32, torch.bfloat16):
        return weight
    return torch.ops.mkldnn._reorder_linear_weight(weight, rows)


def weighted_rows(rows: Tensor, index: Tensor, weight: Tensor) -> Tensor:
    """Return sums of weighted rows, ``[M, C], [N, K], [N, K] -> [N, C]``: the n-th is ``sum_k weight[n, k] rows[index[n, k]]``.

    A product of many single rows with a matrix each, as attention with one new token is, comes out in half the time that a
    batched product takes, which is made for larger ones.
    """
    return F.embedding_bag(index, rows, mode="sum", per_sample_weights=weight)


def sums_rows_fast(queries: int, sums: int, like: Tensor) -> bool:
    """Return whether ``weighted_rows`` is faster than ``bmm``: for ``sums`` rows, of which ``queries`` share a matrix."""
    vectors = torch.backends.cpu.get_cpu_capability() in ("AVX2", "AVX512")  # elsewhere it is a plain loop
    return vectors and like.device.type == "cpu" and like.dtype != torch.float64 and queries <= 3 and sums >= 32


def input_gradient(grad: Tensor, weight: Tensor) -> Tensor:
    """Return ``grad weight``, ``[N, out], [out, in] -> [N, in]``."""
    return _ONEDNN(grad, weight.t(), None, "none", [], "") if _fast(grad) else grad @ weight  # type: ignore[misc]


def weight_gradient(grad: Tensor, x: Tensor) -> Tensor:
    """Return ``grad^T x``, ``[N, out], [N, in] -> [out, in]``."""
    return _ONEDNN(grad.t(), x.t(), None, "none", [], "") if _fast(grad) else grad.t() @ x  # type: ignore[misc]
