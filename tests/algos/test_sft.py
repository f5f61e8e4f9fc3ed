"""Supervised fine-tuning: completions only, whatever the batches look like; dialogues; cut prompts."""

import json
import math
import shutil
import warnings

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import cumulant
from cumulant.algos import sft
from cumulant.data.text import Example
from cumulant.data.tokenizer import train_tokenizer
from cumulant.errors import ConfigError, DataError
from cumulant.nn.causal_lm import load_model, save_model, special_tokens
from cumulant.nn.llama import Llama, LlamaConfig

NUMBERS = ("one", "two", "three", "four", "five", "six", "seven", "eight")
FIELDS = {
    "lora_rank": 0, "precision": "float32", "batch_size": 8, "context": 48, "eval_examples": 8, "sample_tokens": 8,
    "learning_rate": 0.01,
}  # fmt: skip


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A model that knows nothing, with a tokenizer and a chat template."""
    place = tmp_path_factory.mktemp("sft") / "model"
    tokenizer = train_tokenizer([f"{a} then {b}" for a in NUMBERS for b in NUMBERS], 300, chat_template=True)
    shape = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
        max_position_embeddings=64, tie_word_embeddings=True, initializer_range=0.15, **special_tokens(tokenizer),
    )  # fmt: skip
    save_model(Llama(shape, torch.Generator().manual_seed(0)), tokenizer, place)
    return str(place)


def written(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.fixture
def pairs(tmp_path):
    """The completion follows from the prompt's last word; what stands before it does not."""
    rng = np.random.default_rng(0)
    rows = []
    for _ in range(400):
        words = [NUMBERS[i] for i in rng.integers(0, 8, rng.integers(1, 5))]
        rows.append({"prompt": " ".join(words) + " then", "completion": f" {next_number(words[-1])}"})
    return written(tmp_path / "pairs.jsonl", rows)


def next_number(word):
    return NUMBERS[(NUMBERS.index(word) + 1) % 8]


