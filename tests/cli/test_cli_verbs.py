"""What each verb gives: one JSON object with --json, files where they belong, the same on every call."""

import json
import re

import pytest

import cumulant
from cumulant import catalogue
from cumulant.envs import lookup

SHORT = ("--quiet", "--total-steps", "512", "--num-envs", "4", "--horizon", "64", "--eval-episodes", "4")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run of PPO on CartPole; read only."""
    directory = tmp_path_factory.mktemp("verbs") / "run"
    fields = {"total_steps": 512, "num_envs": 4, "horizon": 64, "eval_episodes": 4}
    return cumulant.train("ppo", env="CartPole-v1", out=directory, **fields).run


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    """A group of two seeds of SARSA on a gridworld; read only."""
    directory = tmp_path_factory.mktemp("verbs") / "group"
    return cumulant.train("sarsa", env="cliff-walking", out=directory, seeds=2, seed=5, total_steps=8000).run


def test_train_ends_with_one_object(cli, workspace):
    answer = cli("train", "ppo", "CartPole-v1", *SHORT, "--seed", "7", "--json")
    assert answer.code == 0
    assert answer.err == ""
    said = answer.json
    assert said["run"] == "runs/ppo-cartpole-001"
    assert (said["algo"], said["env"], said["seed"], said["steps"]) == ("ppo", "CartPole-v1", 7, 512)
    assert said["steps_per_second"] == pytest.approx(512 / said["training_seconds"], rel=0.1)
    assert said["seconds"] > said["training_seconds"]
    assert cli("train", "ppo", "CartPole-v1", *SHORT, "--json").json["run"] == "runs/ppo-cartpole-002"


def test_a_run_directory_has_what_it_should(run):
    names = {path.relative_to(run).as_posix() for path in run.rglob("*") if path.is_file()}
    assert names >= {
        "config.json",
        "manifest.json",
        "metrics.jsonl",
        "timing.jsonl",
        "evaluation.json",
        "report.html",
        "policy/best.safetensors",
        "policy/last.safetensors",
        "policy/card.json",
    }
    assert any(name.startswith("tensorboard/events") for name in names)
    assert {name for name in names if name.startswith("state/")}
    config = json.loads((run / "config.json").read_text())
    assert (config["algo"], config["env"], config["seed"], config["config"]["num_envs"]) == ("ppo", "CartPole-v1", 0, 4)
    manifest = json.loads((run / "manifest.json").read_text())
    assert manifest["versions"].keys() >= {"python", "torch", "numpy", "gymnasium"}
    assert manifest["threads"] == 1


@pytest.mark.parametrize("which", ["run", "other"])
def test_evaluate_gives_measures_with_intervals(cli, request, which):
    directory = request.getfixturevalue(which)
    answer = cli("evaluate", directory, "--json", "--episodes", "50")
    assert (answer.code, answer.err) == (0, "")
    said = answer.json
    assert said["episodes"] == 50
    assert said["return_interval"][0] <= said["return_mean"] <= said["return_interval"][1]
    assert said["outcomes"].keys() == {"length"}
    assert cli("evaluate", directory, "--json", "--episodes", "50").json == said
    if which == "run":  # starts differ
        assert cli("evaluate", directory, "--json", "--episodes", "50", "--seed", "1").json != said
    assert "Return" in cli("evaluate", directory).out


def test_evaluate_is_what_training_said_at_its_end(cli, run):
    assert cli("evaluate", run, "--json").json == json.loads((run / "evaluation.json").read_text())


def test_evaluate_of_a_policy_folder_alone(cli, run):
    assert cli("evaluate", run / "policy", "--json").json == cli("evaluate", run, "--json").json


def test_resume_of_a_finished_run_changes_nothing(cli, run):
    before = (run / "metrics.jsonl").read_bytes()
    answer = cli("resume", run, "--quiet", "--json")
    assert answer.code == 0
    assert answer.json["steps"] == 512
    assert (run / "metrics.jsonl").read_bytes() == before


def test_report_and_compare(cli, run, other):
    (run / "report.html").unlink()
    assert cli("report", run, "--json").json == {"run": str(run), "report": str(run / "report.html")}
    assert (run / "report.html").read_text().startswith("<!doctype html>")
    shown = cli("report", other)
    assert shown.code == 0
    assert "report.html" in "".join(shown.out.split())
    compared = cli("compare", run, other, "--json").json
    assert {table["title"] for table in compared["tables"]} == {"CartPole-v1", "cliff-walking"}
    assert cli("compare", run, other).code == 0


def test_a_group_has_its_seeds_and_means_over_them(cli, other):
    assert json.loads((other / "seeds.json").read_text())["seeds"] == [5, 6]
    own = [json.loads((other / f"seed_{seed}" / "evaluation.json").read_text()) for seed in (5, 6)]
    merged = json.loads((other / "evaluation.json").read_text())
    assert merged["return_mean"] == pytest.approx(sum(e["return_mean"] for e in own) / 2)
    assert [seed["seed"] for seed in merged["agent_seeds"]] == [5, 6]
    resumed = cli("resume", other, "--quiet", "--json").json
    assert (resumed["seed"], resumed["seeds"], resumed["steps"]) == (5, [5, 6], 16_000)


def test_list(cli):
    everything = cli("list", "--json").json
    assert everything["algos"].keys() == catalogue.algorithms().keys()
    assert everything["envs"].keys() == lookup.listing().keys()
    assert everything["protocols"].keys() == catalogue.protocols().keys()
    for what in ("algos", "envs", "protocols", "data"):
        assert cli("list", what, "--json").json == {what: everything[what]}
        shown = cli("list", what).out
        assert all(name in shown for name in everything[what])
        assert all(text for entry in everything[what].values() for key, text in entry.items() if key != "replaces")
    assert "research and education only" in cli("list", "protocols").out


def test_copy_does_not_overwrite(cli, workspace):
    assert cli("copy", "ppo", "my/ppo.py", "--json").json == {"algo": "ppo", "file": "my/ppo.py"}
    (workspace / "my" / "ppo.py").write_text("mine")
    again = cli("copy", "ppo", "my/ppo.py")
    assert again.code == 2
    assert "my/ppo.py exists: choose another name, or remove it first" in again.err
    assert (workspace / "my" / "ppo.py").read_text() == "mine"


def test_the_version(cli):
    assert cli("--version").out == f"cumulant {cumulant.__version__}\n"


def test_without_json_the_result_is_for_people(cli, workspace):
    answer = cli("train", "ppo", "CartPole-v1", *SHORT, "--out", "run")
    assert "PPO on CartPole-v1" in answer.out
    assert re.search(r"report: run/report\.html", answer.out)


def test_what_is_the_preset_is_said_and_options_win(cli, workspace):
    words = [word for word in SHORT if word != "--quiet"]
    answer = cli("train", "ppo", "CartPole-v1", *words, "--gamma", "0.9", "--out", "run", "--json")
    assert "preset for ppo on CartPole-v1" in answer.err
    config = json.loads((workspace / "run" / "config.json").read_text())["config"]
    assert (config["gamma"], config["total_steps"]) == (0.9, 512)


def test_which_seed_of_a_group_is_evaluated_is_said(cli, other, run):
    said = cli("evaluate", other, "--json", "--episodes", "2").json["policy"]
    assert re.fullmatch(r"sarsa, seed [56], the best of 2", said)
    assert cli("evaluate", other, "--episodes", "2").out.startswith(said)
    assert "policy" not in cli("evaluate", run, "--json", "--episodes", "2").json
