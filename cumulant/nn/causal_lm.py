"""Load and save language models: Hugging Face directories (config.json, safetensors, tokenizer), GGUF files, embedded weights.

Llama-style models become ``nn.llama.Llama``; any other architecture runs through transformers behind the same methods.
Nothing is unpickled, and code that comes with a model is never run.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from cumulant.data.materials import MATERIALS, fetch
from cumulant.errors import ConfigError, UsageError
from cumulant.loading import text_package
from cumulant.nn.adapter_files import add_adapter, is_adapter, read_settings
from cumulant.nn.gguf import load_gguf
from cumulant.nn.hub_model import HubModel, load_other, without_bars
from cumulant.nn.llama import Llama, LlamaConfig
from cumulant.nn.lora import has_lora, merged
from cumulant.run.checkpoint import UNFINISHED, refused

_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl", "*.msgpack", "*.h5")


def pick_dtype(precision: str = "auto") -> torch.dtype:
    """Return the number format that a precision names: "float32", "bfloat16", or "auto" for what this machine is faster in.

    Raises:
        ConfigError: If it is none of them.
    """
    if precision == "auto":
        gains = torch.cuda.is_available() or torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
        return torch.bfloat16 if gains else torch.float32
    if precision not in ("float32", "bfloat16"):
        raise ConfigError(f"precision is '{precision}': it must be float32, bfloat16 or auto")
    return torch.bfloat16 if precision == "bfloat16" else torch.float32


def load_model(
    path: str | Path, dtype: str | torch.dtype = "auto", generator: torch.Generator | None = None
) -> tuple[Any, Any]:
    """Load a language model and its tokenizer.

    Args:
        path: A Hugging Face directory, a run directory that holds one as ``model/``, the directory of an adapter that names its
            base (a run's ``adapter/``, or PEFT's), a ``.gguf`` file, or the name of embedded weights ("smollm2-135m": fetched on
            first use).
        dtype: "float32", "bfloat16" or "auto" (what this machine is faster in), or a torch dtype.
        generator: Source of the weights where the directory has a configuration and no weights.

    Returns:
        The model (``Llama``, or ``HubModel`` for another architecture) and transformers' PreTrainedTokenizerFast.

    Raises:
        UsageError: If there is no such directory, it lacks a file, or its weights are not safetensors (message says which).
        MissingPackage: If transformers is not installed.
        MaterialError: If embedded weights cannot be fetched.
    """
    dtype = pick_dtype(dtype) if isinstance(dtype, str) else dtype
    if str(path) in MATERIALS and MATERIALS[str(path)].kind == "model":
        return load_gguf(fetch(str(path))["model.gguf"], dtype)
    if str(path).endswith(".gguf") and Path(path).is_file():
        return load_gguf(path, dtype)
    if is_adapter(Path(path)):
        base = read_settings(Path(path))["base_model_name_or_path"]
        try:
            model, tokenizer = load_model(base, dtype)
        except UsageError as problem:
            raise UsageError(f"the adapter {path} goes with the model {base}: {problem}") from problem
        add_adapter(model.network if isinstance(model, HubModel) else model, Path(path))
        return model, tokenizer
    folder = find_folder(path)
    settings = _read_json(folder / "config.json")
    shape = LlamaConfig.from_hub(settings)
    tokenizer = load_tokenizer(folder)
    if shape is None:
        _need(weight_files(folder), folder)
        return load_other(folder, dtype), tokenizer
    files = weight_files(folder)
    if not files and generator is not None:
        return Llama(shape, generator).to(dtype), tokenizer
    model = Llama.unfilled(shape, dtype)
    read_weights(model, _need(files, folder))
    return model, tokenizer


def share_equal(model: nn.Module, other: nn.Module) -> None:
    """Let a model use another one's memory for the weights that are the same in both, to be read only from now on.

    Of a model that was tuned in its upper half, and the one that it was tuned from, that is more than the half.
    """
    known = dict(other.named_parameters())
    for name, own in model.named_parameters():
        like = known.get(name)
        if like is not None and (like.dtype, like.device) == (own.dtype, own.device) and torch.equal(own, like):
            own.data = like.data


def find_folder(path: str | Path) -> Path:
    """Return the directory with the ``config.json`` that a path means.

    Raises:
        UsageError: If there is none.
    """
    folder = Path(path)
    for candidate in (folder, folder / "model"):
        if (candidate / "config.json").is_file() and (candidate / "config.json").stat().st_size:
            if candidate == folder and "model_type" not in _read_json(folder / "config.json"):
                continue  # the configuration of a run
            return candidate
    if not folder.exists():
        raise UsageError(
            f"there is no model '{path}': give a Hugging Face directory or a run directory of a text stage"
        )
    raise UsageError(f"'{path}' holds no model: a Hugging Face directory has a config.json that names a model_type")


def weight_files(folder: Path) -> list[Path]:
    """Return the safetensors files of a model's directory, none if it has no weights.

    Raises:
        UsageError: If it holds pickled weights only, or an index that names a file that is not there.
    """
    index = folder / "model.safetensors.index.json"
    if (folder / "model.safetensors").is_file():
        return [folder / "model.safetensors"]
    if index.is_file():
        names = sorted(set(_read_json(index).get("weight_map", {}).values()))
        files = [folder / Path(str(name)).name for name in names]  # the last part: an index cannot point outside
        for file in files:
            if not file.is_file():
                raise UsageError(f"{index} names {file.name}, which is not there: copy the whole directory")
        return files
    pickled = sorted(file.name for pattern in _PICKLES for file in folder.glob(pattern))
    if pickled:
        raise UsageError(
            f"{folder} holds weights only as {pickled[0]}, a format that can run code when it is read: convert it to "
            "safetensors (transformers' save_pretrained writes them) in a place that you trust it"
        )
    return []


@torch.no_grad()
def read_weights(model: nn.Module, files: list[Path]) -> None:
    """Copy weights from safetensors files into a model of any dtype, one tensor at a time.

    Raises:
        UsageError: If a file is damaged, or names and shapes do not fit the configuration.
    """
    wanted = dict(model.named_parameters())
    missing = set(wanted)
    for file in files:
        try:
            with safe_open(file, framework="pt") as tensors:
                for name in tensors.keys():  # noqa: SIM118 (not a mapping)
                    own = name if name in wanted or name.startswith(("model.", "lm_head.")) else "model." + name
                    if own not in wanted:
                        if own == "lm_head.weight" or own.endswith("rotary_emb.inv_freq"):
                            continue  # a copy of tied embeddings; a constant that old versions stored
                        raise UsageError(f"{file} has a weight '{name}' that a Llama model of its config.json has not")
                    tensor = tensors.get_tensor(name)
                    if tensor.shape != wanted[own].shape:
                        raise UsageError(
                            f"{file}: '{name}' has shape {list(tensor.shape)}, config.json asks for {list(wanted[own].shape)}"
                        )
                    wanted[own].copy_(tensor)
                    missing.discard(own)
        except (SafetensorError, OSError, KeyError) as problem:
            raise UsageError(f"{file} cannot be read ({problem}): copy it again") from problem
    if missing:
        raise UsageError(f"{files[0].parent} lacks {len(missing)} weights, '{sorted(missing)[0]}' among them")


def load_tokenizer(folder: Path) -> Any:
    """Load the tokenizer of a model's directory, running no code from it.

    Raises:
        UsageError: If there is none or it cannot be read.
    """
    transformers = text_package("transformers")
    try:
        if (folder / "tokenizer.json").is_file():
            return transformers.PreTrainedTokenizerFast.from_pretrained(folder, local_files_only=True)
        return transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as problem:  # transformers raises whatever its parsers raise
        raise UsageError(f"{folder} has no tokenizer that can be read (tokenizer.json): {problem}") from problem


def save_model(model: Any, tokenizer: Any, folder: str | Path) -> None:
    """Write a directory that plain transformers loads: weights, configuration, generation settings, tokenizer.

    It is written beside its place and moved there whole, so a reader or a crash sees the old directory or the new one.

    Raises:
        StorageError: If the disk refuses.
    """
    write_folder(folder, lambda place: _write(model, tokenizer, place))


def write_folder(folder: str | Path, write: Callable[[Path], None]) -> None:
    """Write a directory whole or not at all.

    Args:
        folder: Where it shall be; what is there is replaced.
        write: Called with an empty directory to write files to.

    Raises:
        StorageError: If the disk refuses.
    """
    folder = Path(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=UNFINISHED))
    try:
        write(temporary)
        for file in temporary.iterdir():
            with open(file, "rb") as written:
                os.fsync(written.fileno())
        temporary.chmod(0o755)
        if folder.exists():  # os.replace moves no directory over a full one
            old = Path(tempfile.mkdtemp(dir=folder.parent, prefix=UNFINISHED))
            os.replace(folder, old / "old")
            os.replace(temporary, folder)
            shutil.rmtree(old)
        else:
            os.replace(temporary, folder)
    except OSError as problem:
        raise refused(folder, problem) from problem
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _write(model: Any, tokenizer: Any, folder: Path) -> None:
    if isinstance(model, HubModel):
        with without_bars():
            model.network.save_pretrained(folder)
    else:
        model = merged(model) if has_lora(model) else model
        dtype = model.head.dtype
        # cloned: several parameters may be parts of one block of memory, which the format does not keep
        tensors = {name: part.detach().cpu().clone() for name, part in model.named_parameters()}
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
        settings = {**model.config.to_hub(dtype), **special_tokens(tokenizer)}
        (folder / "config.json").write_text(json.dumps(settings, indent=2) + "\n")
        (folder / "generation_config.json").write_text(json.dumps(special_tokens(tokenizer), indent=2) + "\n")
    tokenizer.save_pretrained(folder)


def special_tokens(tokenizer: Any) -> dict[str, int]:
    """Return the numbers of the start, end and padding marks that a tokenizer has."""
    numbers = {f"{mark}_token_id": getattr(tokenizer, f"{mark}_token_id", None) for mark in ("bos", "eos", "pad")}
    return {name: int(number) for name, number in numbers.items() if number is not None}


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as problem:
        raise UsageError(f"{path} cannot be read: {problem}") from problem
    if not isinstance(content, dict):
        raise UsageError(f"{path} holds no JSON object")
    return content


def _need(files: list[Path], folder: Path) -> list[Path]:
    if not files:
        raise UsageError(f"{folder} holds no weights: model.safetensors is missing")
    return files
