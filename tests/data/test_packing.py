"""Rows of tokens: nothing is lost or joined, rows are few, and any step can be asked for."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cumulant.data.packing import Tokens, batch_at, best_fit, order, pack, pad
from cumulant.errors import DataError

CONTEXT = 12
texts_of = st.lists(st.lists(st.integers(1, 99), min_size=1, max_size=CONTEXT), min_size=1, max_size=30)


def tokens(lists):
    return [Tokens(np.array(ids, dtype=np.int32), np.arange(len(ids)) > len(ids) // 2) for ids in lists]


@given(texts_of)
def test_packing_keeps_every_text_whole_once_and_apart(lists):
    texts = tokens(lists)
    batch = pack(texts, CONTEXT, pad_id=0)
    found = []
    for ids, mask, loss, segments in zip(batch.ids, batch.mask, batch.loss_mask, batch.segments):
        assert torch.equal(mask, segments > 0)
        assert (ids[~mask] == 0).all()
        assert not loss[~mask].any()
        assert (segments[mask].diff() >= 0).all()  # texts stand one after another, padding behind
        assert (mask.int().diff() <= 0).all()
        for number in range(1, int(segments.max()) + 1):
            found.append((ids[segments == number].tolist(), loss[segments == number].tolist()))
    assert sorted(found) == sorted((text.ids.tolist(), text.loss.tolist()) for text in texts)


@given(texts_of)
def test_rows_are_few(lists):
    lengths = [len(ids) for ids in lists]
    bins = best_fit(lengths, CONTEXT)
    assert sorted(item for members in bins for item in members) == list(range(len(lengths)))
    loads = [sum(lengths[item] for item in members) for members in bins]
    assert max(loads) <= CONTEXT
    least = -(-sum(lengths) // CONTEXT)
    assert len(bins) <= 11 / 9 * least + 4  # the bound of decreasing best fit (Johnson 1974)
    assert sum(load * 2 <= CONTEXT for load in loads) <= 1  # two half-empty rows would have been one


def test_the_fullest_row_that_takes_it_is_taken():
    assert best_fit([7, 6, 4, 3, 2], 10) == [[0, 3], [1, 2], [4]]
    assert best_fit([7, 6, 3, 3], 10) == [[0, 2], [1, 3]]  # the first 3 goes where it leaves nothing


def test_a_text_that_fits_no_row_is_named():
    with pytest.raises(DataError, match="text 2 has 5 tokens: a row takes 1 to 4"):
        best_fit([3, 5], 4)
    with pytest.raises(DataError, match="text 1 has 0 tokens"):
        best_fit([0], 4)


@given(texts_of, st.sampled_from(["left", "right"]))
def test_padding_keeps_every_text_on_its_row(lists, side):
    texts = tokens(lists)
    batch = pad(texts, 0, side)
    assert batch.ids.shape == (len(lists), max(map(len, lists)))
    assert batch.segments is None
    for ids, mask, loss, text in zip(batch.ids, batch.mask, batch.loss_mask, texts):
        assert ids[mask].tolist() == text.ids.tolist()
        assert loss[mask].tolist() == text.loss.tolist()
        assert (ids[~mask] == 0).all()
        assert not loss[~mask].any()
        assert mask[0 if side == "right" else -1]


@given(st.integers(1, 20), st.integers(1, 30), st.integers(0, 2**63 - 1))
def test_every_row_comes_once_an_epoch_and_a_step_needs_none_before_it(rows, batch_size, seed):
    steps = [order(rows, batch_size, step, seed) for step in range(8)]
    assert all(len(step) == batch_size for step in steps)
    flat = np.concatenate(steps)
    for epoch in range(len(flat) // rows):
        assert sorted(flat[epoch * rows : (epoch + 1) * rows]) == list(range(rows))
    assert np.array_equal(order(rows, batch_size, 5, seed), steps[5])


def test_epochs_and_seeds_differ():
    orders = [order(50, 50, step, seed).tolist() for step in (0, 1) for seed in (0, 1)]
    assert len({tuple(o) for o in orders}) == 4


def test_a_batch_has_the_rows_of_its_step():
    batch = pack(tokens([[n] * CONTEXT for n in range(1, 7)]), CONTEXT, 0)
    drawn = batch_at(batch, 4, 3, seed=1)
    expected = order(6, 4, 3, seed=1) + 1
    assert drawn.ids[:, 0].tolist() == expected.tolist()
    assert len(drawn) == len(drawn.mask) == len(drawn.loss_mask) == len(drawn.segments) == 4
    assert drawn.to("cpu").ids.tolist() == drawn.ids.tolist()
