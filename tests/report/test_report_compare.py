"""Runs side by side: what may be compared shares a table, what may not is kept apart and said."""

from __future__ import annotations

import io
import json
from pathlib import Path

import fake_runs
import pytest
from rich.console import Console

from cumulant.errors import RunError
from cumulant.report.compare import compare, to_markdown
from cumulant.report.terminal import show_compare

DAILY = {"schedule": "daily", "reward": "inr_band", "genotype": False}


def _said(result: dict[str, object]) -> str:
    return "\n".join(result["warnings"])  # type: ignore[arg-type]


def test_runs_of_one_task_share_a_table(tmp_path: Path) -> None:
    group = fake_runs.write_group(tmp_path / "group", (0, 1))
    single = fake_runs.write_run(tmp_path / "single", seed=5)
    result = compare([group, single])
    assert result["warnings"] == []
    assert result["notice"] == fake_runs.NOTICE
    (table,) = result["tables"]
    assert table["title"] == "warfarin, schedule daily"
    assert [run["label"] for run in table["runs"]] == ["group", "single"]
    first, second = table["runs"]
    assert (first["algo"], first["env"], first["seeds"], first["steps"]) == ("ppo", "warfarin", [0, 1], 65 * 30720)
    raw = json.loads((single / "evaluation.json").read_text())
    assert second["measures"]["return"] == {"mean": raw["return_mean"], "interval": raw["return_interval"]}
    assert second["measures"]["ttr"]["mean"] == raw["outcomes"]["ttr"]["mean"]
    assert second["source"] == "evaluation"
    assert [column["key"] for column in table["columns"]] == list(raw["columns"])
    json.dumps(result, allow_nan=False)


def test_schedules_are_never_mixed(tmp_path: Path) -> None:
    paths = [
        fake_runs.write_run(tmp_path / schedule, options=DAILY | {"schedule": schedule})
        for schedule in ("daily", "clinic")
    ]
    result = compare([*paths, fake_runs.write_run(tmp_path / "other", options=DAILY)])
    assert [table["title"] for table in result["tables"]] == ["warfarin, schedule daily", "warfarin, schedule clinic"]
    assert [[run["label"] for run in table["runs"]] for table in result["tables"]] == [["daily", "other"], ["clinic"]]
    assert "must not be set against each other" in _said(result)


def test_environments_are_never_mixed(tmp_path: Path) -> None:
    paths = [fake_runs.write_run(tmp_path / "a"), fake_runs.write_run(tmp_path / "b", env="CartPole-v1", plain=True)]
    assert [table["title"] for table in compare(paths)["tables"]] == ["warfarin, schedule daily", "CartPole-v1"]


def test_other_options_that_differ_are_named(tmp_path: Path) -> None:
    paths = [
        fake_runs.write_run(tmp_path / "brief", options=DAILY),
        fake_runs.write_run(tmp_path / "survival", options=DAILY | {"reward": "survival"}),
        fake_runs.write_run(tmp_path / "seer", options=DAILY | {"observe": "all"}),
    ]
    result = compare(paths)
    assert len(result["tables"]) == 1
    assert "option 'reward' differs (brief: inr_band, survival: survival, seer: inr_band): returns are not" in _said(
        result
    )
    assert "option 'observe' differs (brief: not given, survival: not given, seer: all)" in _said(result)
    assert "genotype" not in _said(result)


def test_figures_of_unlike_origin_are_named(tmp_path: Path) -> None:
    evaluated = fake_runs.write_run(tmp_path / "evaluated")
    running = fake_runs.write_run(tmp_path / "running", evaluated=False)
    assert "different sources (evaluation, last periodic evaluation)" in _said(compare([evaluated, running]))
    other = fake_runs.write_run(tmp_path / "other")
    fake_runs.rewrite(other / "evaluation.json", lambda raw: raw | {"seed": 7})
    assert "different episodes" in _said(compare([evaluated, other]))


def test_runs_of_one_name_are_told_apart(tmp_path: Path) -> None:
    paths = [fake_runs.write_run(tmp_path / day / "run", iterations=2) for day in ("monday", "tuesday")]
    (table,) = compare(paths)["tables"]
    assert [run["label"] for run in table["runs"]] == ["monday/run", "tuesday/run"]
    (table,) = compare([paths[0], paths[0]])["tables"]
    assert len(table["runs"]) == 2


def test_what_could_not_be_read_is_a_warning(tmp_path: Path) -> None:
    place = fake_runs.write_run(tmp_path / "run", iterations=2)
    (place / "timing.jsonl").unlink()
    result = compare([place])
    assert result["tables"][0]["runs"][0]["seconds"] is None
    assert _said(result) == "run: timing.jsonl is missing"


def test_a_path_that_is_no_run_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"there is no run '.*missing'"):
        compare([fake_runs.write_run(tmp_path / "run", iterations=1), tmp_path / "missing"])


def test_markdown_holds_the_numbers_the_warnings_and_the_notice(tmp_path: Path) -> None:
    paths = [fake_runs.write_run(tmp_path / "a"), fake_runs.write_run(tmp_path / "b", options=DAILY | {"reward": "x"})]
    result = compare(paths)
    text = to_markdown(result)
    lines = text.splitlines()
    assert lines[0] == "### warfarin, schedule daily"
    head = [cell.strip() for cell in lines[2].split(" | ")]
    row = [cell.strip() for cell in lines[4].split(" | ")]
    assert len(head) == len(row) == 5 + 9
    mean = result["tables"][0]["runs"][0]["measures"]["return"]["mean"]
    assert row[5] == f"{mean:.2f} ±0.11"
    assert "> Warning: option 'reward' differs" in text
    assert f"**{fake_runs.NOTICE}**" in text


def test_markdown_and_terminal_escape_what_they_print(tmp_path: Path) -> None:
    place = fake_runs.write_run(tmp_path / "run", env="<script>alert(1)</script>|[bold]x[/bold](http://e)\x1b[31m")
    result = compare([place])
    text = to_markdown(result)
    assert "<script>" not in text
    assert "\\|\\[bold\\]x" in text
    assert "\x1b" not in text
    assert len(text.splitlines()[2].split(" | ")) == len(text.splitlines()[4].split(" | "))
    console = Console(file=io.StringIO(), width=100, force_terminal=True, color_system=None, highlight=False)
    show_compare(result, console)
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert "<script>alert(1)</script>|[bold]x[/bold]" in shown
    assert "\x1b" not in shown


@pytest.mark.parametrize("width", [60, 80, 100])
def test_the_terminal_table_fits(tmp_path: Path, width: int) -> None:
    paths = [fake_runs.write_group(tmp_path / "group"), fake_runs.write_run(tmp_path / "a_run_with_a_rather_long_name")]
    console = Console(file=io.StringIO(), width=width, highlight=False)
    show_compare(compare(paths), console)
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert max(len(line) for line in shown.splitlines()) <= width
    assert "2 seeds" in shown
    assert "23.2" in shown
