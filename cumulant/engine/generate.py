"""Let a language model write: prompts in, completions and the log-probabilities of their tokens out.

Axes: B sequences, P prompt columns, N completion columns, T = P + N, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from cumulant.errors import ConfigError


@dataclass(frozen=True)
class Completions:
    """What a model wrote.

    Attributes:
        ids: Left-padded prompts, then completions, right-padded, ``[B, T]`` int64.
        mask: True at real tokens, ``[B, T]`` bool.
        prompt_length: Columns of ``ids`` before the completions, P.
        completion_mask: True at real tokens of completions, the end mark among them, ``[B, N]`` bool.
        logp: Log-probability of each sampled token at the sampling temperature, before ``top_p`` cut anything off; 0 at
            padding, ``[B, N]`` float32.
        stopped: True if the end mark was written, False if the text was cut off, ``[B]`` bool.
    """

    ids: Tensor
    mask: Tensor
    prompt_length: int
    completion_mask: Tensor
    logp: Tensor
    stopped: Tensor

    def tokens(self) -> list[list[int]]:
        """Return each completion's tokens, without padding and without the end mark."""
        new, length = self.ids[:, self.prompt_length :], self.completion_mask.sum(1) - self.stopped.long()
        return [row[:n].tolist() for row, n in zip(new, length.tolist())]


@torch.no_grad()
def generate(
    model: Any,
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    temperature: float = 1.0,
    top_p: float = 1.0,
    eos_id: int | None,
    generator: torch.Generator,
    batch_size: int = 64,
) -> Completions:
    """Write a completion for each prompt.

    Args:
        model: Has ``config``, ``cache`` and ``extend`` (``nn.llama.Llama`` or what ``nn.causal_lm.load_model`` gives).
        prompts: Tokens of each prompt, at least one.
        max_new_tokens: Where a text is cut off that does not end by itself.
        temperature: What logits are divided by before sampling; 0 takes the most probable token (its log-probability is then
            the one at temperature 1).
        top_p: Sample among the most probable tokens that together have this probability.
        eos_id: The end mark; None if there is none.
        generator: Source of the samples, on the CPU.
        batch_size: Prompts at a time.

    Returns:
        Completions in the order of the prompts; as many columns as the longest one needs.

    Raises:
        ConfigError: If a prompt is empty or too long (message names it), or an option is out of range.
    """
    _check(model, prompts, max_new_tokens, temperature, top_p, batch_size)
    width = max(len(prompt) for prompt in prompts)
    pad = eos_id if eos_id is not None else 0
    ids = torch.full((len(prompts), width + max_new_tokens), pad)
    mask = torch.zeros_like(ids, dtype=torch.bool)
    for row, prompt in enumerate(prompts):
        ids[row, width - len(prompt) : width] = torch.tensor(prompt)
        mask[row, width - len(prompt) : width] = True
    logp = torch.zeros(len(prompts), max_new_tokens)
    stopped = torch.zeros(len(prompts), dtype=torch.bool)
    for start in range(0, len(prompts), batch_size):
        rows = slice(start, start + batch_size)
        _write(model, ids[rows], mask[rows], logp[rows], stopped[rows], width, temperature, top_p, eos_id, generator)
    columns = max(1, int(mask[:, width:].sum(1).max()))
    stop = width + columns
    return Completions(ids[:, :stop], mask[:, :stop], width, mask[:, width:stop], logp[:, :columns], stopped)


def _write(
    model: Any,
    ids: Tensor,
    mask: Tensor,
    logp: Tensor,
    stopped: Tensor,
    width: int,
    temperature: float,
    top_p: float,
    eos_id: int | None,
    generator: torch.Generator,
) -> None:
    """Complete one batch in place; all tensors are views of the result."""
    skip = int((~mask[:, :width]).sum(1).min())  # columns that are padding in all rows of this batch
    new = ids.shape[1] - width
    cache = model.cache(len(ids), ids.shape[1] - skip)
    padded = not bool(mask[:, skip:width].all())
    logits = model.extend(cache, ids[:, skip:width], mask[:, skip:width] if padded else None)
    writing = torch.arange(len(ids))
    for column in range(new):
        token, chosen = choose(logits, temperature, top_p, generator)
        ids[writing, width + column], logp[writing, column] = token, chosen
        mask[writing, width + column] = True
        if eos_id is not None:
            ended = token == eos_id
            if bool(ended.any()):
                stopped[writing[ended]] = True
                rows = (~ended).nonzero()[:, 0]
                writing, token = writing[rows], token[rows]
                if not len(rows):
                    return
                cache.keep(rows)
        if column + 1 < new:
            logits = model.extend(cache, token[:, None])


def choose(logits: Tensor, temperature: float, top_p: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Choose the next token of each row.

    Args:
        logits: ``[B, V]``.
        temperature: As in ``generate``.
        top_p: As in ``generate``.
        generator: As in ``generate``.

    Returns:
        Tokens ``[B]`` int64 and their log-probabilities ``[B]`` float32.
    """
    if temperature == 0:
        scores = logits.float().log_softmax(-1)
        token = scores.argmax(-1)
        return token, scores.gather(1, token[:, None])[:, 0]
    scores = (logits.float() / temperature).log_softmax(-1)
    weight = scores.exp()
    if top_p < 1:
        order = weight.sort(-1, descending=True)
        before = order.values.cumsum(-1) - order.values  # what the more probable tokens have together
        weight = torch.zeros_like(weight).scatter_(1, order.indices, order.values.masked_fill_(before >= top_p, 0.0))
    token = draw(weight, generator)
    return token, scores.gather(1, token[:, None])[:, 0]


def draw(weight: Tensor, generator: torch.Generator) -> Tensor:
    """Draw an index of each row with probability proportional to its weight, ``[B, V] -> [B]``."""
    total = weight.cumsum(-1)
    # From (0, 1]: an index with weight 0 at the start of a row can then not be drawn.
    point = (1.0 - torch.rand(len(weight), 1, generator=generator)).to(total.device) * total[:, -1:]
    return torch.searchsorted(total, point)[:, 0].clamp_(max=weight.shape[-1] - 1)


def _check(
    model: Any, prompts: Sequence[Sequence[int]], max_new_tokens: int, temperature: float, top_p: float, batch_size: int
) -> None:
    if not prompts:
        raise ConfigError("no prompt to complete")
    if max_new_tokens < 1 or batch_size < 1:
        raise ConfigError(f"max_new_tokens is {max_new_tokens}, batch_size {batch_size}: both must be at least 1")
    if temperature < 0 or not 0 < top_p <= 1:
        raise ConfigError(f"temperature is {temperature} (at least 0), top_p {top_p} (above 0, at most 1)")
    context = model.config.max_position_embeddings
    for number, prompt in enumerate(prompts):
        if not len(prompt):
            raise ConfigError(f"prompt {number} has no token: start it with the model's start or end mark")
        if len(prompt) + max_new_tokens > context:
            raise ConfigError(
                f"prompt {number} has {len(prompt)} tokens; with {max_new_tokens} new ones that is more than the "
                f"{context} that the model reads: shorten the prompt or ask for fewer"
            )
