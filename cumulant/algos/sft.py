"""Supervised fine-tuning: a language model learns from responses that humans wrote.

Prompts with their completions, or dialogues; the loss is on what is to be said only. All weights are trained, or adapters (LoRA)
on a frozen model. What comes out is the reference of the stages that learn from preferences.

    loss = -(1 / number of completion tokens) sum_t log p(token_t | prompt, completion before it)

Axes: B examples, T tokens of a row.

Source: Ouyang et al. 2022, section 3.4 (step 1 of RLHF); Hu et al. 2021 (LoRA). Differs from source: a straight fall of the step
size in the place of a cosine; the mean is over the tokens of the batch, so that long completions count for what they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
import tyro

from cumulant.data.text import Example, TokenBatch, Tokens, load_examples, order, pack, pad, pad_id, tokenize_examples
from cumulant.engine.language_model import LanguageModel
from cumulant.engine.ranks import add_up, share
from cumulant.engine.text_loss import HeldOut, text_loss
from cumulant.engine.tuned import TuningConfig
from cumulant.maths.schedules import piecewise
from cumulant.nn.causal_lm import load_model, pick_dtype, save_model
from cumulant.nn.flat import FlatAdam
from cumulant.nn.lora import add_lora, merged, save_adapter
from cumulant.nn.masters import Masters
from cumulant.run.config import require
from cumulant.run.run import Run

CATEGORY = "language model"
USE = "to teach a language model by example responses; before preferences, which can only choose among what it says"
IN_PARALLEL = True  # several processes may train together, as torchrun starts them
SAMPLES = 8


@dataclass(frozen=True)
class Config:
    """Options of supervised fine-tuning."""

    env: Annotated[str, tyro.conf.Suppress] = "movie-snippets"
    """Examples: an embedded set, or a file."""
    env_options: Annotated[Mapping[str, Any], tyro.conf.Suppress] = field(default_factory=dict)
    """None."""
    total_steps: int = 48
    """Optimiser steps."""
    batch_size: int = 32
    """Examples per step (B)."""
    micro_batch: int = 32
    """Examples that are in memory at a time; changes nothing but that."""
    context: int = 128
    """Most tokens of an example (T)."""
    too_long: Literal["error", "left"] = "error"
    """What to do with a prompt that leaves no room for a completion: refuse it, or cut off its beginning."""
    packing: bool = True
    """Put several examples into a row, each seeing itself only: less padding, the same loss. Llama models only."""
    learning_rate: float = 5e-4
    """Highest step size of AdamW; for all weights of a pre-trained model rather 5e-5."""
    warmup: float = 0.1
    """Share of the steps in which the step size rises; after it, it falls to nothing."""
    weight_decay: float = 0.0
    """How fast matrices shrink, per unit of the step size."""
    max_grad_norm: float = 1.0
    """Gradients are scaled down to this norm."""
    tuning: TuningConfig = field(default_factory=TuningConfig)
    """Which model, and which of its weights."""
    gradient_checkpointing: bool = False
    """Keep less in memory and compute it again: a third slower."""
    eval_every_steps: int = 0
    """Steps between looks at held-out examples; 0 for four in a run."""
    eval_examples: int = 128
    """Held-out examples."""
    sample_tokens: int = 32
    """Length of the samples that are shown."""
    device: str = "cpu"
    """Where the model lives: cpu, cuda or mps."""

    def __post_init__(self) -> None:
        for name in ("total_steps", "batch_size", "micro_batch", "sample_tokens"):
            require(self, name, getattr(self, name) >= 1, "at least 1")
        for name in ("context", "eval_examples"):
            require(self, name, getattr(self, name) >= 2, "at least 2")
        for name in ("learning_rate", "max_grad_norm"):
            require(self, name, getattr(self, name) > 0.0, "above 0")
        for name in ("weight_decay", "eval_every_steps"):
            require(self, name, getattr(self, name) >= 0, "at least 0")
        require(self, "warmup", 0.0 <= self.warmup <= 1.0, "in [0, 1]")


def train(config: Config, run: Run) -> None:
    """Train a model and save it as ``model/``, with LoRA merged, and the adapter beside it as ``adapter/``.

    Args:
        config: Options.
        run: Where it is logged and saved.
    """
    tuning, whole = config.tuning, config.tuning.lora_rank == 0
    # all weights are read in float32, for their master copy; adapters are float32 on a model in the faster format
    model, tokenizer = load_model(tuning.model, "float32" if whole else tuning.precision)
    model.to(config.device)
    if not whole:
        layers = model.config.num_hidden_layers
        first_layer = layers - max(1, round(tuning.lora_share * layers))
        add_lora(model.requires_grad_(False), tuning.lora_rank, tuning.lora_alpha, first_layer, run.rng("init"))
    trained = [part for part in model.parameters() if part.requires_grad]
    masters = Masters(trained, pick_dtype(tuning.precision) if whole else None)
    optimizer = FlatAdam(masters, config.learning_rate, betas=(0.9, 0.95))
    count = Count()
    run.track(masters=masters, optimizer=optimizer, count=count)

    texts = tokenize_examples(load_examples(config.env, "train"), tokenizer, config.context, config.too_long)
    held_out = held_out_texts(config, tokenizer, model)
    packing = config.packing and not hasattr(model, "network")  # other architectures run through transformers
    eval_every = config.eval_every_steps or max(1, config.total_steps // 4)

    for step in run.iterations(config.total_steps):
        if step == 0:
            run.log(**held_out.metrics(model))
        fraction = (step + 0.5) / config.total_steps
        points = [(0.0, 0.0), (config.warmup, 1.0), (1.0, 0.0)]
        optimizer.learning_rate = config.learning_rate * piecewise(points, fraction)
        chosen = [texts[i] for i in order(len(texts), config.batch_size, step, run.seed_for("order"))]
        tokens = sum(int(text.loss.sum()) for text in chosen)

        masters.zero_grad()
        loss = torch.zeros((), device=config.device)
        mine = chosen[share(len(chosen))]
        for start in range(0, len(mine), config.micro_batch):
            part = rows_of(mine[start : start + config.micro_batch], config.context, pad_id(tokenizer), packing)
            part_loss = text_loss(model, part.to(config.device), tokens, config.gradient_checkpointing)
            part_loss.backward()
            masters.collect()
            loss += part_loss.detach()
        add_up(masters.grad)
        grad_norm = masters.clip_grad_norm(config.max_grad_norm)
        masters.decay(optimizer.learning_rate * config.weight_decay)
        optimizer.step()
        masters.publish()

        count.tokens += sum(len(text.ids) for text in chosen)
        run.log(
            steps=step + 1,
            **{
                "loss/train": add_up(loss).item(),
                "loss/grad_norm": grad_norm.item(),
                "data/tokens": count.tokens,
                "optimizer/learning_rate": optimizer.learning_rate,
            },
        )
        if (step + 1) % eval_every == 0 or step + 1 == config.total_steps:
            run.log(**held_out.metrics(model))

    masters.release()
    if whole:
        save_model(model, tokenizer, run.directory / "model")
    else:
        save_adapter(model, run.directory / "adapter", tuning.model)
        save_model(merged(model), tokenizer, run.directory / "model")


def evaluate(config: Config, directory: Path) -> dict[str, Any]:
    """Judge the model that a run has saved: how well it predicts held-out completions, and what it writes."""
    model, tokenizer = load_model(directory, config.tuning.precision)
    model.to(config.device)
    examples = load_examples(config.env, "held-out")[: config.eval_examples]
    shown = examples[:SAMPLES]
    prompts = [example.messages[:-1] or example.prompt for example in shown]
    written = LanguageModel(model, tokenizer).samples(prompts, config.sample_tokens)
    return {
        "kind": "text",
        "label": "sft",
        "episodes": len(examples),
        "figures": held_out_texts(config, tokenizer, model).figures(model),
        "samples": [
            {"prompt": example.prompt, "completion": completion, "human": example.completion}
            for example, completion in zip(shown, written)
        ],
    }


def rows_of(texts: Sequence[Tokens], context: int, pad_id: int, packing: bool) -> TokenBatch:
    """Return examples as rows: several in one, or each on its own."""
    return pack(texts, context, pad_id) if packing else pad(texts, pad_id)


def held_out_texts(config: Config, tokenizer: Any, model: Any) -> HeldOut:
    """Return the completions that the model is judged by; of those that are cut, the part that is left."""
    examples = load_examples(config.env, "held-out")[: config.eval_examples]
    texts = tokenize_examples(examples, tokenizer, config.context, config.too_long)
    uncut = tokenize_examples(examples, tokenizer, 1 << 30)
    kept = [text.loss.sum() / full.loss.sum() for text, full in zip(texts, uncut)]
    return HeldOut(texts, np.array([said(example) for example in examples]) * np.array(kept), pad_id(tokenizer))


def said(example: Example) -> int:
    """Return how many characters an example teaches, the end of each reply counted as one."""
    if not example.messages:
        return len(example.completion) + 1
    return sum(len(message["content"]) + 1 for message in example.messages if message["role"] == "assistant")


class Count:
    """Tokens that were read so far, prompts included."""

    def __init__(self) -> None:
        self.tokens = 0

    def state_dict(self) -> dict[str, int]:
        """The count."""
        return {"tokens": self.tokens}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Undo ``state_dict``."""
        self.tokens = int(state["tokens"])
