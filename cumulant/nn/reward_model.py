"""A language model's body with one number read from it: the score of a whole text, at its last real token.

Saved, it is what transformers calls ``LlamaForSequenceClassification`` with one label, and scores the same there. A model may
keep its lower layers only: what people like is plainer half-way up than at the top, where states say which token is next.

Axes: B sequences, T tokens, D width.
"""

from __future__ import annotations

import dataclasses
import json
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from cumulant.errors import ConfigError, UsageError
from cumulant.nn.causal_lm import (
    find_folder,
    load_model,
    load_tokenizer,
    pick_dtype,
    read_weights,
    weight_files,
    write_folder,
)
from cumulant.nn.hub_model import recomputing
from cumulant.nn.llama import Llama, LlamaConfig, Weight
from cumulant.nn.lora import add_lora, has_lora, merged

ARCHITECTURE = "LlamaForSequenceClassification"


class RewardModel(nn.Module):
    """A body and its score. Parameters are named as in transformers' ``LlamaForSequenceClassification``.

    Args:
        body: The layers; it may have no head for tokens of its own.
        pad_id: Token that fills rows. It must not be the last real token of any text: transformers finds that one by looking for
            the last token that is not padding.
    """

    def __init__(self, body: Llama, pad_id: int) -> None:
        super().__init__()
        self.__dict__["body"] = body  # not registered, so that names are not those of a part of a part
        self.model = body.model
        self.pad_id = pad_id
        like = body.model.norm.weight
        self.score = Weight(1, body.config.hidden_size).to(like.device, like.dtype)
        nn.init.zeros_(self.score.weight)  # every text begins with the same score

    @property
    def config(self) -> LlamaConfig:
        """The shape of the body."""
        return self.__dict__["body"].config

    def hidden(self, ids: Tensor, mask: Tensor, stop: int) -> Tensor:
        """Run the layers below ``stop``, ``[B, T, D]``."""
        return self.__dict__["body"].hidden(ids, mask, stop=stop)

    def train_above(self, layer: int) -> list[nn.Parameter]:
        """Freeze what is below a layer, and return what is trained: the layers from it on, the norm and the score."""
        self.requires_grad_(False)
        trained = [*self.model.layers[layer:].parameters(), *self.model.norm.parameters(), *self.score.parameters()]
        for part in trained:
            part.requires_grad_(True)
        if layer == 0:
            self.model.embed_tokens.requires_grad_(True)
            trained.append(self.model.embed_tokens.weight)
        return trained

    def train_adapters(self, layer: int, rank: int, alpha: float, generator: torch.Generator) -> list[nn.Parameter]:
        """Freeze all but the score, give the layers from one on adapters, and return what is trained, in float32."""
        self.requires_grad_(False)
        self.score.float().requires_grad_(True)
        return [*add_lora(self.__dict__["body"], rank, alpha, layer, generator), *self.score.parameters()]

    def recomputing(self, on: bool) -> AbstractContextManager[None]:
        """Let what is computed in this context keep what enters each layer only, and compute the rest again."""
        return recomputing(self.__dict__["body"], on)

    def forward(self, ids: Tensor, mask: Tensor, *, start: int = 0, hidden: Tensor | None = None) -> Tensor:
        """Score texts.

        Args:
            ids: Tokens, padded on the right, ``[B, T]``.
            mask: False at padding, ``[B, T]`` bool.
            start: First layer to run.
            hidden: What it reads, ``[B, T, D]``, instead of the embeddings of ``ids``.

        Returns:
            Scores, ``[B]`` float32.
        """
        layers = self.config.num_hidden_layers
        states = self.__dict__["body"].hidden(ids, mask, start=start, stop=layers, hidden=hidden)
        last = states[torch.arange(len(ids), device=ids.device), mask.sum(1) - 1]
        last = F.rms_norm(last, (last.shape[-1],), self.model.norm.weight, self.config.rms_norm_eps)
        return F.linear(last.to(self.score.weight.dtype), self.score.weight)[:, 0].float()

    def save(self, tokenizer: Any, folder: Path) -> None:
        """Write a directory that plain transformers loads as ``LlamaForSequenceClassification``.

        Raises:
            StorageError: If the disk refuses.
        """
        write_folder(folder, lambda place: self._write(tokenizer, place))

    def _write(self, tokenizer: Any, folder: Path) -> None:
        body: Llama = self.__dict__["body"]
        plain, dtype = merged(body) if has_lora(body) else body, self.model.norm.weight.dtype
        tensors = {f"model.{name}": part.detach().cpu().clone() for name, part in plain.model.named_parameters()}
        tensors["score.weight"] = self.score.weight.detach().to("cpu", dtype, copy=True)
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
        settings = self.config.to_hub(dtype) | {
            "architectures": [ARCHITECTURE],
            "pad_token_id": self.pad_id,
            "id2label": {"0": "score"},
            "label2id": {"score": 0},
        }
        (folder / "config.json").write_text(json.dumps(settings, indent=2) + "\n")
        tokenizer.save_pretrained(folder)


