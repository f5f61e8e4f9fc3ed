"""A model of another architecture than Llama's goes through every stage by the command line, and transformers loads it again."""

import itertools
import json

import pytest
import torch

from cumulant.data.tokenizer import train_tokenizer
from cumulant.nn.causal_lm import special_tokens

transformers = pytest.importorskip("transformers")

WORDS = ("red", "blue", "old", "small", "wet", "loud")
SMALL = {
    "sft": ("--context", 40, "--eval-examples", 4, "--sample-tokens", 4, "--lora-rank", 0),
    "dpo": ("--context", 40, "--max-new-tokens", 5, "--eval-pairs", 3, "--lora-rank", 0),
    "rlhf": (
        "--reward",
        "judge.py:vowels",
        "--max-new-tokens",
        5,
        "--reference-samples",
        8,
        "--eval-prompts",
        3,
        "--lora-rank",
        0,
    ),
    "grpo": (
        "--reward",
        "judge.py:vowels",
        "--max-new-tokens",
        5,
        "--group-size",
        4,
        "--eval-prompts",
        3,
        "--lora-rank",
        0,
    ),
    "reward_model": ("--context", 40),
}


@pytest.fixture
def place(workspace):
    rows = [
        {"prompt": f"the {one} {two}", "completion": f" house is {two}", "chosen": f" is {one}", "rejected": " no no"}
        for one, two in itertools.permutations(WORDS, 2)
    ]
    (workspace / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (workspace / "judge.py").write_text(
        "def vowels(prompts, completions):\n    return [sum(c in 'aeiou' for c in text) + len(text) for text in completions]\n"
    )
    tokenizer = train_tokenizer([row["prompt"] + row["completion"] for row in rows], 280)
    marks = special_tokens(tokenizer)
    shapes = {
        "gpt2": transformers.GPT2Config(
            vocab_size=len(tokenizer), n_positions=48, n_embd=16, n_layer=2, n_head=2, **marks
        ),
        "qwen2": transformers.Qwen2Config(
            vocab_size=len(tokenizer), hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2,
            num_key_value_heads=1, max_position_embeddings=48, **marks,
        ),
    }  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for name, shape in shapes.items():
            transformers.AutoModelForCausalLM.from_config(shape).save_pretrained(workspace / name)
            tokenizer.save_pretrained(workspace / name)
    return workspace


@pytest.mark.parametrize("kind", ["gpt2", "qwen2"])
@pytest.mark.parametrize("stage", ["sft", "dpo", "rlhf", "grpo"])
def test_it_is_trained(cli, place, stage, kind):
    answer = cli(
        "train", stage, "rows.jsonl", *SMALL[stage], "--model", kind, "--batch-size", 4, "--total-steps", 2,
        "--precision", "float32", "--out", "run",
    )  # fmt: skip
    assert answer.code == 0, answer.err
    assert "Loading weights" not in answer.err
    rows = [json.loads(line) for line in (place / "run" / "metrics.jsonl").read_text().splitlines()]
    assert any(key.startswith("loss/") for key in rows[-1])
    trained, before = (
        transformers.AutoModelForCausalLM.from_pretrained(folder) for folder in (place / "run" / "model", kind)
    )
    moved = [not torch.equal(a, b) for a, b in zip(trained.parameters(), before.parameters())]
    assert trained.config.model_type == kind
    assert sum(moved) > 0.8 * len(moved)


@pytest.mark.parametrize(
    ("stage", "words", "said"),
    [
        ("reward_model", (), "a reward model needs a Llama-style model"),
        ("dpo", ("--lora-rank", 2), "adapters need a Llama model, not one of kind 'gpt2': train all weights (rank 0)"),
    ],
)
def test_what_it_cannot_do_is_said(cli, place, stage, words, said):
    answer = cli("train", stage, "rows.jsonl", *SMALL[stage], *words, "--model", "gpt2", "--out", "run")
    assert answer.code == 2
    assert said in answer.err
    assert len(answer.err.splitlines()) == 1
    assert not (place / "run").exists()
