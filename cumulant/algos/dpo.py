"""DPO: a language model learns from pairs of answers directly, without a reward model in the loop.

The policy's own log-probabilities, measured against a frozen reference, are its reward; Bradley-Terry on that reward is a loss on
pairs. The pairs come from people (a file, an embedded set), or the model writes two answers to each prompt itself and a reward
ranks them (``--reward RUN``).

    ratio = log p(answer) - log p_ref(answer),    summed over the answer's tokens
    loss  = -log sigmoid(beta * (ratio(chosen) - ratio(rejected)))          sigmoid
    loss  = (ratio(chosen) / tokens - ratio(rejected) / tokens - 1 / (2 beta))^2    IPO

Only the difference is trained, so both answers may become less likely, the chosen one too; the evaluation says so when they do.
Axes: B pairs, T tokens.

Source: Rafailov et al. 2023; IPO: Azar et al. 2023; label smoothing: Mitchell 2023. Differs from source: raters' shares in place
of one label.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
import tyro
from torch import Tensor

from cumulant.data.pair_tokens import PairTokens, length_order, tokenize_pairs
from cumulant.data.preferences import load_pairs
from cumulant.data.rows import Split
from cumulant.data.text import Example, tokenize_examples
from cumulant.engine.completions import Prompt, draw_prompts, read_prompts
from cumulant.engine.judgement import judge
from cumulant.engine.language_model import LanguageModel
from cumulant.engine.pair_logp import Responses, write_pairs
from cumulant.engine.preference_report import accuracy
from cumulant.engine.ranks import add_up, add_up_gradients, share
from cumulant.engine.scoring import Scorer, ScoringConfig
from cumulant.engine.tuned import ComputeConfig, Tuned, TuningConfig
from cumulant.maths.kl import kl_estimate
from cumulant.maths.preference import dpo_loss, implicit_reward, ipo_loss
from cumulant.maths.schedules import piecewise
from cumulant.run.config import require
from cumulant.run.run import Run
from cumulant.stats import mean_interval

CATEGORY = "language model"
USE = "to move a language model towards preferred answers from pairs alone; cheaper than rlhf, and not as far"
IN_PARALLEL = True  # several processes may train together, as torchrun starts them
SAMPLES = 8


@dataclass(frozen=True)
class Config:
    """Options of DPO."""

    env: Annotated[str, tyro.conf.Suppress] = "movie-snippets"
    """Pairs, or prompts if a reward ranks the model's own answers: an embedded set, or a file."""
    env_options: Annotated[Mapping[str, Any], tyro.conf.Suppress] = field(default_factory=dict)
    """None."""
    total_steps: int = 56
    """Optimiser steps."""
    batch_size: int = 16
    """Pairs per step (B)."""
    micro_batch: int = 16
    """Pairs that are in memory at a time; changes nothing but that."""
    reward: str = ""
    """What ranks two answers of the model's own: module:function, or the run of a reward model; empty for pairs in the data."""
    sample_pairs: int = 448
    """How often the model answers a prompt twice, if a reward ranks; no prompt again before all have had their turn."""
    max_new_tokens: int = 22
    """Most tokens of an answer that it writes."""
    max_pairs: int = 0
    """Learn from so many pairs of the data, drawn at random; 0 for as many as the steps can read."""
    loss: Literal["sigmoid", "ipo"] = "sigmoid"
    """Which loss: Bradley-Terry on implicit rewards, or a fixed gap per token."""
    beta: float = 0.1
    """Price of a nat of divergence from the reference; for ipo, 1 / (2 beta) is the gap in nats per token."""
    label_smoothing: float = 0.0
    """Fraction of the pairs taken to be the wrong way round."""
    smoothing: Literal["conservative", "robust"] = "conservative"
    """What to do about them: be less sure, or correct the loss for them."""
    learning_rate: float = 5e-4
    """Highest step size of AdamW; for all weights in training, a tenth of it or less."""
    warmup: float = 0.1
    """Share of the steps in which the step size rises from nothing; then it falls to a tenth in a straight line."""
    max_grad_norm: float = 1.0
    """Gradients are scaled down to this norm."""
    context: int = 512
    """Most tokens of prompt and answer; longer answers lose their end."""
    cache_gb: float = 2.0
    """Memory for what the layers below the adapters make of the texts; if it does not suffice, they run in every step."""
    tuning: TuningConfig = field(default_factory=TuningConfig)
    """Which model is trained."""
    compute: ComputeConfig = field(default_factory=ComputeConfig)
    """How it is computed."""
    eval_pairs: int = 200
    """Held-out pairs of the evaluation, or prompts, if a reward ranks."""

    def __post_init__(self) -> None:
        for name in ("total_steps", "batch_size", "micro_batch", "sample_pairs", "max_new_tokens"):
            require(self, name, getattr(self, name) >= 1, "at least 1")
        require(self, "eval_pairs", self.eval_pairs >= 2, "at least 2")
        require(self, "context", self.context >= 4, "at least 4")
        for name in ("beta", "learning_rate", "max_grad_norm"):
            require(self, name, getattr(self, name) > 0.0, "above 0")
        require(self, "label_smoothing", 0.0 <= self.label_smoothing < 0.5, "at least 0 and below 0.5")
        require(self, "warmup", 0.0 <= self.warmup < 1.0, "in [0, 1)")
        for name in ("max_pairs", "cache_gb"):
            require(self, name, getattr(self, name) >= 0, "at least 0")


