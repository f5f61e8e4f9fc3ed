"""One layer of a Llama model, forward and backward, written out by hand.

Automatic differentiation would keep three times the memory, copy what is only read, and on a processor take the slow backward
pass of fused attention: at 32 x 31 tokens in bf16 that costs 28 ms a layer, written out as products it costs 3. A test compares
every gradient with transformers' model.

Axes: B sequences, T tokens, N = B T rows, D width, H query heads, K key-value heads, E width of a head, I inner width, R rank.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from cumulant.nn.products import input_gradient, linear, weight_gradient

MATRICES = ("qkv", "out", "gate_up", "down")
LONG = 512  # tokens of a text above which attention is fused: what is kept then grows with T and not with T x T


class Weights(NamedTuple):
    """The weights of a layer, products that read the same input joined into one.

    Attributes:
        norm1: ``[D]``.
        qkv: Queries, keys, values, ``[(H + 2 K) E, D]``.
        out: ``[D, H E]``.
        norm2: ``[D]``.
        gate_up: ``[2 I, D]``.
        down: ``[D, I]``.
    """

    norm1: Tensor
    qkv: Tensor
    out: Tensor
    norm2: Tensor
    gate_up: Tensor
    down: Tensor


Adapter = tuple[Tensor, Tensor] | None  # what is added to a matrix: scaled b [out, R] times a [R, in]
NO_ADAPTERS: tuple[Adapter, ...] = (None, None, None, None)


@dataclass(frozen=True)
class Frame:
    """What all layers of one pass share.

    Attributes:
        rows: Sequences, B.
        heads: Query heads, H.
        pairs: Key-value heads, K.
        width: Of a head, E.
        eps: Of the norms.
        cos: Cosines of the rotary angles, ``[B or 1, 1, T, E]``.
        sin: Sines, the first half of them negative, ``[B or 1, 1, T, E]``.
        bias: Added to the scores: 0, or very negative where a token must not look, ``[B or 1, 1, T, T]``.
        keep: Whether to keep what the backward pass reads, or to compute it again there.
    """

    rows: int
    heads: int
    pairs: int
    width: int
    eps: float
    cos: Tensor
    sin: Tensor
    bias: Tensor
    keep: bool = True


class Kept(NamedTuple):
    """What the backward pass reads."""

    x: Tensor
    inverse1: Tensor
    query: Tensor
    key: Tensor
    value: Tensor
    weight: Tensor | None  # what tokens look at; None for long texts, where it would be most of all
    mixed: Tensor
    middle: Tensor
    inverse2: Tensor
    gate_up: Tensor
    low: tuple[Tensor | None, ...]


def layer(frame: Frame, weights: Weights, adapters: Sequence[Adapter], x: Tensor) -> tuple[Tensor, Kept]:
    """Run a layer, ``[N, D] -> [N, D]``; also return what its backward pass reads."""
    y, inverse1 = normalise(x, weights.norm1, frame.eps)
    qkv, low0 = adapted(y, weights.qkv, adapters[0])
    query, key, value = _heads(frame, qkv)
    if len(x) // frame.rows > LONG:
        weight, heads = None, _fused_attention(query, key, value, frame)
    else:
        weight = attention_weights(query, key, frame)
        heads = torch.bmm(weight, value)
    mixed = _rows(heads, frame)
    change, low1 = adapted(mixed, weights.out, adapters[1])
    middle = change.add_(x)
    y, inverse2 = normalise(middle, weights.norm2, frame.eps)
    gate_up, low2 = adapted(y, weights.gate_up, adapters[2])
    gate, up = gate_up.chunk(2, -1)
    change, low3 = adapted(F.silu(gate).mul_(up), weights.down, adapters[3])
    low = (low0, low1, low2, low3)
    return change.add_(middle), Kept(x, inverse1, query, key, value, weight, mixed, middle, inverse2, gate_up, low)


class LayerPass(torch.autograd.Function):
    """A layer that automatic differentiation sees as one operation."""

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any,
        frame: Frame,
        weights: Weights,
        adapters: Sequence[Adapter],
        scale: float,
        x: Tensor,
        *parameters: Tensor,
    ) -> Tensor:
        """Run the layer on ``x`` ``[N, D]``.

        Args:
            ctx: Where torch keeps what the backward pass reads.
            frame: What all layers share.
            weights: What is computed with.
            adapters: In the same order as ``MATRICES``, in the dtype of computing, b scaled.
            scale: What b was scaled by.
            x: Input, ``[N, D]``.
            parameters: What gradients are for: norm1, q, k, v, out, norm2, gate, up, down, then a and b of each adapter.
        """
        y, kept = layer(frame, weights, adapters, x)
        ctx.save_for_backward(*((*kept[:-1], *kept.low) if frame.keep else (x,)))
        ctx.inputs = frame, weights, adapters, scale
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:  # type: ignore[override]
        """Return the gradients of ``x`` and of the parameters that need one."""
        frame, weights, adapters, scale = ctx.inputs
        saved = ctx.saved_tensors
        kept = Kept._make([*saved[:-4], saved[-4:]]) if frame.keep else layer(frame, weights, adapters, saved[0])[1]
        needs = ctx.needs_input_grad[5:]
        frozen = not any(needs[:9])
        flags = [False] * 4 if frozen else [any(needs[1:4]), needs[4], any(needs[6:8]), needs[8]]
        grad_x, norms, matrices, low = backward(frame, weights, adapters, kept, grad.contiguous(), flags, not frozen)
        if frozen:
            found: list[Tensor | None] = [None] * 9
        else:
            qkv, out, gate_up, down = matrices
            queries, pairs = frame.heads * frame.width, frame.pairs * frame.width
            q, k, v = (None, None, None) if qkv is None else qkv.split([queries, pairs, pairs])
            gate, up = (None, None) if gate_up is None else gate_up.chunk(2)
            found = [norms[0], q, k, v, out, norms[1], gate, up, down]
        for pair in low:
            if pair is not None:
                found += [pair[0].to(wide(grad)), pair[1].to(wide(grad)).mul_(scale)]
        return None, None, None, None, grad_x, *[g if need else None for g, need in zip(found, needs)]


def backward(
    frame: Frame,
    weights: Weights,
    adapters: Sequence[Adapter],
    kept: Kept,
    grad: Tensor,
    flags: Sequence[bool],
    norms: bool,
) -> tuple[Tensor, tuple[Tensor | None, ...], list[Tensor | None], list[tuple[Tensor, Tensor] | None]]:
    """Run a layer backward.

    Args:
        frame: As in the forward pass.
        weights: As in the forward pass.
        adapters: As in the forward pass.
        kept: What the forward pass kept.
        grad: Gradient of the output, ``[N, D]``.
        flags: Which matrices need a gradient, in the order of ``MATRICES``.
        norms: Whether the norms' weights need one.

    Returns:
        Gradients of the input, of both norms, of the joined matrices, and of each adapter's a and scaled b.
    """
    matrices: list[Tensor | None] = [None] * 4
    low: list[tuple[Tensor, Tensor] | None] = [None] * 4

    def back(index: int, g: Tensor, read: Tensor, weight: Tensor) -> Tensor:
        """Go back through one product: ``read`` is what it read."""
        if flags[index]:
            matrices[index] = weight_gradient(g, read)
        result, pair, small = input_gradient(g, weight), adapters[index], kept.low[index]
        if pair is not None and small is not None:
            inner = g @ pair[1]
            low[index] = (inner.t() @ read, g.t() @ small)
            result.addmm_(inner, pair[0])
        return result

    gate, up = kept.gate_up.chunk(2, -1)
    active = F.silu(gate)  # cheaper to compute again than to keep: a tenth of all that is kept
    g = back(3, grad, active * up, weights.down)
    both = torch.empty_like(kept.gate_up)
    torch.ops.aten.silu_backward.grad_input(g * up, gate, grad_input=both[:, : gate.shape[1]])
    torch.mul(g, active, out=both[:, gate.shape[1] :])
    y = normalised(kept.middle, kept.inverse2, weights.norm2)
    g, norm2 = normalise_backward(
        back(2, both, y, weights.gate_up), kept.middle, kept.inverse2, weights.norm2, frame, norms
    )
    grad = grad + g
    g = back(1, grad, kept.mixed, weights.out)
    qkv = _attention_backward(frame, kept, g)
    y = normalised(kept.x, kept.inverse1, weights.norm1)
    g, norm1 = normalise_backward(back(0, qkv, y, weights.qkv), kept.x, kept.inverse1, weights.norm1, frame, norms)
    return grad.add_(g), (norm1, norm2), matrices, low


def _heads(frame: Frame, qkv: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Split rows into rotated queries ``[B K, H/K T, E]``, keys and values ``[B K, T, E]``."""
    b, h, k, e = frame.rows, frame.heads, frame.pairs, frame.width
    split = qkv.view(b, -1, h + 2 * k, e).transpose(1, 2)
    query, key = rotate(split[:, :h], frame.cos, frame.sin), rotate(split[:, h : h + k], frame.cos, frame.sin)
    query.mul_(e**-0.5)
    value = split[:, h + k :].contiguous()
    return query.view(b * k, -1, e), key.view(b * k, -1, e), value.view(b * k, -1, e)


