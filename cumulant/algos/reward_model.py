"""Reward model: one number for a text, learned from which of two responses people preferred.

The lower layers of a language model are kept as they are; what they make of each response is computed once. The upper layers that
are left and a linear score at the end of the text learn to explain the raters' choices:

    p(chosen wins) = sigmoid(score(chosen) - score(rejected) - margin)
    loss = -share * log p - (1 - share) * log(1 - p)  +  centring * (score(chosen) + score(rejected))^2

``share`` is the fraction of raters for the chosen response (0.5 a tie), so raters who disagree keep the scores near. What is
saved is a directory that transformers loads as ``LlamaForSequenceClassification`` with one label.
Axes: B pairs, T tokens, P held-out pairs.

Source: Christiano et al. 2017; Stiennon et al. 2020; Ouyang et al. 2022 (the score at the last token); Touvron et al. 2023 (the
margin); Eisenstein et al. 2023 (centring). Differs from source: half of the layers is kept by default, because the middle of a
language model says more about what people like than its top.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
import tyro

from cumulant.data.pair_tokens import PairTokens, few_responses, length_order, tokenize_pairs
from cumulant.data.preferences import Comparison, Pair, human_agreement, load_comparisons, load_pairs
from cumulant.engine.preference_report import (
    agreement_figures,
    agreement_rows,
    agreement_table,
    calibration,
    calibration_error,
    calibration_table,
    distribution_table,
)
from cumulant.engine.ranks import add_up, share
from cumulant.engine.text_reward import FrozenStates, TextReward, encode_text, score_tokens
from cumulant.maths.preference import bradley_terry_loss
from cumulant.maths.schedules import piecewise
from cumulant.nn.flat import FlatAdam
from cumulant.nn.masters import Masters
from cumulant.nn.reward_model import RewardModel, begin_reward_model
from cumulant.run.config import require
from cumulant.run.run import Run

CATEGORY = "language model"
USE = "to learn from people's comparisons which of two texts they prefer; the third of the four steps of RLHF"
IN_PARALLEL = True  # several processes may train together, as torchrun starts them
SAMPLES = 8
_MATCHINGS = 4  # pairs that a held-out text of the embedded set is in


@dataclass(frozen=True)
class Config:
    """Options of a reward model."""

    env: Annotated[str, tyro.conf.Suppress] = "movie-snippets"
    """Pairs: an embedded set, or a file."""
    env_options: Annotated[Mapping[str, Any], tyro.conf.Suppress] = field(default_factory=dict)
    """None."""
    model: str = "smollm2-135m"
    """Language model to start from: smollm2-135m, a run, or a Hugging Face directory."""
    depth: float = 0.5
    """Share of its layers that are kept, the lower ones."""
    trained_layers: int = 2
    """How many of these are trained, the upper ones; the others stay as they are. More than there are for all."""
    lora_rank: int = 0
    """Rank of the adapters that are trained in these layers instead of their weights; 0 to train the weights."""
    lora_alpha: float = 32.0
    """Adapters are scaled by this over their rank."""
    total_steps: int = 400
    """Optimiser steps."""
    batch_size: int = 16
    """Pairs per step (B)."""
    max_responses: int = 3000
    """Read at most so many different responses, and take the pairs among them; 0 for all."""
    raters: Literal["A", "B", "all"] = "A"
    """Half of the raters that trains, of an embedded set; the other half judges."""
    learning_rate: float = 2e-4
    """Highest step size of AdamW."""
    warmup: float = 0.1
    """Share of the steps in which the step size rises from nothing; then it falls to nothing in a straight line."""
    weight_decay: float = 0.01
    """How fast matrices shrink, per unit of the step size."""
    max_grad_norm: float = 1.0
    """Gradients are scaled down to this norm."""
    margin_scale: float = 0.0
    """Difference of the scores that is asked for, per unit of the margin in the data; 0 for none."""
    centring: float = 0.01
    """Weight of the squared sum of a pair's scores, which keeps their mean near 0."""
    context: int = 512
    """Most tokens of a text; longer responses lose their end."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Number format of the passes and of what is saved; what is trained is kept in float32."""
    cache_gb: float = 2.0
    """Memory for what the frozen layers make of the texts; if it does not suffice, they run in every step."""
    gradient_checkpointing: bool = False
    """Keep less of the trained layers in memory and compute it again: a third slower."""
    eval_pairs: int = 4000
    """Held-out pairs, at most."""
    device: str = "cpu"
    """Where the model lives: cpu, cuda or mps."""

    def __post_init__(self) -> None:
        for name in ("total_steps", "batch_size", "trained_layers", "eval_pairs"):
            require(self, name, getattr(self, name) >= 1, "at least 1")
        require(self, "context", self.context >= 4, "at least 4")
        require(self, "depth", 0.0 < self.depth <= 1.0, "above 0 and at most 1")
        require(self, "warmup", 0.0 <= self.warmup < 1.0, "in [0, 1)")
        for name in ("learning_rate", "max_grad_norm", "lora_alpha"):
            require(self, name, getattr(self, name) > 0.0, "above 0")
        for name in ("weight_decay", "margin_scale", "centring", "cache_gb", "max_responses", "lora_rank"):
            require(self, name, getattr(self, name) >= 0, "at least 0")


