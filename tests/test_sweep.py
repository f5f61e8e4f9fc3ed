"""Sweeps from the command line and from Python, with real trainings in processes of their own."""

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time

import pytest

import cumulant
from cumulant import api, catalogue, sweeps
from cumulant.cli.train import parse_fields
from cumulant.errors import ConfigError, RunError, RunInUse, UsageError
from cumulant.run.place import lock


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    """A finished sweep of two trials with two seeds each; read only."""
    directory = tmp_path_factory.mktemp("sweeps") / "sweep"
    fields = {"total_steps": 1024, "num_envs": 4, "horizon": 64, "eval_episodes": 4, "hidden": (16, 16)}
    search = {"learning_rate": "1e-4..1e-2:log", "normalize_obs": [True, False], "value_clip": "none|0.2"}
    events = []
    result = cumulant.sweep(
        "ppo",
        "CartPole-v1",
        trials=2,
        seeds=2,
        processes=2,
        search=search,
        out=directory,
        progress=events.append,
        **fields,
    )
    return directory, result, events


def test_every_trial_is_an_ordinary_run(sweep):
    directory, result, _ = sweep
    assert [trial["state"] for trial in result.trials] == ["complete", "complete"]
    for trial in result.trials:
        group = directory / trial["directory"]
        spec = json.loads((group / "seed_1" / "config.json").read_text())
        assert spec["seed"] == 1
        config = spec["config"] | spec["config"]["network"]
        assert trial["fields"].items() <= config.items()
        assert config["hidden"] == [16, 16]
        evaluation = json.loads((group / "evaluation.json").read_text())
        assert evaluation["return_mean"] == trial["return_mean"]
        best = [max(row.get("eval/return", 0) for row in rows(group / f"seed_{seed}")) for seed in (0, 1)]
        assert trial["score"] == pytest.approx(sum(best) / 2)
        assert json.loads((group / "trial.json").read_text())["score"] == trial["score"]
    first = result.trials[0]["fields"]
    assert first == {
        "learning_rate": 1e-3,
        "normalize_obs": False,
        "value_clip": None,
    }  # what a training takes by itself
    assert result.best["score"] == max(trial["score"] for trial in result.trials)


def rows(member):
    return [json.loads(line) for line in (member / "metrics.jsonl").read_text().splitlines()]


def test_progress_tells_of_trials_and_rows(sweep):
    _, _, events = sweep
    states = [(event["number"], event["state"]) for event in events if event["kind"] == "trial"]
    assert sorted(states) == [(0, "complete"), (0, "running"), (1, "complete"), (1, "running")]
    told = [event for event in events if event["kind"] == "row"]
    assert {(event["trial"], event["seed"]) for event in told} == {(0, 0), (0, 1), (1, 0), (1, 1)}
    assert {event["row"]["total_steps"] for event in told} == {1024}
    assert max(event["row"]["steps"] for event in told) >= 1024


def test_a_sweep_stands_for_its_best_trial(sweep, cli):
    directory, result, _ = sweep
    best = directory / result.best["directory"]
    assert api.load(directory).card["seed"] == api.load(best).card["seed"]
    assert cli("evaluate", directory, "--json").json == cli("evaluate", best, "--json").json
    (table,) = cli("compare", directory, "--json").json["tables"]
    assert table["runs"][0]["measures"]["return"]["mean"] == result.best["return_mean"]
    with pytest.raises(UsageError, match="resume_sweep goes on with it"):
        api.resume(directory)


def test_its_report_is_written_again(sweep, cli):
    directory, result, _ = sweep
    assert (directory / "report.html").exists()
    answer = cli("report", directory)
    assert answer.code == 0
    assert result.command in answer.out.replace("\n", " ")
    assert "Sweep: PPO on CartPole-v1" in (directory / "report.html").read_text()


def test_the_printed_command_is_the_best_trial(sweep):
    """Parsed as the command line would, it gives the very config."""
    directory, result, _ = sweep
    verb, algo, env, *words = shlex.split(result.command)[1:]
    assert (verb, algo, env) == ("train", "ppo", "CartPole-v1")
    at = words.index("--seeds")
    assert words[at : at + 2] == ["--seeds", "2"]
    module = catalogue.load_algorithm(algo)
    config, options = parse_fields(module, algo, env, words[:at] + words[at + 2 :], False)
    spec = json.loads((directory / result.best["directory"] / "seed_0" / "config.json").read_text())
    assert api.make_spec(algo, env, config=config, env_options=options)["config"] == spec["config"]


