"""Read a GGUF file: one file that holds weights (often quantised), sizes and tokenizer of a Llama-style model.

The file is mapped, parsed by this module alone, and dequantised tensor by tensor with array operations. Nothing in it is run.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md; blocks of quantised numbers: ggml-quants.c there.
"""

from __future__ import annotations

import math
import mmap
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cumulant.errors import UsageError
from cumulant.loading import text_package
from cumulant.nn.llama import Llama, LlamaConfig

_NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
_CONTROL = 3  # kind of a token that marks something and stands for no text

# number in the file -> name, weights in a block, bytes of a block
_BLOCKS = {
    0: ("F32", 1, 4), 1: ("F16", 1, 2), 30: ("BF16", 1, 2), 2: ("Q4_0", 32, 18), 3: ("Q4_1", 32, 20), 8: ("Q8_0", 32, 34),
}  # fmt: skip
_LAYER_NAMES = {
    "attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm", "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj",
}  # fmt: skip
_OTHER_NAMES = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}


@dataclass(frozen=True)
class Gguf:
    """A parsed file.

    Attributes:
        path: Where it is.
        metadata: What its header says, by key.
        tensors: By name: shape (rows first), number of the block format, offset in bytes.
        content: The whole file, mapped, bytes.
    """

    path: Path
    metadata: Mapping[str, Any]
    tensors: Mapping[str, tuple[tuple[int, ...], int, int]]
    content: np.ndarray

    def tensor(self, name: str) -> Tensor:
        """Return one tensor as float32.

        Raises:
            UsageError: If its block format is not supported, or the file ends before it.
        """
        shape, kind, offset = self.tensors[name]
        if kind not in _BLOCKS:
            known = ", ".join(label for label, _, _ in _BLOCKS.values())
            raise UsageError(f"{self.path}: '{name}' is stored in format number {kind}; supported are {known}")
        _, weights, size = _BLOCKS[kind]
        count = math.prod(shape)
        stop = offset + count // weights * size
        if shape[-1] % weights or stop > len(self.content):
            raise UsageError(f"{self.path} ends before its weights do ('{name}'): copy it again")
        return dequantise(torch.from_numpy(self.content[offset:stop]), kind).view(shape)


def read_gguf(path: str | Path) -> Gguf:
    """Parse the header of a file and map the rest.

    Raises:
        UsageError: If it is not a GGUF file of version 2 or 3, or damaged.
    """
    path = Path(path)
    try:
        with open(path, "rb") as file:
            content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)  # private: torch wants writable memory
        return _parse(path, content)
    except (OSError, ValueError, struct.error, KeyError, IndexError, MemoryError, OverflowError) as problem:
        raise UsageError(f"{path} cannot be read as a GGUF file ({problem}): copy it again") from problem


