"""Several runs side by side, and only what may stand side by side.

Runs share a table when they have the same environment and the same schedule: a policy that sees its measurements every
day and one that sees them once a week answer different questions. Other options that differ are named in a warning.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from cumulant.report import align_compare
from cumulant.report.align_load import is_align, load_align
from cumulant.report.evaluation import Column, Measure
from cumulant.report.load import RunGroup, load
from cumulant.report.wording import algo_name, duration, fixed, magnitude, plain, spread

# Options that say what a policy is told and when: results under different values never share a table.
APART = ("schedule",)


def compare(paths: Iterable[str | Path]) -> dict[str, Any]:
    """Compare runs, groups of seeds, or alignments.

    Args:
        paths: Run directories, or align directories, of which every model is a row.

    Returns:
        ``{"tables": [{"title", "columns", "runs"}], "warnings": [...], "notice": ...}``, ready for JSON. A run has
        ``path, label, algo, env, options, seeds, steps, seconds, steps_per_second, source, episodes`` and
        ``measures`` (``"return"`` and outcomes, each ``{"mean", "interval"}``, interval None where there is none).

    Raises:
        RunError: If a path is no run (message names it).
    """
    places = [Path(path) for path in paths]
    named = list(zip(places, _labels(places)))
    alignments = [(load_align(place), label) for place, label in named if is_align(place)]
    labels = [label for place, label in named if not is_align(place)]
    groups = [load(place) for place in places if not is_align(place)]
    tables: dict[tuple[str, ...], list[tuple[RunGroup, str]]] = {}
    for group, label in zip(groups, labels):
        tables.setdefault(_kind(group), []).append((group, label))
    warnings = [f"{label}: {problem}" for group, label in zip(groups, labels) for problem in group.problems]
    made, more = align_compare.tables(alignments)
    warnings += more
    if len(tables) > 1:
        warnings.append(
            "these runs differ in environment or schedule: each table is a comparison of its own, and figures of "
            "different tables must not be set against each other"
        )
    for kind, members in tables.items():
        warnings += _differences(members)
        made.append(_table(kind, members))
    notices = [align.notice for align, _ in alignments if align.notice]
    notices += [group.evaluation.notice for group in groups if group.evaluation and group.evaluation.notice]
    return {"tables": made, "warnings": warnings, "notice": notices[0] if notices else ""}


def to_markdown(result: Mapping[str, Any]) -> str:
    """Write a comparison as Markdown tables, with means, intervals, warnings and the notice.

    Args:
        result: From `compare`.
    """
    parts = []
    for table in result["tables"]:
        heads = ["Run", "Algorithm", "Seeds", "Steps", "Training"]
        heads += [entry["label"] + (f" ({entry['unit']})" if entry["unit"] else "") for entry in table["columns"]]
        lines = [heads, ["---"] * 5 + ["---:"] * len(table["columns"])]
        for run in table["runs"]:
            label = f"{run['model']}, {run['label']}" if "model" in run else run["label"]
            cells = [label, algo_name(run["algo"]), str(len(run["seeds"])), magnitude(run["steps"])]
            cells.append(duration(run["seconds"]))
            for entry in table["columns"]:
                measure = run["measures"].get(entry["key"])
                low, high = (measure["interval"] or (None, None)) if measure else (None, None)
                mean = measure["mean"] if measure else None
                half = spread(mean, low, high, entry["digits"])
                cells.append(f"{fixed(mean, entry['digits'])} {half}".strip())
            lines.append(cells)
        body = "\n".join("| " + " | ".join(_escaped(cell) for cell in cells) + " |" for cells in lines)
        parts.append(f"### {_escaped(table['title'])}\n\n{body}")
    parts += [f"> Warning: {_escaped(warning)}" for warning in result["warnings"]]
    parts += [f"> **{_escaped(result['notice'])}**"] if result.get("notice") else []
    return "\n\n".join(parts) + "\n"


def _escaped(text: str) -> str:
    """Text that Markdown takes as text: a run's name may hold HTML, links or table bars."""
    text = plain(text, 600).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return "".join("\\" + letter if letter in "\\`*_[]|!#" else letter for letter in text)


def _options(group: RunGroup) -> dict[str, str]:
    """Options of the environment that the figures come from."""
    source = group.evaluation.options if group.evaluation and group.evaluation.options else group.first.options
    return {key: plain(value, 80) for key, value in source.items()}


def _kind(group: RunGroup) -> tuple[str, ...]:
    options = _options(group)
    return (group.first.env, *(f"{key} {options[key]}" for key in APART if key in options))


def _labels(paths: Sequence[Path]) -> list[str]:
    """Directory names, with as many parents as it takes to tell them apart."""
    parts = [path.resolve().parts for path in paths]
    depth = 1
    while depth < 6 and len({part[-depth:] for part in parts}) < len(set(parts)):
        depth += 1
    return [plain("/".join(part[-depth:]), 120) for part in parts]


def _table(kind: tuple[str, ...], members: Sequence[tuple[RunGroup, str]]) -> dict[str, Any]:
    columns: dict[str, Column] = {}
    runs = []
    for group, label in members:
        result = group.result()
        for key, column in result.columns.items():
            if key in result.measures:
                columns.setdefault(key, column)
        episodes = group.evaluation.episodes if group.evaluation and result.source == "evaluation" else None
        runs.append(
            {
                "path": str(group.path),
                "label": label,
                "algo": group.first.algo,
                "env": group.first.env,
                "options": _options(group),
                "seeds": group.seeds,
                "steps": None if group.steps is None else int(group.steps),
                "seconds": group.seconds,
                "steps_per_second": group.steps_per_second,
                "source": result.source,
                "episodes": episodes,
                "measures": {key: _measure(measure) for key, measure in result.measures.items()},
            }
        )
    if all(
        group.evaluation and group.evaluation.is_text for group, _ in members
    ):  # stages have figures of their own too
        common = [key for key in columns if all(key in group.result().measures for group, _ in members)]
        columns = {key: column for key, column in columns.items() if key in common} or columns
    shown = [vars(column) for column in columns.values()]
    return {"title": ", ".join(kind), "columns": shown, "runs": runs}


def _measure(measure: Measure) -> dict[str, Any]:
    return {"mean": measure.mean, "interval": None if measure.low is None else [measure.low, measure.high]}


def _differences(members: Sequence[tuple[RunGroup, str]]) -> list[str]:
    """What makes the runs of one table less than comparable."""
    warnings = []
    options = [_options(group) for group, _ in members]
    for key in dict.fromkeys(key for option in options for key in option):
        values = [option.get(key, "not given") for option in options]
        if len(set(values)) > 1:
            said = ", ".join(f"{label}: {value}" for (_, label), value in zip(members, values))
            meaning = "returns are not in the same unit, compare outcomes only" if key == "reward" else ""
            meaning = meaning or "the runs did not have the same task"
            warnings.append(f"option '{key}' differs ({said}): {meaning}")
    sources = {group.result().source for group, _ in members}
    if len(sources) > 1:
        warnings.append(
            f"the figures come from different sources ({', '.join(sorted(sources))}): evaluate all runs first"
        )
    tests = {(group.evaluation.episodes, group.evaluation.seed) for group, _ in members if group.evaluation}
    if len(tests) > 1:
        warnings.append("the runs were evaluated on different episodes (number or seed): differences hold more noise")
    return warnings
