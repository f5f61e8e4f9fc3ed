"""Pre-training: it learns what there is to learn, accumulation is exact, and the tokenizer may be given."""

import itertools
import json
import math

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import cumulant
from cumulant.algos import pretrain
from cumulant.errors import ConfigError, UsageError

SMALL = {
    "vocabulary": 280, "width": 32, "layers": 2, "heads": 2, "key_value_heads": 2, "inner": 64, "context": 16,
    "eval_documents": 40, "sample_tokens": 8,
}  # fmt: skip
WHO, DOES, WHAT = ("cats", "dogs", "owls", "men"), ("see", "eat", "want", "buy"), ("red", "old", "hot", "raw")


@pytest.fixture
def texts(tmp_path):
    """Sentences of three free choices among four: no model can predict one with less than log 64 nats."""
    rng = np.random.default_rng(0)
    lines = [" ".join(words[i] for words, i in zip((WHO, DOES, WHAT), rng.integers(0, 4, 3))) for _ in range(4000)]
    file = tmp_path / "choices.jsonl"
    file.write_text("".join(json.dumps({"text": line}) + "\n" for line in lines))
    return str(file)


def weights(run):
    return load_file(run / "model" / "model.safetensors")


def test_it_learns_all_there_is_to_learn(texts, train_one):
    fields = {**SMALL, "total_steps": 150, "batch_size": 16, "learning_rate": 0.01, "precision": "float32"}
    run = train_one("pretrain", texts, **fields)
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    loss = np.mean([row["loss/train"] for row in rows[-30:]])
    model = cumulant.load(run)
    every = [" ".join(words) for words in itertools.product(WHO, DOES, WHAT)]
    # the start is given, the end is learned
    tokens = np.mean([len(ids) for ids in model.tokenizer(every)["input_ids"]])
    assert loss * tokens == pytest.approx(math.log(64), rel=0.05)
    written = [text.split() for text in model.generate([""] * 300, max_new_tokens=12, seed=1)]
    known = [s for s in written if len(s) == 3 and s[0] in WHO and s[1] in DOES and s[2] in WHAT]
    assert len(known) >= 290
    for who in WHO:
        assert abs(sum(s[0] == who for s in known) / len(known) - 0.25) < 0.12


@pytest.mark.parametrize("recompute", [False, True])
def test_rows_in_memory_change_nothing(texts, train_one, recompute):
    fields = {**SMALL, "total_steps": 3, "batch_size": 8, "precision": "float32"}
    whole = train_one("pretrain", texts, micro_batch=8, **fields, name="whole")
    parts = train_one("pretrain", texts, micro_batch=1, gradient_checkpointing=recompute, **fields, name="parts")
    for name, tensor in weights(whole).items():
        torch.testing.assert_close(weights(parts)[name], tensor, rtol=0.0, atol=1e-6)
    for one, other in zip(*((run / "metrics.jsonl").read_text().splitlines() for run in (whole, parts))):
        assert json.loads(one)["loss/train"] == pytest.approx(json.loads(other)["loss/train"], abs=1e-6)


def test_bfloat16_keeps_weights_in_float32_and_learns_alike(texts, train_one):
    fields = {**SMALL, "total_steps": 40, "batch_size": 8, "learning_rate": 0.01}
    losses = {}
    for precision in ("float32", "bfloat16"):
        run = train_one("pretrain", texts, precision=precision, **fields, name=precision)
        assert {tensor.dtype for tensor in weights(run).values()} == {torch.float32}
        losses[precision] = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])["loss/train"]
    assert losses["bfloat16"] == pytest.approx(losses["float32"], rel=0.05)
    assert losses["bfloat16"] != losses["float32"]


def test_a_tokenizer_may_be_given(texts, train_one):
    fields = {**SMALL, "total_steps": 1, "batch_size": 2}
    first = train_one("pretrain", texts, **fields, name="first")
    second = train_one("pretrain", texts, tokenizer=str(first), **fields | {"vocabulary": 4000}, name="second")
    assert (second / "model" / "tokenizer.json").read_bytes() == (first / "model" / "tokenizer.json").read_bytes()
    assert weights(second)["model.embed_tokens.weight"].shape == weights(first)["model.embed_tokens.weight"].shape
    with pytest.raises(UsageError, match="no model 'nowhere'"):
        train_one("pretrain", texts, tokenizer="nowhere", **fields, name="third")


def test_the_rate_rises_stays_and_falls():
    config = pretrain.Config(learning_rate=2.0, warmup=0.1, decay=0.5)
    rates = [pretrain.learning_rate(config, fraction) for fraction in (0.0, 0.05, 0.1, 0.5, 0.75, 1.0)]
    assert rates == pytest.approx([0.0, 1.0, 2.0, 2.0, 1.0, 0.0])
    with pytest.raises(ConfigError, match=r"decay = 0\.6"):
        pretrain.Config(warmup=0.5)


def test_sizes_that_do_not_fit_are_refused():
    with pytest.raises(ConfigError, match="heads = 3"):
        pretrain.ShapeConfig(heads=3, key_value_heads=3)
    with pytest.raises(ConfigError, match="key_value_heads = 3"):
        pretrain.ShapeConfig(key_value_heads=3)
