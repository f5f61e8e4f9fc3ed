"""Figures of the clinical pack: what was expected beside what came."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cumulant.report.plots import _figure, _heading, _style
from cumulant.report.theme import LIGHT

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def calibration(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Draw, for each day, ten groups of patients: what was expected of them across, what came upwards.

    Args:
        rows: ``calibration`` of a pack; not empty.
    """
    with _style():
        figure = _figure(2.3 * len(rows), 2.4)
        for axes, row in zip(figure.subplots(1, len(rows), squeeze=False)[0], rows):
            expected, came = zip(*row["bins"])
            ends = min(expected + came), max(expected + came)
            axes.plot(ends, ends, color=LIGHT["ceiling"], lw=0.9, ls=(0, (3, 2)))
            axes.plot(expected, came, "o", color=LIGHT["agent"], ms=3.6, mec=LIGHT["paper"], mew=0.6)
            _heading(axes, f"from day {row['day']}")
            axes.set_xlabel("expected", fontsize=7.6)
            axes.margins(x=0.1, y=0.1)
    return figure