def losses(run):
    return [json.loads(line)["loss/train"] for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_it_learns_the_completions_and_not_the_prompts(model, pairs, train_one):
    run = train_one("sft", pairs, model=model, **FIELDS, total_steps=100)
    assert losses(run)[-1] < 0.05
    trained = cumulant.load(run)
    prompts = [f"six {word} then" for word in NUMBERS]
    assert trained.generate(prompts, temperature=0.0, max_new_tokens=6) == [f" {next_number(word)}" for word in NUMBERS]
    evaluation = json.loads((run / "evaluation.json").read_text())
    assert evaluation["figures"]["loss"]["value"] < 1.0
    same = [sample["completion"] == sample["human"] for sample in evaluation["samples"]]
    assert sum(same) >= 5
    # what the prompts say is random: a model that had learned it too would know it better than one that never looked
    before, after = (prompt_nats(place) for place in (model, run))
    assert after > 0.9 * before


def prompt_nats(place):
    net, tokenizer = load_model(place, "float32")
    ids = torch.tensor([tokenizer("two five three one")["input_ids"]])
    return -net.logp(ids).mean().item()


def test_packing_and_parts_change_nothing(model, pairs, train_one):
    runs = {
        name: train_one(
            "sft", pairs, model=model, **FIELDS | {"learning_rate": 1e-3} | fields, total_steps=3, name=name
        )
        for name, fields in {
            "padded": {"packing": False},
            "packed": {"packing": True},
            "one by one": {"micro_batch": 1},
            "recomputed": {"micro_batch": 3, "gradient_checkpointing": True},
        }.items()
    }
    for run in runs.values():
        # of about 5.5, a few units in the last place of float32; to 1e-12 it is compared in tests/engine/test_text_loss.py
        assert losses(run) == pytest.approx(losses(runs["padded"]), rel=1e-6)
        for name, tensor in load_file(run / "model" / "model.safetensors").items():
            padded = load_file(runs["padded"] / "model" / "model.safetensors")[name]
            assert (tensor - padded).abs().mean() < 1e-7  # Adam makes steps of rounding errors where a gradient is 0


def test_the_first_loss_is_that_of_the_model_it_starts_from(model, pairs, train_one):
    run = train_one("sft", pairs, model=model, **FIELDS, total_steps=1)
    row = json.loads((run / "metrics.jsonl").read_text())
    net, tokenizer = load_model(model, "float32")
    held_out = sft.held_out_texts(sft.Config(env=pairs, context=48, eval_examples=8), tokenizer, net)
    nats, count = held_out.surprise(net)
    assert row["loss/train"] == pytest.approx(math.log(300), rel=0.2)
    assert nats.sum() / count.sum() == pytest.approx(math.log(300), rel=0.2)


def test_dialogues_are_learned_by_every_reply(model, tmp_path, train_one):
    rows = [
        {
            "messages": [
                {"role": "user", "content": one},
                {"role": "assistant", "content": next_number(one)},
                {"role": "user", "content": two},
                {"role": "assistant", "content": next_number(two)},
            ]
        }
        for one in NUMBERS
        for two in NUMBERS
    ]
    file = written(tmp_path / "chats.jsonl", rows)
    run = train_one("sft", file, model=model, **FIELDS | {"context": 64}, total_steps=80)
    assert losses(run)[-1] < 0.1
    chat = [[{"role": "user", "content": "three"}], [{"role": "user", "content": "seven"}]]
    answers = cumulant.load(run).generate(chat, temperature=0.0, max_new_tokens=6)
    assert [answer.strip() for answer in answers] == ["four", "eight"]
    shown = json.loads((run / "evaluation.json").read_text())["samples"][0]
    assert shown["prompt"] in NUMBERS


def test_characters_are_those_of_what_is_said():
    reply = {"role": "assistant", "content": "four"}
    assert sft.said(Example("ask", "abc")) == 4
    assert (
        sft.said(
            Example("b", "four", ({"role": "user", "content": "b"}, reply, {"role": "user", "content": "c"}, reply))
        )
        == 10
    )


def test_prompts_that_are_too_long_are_refused_or_cut(model, tmp_path, train_one):
    long = [{"prompt": " ".join(NUMBERS * 12) + f" {word} then", "completion": " one"} for word in NUMBERS]
    file = written(tmp_path / "long.jsonl", long)
    with pytest.raises(DataError, match=r"long\.jsonl, line 1: the prompt has \d+ tokens"):
        train_one("sft", file, model=model, **FIELDS, total_steps=1)
    assert not (tmp_path / "run").exists()
    run = train_one("sft", file, model=model, **FIELDS, total_steps=1, too_long="left")
    assert math.isfinite(losses(run)[0])


def test_what_it_saves_is_where_the_next_stage_begins(model, pairs, train_one):
    first = train_one("sft", pairs, model=model, **FIELDS, total_steps=30, name="first")
    second = train_one("sft", pairs, model=str(first), **FIELDS, total_steps=1, name="second")
    assert losses(second)[0] == pytest.approx(losses(first)[-1], abs=0.3)
    shutil.rmtree(first / "state")
    assert cumulant.load(first).generate(["one then"], max_new_tokens=3)


def test_adapters_learn_too_and_are_saved_for_peft_and_merged(model, pairs, train_one):
    import peft
    import transformers

    fields = FIELDS | {"lora_rank": 8, "lora_alpha": 16.0, "lora_share": 1.0, "learning_rate": 0.03}
    run = train_one("sft", pairs, model=model, **fields, total_steps=100)
    assert losses(run)[-1] < 0.6 * losses(run)[0]
    base, after = (load_file(f"{place}/model.safetensors") for place in (model, run / "model"))
    moved = {name for name in base if not torch.equal(base[name], after[name])}
    assert {name.split(".")[-2] for name in moved} == {f"{x}_proj" for x in ("q", "k", "v", "o", "gate", "up", "down")}
    whole = transformers.AutoModelForCausalLM.from_pretrained(run / "model")
    warnings.simplefilter("ignore", FutureWarning)  # PEFT's own
    adapted = peft.PeftModel.from_pretrained(transformers.AutoModelForCausalLM.from_pretrained(model), run / "adapter")
    ids = torch.tensor([[5, 9, 270, 12]])
    torch.testing.assert_close(adapted(ids).logits, whole(ids).logits, rtol=1e-4, atol=1e-4)


def test_another_architecture_trains_unpacked_whole_and_recomputed(model, pairs, tmp_path, train_one):
    import transformers

    tokenizer = load_model(model, "float32")[1]
    shape = transformers.GPT2Config(vocab_size=len(tokenizer), n_positions=64, n_embd=16, n_layer=2, n_head=2)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        transformers.GPT2LMHeadModel(shape).save_pretrained(tmp_path / "gpt2")
    tokenizer.save_pretrained(tmp_path / "gpt2")
    runs = [
        train_one("sft", pairs, model=str(tmp_path / "gpt2"), **FIELDS | fields, total_steps=3, name=name)
        for name, fields in (("plain", {}), ("recomputed", {"gradient_checkpointing": True, "micro_batch": 3}))
    ]
    assert losses(runs[1]) == pytest.approx(losses(runs[0]), abs=1e-5)
    assert losses(runs[0])[-1] < losses(runs[0])[0]
    with pytest.raises(ConfigError, match="adapters need a Llama model"):
        train_one("sft", pairs, model=str(tmp_path / "gpt2"), **FIELDS | {"lora_rank": 2}, total_steps=1, name="lora")
