"""A language model in training beside the frozen one that it started from: the policy and its reference.

With adapters (LoRA) both are one set of weights: the reference is the model with the adapters off, and what lies below the first
adapter is computed once for both. With all weights in training the reference is a frozen copy.
Axes: B sequences, T tokens, D width, V vocabulary.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from cumulant.engine.generate import Completions, generate
from cumulant.nn.causal_lm import load_model, save_model, share_equal
from cumulant.nn.hub_model import recomputing
from cumulant.nn.token_logp import token_logp
from cumulant.run.config import require


@dataclass(frozen=True)
class TuningConfig:
    """Which language model is trained, and which of its weights."""

    model: str = "smollm2-135m"
    """Model to start from, which is the reference too: smollm2-135m, a run, or a Hugging Face directory."""
    lora_rank: int = 16
    """Rank of the adapters that are trained instead of the weights; 0 to train all weights."""
    lora_alpha: float = 32.0
    """Adapters are scaled by this over their rank."""
    lora_share: float = 0.5
    """Share of the layers that get adapters, the upper ones; what is below is computed once for policy and reference."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Number format of frozen weights: auto takes what is faster here. What is trained is float32, and so is its reference."""

    def __post_init__(self) -> None:
        require(self, "lora_rank", self.lora_rank >= 0, "at least 0")
        require(self, "lora_alpha", 0.0 < self.lora_alpha < math.inf, "above 0")
        require(self, "lora_share", 0.0 < self.lora_share <= 1.0, "above 0 and at most 1")


@dataclass(frozen=True)
class ComputeConfig:
    """How it is computed; what is learned does not depend on it but for rounding and the random numbers of another writer."""

    device: str = "cpu"
    """Where the models live, the one that scores too: cpu or cuda."""
    writer: Literal["own", "vllm"] = "own"
    """What writes answers in training: this package, or vLLM (for a GPU; pip install 'cumulant[vllm]')."""
    gradient_checkpointing: bool = False
    """Keep less in memory and compute it again: a third slower."""

    def __post_init__(self) -> None:
        # values are fitted in float64, which Apple's GPUs have not
        require(self, "device", not self.device.startswith("mps"), "cpu or cuda")


@dataclass(frozen=True)
class Frozen:
    """What the reference makes of a batch.

    Args:
        hidden: After all layers and the final norm, ``[B, T, D]``.
        lower: Before the first layer with adapters, ``[B, T, D]``; None if policy and reference share nothing.
    """

    hidden: Tensor
    lower: Tensor | None


