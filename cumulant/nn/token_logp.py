"""Log-probabilities of the tokens of a text under a language model: of the wanted ones only, a block of rows at a time.

Axes: B sequences, T tokens, V vocabulary, D width.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from cumulant.nn.products import input_gradient, linear, weight_gradient


def wanted_tokens(
    ids: Tensor, mask: Tensor | None = None, first: int | Tensor = 1, segments: Tensor | None = None
) -> Tensor:
    """Return which tokens have a log-probability to compute: real, from ``first`` on, no text's first; ``[B, T-1]`` bool."""
    column = torch.arange(1, ids.shape[1], device=ids.device).expand(len(ids), -1)
    wanted = column >= (first[:, None] if isinstance(first, Tensor) else first)
    if mask is not None:
        wanted = wanted & mask[:, 1:] & mask[:, :-1]
    return wanted if segments is None else wanted & (segments[:, 1:] == segments[:, :-1])


def token_logp(
    model: Any, hidden: Tensor, ids: Tensor, wanted: Tensor, temperature: float = 1.0, rows: int | None = None
) -> tuple[Tensor, Tensor]:
    """Return log-probabilities of the wanted tokens and the entropies of the distributions they come from.

        logp_t = logits_t[id_t] / temperature - logsumexp(logits_t / temperature)

    Logits are made a block of tokens at a time and not kept, neither is their gradient.

    Args:
        model: Has ``head``, the matrix ``[V, D]``, or at least ``logits``.
        hidden: Hidden states of all tokens, ``[B, T, D]``.
        ids: Tokens, ``[B, T]``.
        wanted: Tokens to compute, ``[B, T-1]`` bool.
        temperature: What the logits are divided by.
        rows: Tokens whose logits are held at once; as many as fit into a fast cache by default.

    Returns:
        Log-probabilities with gradient and entropies in nats without, both ``[B, T-1]``, 0 where not wanted.
    """
    chosen, target = hidden[:, :-1][wanted], ids[:, 1:][wanted]
    wide = torch.promote_types(hidden.dtype, torch.float32)
    empty = hidden.new_zeros(wanted.shape, dtype=wide)
    if not len(target):
        return empty + 0.0 * hidden.sum().to(wide), empty  # a loss of nothing still has a gradient
    head = getattr(model, "head", None)
    if head is not None:
        rows = rows or max(16, _CACHED // len(head))
        logp, entropy = _HeadLogp.apply(chosen, head, target, temperature, rows)
    else:
        parts, spread = [], []
        for states, token in zip(chosen.split(rows or 256), target.split(rows or 256)):
            scores = (model.logits(states).to(wide) / temperature).log_softmax(-1)
            parts.append(scores.gather(1, token[:, None])[:, 0])
            spread.append(-(scores.detach().exp() * scores.detach()).sum(-1))
        logp, entropy = torch.cat(parts), torch.cat(spread)
    return empty.masked_scatter(wanted, logp), empty.masked_scatter(wanted, entropy)


_CACHED = (
    4 << 20
)  # logits held at once: larger blocks of memory are handed back to the system each time, which costs more


class _HeadLogp(torch.autograd.Function):
    """Log-probability of one token under each of N distributions, and their entropies."""

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, hidden: Tensor, head: Tensor, target: Tensor, temperature: float, rows: int
    ) -> tuple[Tensor, Tensor]:
        of_hidden, of_head = ctx.needs_input_grad[:2]
        ctx.options = temperature, rows, head.shape
        wide = torch.promote_types(hidden.dtype, torch.float32)
        logp, entropy = hidden.new_empty(2, len(hidden), dtype=wide)
        # d logp_n / d hidden_n does not depend on what comes after, so with a frozen head it is made here and now
        slope = torch.empty_like(hidden) if of_hidden and not of_head else None
        for start in range(0, len(hidden), rows):
            part = slice(start, start + rows)
            token = target[part, None]
            weight, scores, total = _distribution(hidden[part], head, temperature, wide)
            logp[part] = (scores.gather(1, token) - total.log())[:, 0]
            entropy[part] = total.log()[:, 0] - torch.einsum("nv,nv->n", weight, scores) / total[:, 0]
            if slope is not None:
                mean = input_gradient(weight.div_(total).to(hidden.dtype), head)
                slope[part] = (head[target[part]] - mean).div_(temperature)
        ctx.save_for_backward(slope, *((hidden, head, target) if of_head else ()))
        ctx.mark_non_differentiable(entropy)
        return logp, entropy

    @staticmethod
    def backward(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Tensor | None, Tensor | None, None, None, None]:  # type: ignore[override]
        temperature, rows, shape = ctx.options
        slope, *rest = ctx.saved_tensors
        if not rest:
            return (None if slope is None else (slope * grad[:, None]).to(slope.dtype)), None, None, None, None
        hidden, head, target = rest
        hidden_grad = torch.empty_like(hidden) if ctx.needs_input_grad[0] else None
        head_grad = torch.zeros(shape, dtype=grad.dtype, device=grad.device)
        for start in range(0, len(hidden), rows):
            part = slice(start, start + rows)
            weight, _, total = _distribution(hidden[part], head, temperature, grad.dtype)
            share = grad[part, None] / temperature
            weight.mul_(-share / total).scatter_add_(1, target[part, None], share)
            narrow = weight.to(hidden.dtype)
            if hidden_grad is not None:
                hidden_grad[part] = input_gradient(narrow, head)
            head_grad += weight_gradient(narrow, hidden[part])
        return hidden_grad, head_grad.to(head.dtype), None, None, None


def _distribution(states: Tensor, head: Tensor, temperature: float, wide: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """Return unnormalised probabilities ``[n, V]``, their logarithms (the largest is 0) and their sums ``[n, 1]``."""
    scores = linear(states, head).to(wide)
    if temperature != 1.0:
        scores.div_(temperature)
    scores.sub_(scores.amax(1, keepdim=True))
    weight = scores.exp()
    return weight, scores, weight.sum(1, keepdim=True)
