"""The picture of a simulation without learning: how the INR of many patients went, day by day."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from cumulant.report.plots import _figure, _heading, _style
from cumulant.report.theme import DASHES, LIGHT, LINES

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BAND = (2.0, 3.0)


def course(
    title: str, curve: Mapping[str, Sequence[float]], medians: Sequence[tuple[str, Sequence[float]]], notice: str
) -> Figure:
    """Draw the INR's median and bands with the median of each class beside, and who was in range on which day.

    Args:
        title: What was simulated.
        curve: ``day``, ``q5 q25 q50 q75 q95`` of the INR, and the shares ``in_range below_2 above_4``, each day.
        medians: Label and median INR of each class of patients.
        notice: What must be said wherever results are shown.
    """
    day = curve["day"]
    with _style():
        figure = _figure(9.6, 3.7)
        left, right = figure.subplots(1, 2, width_ratios=(1.45, 1.0))
        left.axhspan(*BAND, color=LIGHT["band"], alpha=0.13, lw=0)
        for low, high, alpha in (("q5", "q95", 0.16), ("q25", "q75", 0.26)):
            left.fill_between(day, curve[low], curve[high], color=LIGHT["agent"], alpha=alpha, lw=0)
        left.plot(day, curve["q50"], color=LIGHT["agent"], lw=2.2, label="median of all")
        for k, (label, values) in enumerate(medians if len(medians) > 1 else ()):
            left.plot(day, values, color=LIGHT[LINES[k + 1]], ls=DASHES[k + 1], lw=1.3, label=label)
        left.legend(loc="upper left", frameon=False, fontsize=7.2)
        left.set_ylim(0.8, max(4.5, 1.05 * max(curve["q95"])))
        left.set_xlabel("day", fontsize=7.6)
        _heading(left, "True INR", "bands: half and 90 % of the patients; green: 2 to 3")
        shares = [[100.0 * share for share in curve[name]] for name in ("below_2", "in_range", "above_4")]
        between = [100.0 - sum(at) for at in zip(*shares)]
        right.stackplot(
            day,
            [shares[0], shares[1], between, shares[2]],
            colors=[LIGHT["less"], LIGHT["band"], LIGHT["same"], LIGHT["more"]],
            labels=["below 2", "2 to 3", "3 to 4", "above 4"],
            alpha=0.85,
            lw=0,
        )
        right.set_ylim(0, 100)
        right.set_xlabel("day", fontsize=7.6)
        right.legend(loc="upper center", bbox_to_anchor=(0.5, -0.13), ncols=4, frameon=False, fontsize=7.2)
        _heading(right, "Patients by INR", "%")
        figure.suptitle(title, x=0.012, ha="left", fontsize=10.5, fontweight="bold")
        figure.supxlabel(notice, x=0.012, ha="left", fontsize=7.2, color=LIGHT["soft"])
    return figure
