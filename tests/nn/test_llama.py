"""Our forward pass of a Llama model against transformers' own, and the identities that padding and packing must keep."""

import pytest
import torch

from cumulant.errors import ConfigError
from cumulant.nn.llama import Llama, LlamaConfig
from cumulant.nn.token_logp import token_logp, wanted_tokens

transformers = pytest.importorskip("transformers")

GROUPED = {
    "vocab_size": 97, "hidden_size": 48, "intermediate_size": 80, "num_hidden_layers": 3, "num_attention_heads": 6,
    "num_key_value_heads": 2, "max_position_embeddings": 64, "rms_norm_eps": 1e-5,
}  # fmt: skip
LLAMA3 = {
    "rope_type": "llama3",
    "factor": 4.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}
VARIANTS = {
    "grouped, tied": {"tie_word_embeddings": True},
    "untied": {"tie_word_embeddings": False},
    "one key-value head": {"num_key_value_heads": 1},
    "a key-value head each, wide heads": {"num_key_value_heads": 6, "head_dim": 16},
    "theta": {"rope_theta": 500.0},
    "Llama 3 positions": {"rope_theta": 10000.0, "rope_scaling": LLAMA3},
}


def pair(**changes):
    """Return a random model of ours and transformers' with the same weights."""
    config = LlamaConfig(**{**GROUPED, **changes})
    ours = Llama(config, torch.Generator().manual_seed(3))
    settings = {name: value for name, value in config.to_hub().items() if name != "architectures"}
    theirs = transformers.LlamaForCausalLM(transformers.LlamaConfig(**settings)).eval()
    missing = theirs.load_state_dict(ours.state_dict(), strict=False)
    assert not missing.unexpected_keys
    assert set(missing.missing_keys) <= {"lm_head.weight"}
    theirs.tie_weights()
    return ours, theirs


