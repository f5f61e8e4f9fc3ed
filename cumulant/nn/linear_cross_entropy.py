"""The loss of a language model without its logits: the last product and the cross-entropy in one, a block of tokens at a time.

A vocabulary of 49,152 and 1,024 tokens make 200 MB of logits, and as much again for their gradient. Here a block's logits become
their own gradient in place while they are still in the cache; only the gradients of hidden states and of the matrix are kept.

Axes: N tokens, D width, V vocabulary.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from cumulant.errors import ConfigError
from cumulant.nn.products import input_gradient, linear, weight_gradient


def linear_cross_entropy(hidden: Tensor, head: Tensor, target: Tensor, denominator: float, rows: int = 512) -> Tensor:
    """Return the summed cross-entropy of tokens over an explicit denominator.

        sum_n (logsumexp_v(head_v . hidden_n) - head_{target_n} . hidden_n) / denominator

    The gradient is made in the forward pass, which is why this one loss reduces by itself: the gradient of the matrix is a sum
    over tokens, so their weights must be known then. For micro-batches give every part the count of the whole batch.

    Args:
        hidden: Hidden states in which the tokens are chosen, ``[N, D]``.
        head: One row for each token of the vocabulary, ``[V, D]``, of the same dtype.
        target: The tokens, ``[N]`` int64.
        denominator: What the sum is divided by, above 0.
        rows: Tokens in a block.

    Returns:
        A scalar, float32 (float64 for float64).

    Raises:
        ConfigError: If the denominator is not above 0.

    >>> hidden, head = torch.tensor([[1.0, 0.0]]), torch.tensor([[2.0, 0.0], [2.0, 5.0]])
    >>> linear_cross_entropy(hidden, head, torch.tensor([0]), denominator=1)  # two equal logits: log 2
    tensor(0.6931)
    """
    if not denominator > 0:
        raise ConfigError(f"denominator = {denominator}: it must be above 0, the count of tokens of the whole batch")
    return _LinearCrossEntropy.apply(hidden, head, target, float(denominator), rows)


class _LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, head: Tensor, target: Tensor, denominator: float, rows: int) -> Tensor:
        wide = torch.float64 if hidden.dtype == torch.float64 else torch.float32
        of_hidden, of_head = ctx.needs_input_grad[:2]
        loss = hidden.new_zeros((), dtype=wide)
        hidden_grad = torch.empty_like(hidden) if of_hidden else None
        head_grad = torch.zeros_like(head, dtype=wide) if of_head else None
        for start in range(0, len(hidden), rows):
            states, tokens = hidden[start : start + rows], target[start : start + rows, None]
            scores = linear(states, head).to(wide)
            chosen = scores.gather(1, tokens)
            largest = scores.amax(1, keepdim=True)
            scores.sub_(largest).exp_()
            total = scores.sum(1, keepdim=True)
            loss += (total.log() + largest - chosen).sum()
            if hidden_grad is None and head_grad is None:
                continue
            scores.div_(total * denominator)  # probabilities, and with the next line the gradient of the logits
            scores.scatter_add_(1, tokens, scores.new_full(tokens.shape, -1.0 / denominator))
            narrow = scores.to(hidden.dtype)
            if hidden_grad is not None:
                hidden_grad[start : start + rows] = input_gradient(narrow, head)
            if head_grad is not None:
                head_grad += weight_gradient(narrow, states)
        ctx.save_for_backward(hidden_grad, None if head_grad is None else head_grad.to(head.dtype))
        return loss / denominator

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None, None, None]:  # type: ignore[override]
        hidden_grad, head_grad = (None if part is None else part * grad.to(part.dtype) for part in ctx.saved_tensors)
        return hidden_grad, head_grad, None, None, None