def attention_weights(query: Tensor, key: Tensor, frame: Frame) -> Tensor:
    """Return how much each token looks at each other one, ``[B K, H/K T, T]``."""
    scores = torch.bmm(query, key.transpose(1, 2))
    scores.view(frame.rows, frame.heads, -1, key.shape[1]).add_(frame.bias)
    return softmax(scores)


def _fused_attention(query: Tensor, key: Tensor, value: Tensor, frame: Frame) -> Tensor:
    """Return what each token mixes from the values, ``[B K, H/K T, E]``, without keeping what it looks at."""
    b, h, k, e = frame.rows, frame.heads, frame.pairs, frame.width
    keys, values = (x.view(b, k, -1, e).repeat_interleave(h // k, 1) for x in (key, value))
    mixed = F.scaled_dot_product_attention(query.view(b, h, -1, e), keys, values, attn_mask=frame.bias, scale=1.0)
    return mixed.reshape(query.shape)


def _fused_attention_backward(frame: Frame, kept: Kept, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of queries, keys and values, from that of ``_fused_attention``, which runs once more."""
    with torch.enable_grad():
        query, key, value = (x.detach().requires_grad_() for x in (kept.query, kept.key, kept.value))
        mixed = _fused_attention(query, key, value, frame)
    return torch.autograd.grad(mixed, (query, key, value), grad)  # type: ignore[return-value]


def softmax(scores: Tensor) -> Tensor:
    """Return the softmax over the last axis, computed in float32 (in bf16 it is slower by far, not only coarser)."""
    return torch.softmax(scores, -1, dtype=wide(scores)).to(scores.dtype)


def wide(x: Tensor) -> torch.dtype:
    """Return the dtype to take sums in: float32, or float64 for float64."""
    return torch.promote_types(x.dtype, torch.float32)


def _rows(heads: Tensor, frame: Frame) -> Tensor:
    """Turn ``[B K, H/K T, E]`` into ``[N, H E]``."""
    apart = heads.view(frame.rows, frame.heads, -1, frame.width)
    return apart.transpose(1, 2).reshape(-1, frame.heads * frame.width)


def _attention_backward(frame: Frame, kept: Kept, grad: Tensor) -> Tensor:
    """Return the gradient of the joined queries, keys and values, ``[N, (H + 2 K) E]``, from that of ``mixed``."""
    b, h, k, e = frame.rows, frame.heads, frame.pairs, frame.width
    heads = grad.view(b, -1, h, e).transpose(1, 2).reshape(b * k, -1, e)
    if kept.weight is None:
        query, key, value = _fused_attention_backward(frame, kept, heads)
        query = query * e**-0.5
    else:
        # A softmax's gradient needs the sum of weight x gradient over the keys, which is the sum of mixed x gradient over E.
        total = (grad * kept.mixed).view(b, -1, h, e).sum(-1).transpose(1, 2).reshape(b * k, -1, 1)
        value = torch.bmm(kept.weight.transpose(1, 2), heads)
        scores = torch.bmm(heads, kept.value.transpose(1, 2)).sub_(total).mul_(kept.weight)
        query = torch.bmm(scores, kept.key).mul_(e**-0.5)
        key = torch.bmm(scores.transpose(1, 2), kept.query)
    result = torch.empty(b, value.shape[1], h + 2 * k, e, dtype=grad.dtype, device=grad.device)
    result[:, :, :h] = rotate_back(query.view(b, h, -1, e), frame.cos, frame.sin).transpose(1, 2)
    result[:, :, h : h + k] = rotate_back(key.view(b, k, -1, e), frame.cos, frame.sin).transpose(1, 2)
    result[:, :, h + k :] = value.view(b, k, -1, e).transpose(1, 2)
    return result.view(len(grad), -1)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate the pairs (x_i, x_{i + E/2}) by their angles, ``[..., E]``; ``sin`` as in ``Frame``."""
    x = x.contiguous()
    return swapped(x).mul_(sin).addcmul_(x, cos)


def rotate_back(grad: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate a gradient back."""
    return swapped(grad * sin).addcmul_(grad, cos)


def swapped(x: Tensor) -> Tensor:
    """Exchange the halves of the last axis."""
    half = x.shape[-1] // 2
    return torch.cat([x[..., half:], x[..., :half]], -1)


def normalise(x: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """Return ``x / sqrt(mean x^2 + eps) * weight`` and the reciprocal of that root, ``[N, 1]`` float32."""
    size = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=wide(x))
    inverse = size.square_().div_(x.shape[-1]).add_(eps).rsqrt_()
    return normalised(x, inverse, weight), inverse


def normalised(x: Tensor, inverse: Tensor, weight: Tensor) -> Tensor:
    """Return the output of a norm."""
    return (x * inverse).mul_(weight).to(x.dtype)  # x * inverse is float32


def normalise_backward(
    grad: Tensor, x: Tensor, inverse: Tensor, weight: Tensor, frame: Frame, wanted: bool
) -> tuple[Tensor, Tensor | None]:
    """Return the gradients of a norm's input and, if wanted, of its weight."""
    straight = x * inverse
    own = (grad * straight).sum(0).to(weight.dtype) if wanted else None
    scaled = grad * weight
    along = (scaled * straight).sum(-1, keepdim=True).div_(x.shape[-1])
    return straight.mul_(along).neg_().add_(scaled).mul_(inverse).to(grad.dtype), own


def adapted(x: Tensor, weight: Tensor, adapter: Adapter) -> tuple[Tensor, Tensor | None]:
    """Return ``x weight^T``, plus ``x a^T b^T`` with an adapter, and ``x a^T``."""
    y = linear(x, weight)
    if adapter is None:
        return y, None
    small = x @ adapter[0].t()
    return y.addmm_(small, adapter[1].t()), small


def joined(*parts: Tensor) -> Tensor:
    """Return matrices stacked; without a copy if they lie one behind the other in memory already."""
    first, end = parts[0], parts[0].data_ptr()
    for part in parts:
        if part.data_ptr() != end or not part.is_contiguous() or part.device != first.device:
            return torch.cat(parts)
        end += part.numel() * part.element_size()
    rows = sum(len(part) for part in parts)
    if first.untyped_storage().nbytes() < (first.storage_offset() + rows * first.shape[1]) * first.element_size():
        return torch.cat(parts)  # neighbours by chance, not parts of one block
    return first.as_strided((rows, first.shape[1]), (first.shape[1], 1))
