"""kill -9 at random moments, then resume: the same bytes as an undisturbed run."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

TOYS = Path(__file__).parents[1] / "engine" / "toys.py"

CASES = {
    "ppo, compiled": [
        "ppo", "CartPole-v1", "--total-steps", "1000000", "--num-envs", "4", "--eval-episodes", "5", "--engine", "compiled",
    ],
    "ppo, torch": [
        "ppo", "CartPole-v1", "--total-steps", "30000", "--num-envs", "4", "--eval-episodes", "5", "--engine", "torch",
    ],
    "ppo, normalised, own environment": [
        "ppo", f"{TOYS}:Reach", "--total-steps", "16000", "--num-envs", "3", "--horizon", "50", "--normalize-obs",
        "--normalize-reward", "--eval-episodes", "3",
    ],
    "dqn, replay by priority": [
        "dqn", "CartPole-v1", "--total-steps", "10000", "--num-envs", "4", "--horizon", "16", "--hidden", "16",
        "--prioritised", "--n-step", "3", "--noisy", "--capacity", "3000", "--eval-episodes", "5",
    ],
    "dqn, compiled": [
        "dqn", "CartPole-v1", "--total-steps", "30000", "--num-envs", "4", "--horizon", "16", "--hidden", "16",
        "--prioritised", "--n-step", "3", "--dueling", "--capacity", "3000", "--eval-episodes", "5", "--engine", "compiled",
    ],
    "sac, own environment": [
        "sac", f"{TOYS}:Reach", "--total-steps", "1800", "--num-envs", "3", "--horizon", "20", "--hidden", "16",
        "--warmup-steps", "100", "--batch-size", "16", "--eval-episodes", "3",
    ],
    "sac, compiled": [
        "sac", "Pendulum-v1", "--total-steps", "1500", "--num-envs", "3", "--horizon", "20", "--hidden", "16", "16",
        "--warmup-steps", "100", "--batch-size", "16", "--eval-episodes", "3", "--prioritised", "--engine", "compiled",
    ],
    "td3, compiled": [
        "td3", "Pendulum-v1", "--total-steps", "1500", "--num-envs", "3", "--horizon", "20", "--hidden", "16", "16",
        "--warmup-steps", "100", "--batch-size", "16", "--eval-episodes", "3", "--prioritised", "--engine", "compiled",
    ],
    "tqc, compiled": [
        "tqc", "Pendulum-v1", "--total-steps", "1500", "--num-envs", "3", "--horizon", "20", "--hidden", "16", "16",
        "--warmup-steps", "100", "--batch-size", "16", "--eval-episodes", "3", "--prioritised", "--engine", "compiled",
    ],
    "q_learning, own environment": ["q_learning", f"{TOYS}:Corridor", "--total-steps", "60000", "--eval-episodes", "3"],
}  # fmt: skip


def cumulant(*words, **options):
    return subprocess.Popen(
        [sys.executable, "-m", "cumulant.cli.main", *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def finish(process):
    out, err = process.communicate(timeout=240)
    assert process.returncode == 0, err
    return out


def fingerprint(run):
    names = ("metrics.jsonl", "policy/best.safetensors", "policy/last.safetensors", "evaluation.json", "config.json")
    return {name: (run / name).read_bytes() for name in names}


TEXT = "tales.txt"
TEXT_CASES = {
    "pretrain": [
        "pretrain", TEXT, "--total-steps", "120", "--vocabulary", "300", "--width", "32", "--layers", "2", "--heads", "2",
        "--key-value-heads", "2", "--inner", "48", "--context", "32",
    ],
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_killed_and_resumed_is_undisturbed(case, tmp_path):
    words = ["train", *CASES[case], "--quiet", "--checkpoint-seconds", "0.2", "--out"]
    finish(cumulant(*words, tmp_path / "whole"))
    timing = (tmp_path / "whole" / "timing.jsonl").read_text().splitlines()
    first, last = (json.loads(timing[k])["seconds"] for k in (0, -1))
    duration = last - first  # without what is compiled
    dice = random.Random(case)
    killed, process = 0, cumulant(*words, tmp_path / "torn")
    for _ in range(3):
        rows = tmp_path / "torn" / "metrics.jsonl"
        while process.poll() is None and not (rows.exists() and rows.stat().st_size):
            time.sleep(0.01)  # the first moment at which there is something to lose
        time.sleep(dice.uniform(0.0, 0.3 * duration))
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            killed += 1
        process.communicate()
        process = cumulant("resume", tmp_path / "torn", "--quiet")
    finish(process)
    assert killed >= 1
    assert fingerprint(tmp_path / "torn") == fingerprint(tmp_path / "whole")


@pytest.mark.parametrize("case", TEXT_CASES)
def test_a_killed_run_on_text_is_undisturbed_too(case, tmp_path):
    tales = [f"{who} {does} {what}." for who in ("a cat", "the dog") for does in ("eats", "sees") for what in range(40)]
    (tmp_path / TEXT).write_text("\n".join(tales))
    words = ["train", *TEXT_CASES[case], "--quiet", "--checkpoint-seconds", "0", "--out"]
    finish(cumulant(*words, tmp_path / "whole", cwd=tmp_path))
    process = cumulant(*words, tmp_path / "torn", cwd=tmp_path)
    rows = tmp_path / "torn" / "metrics.jsonl"
    while not (rows.exists() and rows.read_bytes().count(b"\n") >= 30):
        time.sleep(0.002)
    process.kill()
    process.communicate()
    assert not (tmp_path / "torn" / "evaluation.json").exists()
    finish(cumulant("resume", tmp_path / "torn", "--quiet", cwd=tmp_path))
    for name in ("metrics.jsonl", "model/model.safetensors", "model/tokenizer.json", "evaluation.json", "config.json"):
        assert (tmp_path / "torn" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


@pytest.mark.parametrize("first", ["seeds.json", "seed_0/metrics.jsonl"], ids=["before any row", "after the first"])
def test_a_killed_group_goes_on_with_every_seed(tmp_path, first):
    words = ["train", "ppo", "CartPole-v1", "--total-steps", "30000", "--eval-episodes", "5", "--seeds", "3", "--quiet"]
    words += ["--checkpoint-seconds", "0.2", "--out"]
    finish(cumulant(*words, tmp_path / "whole"))
    process = cumulant(*words, tmp_path / "torn")
    while not (tmp_path / "torn" / first).exists():
        time.sleep(0.01)
    time.sleep(0.3 if "metrics" in first else 0.0)
    process.kill()
    process.communicate()
    finish(cumulant("resume", tmp_path / "torn", "--quiet"))
    for seed in range(3):
        assert fingerprint(tmp_path / "torn" / f"seed_{seed}") == fingerprint(tmp_path / "whole" / f"seed_{seed}")
    assert (tmp_path / "torn" / "evaluation.json").read_bytes() == (tmp_path / "whole" / "evaluation.json").read_bytes()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_group_saves_every_seed(tmp_path, number):
    words = ["train", "ppo", "CartPole-v1", "--total-steps", "10000000", "--quiet", "--seeds", "2"]
    process = cumulant(*words, "--out", tmp_path / "group")
    seeds = [tmp_path / "group" / f"seed_{seed}" for seed in range(2)]
    started = seeds[: min(2, len(os.sched_getaffinity(0)))]
    while not all((seed / "metrics.jsonl").exists() and (seed / "metrics.jsonl").stat().st_size for seed in started):
        time.sleep(0.01)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert f"everything is saved: `cumulant resume {tmp_path / 'group'}`" in err
    assert "Traceback" not in err
    assert all(list((seed / "state").glob("*.pt")) for seed in started)


def test_a_group_stopped_before_its_first_row_leaves_nothing(tmp_path):
    process = cumulant("train", "ppo", "CartPole-v1", "--quiet", "--seeds", "2", "--out", tmp_path / "runs" / "group")
    while not (tmp_path / "runs" / "group" / "seeds.json").exists():
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert err == "cumulant: stopped before anything was trained; nothing is left behind\n"
    assert not (tmp_path / "runs").exists()


def test_ctrl_c_saves_and_says_how_to_go_on(tmp_path):
    process = cumulant("train", "ppo", "CartPole-v1", "--total-steps", "10000000", "--quiet", "--out", tmp_path / "run")
    while not (tmp_path / "run" / "metrics.jsonl").exists() or not (tmp_path / "run" / "metrics.jsonl").stat().st_size:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert f"cumulant resume {tmp_path / 'run'}" in err
    assert "Traceback" not in err
    assert list((tmp_path / "run" / "state").glob("*.pt"))
