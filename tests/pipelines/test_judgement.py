"""What is concluded from answers: figures, wins, curves, and their merging over seeds. The answers are written by hand."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from cumulant.errors import ConfigError, RunError, UsageError
from cumulant.pipelines import align, judgement
from cumulant.pipelines.recipes import PRESETS, Recipe, Stage, from_json, make_recipe, to_json

RECIPE = Recipe(
    preset="demo",
    data="tales.jsonl",
    base="some-model",
    stages=(
        Stage("sft", "sft", "SFT", "imitates", {"model": "some-model"}),
        Stage("reward_model", "reward_model", "reward model", "learns", {"model": "some-model"}),
        Stage("rlhf", "rlhf", "PPO", "earns", {"model": "@sft", "reward": "@reward_model", "beta": 0.2}),
    ),
)
ANSWERS = [
    "a quiet evening by the sea",
    "two actors in search of a plot",
    "it ends before it begins",
    "long but never dull",
]


def write_answers(place, name, completions, reward, fluency=-4.0, kl=None, **more):
    count = len(completions)
    found = {"prompt": [f"prompt {row}" for row in range(count)], "completion": completions, "stopped": [True] * count}
    found |= {"tokens": [6] * count, "fluency": [fluency] * count, "reward": reward, **more}
    found |= {} if kl is None else {"kl": kl}
    (place / "answers").mkdir(exist_ok=True)
    (place / "answers" / f"{name}.json").write_text(json.dumps(found))


@pytest.fixture
def answered(tmp_path):
    for stage in RECIPE.stages:
        (tmp_path / stage.name).mkdir()
        figures = {"labels": {"value": 500.0}} if stage.algo == "reward_model" else {}
        settings = {"config": {"total_steps": 10, "batch_size": 4}}
        (tmp_path / stage.name / "config.json").write_text(json.dumps(settings))
        (tmp_path / stage.name / "evaluation.json").write_text(json.dumps({"kind": "text", "figures": figures}))
    rows = [{"iteration": k, "reward/mean": k / 10, "kl/nats": k / 2, "text/distinct_2": 0.9} for k in range(3)]
    (tmp_path / "rlhf" / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for name, reward in (("base", [0.0] * 4), ("sft", [1.0, 2.0, 3.0, 4.0]), ("sft_again", [2.0, 1.0, 3.0, 4.0])):
        write_answers(tmp_path, name, ANSWERS, reward, kl=[0.0] * 4)
    write_answers(tmp_path, "human", ANSWERS, [2.5] * 4)
    write_answers(tmp_path, "rlhf", [*ANSWERS[:3], "so so so"], [2.0, 3.0, 4.0, 5.0], kl=[1.0, 2.0, 3.0, 2.0])
    write_answers(tmp_path, "rlhf_moments", ANSWERS, [0.0] * 4, update=[1, 1, 3, 3])
    return tmp_path


def test_figures_follow_from_the_answers(answered):
    found = judgement.judge(answered, RECIPE, {"sft": 10.0, "reward_model": 5.0, "rlhf": 20.0})
    models = {model["name"]: model["figures"] for model in found["models"]}
    assert list(models) == ["base", "sft", "sft_again", "rlhf", "human"]
    assert models["sft"]["reward"]["value"] == pytest.approx(0.0)
    assert models["rlhf"]["reward"]["value"] == pytest.approx(1.0 / np.std([1.0, 2.0, 3.0, 4.0]))
    assert [models[name]["win_reward"]["value"] for name in ("sft", "sft_again", "rlhf")] == [0.5, 0.5, 1.0]
    assert models["rlhf"]["kl_nats"]["value"] == 2.0
    assert models["rlhf"]["kl_nats"]["low"] < 2.0 < models["rlhf"]["kl_nats"]["high"]
    assert models["sft"]["distinct_texts"]["value"] == 1.0
    assert found["judges"] == []  # nobody rated this data: nothing but the reward model can say who wins
    assert found["ceiling"] is None
    assert (found["seconds"], found["prompts"]) == (35.0, 4)
    assert found["samples"][1]["answers"]["rlhf"]["text"] == ANSWERS[1]
    (curve,) = found["curves"]
    assert curve["updates"]["kl"] == [0.0, 0.5, 1.0]
    deviation = np.std([1.0, 2.0, 3.0, 4.0])  # rewards are in SFT's own, as everywhere
    assert curve["updates"]["reward"] == pytest.approx([(k / 10 - 2.5) / deviation for k in range(3)])
    assert [(moment["update"], moment["kl"]) for moment in curve["moments"]] == [(1, 0.0), (3, 1.0)]
    assert [stage["labels"] for stage in found["stages"]] == [40, 500.0, None]
    json.dumps(found, allow_nan=False)


def test_seeds_are_merged_figure_by_figure(answered):
    first = judgement.judge(answered, RECIPE, {"rlhf": 20.0})
    second = json.loads(json.dumps(first)) | {"seed": 1}
    second["models"][3]["figures"]["kl_nats"]["value"] = 4.0
    found = judgement.merged([first, second])
    kl = found["models"][3]["figures"]["kl_nats"]
    assert kl["value"] == 3.0
    assert kl["low"] < 2.0 < 4.0 < kl["high"]
    assert found["seeds"] == [0, 1]
    assert [stage["seconds"] for stage in found["stages"]] == [None, None, 20.0]  # not nought where nobody knows
    assert [curve["seed"] for curve in found["curves"]] == [0, 1]
    assert first["models"][3]["figures"]["kl_nats"]["value"] == 2.0  # what was merged is as it was


def test_seeds_judged_by_different_rules_are_not_merged(answered):
    first = judgement.judge(answered, RECIPE, {})
    second = json.loads(json.dumps(first)) | {"seed": 1}
    second["rule"]["fluency"] -= 0.5
    with pytest.raises(RunError, match=r"seeds 0 and 1 were judged by different measures \(rule\)"):
        judgement.merged([first, second])


def test_what_is_missing_is_named(answered):
    (answered / "answers" / "human.json").write_text("{")
    with pytest.raises(RunError, match=r"human\.json is damaged"):
        judgement.judge(answered, RECIPE, {})


def test_orders_wait_for_the_models_that_they_need():
    orders = judgement.orders(Path("place"), RECIPE)
    assert set(orders["answers of rlhf"].after) == {"sft", "reward_model", "rlhf"}
    made = {name: [Path(part["target"]).stem for part in order.parts] for name, order in orders.items()}
    assert made == {
        "answers of sft": ["base", "sft", "sft_again", "human"],
        "answers of rlhf": ["rlhf", "rlhf_moments"],
    }
    seeds = [part["seed"] for part in orders["answers of sft"].parts[:3]]
    assert seeds == [0, 0, 1]  # all models draw by the same numbers, but for the control


def test_recipes_survive_a_file_and_take_other_models():
    for name, (_, recipe) in PRESETS.items():
        assert from_json(json.loads(json.dumps(to_json(recipe)))) == recipe
        assert recipe.preset == name
        for place, stage in enumerate(recipe.stages):  # in an order in which they can be made
            assert {each.name for each in recipe.stages[:place]} >= set(stage.after)
    other = make_recipe("demo", "my.jsonl", "my-model", 3, None)
    assert other.base == other.stage("sft").fields["model"] == "my-model"
    assert (other.data, other.seed, other.notice) == ("my.jsonl", 3, "")
    with pytest.raises(UsageError, match="no preset 'dmeo': did you mean 'demo'"):
        make_recipe("dmeo", None, None, 0, None)
    with pytest.raises(ConfigError, match="at least one"):
        make_recipe("demo", None, None, 0, 0)


@pytest.mark.parametrize("fields", [{"reward": "evil.py:score"}, {"reward": "length,evil.py:score=0.5"}])
def test_a_strangers_code_is_not_imported(tmp_path, fields):
    (tmp_path / "evil.py").write_text("raise SystemExit('imported')\n")
    stages = (*RECIPE.stages[:2], dataclasses.replace(RECIPE.stages[2], fields={**RECIPE.stages[2].fields, **fields}))
    plan = {"recipe": to_json(dataclasses.replace(RECIPE, stages=stages)), "seconds": {}, "host": "another machine"}
    (tmp_path / align.PLAN_FILE).write_text(json.dumps(plan))
    with pytest.raises(RunError, match=r"would import evil\.py:score, and another machine wrote it"):
        align.resume(tmp_path)


def test_a_stage_cannot_lead_out_of_the_directory(tmp_path):
    stages = (dataclasses.replace(RECIPE.stages[0], name="../outside"), *RECIPE.stages[1:])
    plan = {"recipe": to_json(dataclasses.replace(RECIPE, stages=stages)), "seconds": {}, "host": None}
    (tmp_path / align.PLAN_FILE).write_text(json.dumps(plan))
    with pytest.raises(RunError, match=r"align\.json is damaged.*outside"):
        align.resume(tmp_path)


def test_a_damaged_plan_is_told(tmp_path):
    (tmp_path / align.PLAN_FILE).write_text('{"recipe": {"preset": "demo"}}')
    with pytest.raises(RunError, match=r"align\.json is damaged"):
        align.resume(tmp_path)