def test_a_command_names_what_differs_and_no_more():
    fields = {"gamma": 0.9, "value_clip": 0.1, "normalize_obs": True, "hidden": (8,)}
    spec = api.make_spec("ppo", "warfarin", 3, {"schedule": "clinic"}, threads=2, **fields)
    config = sweeps._config_of(spec)
    assert sweeps.train_command(spec, config) == (
        "cumulant train ppo warfarin --gamma 0.9 --value-clip 0.1 --hidden 8 --schedule clinic --seed 3 --threads 2"
    )
    spec = api.make_spec("dqn", "FrozenLake-v1", 0, {"map_name": "8x8"}, n_step=5, dueling=True)
    assert sweeps.train_command(spec, sweeps._config_of(spec)) == (
        """cumulant train dqn FrozenLake-v1 --dueling --n-step 5 --env-option 'map_name="8x8"'"""
    )


def test_two_sweeps_in_one_directory_are_locked_out(sweep, cli):
    directory, _, _ = sweep
    held = lock(directory)
    try:
        with pytest.raises(RunInUse, match="is in use by process"):
            api.resume_sweep(directory)
    finally:
        os.close(held)
    assert cli("sweep", "ppo", "CartPole-v1", "--out", directory).code == 1  # it is not empty


def test_a_finished_sweep_is_what_it_was(sweep):
    directory, result, _ = sweep
    again = api.resume_sweep(directory)
    assert (again.trials, again.best, again.command) == (result.trials, result.best, result.command)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--search", "lerning_rate=1..2"], "no field 'lerning_rate': did you mean 'learning_rate'"),
        (["--gamma", "0.99", "--search", "gamma=0.9..0.99"], "both searched and set to 0.99"),
        (["--trials", "0"], "trials = 0: there must be at least one"),
        (["--processes", "0"], "processes = 0"),
        (["--seeds", "0"], "seeds = 0"),
        (["--pruner", "hyperband"], "invalid choice: 'hyperband'"),
        (["--gama", "1"], "did you mean '--gamma'"),
        (["--env-option", "x=1"], "are flags of their own"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_made(cli, workspace, words, said):
    answer = cli("sweep", "ppo", "CartPole-v1", *words)
    assert answer.code == 2
    assert said in answer.err
    assert list(workspace.iterdir()) == []


def test_help_says_what_is_searched(cli, workspace):
    answer = cli("sweep", "ppo", "warfarin", "--help")
    assert answer.code == 0
    assert "learning_rate      0.0002..0.02:log" in answer.out


def test_a_sweep_of_another_machine_needs_trust(sweep, tmp_path):
    directory = tmp_path / "foreign"
    shutil.copytree(sweep[0], directory)
    content = json.loads((directory / "sweep.json").read_text())
    content["plan"]["host"], content["plan"]["spec"]["env"] = "elsewhere", "theirs.py:Env"
    content["plan"]["search"]["net"] = {"values": ["mlp", "their/net.py:Net"]}
    (directory / "sweep.json").write_text(json.dumps(content))
    with pytest.raises(RunError, match=r"would import theirs\.py:Env, their/net\.py:Net, and another machine wrote it"):
        api.resume_sweep(directory)
    del content["plan"]["search"]
    (directory / "sweep.json").write_text(json.dumps(content))
    with pytest.raises(RunError, match=r"sweep\.json is damaged"):
        api.resume_sweep(directory)


FRAGILE = '''
from dataclasses import dataclass, field
from cumulant.algos import ppo
from cumulant.errors import ConfigError
@dataclass(frozen=True)
class Config(ppo.Config):
    """PPO that refuses and breaks."""
    a: float = 0.0
    """Refused together with b."""
    b: float = 0.0
    """Refused together with a."""
    breaks: bool = False
    """Whether it breaks."""
    def __post_init__(self):
        super().__post_init__()
        if self.a and self.b:
            raise ConfigError("a and b cannot be")
def train(config, run):
    if config.breaks:
        for _ in run.iterations(3):
            run.log(**{"loss/policy": float("nan")})
    return ppo.train(config, run)
'''


def test_a_trial_that_fails_is_not_the_end(workspace):
    (workspace / "fragile.py").write_text(FRAGILE)
    fields = {"total_steps": 256, "num_envs": 4, "horizon": 64, "eval_episodes": 4}
    result = cumulant.sweep(
        "fragile.py", "CartPole-v1", trials=2, processes=1, search="breaks=true|false", seed=3, **fields
    )
    assert result.run.name == "sweep-fragile-cartpole-001"
    assert {trial["state"] for trial in result.trials} == {"complete", "failed"}
    for trial in result.trials:
        assert (trial["state"] == "failed") == trial["fields"]["breaks"]
        assert ("loss/policy became nan" in trial["reason"]) == trial["fields"]["breaks"]
    assert result.best["fields"] == {"breaks": False}


def test_a_sweep_of_which_every_trial_fails_says_why_and_leaves_the_reasons(workspace):
    (workspace / "fragile.py").write_text(FRAGILE)
    with pytest.raises(ConfigError, match="a and b cannot be"):
        cumulant.sweep("fragile.py", "CartPole-v1", trials=9, processes=1, search="a=1..2,b=1..2", out="sweep")
    trials = json.loads((workspace / "sweep" / "sweep.json").read_text())["trials"]
    assert [trial["state"] for trial in trials] == ["failed"] * 3


WORDS = [
    *(
        "sweep",
        "ppo",
        "CartPole-v1",
        "--trials",
        "3",
        "--processes",
        "1",
        "--pruner",
        "halving",
        "--total-steps",
        "8000",
    ),
    *("--num-envs", "4", "--horizon", "64", "--eval-episodes", "4", "--search", "learning_rate=1e-7..1e-3:log"),
    *("--checkpoint-seconds", "0.1", "--quiet", "--json", "--out"),
]


def start(*words):
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, "-m", "cumulant.cli.main", *map(str, words)], **pipes)


