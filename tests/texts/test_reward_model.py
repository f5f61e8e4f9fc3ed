"""A reward model learns what people prefer, how sure they are, and by how much; on made-up people and a tiny model."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import cumulant
from cumulant.data.rows import is_held_out
from cumulant.data.tokenizer import train_tokenizer
from cumulant.engine.text_reward import TextReward
from cumulant.errors import DataError
from cumulant.nn.causal_lm import save_model, special_tokens
from cumulant.nn.llama import Llama, LlamaConfig

GOOD, BAD = ["good", "fine", "great", "warm"], ["bad", "dull", "slow", "cold"]
THINGS = ["film", "plot", "book", "song", "play", "show", "tale", "dance"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A language model that has learned nothing, and pairs: three people of four like the good words, all the best one."""
    place = tmp_path_factory.mktemp("people")
    rows = []
    for one, other, thing in itertools.product(GOOD, BAD, THINGS):
        share = 1.0 if one == "great" else 0.75
        rows.append({"prompt": f"the {thing}", "chosen": f" was {one}", "rejected": f" was {other}", "share": share})
    for one, other in itertools.product(THINGS, THINGS):
        if one != other:
            row = {"prompt": "", "chosen": f"a {one}", "rejected": f"a {other}", "tie": True}
            rows.append(row)
    np.random.default_rng(0).shuffle(rows)
    (place / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    tokenizer = train_tokenizer([f"the {t} was {w}" for t in THINGS for w in GOOD + BAD], 330)
    shape = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=32,
        tie_word_embeddings=True,
        initializer_range=0.15,
        **special_tokens(tokenizer),
    )
    save_model(Llama(shape, torch.Generator().manual_seed(0)), tokenizer, place / "model")
    return place


def trained(place: Path, name: str, **fields: object) -> tuple[TextReward, dict[str, dict[str, float]]]:
    settings = {"model": str(place / "model"), "depth": 1.0, "total_steps": 150, "learning_rate": 5e-3} | fields
    run = cumulant.train("reward_model", str(place / "pairs.jsonl"), out=place / name, precision="float32", **settings)
    return TextReward.load(run.run, "float32"), run.evaluation["figures"]


def test_it_learns_how_sure_people_are(place: Path) -> None:
    reward, figures = trained(place, "run")
    good, great, bad = reward.score(["the film"] * 3, [" was good", " was great", " was dull"])
    assert good - bad == pytest.approx(np.log(3), abs=0.4)  # three of four
    assert great - bad > 2.5  # all of them
    ties = reward.score([""] * len(THINGS), [f"a {thing}" for thing in THINGS])
    assert ties.std() < 0.25
    assert figures["accuracy"]["value"] > 0.95
    assert figures["calibration_error"]["value"] < 0.12
    assert figures["labels"]["value"] > 100
    page = (place / "run" / "report.html").read_text()
    assert "how sure the reward model was" in page


def test_a_margin_in_the_data_puts_scores_further_apart(place: Path) -> None:
    rows = [json.loads(line) for line in (place / "pairs.jsonl").read_text().splitlines()]
    rows = [{**row, "margin": 2.0} for row in rows if not row.get("tie")]
    other = place / "margins"
    other.mkdir(exist_ok=True)
    (other / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    gaps = []
    for scale in (0.0, 1.0):
        settings = {"model": str(place / "model"), "depth": 1.0, "total_steps": 120, "learning_rate": 5e-3}
        run = cumulant.train(
            "reward_model", str(other / "pairs.jsonl"), out=other / f"run{scale}", margin_scale=scale, **settings
        )
        good, bad = TextReward.load(run.run, "float32").score(["the film"] * 2, [" was good", " was dull"])
        gaps.append(good - bad)
    assert gaps[1] - gaps[0] == pytest.approx(2.0, abs=0.8)


def test_the_mean_of_scores_stays_near_zero_with_centring(place: Path) -> None:
    means = []
    for weight in (0.0, 0.5):
        reward, _ = trained(place, f"centre{weight}", centring=weight, total_steps=60)
        words = GOOD + BAD
        means.append(abs(reward.score(["the film"] * len(words), [f" was {word}" for word in words]).mean()))
    assert means[1] < 0.1
    assert means[1] < means[0]


def test_adapters_learn_it_too_and_leave_an_ordinary_model(place: Path) -> None:
    """What is saved has its adapters merged in; what has none, such as the embeddings, is as it was."""
    reward, _ = trained(place, "adapters", lora_rank=4, trained_layers=1, learning_rate=2e-2)
    good, bad = reward.score(["the film"] * 2, [" was good", " was dull"])
    assert good - bad > 0.5
    before, after = (load_file(folder / "model.safetensors") for folder in (place / "model", place / "adapters/model"))
    assert after.keys() == before.keys() | {"score.weight"}
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert {"model.layers.1.self_attn.q_proj.weight", "model.layers.1.mlp.down_proj.weight"} <= changed
    assert all(".layers.1." in name and "norm" not in name for name in changed)


def test_what_is_wrong_with_held_out_pairs_is_said_before_the_training(place: Path) -> None:
    long = next(text for text in (f"{number}{' the film' * 40}" for number in itertools.count()) if is_held_out(text))
    row = {"prompt": long, "chosen": " was good", "rejected": " was bad"}
    (place / "long.jsonl").write_text((place / "pairs.jsonl").read_text() + json.dumps(row) + "\n")
    with pytest.raises(DataError, match="leaves nothing of the context"):
        cumulant.train(
            "reward_model", str(place / "long.jsonl"), out=place / "long", model=str(place / "model"), total_steps=1,
            precision="float32",
        )  # fmt: skip
    assert not (place / "long").exists()  # not one step was made
