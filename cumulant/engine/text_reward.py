"""A trained reward model with its tokenizer: prompts and responses in, one number for each out.

Axes: B texts, T tokens, D width.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cumulant.data.packing import Tokens, pad
from cumulant.data.text import encode_completion, encode_prompt
from cumulant.errors import DataError
from cumulant.nn.reward_model import RewardModel, load_reward_model


class TextReward:
    """What scores texts by a reward model.

    Args:
        model: The model.
        tokenizer: Its tokenizer.
    """

    def __init__(self, model: RewardModel, tokenizer: Any) -> None:
        self.model, self.tokenizer = model, tokenizer

    @classmethod
    def load(cls, path: str | Path, precision: str = "auto", device: str | torch.device = "cpu") -> TextReward:
        """Open the run of a reward model, or a directory of a ``LlamaForSequenceClassification`` with one label.

        Raises:
            UsageError: If there is none.
        """
        model, tokenizer = load_reward_model(path, precision)
        return cls(model.to(device), tokenizer)

    def score(self, prompts: Sequence[str], completions: Sequence[str]) -> np.ndarray:
        """Return one number for each completion, ``[B]`` float64, in nats of Bradley-Terry: differences are log-odds."""
        context = self.model.config.max_position_embeddings
        texts = [encode_text(self.tokenizer, p, c, context) for p, c in zip(prompts, completions)]
        return score_tokens(self.model, texts)


def encode_text(tokenizer: Any, prompt: str, response: str, context: int, where: str = "") -> Tokens:
    """Return the tokens of a text as a reward model reads it: prompt, response, end-of-text, where the score is read.

    A response that is too long loses its end, but never the end-of-text. Where there is no prompt the response stands alone.
    A response that its model was not done with is read as if it ended there: people rated whole texts, so of others the score
    knows nothing, and the end-of-text is the only place where it was trained to be read.

    Args:
        tokenizer: Of the model.
        prompt: What was asked, or "".
        response: What was answered.
        context: Most tokens.
        where: File and line, for messages.

    Raises:
        DataError: If the prompt leaves no room.
    """
    *rest, end = encode_completion(tokenizer, response)
    head = encode_prompt(tokenizer, prompt) if prompt else []
    rest = rest if prompt else encode_prompt(tokenizer, response)
    room = context - 1 - len(head)
    if room < min(1, len(rest)):
        raise DataError(
            f"{where or repr(prompt[:40])}: the prompt has {len(head)} tokens, which leaves nothing of the context of {context} "
            "for a response: raise the context or shorten the prompt"
        )
    ids = np.array([*head, *rest[:room], end], dtype=np.int32)
    return Tokens(ids, np.zeros(len(ids), dtype=bool), len(rest) > room)


def length_batches(texts: Sequence[Tokens], batch_tokens: int = 2048) -> list[list[int]]:
    """Return indices of texts of like length, at most ``batch_tokens`` tokens a batch, padding included."""
    batches: list[list[int]] = []
    for index in sorted(range(len(texts)), key=lambda i: len(texts[i].ids)):
        if not batches or (len(batches[-1]) + 1) * len(texts[index].ids) > batch_tokens:
            batches.append([])
        batches[-1].append(index)
    return batches


@torch.no_grad()
def score_tokens(model: RewardModel, texts: Sequence[Tokens]) -> np.ndarray:
    """Score texts, ``[B]`` float64."""
    device, found = model.score.weight.device, np.zeros(len(texts))
    for chosen in length_batches(texts):
        batch = pad([texts[i] for i in chosen], model.pad_id).to(device)
        found[chosen] = model(batch.ids, batch.mask).double().cpu().numpy()
    return found


class FrozenStates:
    """What the frozen lower layers make of texts: computed once and kept, or anew each time where memory is short.

    Args:
        model: The reward model.
        texts: All texts.
        layers: How many layers are frozen; with 0 there is nothing to keep.
        most_bytes: What may be kept.
    """

    def __init__(self, model: RewardModel, texts: Sequence[Tokens], layers: int, most_bytes: float) -> None:
        self.model, self.texts, self.layers = model, texts, layers
        like = model.score.weight
        length = np.array([len(text.ids) for text in texts])
        size = int(length.sum()) * model.config.hidden_size * like.element_size()
        self.kept: Tensor | None = None
        if layers > 0 and size <= most_bytes:
            self.start = np.concatenate([[0], np.cumsum(length)])
            self.kept = torch.empty(int(length.sum()), model.config.hidden_size, dtype=like.dtype, device=like.device)
            for chosen in length_batches(texts):
                states, mask = self._compute(chosen)
                for row, i in enumerate(chosen):
                    self.kept[self.start[i] : self.start[i + 1]] = states[row, : length[i]]
                del states, mask

    def score(self, chosen: Sequence[int], recompute: bool = False) -> Tensor:
        """Score texts, with gradients of the upper layers, ``[B]``; ``recompute`` keeps less for these in memory."""
        batch = pad([self.texts[i] for i in chosen], self.model.pad_id).to(self.model.score.weight.device)
        hidden = None
        if self.kept is not None:
            hidden = self.kept.new_zeros(*batch.ids.shape, self.kept.shape[1])
            for row, i in enumerate(chosen):
                own = self.kept[self.start[i] : self.start[i + 1]]
                hidden[row, : len(own)] = own
        elif self.layers:
            hidden, _ = self._compute(chosen)
        with self.model.recomputing(recompute):
            return self.model(batch.ids, batch.mask, start=self.layers, hidden=hidden)

    @torch.no_grad()
    def _compute(self, chosen: Sequence[int]) -> tuple[Tensor, Tensor]:
        batch = pad([self.texts[i] for i in chosen], self.model.pad_id).to(self.model.score.weight.device)
        return self.model.hidden(batch.ids, batch.mask, self.layers), batch.mask
