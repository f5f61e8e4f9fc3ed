"""Log-probabilities of the responses of pairs: the reference's, computed once, and the policy's; and pairs that a model writes.

Axes: N responses, B responses of a batch, T tokens, D width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cumulant.data.packing import TokenBatch, Tokens, pad
from cumulant.data.pair_tokens import PairTokens
from cumulant.data.text import pad_id
from cumulant.engine.completions import Prompt
from cumulant.engine.scoring import Samples, Scorer
from cumulant.engine.text_reward import length_batches
from cumulant.engine.tuned import Tuned
from cumulant.errors import DataError
from cumulant.maths.masked import masked_sum


class Responses:
    """Responses as policy and reference see them.

    The reference never changes, so its log-probabilities are computed once; with adapters, what lies below the lowest of them is
    the same for both and kept too, if memory allows.

    Args:
        tuned: Policy and reference.
        texts: Prompt and response of each; ``loss`` marks the response's tokens.
        most_bytes: What hidden states may take.

    Attributes:
        logp_ref: Log-probability of each response under the reference, ``[N]`` float32.
        count: Tokens of each response, ``[N]`` float32.
    """

    def __init__(self, tuned: Tuned, texts: Sequence[Tokens], most_bytes: float = 0.0) -> None:
        self.tuned, self.texts, self.pad_id = tuned, texts, pad_id(tuned.tokenizer)
        like = next(tuned.reference.parameters())
        self.device = like.device
        length = sum(len(text.ids) for text in texts)
        keeps = tuned.first_layer > 0 and length * tuned.width * like.element_size() <= most_bytes
        self.lower: list[Tensor] | None = [torch.empty(0)] * len(texts) if keeps else None
        self.logp_ref = torch.zeros(len(texts), device=self.device)
        self.count = torch.tensor([float(text.loss.sum()) for text in texts], device=self.device)
        for chosen in length_batches(texts):
            batch = self._batch(chosen)
            frozen = tuned.frozen(batch.ids, batch.mask)
            self.logp_ref[chosen] = tuned.reference_logp(frozen.hidden, batch.ids, batch.loss_mask[:, 1:]).sum(1)
            if self.lower is not None and frozen.lower is not None:
                for row, i in enumerate(chosen):
                    self.lower[i] = frozen.lower[row, : len(texts[i].ids)].clone()

    def _batch(self, chosen: Sequence[int]) -> TokenBatch:
        return pad([self.texts[i] for i in chosen], self.pad_id).to(self.device)

    def logp(self, chosen: Sequence[int]) -> Tensor:
        """Return the log-probability of responses under the policy, summed over their tokens, with gradient, ``[B]``."""
        batch, lower = self._batch(chosen), None
        if self.lower is not None:
            lower = self.lower[chosen[0]].new_zeros(*batch.ids.shape, self.tuned.width)
            for row, i in enumerate(chosen):
                lower[row, : len(self.lower[i])] = self.lower[i]
        wanted = batch.loss_mask[:, 1:]
        hidden = self.tuned.hidden(batch.ids, batch.mask, lower)
        return masked_sum(self.tuned.logp(hidden, batch.ids, wanted)[0], wanted, 1)

    @torch.no_grad()
    def all_logp(self) -> Tensor:
        """Return the log-probability of every response under the policy, ``[N]``."""
        found = torch.zeros_like(self.logp_ref)
        for chosen in length_batches(self.texts):
            found[chosen] = self.logp(chosen)
        return found


def write_pairs(
    tuned: Tuned, scorer: Scorer, prompts: Sequence[Prompt], max_new_tokens: int, generator: torch.Generator
) -> tuple[PairTokens, list[dict[str, Any]]]:
    """Let the reference answer each prompt twice, and rank the two answers by a reward.

    Answers that are equal or score the same say nothing and are left out.

    Args:
        tuned: Policy and reference.
        scorer: The reward.
        prompts: At least one.
        max_new_tokens: Where an answer is cut off; it then has no end-of-text.
        generator: Source of the samples.

    Returns:
        Pairs, the margin being the difference of the rewards; and each as texts, ``prompt``, ``chosen``, ``rejected``.

    Raises:
        DataError: If no pair is left.
    """
    sides = []
    for _ in range(2):
        written = tuned.write([prompt.tokens for prompt in prompts], max_new_tokens, 1.0, generator, of_reference=True)
        answers = tuned.tokenizer.batch_decode(written.tokens(), skip_special_tokens=True)
        length, stopped = written.completion_mask.sum(1).cpu().numpy(), written.stopped.cpu().numpy()
        scores = scorer.split(Samples([prompt.text for prompt in prompts], answers, length, stopped)).sum(1)
        rows = [written.ids[row, written.mask[row]].cpu().numpy().astype(np.int32) for row in range(len(prompts))]
        tokens = [Tokens(ids, np.arange(len(ids)) >= len(ids) - count) for ids, count in zip(rows, length)]
        sides.append((answers, scores, tokens))
    (first, of_first, one), (second, of_second, other) = sides
    kept = [i for i in range(len(prompts)) if first[i] != second[i] and of_first[i] != of_second[i]]
    if not kept:
        raise DataError("no pair to learn from: both answers to every prompt are equal, or score the same")
    texts, shown = [], []
    for i in kept:
        is_first = of_first[i] > of_second[i]
        texts += [one[i], other[i]] if is_first else [other[i], one[i]]
        answers = (first[i], second[i]) if is_first else (second[i], first[i])
        shown.append({"prompt": prompts[i].text, "chosen": answers[0], "rejected": answers[1]})
    index = np.arange(2 * len(kept)).reshape(-1, 2)
    margin = np.abs(of_first - of_second)[kept]
    return PairTokens(texts, index[:, 0], index[:, 1], np.ones(len(kept)), margin), shown
