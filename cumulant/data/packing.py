"""Sequences of tokens as batches: padded or packed, in an order that any step can be asked for.

Axes: B rows, T tokens of a row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from cumulant.errors import DataError


@dataclass(frozen=True, slots=True)
class Tokens:
    """One tokenised text.

    Args:
        ids: Tokens, ``[T]`` int32.
        loss: Which of them are to be predicted, ``[T]`` bool; never the first, before which nothing stands.
        is_cut: Whether something was cut off its end, so that end-of-text is not there.
    """

    ids: np.ndarray
    loss: np.ndarray
    is_cut: bool = False


@dataclass(frozen=True)
class TokenBatch:
    """Rows of tokens.

    Args:
        ids: Tokens, ``[B, T]`` int64; a padding token where nothing is.
        mask: Whether there is a token, ``[B, T]`` bool.
        loss_mask: Whether a token is to be predicted from those before it in its text, ``[B, T]`` bool. The first token of a
            text never is, so a loss over this mask crosses no border between texts.
        segments: Which text of its row a token belongs to, counted from 1, 0 for padding, ``[B, T]`` int64; None where every
            row is one text.
    """

    ids: Tensor
    mask: Tensor
    loss_mask: Tensor
    segments: Tensor | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def rows(self, index: Tensor | np.ndarray | slice) -> TokenBatch:
        """Return some of the rows."""
        index = torch.from_numpy(index) if isinstance(index, np.ndarray) else index
        segments = None if self.segments is None else self.segments[index]
        return TokenBatch(self.ids[index], self.mask[index], self.loss_mask[index], segments)

    def to(self, device: str | torch.device) -> TokenBatch:
        """Return the batch on a device."""
        moved = {name: getattr(self, name).to(device) for name in ("ids", "mask", "loss_mask")}
        return replace(self, **moved, segments=None if self.segments is None else self.segments.to(device))


def pad(texts: Sequence[Tokens], pad_id: int, side: Literal["left", "right"] = "right") -> TokenBatch:
    """Put every text on a row of its own, as wide as the longest.

    Args:
        texts: At least one.
        pad_id: Token that fills the rest.
        side: Where the padding stands.

    >>> a, b = (Tokens(np.arange(n, dtype=np.int32), np.arange(n) > 0) for n in (1, 3))
    >>> pad([a, b], pad_id=9, side="left").ids
    tensor([[9, 9, 0],
            [0, 1, 2]])
    """
    width = max(len(text.ids) for text in texts)
    ids = np.full((len(texts), width), pad_id, dtype=np.int64)
    mask, loss = np.zeros((2, len(texts), width), dtype=bool)
    for row, text in enumerate(texts):
        place = slice(width - len(text.ids), width) if side == "left" else slice(len(text.ids))
        ids[row, place], mask[row, place], loss[row, place] = text.ids, True, text.loss
    return TokenBatch(torch.from_numpy(ids), torch.from_numpy(mask), torch.from_numpy(loss))


def pack(texts: Sequence[Tokens], context: int, pad_id: int) -> TokenBatch:
    """Put texts into as few rows as best-fit-decreasing finds, every one whole, with exact borders between them.

    Args:
        texts: At least one, none longer than ``context``.
        context: Tokens of a row.
        pad_id: Token that fills what is left of a row.

    Returns:
        Rows with ``segments``.

    Raises:
        DataError: If a text is longer than a row.

    >>> packed = pack([Tokens(np.full(n, n, dtype=np.int32), np.arange(n) > 0) for n in (2, 3, 2, 1)], context=4, pad_id=0)
    >>> packed.ids, packed.segments
    (tensor([[3, 3, 3, 1],
            [2, 2, 2, 2]]), tensor([[1, 1, 1, 2],
            [1, 1, 2, 2]]))
    """
    rows = best_fit([len(text.ids) for text in texts], context)
    ids = np.full((len(rows), context), pad_id, dtype=np.int64)
    segments = np.zeros((len(rows), context), dtype=np.int64)
    loss = np.zeros((len(rows), context), dtype=bool)
    for row, members in enumerate(rows):
        start = 0
        for number, member in enumerate(members, 1):
            place = slice(start, start + len(texts[member].ids))
            ids[row, place], segments[row, place], loss[row, place] = texts[member].ids, number, texts[member].loss
            start = place.stop
    mask = segments > 0
    return TokenBatch(torch.from_numpy(ids), torch.from_numpy(mask), torch.from_numpy(loss), torch.from_numpy(segments))


def best_fit(lengths: Sequence[int], capacity: int) -> list[list[int]]:
    """Share things out into bins: the longest first, each into the fullest bin that still takes it.

    Takes O(n log n): which amounts of room exist is kept as the bits of one integer.

    Args:
        lengths: Of each thing, 1 to ``capacity``.
        capacity: Of each bin.

    Returns:
        Which things are in each bin.

    Raises:
        DataError: If a length is not within 1 and ``capacity`` (message names it).

    >>> best_fit([2, 3, 2, 1], 4)
    [[1, 3], [0, 2]]
    """
    bins: list[list[int]] = []
    by_room: dict[int, list[int]] = {}
    rooms = 0  # bit r is set where a bin has room r
    for item in sorted(range(len(lengths)), key=lambda item: -lengths[item]):
        length = lengths[item]
        if not 1 <= length <= capacity:
            raise DataError(f"text {item + 1} has {length} tokens: a row takes 1 to {capacity}")
        enough = rooms >> length
        if enough:
            room = length + (enough & -enough).bit_length() - 1
            chosen = by_room[room].pop()
            if not by_room[room]:
                rooms &= ~(1 << room)
            bins[chosen].append(item)
        else:
            room, chosen = capacity, len(bins)
            bins.append([item])
        if room > length:
            by_room.setdefault(room - length, []).append(chosen)
            rooms |= 1 << (room - length)
    return bins


def order(rows: int, batch_size: int, step: int, seed: int) -> np.ndarray:
    """Return which rows the batch of a step holds, without having made those before: a resumed run asks for its step.

    Every epoch is a permutation of its own; batches are cut from epochs laid end to end, so all have the same size and every
    row comes once an epoch.

    Args:
        rows: How many there are.
        batch_size: Rows of a batch.
        step: From 0.
        seed: Such as ``run.seed_for("order")``.

    Returns:
        Indices, ``[batch_size]`` int64.

    >>> [order(4, 2, step, seed=0).tolist() for step in (0, 1)]
    [[2, 0], [1, 3]]
    """
    positions = np.arange(step * batch_size, (step + 1) * batch_size)
    epochs, places = np.divmod(positions, rows)
    return np.concatenate(
        [
            np.random.default_rng([seed, int(epoch)]).permutation(rows)[places[epochs == epoch]]
            for epoch in np.unique(epochs)
        ]
    )


def batch_at(rows: TokenBatch, batch_size: int, step: int, seed: int) -> TokenBatch:
    """Return the batch of a step; see `order`."""
    return rows.rows(order(len(rows), batch_size, step, seed))
