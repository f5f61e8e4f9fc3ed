"""Let vLLM write, behind the contract of ``generate``: for large models on a GPU, where it is faster than our own code.

The engine runs in this process and reads one directory, at its beginning; from then on it is given the weights of whichever model
is to write. Log-probabilities come out of its own arithmetic, so the stages compute those of training again.

Axes: B sequences, P prompt columns, N completion columns, T = P + N.

Source: https://docs.vllm.ai, "Offline inference" and ``LLM.collective_rpc``; ``reload_weights`` of its workers.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from cumulant.engine.generate import Completions, check, laid_out
from cumulant.errors import MissingPackage
from cumulant.nn.causal_lm import save_model
from cumulant.nn.hub_model import HubModel
from cumulant.nn.lora import has_lora, merged

_SHARE = {"cuda": 0.4, "cpu": 0.1}  # of the memory, for vLLM's weights and cache: training takes the rest


class Written(NamedTuple):
    """A completion as vLLM gives it: tokens (the end mark among them), their log-probabilities, whether it ended by itself."""

    tokens: Sequence[int]
    logp: Sequence[float]
    stopped: bool


class VllmWriter:
    """Writes with vLLM; called like ``generate``.

    Args:
        tokenizer: Of the models that are to write.

    Raises:
        MissingPackage: If vLLM is not installed.
    """

    def __init__(self, tokenizer: Any) -> None:
        os.environ.setdefault(
            "VLLM_ENABLE_V1_MULTIPROCESSING", "0"
        )  # so that weights need not be copied to another process
        os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
        try:
            import vllm
        except ImportError as problem:
            raise MissingPackage("--writer vllm needs the package 'vllm': pip install 'cumulant[vllm]'") from problem
        self.vllm, self.tokenizer = vllm, tokenizer
        self.engine: Any = None

    def __call__(
        self,
        model: Any,
        prompts: Sequence[Sequence[int]],
        *,
        max_new_tokens: int,
        temperature: float = 1.0,
        top_p: float = 1.0,
        eos_id: int | None,
        generator: torch.Generator,
    ) -> Completions:
        """Write a completion for each prompt: see ``generate``."""
        check(model, prompts, max_new_tokens, temperature, top_p)
        self._take(model)
        seeds = torch.randint(2**31, (len(prompts),), generator=generator).tolist()
        options = [
            self.vllm.SamplingParams(
                max_tokens=max_new_tokens,
                temperature=temperature,
                top_p=top_p,
                seed=seed,
                logprobs=0,  # of the token that was drawn
                ignore_eos=True,  # one end mark counts, that which is given
                stop_token_ids=None if eos_id is None else [eos_id],
                detokenize=False,
            )
            for seed in seeds
        ]
        asked = [{"prompt_token_ids": list(prompt)} for prompt in prompts]
        answers = self.engine.generate(asked, options, use_tqdm=False)
        return completions([list(prompt) for prompt in prompts], [_read(answer) for answer in answers], eos_id)

    def _take(self, model: Any) -> None:
        """Give the engine a model's weights as they are now."""
        if self.engine is None:
            with tempfile.TemporaryDirectory(prefix="cumulant-") as folder:
                save_model(model, self.tokenizer, folder)
                self.engine = self.vllm.LLM(
                    model=folder,
                    dtype=str(next(model.parameters()).dtype).removeprefix("torch."),
                    logprobs_mode="processed_logprobs",  # at the temperature of sampling
                    enable_prefix_caching=False,  # what one set of weights computed is wrong for the next
                    gpu_memory_utilization=_SHARE["cuda" if torch.cuda.is_available() else "cpu"],
                )
        self.engine.collective_rpc("reload_weights", kwargs={"weights_iterator": weights(model)})


def weights(model: Any) -> Iterator[tuple[str, Tensor]]:
    """Yield a model's weights under Hugging Face's names, adapters merged in where they are switched on."""
    if isinstance(model, HubModel):
        own: Any = model.network
    else:
        own = merged(model) if has_lora(model) and model.adapters_on else model
    for name, part in own.named_parameters():
        if ".lora." not in name:
            yield name, part.detach()


def completions(prompts: Sequence[Sequence[int]], written: Sequence[Written], eos_id: int | None) -> Completions:
    """Bring what vLLM wrote into the form that ``generate`` gives."""
    columns = max(1, *(len(each.tokens) for each in written))
    ids, mask, width = laid_out(prompts, columns, eos_id)
    logp, stopped = torch.zeros(len(prompts), columns), torch.tensor([each.stopped for each in written])
    for row, each in enumerate(written):
        stop = width + len(each.tokens)
        ids[row, width:stop] = torch.tensor(each.tokens)
        mask[row, width:stop] = True
        logp[row, : len(each.tokens)] = torch.tensor(each.logp)
    return Completions(ids, mask, width, mask[:, width:], logp, stopped)


def _read(answer: Any) -> Written:
    """Read one of vLLM's answers, a ``RequestOutput`` of one completion."""
    (one,) = answer.outputs
    tokens = list(one.token_ids)
    logp = [at[token].logprob for token, at in zip(tokens, one.logprobs)]
    return Written(tokens, logp, one.finish_reason == "stop")
