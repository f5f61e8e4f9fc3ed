"""Answers of a model and of people, measured: on a tiny model whose words are not all shown in its texts."""

import json

import numpy as np
import pytest
import torch

from cumulant.engine.generate import generate
from cumulant.nn.causal_lm import load_model, save_model
from cumulant.nn.llama import Llama, LlamaConfig
from cumulant.pipelines.answers import _Models, write_answers

WORDS = ("<end>", "<mark>", "red", "green", "blue", "one", "two")
EXAMPLES = [("red green", "blue"), ("one two", "red"), ("red green", "one"), ("blue", "two two"), ("green", "green")]


def write_model(folder, seed):
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    by_word = Tokenizer(models.WordLevel({word: n for n, word in enumerate(WORDS)}, unk_token="<mark>"))
    by_word.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    # a mark that no text shows: what was written is then not what its text is cut into
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=by_word, eos_token="<end>", pad_token="<mark>")
    config = LlamaConfig(
        vocab_size=len(WORDS), hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
        max_position_embeddings=32, initializer_range=0.4, eos_token_id=0,
    )  # fmt: skip
    save_model(Llama(config, torch.Generator().manual_seed(seed)), tokenizer, folder)


@pytest.fixture
def order(tmp_path):
    for seed, name in enumerate(("base", "tuned")):
        write_model(tmp_path / name, seed)
    data = tmp_path / "data"
    data.mkdir()
    rows = [json.dumps({"prompt": prompt, "completion": " " + completion}) for prompt, completion in EXAMPLES]
    for split in ("train", "test"):
        (data / f"{split}.jsonl").write_text("\n".join(rows))
    common = {"data": str(data), "prompts": 4, "max_new_tokens": 6, "threads": 1, "reward": None, "seed": 0}
    base = str(tmp_path / "base")

    def measured(**part):
        target = tmp_path / "answers.json"
        target.unlink(missing_ok=True)
        write_answers([{**common, "base": base, "target": str(target), **part}], lambda row: None)
        return json.loads(target.read_text())

    return measured, base, str(tmp_path / "tuned")


def test_kl_is_of_the_tokens_that_were_written(order):
    measured, base, tuned = order
    found = measured(kind="model", model=tuned, reference=base)
    (model, tokenizer), (reference, _) = load_model(tuned), load_model(base)
    written = generate(
        model,
        [tokenizer(prompt)["input_ids"] for prompt in found["prompt"]],
        max_new_tokens=6,
        eos_id=0,
        generator=torch.Generator().manual_seed(0),
    )
    hidden_marks = ((written.ids == 1) & written.mask)[:, written.prompt_length :].sum()
    assert hidden_marks > 0  # or this test would show nothing
    other = reference.logp(written.ids, written.mask, first=written.prompt_length).sum(1)
    expected = written.logp.double().sum(1) - other.double()
    assert found["kl"] == pytest.approx(expected.tolist(), abs=0.05 if model.head.dtype == torch.bfloat16 else 1e-4)
    assert measured(kind="model", model=base, reference=base)["kl"] == [0.0] * 4


def test_an_answer_that_says_nothing_is_not_the_most_fluent_one(order, monkeypatch):
    measured, base, _ = order

    def silent(tables, *_):  # hidden marks and nothing else, until it is cut off
        return torch.ones(len(tables), dtype=torch.int64), torch.zeros(len(tables))

    monkeypatch.setattr("cumulant.engine.generate.choose", silent)
    found = measured(kind="model", model=base, reference=base)
    assert found["completion"] == [""] * 4
    assert not any(found["stopped"])
    assert np.max(found["fluency"]) < 0.0
    assert min(found["tokens"]) == 1


def test_people_are_asked_what_the_models_are_asked(order):
    measured, base, tuned = order
    of_model = measured(kind="model", model=tuned, reference=base)
    human = measured(kind="human")
    assert human["prompt"] == of_model["prompt"] == ["red green", "one two", "blue", "green"]
    assert human["completion"] == [" blue", " red", " two two", " green"]


def test_models_that_are_alike_are_in_memory_once(tmp_path):
    for name in ("one", "same"):
        write_model(tmp_path / name, seed=0)
    models = _Models()
    one, same = (models.open(str(tmp_path / name))[0] for name in ("one", "same"))
    assert one is not same
    assert all(a.data_ptr() == b.data_ptr() for a, b in zip(one.parameters(), same.parameters()))
