"""Pairs as tokens: each response once, and batches of like length that any step can be asked for."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from cumulant.data.packing import Tokens
from cumulant.data.pair_tokens import few_responses, length_order, tokenize_pairs
from cumulant.data.preferences import Pair


def encode(prompt: str, response: str, where: str) -> Tokens:
    ids = np.frombuffer((prompt + response).encode(), dtype=np.uint8).astype(np.int32)
    return Tokens(ids, np.zeros(len(ids), dtype=bool))


def test_a_response_is_tokenised_once_for_each_prompt() -> None:
    pairs = [
        Pair("p", "long answer", "no", 1.5, 0.75),
        Pair("p", "no", "other"),
        Pair("q", "no", "long answer", share=0.5),
    ]
    tokens = tokenize_pairs(pairs, encode)
    assert len(tokens) == 3
    assert ["".join(map(chr, text.ids)) for text in tokens.texts] == [
        "plong answer",
        "pno",
        "pother",
        "qno",
        "qlong answer",
    ]
    assert tokens.chosen.tolist() == [0, 1, 3]
    assert tokens.rejected.tolist() == [1, 2, 4]
    assert tokens.share.tolist() == [0.75, 1.0, 0.5]
    assert tokens.margin.tolist() == [1.5, 0.0, 0.0]
    assert tokens.length.tolist() == [12, 6, 12]


def test_few_responses_keeps_every_pair_among_them() -> None:
    generator = np.random.default_rng(0)
    pairs = [Pair("", str(a), str(b)) for a, b in generator.integers(0, 40, (300, 2)) if a != b]
    kept = few_responses(pairs, 10)
    names = {text for pair in kept for text in (pair.chosen, pair.rejected)}
    assert len(names) == 10
    assert len(kept) > 5
    first_complete = next(
        i for i in range(len(pairs)) if len({t for p in pairs[: i + 1] for t in (p.chosen, p.rejected)}) >= 10
    )
    later = [pair for pair in pairs[first_complete + 2 :] if {pair.chosen, pair.rejected} <= names]
    assert set(later) <= set(kept)
    assert few_responses(pairs, 0) == pairs


@settings(deadline=None, max_examples=40, derandomize=True, database=None)
@given(st.integers(1, 200), st.integers(1, 20), st.integers(0, 5))
def test_an_epoch_holds_every_row_at_most_once(rows: int, batch_size: int, seed: int) -> None:
    length = np.random.default_rng(seed).integers(1, 50, rows)
    size = min(batch_size, rows)
    batches = [length_order(length, batch_size, step, seed) for step in range(rows // size)]
    taken = np.concatenate(batches)
    assert all(len(batch) == size for batch in batches)
    assert len(set(taken.tolist())) == len(taken) >= rows - size + 1


def test_batches_are_of_like_length_and_epochs_differ() -> None:
    length = np.random.default_rng(0).integers(1, 100, 512)
    batches = [length_order(length, 8, step, 3) for step in range(128)]
    spread = np.mean([np.ptp(length[batch]) for batch in batches])
    assert spread < 0.25 * np.mean([np.ptp(length[i : i + 8]) for i in range(0, 512, 8)])
    assert [length[batch].mean() for batch in batches[:10]] != sorted(length[batch].mean() for batch in batches[:10])
    assert sorted(map(tuple, batches[:64])) != sorted(map(tuple, batches[64:]))
    assert np.array_equal(length_order(length, 8, 100, 3), batches[100])
