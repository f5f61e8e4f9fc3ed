"""A whole alignment of a tiny model: every stage a run, killed and gone on with, judged, reported."""

import dataclasses
import itertools
import json
import os
import signal
import subprocess
import sys
import time

import pytest

import cumulant
from cumulant.errors import ConfigError, RunError
from cumulant.pipelines import align
from cumulant.pipelines.recipes import Recipe, Stage

OWN = {"lora_rank": 0, "precision": "float32", "total_steps": 2}
LETTERS = {"context": 48, "batch_size": 4}
POLICY = {"model": "@sft", "reward": "@reward_model", **OWN, "max_new_tokens": 4}
STAGES = (
    Stage("pretrain", "pretrain", "pre-trained", "predicts", {
        "vocabulary": 280, "width": 16, "layers": 2, "heads": 2, "key_value_heads": 1, "inner": 24, "eval_documents": 4,
        "sample_tokens": 4, "total_steps": 2, **LETTERS,
    }),
    Stage("sft", "sft", "SFT", "imitates", {"model": "@pretrain", **OWN, **LETTERS, "eval_examples": 4, "sample_tokens": 4}),
    Stage("reward_model", "reward_model", "reward model", "learns", {
        "model": "@pretrain", "depth": 1.0, "trained_layers": 1, "total_steps": 2, "precision": "float32", **LETTERS,
    }),
    Stage("rlhf", "rlhf", "PPO", "earns", {
        **POLICY, "beta": 0.2, "batch_size": 4, "micro_batch": 4, "reference_samples": 8, "eval_prompts": 2,
    }),
    Stage("dpo", "dpo", "DPO", "prefers", {
        **POLICY, "sample_pairs": 8, "batch_size": 4, "micro_batch": 4, "eval_pairs": 2, "context": 48,
    }),
)  # fmt: skip


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    words = ["red", "blue", "old", "small", "wet", "loud"]
    rows = [
        {"prompt": f"the {one} {two}", "completion": f" house is {two}", "chosen": f" is {one}", "rejected": " no no"}
        for one, two in itertools.permutations(words, 2)
    ]
    for row in rows:  # people may write more than the model reads
        row["completion"] += " and so on" * (20 if "red" in row["prompt"] else 0)
    file = tmp_path_factory.mktemp("data") / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return Recipe("ci", str(file), "@pretrain", STAGES, prompts=2, max_new_tokens=4)


@pytest.fixture(scope="module")
def whole(recipe, tmp_path_factory):
    place = tmp_path_factory.mktemp("align") / "whole"
    return place, align.start(place, recipe)


def results(place):
    names = [f"{stage.name}/{file}" for stage in STAGES for file in ("metrics.jsonl", "model/model.safetensors")]
    return {name: (place / name).read_bytes() for name in names}


@pytest.mark.slow
def test_every_stage_is_a_run_and_every_model_is_judged(whole):
    place, judgement = whole
    assert [model["name"] for model in judgement["models"]] == ["base", "sft", "sft_again", "rlhf", "dpo", "human"]
    assert json.loads((place / "judgement.json").read_text()) == judgement
    for model in judgement["models"]:
        assert {"fluency", "distinct_2", "win_reward", "accepted"} <= set(model["figures"])
    assert [stage["seconds"] > 0 for stage in judgement["stages"]] == [True] * 5
    assert [len(curve["moments"]) for curve in judgement["curves"]] == [2]
    assert cumulant.write_report(place).stat().st_size > 10_000
    assert cumulant.load(place / "rlhf").generate(["the red"], max_new_tokens=3)
    with pytest.raises(RunError, match="not empty"):
        align.start(place, align.read(place))


@pytest.mark.slow
def test_killed_and_resumed_is_undisturbed(whole, recipe, tmp_path):
    script = tmp_path / "start.py"
    script.write_text(
        "import json, sys\nfrom pathlib import Path\nfrom cumulant.pipelines import align, recipes\n"
        "recipe = recipes.from_json(json.loads(sys.argv[2]))\nalign.start(Path(sys.argv[1]), recipe)\n"
    )
    place = tmp_path / "killed"
    from cumulant.pipelines.recipes import to_json

    words = [sys.executable, str(script), str(place), json.dumps(to_json(recipe))]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=os.getcwd())
    for _ in range(1200):  # until something of the second half has begun
        if (place / "sft" / "metrics.jsonl").exists() or process.poll() is not None:
            break
        time.sleep(0.1)
    process.send_signal(signal.SIGKILL)
    process.wait()
    time.sleep(0.5)  # its workers notice, and leave
    assert not (place / "judgement.json").exists()
    judgement = align.resume(place)
    assert results(place) == results(whole[0])
    timeless = [{**stage, "seconds": 0} for stage in judgement["stages"]]
    assert timeless == [{**stage, "seconds": 0} for stage in whole[1]["stages"]]
    assert judgement["samples"] == whole[1]["samples"]
    assert judgement["models"] == whole[1]["models"]


def test_a_bad_field_is_refused_before_anything_is_trained(recipe, tmp_path):
    stages = (*recipe.stages[:-1], dataclasses.replace(recipe.stages[-1], fields={"modle": "x"}))
    with pytest.raises(ConfigError, match="modle"):
        align.start(tmp_path / "place", dataclasses.replace(recipe, stages=stages))
    assert not (tmp_path / "place").exists()
