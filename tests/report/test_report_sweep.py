"""What a sweep shows, from a sweep.json alone."""

import io
import json
import subprocess
import sys

import pytest
from rich.console import Console

from cumulant.errors import RunError
from cumulant.report import load, sweep_html
from cumulant.report.sweep_terminal import SweepProgress, show_sweep
from cumulant.report.trials import load_sweep


def trial(number, state, score, rate, gamma, **more):
    return {
        "number": number,
        "state": state,
        "reason": {"pruned": "after 8 of 20 parts", "failed": "loss <b>NaN</b>"}.get(state, ""),
        "fields": {"learning_rate": rate, "gamma": gamma, "hidden": [64, 64] if number % 2 else None},
        "score": score,
        "reached": 100.0,
        "curve": [] if score is None else [[4, 0.5 * score], [8, score]],
        "directory": f"trial_{number:04d}",
        "steps": 1000,
        "seconds": 2.0,
        "return_mean": score - 1.0 if state == "complete" else None,
        "return_interval": [score - 2.0, score] if state == "complete" else None,
    } | more


def content():
    return {
        "schema": 1,
        "algo": "ppo",
        "env": "CartPole-v1",
        "notice": "",
        "best": 2,
        "command": "cumulant train ppo CartPole-v1 --learning-rate 0.003",
        "importances": {"gamma": 0.25, "learning_rate": 0.75},
        "plan": {
            "trials": 6,
            "seeds": 1,
            "search": {
                "learning_rate": {"low": 1e-4, "high": 1e-2, "log": True, "whole": False},
                "gamma": {"values": [0.9, 0.99]},
                "hidden": {"values": [None, [64, 64]]},
            },
        },
        "trials": [
            trial(0, "complete", 480.0, 1e-3, 0.99, reached=900.0),
            trial(1, "pruned", 420.0, 2e-4, 0.9),
            trial(2, "complete", 480.0, 3e-3, 0.99),
            trial(3, "failed", None, 9e-3, 0.9),
            trial(4, "running", 450.0, 5e-3, 0.9),
        ],
    }


@pytest.fixture
def directory(tmp_path):
    (tmp_path / "sweep.json").write_text(json.dumps(content()))
    return tmp_path


def test_the_page_has_the_best_first_and_every_recorded_number(directory):
    text = sweep_html.write_report(directory).read_text()
    assert "Sweep: PPO on CartPole-v1" in text
    assert "5 of 6 trials · 1 pruned · 1 failed · 1 running · 10 s of training" in text
    assert "cumulant train ppo CartPole-v1 --learning-rate 0.003" in text
    table = text[text.index("Trials, the best first") :]
    order = [
        table.index(f"<td>{number}{state}")
        for number, state in ((2, ""), (0, ""), (1, " <em>"), (4, " <em>"), (3, " <em>"))
    ]
    assert order == sorted(order)
    for value in ("480.0", "479.0", "420.0"):
        assert f'<data value="{value}">' in text
    assert text.count("<svg") == 6  # course, curves, importances, and three fields
    assert "<script" not in text
    assert 'aria-label="score by learning_rate"' in text
    assert "$" not in text[text.index("<body>") :]  # no TeX on a logarithmic axis


def test_what_comes_from_a_stranger_is_escaped(directory):
    made = content()
    made["env"], made["command"], made["notice"] = "<script>x</script>", "<img>", "<i>note</i>"
    made["plan"]["search"]["<b>"] = {"values": ["<u>", "v"]}
    for each in made["trials"]:
        each["fields"]["<b>"] = "<u>"
    (directory / "sweep.json").write_text(json.dumps(made))
    text = sweep_html.page(load_sweep(directory))
    for bad in ("<script", "<img>", "<i>note", "<u>", "<b>NaN"):
        assert bad not in text
    assert "&lt;i&gt;note" in text


@pytest.mark.parametrize(
    ("key", "value"),
    [("trials", 5), ("plan", {}), ("importances", [1]), ("trials", [{"number": 0}]), ("trials", [{"state": "odd"}])],
)
def test_a_damaged_one_is_an_error_that_names_the_file(directory, key, value):
    (directory / "sweep.json").write_text(json.dumps(content() | {key: value}))
    with pytest.raises(RunError, match=r"sweep\.json' is damaged"):
        load_sweep(directory)
    (directory / "sweep.json").write_text("[")
    with pytest.raises(RunError, match=r"sweep\.json' is damaged"):
        load_sweep(directory)


def test_before_anything_is_complete(directory):
    made = content() | {
        "best": None,
        "importances": {},
        "command": "",
        "trials": [trial(0, "running", None, 1e-3, 0.9)],
    }
    (directory / "sweep.json").write_text(json.dumps(made))
    assert "No trial is complete yet" in sweep_html.page(load_sweep(directory))
    with pytest.raises(RunError, match="is a sweep without a complete trial"):
        load.load(directory)


def test_the_terminal_shows_the_same(directory):
    screen = Console(file=io.StringIO(), width=100)
    show_sweep(load_sweep(directory), screen)
    lines = screen.file.getvalue().splitlines()
    shown = [line.split()[0] for line in lines if line.strip()[:1].isdigit()]
    assert shown[1:] == ["2", "0", "1", "4", "3"]  # the first line counts
    assert "trial 3 failed: loss <b>NaN</b>" in lines
    assert any(line.startswith("learning_rate   75 %  ██") for line in lines)
    assert "cumulant train ppo CartPole-v1 --learning-rate 0.003" in lines


def test_reading_a_sweep_needs_no_optuna(directory):
    code = "import sys; sys.modules['optuna'] = None; from cumulant.report.sweep_html import write_report as w; w(sys.argv[1])"
    subprocess.run([sys.executable, "-c", code, directory], check=True)
    assert (directory / "report.html").exists()


def events():
    first = trial(0, "running", None, 1e-3, 0.9)
    yield {"kind": "trial", **first}
    yield {"kind": "row", "trial": 0, "seed": 0, "row": {"steps": 500, "total_steps": 1000, "eval/return": 33.0}}


def test_where_there_is_no_terminal_each_trial_is_a_line():
    screen = Console(file=io.StringIO(), width=80)
    with SweepProgress("ppo on CartPole-v1", 4, console=screen, now=iter(range(100)).__next__) as progress:
        for event in events():
            progress(event)
        progress({"kind": "trial", **trial(0, "complete", 40.0, 1e-3, 0.9)})
        progress({"kind": "trial", **trial(1, "failed", None, 9e-3, 0.9)})
    first, second = screen.file.getvalue().splitlines()
    assert first.startswith(
        "ppo on CartPole-v1  trial 0 complete  score 40.00  learning_rate=0.001 gamma=0.9 hidden=None"
    )
    assert "(1 of 4 trials  best 40.00 (trial 0)" in first
    assert "loss <b>NaN</b>" in second
    assert "2 of 4 trials  1 failed  best 40.00" in second


def test_in_a_terminal_running_trials_have_a_line():
    screen = Console(file=io.StringIO(), width=100, force_terminal=True)
    with SweepProgress("ppo on CartPole-v1", 4, console=screen) as progress:
        for event in events():
            progress(event)
    last = screen.file.getvalue().splitlines()[-2]  # after it the cursor is shown again
    assert "trial 0" in last
    assert "50 %" in last
    assert "33.00" in last


def test_silent_means_silent():
    screen = Console(file=io.StringIO())
    with SweepProgress("x", 4, silent=True, console=screen) as progress:
        for event in events():
            progress(event)
    assert screen.file.getvalue() == ""
