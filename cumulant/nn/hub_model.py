"""Language models of other architectures than Llama's: run by transformers, behind the methods of ``nn.llama.Llama``.

Axes: B sequences, T tokens, V vocabulary, D width.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cumulant.errors import ConfigError, UsageError
from cumulant.loading import text_package
from cumulant.nn.token_logp import token_logp, wanted_tokens


@contextlib.contextmanager
def without_bars() -> Iterator[None]:
    """Let transformers load and save without progress bars: a run has its own."""
    logging = text_package("transformers").utils.logging
    before = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if before:
            logging.enable_progress_bar()


@contextlib.contextmanager
def recomputing(model: Any, on: bool) -> Iterator[None]:
    """Let what a model computes keep what enters each layer only, and compute the rest again in the backward pass.

    In other architectures than Llama transformers does it, and without dropout: that would draw from the global generator.
    """
    if isinstance(model, HubModel):
        if on:
            if not model.network.is_activation_checkpointing:
                model.network.activation_checkpointing_enable({"use_reentrant": False})
            for module in model.network.modules():
                if isinstance(module, nn.Dropout):
                    module.p = 0.0
            model.network.train()  # without which it is not done
        try:
            yield
        finally:
            model.network.eval()  # in which a cache may be used
        return
    before, model.checkpointing = model.checkpointing, on
    try:
        yield
    finally:
        model.checkpointing = before


class HubModel(nn.Module):
    """A language model of any architecture, run by transformers, behind the methods of ``nn.llama.Llama``.

    Layers cannot be entered in the middle (``start``, ``stop``, ``hidden``), and packing (``segments``) is not offered.

    Args:
        network: What ``AutoModelForCausalLM`` loaded.
    """

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network
        self.config = network.config

    def hidden(
        self,
        ids: Tensor,
        mask: Tensor | None = None,
        *,
        start: int = 0,
        stop: int | None = None,
        hidden: Tensor | None = None,
        segments: Tensor | None = None,
    ) -> Tensor:
        """Run the body: see ``Llama.hidden``.

        Raises:
            ConfigError: If asked for a part of the layers, or for packing.
        """
        if start or stop is not None or hidden is not None or segments is not None:
            kind = getattr(self.config, "model_type", "this")
            raise ConfigError(f"a model of kind '{kind}' runs whole and unpacked; a Llama model can do both")
        positions = None if mask is None else (mask.long().cumsum(1) - 1).clamp(min=0)
        real = None if mask is None else mask.long()
        body = self.network.base_model
        return body(input_ids=ids, attention_mask=real, position_ids=positions, use_cache=False).last_hidden_state

    def logits(self, hidden: Tensor) -> Tensor:
        """Score every token of the vocabulary as the next one, ``[..., D] -> [..., V]``."""
        head = self.network.get_output_embeddings()
        return head(hidden.reshape(-1, hidden.shape[-1])).view(*hidden.shape[:-1], head.weight.shape[0])

    def logp(
        self,
        ids: Tensor,
        mask: Tensor | None = None,
        *,
        first: int | Tensor = 1,
        temperature: float = 1.0,
        segments: Tensor | None = None,
        start: int = 0,
        hidden: Tensor | None = None,
    ) -> Tensor:
        """Return the log-probability of each token given those before it: see ``Llama.logp``."""
        states = self.hidden(ids, mask, start=start, hidden=hidden, segments=segments)
        return token_logp(self, states, ids, wanted_tokens(ids, mask, first), temperature)[0]

    def decoder(self) -> HubDecoder:
        """Return what reads and writes token by token: see ``Llama.decoder``."""
        return HubDecoder(self.network)


class HubDecoder:
    """Writes token by token with a ``HubModel``, in transformers' own cache: see ``nn.llama_decoder.Decoder``."""

    def __init__(self, network: Any) -> None:
        self.network = network

    def start(self, rows: int, columns: int) -> None:
        """Forget all before."""
        self.past: Any = None

    def read(self, ids: Tensor, mask: Tensor | None = None) -> Tensor:
        """Read the prompts, ``[B, T]``, and return the logits after their last token, ``[B, V]``."""
        self.real = torch.ones_like(ids) if mask is None else mask.long()
        return self._step(ids)

    def extend(self, ids: Tensor) -> Tensor:
        """Read one more token of each sequence, ``[B]``, and return the logits after it, ``[B, V]``."""
        self.real = torch.cat([self.real, torch.ones_like(ids)[:, None]], 1)
        return self._step(ids[:, None])

    @torch.no_grad()
    def _step(self, ids: Tensor) -> Tensor:
        positions = (self.real.cumsum(1) - 1).clamp(min=0)[:, -ids.shape[1] :]
        result = self.network(
            input_ids=ids, attention_mask=self.real, position_ids=positions, past_key_values=self.past,
            use_cache=True, logits_to_keep=1,
        )  # fmt: skip
        self.past = result.past_key_values
        return result.logits[:, -1]

    def keep(self, rows: Tensor) -> None:
        """Drop all sequences but these, ``[b]`` indices."""
        self.real = self.real[rows]
        self.past.batch_select_indices(rows)


def load_other(folder: Path, dtype: torch.dtype) -> HubModel:
    """Load a directory with safetensors through transformers, and check that its head is a plain product.

    Raises:
        UsageError: If transformers cannot load it, or its head is another one.
    """
    transformers = text_package("transformers")
    try:
        with without_bars():
            network = transformers.AutoModelForCausalLM.from_pretrained(
                folder, dtype=dtype, local_files_only=True, trust_remote_code=False, use_safetensors=True
            )
    except Exception as problem:  # transformers raises whatever its parsers raise
        raise UsageError(f"transformers cannot load {folder} without running code from it: {problem}") from problem
    model = HubModel(network.eval())
    with torch.no_grad():
        ids = torch.arange(4)[None] % int(network.config.get_text_config().vocab_size)
        whole, ours = network(input_ids=ids).logits.float(), model.logits(model.hidden(ids)).float()
    if not torch.allclose(whole, ours, rtol=1e-2, atol=1e-2):
        raise UsageError(f"{folder}: this architecture changes its logits after the head, which is not supported")
    return model
