"""What is printed: true, escaped, within the width, and never on stdout while training."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import fake_runs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from cumulant.report.curves import merge
from cumulant.report.load import load
from cumulant.report.parsing import parse_evaluation
from cumulant.report.terminal import LiveProgress, _chart, show_evaluation, show_run

HOSTILE = "[bold red]pwned[/] [link=http://x]y[/link] \x1b]0;title\x07\x1b[2J \u202e"


def _console(width: int, terminal: bool = False) -> Console:
    return Console(file=io.StringIO(), width=width, force_terminal=terminal, highlight=False, color_system=None)


def _printed(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def _row(steps: int, seconds: float, **more: float) -> dict[str, Any]:
    return {"iteration": 1, "steps": steps, "total_steps": 2_000_000, "seconds": seconds,
            "episode/return": 18.44, "episode/return_std": 6.21, "outcome/in_range": 0.713, **more}  # fmt: skip


def test_a_plain_line_says_how_far_how_fast_how_long_and_how_good() -> None:
    console = _console(60)
    with LiveProgress("ppo on warfarin", console=console) as progress:
        progress.update(0, _row(500_000, 10.0))
    assert _printed(console) == (
        "ppo on warfarin  seed 0  500k of 2.00M steps  25 %  50.0k steps/s  0:30 left  return 18.4 ± 6.2  "
        "time in range 71.3 %\n"
    )


def test_speed_is_that_of_the_last_rows_and_survives_a_resume() -> None:
    console = _console(200)
    now = [0.0]
    with LiveProgress(console=console, now=lambda: now[0], plain_seconds=0) as progress:
        for i in range(1, 101):
            progress.update(0, _row(1000 * i, 100 + (i if i < 50 else 50 + 0.1 * (i - 50))))
    assert "10.0k steps/s" in _printed(console).splitlines()[-1]
    with LiveProgress(console=console, plain_seconds=0) as progress:
        progress.update(0, _row(90_000, 10.0))
        progress.update(0, _row(40_000, 4.0))  # back to a checkpoint
        progress.update(0, _row(60_000, 12.0))
    assert "2.50k steps/s" in _printed(console).splitlines()[-1]


def test_plain_lines_come_now_and_then_and_at_the_end() -> None:
    console, now = _console(200), [0.0]
    with LiveProgress(console=console, now=lambda: now[0], plain_seconds=10) as progress:
        for i in range(40):
            now[0] = float(i)
            progress.update(0, _row(1000 * (i + 1), float(i + 1)))
    lines = _printed(console).splitlines()
    assert [re.findall(r"(\S+) of", line)[0] for line in lines] == ["1.00k", "11.0k", "21.0k", "31.0k", "40.0k"]
    with LiveProgress(console=console) as progress:
        progress.update(1, _row(2_000_000, 96.0))
    assert "seed 1  2.00M of 2.00M steps  100 %" in _printed(console)
    assert "took 96 s" in _printed(console)


@pytest.mark.parametrize("width", [60, 80, 100, 160])
def test_the_live_display_fits_and_says_everything(width: int) -> None:
    console = _console(width, terminal=True)
    with LiveProgress("ppo on warfarin", console=console) as progress:
        progress.update(0, _row(2_000_000, 48.0))
        progress.update(1, _row(1_000_000, 24.0, **{"eval/return": 22.96, "eval/ttr": 84.2}))
        display = _console(width)
        display.print(progress._display())
    text = _printed(display)
    assert max(len(line.rstrip()) for line in text.splitlines()) <= width
    for word in (
        "seed 0",
        "seed 1",
        "100 %",
        "50 %",
        "41.7k",
        "0:24",
        "✓ 0:48",
        "18.4 ± 6.2",
        "time in range",
        "71.3 %",
    ):
        assert (word in text) or width < 70, word
    assert ("23.0  84.2 %" in text) == (width >= 90)
    assert "…" not in text or width < 70


def test_the_live_display_is_drawn_a_few_times_a_second_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[int] = []
    monkeypatch.setattr(LiveProgress, "_draw", lambda self: drawn.append(1))
    now = [0.0]
    with LiveProgress(console=_console(80, terminal=True), now=lambda: now[0]) as progress:
        for i in range(1000):
            now[0] = i / 1000
            progress.update(0, _row(i, i / 1000))
    assert 4 <= len(drawn) <= 7


def test_an_environment_without_outcomes_shows_its_return() -> None:
    console = _console(200)
    with LiveProgress(console=console) as progress:
        progress.update(0, {"steps": 10, "total_steps": 100, "seconds": 1.0, "episode/return": 21.0})
        progress.update(1, {"steps": 10, "total_steps": 100, "seconds": 0.0, "outcome/goals scored": 1.5})
    first, second = _printed(console).splitlines()
    assert first.endswith("0:09 left  return 21.0")
    assert second.endswith("– left  goals scored 1.50")  # noqa: RUF001


def test_silent_is_silent_and_imports_no_rich(tmp_path: Path) -> None:
    code = (
        "import sys; from cumulant.report.terminal import LiveProgress\n"
        "with LiveProgress('x', silent=True) as progress: progress.update(0, {'steps': 1})\n"
        "sys.exit('rich' in sys.modules)"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert (ended.stdout, ended.stderr) == (b"", b"")


_TRAINING = """
from cumulant.report.terminal import LiveProgress
with LiveProgress('ppo on warfarin') as progress:
    for i in range(1, 6):
        progress.update(0, {'steps': i, 'total_steps': 5, 'seconds': i / 10, 'episode/return': 1.0})
    print('{"run": 1}')