def begin_reward_model(path: str | Path, depth: float = 1.0, precision: str = "auto") -> tuple[RewardModel, Any]:
    """Make a reward model of the lowest layers of a language model, with a score that is zero for every text.

    The last norm is set to 1 where layers are left out: it belongs to the states of the topmost. The tokenizer's padding becomes
    a token that ends no text.

    Args:
        path: The language model.
        depth: Share of its layers to keep, the lower ones, above 0; at least one is kept.
        precision: "float32", "bfloat16" or "auto".

    Raises:
        ConfigError: If it is no Llama-style model, or its tokenizer has no token for padding.
        UsageError: If there is no such model.
        MissingPackage: If transformers is not installed.
    """
    body, tokenizer = load_model(path, precision)
    if not isinstance(body, Llama):
        raise ConfigError(
            f"model = {path}: a reward model needs a Llama-style model, and this is of another architecture"
        )
    most = body.config.num_hidden_layers
    layers = max(1, min(most, round(depth * most)))
    if layers < most:
        body.model.layers = body.model.layers[:layers]
        nn.init.ones_(body.model.norm.weight)
    if not body.config.tie_word_embeddings:
        del body.lm_head
    body.config = dataclasses.replace(body.config, num_hidden_layers=layers, tie_word_embeddings=True)
    return RewardModel(body, padding_token(tokenizer)), tokenizer


def padding_token(tokenizer: Any) -> int:
    """Give a tokenizer a padding token that is not the one that ends texts; return its number.

    Raises:
        ConfigError: If it has no other special token.
    """
    names = (getattr(tokenizer, f"{mark}_token", None) for mark in ("pad", "unk", "bos"))
    known = [name for name in (*names, *tokenizer.all_special_tokens) if name is not None]
    if not (other := [name for name in known if name != tokenizer.eos_token]):
        raise ConfigError("the tokenizer has no special token besides end-of-text, and padding must be another one")
    tokenizer.pad_token = other[0]
    return int(tokenizer.pad_token_id)


def load_reward_model(path: str | Path, precision: str = "auto") -> tuple[RewardModel, Any]:
    """Load a reward model and its tokenizer: a run, or a directory of a ``LlamaForSequenceClassification`` with one label.

    Raises:
        UsageError: If there is none, or it is of another kind (message says of which).
        MissingPackage: If transformers is not installed.
    """
    folder = find_folder(path)
    settings = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    kind = (settings.get("architectures") or ["no architecture"])[0]
    shape = LlamaConfig.from_hub(settings)
    labels = len(settings.get("id2label") or (0, 1))  # transformers leaves out that there are two
    if kind != ARCHITECTURE or shape is None or labels != 1:
        raise UsageError(f"'{path}' holds no reward model: {kind} with {labels} outputs, not {ARCHITECTURE} with one")
    if shape.pad_token_id is None:
        raise UsageError(f"{folder / 'config.json'} names no pad_token_id, which says where the score is read")
    if not (files := weight_files(folder)):
        raise UsageError(f"{folder} holds no weights: model.safetensors is missing")
    body = Llama.unfilled(dataclasses.replace(shape, tie_word_embeddings=True), pick_dtype(precision))
    model = RewardModel(body, shape.pad_token_id)
    read_weights(model, files)
    return model, load_tokenizer(folder)
