"""Run directories as they are found: whole, torn, unfinished, not there, and from strangers."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import fake_runs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cumulant.errors import RunError
from cumulant.report.curves import merge, with_spread
from cumulant.report.load import load, load_run
from cumulant.report.parsing import parse_evaluation
from cumulant.report.wording import number, plain
from cumulant.stats import mean_interval


def test_a_run_is_read_whole(tmp_path: Path) -> None:
    run = load_run(fake_runs.write_run(tmp_path / "run", seed=4, iterations=20))
    assert (run.algo, run.env, run.seed, run.problems) == ("ppo", "warfarin", 4, ())
    assert run.options["schedule"] == "daily"
    assert run.settings["gamma"] == 0.99
    assert run.steps == 20 * 30720
    assert run.seconds == pytest.approx(0.74 * 20 * 1.08)
    steps, values = run.column("eval/ttr")
    assert list(steps) == [8 * 30720, 16 * 30720, 20 * 30720]
    assert values[-1] == [row for row in run.rows if "eval/ttr" in row][-1]["eval/ttr"]
    assert run.keys("outcome") == ["in_range", "below", "above_4"]


def test_the_directory_may_be_given_as_text(tmp_path: Path) -> None:
    fake_runs.write_run(tmp_path / "run", iterations=2)
    assert load(str(tmp_path / "run")).seeds == [0]


@pytest.mark.parametrize("tail", ['{"iteration": 65, "ste', '{"iteration": 65', "\x00\x00\x00", '"text"'])
def test_a_torn_last_line_is_left_out_and_said(tmp_path: Path, tail: str) -> None:
    place = fake_runs.write_run(tmp_path / "run", iterations=10)
    with (place / "metrics.jsonl").open("a") as file:
        file.write(tail)
    run = load_run(place)
    assert len(run.rows) == 10
    assert run.problems == ("metrics.jsonl: the last line is torn and left out",)


def test_broken_lines_in_the_middle_are_counted(tmp_path: Path) -> None:
    place = fake_runs.write_run(tmp_path / "run", iterations=10)
    lines = (place / "metrics.jsonl").read_text().splitlines()
    lines[3], lines[6] = lines[3][:20], "[1, 2]"
    (place / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    run = load_run(place)
    assert [row["iteration"] for row in run.rows] == [0, 1, 2, 4, 5, 7, 8, 9]
    assert run.problems == ("metrics.jsonl: 2 line(s) that are no JSON object are left out, the first is 4",)


def test_bytes_that_are_no_text_cost_their_line_only(tmp_path: Path) -> None:
    place = fake_runs.write_run(tmp_path / "run", iterations=3)
    raw = (place / "metrics.jsonl").read_bytes()
    (place / "metrics.jsonl").write_bytes(b"\xff\xfe\n" + raw)
    run = load_run(place)
    assert len(run.rows) == 3
    assert run.problems == ("metrics.jsonl: 1 line(s) that are no JSON object are left out, the first is 1",)


def test_a_measure_needs_a_mean() -> None:
    known = parse_evaluation({"outcomes": {"a": {"interval": [1, 2]}, "b": {"mean": 1, "interval": [0]}, "c": 2}})
    assert set(known.measures) == {"b", "c"}
    assert known.measures["b"].low is None
    assert known.measures["c"].mean == 2.0


def test_shares_are_shown_in_percent() -> None:
    share = {"mean": 0.5, "interval": [0.25, 0.75]}
    known = parse_evaluation({"outcomes": {"value_kept_all": share, "length": share}})
    column = next(column for column in known.columns if column.key == "value_kept_all")
    shown = known.measures["value_kept_all"]
    assert (column.unit, shown.mean, shown.low, shown.high) == ("%", 50.0, 25.0, 75.0)
    assert known.measures["length"].mean == 0.5


def test_values_that_are_no_numbers_leave_a_gap(tmp_path: Path) -> None:
    place = fake_runs.write_run(tmp_path / "run", iterations=3)
    rows = [{"steps": 1, "a": 1.0}, {"steps": 2, "a": "x"}, {"steps": 3, "a": None}, {"steps": 4}, {"steps": 5, "a": 5}]
    text = "".join(json.dumps(row) + "\n" for row in rows) + '{"steps": 6, "a": NaN}\n{"steps": 7, "a": 1e999}\n'
    (place / "metrics.jsonl").write_text(text + '{"steps": 4, "a": 9}\n{"steps": 8, "a": true}\n')
    steps, values = load_run(place).column("a")
    assert list(steps) == [1.0, 5.0]
    assert list(values) == [1.0, 5.0]


def test_missing_files_become_notes(tmp_path: Path) -> None:
    place = fake_runs.write_run(tmp_path / "run", iterations=3)
    for name in ("manifest.json", "metrics.jsonl", "timing.jsonl"):
        (place / name).unlink()
    (place / "evaluation.json").write_text('{"return_mean": 3.')
    run = load_run(place)
    assert run.evaluation is None
    assert run.steps is None
    assert run.seconds is None
    assert len(run.problems) == 4
    for name in ("manifest.json", "metrics.jsonl", "timing.jsonl", "evaluation.json"):
        assert any(problem.startswith(name) for problem in run.problems)


def test_no_such_directory(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"no run '.*nowhere'.*cumulant train"):
        load(tmp_path / "nowhere")


def test_a_file_instead_of_its_directory(tmp_path: Path) -> None:
    place = fake_runs.write_run(tmp_path / "run", iterations=1)
    with pytest.raises(RunError, match=r"is a file; give the run's directory, '.*run'"):
        load(place / "config.json")


@pytest.mark.parametrize("config", [None, "", "[1]", '{"algo": "ppo"', "[" * 100_000, "\xff"])
def test_a_directory_that_is_no_run(tmp_path: Path, config: str | None) -> None:
    if config is not None:
        (tmp_path / "config.json").write_text(config, encoding="latin-1")
    with pytest.raises(RunError, match=r"is no run: it has no config\.json that is a JSON object; give the directory"):
        load(tmp_path)


def test_a_directory_of_runs_names_them(tmp_path: Path) -> None:
    fake_runs.write_run(tmp_path / "first", iterations=1)
    fake_runs.write_run(tmp_path / "second", iterations=1)
    with pytest.raises(RunError, match="it holds first, second: give one of these"):
        load(tmp_path)


def test_a_group_merges_its_seeds(tmp_path: Path) -> None:
    group = load(fake_runs.write_group(tmp_path / "group", (0, 1, 5)))
    assert group.seeds == [0, 1, 5]
    assert group.problems == ()
    assert group.seconds == pytest.approx(sum(run.seconds or 0 for run in group.runs))
    assert group.steps == 65 * 30720
    assert group.steps_per_second == pytest.approx(3 * 65 * 30720 / (group.seconds or 1))
    assert group.evaluation is not None
    assert [seed.seed for seed in group.evaluation.agent_seeds] == ["0", "1", "5"]
    curve = group.curve("episode/return")
    assert curve is not None
    expected = np.stack([run.column("episode/return")[1] for run in group.runs])
    np.testing.assert_allclose(curve.seeds, expected)
    mean, low, high = mean_interval(expected, axis=0)
    np.testing.assert_allclose([curve.mean, curve.low, curve.high], [mean, low, high])
    assert curve.band == "95 % interval of the mean over 3 seeds"


def test_a_group_goes_on_without_the_seeds_that_are_missing(tmp_path: Path) -> None:
    place = fake_runs.write_group(tmp_path / "group", (0, 1), iterations=3)
    (place / "seeds.json").write_text('{"seeds": [0, 1, 2, "../../etc", true, null, 1e400]}')
    group = load(place)
    assert group.seeds == [0, 1]
    assert len(group.problems) == 1
    assert group.problems[0].startswith("seed 2 is left out: there is no run")


@pytest.mark.parametrize("seeds", ['{"seeds": [7]}', '{"seeds": []}', '{"seeds": "012"}', "{}", '{"seeds'])
def test_a_group_without_runs(tmp_path: Path, seeds: str) -> None:
    (tmp_path / "seeds.json").write_text(seeds)
    with pytest.raises(RunError, match="group of seeds without a run that can be read"):
        load(tmp_path)


def test_seeds_of_different_length_are_compared_where_both_are() -> None:
    long = (np.array([1.0, 2.0, 3.0, 4.0]), np.array([1.0, 2.0, 3.0, 4.0]))
    short = (np.array([1.0, 3.0]), np.array([5.0, 9.0]))
    curve = merge([long, short, (np.zeros(0), np.zeros(0))])
    assert curve is not None
    np.testing.assert_array_equal(curve.steps, [1, 2, 3])
    np.testing.assert_array_equal(curve.seeds, [[1, 2, 3], [5, 7, 9]])
    assert curve.band == "range of both seeds"
    assert merge([]) is None


def test_long_curves_are_thinned_by_averages() -> None:
    steps = np.arange(1.0, 1001.0)
    curve = merge([(steps, 2 * steps)], points=10)
    assert curve is not None
    assert len(curve.steps) == 10
    np.testing.assert_allclose(curve.steps, np.arange(50.5, 1000, 100))
    np.testing.assert_allclose(curve.mean, 2 * curve.steps)
    assert np.isnan(curve.low).all()


def test_one_seed_has_the_spread_of_its_episodes(tmp_path: Path) -> None:
    group = load(fake_runs.write_run(tmp_path / "run", iterations=12))
    curve, plain_curve = group.curve("episode/return"), group.curve("outcome/in_range")
    assert curve is not None
    assert plain_curve is not None
    std = group.first.column("episode/return_std")[1]
    np.testing.assert_allclose(curve.high - curve.mean, std)
    assert curve.band == "± 1 standard deviation between episodes"
    assert plain_curve.band == ""
    assert with_spread(curve, None) is curve


def test_the_result_comes_from_the_best_source_there_is(tmp_path: Path) -> None:
    place = fake_runs.write_group(tmp_path / "group", (0, 1, 2), iterations=9)
    returns = [json.loads((place / f"seed_{s}" / "evaluation.json").read_text())["return_mean"] for s in range(3)]

    result = load(place).result()
    assert result.source == "evaluation"
    assert result.measures["return"].mean == pytest.approx(np.mean(returns))
    assert result.outcome is not None
    assert result.outcome.label == "True TTR"

    (place / "evaluation.json").unlink()
    result = load(place).result()
    assert result.source == "mean of the seeds' own evaluations"
    measure = result.measures["return"]
    np.testing.assert_allclose((measure.mean, measure.low, measure.high), mean_interval(returns))

    for seed in range(3):
        (place / f"seed_{seed}" / "evaluation.json").unlink()
    group = load(place)
    result = group.result()
    assert result.source == "last periodic evaluation"
    assert result.measures["ttr"].mean == pytest.approx(np.mean([run.column("eval/ttr")[1][-1] for run in group.runs]))

    for seed in range(3):
        rows = [json.loads(line) for line in (place / f"seed_{seed}" / "metrics.jsonl").read_text().splitlines()]
        kept = [{key: value for key, value in row.items() if not key.startswith("eval/")} for row in rows]
        (place / f"seed_{seed}" / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in kept))
    group = load(place)
    result = group.result()
    assert result.source == "last episodes of training"
    assert result.columns["in_range"].unit == "%"
    last = np.mean([run.column("outcome/in_range")[1][-1] for run in group.runs])
    assert result.measures["in_range"].mean == pytest.approx(100 * last)

    for seed in range(3):
        (place / f"seed_{seed}" / "metrics.jsonl").write_text("")
    assert load(place).result().source == "no result yet"


def test_an_evaluation_with_every_part_is_read_whole() -> None:
    raw = fake_runs.evaluation()
    known = parse_evaluation(raw)
    assert known.problems == ()
    assert [column.key for column in known.columns] == list(raw["columns"])
    assert known.outcome is not None
    assert known.outcome.key == "ttr"
    row = known.comparisons[0].rows[1]
    assert row.measures["ttr"].mean == raw["comparisons"][0]["rows"][1]["metrics"]["ttr"]["mean"]
    assert [row.measures["ttr"].low, row.measures["ttr"].high] == [75.75, 76.45]
    assert known.trajectories is not None
    assert len(known.trajectories.cases) == 4
    assert known.policy_map is not None
    assert known.policy_map.z[3][5] == raw["policy_map"]["z"][3][5]
    assert known.notice == fake_runs.NOTICE


def test_the_best_is_looked_for_among_those_who_compete() -> None:
    known = parse_evaluation(fake_runs.evaluation())
    comparison = known.comparisons[0]
    labels = [row.label for row in comparison.rows]

    def best(key: str) -> list[str]:
        return [labels[index] for index in sorted(comparison.best(known.column(key)))]

    assert best("return") == ["PPO (this run)"]
    assert best("above_4") == ["PPO (this run)"]  # no treatment has 0.00 and the oracle 0.04, but neither competes
    assert best("bleeds") == ["UW nomogram"]
    assert comparison.best_protocol(known.column("return")).label == "Above 3 down, below 2 up"  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("part", "value", "said"),
    [
        ("policy_map", {"x": [1, 2], "y": [1, 2], "z": [[0, 0]], "legend": ["a"]}, "z must have 2 rows of 2"),
        ("policy_map", {"x": [1, 2], "y": [1, 2], "z": [[0, 0], [0, 5]], "legend": ["a"]}, "legend of 1"),
        ("policy_map", {"x": [2, 1], "y": [1, 2], "z": [[0, 0], [0, 0]], "legend": ["a"]}, "must increase"),
        ("policy_map", {"x": [2], "y": [1, 2], "z": [[0], [0]], "legend": ["a"]}, "1 by 2"),
        ("trajectories", {"cases": [{"lines": [{"x": [1, 2], "y": [1]}]}]}, "2 x, 1 y"),
        ("trajectories", {"cases": [{"lines": [{"x": [1, "2"], "y": [1, 1]}]}]}, "no number"),
        ("comparisons", {"rows": []}, "a list was expected"),
        ("comparisons", [{"rows": 5}], "a list was expected and a int found"),
        ("subgroups", [7], "an object was expected"),
        ("columns", [], "an object was expected"),
        ("outcomes", "ttr", "an object was expected"),
    ],
)
def test_a_part_that_does_not_fit_is_left_out_and_said(part: str, value: Any, said: str) -> None:
    raw = fake_runs.evaluation() | {part: value}
    known = parse_evaluation(raw)
    assert len(known.problems) == 1
    assert known.problems[0].startswith(f"evaluation.json: '{part}' is left out: ")
    assert said in known.problems[0]
    assert known.measures["return"].mean == raw["return_mean"]


_KEYS = st.sampled_from(
    ["mean", "interval", "rows", "label", "kind", "metrics", "x", "y", "z", "y2", "legend", "cases", "lines", "band",
     "agent", "reference", "episodes", "title", "digits", "unit", "return_mean", "outcomes", "options", "columns",
     "comparisons", "subgroups", "trajectories", "policy_map", "agent_seeds", "notice", "key"]
)  # fmt: skip
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_KEYS, inner, max_size=5),
    max_leaves=25,
)


@given(_JSON)
@settings(max_examples=300, deadline=None)
def test_no_evaluation_makes_the_reader_fall_over(raw: Any) -> None:
    known = parse_evaluation(raw)
    for measure in known.measures.values():
        assert math.isfinite(measure.mean)
        assert (measure.low is None) == (measure.high is None)


@given(st.text())
@settings(deadline=None)
def test_no_text_moves_a_cursor_or_reorders_a_line(text: str) -> None:
    shown = plain(text, 50)
    assert len(shown) <= 50
    assert not any(ord(letter) < 32 or 0x7F <= ord(letter) < 0xA0 for letter in shown)
    assert not any(0x202A <= ord(letter) <= 0x202E or 0x2066 <= ord(letter) <= 0x2069 for letter in shown)
    assert plain(shown, 50) == shown


@pytest.mark.parametrize("value", ["3", None, True, [], math.inf, math.nan, 10**400, 1e31])
def test_what_is_no_number_is_none(value: object) -> None:
    assert number(value) is None
