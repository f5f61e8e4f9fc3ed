"""Low-rank adapters in PEFT's format, added into the model that they go with.

    W' = W + scale B A        scale = alpha / rank, or alpha / sqrt(rank) where the file says so (rsLoRA)

Axes: R rank.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from cumulant.errors import UsageError
from cumulant.nn.lora import rounded

_PREFIX, _A, _B = "base_model.model.", ".lora_A.weight", ".lora_B.weight"


def is_adapter(folder: Path) -> bool:
    """Return whether a directory holds an adapter, and no model."""
    return (folder / "adapter_config.json").is_file() and not (folder / "config.json").is_file()


def read_settings(folder: Path) -> dict[str, Any]:
    """Read ``adapter_config.json``.

    Raises:
        UsageError: If it is damaged, names no base model, or is more than a sum of weights (message says what).
    """
    file = folder / "adapter_config.json"
    try:
        settings = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as problem:
        raise UsageError(f"{file} cannot be read: {problem}") from problem
    kind = settings.get("peft_type") if isinstance(settings, dict) else None
    if kind != "LORA":
        raise UsageError(f"{file} holds an adapter of kind {kind!r}; only LORA is read")
    for name, plain in (("use_dora", False), ("bias", "none"), ("modules_to_save", None), ("alpha_pattern", {})):
        if settings.get(name, plain) not in (plain, None, [], {}):
            raise UsageError(
                f"{file}: {name} = {settings[name]!r} is more than a low-rank sum: merge it with peft first"
            )
    if not settings.get("base_model_name_or_path"):
        raise UsageError(f"{file} does not name the model that it goes with: write its path as base_model_name_or_path")
    return settings


@torch.no_grad()
def add_adapter(network: Any, folder: Path) -> None:
    """Add the adapters of a directory into the weights of a model that has Hugging Face's names.

    Raises:
        UsageError: If a file is damaged, pickled, or made for another model (message names the weight).
    """
    settings, file = read_settings(folder), folder / "adapter_model.safetensors"
    if not file.is_file():
        raise UsageError(f"{folder} holds no adapter_model.safetensors; other formats can run code when they are read")
    try:
        tensors = load_file(file)
    except (SafetensorError, OSError) as problem:
        raise UsageError(f"{file} cannot be read ({problem}): copy it again") from problem
    own = dict(network.named_parameters())
    names = [name.removesuffix(_A) for name in tensors if name.endswith(_A)]
    if 2 * len(names) != len(tensors) or not names or any(name + _B not in tensors for name in names):
        raise UsageError(f"{file} holds other weights than pairs of lora_A and lora_B")
    for name in names:
        a, b = tensors[name + _A].float(), tensors[name + _B].float()
        weight = own.get(name.removeprefix(_PREFIX) + ".weight")
        change = b @ a if a.dim() == b.dim() == 2 and b.shape[1] == a.shape[0] else None
        if change is not None and settings.get("fan_in_fan_out"):
            change = change.T
        if weight is None or change is None or change.shape != weight.shape:
            raise UsageError(
                f"{file}: '{name}' does not fit {settings['base_model_name_or_path']}: it goes with another model"
            )
        rank, alpha = len(a), float(settings.get("lora_alpha", 8))
        scale = alpha / (math.sqrt(rank) if settings.get("use_rslora") else rank)
        weight.copy_(rounded(weight.float() + scale * change.to(weight.device), weight.dtype))