"""


def test_progress_is_not_on_stdout() -> None:
    ended = subprocess.run([sys.executable, "-c", _TRAINING], capture_output=True, text=True, check=True)
    assert ended.stdout == '{"run": 1}\n'
    assert "ppo on warfarin  seed 0" in ended.stderr


def test_progress_is_not_on_stdout_when_stderr_is_a_terminal() -> None:
    """As in ``cumulant train --json > result.json``: a live display on the terminal, clean JSON in the file."""
    leader, follower = pty.openpty()
    environment = os.environ | {"TERM": "xterm-256color", "COLUMNS": "100"}
    ended = subprocess.run(
        [sys.executable, "-c", _TRAINING], stdout=subprocess.PIPE, stderr=follower, check=True, env=environment
    )
    os.close(follower)
    shown = os.read(leader, 65536).decode()
    os.close(leader)
    assert ended.stdout == b'{"run": 1}\n'
    assert "━" in shown
    assert "100 %" in shown


def test_an_evaluation_shows_every_policy_with_its_interval() -> None:
    raw, console = fake_runs.evaluation(), _console(140)
    show_evaluation(raw, console)
    text = _printed(console)
    for comparison in raw["comparisons"]:
        beneath = text[text.index(comparison["title"]) :].splitlines()
        for row in comparison["rows"]:
            line = next(line for line in beneath if row["label"] in line)
            shown = [f"{row['metrics'][key]['mean']:.{spec['digits']}f}" for key, spec in raw["columns"].items()]
            assert line.split()[-len(shown) :] == shown
    assert "±0.11" in text
    assert "▸ PPO (this run)" in text
    assert "(ceiling)" in text
    assert "normal (3,590)" in text
    assert fake_runs.NOTICE in text
    assert "not shown" not in text


@pytest.mark.parametrize("width", [60, 80, 100, 130])
def test_an_evaluation_fits_any_width_and_names_what_it_leaves_out(width: int) -> None:
    raw, console = fake_runs.evaluation(), _console(width)
    show_evaluation(raw, console)
    text = _printed(console)
    assert max(len(line) for line in text.splitlines()) <= width
    table = text[text.index("B. Daily") : text.index("C. Each")]
    line = next(line for line in table.splitlines() if "PPO (this run)" in line)
    shown = len(line.split("(this run)")[1].split())
    assert shown >= 2  # return and time in range, always
    measures = raw["comparisons"][0]["rows"][0]["metrics"]
    expected = [f"{measures[key]['mean']:.{spec['digits']}f}" for key, spec in raw["columns"].items()]
    assert line.split("(this run)")[1].split() == expected[:shown]
    labels = [spec["label"] for spec in raw["columns"].values()]
    left_out = re.findall(r"not shown at this width: (.*(?:\n.+)*?)\n\n", table + "\n\n")
    assert " ".join(" ".join(left_out).split()) == ", ".join(labels[shown:])


def test_the_best_is_bold_and_the_ceiling_dim() -> None:
    console = Console(file=io.StringIO(), width=140, force_terminal=True, color_system="standard", highlight=False)
    show_evaluation(fake_runs.evaluation(), console)
    lines = _printed(console).splitlines()
    agent = next(line for line in lines if "PPO (this run)" in line)
    nomogram = next(line for line in lines if "UW nomogram" in line)
    oracle = next(line for line in lines if "Oracle" in line)
    assert re.search(r"\x1b\[1;36m *23\.19", agent)
    assert not re.search(r"\x1b\[1[^m]*m *3\.4", agent)
    assert re.search(r"\x1b\[1m *3\.2", nomogram)
    assert re.search(r"\x1b\[2m[^\x1b]*22\.01", oracle)


def _hostile(value: Any) -> Any:
    if isinstance(value, list):
        return [_hostile(item) for item in value]
    if isinstance(value, dict):
        return {key: _hostile(item) for key, item in value.items()} | {HOSTILE: HOSTILE}
    return HOSTILE if isinstance(value, str) else value


def test_nothing_from_a_hostile_directory_is_markup_or_control(tmp_path: Path) -> None:
    place = fake_runs.write_run(tmp_path / "run", iterations=4)
    for name in ("config.json", "manifest.json", "evaluation.json"):
        fake_runs.rewrite(place / name, _hostile)
    (place / "metrics.jsonl").write_text(
        json.dumps({"steps": 9, "episode/return": 1.0, f"outcome/{HOSTILE}": 1.0}) + "\n"
    )
    console = Console(file=io.StringIO(), width=100, force_terminal=True, color_system="truecolor", highlight=False)
    show_run(load(place), console)
    show_evaluation(load(place).evaluation, console)  # type: ignore[arg-type]
    with LiveProgress(HOSTILE, console=console) as progress:
        progress.update(0, {"steps": 1, "total_steps": 2, "seconds": 1, f"outcome/{HOSTILE}": 1.0})
    text = _printed(console)
    assert "[bold red]pwned[/]" in text
    assert "\x1b]" not in text  # neither a title nor a link
    assert "\x1b[2J" not in text.replace("\x1b[2K", "")
    assert "\x07" not in text
    assert "\u202e" not in text


def test_a_run_shows_what_it_is_and_what_it_reached(tmp_path: Path) -> None:
    console = _console(80)
    show_run(load(fake_runs.write_group(tmp_path / "group", (0, 1, 2))), console)
    text = _printed(console)
    for word in ("PPO on warfarin", "seeds 0, 1, 2", "2.00M steps each", "2 min 27 s", "schedule=daily", "True TTR",
                 "time in range, %", "return   last", fake_runs.NOTICE):  # fmt: skip
        assert word in text
    assert max(len(line) for line in text.splitlines()) <= 80


def test_a_run_that_has_just_begun_can_be_shown(tmp_path: Path) -> None:
    place = fake_runs.write_run(tmp_path / "run", iterations=1, evaluated=False)
    (place / "metrics.jsonl").write_text('{"steps": 10, "episode/return": 1.0}\n{"steps"')
    console = _console(80)
    show_run(load(place), console)
    assert "last line is torn" in _printed(console)
    assert "Last episodes of training" in _printed(console)


def test_a_chart_rises_with_its_curve() -> None:
    import numpy as np

    steps = np.linspace(0, 100, 50)
    curve = merge([(steps, steps)])
    assert curve is not None
    console = _console(80)
    console.print(_chart(curve, "x", 40))
    rows = [line.split("│")[1] for line in _printed(console).splitlines() if "│" in line]
    assert len(rows) == 6
    for index, row in enumerate(rows):
        inked = [place for place, letter in enumerate(row) if letter != "\u2800" and letter != " "]
        middle = np.mean(inked) / len(row)
        assert middle == pytest.approx(1 - (index + 0.5) / 6, abs=0.05)


_TEXT = st.text(max_size=30)


@given(st.dictionaries(st.sampled_from(["return_mean", "outcomes", "columns", "comparisons", "notice"]), st.none() | _TEXT
       | st.lists(st.fixed_dictionaries({"title": _TEXT, "rows": st.lists(st.fixed_dictionaries({"label": _TEXT, "metrics":
       st.dictionaries(_TEXT, st.floats())}), max_size=3)}), max_size=2)))  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_whatever_can_be_read_can_be_printed(raw: dict[str, Any]) -> None:
    console = _console(70)
    show_evaluation(parse_evaluation(raw), console)
