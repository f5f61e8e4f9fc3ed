"""evaluation.json, checked: whatever it holds becomes the classes of `evaluation`.

The file may come from a stranger: what has the right type is taken, the rest is left out, and a note says so. Strings are
freed of control characters here; markup and HTML are escaped where they are printed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from cumulant.report.evaluation import (
    KINDS,
    AgentSeed,
    Case,
    Column,
    Comparison,
    Evaluation,
    Line,
    Measure,
    PolicyMap,
    Row,
    Sample,
    Subgroup,
    SubgroupRow,
    TextTable,
    Trajectories,
    default_column,
)
from cumulant.report.wording import brief, number, outcome_name, plain, plain_lines

# Far above any real evaluation; a page with a million rows would be one way to do harm.
MOST_ROWS, MOST_CASES, MOST_POINTS = 60, 12, 2000
MOST_SAMPLES, LONGEST_TEXT = 40, 4000

T = TypeVar("T")


def parse_evaluation(raw: object) -> Evaluation:
    """Check an evaluation and give its parts types.

    Args:
        raw: What ``evaluation.json`` held, or the dictionary that an evaluation returned.

    Returns:
        The evaluation; ``problems`` says what was left out and why.
    """
    source = raw if isinstance(raw, Mapping) else {}
    parts = Parts(source, "evaluation.json")
    if not source:
        parts.problems.append("evaluation.json holds no object; there is nothing to show from it")

    part, many = parts.one, parts.many
    measures: dict[str, Measure] = {}
    total = _measure({"mean": source.get("return_mean"), "interval": source.get("return_interval")})
    if total is not None:
        measures["return"] = total
    outcomes = part("outcomes", _outcomes, None)
    measures |= outcomes or {}
    figures = part("figures", _figures, None) or {}
    measures |= {key: measure for key, (measure, _) in figures.items()}
    comparisons = many("comparisons", _comparison)
    columns = (part("columns", _columns, None) or ()) + tuple(column for _, column in figures.values())
    used = [*measures, *(key for comparison in comparisons for row in comparison.rows for key in row.measures)]
    listed = {column.key for column in columns}
    columns += tuple(default_column(key) for key in dict.fromkeys(used) if key not in listed)
    options = part("options", _object, None) or {}
    return Evaluation(
        environment=plain(source.get("environment", "")),
        options={plain(key, 60): value for key, value in options.items()},
        episodes=_count(source.get("episodes")),
        seed=plain(source.get("seed", ""), 40),
        measures=measures,
        columns=columns,
        comparisons=comparisons,
        subgroups=many("subgroups", _subgroup),
        trajectories=part("trajectories", _trajectories, None),
        intervals=plain(source.get("intervals") or "95 %", 120),
        policy_map=part("policy_map", _policy_map, None),
        agent_seeds=many("agent_seeds", _agent_seed),
        is_text=source.get("kind") == "text",
        samples=many("samples", _sample, MOST_SAMPLES),
        tables=many("tables", _table),
        notice=plain(source.get("notice") or "", 600),
        problems=tuple(parts.problems),
    )


class Parts:
    """Reads the parts of an object that may be a stranger's, and notes what is left out.

    Args:
        source: The object.
        file: Where it stood, for the notes.
    """

    def __init__(self, source: Mapping[str, Any], file: str) -> None:
        self.source, self.file = source, file
        self.problems: list[str] = []

    def one(self, name: str, parse: Callable[[Any], T], otherwise: T) -> T:
        """Return what ``parse`` makes of a part; ``otherwise`` if it is not there or not what it should be."""
        if self.source.get(name) is None:
            return otherwise
        try:
            return parse(self.source[name])
        except (_Misfit, KeyError, TypeError, ValueError) as misfit:
            self.problems.append(f"{self.file}: '{name}' is left out: {plain(str(misfit))}")
            return otherwise

    def many(self, name: str, parse: Callable[[Any], T], most: int = MOST_ROWS) -> tuple[T, ...]:
        """Return what ``parse`` makes of each of the first items of a list; nothing of a list with a bad one."""
        return self.one(name, lambda items: tuple(parse(item) for item in _list(items)[:most]), ())


class _Misfit(Exception):
    """A part that does not have the shape it should have; the message says how."""


def _object(value: object) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise _Misfit(f"an object was expected and a {type(value).__name__} found")
    return value


def _list(value: object) -> Sequence[Any]:
    if not isinstance(value, list | tuple):
        raise _Misfit(f"a list was expected and a {type(value).__name__} found")
    return value


def _count(value: object) -> int | None:
    result = number(value)
    return None if result is None else int(result)


def _measure(value: object) -> Measure | None:
    """A mean with or without an interval; a bare number is a mean; None when there is no number."""
    if not isinstance(value, Mapping):
        mean = number(value)
        return None if mean is None else Measure(mean)
    mean = number(value.get("mean"))
    ends = value.get("interval")
    low, high = (number(end) for end in ends) if isinstance(ends, list | tuple) and len(ends) == 2 else (None, None)
    if mean is None:
        return None
    return Measure(mean) if low is None or high is None else Measure(mean, low, high)


def _measures(value: object) -> dict[str, Measure]:
    found = {plain(key, 60): _measure(entry) for key, entry in list(_object(value).items())[:MOST_ROWS]}
    return {key: measure for key, measure in found.items() if measure is not None}


def _outcomes(value: object) -> dict[str, Measure]:
    """Return outcomes as an environment records them, in the units in which they are shown (a share in percent)."""
    scaled = {}
    for key, measure in _measures(value).items():
        factor = outcome_name(key).factor
        low, high = (end if end is None else factor * end for end in (measure.low, measure.high))
        scaled[key] = Measure(factor * measure.mean, low, high)
    return scaled


def _columns(value: object) -> tuple[Column, ...]:
    columns = []
    for key, raw in list(_object(value).items())[:MOST_ROWS]:
        entry = _object(raw)
        digits = number(entry.get("digits"))
        columns.append(
            Column(
                key=plain(key, 60),
                label=plain(entry.get("label") or default_column(plain(key, 60)).label, 60),
                unit=plain(entry.get("unit") or "", 40),
                better=str(entry.get("better")) if entry.get("better") in ("higher", "lower") else "",
                digits=2 if digits is None else min(max(int(digits), 0), 6),
            )
        )
    return tuple(columns)


def _comparison(raw: object) -> Comparison:
    entry = _object(raw)
    rows = []
    for item in _list(entry.get("rows"))[:MOST_ROWS]:
        row = _object(item)
        kind = row.get("kind")
        label = plain(row.get("label") or row.get("name") or "", 80)
        rows.append(Row(label, kind if kind in KINDS else "protocol", _measures(row.get("metrics"))))
    return Comparison(
        plain(entry.get("key", ""), 20), plain(entry.get("title", "")), plain(entry.get("note") or "", 600), tuple(rows)
    )


def _subgroup(raw: object) -> Subgroup:
    entry = _object(raw)
    rows = []
    for item in _list(entry.get("rows"))[:MOST_ROWS]:
        row = _object(item)
        reference = _measures(row["reference"]) if row.get("reference") is not None else {}
        rows.append(
            SubgroupRow(
                plain(row.get("label", ""), 80), _count(row.get("episodes")), _measures(row.get("agent")), reference
            )
        )
    return Subgroup(plain(entry.get("title", "")), plain(entry.get("reference_label") or "", 80), tuple(rows))


def _numbers(value: object, what: str) -> tuple[float, ...]:
    numbers = [number(item) for item in _list(value)[:MOST_POINTS]]
    found = tuple(item for item in numbers if item is not None)
    if len(found) != len(numbers):
        raise _Misfit(f"{what} holds something that is no number")
    return found


def _line(raw: object) -> Line:
    entry = _object(raw)
    x = _numbers(entry.get("x"), "x")
    y = tuple(number(item) for item in _list(entry.get("y"))[:MOST_POINTS])
    y2 = tuple(number(item) for item in _list(entry.get("y2") or [])[:MOST_POINTS])
    if len(y) != len(x) or len(y2) not in (0, len(x)):
        raise _Misfit(f"a line has {len(x)} x, {len(y)} y and {len(y2)} y2")
    return Line(plain(entry.get("label", ""), 60), x, y, y2)


def _trajectories(raw: object) -> Trajectories | None:
    entry = _object(raw)
    band = _numbers(entry["band"], "band") if entry.get("band") is not None else ()
    cases = []
    for case in map(_object, _list(entry.get("cases"))[:MOST_CASES]):
        lines = tuple(_line(line) for line in _list(case.get("lines"))[:6])
        cases.append(Case(plain(case.get("title", ""), 120), lines))
    if not cases:
        return None
    x_label, y_label, y2_label = (plain(entry.get(key, ""), 60) for key in ("x_label", "y_label", "y2_label"))
    return Trajectories(
        (min(band), max(band)) if len(band) == 2 else None,
        *(x_label, y_label, y2_label),
        tuple(cases),
        plain(entry.get("note") or "", 300) + (f" Agent: seed {plain(entry['seed'], 20)}." if "seed" in entry else ""),
    )


def _policy_map(raw: object) -> PolicyMap:
    entry = _object(raw)
    x, y = _numbers(entry.get("x"), "x"), _numbers(entry.get("y"), "y")
    legend = tuple(plain(item, 40) for item in _list(entry.get("legend"))[:MOST_ROWS])
    rows = [_numbers(row, "z") for row in _list(entry.get("z"))]
    if len(x) < 2 or len(y) < 2 or len(x) * len(y) > 40_000:
        raise _Misfit(f"a map of {len(x)} by {len(y)} points cannot be drawn")
    if list(x) != sorted(set(x)) or list(y) != sorted(set(y)):
        raise _Misfit("x and y must increase")
    if len(rows) != len(y) or any(len(row) != len(x) for row in rows):
        raise _Misfit(f"z must have {len(y)} rows of {len(x)}")
    if any(cell not in range(len(legend)) for row in rows for cell in row):
        raise _Misfit(f"z holds an action that the legend of {len(legend)} does not name")
    z = tuple(tuple(int(cell) for cell in row) for row in rows)
    title, x_label, y_label = (plain(entry.get(key) or "", 120) for key in ("title", "x_label", "y_label"))
    return PolicyMap(title, x_label, y_label, x, y, z, legend)


def _figures(value: object) -> dict[str, tuple[Measure, Column]]:
    """The figures of a text model, each with how it is shown; one without a number is left out."""
    found = {}
    for key, raw in list(_object(value).items())[:MOST_ROWS]:
        entry = _object(raw)
        mean, low, high = (number(entry.get(part)) for part in ("value", "low", "high"))
        if mean is None:
            continue
        name, unit = plain(key, 60), plain(entry.get("unit") or "", 40)
        label = plain(entry.get("label") or default_column(name).label, 60)
        better = str(entry["better"]) if entry.get("better") in ("higher", "lower") else ""
        measure = Measure(mean) if low is None or high is None else Measure(mean, low, high)
        found[name] = measure, Column(name, label, unit, better, _digits(mean, unit))
    return found


def _digits(value: float, unit: str) -> int:
    """Decimals that show about four digits of a figure of unknown size; one for percent."""
    if unit == "%" or not value:
        return 1
    return min(max(3 - math.floor(math.log10(abs(value))), 0), 4)


def _sample(raw: object) -> Sample:
    entry = _object(raw)
    prompt, completion = (plain_lines(entry.get(key) or "", LONGEST_TEXT) for key in ("prompt", "completion"))
    facts = {}
    for key, value in list(entry.items())[:MOST_CASES]:
        if key not in ("prompt", "completion") and value is not None:
            facts[plain(key, 40)] = brief(value) if isinstance(value, float) else plain(value, 300)
    return Sample(prompt, completion, facts)


def _table(raw: object) -> TextTable:
    entry = _object(raw)
    columns = tuple(plain(title, 60) for title in _list(entry.get("columns"))[:MOST_CASES])
    rows = []
    for row in _list(entry.get("rows"))[:MOST_ROWS]:
        cells = [number(cell) if isinstance(cell, int | float) else plain(cell, 300) for cell in _list(row)]
        if len(cells) != len(columns):
            raise _Misfit(f"a row has {len(cells)} cells and there are {len(columns)} columns")
        rows.append(tuple("" if cell is None else cell for cell in cells))
    return TextTable(plain(entry.get("title") or "", 120), columns, tuple(rows))


def _agent_seed(raw: object) -> AgentSeed:
    entry = _object(raw)
    measures = _outcomes(entry.get("outcomes") or {})
    total = _measure({"mean": entry.get("return_mean"), "interval": entry.get("return_interval")})
    return AgentSeed(plain(entry.get("seed", ""), 40), ({"return": total} if total else {}) | measures)
