"""Low-rank adapters (LoRA) on a frozen Llama model: small matrices are trained, the model itself stays and is the reference.

    y = W x + alpha / rank  B A x

Products that read the same input (queries, keys and values; gate and up) are one matrix here, so they share A. What is saved is
PEFT's format all the same: A repeated, B cut. PEFT's own injection is not used: it would wrap every projection in Python code
and automatic differentiation, where here a layer with adapters is one operation forward and one backward.

Source:
    Hu et al. 2021, LoRA, section 4.1.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from cumulant.errors import ConfigError
from cumulant.nn.llama import Llama
from cumulant.nn.llama_layer import MATRICES, Weights
from cumulant.run.checkpoint import refused

_ROUNDING_SEED = 20240229


class Lora(nn.Module):
    """The adapters of one layer, float32: a ``[R, in]`` and b ``[out, R]`` for each joined matrix.

    Args:
        weights: The matrices that they go with.
        rank: R.
        alpha: The adapter's output is scaled by ``alpha / rank``.
        generator: Source of a; b starts at 0, so that nothing changes at first.
    """

    def __init__(self, weights: Weights, rank: int, alpha: float, generator: torch.Generator) -> None:
        super().__init__()
        self.rank, self.alpha, self.scale = rank, alpha, alpha / rank
        for name in MATRICES:
            rows, columns = getattr(weights, name).shape
            bound = 1.0 / math.sqrt(columns)
            a = torch.empty(rank, columns).uniform_(-bound, bound, generator=generator)
            device = weights.qkv.device
            setattr(self, f"{name}_a", nn.Parameter(a.to(device)))
            setattr(self, f"{name}_b", nn.Parameter(torch.zeros(rows, rank, device=device)))


def add_lora(
    model: Any, rank: int, alpha: float, first_layer: int = 0, generator: torch.Generator | None = None
) -> list[nn.Parameter]:
    """Freeze a model and give its layers adapters.

    Args:
        model: A ``Llama``, changed in place.
        rank: Size of the adapters.
        alpha: Their output is scaled by ``alpha / rank``.
        first_layer: Layers below get none: what they compute is then the same for the model and its reference.
        generator: Source of the initial values.

    Returns:
        What is trained: ``model.named_parameters()`` names them ``model.layers.N.lora.*``.

    Raises:
        ConfigError: If the model is no Llama, has adapters already, or the numbers are out of range.
    """
    if not isinstance(model, Llama):
        kind = getattr(getattr(model, "config", None), "model_type", "this")
        raise ConfigError(f"adapters need a Llama model, not one of kind '{kind}': train all weights (rank 0)")
    layers = model.config.num_hidden_layers
    if rank < 1 or not 0 <= first_layer < layers:
        raise ConfigError(f"rank is {rank} (at least 1), first_layer {first_layer} (0 to {layers - 1})")
    if has_lora(model):
        raise ConfigError("the model has adapters already: merge them first")
    model.requires_grad_(False)
    for own in model.model.layers[first_layer:]:
        own.lora = Lora(own.weights(), rank, alpha, generator or torch.Generator().manual_seed(0))
    return trainable(model)


def has_lora(model: Any) -> bool:
    """Return whether a model has adapters."""
    return isinstance(model, Llama) and any(own.lora is not None for own in model.model.layers)


def trainable(model: nn.Module) -> list[nn.Parameter]:
    """Return the parameters that are trained."""
    return [part for part in model.parameters() if part.requires_grad]


@contextlib.contextmanager
def adapter(model: Llama, on: bool) -> Iterator[None]:
    """Switch the adapters for a while: off, the model is its own reference."""
    before, model.adapters_on = model.adapters_on, on
    try:
        yield
    finally:
        model.adapters_on = before


@torch.no_grad()
def merge(weights: Weights, lora: Any) -> Weights:
    """Return a layer's weights with the adapters added in, ``W + alpha / rank B A``.

    The sum is taken in float32. In bf16 it is then rounded up or down by chance, in proportion: an update smaller than the step
    of rounding survives on average, where rounding to the nearest would lose it everywhere.
    """
    new = {}
    for name in MATRICES:
        weight, a, b = getattr(weights, name), getattr(lora, f"{name}_a"), getattr(lora, f"{name}_b")
        new[name] = rounded(torch.addmm(weight.float(), b, a, alpha=lora.scale), weight.dtype)
    return weights._replace(**new)


def rounded(total: Tensor, dtype: torch.dtype) -> Tensor:
    """Return float32 numbers in a dtype, in bf16 rounded by chance as ``merge`` says; ``total`` is used up."""
    if dtype == torch.bfloat16:
        bits = total.contiguous().view(torch.int32)
        bits.add_(_rounding(bits.numel()).view_as(bits).to(bits.device)).bitwise_and_(-65536)
        total = bits.view(torch.float32)
    return total.to(dtype)


@functools.lru_cache(maxsize=8)
def _rounding(count: int) -> Tensor:
    """Return random lower halves of float32 numbers, always the same: the same adapters give the same weights."""
    return torch.randint(65536, (count,), generator=torch.Generator().manual_seed(_ROUNDING_SEED), dtype=torch.int32)


@torch.no_grad()
def merged(model: Llama) -> Llama:
    """Return a copy of the model with its adapters added into the weights, and none of its own; in the model's dtype."""
    memo = {id(own.lora): None for own in model.model.layers if own.lora is not None}
    plain = copy.deepcopy(model, memo)
    plain._join()
    for own, source in zip(plain.model.layers, model.model.layers):
        own.lora = None
        if source.lora is not None:
            new = merge(source.weights(), source.lora)
            own.weights().qkv.copy_(new.qkv)
            own.weights().out.copy_(new.out)
            own.weights().gate_up.copy_(new.gate_up)
            own.weights().down.copy_(new.down)
    return plain