def pair_loss(config: Config, ratio: Tensor, count: Tensor, share: Tensor) -> Tensor:
    """Return the loss of pairs, ``[B]``, from the log-ratios of chosen, then rejected answers, and their tokens, ``[2 B]``."""
    if config.loss == "ipo":
        chosen, rejected = (ratio / count).chunk(2)
        return ipo_loss(chosen, rejected, config.beta, share=share)
    chosen, rejected = ratio.chunk(2)
    noise = {"label_smoothing": config.label_smoothing, "smoothing": config.smoothing}
    return dpo_loss(chosen, rejected, config.beta, share=share, **noise)  # type: ignore[arg-type]


def train(config: Config, run: Run) -> None:
    """Train a policy and save it as ``model/``, with adapters also as ``adapter/``.

    Args:
        config: Options.
        run: Where it is logged and saved.
    """
    tuned = Tuned.begin(config.tuning, run.rng("init"), config.compute)
    if config.reward:  # what is wrong with what it is judged by is to be said now, not after the training
        read_prompts(config.env, "held-out", tuned, config.max_new_tokens)
    else:
        read_pairs(config, tuned, "held-out", torch.Generator().manual_seed(0))
    pairs, _ = read_pairs(config, tuned, "train", run.rng("pairs"))
    responses = Responses(tuned, pairs.texts, config.cache_gb * 1e9)
    trained = list(tuned.trainable.values())
    optimizer = torch.optim.AdamW(trained, config.learning_rate, betas=(0.9, 0.95), weight_decay=0.0, fused=True)
    run.track(tuned=tuned, optimizer=optimizer)

    for step in run.iterations(config.total_steps):
        points = [(0.0, 0.0), (config.warmup, 1.0), (1.0, 0.1)]
        rate = config.learning_rate * piecewise(points, (step + 0.5) / config.total_steps)
        optimizer.param_groups[0]["lr"] = rate
        rows = length_order(pairs.length, config.batch_size, step, run.seed_for("order"))
        optimizer.zero_grad()
        mine = rows[share(len(rows))]
        # losses, and log-probabilities of chosen and rejected under policy and reference
        seen = [torch.zeros(5, 0, device=responses.device)]
        for part in np.array_split(mine, -(-len(mine) // config.micro_batch)) if len(mine) else ():
            index = [*pairs.chosen[part], *pairs.rejected[part]]
            logp, logp_ref, count = responses.logp(index), responses.logp_ref[index], responses.count[index]
            preferred = torch.from_numpy(pairs.share[part]).to(logp)
            loss = pair_loss(config, logp - logp_ref, count, preferred)
            (loss.sum() / len(rows)).backward()
            seen.append(torch.stack([loss, *logp.chunk(2), *logp_ref.chunk(2)]).detach())
        add_up_gradients(trained)
        grad_norm = torch.nn.utils.clip_grad_norm_(trained, config.max_grad_norm)
        optimizer.step()

        loss, chosen, rejected, chosen_ref, rejected_ref = torch.cat(seen, 1)
        reward, other = (implicit_reward(*x, config.beta) for x in ((chosen, chosen_ref), (rejected, rejected_ref)))
        known = {
            "loss/preference": loss,
            "reward/accuracy": (reward > other).float(),
            "reward/margin": reward - other,
            "reward/chosen": reward,
            "reward/rejected": other,
            "text/logp_chosen": chosen,
            "text/logp_rejected": rejected,
        }
        if config.reward:  # the answers are the reference's own, so they say how far the policy has gone from it
            both = torch.cat([chosen_ref, rejected_ref]), torch.cat([chosen, rejected])
            known["kl/of_reference"] = 0.5 * kl_estimate(*both)  # two answers a pair
        sums = add_up(torch.stack([values.sum() for values in known.values()]))
        means = dict(zip(known, (sums / len(rows)).tolist()))
        run.log(steps=step + 1, **means, **{"loss/grad_norm": float(grad_norm), "optimizer/learning_rate": rate})

    tuned.save(run.directory, config.tuning.model)


def evaluate(config: Config, directory: Path) -> dict[str, Any]:
    """Judge the model that a run has saved: on held-out pairs, and by what it writes."""
    tuned = Tuned.finished(config.tuning, directory, config.compute.device)
    pairs, texts = read_pairs(config, tuned, "held-out", torch.Generator().manual_seed(0))
    responses = Responses(tuned, pairs.texts)
    logp = responses.all_logp()
    ratio = (logp - responses.logp_ref).double().cpu().numpy()
    chosen, rejected = ratio[pairs.chosen], ratio[pairs.rejected]
    sides = np.stack([pairs.chosen, pairs.rejected], 1)
    right = accuracy(chosen - rejected, pairs.share, sides, np.random.default_rng(0))
    figures = {
        "accuracy": _figure(right, "Held-out pairs that the implicit reward ranks right", better="higher"),
        "margin": _figure(mean_interval(config.beta * (chosen - rejected)), "Implicit reward, chosen less rejected"),
        "reward_chosen": _figure(mean_interval(config.beta * chosen), "Implicit reward of chosen answers"),
        "reward_rejected": _figure(mean_interval(config.beta * rejected), "Implicit reward of rejected answers"),
        "logp_change_chosen": _figure(mean_interval(chosen), "Log-probability of chosen answers, change", unit="nats"),
        "pairs": {"value": len(pairs), "label": "Held-out pairs"},
    }
    found: dict[str, Any] = {"kind": "text", "label": "dpo", "episodes": len(pairs), "figures": figures}
    if config.reward:
        prompts = read_prompts(config.env, "held-out", tuned, config.max_new_tokens)[: config.eval_pairs]
        scorer = Scorer(ScoringConfig(reward=config.reward), tuned.device)
        judged = judge(tuned, scorer, prompts, config.max_new_tokens, 1.0, "dpo")
        found = judged | {"figures": judged["figures"] | figures}
    else:
        asked = list(dict.fromkeys(text["prompt"] for text in texts))[:SAMPLES]
        written = LanguageModel(tuned.model, tuned.tokenizer).samples(asked, config.max_new_tokens)
        found["samples"] = [{"prompt": prompt, "completion": text} for prompt, text in zip(asked, written)]
    if np.mean(chosen) < 0.0:
        found["notice"] = (
            f"Chosen answers became less likely too, by {-np.mean(chosen):.1f} nats on average: the loss asks for a difference "
            "only. A larger beta, fewer steps or ipo hold them."
        )
    return found


def read_pairs(
    config: Config, tuned: Tuned, split: Split, generator: torch.Generator
) -> tuple[PairTokens, list[dict[str, Any]]]:
    """Return pairs to learn from or to judge by, as tokens and as texts."""
    if config.reward:
        prompts = read_prompts(config.env, split, tuned, config.max_new_tokens)
        count = config.sample_pairs if split == "train" else min(config.eval_pairs, len(prompts))
        asked: list[Prompt] = draw_prompts(prompts, count, generator)
        scorer = Scorer(ScoringConfig(reward=config.reward), tuned.device)
        return write_pairs(tuned, scorer, asked, config.max_new_tokens, generator)
    half = "A" if split == "train" else "B"
    pairs = load_pairs(config.env, split, half=half, tokenizer=tuned.tokenizer)
    if split == "train":  # no more than are read: the reference sees them all before the first step
        most = config.max_pairs or config.total_steps * config.batch_size
        pairs = [pairs[i] for i in torch.randperm(len(pairs), generator=generator)[:most].tolist()]
    else:
        pairs = pairs[: config.eval_pairs]
    context = min(config.context, tuned.context)

    def encode(prompt: str, response: str, where: str) -> Any:
        return tokenize_examples([Example(prompt, response, where=where)], tuned.tokenizer, context)[0]

    texts = [{"prompt": pair.prompt, "chosen": pair.chosen, "rejected": pair.rejected} for pair in pairs]
    return tokenize_pairs(pairs, encode), texts


def _figure(interval: Any, label: str, better: str = "", unit: str = "") -> dict[str, Any]:
    figure = {"value": float(interval.mean), "label": label}
    if not np.isnan(interval.low):
        figure |= {"low": float(interval.low), "high": float(interval.high)}
    return figure | ({"better": better} if better else {}) | ({"unit": unit} if unit else {})
