"""What evaluation.json holds, typed: the parts of an evaluation. `parsing` makes them of the file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cumulant.report.wording import alike, first_outcome, outcome_name

KINDS = ("agent", "protocol", "ceiling", "floor")


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
class Sample:
    """What a language model wrote after a prompt; ``facts`` are what else is said of it, by name."""

    prompt: str
    completion: str
    facts: Mapping[str, str]


@dataclass(frozen=True)
class TextTable:
    """A table of an evaluation on text; a cell is a text or a number."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str | float, ...], ...]

    @property
    def texts(self) -> list[tuple[str, ...]]:
        """The rows as people read them: the numbers of a column have the same decimals."""
        shown = []
        for column in zip(*self.rows):
            numbers = iter(alike([cell for cell in column if not isinstance(cell, str)]))
            shown.append([cell if isinstance(cell, str) else next(numbers) for cell in column])
        return list(zip(*shown))


@dataclass(frozen=True)
class Evaluation:
    """A checked evaluation.json; ``measures`` holds "return" and the outcomes of the agent, or the figures of a text model."""

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
    is_text: bool = False
    samples: tuple[Sample, ...] = ()
    tables: tuple[TextTable, ...] = ()
    notice: str = ""
    intervals: str = "95 %"
    problems: tuple[str, ...] = ()

    def column(self, key: str) -> Column:
        """Return how a measure is shown."""
        return next((column for column in self.columns if column.key == key), default_column(key))

    @property
    def has_result(self) -> bool:
        """Whether it says what was reached."""
        return "return" in self.measures or (self.is_text and bool(self.measures))

    @property
    def outcome(self) -> Column | None:
        """The outcome that is shown beside the return wherever a return is shown; None when there is none."""
        key = first_outcome([column.key for column in self.columns if column.key in self.measures])
        return None if key is None else self.column(key)