def save_adapter(model: Llama, folder: str | Path, base: str = "") -> None:
    """Write the adapters as PEFT reads them: ``adapter_config.json`` and ``adapter_model.safetensors``.

    Args:
        model: Has adapters.
        folder: Where to.
        base: Name or path of the model that they go with.

    Raises:
        ConfigError: If the model has no adapters.
        StorageError: If the disk refuses.
    """
    if not has_lora(model):
        raise ConfigError("the model has no adapters to save")
    tensors: dict[str, Tensor] = {}
    layers = [index for index, own in enumerate(model.model.layers) if own.lora is not None]
    for index in layers:
        own = model.model.layers[index]
        for name, rows, a, b in _apart(own):
            where = f"base_model.model.model.layers.{index}.{name}"
            tensors[f"{where}.lora_A.weight"] = a.detach().cpu().clone()
            tensors[f"{where}.lora_B.weight"] = b.detach()[rows].cpu().clone()
    lora: Any = model.model.layers[layers[0]].lora
    settings = {
        "peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": base, "r": lora.rank,
        "lora_alpha": lora.alpha, "lora_dropout": 0.0, "bias": "none", "fan_in_fan_out": False, "inference_mode": True,
        "target_modules": ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
        "layers_to_transform": layers, "layers_pattern": "layers",
    }  # fmt: skip
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
        (folder / "adapter_config.json").write_text(json.dumps(settings, indent=2) + "\n")
    except OSError as problem:
        raise refused(folder, problem) from problem


def _apart(own: Any) -> Iterator[tuple[str, slice, Tensor, Tensor]]:
    """Yield each projection's name, its rows in the joined matrix, and that matrix's a and b."""
    attention, inner, lora = own.self_attn, own.mlp, own.lora
    groups = {
        "qkv": [(f"self_attn.{x}_proj", getattr(attention, f"{x}_proj")) for x in "qkv"],
        "out": [("self_attn.o_proj", attention.o_proj)],
        "gate_up": [("mlp.gate_proj", inner.gate_proj), ("mlp.up_proj", inner.up_proj)],
        "down": [("mlp.down_proj", inner.down_proj)],
    }  # fmt: skip
    for group, members in groups.items():
        start = 0
        for name, module in members:
            stop = start + len(module.weight)
            yield name, slice(start, stop), getattr(lora, f"{group}_a"), getattr(lora, f"{group}_b")
            start = stop
