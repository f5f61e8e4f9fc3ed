"""Pre-training: a language model from nothing, by predicting the next token.

A byte-level tokenizer is trained on the texts, a Llama-style transformer is drawn at random, and texts are packed into rows with
exact borders: a token sees its own text only. What is saved is a Hugging Face directory that any program loads.

    loss = -(1 / number of tokens) sum_t log p(token_t | tokens before it in its text)

Axes: B rows, T tokens of a row.

Source: Radford et al. 2019 (the task); Touvron et al. 2023 (the architecture); Loshchilov & Hutter 2019 (AdamW); Zhai et al. 2022
(a rate that rises, stays and falls in a straight line). Differs from source: no text is cut at the end of a row.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
import tyro

from cumulant.data.text import batch_at, load_documents, pack, pad_id, tokenize_documents
from cumulant.data.tokenizer import train_tokenizer
from cumulant.engine.language_model import LanguageModel
from cumulant.engine.ranks import add_up, share
from cumulant.engine.text_loss import HeldOut, micro_batches, text_loss
from cumulant.maths.schedules import piecewise
from cumulant.nn.causal_lm import find_folder, load_model, load_tokenizer, pick_dtype, save_model, special_tokens
from cumulant.nn.flat import FlatAdam
from cumulant.nn.llama import Llama, LlamaConfig
from cumulant.nn.masters import Masters
from cumulant.run.config import require
from cumulant.run.run import Run

CATEGORY = "language model"
USE = "to make a small language model of your own texts, from nothing; the first of the four steps of RLHF"
IN_PARALLEL = True  # several processes may train together, as torchrun starts them
SAMPLES, PROMPT_WORDS = 8, 4


@dataclass(frozen=True)
class ShapeConfig:
    """Size of the model."""

    width: int = 128
    """Numbers that stand for a token (hidden size)."""
    layers: int = 4
    """Layers."""
    heads: int = 4
    """Attention heads."""
    key_value_heads: int = 4
    """Heads of keys and values; fewer than heads make generation cheaper."""
    inner: int = 352
    """Width inside the gated feed-forward networks."""
    tie_embeddings: bool = True
    """Read and write tokens by one matrix."""

    def __post_init__(self) -> None:
        for name in ("width", "layers", "heads", "key_value_heads", "inner"):
            require(self, name, getattr(self, name) >= 1, "at least 1")
        require(
            self, "heads", self.width % (2 * self.heads) == 0, "such that each head gets an even share of the width"
        )
        require(self, "key_value_heads", self.heads % self.key_value_heads == 0, "a divisor of heads")


@dataclass(frozen=True)
class Config:
    """Options of pre-training."""

    env: Annotated[str, tyro.conf.Suppress] = "movie-reviews-simple"
    """Texts: an embedded set, or a file."""
    env_options: Annotated[Mapping[str, Any], tyro.conf.Suppress] = field(default_factory=dict)
    """None."""
    total_steps: int = 1500
    """Optimiser steps."""
    batch_size: int = 16
    """Rows per step (B)."""
    micro_batch: int = 16
    """Rows that are in memory at a time; changes nothing but that."""
    context: int = 64
    """Tokens of a row (T), and the most that the model will ever read."""
    max_documents: int = 0
    """Take only so many texts, the first; 0 for all."""
    tokenizer: str = ""
    """Directory of a tokenizer; empty to train one on the texts."""
    vocabulary: int = 4096
    """Tokens of the tokenizer that is trained."""
    lower_case: bool = False
    """Let it read everything in lower case: a small model then has fewer words to learn."""
    learning_rate: float = 4e-3
    """Highest step size of AdamW."""
    warmup: float = 0.02
    """Share of the steps in which the step size rises from nothing."""
    decay: float = 0.6
    """Share of the steps, the last, in which it falls to nothing."""
    weight_decay: float = 0.1
    """How fast matrices shrink, per unit of the step size."""
    max_grad_norm: float = 1.0
    """Gradients are scaled down to this norm."""
    shape: ShapeConfig = field(default_factory=ShapeConfig)
    """Size of the model."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Number format of the passes; weights are kept and saved in float32."""
    gradient_checkpointing: bool = False
    """Keep less in memory and compute it again: a third slower."""
    eval_every_steps: int = 0
    """Steps between looks at held-out texts; 0 for ten in a run."""
    eval_documents: int = 400
    """Held-out texts."""
    sample_tokens: int = 48
    """Length of the samples that are shown."""
    device: str = "cpu"
    """Where the model lives: cpu, cuda or mps."""

    def __post_init__(self) -> None:
        for name in ("total_steps", "batch_size", "micro_batch", "sample_tokens"):
            require(self, name, getattr(self, name) >= 1, "at least 1")
        for name in ("context", "eval_documents"):
            require(self, name, getattr(self, name) >= 2, "at least 2")
        require(self, "vocabulary", self.vocabulary >= 259, "at least 259: 256 bytes and 3 special tokens")
        for name in ("learning_rate", "max_grad_norm"):
            require(self, name, getattr(self, name) > 0.0, "above 0")
        for name in ("weight_decay", "eval_every_steps", "max_documents"):
            require(self, name, getattr(self, name) >= 0, "at least 0")
        for name in ("warmup", "decay"):
            require(self, name, 0.0 <= getattr(self, name) <= 1.0, "in [0, 1]")
        require(self, "decay", self.warmup + self.decay <= 1.0, "at most what the warm-up leaves")