def _parse(path: Path, content: mmap.mmap) -> Gguf:
    reader = _Reader(content)
    magic, version, tensor_count, key_count = reader.take("4sIQQ")
    if magic != b"GGUF" or version not in (2, 3):
        raise ValueError(f"it starts with {magic!r}, version {version}")
    metadata = {}
    for _ in range(key_count):
        key = reader.string()
        metadata[key] = reader.value(reader.take("I")[0])
    places = {}
    for _ in range(tensor_count):
        name, dimensions = reader.string(), reader.take("I")[0]
        shape = tuple(reversed(reader.take(f"{dimensions}Q")))
        places[name] = (shape, *reader.take("IQ"))
    alignment = int(metadata.get("general.alignment", 32))
    start = -(-reader.position // alignment) * alignment
    tensors = {name: (shape, kind, start + offset) for name, (shape, kind, offset) in places.items()}
    return Gguf(path, metadata, tensors, np.frombuffer(content, dtype=np.uint8))


class _Reader:
    """Reads little-endian values one after the other."""

    def __init__(self, content: mmap.mmap) -> None:
        self.content, self.position = content, 0

    def take(self, layout: str) -> tuple[Any, ...]:
        values = struct.unpack_from("<" + layout, self.content, self.position)
        self.position += struct.calcsize("<" + layout)
        return values

    def string(self) -> str:
        (length,) = self.take("Q")
        start, self.position = self.position, self.position + length
        if self.position > len(self.content):
            raise ValueError("a string goes past the end")
        return self.content[start : self.position].decode("utf-8")

    def value(self, kind: int) -> Any:
        if kind == _STRING:
            return self.string()
        if kind != _ARRAY:
            return self.take(_NUMBERS[kind])[0]
        inner, count = self.take("IQ")
        if inner in (_STRING, _ARRAY):
            return [self.value(inner) for _ in range(count)]
        return list(self.take(f"{count}{_NUMBERS[inner]}"))


def dequantise(raw: Tensor, kind: int) -> Tensor:
    """Turn stored bytes into float32, ``[bytes] -> [weights]``.

    A block of Q8_0 and Q4_0 is ``scale * q``, one of Q4_1 ``scale * q + least``: a float16 scale (and least) in front, then
    32 whole numbers q (4-bit ones in [0, 16), 8 lower in Q4_0, low halves of all 16 bytes first).
    """
    name, _, size = _BLOCKS[kind]
    if name == "F32":
        return raw.view(torch.float32)
    if name in ("F16", "BF16"):
        return raw.view(torch.float16 if name == "F16" else torch.bfloat16).float()
    blocks = raw.view(-1, size)
    if name == "Q8_0":
        return (blocks[:, 2:].view(torch.int8).float() * _half(blocks, 0)).reshape(-1)
    packed = blocks[:, size - 16 :]
    values = torch.empty(len(blocks), 32)
    values[:, :16], values[:, 16:] = packed & 15, packed >> 4
    if name == "Q4_0":
        return values.sub_(8).mul_(_half(blocks, 0)).reshape(-1)
    return values.mul_(_half(blocks, 0)).add_(_half(blocks, 2)).reshape(-1)


def _half(blocks: Tensor, at: int) -> Tensor:
    """Return the float16 number at a place in each block, ``[blocks, 1]`` float32."""
    return blocks[:, at : at + 2].contiguous().view(torch.float16).float()


def load_gguf(path: str | Path, dtype: torch.dtype = torch.float32) -> tuple[Llama, Any]:
    """Load a file's model and tokenizer.

    Args:
        path: The file.
        dtype: Of the model's weights.

    Returns:
        The model and transformers' PreTrainedTokenizerFast.

    Raises:
        UsageError: If the file is damaged or holds what is not supported.
        MissingPackage: If transformers is not installed.
    """
    file = read_gguf(path)
    tokenizer = gguf_tokenizer(file)
    model = Llama.unfilled(gguf_config(file, tokenizer), dtype)
    wanted = dict(model.named_parameters())
    names = {name: _our_name(name) for name in file.tensors}
    if set(names.values()) - {None} != set(wanted):
        odd = sorted(set(wanted) ^ (set(names.values()) - {None}))  # type: ignore[type-var]
        raise UsageError(f"{file.path}: the weights are not those of a Llama model ('{odd[0]}')")
    with torch.no_grad():
        for name, own in names.items():
            if own is not None:
                weight, target = file.tensor(name), wanted[own]
                if own.endswith(("q_proj.weight", "k_proj.weight")):
                    weight = _halves(weight, model.config.head_dim)
                if weight.shape != target.shape:
                    raise UsageError(f"{file.path}: '{name}' has shape {list(weight.shape)}, not {list(target.shape)}")
                target.copy_(weight)
    return model, tokenizer


def gguf_config(file: Gguf, tokenizer: Any) -> LlamaConfig:
    """Return the sizes that a file names.

    Raises:
        UsageError: If it holds another architecture than Llama.
    """
    kind, told = file.metadata.get("general.architecture"), file.metadata
    if (
        kind != "llama"
        or any(key.startswith("llama.rope.scaling") for key in told)
        or "rope_freqs.weight" in file.tensors
    ):
        raise UsageError(f"{file.path} holds a model of kind '{kind}', or scaled positions: only plain 'llama' is read")
    try:
        heads = int(told["llama.attention.head_count"])
        return LlamaConfig(
            vocab_size=file.tensors["token_embd.weight"][0][0],
            hidden_size=int(told["llama.embedding_length"]),
            intermediate_size=int(told["llama.feed_forward_length"]),
            num_hidden_layers=int(told["llama.block_count"]),
            num_attention_heads=heads,
            num_key_value_heads=int(told.get("llama.attention.head_count_kv", heads)),
            head_dim=int(told.get("llama.attention.key_length", 0)),
            max_position_embeddings=int(told["llama.context_length"]),
            # stored as float32; the shortest decimal is what was meant
            rms_norm_eps=float(str(np.float32(told["llama.attention.layer_norm_rms_epsilon"]))),
            rope_theta=float(told.get("llama.rope.freq_base", 10000.0)),
            tie_word_embeddings="output.weight" not in file.tensors,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    except (KeyError, TypeError, ValueError) as problem:
        raise UsageError(f"{file.path} does not say how large its model is: {problem}") from problem


def gguf_tokenizer(file: Gguf) -> Any:
    """Make the tokenizer that a file describes, chat template included.

    Raises:
        UsageError: If it is of another kind than byte-level BPE with GPT-2's or SmolLM's splitting.
        MissingPackage: If transformers is not installed.
    """
    tokenizers, transformers = text_package("tokenizers"), text_package("transformers")
    told = {key.removeprefix("tokenizer.ggml."): value for key, value in file.metadata.items()}
    kind, split = told.get("model"), told.get("pre", "default")
    if kind != "gpt2" or split not in ("default", "gpt-2", "smollm"):
        raise UsageError(f"{file.path}: its tokenizer ({kind}, {split}) is not one of GPT-2's or SmolLM's kind")
    words = told["tokens"]
    merges = [tuple(merge.split(" ", 1)) for merge in told["merges"]]
    own = tokenizers.Tokenizer(tokenizers.models.BPE({word: i for i, word in enumerate(words)}, merges))
    steps = [tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=bool(told.get("add_space_prefix", False)))]
    if (
        split == "smollm"
    ):  # every digit is a token, as in training; transformers' own reading of GGUF files forgets this
        steps.insert(0, tokenizers.pre_tokenizers.Digits(individual_digits=True))
    own.pre_tokenizer = tokenizers.pre_tokenizers.Sequence(steps)
    own.decoder = tokenizers.decoders.ByteLevel()
    marks = {name: told.get(f"{long}_token_id") for name, long in _MARKS.items()}
    special = [words[i] for i, kind in enumerate(told.get("token_type", [])) if kind == _CONTROL]
    own.add_special_tokens([tokenizers.AddedToken(word, special=True, normalized=False) for word in special])
    if told.get("add_bos_token") and marks["bos_token"] is not None:
        number = marks["bos_token"]
        own.post_processor = tokenizers.processors.TemplateProcessing(
            single=f"{words[number]} $A", special_tokens=[(words[number], number)]
        )
    named = {name: words[number] for name, number in marks.items() if number is not None}
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=own, **named)
    tokenizer.chat_template = told.get("tokenizer.chat_template")
    return tokenizer


_MARKS = {"bos_token": "bos", "eos_token": "eos", "unk_token": "unknown", "pad_token": "padding"}


def _our_name(name: str) -> str | None:
    """Return the name of a tensor in ``Llama``, None for what is not a weight."""
    parts = name.split(".")
    if parts[0] == "blk" and len(parts) == 4 and parts[2] in _LAYER_NAMES:
        return f"model.layers.{parts[1]}.{_LAYER_NAMES[parts[2]]}.weight"
    return None if name == "rope_freqs.weight" else _OTHER_NAMES.get(name, name)


def _halves(weight: Tensor, width: int) -> Tensor:
    """Undo the order of rows for rotations of neighbours (x_0, x_1): here halves are rotated (x_0, x_{E/2})."""
    heads = weight.shape[0] // width
    return weight.view(heads, width // 2, 2, -1).transpose(1, 2).reshape(weight.shape)
