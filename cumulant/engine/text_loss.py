"""What a language model makes of text: the loss that is trained on, and how well it predicts held-out text.

Axes: B rows, T tokens, D width, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cumulant.data.packing import TokenBatch, Tokens, pad
from cumulant.errors import DataError
from cumulant.nn.hub_model import recomputing
from cumulant.nn.linear_cross_entropy import linear_cross_entropy
from cumulant.nn.token_logp import token_logp
from cumulant.stats import Interval, ratio_interval


def text_loss(model: Any, batch: TokenBatch, denominator: float, recompute: bool = False) -> Tensor:
    """Return the cross-entropy of the tokens that are to be predicted, summed, over an explicit denominator.

    Args:
        model: ``nn.llama.Llama``, or ``HubModel`` for batches that are not packed.
        batch: Tokens.
        denominator: Tokens to be predicted in the whole batch of the step, of which this may be a part.
        recompute: Whether to keep only what enters each layer and compute the rest again in the backward pass: a layer's
            worth of memory instead of all of them, for a third more time.

    Returns:
        A scalar, nats per token.
    """
    with recomputing(model, recompute):
        hidden = model.hidden(batch.ids, batch.mask, segments=batch.segments)
    wanted = batch.loss_mask[:, 1:]
    return linear_cross_entropy(hidden[:, :-1][wanted], head_of(model), batch.ids[:, 1:][wanted], denominator)


def head_of(model: Any) -> Tensor:
    """Return the matrix that turns hidden states into logits, ``[V, D]``."""
    return model.head if hasattr(model, "head") else model.network.get_output_embeddings().weight


def micro_batches(batch: TokenBatch, rows: int) -> Iterator[TokenBatch]:
    """Cut a batch into parts of at most ``rows`` rows; columns that are padding in all of them are left out."""
    for start in range(0, len(batch), rows):
        part = batch.rows(slice(start, start + rows))
        real = part.mask.any(0).nonzero()
        width = int(real.max()) + 1 if len(real) else 1
        segments = None if part.segments is None else part.segments[:, :width]
        yield TokenBatch(part.ids[:, :width], part.mask[:, :width], part.loss_mask[:, :width], segments)


@dataclass(frozen=True)
class HeldOut:
    """Held-out texts, ready to be predicted.

    Args:
        texts: Tokens of each.
        characters: How long what is to be predicted of each is, its end counted as one character, ``[N]``.
        pad_id: Token that fills rows.
    """

    texts: Sequence[Tokens]
    characters: np.ndarray
    pad_id: int

    def __post_init__(self) -> None:
        if not self.texts:
            raise DataError("there is no held-out text to judge the model by")

    @torch.no_grad()
    def surprise(self, model: Any, batch_tokens: int = 4096) -> tuple[np.ndarray, np.ndarray]:
        """Return of each text the nats of the tokens that are to be predicted, summed, and how many these are, ``[N]`` both.

        Args:
            model: The model.
            batch_tokens: Tokens at a time, padding included; texts of like length go together.
        """
        device = head_of(model).device
        order = sorted(range(len(self.texts)), key=lambda index: len(self.texts[index].ids))
        nats, count = np.zeros(len(order)), np.zeros(len(order))
        while order:
            rows = max(1, batch_tokens // len(self.texts[order[-1]].ids))
            chosen, order = order[-rows:], order[:-rows]
            batch = pad([self.texts[index] for index in chosen], self.pad_id).to(device)
            wanted = batch.loss_mask[:, 1:]
            logp, _ = token_logp(model, model.hidden(batch.ids, batch.mask), batch.ids, wanted)
            nats[chosen], count[chosen] = -logp.double().sum(1).cpu().numpy(), wanted.sum(1).cpu().numpy()
        return nats, count

    def metrics(self, model: Any) -> dict[str, float]:
        """Return what a row of metrics holds: the loss in nats per token, and bits per character."""
        nats, count = self.surprise(model)
        bits = nats.sum() / math.log(2.0) / self.characters.sum()
        return {"loss/held_out": float(nats.sum() / count.sum()), "text/bits_per_char": float(bits)}

    def figures(self, model: Any) -> dict[str, dict[str, Any]]:
        """Return what an evaluation holds: bits per character, nats per token and perplexity, with intervals over texts."""
        nats, count = self.surprise(model)
        bits = ratio_interval(nats / math.log(2.0), self.characters)
        loss = ratio_interval(nats, count)
        return {
            "bits_per_char": _figure(bits, "bits", "Bits per character"),
            "loss": _figure(loss, "nats per token", "Held-out loss"),
            "perplexity": _figure(Interval(*(math.exp(min(end, 700.0)) for end in loss)), "", "Perplexity"),
        }


def _figure(interval: Interval, unit: str, label: str) -> dict[str, Any]:
    figure: dict[str, Any] = {"value": float(interval.mean)}
    if not math.isnan(interval.low):
        figure |= {"low": float(interval.low), "high": float(interval.high)}
    return figure | {"label": label, "better": "lower"} | ({"unit": unit} if unit else {})
