"""Write with a Llama model token by token: keys and values of what was read are kept, so a new token costs one column.

Axes: B sequences, T new tokens, S columns of the cache, V vocabulary, D width, H query heads, K key-value heads, E head width.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from cumulant.nn.llama_layer import MATRICES, Weights, layer, normalise, softmax, swapped
from cumulant.nn.products import linear, packed, sums_rows_fast, weighted_rows

if TYPE_CHECKING:
    from cumulant.nn.llama import Llama


class Decoder:
    """What a model needs to write: its weights as they are now, adapters merged in, and room for keys and values.

    Args:
        model: Changes to it after this do not count.

    Attributes:
        used: Columns of the cache that are filled.
    """

    @torch.no_grad()
    def __init__(self, model: Llama) -> None:
        self.model, self.config = model, model.config
        self.weights = [merged_weights(model, index) for index in range(self.config.num_hidden_layers)]
        self.head, self.norm = model.head.detach(), model.model.norm.weight.detach()
        self.used = 0
        self.quick: list[Weights] = []  # the same, packed

    @torch.no_grad()
    def start(self, rows: int, columns: int) -> None:
        """Make room for ``columns`` tokens of ``rows`` sequences and forget all before."""
        c, like = self.config, self.head
        if not self.quick:
            for weights in self.weights:
                matrices = {name: packed(getattr(weights, name), rows) for name in MATRICES}
                self.quick.append(weights._replace(**matrices))
            self.quick_head = packed(self.head, rows)
        groups = rows * c.num_key_value_heads
        kind: dict[str, Any] = {"dtype": like.dtype, "device": like.device}
        # Keys stand on their side: a query's product with them then runs along the columns, twice as fast or more.
        self.keys = [torch.empty(groups, c.head_dim, columns, **kind) for _ in self.weights]
        self.values = [torch.empty(groups, columns, c.head_dim, **kind) for _ in self.weights]
        # Which rows of keys [B K E, S] and values [B K S, E] each query sums, [B H, E] and [B H, S]; None for products instead.
        self.sums: tuple[Tensor, Tensor] | None = None
        shared = c.num_attention_heads // c.num_key_value_heads
        if sums_rows_fast(shared, groups * shared, like):
            of = torch.arange(groups, dtype=torch.int32).repeat_interleave(shared)[:, None]
            width = c.head_dim
            self.sums = (
                of * width + torch.arange(width, dtype=torch.int32),
                of * columns + torch.arange(columns, dtype=torch.int32),
            )
        self.used = 0
        self.lengths: Tensor | None = None  # real tokens of each sequence, [B]; None if nothing is padding
        self.bias: Tensor | None = None  # [B, 1, S]

    @torch.no_grad()
    def read(self, ids: Tensor, mask: Tensor | None = None) -> Tensor:
        """Read the prompts: what comes first.

        Args:
            ids: Tokens, ``[B, T]``.
            mask: False at padding on the left (the last column is real), ``[B, T]`` bool.

        Returns:
            Logits after the last token, ``[B, V]``.
        """
        rows, columns = ids.shape
        frame = self.model.frame(rows, *self.model.layout(ids, mask))
        if mask is not None and not bool(mask.all()):
            self.lengths = mask.sum(1)
            seen = torch.ones(rows, 1, self.keys[0].shape[2], dtype=torch.bool, device=ids.device)
            seen[:, 0, :columns] = mask
            self.bias = self.model.bias(seen)
        x = F.embedding(ids, self.model.model.embed_tokens.weight.detach()).view(rows * columns, -1)
        for index, weights in enumerate(self.weights):
            x, kept = layer(frame, weights, (None,) * 4, x)
            self.keys[index][:, :, :columns] = kept.key.transpose(1, 2)
            self.values[index][:, :columns] = kept.value
        self.used = columns
        return self._logits(x.view(rows, columns, -1)[:, -1], self.head)

    @torch.no_grad()
    def extend(self, ids: Tensor) -> Tensor:
        """Read one more token of each sequence, ``[B]``, and return the logits after it, ``[B, V]``."""
        c, rows, column = self.config, len(ids), self.used
        heads, pairs, width = c.num_attention_heads, c.num_key_value_heads, c.head_dim
        position = torch.full((1, 1), column, device=ids.device) if self.lengths is None else self.lengths[:, None]
        cos, sin = (table[:, 0] for table in self.model.rotation(position))  # [B or 1, 1, E]
        stop = self.used = column + 1
        seen = None if self.sums is None else self.sums[1][:, :stop].contiguous()
        x = F.embedding(ids, self.model.model.embed_tokens.weight.detach())
        for weights, keys, values in zip(self.quick, self.keys, self.values):
            qkv = linear(normalise(x, weights.norm1, c.rms_norm_eps)[0], weights.qkv).view(rows, -1, width)
            turned = qkv[:, : heads + pairs]
            turned = swapped(turned).mul_(sin).addcmul_(turned, cos)
            keys.view(rows, pairs, width, -1)[..., column] = turned[:, heads:]
            values.view(rows, pairs, -1, width)[:, :, column] = qkv[:, heads + pairs :]
            query = turned[:, :heads] * width**-0.5
            mixed = self._attend(query, keys, values, stop, seen).view(rows, heads * width)
            x = linear(mixed, weights.out).add_(x)
            gate, up = linear(normalise(x, weights.norm2, c.rms_norm_eps)[0], weights.gate_up).chunk(2, -1)
            x = linear(F.silu(gate).mul_(up), weights.down).add_(x)
        if self.lengths is not None:
            self.lengths = self.lengths + 1
        return self._logits(x, self.quick_head)

    def _attend(self, query: Tensor, keys: Tensor, values: Tensor, stop: int, seen: Tensor | None) -> Tensor:
        """Mix the values of the first ``stop`` columns for one query of each head, ``[B, H, E] -> [B H, E]``."""
        rows, heads, width = query.shape
        if seen is None or self.sums is None:
            scores = torch.bmm(query.view(len(keys), -1, width), keys[:, :, :stop]).view(rows, heads, stop)
        else:
            whole = weighted_rows(keys.view(-1, keys.shape[2]), self.sums[0], query.view(-1, width))
            scores = whole[:, :stop].view(rows, heads, stop)  # the columns that follow are not written yet
        scores = softmax(scores if self.bias is None else scores.add_(self.bias[:, :, :stop]))
        if seen is None:
            return torch.bmm(scores.view(len(keys), -1, stop), values[:, :stop])
        return weighted_rows(values.view(-1, width), seen, scores.view(-1, stop))

    def keep(self, rows: Tensor) -> None:
        """Drop all sequences but these, ``[b]`` indices."""
        pairs = self.config.num_key_value_heads
        for cache, axis in ((self.keys, 3), (self.values, 2)):
            for index, old in enumerate(cache):
                apart = old.view(-1, pairs, *old.shape[1:])
                new = old.new_empty(len(rows), *apart.shape[1:])
                new.narrow(axis, 0, self.used).copy_(apart.narrow(axis, 0, self.used)[rows])
                cache[index] = new.view(-1, *old.shape[1:])
        if self.sums is not None:
            queries = len(rows) * self.config.num_attention_heads
            self.sums = self.sums[0][:queries], self.sums[1][:queries]
        self.lengths = None if self.lengths is None else self.lengths[rows]
        self.bias = None if self.bias is None else self.bias[rows]

    def _logits(self, x: Tensor, head: Tensor) -> Tensor:
        return linear(normalise(x.contiguous(), self.norm, self.config.rms_norm_eps)[0], head)


def merged_weights(model: Llama, index: int) -> Weights:
    """Return a layer's weights with its adapters added in; without adapters they are the parameters themselves."""
    own = model.model.layers[index]
    weights, (adapters, _, _) = own.weights(), model.adapters(own)
    if adapters[0] is None:
        return weights
    from cumulant.nn.lora import merge

    return merge(weights, own.lora)
