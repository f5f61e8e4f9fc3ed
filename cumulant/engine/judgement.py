"""Judge a trained language model on held-out prompts, beside the one that it started from.

Axes: B sequences, T tokens, N tokens of the completion.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from cumulant.data.text import encode_completion, encode_prompt
from cumulant.engine.completions import Experience, Prompt, experience
from cumulant.engine.scoring import Scorer, distinct
from cumulant.engine.tuned import Tuned
from cumulant.maths.kl import kl_estimate
from cumulant.maths.masked import masked_sum
from cumulant.nn.causal_lm import load_model
from cumulant.nn.token_logp import token_logp, wanted_tokens
from cumulant.stats import mean_interval

SHOWN = 8  # samples in an evaluation


def judge(
    tuned: Tuned,
    scorer: Scorer,
    prompts: Sequence[Prompt],
    max_new_tokens: int,
    temperature: float,
    label: str,
    fluency_model: str = "",
    batch_size: int = 64,
) -> dict[str, Any]:
    """Let policy and reference answer the same prompts with the same random numbers, and measure both.

    Args:
        tuned: Policy and reference.
        scorer: The reward that was trained on; it is given in its own unit.
        prompts: Held-out prompts.
        max_new_tokens: Where a completion is cut off.
        temperature: Of sampling.
        label: What the policy is called.
        fluency_model: Model whose log-probability per token says how natural a text is; the reference if empty.
        batch_size: Prompts at a time.

    Returns:
        An evaluation of the kind "text": figures, samples, and a table of both models. ``win_rate`` is how often the policy
        earns more than the reference on the same prompt, ``kl_nats`` KL(policy || reference) per completion, ``fluency`` the
        mean log-probability per token.
    """
    fluency = (tuned.reference, tuned.tokenizer)
    if fluency_model:
        model, tokenizer = load_model(fluency_model)
        fluency = model.to(tuned.device), tokenizer
    sides: dict[str, dict[str, np.ndarray]] = {}
    texts: dict[str, list[Experience]] = {}
    for side in ("policy", "reference"):
        generator = torch.Generator().manual_seed(0)
        texts[side] = [
            experience(
                tuned, scorer, prompts[i : i + batch_size], max_new_tokens, temperature, generator, side == "reference"
            )
            for i in range(0, len(prompts), batch_size)
        ]
        sides[side] = _measures(texts[side], scorer, *fluency)
    ours, theirs = sides["policy"], sides["reference"]
    unlike = {"distinct_2": [distinct(*_completions(texts[side])) for side in ("policy", "reference")]}
    gain = (ours["reward"] > theirs["reward"]) + 0.5 * (ours["reward"] == theirs["reward"])
    figures = {name: _figure(values) for name, values in ours.items()}
    figures["reward"]["better"] = figures["fluency"]["better"] = "higher"
    figures["kl_nats"] |= {"better": "lower", "unit": "nats"}
    figures["win_rate"] = _figure(gain) | {"better": "higher"}
    figures["distinct_2"] = {"value": unlike["distinct_2"][0], "better": "higher"}
    rows = [[name, ours[name].mean().item(), theirs[name].mean().item()] for name in ours]
    rows += [[name, *values] for name, values in unlike.items()]
    return {
        "kind": "text",
        "label": label,
        "episodes": len(prompts),
        "figures": figures,
        "samples": _samples(texts, ours, theirs),
        "tables": [{"title": "On the same held-out prompts", "columns": ["measure", label, "reference"], "rows": rows}],
    }


def _measures(batches: Sequence[Experience], scorer: Scorer, model: Any, tokenizer: Any) -> dict[str, np.ndarray]:
    """Return what can be said of each completion, ``[B]`` each."""
    terms = np.concatenate([batch.terms.numpy() for batch in batches])
    measures = {"reward": terms.sum(1)}
    if len(scorer.names) > 1:
        measures |= {f"reward_{name}": terms[:, k] for k, name in enumerate(scorer.names)}
    kl = [masked_sum(kl_estimate(batch.logp, batch.logp_ref), batch.real, 1) for batch in batches]
    measures["kl_nats"] = torch.cat(kl).double().cpu().numpy()
    measures["tokens"] = torch.cat([batch.real.sum(1) for batch in batches]).double().cpu().numpy()
    measures["stopped"] = torch.cat([batch.stopped for batch in batches]).double().numpy()
    pairs = [pair for batch in batches for pair in zip(batch.prompts, batch.completions, batch.stopped.tolist())]
    measures["fluency"] = fluency_of(model, tokenizer, pairs)
    return measures


@torch.no_grad()
def fluency_of(model: Any, tokenizer: Any, texts: Sequence[tuple[str, str, bool]], batch_size: int = 32) -> np.ndarray:
    """Return the mean log-probability per token of completions under a model, ``[B]`` float64, in nats.

    Args:
        model: The judge, with its own tokenizer.
        tokenizer: Of the judge.
        texts: Prompt, completion, and whether it ended by itself, so that its end mark is judged too.
        batch_size: Texts at a time.
    """
    found, device = np.zeros(len(texts)), next(model.parameters()).device
    rows = []
    for prompt, completion, stopped in texts:
        begin, rest = encode_prompt(tokenizer, prompt), encode_completion(tokenizer, completion)
        rest = rest if stopped or len(rest) == 1 else rest[:-1]
        rows.append((begin, rest))
    order = sorted(range(len(rows)), key=lambda i: len(rows[i][0]) + len(rows[i][1]))
    for at in range(0, len(order), batch_size):
        chosen = order[at : at + batch_size]
        width = max(len(rows[i][0]) + len(rows[i][1]) for i in chosen)
        ids, mask = torch.zeros(len(chosen), width, dtype=torch.long), torch.zeros(len(chosen), width, dtype=torch.bool)
        first = torch.tensor([len(rows[i][0]) for i in chosen])
        for row, i in enumerate(chosen):
            tokens = torch.tensor(rows[i][0] + rows[i][1])
            ids[row, : len(tokens)], mask[row, : len(tokens)] = tokens, True
        ids, mask = ids.to(device), mask.to(device)
        wanted = wanted_tokens(ids, mask, first.to(device))
        logp = token_logp(model, model.hidden(ids, mask), ids, wanted)[0]
        found[chosen] = (logp.sum(1) / wanted.sum(1)).double().cpu().numpy()
    return found


def _figure(values: np.ndarray) -> dict[str, Any]:
    interval = mean_interval(values)
    ends = {"low": float(interval.low), "high": float(interval.high)} if len(values) > 1 else {}
    return {"value": float(interval.mean), **ends}


def _completions(batches: Sequence[Experience]) -> list[str]:
    return [text for batch in batches for text in batch.completions]


def _samples(
    texts: dict[str, list[Experience]], ours: dict[str, np.ndarray], theirs: dict[str, np.ndarray]
) -> list[dict[str, Any]]:
    prompts = [prompt for batch in texts["policy"] for prompt in batch.prompts]
    answers, before = _completions(texts["policy"]), _completions(texts["reference"])
    return [
        {
            "prompt": prompts[i],
            "completion": answers[i],
            "reward": round(float(ours["reward"][i]), 4),
            "kl": round(float(ours["kl_nats"][i]), 2),
            "reference": before[i],
            "reference_reward": round(float(theirs["reward"][i]), 4),
        }
        for i in range(min(SHOWN, len(prompts)))
    ]
