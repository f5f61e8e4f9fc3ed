"""Let a language model write: prompts in, completions and the log-probabilities of their tokens out.

Axes: B sequences, P prompt columns, N completion columns, T = P + N, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
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

    def to(self, device: str | torch.device) -> Completions:
        """Return the completions on a device."""
        moved = {name: getattr(self, name).to(device) for name in ("ids", "mask", "completion_mask", "logp", "stopped")}
        return replace(self, **moved)

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
        model: Has ``config`` and ``decoder`` (``nn.llama.Llama`` or what ``nn.causal_lm.load_model`` gives).
        prompts: Tokens of each prompt, at least one.
        max_new_tokens: Where a text is cut off that does not end by itself.
        temperature: What logits are divided by before sampling; 0 takes the most probable token (its log-probability is then
            the one at temperature 1).
        top_p: Sample among the most probable tokens that together have this probability.
        eos_id: The end mark; None if there is none.
        generator: Source of the samples, on the CPU.
        batch_size: Prompts at a time.

    Returns:
        Completions in the order of the prompts, on the model's device; as many columns as the longest one needs.

    Raises:
        ConfigError: If a prompt is empty or too long (message names it), or an option is out of range.
    """
    check(model, prompts, max_new_tokens, temperature, top_p, batch_size)
    ids, mask, width = laid_out(prompts, max_new_tokens, eos_id)
    device = next(model.parameters()).device
    ids, mask = ids.to(device), mask.to(device)
    logp = torch.zeros(len(prompts), max_new_tokens, device=device)
    stopped = torch.zeros(len(prompts), dtype=torch.bool, device=device)
    decoder = model.decoder()
    for start in range(0, len(prompts), batch_size):
        rows = slice(start, start + batch_size)
        _write(decoder, ids[rows], mask[rows], logp[rows], stopped[rows], width, temperature, top_p, eos_id, generator)
    columns = max(1, int(mask[:, width:].sum(1).max()))
    stop = width + columns
    return Completions(ids[:, :stop], mask[:, :stop], width, mask[:, width:stop], logp[:, :columns], stopped)


def laid_out(prompts: Sequence[Sequence[int]], new: int, eos_id: int | None) -> tuple[Tensor, Tensor, int]:
    """Return tokens and mask ``[B, T]`` with the prompts padded on the left and room for ``new`` tokens; and P."""
    width = max(len(prompt) for prompt in prompts)
    ids = torch.full((len(prompts), width + new), eos_id if eos_id is not None else 0)
    mask = torch.zeros_like(ids, dtype=torch.bool)
    for row, prompt in enumerate(prompts):
        ids[row, width - len(prompt) : width] = torch.tensor(prompt)
        mask[row, width - len(prompt) : width] = True
    return ids, mask, width


def _write(
    decoder: Any,
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
    decoder.start(len(ids), ids.shape[1] - skip)
    logits = decoder.read(ids[:, skip:width], mask[:, skip:width])
    writing = torch.arange(len(ids), device=ids.device)  # rows of the batch that the decoder still holds
    for column in range(width, ids.shape[1]):
        token, chosen = choose(logits, temperature, top_p, generator)
        live = ~stopped[writing]
        rows = writing[live]
        ids[rows, column], logp[rows, column - width] = token[live], chosen[live]
        mask[rows, column] = True
        if eos_id is not None:
            stopped[rows] = token[live] == eos_id
            live = ~stopped[writing]
            count = int(live.sum())
            if not count:
                return
            size = -(-count // 8) * 8  # for every other shape of its products a processor's library keeps code and room
            if size <= 0.75 * len(writing):  # moving the cache costs about as much as writing one token
                kept = live.int().argsort(descending=True, stable=True)[:size].sort().values
                writing, token = writing[kept], token[kept]
                decoder.keep(kept)
        if column + 1 < width + new:
            logits = decoder.extend(token)


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
    scores = logits.float()
    if temperature not in (0.0, 1.0):
        scores = scores / temperature
    most = scores.max(-1, keepdim=True)
    weight = (scores - most.values).exp_()
    total = weight.sum(-1)
    if temperature == 0:
        token = most.indices[:, 0]
    elif top_p < 1:
        order = weight.sort(-1, descending=True)
        before = order.values.cumsum(-1) - order.values  # what the more probable tokens have together
        cut = order.values.masked_fill(before >= top_p * total[:, None], 0.0)
        token = order.indices.gather(1, draw(cut, generator)[:, None])[:, 0]
    else:
        token = draw(weight, generator)
    return token, (scores.gather(1, token[:, None]) - most.values)[:, 0] - total.log()


def draw(weight: Tensor, generator: torch.Generator, block: int = 64) -> Tensor:
    """Draw an index of each row with probability proportional to its weight, ``[B, V] -> [B]``.

    First a block of neighbours, then one of them: sums are fast on a processor, running sums are not.
    """
    rows, words = weight.shape
    weight = F.pad(weight, (0, -words % block)).view(rows, -1, block)
    # Points lie in (0, 1]: what has weight 0 cannot be hit, not even in front of all others.
    point = (1.0 - torch.rand(rows, 2, generator=generator)).to(weight.device)
    chosen = _hit(weight.sum(-1), point[:, :1])
    inside = weight.gather(1, chosen[:, :, None].expand(-1, -1, block))[:, 0]
    return (chosen * block + _hit(inside, point[:, 1:]))[:, 0]


def _hit(weight: Tensor, point: Tensor) -> Tensor:
    """Return the index of each row in which a point of its running sum lies, ``[B, 1]``."""
    running = weight.cumsum(-1)
    return torch.searchsorted(running, point * running[:, -1:])


def check(
    model: Any,
    prompts: Sequence[Sequence[int]],
    max_new_tokens: int,
    temperature: float,
    top_p: float,
    batch_size: int = 1,
) -> None:
    """Refuse what cannot be completed.

    Raises:
        ConfigError: If a prompt is empty or too long (message names it), or an option is out of range.
    """
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
