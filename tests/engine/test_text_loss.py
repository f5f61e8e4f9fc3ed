"""Losses of text: packed is padded, parts add up, less memory changes nothing, and bits are counted by hand."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional

from cumulant.data.packing import Tokens, pack, pad
from cumulant.engine.text_loss import HeldOut, micro_batches, text_loss
from cumulant.errors import DataError
from cumulant.nn.llama import Llama, LlamaConfig

SHAPE = LlamaConfig(
    vocab_size=31, hidden_size=16, intermediate_size=24, num_hidden_layers=3, num_attention_heads=2,
    max_position_embeddings=24, tie_word_embeddings=True, initializer_range=0.3,
)  # fmt: skip


@pytest.fixture
def model():
    """In float64, so that what is equal but for rounding is told from what is not."""
    return Llama(SHAPE, torch.Generator().manual_seed(0)).double()


@pytest.fixture
def texts():
    rng = np.random.default_rng(0)
    lengths = rng.integers(2, 12, 20)
    return [Tokens(rng.integers(0, 31, n).astype(np.int32), np.arange(n) >= max(1, n // 3)) for n in lengths]


def gradient(model, losses):
    model.zero_grad()
    for loss in losses:
        loss.backward()
    return torch.cat([part.grad.reshape(-1) for part in model.parameters()])


def test_it_is_the_plain_sum_over_texts(model, texts):
    count = sum(int(text.loss.sum()) for text in texts)
    expected = 0.0
    for text in texts:
        ids = torch.from_numpy(text.ids).long()[None]
        logits = model.logits(model.hidden(ids))[0, :-1]
        nats = functional.cross_entropy(logits, ids[0, 1:], reduction="none")
        expected = expected + nats[torch.from_numpy(text.loss[1:])].sum() / count
    by_hand = gradient(model, [expected])
    for batch in (pad(texts, 0), pad(texts, 0, side="left"), pack(texts, 24, 0)):
        loss = text_loss(model, batch, count)
        torch.testing.assert_close(loss, expected.detach(), rtol=1e-12, atol=0.0)
        torch.testing.assert_close(gradient(model, [loss]), by_hand, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("rows", [1, 3, 8])
def test_parts_of_a_batch_add_up_to_it(model, texts, rows):
    batch = pack(texts, 24, 0)
    count = int(batch.loss_mask.sum())
    whole = text_loss(model, batch, count)
    parts = [text_loss(model, part, count) for part in micro_batches(batch, rows)]
    assert len(parts) == math.ceil(len(batch) / rows)
    torch.testing.assert_close(sum(parts), whole, rtol=1e-13, atol=0.0)
    torch.testing.assert_close(gradient(model, parts), gradient(model, [whole]), rtol=1e-10, atol=1e-13)


def test_columns_that_are_padding_in_a_part_are_left_out(texts):
    widths = [part.ids.shape[1] for part in micro_batches(pad(texts, 0), 1)]
    assert widths == [len(text.ids) for text in texts]


def layers_that_keep(loss):
    """How many layers of the graph behind a loss hold more than what they read."""
    nodes, seen = [loss.grad_fn], set()
    while nodes:
        node = nodes.pop()
        if node is not None and node not in seen:
            seen.add(node)
            nodes += [before for before, _ in node.next_functions]
    layers = [node for node in seen if type(node).__name__ == "LayerPassBackward"]
    assert len(layers) == 3
    return sum(len(node.saved_tensors) > 1 for node in layers)


def test_recomputing_gives_the_same_loss_and_gradient_and_keeps_nothing(model, texts):
    batch = pack(texts, 24, 0)
    results = {}
    for recompute in (False, True):
        loss = text_loss(model, batch, 10.0, recompute)
        assert layers_that_keep(loss) == (0 if recompute else 3)
        results[recompute] = loss.detach(), gradient(model, [loss])
    torch.testing.assert_close(results[True], results[False], rtol=1e-6, atol=1e-8)


def test_held_out_texts_are_judged_by_nats_per_token_and_bits_per_character(model, texts):
    characters = np.arange(3, 23)
    held_out = HeldOut(texts, characters, pad_id=0)
    nats, count = held_out.surprise(model, batch_tokens=40)
    assert count.tolist() == [text.loss.sum() for text in texts]
    alone = [HeldOut([text], np.ones(1), 0).surprise(model)[0][0] for text in texts]
    np.testing.assert_allclose(nats, alone, rtol=1e-5)
    figures, metrics = held_out.figures(model), held_out.metrics(model)
    assert figures["loss"]["value"] == pytest.approx(nats.sum() / count.sum())
    assert figures["perplexity"]["value"] == pytest.approx(math.exp(nats.sum() / count.sum()))
    assert figures["bits_per_char"]["value"] == pytest.approx(nats.sum() / math.log(2) / characters.sum())
    assert metrics["loss/held_out"] == pytest.approx(figures["loss"]["value"])
    assert metrics["text/bits_per_char"] == pytest.approx(figures["bits_per_char"]["value"])
    for figure in figures.values():
        assert figure["low"] < figure["value"] < figure["high"]
        assert figure["better"] == "lower"


def test_nothing_held_out_is_refused():
    with pytest.raises(DataError, match="no held-out text"):
        HeldOut([], np.zeros(0), 0)
