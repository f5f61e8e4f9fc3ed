"""A Llama-style language model: rotary positions, grouped key-value heads, gated feed-forward, RMS norms.

The parameters carry Hugging Face's names (``LlamaForCausalLM``), so a state dict moves either way unchanged; the passes are
our own: a layer forward and backward in ``llama_layer.py``, token by token with a cache in ``llama_decoder.py``. Padding may
stand on either side and changes nothing: positions count real tokens.

Axes: B sequences, T tokens, V vocabulary, D width, H query heads, K key-value heads, E width of a head.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cumulant.errors import ConfigError
from cumulant.nn.llama_decoder import Decoder
from cumulant.nn.llama_layer import MATRICES, NO_ADAPTERS, Adapter, Frame, LayerPass, Weights, joined, layer
from cumulant.nn.token_logp import token_logp, wanted_tokens


@dataclass(frozen=True)
class LlamaConfig:
    """The shape of a model; fields are named as in Hugging Face's ``config.json``.

    Raises:
        ConfigError: If sizes do not fit together (names them).

    >>> LlamaConfig(vocab_size=64, hidden_size=32, intermediate_size=88, num_hidden_layers=2, num_attention_heads=4).head_dim
    8
    """

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int = 0  # 0: as many as there are query heads
    head_dim: int = 0  # 0: hidden_size / num_attention_heads
    max_position_embeddings: int = 2048
    rms_norm_eps: float = 1e-6
    rope_theta: float = 10000.0
    rope_scaling: Mapping[str, Any] | None = None  # only Llama 3's kind
    initializer_range: float = 0.02
    tie_word_embeddings: bool = False
    bos_token_id: int | None = None
    eos_token_id: int | None = None
    pad_token_id: int | None = None

    def __post_init__(self) -> None:
        if not self.num_key_value_heads:
            object.__setattr__(self, "num_key_value_heads", self.num_attention_heads)
        if not self.head_dim:
            object.__setattr__(self, "head_dim", self.hidden_size // self.num_attention_heads)
        if self.hidden_size % self.num_attention_heads or self.num_attention_heads % self.num_key_value_heads:
            raise ConfigError(
                f"hidden_size {self.hidden_size} must be a multiple of num_attention_heads {self.num_attention_heads}, "
                f"and that of num_key_value_heads {self.num_key_value_heads}"
            )
        if self.head_dim % 2:
            raise ConfigError(f"head_dim is {self.head_dim}: rotary positions need an even one")

    @classmethod
    def from_hub(cls, settings: Mapping[str, Any]) -> LlamaConfig | None:
        """Read the contents of a ``config.json``.

        Returns:
            The configuration, or None if it asks for something that this file does not compute (another architecture, biases,
            another activation, another kind of position scaling).
        """
        rope = dict(settings.get("rope_parameters") or {})
        scaling = dict(settings.get("rope_scaling") or {}) or rope
        kind = scaling.get("rope_type", scaling.get("type", "default"))
        plain = (
            settings.get("model_type") == "llama"
            and settings.get("hidden_act", "silu") == "silu"
            and not settings.get("attention_bias")
            and not settings.get("mlp_bias")
            and not settings.get("attention_dropout")
            and kind in ("default", "llama3")
            and "rms_norm_eps" in settings
        )
        if not plain:
            return None
        known = {field.name for field in fields(cls)} - {"rope_theta", "rope_scaling"}
        values = {name: settings[name] for name in known & set(settings) if settings[name] is not None}
        if isinstance(
            values.get("eos_token_id"), list
        ):  # several end marks: the first; generation_config.json keeps them all
            values["eos_token_id"] = values["eos_token_id"][0]
        theta = rope.get("rope_theta", settings.get("rope_theta", 10000.0))
        return cls(**values, rope_theta=float(theta), rope_scaling=scaling if kind == "llama3" else None)

    def to_hub(self, dtype: torch.dtype = torch.float32) -> dict[str, Any]:
        """Return what belongs into a ``config.json`` that any version of transformers reads."""
        settings = asdict(self)
        rope = {**(dict(self.rope_scaling) if self.rope_scaling else {"rope_type": "default"})}
        settings["rope_scaling"] = dict(self.rope_scaling) if self.rope_scaling else None
        settings["rope_parameters"] = {**rope, "rope_theta": self.rope_theta}
        return {
            "architectures": ["LlamaForCausalLM"], "model_type": "llama", **settings, "hidden_act": "silu",
            "attention_bias": False, "mlp_bias": False, "attention_dropout": 0.0, "dtype": str(dtype).removeprefix("torch."),
            "torch_dtype": str(dtype).removeprefix("torch."),
        }  # fmt: skip


class Weight(nn.Module):
    """One weight, uninitialised, under the name that Hugging Face gives it."""

    def __init__(self, *shape: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(shape))


class Layer(nn.Module):
    """The weights of one layer: attention, then the gated feed-forward network, each after a norm."""

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        width, inner = config.hidden_size, config.intermediate_size
        query, pair = config.num_attention_heads * config.head_dim, config.num_key_value_heads * config.head_dim
        self.self_attn: Any = nn.Module()
        self.self_attn.q_proj, self.self_attn.k_proj = Weight(query, width), Weight(pair, width)
        self.self_attn.v_proj, self.self_attn.o_proj = Weight(pair, width), Weight(width, query)
        self.mlp: Any = nn.Module()
        self.mlp.gate_proj, self.mlp.up_proj = Weight(inner, width), Weight(inner, width)
        self.mlp.down_proj = Weight(width, inner)
        self.input_layernorm, self.post_attention_layernorm = Weight(width), Weight(width)
        self.lora: nn.Module | None = None

    def parts(self) -> tuple[nn.Parameter, ...]:
        """Return the parameters: norm, queries, keys, values, output, norm, gate, up, down."""
        a, m = self.self_attn, self.mlp
        modules = (
            self.input_layernorm, a.q_proj, a.k_proj, a.v_proj, a.o_proj,
            self.post_attention_layernorm, m.gate_proj, m.up_proj, m.down_proj,
        )  # fmt: skip
        return tuple(module.weight for module in modules)

    def weights(self) -> Weights:
        """Return the weights as the passes use them: without a copy after ``join``."""
        norm1, q, k, v, out, norm2, gate, up, down = (part.detach() for part in self.parts())
        return Weights(norm1, joined(q, k, v), out, norm2, joined(gate, up), down)

    def join(self) -> None:
        """Move weights that are used together into one block of memory each, of which the parameters are views."""
        for group in (self.parts()[1:4], self.parts()[6:8]):
            block = joined(*(part.detach() for part in group))
            for part, piece in zip(group, block.split([len(part) for part in group])):
                part.data = piece


class Llama(nn.Module):
    """A decoder-only language model.

    Args:
        config: Its shape.
        generator: Source of the initial weights; without one they stay undefined until they are loaded (see ``unfilled``).

    Attributes:
        checkpointing: Whether to keep only what enters each layer for the backward pass and compute the rest again: less
            memory, a third more time.
        adapters_on: Whether adapters (``nn.lora``), if there are any, take part.
    """

    def __init__(self, config: LlamaConfig, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.config = config
        self.checkpointing, self.adapters_on = False, True
        self.model: Any = nn.Module()
        self.model.embed_tokens = Weight(config.vocab_size, config.hidden_size)
        self.model.layers = nn.ModuleList(Layer(config) for _ in range(config.num_hidden_layers))
        self.model.norm = Weight(config.hidden_size)
        if not config.tie_word_embeddings:
            self.lm_head = Weight(config.vocab_size, config.hidden_size)
        self._rope: tuple[Tensor, Tensor] | None = None
        self._join()
        if generator is not None:
            self.draw(generator)

    @classmethod
    def unfilled(cls, config: LlamaConfig, dtype: torch.dtype) -> Llama:
        """Return a model to load weights into, which were never there in float32: that would leave holes in the memory."""
        with torch.device("meta"):
            model = cls(config)
        return model.to(dtype).to_empty(device="cpu")

    def _apply(self, *args: Any, **kwargs: Any) -> Llama:
        """Move or convert all parameters, then join again what that took apart."""
        super()._apply(*args, **kwargs)
        self._join()
        return self

    def _join(self) -> None:
        for part in self.model.layers:
            part.join()

    @torch.no_grad()
    def draw(self, generator: torch.Generator) -> None:
        """Give every weight a new initial value: normal with deviation ``initializer_range``, norms 1."""
        for part in self.parameters():
            if part.dim() == 1:
                part.fill_(1.0)
            else:
                part.normal_(0.0, self.config.initializer_range, generator=generator)

    @property
    def head(self) -> Tensor:
        """The matrix that turns a hidden state into logits, ``[V, D]``; the embeddings if they are tied."""
        return self.model.embed_tokens.weight if self.config.tie_word_embeddings else self.lm_head.weight

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
        """Run the layers ``start`` to ``stop`` (exclusive), all by default.

        Args:
            ids: Tokens, ``[B, T]`` int64.
            mask: False at padding, on either side or in between, ``[B, T]`` bool; without it every token is real.
            start: First layer.
            stop: Layer to stop before; None for all of them and the final norm.
            hidden: What layer ``start`` reads, ``[B, T, D]``, instead of the embeddings of ``ids``.
            segments: Number of the text that a token belongs to, ``[B, T]`` int: a token sees only its own text, and positions
                count from that text's start. For several texts packed into one row, each in consecutive columns.

        Returns:
            Hidden states, ``[B, T, D]``; what stands at padding is finite and means nothing.

        Raises:
            ConfigError: If there are more tokens than the model reads.
        """
        frame = self.frame(len(ids), *self.layout(ids, mask, segments))
        x = F.embedding(ids, self.model.embed_tokens.weight) if hidden is None else hidden
        x = x.reshape(-1, x.shape[-1])
        for index in range(start, self.config.num_hidden_layers if stop is None else stop):
            x = self._run(self.model.layers[index], frame, x)
        if stop is None:
            x = F.rms_norm(x, (x.shape[-1],), self.model.norm.weight, self.config.rms_norm_eps)
        return x.view(*ids.shape, -1)

    def _run(self, own: Layer, frame: Frame, x: Tensor) -> Tensor:
        """Run one layer, ``[N, D] -> [N, D]``."""
        adapters, trained, scale = self.adapters(own)
        parameters = (*own.parts(), *trained)
        if torch.is_grad_enabled() and any(part.requires_grad for part in (x, *parameters)):
            return LayerPass.apply(frame, own.weights(), adapters, scale, x, *parameters)  # type: ignore[no-untyped-call]
        return layer(frame, own.weights(), adapters, x)[0]

    def adapters(self, own: Layer) -> tuple[tuple[Adapter, ...], tuple[nn.Parameter, ...], float]:
        """Return a layer's adapters as the passes use them, their parameters, and what b is scaled by."""
        lora: Any = own.lora
        if lora is None or not self.adapters_on:
            return NO_ADAPTERS, (), 1.0
        pairs = [(getattr(lora, f"{name}_a"), getattr(lora, f"{name}_b")) for name in MATRICES]
        dtype = self.model.embed_tokens.weight.dtype
        cast = tuple((a.detach().to(dtype), (b.detach() * lora.scale).to(dtype)) for a, b in pairs)
        return cast, tuple(part for pair in pairs for part in pair), lora.scale

    def logits(self, hidden: Tensor) -> Tensor:
        """Score every token of the vocabulary as the next one, ``[..., D] -> [..., V]``."""
        # A strided view falls off the fast path of bf16 products: 5 to 9 s instead of 0.3 s at a vocabulary of 49k.
        rows = hidden.reshape(-1, hidden.shape[-1])
        return F.linear(rows, self.head).view(*hidden.shape[:-1], self.config.vocab_size)

    def decoder(self) -> Decoder:
        """Return what reads and writes token by token with the present weights, adapters merged in."""
        return Decoder(self)

    def frame(self, rows: int, positions: Tensor, bias: Tensor) -> Frame:
        """Return what all layers share, for positions ``[B or 1, T]`` and what is added to scores."""
        c = self.config
        cos, sin = self.rotation(positions)
        keep = not self.checkpointing
        return Frame(
            rows, c.num_attention_heads, c.num_key_value_heads, c.head_dim, c.rms_norm_eps, cos, sin, bias, keep
        )

    def layout(self, ids: Tensor, mask: Tensor | None = None, segments: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return positions ``[B or 1, T]`` and what is added to attention scores, ``[B or 1, 1, T, T]``."""
        length = ids.shape[1]
        columns = torch.arange(length, device=ids.device)
        positions, seen = columns[None], (columns[None, :] <= columns[:, None])[None, None]
        if mask is not None and not bool(mask.all()):
            positions = (mask.long().cumsum(1) - 1).clamp(min=0)
            seen = seen & mask[:, None, None, :]
        if segments is not None:
            seen = seen & (segments[:, :, None] == segments[:, None, :])[:, None]
            first = torch.ones_like(segments, dtype=torch.bool)
            first[:, 1:] = segments[:, 1:] != segments[:, :-1]
            counted = positions.expand_as(segments)
            positions = counted - torch.where(first, counted, 0).cummax(1).values
        return positions, self.bias(seen)

    def bias(self, seen: Tensor) -> Tensor:
        """Turn what may be seen into what is added to scores: finite, so that a token that sees nothing is not NaN."""
        dtype = self.model.embed_tokens.weight.dtype
        bias = torch.zeros(seen.shape, dtype=dtype, device=seen.device)
        return bias.masked_fill_(~seen, torch.finfo(dtype).min / 2)

    def rotation(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Return cosines and sines of the rotary angles, as in ``Frame``."""
        dtype, device = self.model.embed_tokens.weight.dtype, positions.device
        if self._rope is None or self._rope[0].dtype != dtype or self._rope[0].device != device:
            angle = torch.outer(torch.arange(self.config.max_position_embeddings).float(), self._frequencies())
            angle = torch.cat([angle, angle], -1)
            sin = angle.sin()
            sin[:, : sin.shape[1] // 2].neg_()
            self._rope = angle.cos().to(device, dtype), sin.to(device, dtype)
        if positions.shape[1] > self.config.max_position_embeddings:
            raise ConfigError(
                f"a text of {positions.shape[1]} tokens: the model reads at most {self.config.max_position_embeddings} "
                "(max_position_embeddings in its config.json)"
            )
        cos, sin = self._rope
        return cos[positions][:, None], sin[positions][:, None]

    def _frequencies(self) -> Tensor:
        """Return the speed at which each pair of a head's numbers rotates, radians a token, ``[E / 2]``."""
        config, scaling = self.config, self.config.rope_scaling
        speed = 1.0 / config.rope_theta ** (torch.arange(0, config.head_dim, 2).float() / config.head_dim)
        if scaling is None:
            return speed
        # Llama 3: slow rotations are slowed further by `factor`, fast ones stay, in between a blend.
        factor, low, high = float(scaling["factor"]), scaling["low_freq_factor"], scaling["high_freq_factor"]
        turns = scaling["original_max_position_embeddings"] * speed / (2 * math.pi)
        blend = ((turns - low) / (high - low)).clamp(0.0, 1.0)
        return (1 - blend) * speed / factor + blend * speed

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
        """Return the log-probability of each token given those before it.

        Args:
            ids: Tokens, ``[B, T]``.
            mask: False at padding, ``[B, T]`` bool.
            first: First column whose token counts (the completion's), one for all or one a row ``[B]``.
            temperature: What the logits are divided by.
            segments: As in ``hidden``; a segment's first token has nothing before it and counts 0.
            start: As in ``hidden``.
            hidden: As in ``hidden``.

        Returns:
            Log-probabilities, ``[B, T-1]``: column j is that of ``ids[:, j + 1]``; 0 where the token is padding or before
            ``first``.
        """
        states = self.hidden(ids, mask, start=start, hidden=hidden, segments=segments)
        return token_logp(self, states, ids, wanted_tokens(ids, mask, first, segments), temperature)[0]