class Tuned:
    """The policy and its reference.

    Args:
        model: The policy.
        tokenizer: Of both.
        reference: The frozen model; the policy itself if adapters are what is trained.
        first_layer: The lowest layer with adapters: what is below is the same in both.
        compute: What writes, and whether to keep less in memory.
    """

    def __init__(
        self, model: Any, tokenizer: Any, reference: Any, first_layer: int = 0, compute: ComputeConfig | None = None
    ) -> None:
        compute = compute or ComputeConfig()
        self.recompute = compute.gradient_checkpointing
        self.writer: Any = generate
        if compute.writer == "vllm":
            from cumulant.engine.vllm_writer import VllmWriter

            self.writer = VllmWriter(tokenizer)
        self.model, self.tokenizer, self.reference, self.first_layer = model, tokenizer, reference, first_layer
        self.trainable = {name: part for name, part in model.named_parameters() if part.requires_grad}
        # Sampling and training compute the same numbers only in float32; bfloat16 differs by 0.04 nats a token.
        self.exact = next(model.parameters()).dtype == torch.float32 and compute.writer == "own"

    @classmethod
    def begin(cls, config: TuningConfig, generator: torch.Generator, compute: ComputeConfig | None = None) -> Tuned:
        """Load a model and make ready what is trained of it.

        Args:
            config: Which model, and what of it is trained.
            generator: Source of the adapters' initial weights.
            compute: Where, what writes, and whether to keep less in memory.
        """
        compute = compute or ComputeConfig()
        whole = config.lora_rank == 0
        # What is trained is kept in float32: an update much smaller than a weight would round away.
        model, tokenizer = load_model(config.model, "float32" if whole else config.precision)
        model.to(compute.device)
        if whole:  # the reference computes in the same format: KL begins at 0, not at the rounding of the other one
            return cls(model, tokenizer, copy.deepcopy(model).requires_grad_(False), 0, compute)
        from cumulant.nn.lora import add_lora

        layers = model.config.num_hidden_layers
        first_layer = layers - max(1, round(config.lora_share * layers))
        add_lora(model.requires_grad_(False), config.lora_rank, config.lora_alpha, first_layer, generator)
        return cls(model, tokenizer, model, first_layer, compute)

    @classmethod
    def finished(cls, config: TuningConfig, directory: Path, device: str = "cpu") -> Tuned:
        """Load what a run has saved, and the reference that it started from."""
        model, tokenizer = load_model(directory, config.precision)
        reference, _ = load_model(config.model, config.precision)
        model, reference = model.to(device).requires_grad_(False), reference.to(device).requires_grad_(False)
        share_equal(reference, model)
        return cls(model, tokenizer, reference)

    @property
    def width(self) -> int:
        """Numbers in a hidden state (D)."""
        return int(self.model.config.hidden_size)

    @property
    def device(self) -> torch.device:
        """Where both live."""
        return next(self.model.parameters()).device

    @property
    def context(self) -> int:
        """Most tokens that the model reads at a time."""
        return int(self.model.config.max_position_embeddings)

    @torch.no_grad()
    def frozen(self, ids: Tensor, mask: Tensor) -> Frozen:
        """Run the reference over whole sequences, ``[B, T]`` both."""
        if self.reference is not self.model:
            return Frozen(self.reference.hidden(ids, mask), None)
        from cumulant.nn.lora import adapter

        with adapter(self.model, on=False):
            lower = self.model.hidden(ids, mask, stop=self.first_layer) if self.first_layer else None
            hidden = self.model.hidden(ids, mask, start=self.first_layer, hidden=lower)
        return Frozen(hidden, lower)

    def hidden(self, ids: Tensor, mask: Tensor, lower: Tensor | None = None) -> Tensor:
        """Run the policy, ``[B, T, D]``; ``lower`` of the same batch saves the layers that nothing trains."""
        with recomputing(self.model, self.recompute):
            return self.model.hidden(ids, mask, start=0 if lower is None else self.first_layer, hidden=lower)

    def logp(self, hidden: Tensor, ids: Tensor, wanted: Tensor, temperature: float = 1.0) -> tuple[Tensor, Tensor]:
        """Return the policy's log-probabilities of wanted tokens and its entropies; see ``token_logp``."""
        return token_logp(self.model, hidden, ids, wanted, temperature)

    @torch.no_grad()
    def reference_logp(self, hidden: Tensor, ids: Tensor, wanted: Tensor, temperature: float = 1.0) -> Tensor:
        """Return the reference's log-probabilities of wanted tokens, ``[B, T-1]``, from its hidden states."""
        return token_logp(self.reference, hidden, ids, wanted, temperature)[0]

    def write(
        self,
        prompts: Sequence[Sequence[int]],
        max_new_tokens: int,
        temperature: float,
        generator: torch.Generator,
        of_reference: bool = False,
    ) -> Completions:
        """Let the policy, or the reference, complete prompts."""
        arguments: dict[str, Any] = {
            "max_new_tokens": max_new_tokens,
            "temperature": temperature,
            "eos_id": self.tokenizer.eos_token_id,
            "generator": generator,
        }
        if not of_reference or self.reference is not self.model:
            return self.writer(self.reference if of_reference else self.model, prompts, **arguments).to(self.device)
        from cumulant.nn.lora import adapter

        with adapter(self.model, on=False):
            return self.writer(self.model, prompts, **arguments).to(self.device)

    def save(self, directory: Path, base: str = "") -> None:
        """Write ``model/``, which plain transformers loads, and with adapters ``adapter/`` in PEFT's format, for ``base``."""
        if self.reference is self.model:
            from cumulant.nn.lora import merged, save_adapter

            save_adapter(self.model, directory / "adapter", base)
            save_model(merged(self.model), self.tokenizer, directory / "model")
        else:
            save_model(self.model, self.tokenizer, directory / "model")

    def state_dict(self) -> dict[str, Tensor]:
        """What is trained; the rest is read again from where it came."""
        return {name: part.detach() for name, part in self.trainable.items()}

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Undo ``state_dict``."""
        for name, part in self.trainable.items():
            part.copy_(state[name])


class Critic(nn.Module):
    """A value of every state, linear in features; trained by gradients, or solved anew with every batch if they stand still.

    Args:
        width: Number of features, F.
        fitted: Whether ``fit`` solves it: then it has no gradients, and keeps what the regression needs of earlier batches.
    """

    mean: Tensor
    std: Tensor
    gram: Tensor
    moment: Tensor
    count: Tensor

    def __init__(self, width: int, fitted: bool = False) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("std", torch.ones(width))
        self.weight = nn.Parameter(torch.zeros(width), requires_grad=not fitted)
        self.bias = nn.Parameter(torch.zeros(()), requires_grad=not fitted)
        if fitted:
            self.register_buffer("gram", torch.zeros(width + 1, width + 1, dtype=torch.float64))
            self.register_buffer("moment", torch.zeros(width + 1, dtype=torch.float64))
            self.register_buffer("count", torch.zeros((), dtype=torch.float64))

    def forward(self, features: Tensor) -> Tensor:
        """Return values, ``[..., F] -> [...]``."""
        return ((features.float() - self.mean) / self.std) @ self.weight + self.bias

    @torch.no_grad()
    def fit(self, features: Tensor, target: Tensor, ridge: float = 3.0, memory: float = 0.9) -> None:
        """Solve the regression on these samples and on the earlier ones, which count less with every batch.

            minimise mean((value - target)^2) + ridge * |weight|^2,    a sample k batches ago weighted by memory^k

        Features are brought to mean 0 and deviation 1, by the first batch's. A completion has one outcome for all its tokens, so
        samples are few and the pull towards the mean must be strong: fitted to 128 completions with a ridge of 0.1 such values
        were further from new outcomes than their mean was.

        Args:
            features: ``[N, F]``; without any, nothing changes.
            target: ``[N]``.
            ridge: Strength of the pull towards the mean.
            memory: Weight that earlier samples keep.
        """
        if not len(features):
            return
        features = features.float()
        if self.count == 0:
            self.mean.copy_(features.mean(0))
            self.std.copy_(features.std(0, correction=0).clamp(min=1e-6))
        x = torch.cat([(features - self.mean) / self.std, torch.ones_like(features[:, :1])], 1)
        self.gram.mul_(memory).add_(x.T @ x)
        self.moment.mul_(memory).add_(x.T @ target.float())
        self.count.mul_(memory).add_(len(x))
        pull = torch.full_like(self.moment, ridge)
        pull[-1] = 0.0  # not on the mean itself
        solution = torch.linalg.solve(self.gram / self.count + pull.diag(), self.moment / self.count)
        self.weight.copy_(solution[:-1])
        self.bias.copy_(solution[-1])
