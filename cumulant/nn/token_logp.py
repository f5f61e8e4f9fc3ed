"""Log-probabilities of the tokens of a text under a language model: of the wanted ones only, a block of rows at a time.

Axes: B sequences, T tokens, V vocabulary, D width.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


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
    model: Any, hidden: Tensor, ids: Tensor, wanted: Tensor, temperature: float = 1.0, rows: int = 1024
) -> tuple[Tensor, Tensor]:
    """Return log-probabilities of the wanted tokens and the entropies of the distributions they come from.

        logp_t = logits_t[id_t] / temperature - logsumexp(logits_t / temperature)

    Args:
        model: Has ``logits``.
        hidden: Hidden states of all tokens, ``[B, T, D]``.
        ids: Tokens, ``[B, T]``.
        wanted: Tokens to compute, ``[B, T-1]`` bool.
        temperature: What the logits are divided by.
        rows: Tokens whose logits are held at once.

    Returns:
        Log-probabilities with gradient and entropies in nats without, both ``[B, T-1]``, 0 where not wanted.
    """
    chosen, target = hidden[:, :-1][wanted], ids[:, 1:][wanted]
    parts, spread = [], []
    for states, token in zip(chosen.split(rows), target.split(rows)):
        scores = (model.logits(states).float() / temperature).log_softmax(-1)
        parts.append(scores.gather(1, token[:, None])[:, 0])
        spread.append(-(scores.detach().exp() * scores.detach()).sum(-1))
    empty = hidden.new_zeros(wanted.shape, dtype=torch.float32)
    if not parts:
        return empty, empty
    return empty.masked_scatter(wanted, torch.cat(parts)), empty.masked_scatter(wanted, torch.cat(spread))
