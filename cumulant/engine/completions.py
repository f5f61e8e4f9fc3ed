"""Completions as experience: written by the policy, scored, and seen by the reference.

Axes: B sequences, P prompt columns, N completion columns, T = P + N, K reward terms, D width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from cumulant.data.rows import Split
from cumulant.data.text import encode_prompts, end_id, load_prompts
from cumulant.engine.scoring import Samples, Scorer, distinct
from cumulant.engine.tuned import Frozen, Tuned
from cumulant.errors import DataError
from cumulant.maths.kl import kl_estimate
from cumulant.maths.masked import masked_sum


@dataclass(frozen=True)
class Prompt:
    """What is asked, as a text and as tokens."""

    text: str
    tokens: Sequence[int]


@dataclass(frozen=True)
class Experience:
    """Completions, what policy and reference think of them, and what they earned.

    Args:
        ids: Left-padded prompts and their completions, ``[B, T]`` int64.
        mask: Real tokens, ``[B, T]`` bool.
        real: Real tokens of completions, the end mark included, ``[B, N]`` bool.
        logp: Log-probability of each token under the policy that wrote it, ``[B, N]``; 0 in the padding.
        logp_ref: The same under the reference.
        frozen: Hidden states of the reference.
        terms: What each term of the reward gave, ``[B, K]`` float64, in its own unit; on the CPU.
        reward: What is trained on, one number a completion, ``[B]``.
        counts: Whether a completion is to be learned from, ``[B]`` bool.
        stopped: Whether it ended by itself, ``[B]`` bool; on the CPU.
        prompts: What was asked.
        completions: What was answered, without the end mark.
    """

    ids: Tensor
    mask: Tensor
    real: Tensor
    logp: Tensor
    logp_ref: Tensor
    frozen: Frozen
    terms: Tensor
    reward: Tensor
    counts: Tensor
    stopped: Tensor
    prompts: list[str]
    completions: list[str]

    @property
    def metrics(self) -> dict[str, float]:
        """Length in tokens, share that ended by itself, and share of different word pairs over the whole batch."""
        return {
            "text/length": self.real.sum(1).double().mean().item(),
            "text/stopped": self.stopped.double().mean().item(),
            "text/distinct_2": distinct(*self.completions),
        }

    @property
    def samples(self) -> list[dict[str, Any]]:
        """Prompts, completions, whether they ended, rewards and nats away from the reference, as a log keeps them."""
        nats = masked_sum(kl_estimate(self.logp, self.logp_ref), self.real, 1)
        columns = {"prompt": self.prompts, "completion": self.completions, "stopped": self.stopped.tolist()}
        columns["reward"] = [round(reward, 4) for reward in self.terms.sum(1).tolist()]
        columns["kl"] = [round(kl, 2) for kl in nats.tolist()]
        return [dict(zip(columns, row)) for row in zip(*columns.values())]


def completion_states(states: Tensor, real: Tensor) -> Tensor:
    """Return the states in which a completion's tokens were chosen, those one token earlier: ``[B, T, D] -> [B, N, D]``.

    >>> completion_states(torch.arange(5)[None], torch.ones(1, 2))
    tensor([[2, 3]])
    """
    return states[:, -real.shape[1] - 1 : -1]


def wanted(real: Tensor, length: int) -> Tensor:
    """Return the mask ``[B, T-1]`` of log-probabilities to compute: those of the completions' real tokens, ``[B, N]``."""
    return functional.pad(real, (length - 1 - real.shape[1], 0))


def read_prompts(data: str, split: Split, tuned: Tuned, max_new_tokens: int) -> list[Prompt]:
    """Load prompts of an embedded set or a file, and tokenise them.

    Raises:
        DataError: If there is none, one does not leave room for a completion (message shows how it begins), or the
            tokenizer has no token that ends texts.
    """
    end_id(tuned.tokenizer)
    texts = load_prompts(data, split, tuned.tokenizer)
    if not texts:
        raise DataError(f"{data} has no {split} prompts")
    tokens = encode_prompts(texts, tuned.tokenizer, tuned.context - max_new_tokens)
    return [Prompt(text, ids) for text, ids in zip(texts, tokens)]


def draw_prompts(prompts: Sequence[Prompt], count: int, generator: torch.Generator) -> list[Prompt]:
    """Return ``count`` prompts in random order, none twice unless there are too few."""
    order: list[int] = []
    while len(order) < count:
        order += torch.randperm(len(prompts), generator=generator).tolist()
    return [prompts[index] for index in order[:count]]


@torch.no_grad()
def experience(
    tuned: Tuned,
    scorer: Scorer,
    prompts: Sequence[Prompt],
    max_new_tokens: int,
    temperature: float,
    generator: torch.Generator,
    of_reference: bool = False,
) -> Experience:
    """Let the policy (or the reference) complete prompts, and score what it wrote.

    Args:
        tuned: Policy and reference.
        scorer: What scores.
        prompts: One for each completion.
        max_new_tokens: Where a completion is cut off.
        temperature: Of sampling, and of all log-probabilities.
        generator: Source of the samples.
        of_reference: Whether the reference writes; ``logp`` is then its own.
    """
    written = tuned.write([p.tokens for p in prompts], max_new_tokens, temperature, generator, of_reference)
    ids, mask, real = written.ids, written.mask, written.completion_mask
    frozen = tuned.frozen(ids, mask)
    of = wanted(real, ids.shape[1])
    logp_ref = of_completions(tuned.reference_logp(frozen.hidden, ids, of, temperature), real)
    logp = written.logp
    if of_reference:
        logp = logp_ref
    elif not tuned.exact:  # the same arithmetic as in training, so that the first ratio is 1
        hidden = tuned.hidden(ids, mask, frozen.lower)
        logp = of_completions(tuned.logp(hidden, ids, of, temperature)[0], real)
    texts = tuned.tokenizer.batch_decode(written.tokens(), skip_special_tokens=True)
    stopped = written.stopped.cpu()
    samples = Samples([p.text for p in prompts], texts, real.sum(1).cpu().numpy(), stopped.numpy())
    terms = scorer.split(samples)
    reward, counts = scorer.total(terms, samples.stopped)
    return Experience(
        ids=ids,
        mask=mask,
        real=real,
        logp=logp,
        logp_ref=logp_ref,
        frozen=frozen,
        terms=torch.from_numpy(terms),
        reward=torch.from_numpy(reward).float().to(ids.device),
        counts=torch.from_numpy(counts).to(ids.device),
        stopped=stopped,
        prompts=list(samples.prompts),
        completions=list(texts),
    )


def of_completions(logp: Tensor, real: Tensor) -> Tensor:
    """Return the completions' part of log-probabilities, ``[B, T-1] -> [B, N]``."""
    return logp[:, -real.shape[1] :]