def tokens(rows=3, columns=17, seed=0):
    return torch.randint(0, 97, (rows, columns), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("name", VARIANTS)
def test_logits_are_those_of_transformers(name):
    ours, theirs = pair(**VARIANTS[name])
    ids = tokens(columns=40)
    with torch.no_grad():
        expected = theirs(ids).logits
        assert expected.std() > 0.05  # not a comparison of zeros
        torch.testing.assert_close(ours.logits(ours.hidden(ids)), expected, rtol=0, atol=1e-5)


def test_gradients_are_those_of_transformers():
    ours, theirs = pair(tie_word_embeddings=True)
    ids, mask = tokens(), torch.ones(3, 17, dtype=torch.bool)
    mask[1, :5] = mask[2, 12:] = False
    wanted = wanted_tokens(ids, mask)
    weight = torch.rand(wanted.shape, generator=torch.Generator().manual_seed(1))
    (ours.logp(ids, mask) * weight).sum().backward()
    positions = (mask.long().cumsum(1) - 1).clamp(min=0)
    scores = theirs(ids, attention_mask=mask.long(), position_ids=positions).logits[:, :-1].log_softmax(-1)
    (scores.gather(2, ids[:, 1:, None])[..., 0] * weight)[wanted].sum().backward()
    expected = dict(theirs.named_parameters())
    for name, part in ours.named_parameters():
        torch.testing.assert_close(part.grad, expected[name].grad, rtol=1e-4, atol=1e-6, msg=lambda m, n=name: n + m)


def test_left_padding_right_padding_and_none_give_the_same_log_probabilities():
    model, _ = pair()
    texts = [tokens(1, length, seed=length)[0] for length in (9, 14, 5)]
    alone = [model.logp(text[None])[0] for text in texts]
    for side in ("left", "right"):
        ids, mask = torch.full((3, 14), 7), torch.zeros(3, 14, dtype=torch.bool)
        for row, text in enumerate(texts):
            at = slice(14 - len(text), 14) if side == "left" else slice(0, len(text))
            ids[row, at], mask[row, at] = text, True
        logp = model.logp(ids, mask)
        for row, (text, expected) in enumerate(zip(texts, alone)):
            start = 14 - len(text) if side == "left" else 0
            torch.testing.assert_close(logp[row, start : start + len(text) - 1], expected, rtol=0, atol=1e-5)
        assert (logp != 0).sum() == sum(
            len(text) - 1 for text in texts
        )  # padding gives nothing, nor does a first token


@pytest.mark.parametrize("changes", [{}, {"num_key_value_heads": 6}])
@pytest.mark.parametrize("recompute", [False, True])
def test_long_texts_are_read_as_short_ones_are_and_keep_no_square(monkeypatch, changes, recompute):
    model, _ = pair(**changes)
    model.double()
    model.checkpointing = recompute
    ids, mask = tokens(3, 40), torch.ones(3, 40, dtype=torch.bool)
    mask[1, :6], mask[2, 30:] = False, False
    found = []
    for limit in (512, 16):
        monkeypatch.setattr("cumulant.nn.llama_layer.LONG", limit)
        model.zero_grad()
        squares = 0

        def count(x):
            nonlocal squares
            squares += x.dim() >= 2 and x.shape[-1] == 40 and x.shape[-2] >= 40
            return x

        with torch.autograd.graph.saved_tensors_hooks(count, lambda x: x):
            logp = model.logp(ids, mask)
        logp.sum().backward()
        found.append((logp.detach(), torch.cat([part.grad.reshape(-1) for part in model.parameters()]), squares))
    torch.testing.assert_close(found[1][0], found[0][0], rtol=0, atol=1e-12)
    torch.testing.assert_close(found[1][1], found[0][1], rtol=0, atol=1e-12)
    assert [each[2] for each in found] == [0 if recompute else model.config.num_hidden_layers, 0]


def test_packed_texts_are_read_as_if_alone():
    model, _ = pair()
    texts = [tokens(1, length, seed=length)[0] for length in (9, 6, 3)]
    ids = torch.cat(texts)[None]
    segments = torch.repeat_interleave(torch.arange(3), torch.tensor([9, 6, 3]))[None]
    logp = model.logp(ids, segments=segments)
    expected = torch.cat([torch.cat([model.logp(text[None])[0], torch.zeros(1)]) for text in texts])[:-1]
    torch.testing.assert_close(logp[0], expected, rtol=0, atol=1e-5)


def test_packed_texts_with_padding_behind_them():
    model, _ = pair()
    ids = torch.cat([tokens(1, 9, seed=9), tokens(1, 6, seed=6), torch.zeros(1, 4, dtype=torch.long)], 1)
    segments = torch.tensor([[0] * 9 + [1] * 6 + [2] * 4])
    mask = torch.tensor([[True] * 15 + [False] * 4])
    logp = model.logp(ids, mask, segments=segments)
    torch.testing.assert_close(logp[0, 9:14], model.logp(tokens(1, 6, seed=6))[0], rtol=0, atol=1e-5)
    assert not logp[0, 14:].any()


def test_running_layers_in_two_parts_is_running_them_at_once():
    model, _ = pair()
    ids, mask = tokens(), torch.ones(3, 17, dtype=torch.bool)
    mask[0, :4] = False
    lower = model.hidden(ids, mask, stop=2)
    torch.testing.assert_close(model.hidden(ids, mask, start=2, hidden=lower), model.hidden(ids, mask))
    torch.testing.assert_close(model.logp(ids, mask, start=2, hidden=lower), model.logp(ids, mask))


def test_a_token_does_not_see_those_after_it():
    model, _ = pair()
    ids, other = tokens(), tokens()
    other[:, 10:] = 0
    torch.testing.assert_close(model.hidden(ids)[:, :10], model.hidden(other)[:, :10], rtol=0, atol=1e-6)
    assert (model.hidden(ids)[:, 10:] - model.hidden(other)[:, 10:]).abs().max() > 1e-3


def test_completion_log_probabilities_start_where_asked_and_follow_the_temperature():
    model, _ = pair()
    ids, first = tokens(), torch.tensor([3, 9, 16])
    scores = (model.logits(model.hidden(ids))[:, :-1] / 0.7).log_softmax(-1)
    expected = scores.gather(2, ids[:, 1:, None])[..., 0]
    logp = model.logp(ids, first=first, temperature=0.7)
    for row, start in enumerate(first.tolist()):
        assert not logp[row, : start - 1].any()
        torch.testing.assert_close(logp[row, start - 1 :], expected[row, start - 1 :], rtol=0, atol=1e-5)
    entropy = token_logp(model, model.hidden(ids), ids, wanted_tokens(ids, first=5), 0.7, rows=4)[1]
    torch.testing.assert_close(entropy[:, 4:], -(scores.exp() * scores).sum(-1)[:, 4:], rtol=0, atol=1e-5)
    assert not model.logp(ids, first=17).any()  # no completion at all


@pytest.mark.parametrize("changes", [{}, {"num_key_value_heads": 6}, {"num_key_value_heads": 1}])
@pytest.mark.parametrize("summed", [True, False], ids=["rows summed", "products"])
def test_reading_token_by_token_is_reading_at_once(monkeypatch, changes, summed):
    monkeypatch.setattr("cumulant.nn.llama_decoder.sums_rows_fast", lambda *_: summed)
    model, _ = pair(**changes)
    ids, mask = tokens(), torch.ones(3, 17, dtype=torch.bool)
    mask[1, :6] = False
    whole = model.logits(model.hidden(ids, mask))
    decoder = model.decoder()
    decoder.start(3, 17)
    assert (decoder.sums is not None) == summed
    torch.testing.assert_close(decoder.read(ids[:, :8], mask[:, :8]), whole[:, 7], rtol=0, atol=1e-5)
    rows = torch.arange(3)
    for column in range(8, 17):
        if column == 12:
            rows = torch.tensor([0, 2])
            decoder.keep(rows)
        logits = decoder.extend(ids[rows, column])
        torch.testing.assert_close(logits, whole[rows, column], rtol=0, atol=1e-5)


def test_initial_weights_come_from_the_generator_only():
    first, again = pair()[0], pair()[0]
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters()))
    other = Llama(first.config, torch.Generator().manual_seed(4))
    assert not torch.equal(first.head, other.head)


def test_sizes_that_do_not_fit_and_texts_that_are_too_long_are_refused():
    with pytest.raises(ConfigError, match="multiple of num_attention_heads 7"):
        LlamaConfig(**{**GROUPED, "num_attention_heads": 7})
    with pytest.raises(ConfigError, match="reads at most 64"):
        pair()[0].hidden(tokens(1, 65))


@pytest.mark.parametrize(
    "change",
    [
        {"model_type": "mistral"}, {"attention_bias": True}, {"mlp_bias": True}, {"hidden_act": "gelu"},
        {"rope_scaling": {"rope_type": "yarn", "factor": 2.0}},
    ],
)  # fmt: skip
def test_what_this_forward_pass_does_not_compute_is_not_taken_for_a_llama(change):
    settings = LlamaConfig(**GROUPED).to_hub()
    assert LlamaConfig.from_hub(settings) == LlamaConfig(**GROUPED)
    assert LlamaConfig.from_hub({**settings, **change}) is None
