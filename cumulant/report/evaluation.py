"""evaluation.json, checked and typed.

The file may come from a stranger: what has the right type becomes one of the classes below, the rest is left out, and a
note says so. Strings are freed of control characters here; markup and HTML are escaped where they are printed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from cumulant.report.wording import first_outcome, number, outcome_name, plain

# Far above any real evaluation; a page with a million rows would be one way to do harm.
MOST_ROWS, MOST_CASES, MOST_POINTS = 60, 12, 2000

KINDS = ("agent", "protocol", "ceiling", "floor")

T = TypeVar("T")


@dataclass(frozen=True)
class Measure:
    """A mean and the ends of its interval, None where there is none."""

    mean: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Column:
    """How one measure is shown.

    Args:
        key: Its name in the file.
        label: For people.
        unit: "" or a unit.
        better: "higher", "lower" or "".
        digits: Decimals.
    """

    key: str
    label: str
    unit: str = ""
    better: str = ""
    digits: int = 2

    @property
    def title(self) -> str:
        """Label and unit in one line."""
        return f"{self.label}, {self.unit}" if self.unit else self.label


def default_column(key: str) -> Column:
    """Return how a measure is shown of which nothing is said but its name.

    >>> default_column("in_range").title
    'Time in range, %'
    """
    label, unit, _ = outcome_name(key)
    label = label[:1].upper() + label[1:]
    return Column(key, label, unit, "higher" if key == "return" else "", 1 if unit == "%" else 2)


@dataclass(frozen=True)
class Row:
    """One policy in a comparison; ``kind`` is one of ``KINDS``."""

    label: str
    kind: str
    measures: Mapping[str, Measure]


@dataclass(frozen=True)
class Comparison:
    """Policies that were measured under the same rules."""

    key: str
    title: str
    note: str
    rows: tuple[Row, ...]

    def best(self, column: Column) -> frozenset[int]:
        """Return the rows with the best mean, among agent and protocols; ceilings and floors do not compete."""
        playing = {
            index: round(row.measures[column.key].mean, column.digits)
            for index, row in enumerate(self.rows)
            if row.kind in ("agent", "protocol") and column.key in row.measures
        }
        if not column.better or len(playing) < 2:
            return frozenset()
        best = (max if column.better == "higher" else min)(playing.values())
        return frozenset(index for index, value in playing.items() if value == best)

    def best_protocol(self, column: Column) -> Row | None:
        """Return the protocol with the best mean, or None."""
        rows = [row for row in self.rows if row.kind == "protocol" and column.key in row.measures]
        if not rows or not column.better:
            return None
        return (max if column.better == "higher" else min)(rows, key=lambda row: row.measures[column.key].mean)


@dataclass(frozen=True)
class SubgroupRow:
    """One part of the population, under the agent and under the reference."""

    label: str
    episodes: int | None
    agent: Mapping[str, Measure]
    reference: Mapping[str, Measure]


@dataclass(frozen=True)
class Subgroup:
    """One way to divide the population."""

    title: str
    reference_label: str
    rows: tuple[SubgroupRow, ...]


@dataclass(frozen=True)
class Line:
    """One policy's course in one case; None where a point is missing. ``y2`` is empty or as long as ``x``."""

    label: str
    x: tuple[float, ...]
    y: tuple[float | None, ...]
    y2: tuple[float | None, ...]


@dataclass(frozen=True)
class Case:
    """One episode under several policies."""

    title: str
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class Trajectories:
    """Several cases; ``band`` is the range to stay in."""

    band: tuple[float, float] | None
    x_label: str
    y_label: str
    y2_label: str
    cases: tuple[Case, ...]
    note: str = ""


@dataclass(frozen=True)
class PolicyMap:
    """The action by two observations; ``z[row][column]`` indexes ``legend``, rows follow ``y``."""

    title: str
    x_label: str
    y_label: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    z: tuple[tuple[int, ...], ...]
    legend: tuple[str, ...]


@dataclass(frozen=True)
class AgentSeed:
    """One seed's own result in a merged evaluation."""

    seed: str
    measures: Mapping[str, Measure]


@dataclass(frozen=True)
class Evaluation:
    """A checked evaluation.json; ``measures`` holds "return" and the outcomes of the agent."""

    environment: str
    options: Mapping[str, Any]
    episodes: int | None
    seed: str
    measures: Mapping[str, Measure]
    columns: tuple[Column, ...]
    comparisons: tuple[Comparison, ...] = ()
    subgroups: tuple[Subgroup, ...] = ()
    trajectories: Trajectories | None = None
    policy_map: PolicyMap | None = None
    agent_seeds: tuple[AgentSeed, ...] = ()
    notice: str = ""
    intervals: str = "95 %"
    problems: tuple[str, ...] = ()

    def column(self, key: str) -> Column:
        """Return how a measure is shown."""
        return next((column for column in self.columns if column.key == key), default_column(key))

    @property
    def outcome(self) -> Column | None:
        """The outcome that is shown beside the return wherever a return is shown; None when there is none."""
        key = first_outcome([column.key for column in self.columns if column.key in self.measures])
        return None if key is None else self.column(key)


def parse_evaluation(raw: object) -> Evaluation:
    """Check an evaluation and give its parts types.

    Args:
        raw: What ``evaluation.json`` held, or the dictionary that an evaluation returned.

    Returns:
        The evaluation; ``problems`` says what was left out and why.
    """
    source = raw if isinstance(raw, Mapping) else {}
    problems: list[str] = [] if source else ["evaluation.json holds no object; there is nothing to show from it"]

    def part(name: str, parse: Callable[[Any], T]) -> T | None:
        if source.get(name) is None:
            return None
        try:
            return parse(source[name])
        except _Misfit as misfit:
            problems.append(f"evaluation.json: '{name}' is left out: {misfit}")
            return None

    measures: dict[str, Measure] = {}
    total = _measure({"mean": source.get("return_mean"), "interval": source.get("return_interval")})
    if total is not None:
        measures["return"] = total
    measures |= part("outcomes", _measures) or {}
    comparisons = part("comparisons", lambda items: _all(items, _comparison)) or ()
    columns = part("columns", _columns) or ()
    used = [*measures, *(key for comparison in comparisons for row in comparison.rows for key in row.measures)]
    listed = {column.key for column in columns}
    columns += tuple(default_column(key) for key in dict.fromkeys(used) if key not in listed)
    options = part("options", _object) or {}
    return Evaluation(
        environment=plain(source.get("environment", "")),
        options={plain(key, 60): value for key, value in options.items()},
        episodes=_count(source.get("episodes")),
        seed=plain(source.get("seed", ""), 40),
        measures=measures,
        columns=columns,
        comparisons=comparisons,
        subgroups=part("subgroups", lambda items: _all(items, _subgroup)) or (),
        trajectories=part("trajectories", _trajectories),
        intervals=plain(source.get("intervals") or "95 %", 120),
        policy_map=part("policy_map", _policy_map),
        agent_seeds=part("agent_seeds", lambda items: _all(items, _agent_seed)) or (),
        notice=plain(source.get("notice") or "", 600),
        problems=tuple(problems),
    )


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


def _all(items: object, parse: Callable[[Any], T]) -> tuple[T, ...]:
    return tuple(parse(item) for item in _list(items)[:MOST_ROWS])


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


def _agent_seed(raw: object) -> AgentSeed:
    entry = _object(raw)
    measures = _measures(entry.get("outcomes") or {})
    total = _measure({"mean": entry.get("return_mean"), "interval": entry.get("return_interval")})
    return AgentSeed(plain(entry.get("seed", ""), 40), ({"return": total} if total else {}) | measures)