def train(config: Config, run: Run) -> None:
    """Train a model and save it as ``model/``.

    Args:
        config: Options.
        run: Where it is logged and saved.
    """
    documents = load_documents(config.env, "train")[: config.max_documents or None]
    tokenizer = tokenizer_of(config, documents)
    rows = pack(tokenize_documents(documents, tokenizer, config.context), config.context, pad_id(tokenizer))
    held_out = held_out_texts(config, tokenizer)
    model = Llama(llama_config(config, tokenizer), run.rng("init")).to(config.device)
    masters = Masters(model.parameters(), pick_dtype(config.precision))
    optimizer = FlatAdam(masters, config.learning_rate, betas=(0.9, 0.95))
    count = Count()
    run.track(masters=masters, optimizer=optimizer, count=count)
    eval_every = config.eval_every_steps or max(1, config.total_steps // 10)

    for step in run.iterations(config.total_steps):
        optimizer.learning_rate = learning_rate(config, (step + 0.5) / config.total_steps)
        batch = batch_at(rows, config.batch_size, step, run.seed_for("order")).to(config.device)
        tokens = int(batch.loss_mask.sum())

        masters.zero_grad()
        loss = torch.zeros((), device=config.device)
        for part in micro_batches(batch.rows(share(len(batch))), config.micro_batch):
            part_loss = text_loss(model, part, tokens, config.gradient_checkpointing)
            part_loss.backward()
            masters.collect()
            loss += part_loss.detach()
        add_up(masters.grad)
        grad_norm = masters.clip_grad_norm(config.max_grad_norm)
        masters.decay(optimizer.learning_rate * config.weight_decay)
        optimizer.step()
        masters.publish()

        count.tokens += tokens
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
    save_model(model, tokenizer, run.directory / "model")


def evaluate(config: Config, directory: Path) -> dict[str, Any]:
    """Judge the model that a run has saved: how well it predicts held-out texts, and what it writes."""
    model, tokenizer = load_model(directory, config.precision)
    model.to(config.device)
    documents = load_documents(config.env, "held-out")
    words = [document.split() for document in documents]
    goes_on = [each for each in words if len(each) > 2 * PROMPT_WORDS] or words  # where there is something left to say
    prompts = [" ".join(each[:PROMPT_WORDS]) for each in goes_on[:SAMPLES]]
    written = LanguageModel(model, tokenizer).samples(prompts, config.sample_tokens)
    return {
        "kind": "text",
        "label": "pretrain",
        "episodes": len(documents[: config.eval_documents]),
        "figures": held_out_texts(config, tokenizer).figures(model),
        "samples": [{"prompt": prompt, "completion": text} for prompt, text in zip(prompts, written)],
    }


def tokenizer_of(config: Config, documents: list[str]) -> Any:
    """Return the tokenizer that was asked for, or one trained on the texts."""
    if not config.tokenizer:
        return train_tokenizer(documents, config.vocabulary, lower_case=config.lower_case)
    folder = Path(config.tokenizer)
    return load_tokenizer(folder if (folder / "tokenizer.json").is_file() else find_folder(folder))


def held_out_texts(config: Config, tokenizer: Any) -> HeldOut:
    """Return the texts that the model is judged by; one that is longer than the context in several pieces."""
    documents = load_documents(config.env, "held-out")[: config.eval_documents]
    texts, characters = [], []
    for document in documents:
        pieces = tokenize_documents([document], tokenizer, config.context)
        lengths = np.array([piece.loss.sum() for piece in pieces])
        texts += pieces
        characters += list((len(document) + 1) * lengths / lengths.sum())  # a piece's share of the text, by tokens
    return HeldOut(texts, np.array(characters), pad_id(tokenizer))


def llama_config(config: Config, tokenizer: Any) -> LlamaConfig:
    """Return the architecture, in Hugging Face's terms."""
    marks: dict[str, Any] = dict(special_tokens(tokenizer))
    return LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=config.shape.width,
        intermediate_size=config.shape.inner,
        num_hidden_layers=config.shape.layers,
        num_attention_heads=config.shape.heads,
        num_key_value_heads=config.shape.key_value_heads,
        max_position_embeddings=config.context,
        tie_word_embeddings=config.shape.tie_embeddings,
        **marks,
    )


def learning_rate(config: Config, fraction: float) -> float:
    """Return the step size: up in a straight line, level, and down to nothing."""
    points = [(0.0, 0.0), (config.warmup, 1.0), (1.0 - config.decay, 1.0), (1.0, 0.0)]
    return config.learning_rate * piecewise(points, fraction)


class Count:
    """Tokens that were learned from so far."""

    def __init__(self) -> None:
        self.tokens = 0

    def state_dict(self) -> dict[str, int]:
        """The count."""
        return {"tokens": self.tokens}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Undo ``state_dict``."""
        self.tokens = int(state["tokens"])
