"""Generation against transformers' own, and what a completion promises."""

import itertools

import pytest
import torch

from cumulant.engine.generate import choose, draw, generate
from cumulant.errors import ConfigError
from cumulant.nn.hub_model import HubModel
from cumulant.nn.llama import Llama, LlamaConfig

transformers = pytest.importorskip("transformers")

END = 25  # a token that about half of the texts reach


@pytest.fixture(scope="module")
def model():
    config = LlamaConfig(
        vocab_size=53, hidden_size=48, intermediate_size=80, num_hidden_layers=3, num_attention_heads=6,
        num_key_value_heads=2, max_position_embeddings=64, tie_word_embeddings=False, initializer_range=0.2,
    )  # fmt: skip
    return Llama(config, torch.Generator().manual_seed(3))


@pytest.fixture(scope="module")
def theirs(model):
    settings = {name: value for name, value in model.config.to_hub().items() if name != "architectures"}
    network = transformers.LlamaForCausalLM(transformers.LlamaConfig(**settings)).eval()
    network.load_state_dict(model.state_dict(), strict=False)
    network.tie_weights()
    return network


def prompts(count=7, seed=0):
    source = torch.Generator().manual_seed(seed)
    return [
        torch.randint(0, 53, (int(torch.randint(1, 12, (1,), generator=source)),), generator=source).tolist()
        for _ in range(count)
    ]


def write(model, asked, seed=0, **options):
    source = torch.Generator().manual_seed(seed)
    return generate(model, asked, **{"max_new_tokens": 20, "eos_id": END, "generator": source, **options})


def test_greedy_tokens_are_those_of_transformers(model, theirs):
    asked = prompts(40)
    answer = write(model, asked, temperature=0.0, batch_size=28)
    ended = 0
    for prompt, mine, stopped in zip(asked, answer.tokens(), answer.stopped.tolist()):
        ids = torch.tensor([prompt])
        whole = theirs.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=20,
            do_sample=False,
            eos_token_id=END,
            pad_token_id=END,
        )
        expected = whole[0, len(prompt) :].tolist()
        assert mine + [END] * stopped == expected
        ended += stopped
    assert 0 < ended < 40  # both kinds of end were compared


def test_what_has_ended_is_dropped_in_eights_and_only_where_that_saves_a_quarter(model, monkeypatch):
    held, decoder = [64], type(model.decoder())
    keep = decoder.keep

    def noted(self, rows):
        held.append(len(rows))
        keep(self, rows)

    monkeypatch.setattr(decoder, "keep", noted)
    write(model, prompts(64))
    assert len(held) > 1
    assert all(size % 8 == 0 and size <= 0.75 * before for before, size in itertools.pairwise(held))


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_log_probabilities_of_samples_are_those_of_the_training_forward(model, temperature):
    answer = write(model, prompts(), temperature=temperature, batch_size=4)
    logp = model.logp(answer.ids, answer.mask, first=answer.prompt_length, temperature=temperature)
    logp = logp[:, answer.prompt_length - 1 :]
    assert logp.shape == answer.logp.shape
    torch.testing.assert_close(answer.logp, logp.detach() * answer.completion_mask, rtol=0, atol=1e-5)
    assert (answer.logp[answer.completion_mask] < 0).all()


def test_samples_end_with_the_end_mark_or_are_cut_off(model):
    answer = write(model, prompts(40))
    new = answer.ids[:, answer.prompt_length :]
    for row, (tokens, stopped) in enumerate(zip(new.tolist(), answer.stopped.tolist())):
        length = int(answer.completion_mask[row].sum())
        assert answer.completion_mask[row, :length].all()
        assert (END in tokens[:length]) == stopped
        assert tokens[:length].index(END) == length - 1 if stopped else length == 20
        assert (answer.ids[row][~answer.mask[row]] == END).all()
    assert 0 < answer.stopped.sum() < 40
    assert torch.equal(answer.mask[:, answer.prompt_length :], answer.completion_mask)
    assert [len(t) for t in answer.tokens()] == (answer.completion_mask.sum(1) - answer.stopped.long()).tolist()


def test_prompts_are_kept_and_padded_on_the_left(model):
    asked = prompts()
    answer = write(model, asked)
    for row, prompt in enumerate(asked):
        assert answer.ids[row, : answer.prompt_length][answer.mask[row, : answer.prompt_length]].tolist() == prompt
        assert not answer.mask[row, : answer.prompt_length - len(prompt)].any()


def test_a_prompt_gets_the_same_greedy_answer_in_any_company(model):
    asked = prompts()
    together = write(model, asked, temperature=0.0).tokens()
    alone = [write(model, [prompt], temperature=0.0).tokens()[0] for prompt in asked]
    assert together == alone


def test_the_same_generator_gives_the_same_samples_and_another_does_not(model):
    first, again, other = (write(model, prompts(), seed=seed) for seed in (1, 1, 2))
    assert torch.equal(first.ids, again.ids)
    assert torch.equal(first.logp, again.logp)
    assert first.tokens() != other.tokens()


def test_without_an_end_mark_every_text_is_cut_off(model):
    answer = write(model, prompts(), eos_id=None)
    assert answer.completion_mask.all()
    assert answer.completion_mask.shape[1] == 20
    assert not answer.stopped.any()


def test_draws_follow_their_probabilities():
    weight = torch.tensor([[0.0, 0.1, 0.0, 0.6, 0.3, 0.0]]).expand(40_000, -1)
    counts = torch.bincount(draw(weight, torch.Generator().manual_seed(0)), minlength=6) / 40_000
    assert counts[[0, 2, 5]].tolist() == [0, 0, 0]
    torch.testing.assert_close(counts[[1, 3, 4]], torch.tensor([0.1, 0.6, 0.3]), rtol=0, atol=0.01)


def test_top_p_keeps_the_smallest_set_that_has_it():
    logits = torch.tensor([[0.1, 0.5, 0.15, 0.25]]).log().expand(2_000, -1)
    source = torch.Generator().manual_seed(0)
    for top_p, kept in ((0.4, {1}), (0.5, {1}), (0.51, {1, 3}), (0.76, {1, 2, 3}), (1.0, {0, 1, 2, 3})):
        token, logp = choose(logits, 1.0, top_p, source)
        assert set(token.tolist()) == kept
        torch.testing.assert_close(logp, logits[0][token])  # before the cut


def test_another_architecture_writes_too(theirs):
    model = HubModel(theirs)
    model.config.max_position_embeddings = 64
    asked = prompts()
    mine = write(model, asked, temperature=0.0)
    assert 0 < mine.stopped.sum() < len(asked)  # rows are dropped on the way
    for prompt, tokens in zip(asked, mine.tokens()):
        ids = torch.tensor([prompt])
        whole = theirs.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=20,
            do_sample=False,
            eos_token_id=END,
            pad_token_id=END,
        )
        assert [t for t in whole[0, len(prompt) :].tolist() if t != END] == tokens


@pytest.mark.parametrize(
    ("asked", "options", "says"),
    [
        ([], {}, "no prompt"),
        ([[1], []], {}, "prompt 1 has no token"),
        ([[1] * 45], {}, "prompt 0 has 45 tokens; with 20 new ones that is more than the 64"),
        ([[1]], {"temperature": -1.0}, "temperature is -1"),
        ([[1]], {"top_p": 0.0}, "top_p 0.0"),
        ([[1]], {"max_new_tokens": 0}, "max_new_tokens is 0"),
    ],
)
def test_what_cannot_be_completed_is_refused(model, asked, options, says):
    with pytest.raises(ConfigError, match=says):
        write(model, asked, **options)