def wait_for(path, process):
    while process.poll() is None and not (path.exists() and path.stat().st_size):
        time.sleep(0.01)


@pytest.mark.slow
def test_stopped_and_killed_and_resumed_is_undisturbed(tmp_path):
    """Ctrl-C in the first trial, kill -9 in the second: the same trials, scores and policies as if nothing had been."""
    whole = start(*WORDS, tmp_path / "whole")
    torn = start(*WORDS, tmp_path / "torn")
    wait_for(tmp_path / "torn" / "trial_0000" / "metrics.jsonl", torn)
    torn.send_signal(signal.SIGINT)
    out, err = torn.communicate(timeout=120)
    assert torn.returncode == 130, err
    assert "everything is saved: `cumulant resume" in err
    assert json.loads(out)["exit_code"] == 130
    assert not (tmp_path / "torn" / "trial_0000" / "evaluation.json").exists()
    torn = start("resume", tmp_path / "torn", "--quiet", "--json")
    wait_for(tmp_path / "torn" / "trial_0001" / "metrics.jsonl", torn)
    torn.kill()
    torn.communicate()
    torn = start("resume", tmp_path / "torn", "--quiet", "--json")
    results = []
    for process in (whole, torn):
        out, err = process.communicate(timeout=240)
        assert process.returncode == 0, err
        results.append(json.loads(out))
    keys = ("number", "state", "reason", "fields", "score", "return_mean", "return_interval")
    told = [[{key: trial[key] for key in keys} for trial in result["trials"]] for result in results]
    assert told[0] == told[1]
    assert {trial["state"] for trial in told[0]} == {"complete", "pruned"}
    assert results[0]["command"] == results[1]["command"]
    policies = [tmp_path / name / "trial_0000" / "policy" / "best.safetensors" for name in ("whole", "torn")]
    assert policies[0].read_bytes() == policies[1].read_bytes()
    ended = next(trial for trial in told[0] if trial["state"] == "pruned")
    directory = tmp_path / "whole" / f"trial_{ended['number']:04d}"
    assert json.loads((directory / "trial.json").read_text())["state"] == "pruned"
    assert list((directory / "state").glob("*.pt"))  # an ordinary run, with which one may go on
    assert not (directory / "evaluation.json").exists()
