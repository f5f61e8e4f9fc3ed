"""Figures of an audit: where return and outcome part, what constant actions do, the episode that shows the trick."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from cumulant.report.audit_load import AuditData, Course
from cumulant.report.plots import _figure, _heading, _steps_axis, _style
from cumulant.report.theme import DASHES, LIGHT
from cumulant.report.wording import brief, magnitude

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

OWN: Any = {"color": LIGHT["other"], "ls": DASHES[0]}
REFERENCE: Any = {"color": LIGHT["agent"], "ls": DASHES[1]}


def training(audit: AuditData) -> Figure | None:
    """Draw return and outcome of the reward's policy over its training, with the point where they part.

    Returns:
        None where there were no evaluations.
    """
    steps, returned, outcome = audit.curves.get("reward", ((), (), ()))
    if len(steps) < 2:
        return None
    other = audit.curves.get("outcome", ((), (), ()))
    with _style():
        figure = _figure(5.6, 3.4)
        top, below = figure.subplots(2, 1, sharex=True)
        top.plot(steps, returned, **OWN)
        below.plot(steps, outcome, **OWN)
        if len(other[0]) > 1:
            below.plot(other[0], other[2], **REFERENCE)
        _heading(top, "Return under the reward", brief(returned[-1]))
        _heading(below, "What matters", brief(outcome[-1]))
        for axes in (top, below):
            axes.margins(y=0.1)
            axes.locator_params(axis="y", nbins=4)
            if "steps" in audit.parted:
                axes.axvline(audit.parted["steps"], color=LIGHT["ink"], lw=0.9, ls=(0, (3, 2.5)))
        if "steps" in audit.parted:
            top.annotate(
                "they part", (audit.parted["steps"], 1.0), (4, -3), xycoords=("data", "axes fraction"),
                textcoords="offset points", va="top", fontsize=7.6, color=LIGHT["ink"],
            )  # fmt: skip
        _steps_axis(below)
        below.set_xlabel(audit.words["steps"], fontsize=7.6)
    return figure


def against(audit: AuditData) -> Figure | None:
    """Draw outcome against return along the training: right is more reward, up is more of what matters.

    Returns:
        None where there were no evaluations.
    """
    steps, returned, outcome = audit.curves.get("reward", ((), (), ()))
    if len(steps) < 2:
        return None
    with _style():
        figure = _figure(4.2, 3.4)
        axes = figure.add_subplot()
        axes.plot(returned, outcome, marker="o", ms=3.4, lw=1.1, **OWN)
        for k, offset in ((0, (5, 4)), (len(steps) - 1, (5, -9))):
            axes.annotate(
                magnitude(steps[k]), (returned[k], outcome[k]), offset, textcoords="offset points", fontsize=7.2,
                color=LIGHT["soft"],
            )  # fmt: skip
        reference = audit.policy("outcome")
        if reference is not None and {"reward", "outcome"} <= reference.returns.keys():
            place = reference.returns["reward"].mean, reference.returns["outcome"].mean
            axes.plot(*place, "D", ms=6, color=LIGHT["agent"], mec=LIGHT["paper"])
            axes.annotate("reference", place, (6, 5), textcoords="offset points", fontsize=7.6, color=LIGHT["agent"])
        _heading(axes, "What matters, against the reward", "along the training")
        axes.set_xlabel("return under the reward", fontsize=7.6)
        axes.margins(0.12)
    return figure


def sweep(audit: AuditData) -> Figure | None:
    """Draw return and outcome of constant actions, each in a panel with its best marked.

    Returns:
        None where none were tried.
    """
    known = [policy for policy in audit.constant if policy.action is not None]
    known.sort(key=lambda policy: policy.action or 0.0)
    if len(known) < 3:
        return None
    with _style():
        figure = _figure(8.2, 2.6)
        for axes, key, title in zip(
            figure.subplots(1, 2), ("reward", "outcome"), ("Return under the reward", "What matters")
        ):
            pairs = [(p.action, p.returns[key].mean) for p in known if key in p.returns and p.action is not None]
            if not pairs:
                continue
            x, y = [a for a, _ in pairs], [b for _, b in pairs]
            look = OWN if key == "reward" else REFERENCE
            axes.plot(x, y, marker="o", ms=3.8, **look)
            best = max(range(len(y)), key=lambda k: y[k])
            axes.plot(x[best], y[best], "o", ms=10, mfc="none", mec=LIGHT["ink"], mew=1.1)
            _heading(axes, title, f"best: {x[best]:g}")
            axes.set_xlabel(audit.constant_label, fontsize=7.6)
            axes.ticklabel_format(axis="y", useOffset=False)
            axes.locator_params(axis="y", nbins=5)
            axes.margins(x=0.05, y=0.12)
    return figure


def trick(names: Sequence[str], own: Course, reference: Course) -> Figure | None:
    """Draw one episode of the reward's policy and the reference's from the same start, step by step.

    Returns:
        None where nothing was kept.
    """
    rows: list[tuple[str, Sequence[float], Sequence[float]]] = [
        ("Reward so far", own.reward, reference.reward),
        ("What matters, so far", own.outcome, reference.outcome),
        ("Action", own.action, reference.action),
    ]
    rows += [(name, a, b) for name, a, b in zip(names, own.quantities, reference.quantities)]
    rows = [row for row in rows if row[1] and row[2]]
    if not rows:
        return None
    height = math.ceil(len(rows) / 2)
    with _style():
        figure = _figure(8.2, 0.4 + 1.35 * height)
        panels = figure.subplots(height, 2, squeeze=False).ravel()
        for axes, (title, a, b) in zip(panels, rows):
            _course(axes, title, a, b)
        for axes in panels[len(rows) :]:
            axes.set_axis_off()
        for axes in panels[max(len(rows) - 2, 0) : len(rows)]:
            axes.set_xlabel("step", fontsize=7.6)
    return figure


def _course(axes: Axes, title: str, own: Sequence[float], reference: Sequence[float]) -> None:
    axes.plot(
        range(1, len(reference) + 1), reference, lw=1.4, marker="o" if len(reference) == 1 else "", ms=4, **REFERENCE
    )
    axes.plot(range(1, len(own) + 1), own, lw=1.8, marker="o" if len(own) == 1 else "", ms=4, **OWN)
    _heading(axes, title, "")
    axes.locator_params(axis="y", nbins=4)
    axes.locator_params(axis="x", integer=True, nbins=7)
    axes.margins(x=0.02, y=0.12)
    axes.grid(axis="x", visible=False)
