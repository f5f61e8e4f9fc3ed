"""How far one may trust the sureness of a reward model: its table of reliability, and the figure of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from cumulant.report.evaluation import Measure, TextTable
from cumulant.report.plots import _figure, _heading, _style
from cumulant.report.theme import LIGHT
from cumulant.report.wording import brief

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MEANING = "On the dashed line a reward model that is 80 % sure is right in 80 %; beneath it, it is too sure of itself."


class Reliability(NamedTuple):
    """One bin of a calibration: what the reward model expected, what people chose (shares), and of how many pairs."""

    predicted: float
    observed: Measure
    pairs: float


def reliability(tables: Sequence[TextTable]) -> list[Reliability]:
    """Return the table of reliability among those of an evaluation; [] where there is none.

    It is the first with a column "predicted" and a column "observed"; both in shares, or both in percent.
    """
    for table in tables:
        at = {title.lower().split(",")[0].split(" (")[0].strip(): i for i, title in enumerate(table.columns)}
        if "predicted" not in at or "observed" not in at:
            continue
        found = []
        for row in table.rows:
            cell = {name: value for name, i in at.items() if not isinstance(value := row[i], str)}
            if "predicted" not in cell or "observed" not in cell:
                continue
            ends = (cell["low"], cell["high"]) if {"low", "high"} <= cell.keys() else (None, None)
            pairs = next((cell[name] for name in ("pairs", "count", "texts") if name in cell), 1.0)
            found.append((cell["predicted"], cell["observed"], *ends, pairs))
        percent = any(row[0] > 1.0 or row[1] > 1.0 for row in found)
        scale = 0.01 if percent else 1.0
        return [
            Reliability(scale * p, Measure(scale * o, low and scale * low, high and scale * high), max(pairs, 0.0))
            for p, o, low, high, pairs in found
        ]
    return []


def calibration(bins: Sequence[Reliability]) -> Figure:
    """Draw how often people chose what the reward model expected them to choose, by how sure it was."""
    with _style():
        figure = _figure(5.2, 2.9)
        axes = figure.add_subplot()
        shown = [100.0 * value for each in bins for value in (each.predicted, each.observed.mean)]
        start = 0.0 if min(shown) < 45 else 45.0
        axes.plot([start, 100], [start, 100], color=LIGHT["ceiling"], lw=1.0, ls=(0, (5, 1.6)))
        axes.plot(
            [100 * each.predicted for each in bins], [100 * each.observed.mean for each in bins],
            color=LIGHT["agent"], lw=1.2, alpha=0.6,
        )  # fmt: skip
        most = max([each.pairs for each in bins] + [1.0])
        for each in bins:
            low, high = each.observed.low, each.observed.high
            if low is not None and high is not None:
                axes.plot([100 * each.predicted] * 2, [100 * low, 100 * high], color=LIGHT["agent"], lw=1.6, alpha=0.4)
            size = 3.0 + 5.0 * math.sqrt(each.pairs / most)
            axes.plot(
                100 * each.predicted,
                100 * each.observed.mean,
                "o",
                ms=size,
                color=LIGHT["agent"],
                mec=LIGHT["paper"],
                mew=0.7,
            )
        _heading(axes, "Calibration", f"{brief(sum(each.pairs for each in bins))} pairs" if most > 1 else "")
        axes.set_xlabel("sure, by the reward model, %", fontsize=7.6)
        axes.set_ylabel("chosen by people, %", fontsize=7.6)
        axes.set_xlim(start, 101)
        axes.set_ylim(min([start, *(100 * each.observed.mean - 4 for each in bins)]), 103)
    return figure