def train(config: Config, run: Run) -> None:
    """Train a reward model and save it as ``model/``.

    Args:
        config: Options.
        run: Where it is logged and saved.
    """
    model, tokenizer = begin_reward_model(config.model, config.depth, config.precision)
    model.to(config.device)
    pairs = encode(config, model, tokenizer, training_pairs(config, tokenizer))
    held_out(config, model, tokenizer)  # what is wrong there is to be said now, not after the training
    frozen = max(0, model.config.num_hidden_layers - config.trained_layers)
    states = FrozenStates(model, pairs.texts, frozen, config.cache_gb * 1e9)
    if config.lora_rank:
        trained = model.train_adapters(frozen, config.lora_rank, config.lora_alpha, run.rng("init"))
    else:
        trained = model.train_above(frozen)
    masters = Masters(trained)
    optimizer = FlatAdam(masters, config.learning_rate, betas=(0.9, 0.95))
    run.track(masters=masters, optimizer=optimizer)

    for step in run.iterations(config.total_steps):
        points = [(0.0, 0.0), (config.warmup, 1.0), (1.0, 0.0)]
        optimizer.learning_rate = config.learning_rate * piecewise(points, (step + 0.5) / config.total_steps)
        rows = length_order(pairs.length, config.batch_size, step, run.seed_for("order"))

        masters.zero_grad()
        mine, sums = rows[share(len(rows))], torch.zeros(4, device=config.device)
        if len(mine):
            both = [*pairs.chosen[mine], *pairs.rejected[mine]]
            chosen, rejected = states.score(both, config.gradient_checkpointing).chunk(2)
            preferred, margin = (torch.from_numpy(x[mine]).to(chosen) for x in (pairs.share, pairs.margin))
            difference = chosen - rejected
            losses = bradley_terry_loss(difference, preferred, config.margin_scale * margin)
            centre = (chosen + rejected).square()
            ((losses.sum() + config.centring * centre.sum()) / len(rows)).backward()
            right = difference.sign() * (preferred - 0.5).sign() > 0
            known = losses, right.float(), difference, 0.5 * (chosen + rejected)
            sums = torch.stack([x.detach().sum() for x in known])
        masters.collect()
        add_up(masters.grad)
        loss, accuracy, margin_mean, mean = (add_up(sums) / len(rows)).tolist()
        grad_norm = masters.clip_grad_norm(config.max_grad_norm)
        masters.decay(optimizer.learning_rate * config.weight_decay)
        optimizer.step()
        masters.publish()

        run.log(
            steps=step + 1,
            **{
                "loss/preference": loss,
                "loss/grad_norm": grad_norm.item(),
                "reward/accuracy": accuracy,
                "reward/margin": margin_mean,
                "reward/mean": mean,
                "optimizer/learning_rate": optimizer.learning_rate,
            },
        )

    model.save(tokenizer, run.directory / "model")


def evaluate(config: Config, directory: Path) -> dict[str, Any]:
    """Judge the reward model that a run has saved: by other people's choices on held-out pairs."""
    reward = TextReward.load(directory, config.precision)
    model, tokenizer, rng = reward.model.to(config.device), reward.tokenizer, np.random.default_rng(0)
    read, pairs, comparisons = held_out(config, model, tokenizer)
    scores = score_tokens(model, pairs.texts)
    chosen, rejected = scores[pairs.chosen], scores[pairs.rejected]
    found = (chosen - rejected, pairs.share, np.stack([pairs.chosen, pairs.rejected], 1))
    people = human_agreement(comparisons, rng)
    rows = agreement_rows(*found, pairs.margin, people, rng)
    reliability = calibration(*found, rng)
    return {
        "kind": "text",
        "label": "reward_model",
        "episodes": len(pairs),
        "figures": {
            **agreement_figures(rows),
            "calibration_error": {
                "value": calibration_error(reliability), "label": "Expected calibration error", "better": "lower",
            },
            "score_deviation": {"value": float(scores.std()), "label": "Standard deviation of the scores"},
            "labels": {"value": len(training_pairs(config, tokenizer)), "label": "Pairs that were learned from"},
        },
        "samples": samples(read, chosen, rejected),
        "tables": [
            agreement_table(rows),
            calibration_table(reliability),
            distribution_table({"chosen": chosen, "rejected": rejected}),
        ],
    }  # fmt: skip


def held_out(config: Config, model: RewardModel, tokenizer: Any) -> tuple[list[Pair], PairTokens, list[Comparison]]:
    """Return the pairs to judge by, as texts, as tokens and with every rater's choice; of the other half of the raters."""
    half = {"A": "B", "B": "A", "all": None}[config.raters]
    pairs = load_pairs(config.env, "held-out", half=half, matchings=_MATCHINGS, tokenizer=tokenizer)[
        : config.eval_pairs
    ]
    comparisons = load_comparisons(config.env, "held-out", half=half, tokenizer=tokenizer)
    return pairs, encode(config, model, tokenizer, pairs), comparisons


def training_pairs(config: Config, tokenizer: Any) -> list[Pair]:
    """Return the pairs to learn from."""
    half = None if config.raters == "all" else config.raters
    pairs = load_pairs(config.env, "train", half=half, matchings=_MATCHINGS, tokenizer=tokenizer)
    return few_responses(pairs, config.max_responses)


def encode(config: Config, model: RewardModel, tokenizer: Any, pairs: list[Pair]) -> PairTokens:
    """Tokenise pairs as the model reads them."""
    context = min(config.context, model.config.max_position_embeddings)
    return tokenize_pairs(pairs, lambda prompt, text, where: encode_text(tokenizer, prompt, text, context, where))


def samples(pairs: list[Pair], chosen: np.ndarray, rejected: np.ndarray) -> list[dict[str, Any]]:
    """Return the first held-out pairs with their scores."""
    return [
        {
            "prompt": pair.prompt,
            "completion": pair.chosen,
            "score": round(float(score), 3),
            "rejected": pair.rejected,
            "rejected_score": round(float(other), 3),
            "share": round(pair.share, 3),
        }
        for pair, score, other in zip(pairs[:SAMPLES], chosen, rejected)
    ]
