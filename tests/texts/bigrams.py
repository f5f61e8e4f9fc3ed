"""A language model of letter pairs: the smallest algorithm that learns from text, in a file of its own as users have them.

What every part of the library around text stages is tested with, without a transformer.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import torch
import tyro
from safetensors.torch import load_file, save_file

from cumulant.errors import UsageError
from cumulant.run.config import require

CATEGORY = "language model"
USE = "in tests"


@dataclass(frozen=True)
class Config:
    """Options."""

    env: Annotated[str, tyro.conf.Suppress] = ""
    """File of text."""
    env_options: Annotated[Mapping[str, Any], tyro.conf.Suppress] = field(default_factory=dict)
    """None."""
    total_steps: int = 6
    """Optimiser steps."""
    learning_rate: float = 0.5
    """Step size."""

    def __post_init__(self):
        require(self, "learning_rate", self.learning_rate > 0.0, "above 0")


def read(path):
    """Bytes of the file, and the last quarter of them that is held out."""
    if not Path(path).is_file():
        raise UsageError(f"there is no text {path}")
    codes = torch.tensor(list(Path(path).read_bytes()))
    cut = 3 * len(codes) // 4
    return codes[:cut], codes[cut:]


def nats(table, codes):
    return torch.nn.functional.cross_entropy(table[codes[:-1]], codes[1:], reduction="none")


def evaluate(config, directory):
    """Judge the saved table on the held-out part once more."""
    table = load_file(directory / "model" / "model.safetensors")["table"]
    _, held_out = read(config.env)
    bits = nats(table, held_out) / torch.log(torch.tensor(2.0))
    mean, error = bits.mean().item(), 2 * bits.std().item() / len(bits) ** 0.5
    return {
        "kind": "text",
        "label": "bigrams",
        "episodes": len(held_out),
        "figures": {
            "bits_per_char": {"value": mean, "low": mean - error, "high": mean + error, "better": "lower"},
            "letters": {"value": len(set(held_out.tolist()))},
        },
        "samples": [{"prompt": "<b>th", "completion": "e\x1b[31m [red]<u>end", "reward": 0.25}],
        "tables": [{"title": "Letters", "columns": ["letter", "count"], "rows": [["<i>e", 3], ["t", 2.5]]}],
    }


def train(config, run):
    text, held_out = read(config.env)
    table = torch.nn.Parameter(torch.randn(256, 256, generator=run.rng("init")) * 0.01)
    optimizer = torch.optim.Adam([table], config.learning_rate)
    run.track(net=torch.nn.ParameterList([table]), optimizer=optimizer)
    for iteration in run.iterations(config.total_steps):
        loss = nats(table, text).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        run.log(
            steps=iteration + 1, **{"loss/train": loss.item(), "loss/held_out": nats(table, held_out).mean().item()}
        )
        run.log(**{"data/tokens": len(text) * (iteration + 1)})
    (run.directory / "model").mkdir(exist_ok=True)
    save_file({"table": table.detach()}, run.directory / "model" / "model.safetensors")
