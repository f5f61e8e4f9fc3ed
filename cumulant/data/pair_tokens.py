"""Pairs of responses as tokens: each response once, however many pairs it is in, and batches of like length.

Axes: P pairs, N distinct responses, B responses of a batch, T tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from cumulant.data.packing import Tokens
from cumulant.data.preferences import Pair

_BATCHES = 16  # that are drawn at random together, then sorted by length among themselves


@dataclass(frozen=True)
class PairTokens:
    """Pairs over a list of distinct responses.

    Args:
        texts: Prompt and response of each, N.
        chosen: Which of them was preferred, ``[P]`` int64.
        rejected: Which was not, ``[P]`` int64.
        share: Fraction of the raters for the chosen one, ``[P]`` float64.
        margin: How much better it was rated, 0 where nobody said, ``[P]`` float64.
    """

    texts: Sequence[Tokens]
    chosen: np.ndarray
    rejected: np.ndarray
    share: np.ndarray
    margin: np.ndarray

    def __len__(self) -> int:
        return len(self.chosen)

    @property
    def length(self) -> np.ndarray:
        """Tokens of the longer response of each pair, ``[P]``."""
        length = np.array([len(text.ids) for text in self.texts])
        return np.maximum(length[self.chosen], length[self.rejected])


def few_responses(pairs: Sequence[Pair], most: int) -> list[Pair]:
    """Return the pairs among the first ``most`` responses, all for 0: reading a response costs more than comparing it.

    >>> pairs = [Pair("", "a", "b"), Pair("", "c", "d"), Pair("", "b", "a"), Pair("", "a", "e")]
    >>> [(pair.chosen, pair.rejected) for pair in few_responses(pairs, 2)]
    [('a', 'b'), ('b', 'a')]
    """
    known: set[tuple[str, str]] = set()
    kept = []
    for pair in pairs:
        both = {(pair.prompt, pair.chosen), (pair.prompt, pair.rejected)}
        if most == 0 or len(known | both) <= most:
            known |= both
            kept.append(pair)
    return kept


def tokenize_pairs(pairs: Sequence[Pair], encode: Callable[[str, str, str], Tokens]) -> PairTokens:
    """Tokenise every response once.

    Args:
        pairs: At least one.
        encode: Called with prompt, response and the place that a message names.
    """
    index: dict[tuple[str, str], int] = {}
    texts: list[Tokens] = []
    sides: list[tuple[int, int]] = []
    for pair in pairs:
        places = []
        for response in (pair.chosen, pair.rejected):
            if (key := (pair.prompt, response)) not in index:
                index[key] = len(texts)
                texts.append(encode(pair.prompt, response, pair.where))
            places.append(index[key])
        sides.append((places[0], places[1]))
    chosen, rejected = np.array(sides, dtype=np.int64).reshape(-1, 2).T
    share = np.array([pair.share for pair in pairs])
    margin = np.array([pair.margin or 0.0 for pair in pairs])
    return PairTokens(texts, chosen, rejected, share, margin)


def length_order(length: np.ndarray, batch_size: int, step: int, seed: int) -> np.ndarray:
    """Return which rows the batch of a step holds: random ones of like length, so that little is padding.

    An epoch is a permutation, cut into stretches of some batches; a stretch is sorted by length, cut into batches, and these
    come in random order. Any step can be asked for without those before. Rows that do not fill a batch at the end of an epoch
    wait for another one, in which they stand elsewhere.

    Args:
        length: Of each row, ``[P]``.
        batch_size: Rows of a batch; all of them if there are fewer.
        step: From 0.
        seed: Such as ``run.seed_for("order")``.

    Returns:
        Indices, at most ``[batch_size]`` int64.

    >>> length = np.array([3, 30, 4, 31])
    >>> sorted(sorted(length[length_order(length, 2, step, seed=0)].tolist()) for step in (0, 1))
    [[3, 4], [30, 31]]
    """
    batch_size = min(batch_size, len(length))
    epoch, place = divmod(step, len(length) // batch_size)
    generator = np.random.default_rng([seed, epoch])
    shuffled = generator.permutation(len(length))[: len(length) // batch_size * batch_size]
    stretches = [shuffled[i : i + _BATCHES * batch_size] for i in range(0, len(shuffled), _BATCHES * batch_size)]
    together = np.concatenate([part[np.argsort(length[part], kind="stable")] for part in stretches])
    return together.reshape(-1, batch_size)[generator.permutation(len(together) // batch_size)[place]]
