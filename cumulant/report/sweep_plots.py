"""Figures of a sweep: how it went, which fields mattered, and what each of their values reached."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from cumulant.report.plots import _figure, _heading, _style
from cumulant.report.theme import LIGHT
from cumulant.report.trials import SweepData, TrialData
from cumulant.report.wording import brief, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_SHOWN = 8  # choices beside each other before their labels run together


def history(sweep: SweepData) -> Figure:
    """Draw every trial's score in the order of the trials, and the best until then as a line."""
    with _style():
        figure = _figure(5.2, 2.75)
        axes = figure.add_subplot()
        scored = [trial for trial in sweep.trials if trial.score is not None]
        complete = [trial for trial in scored if trial.state == "complete"]
        if complete:
            best = np.maximum.accumulate([trial.score or 0.0 for trial in complete])
            ends = [trial.number for trial in complete]
            last = max(trial.number for trial in scored)
            axes.step([*ends, last], [*best, best[-1]], where="post", color=LIGHT["agent"], lw=1.2, alpha=0.6)
        _dots(axes, scored, [trial.number for trial in scored], sweep.best)
        _heading(axes, "Score of each trial", f"best {brief(sweep.best.score)}" if sweep.best else "")
        _whole_numbers(axes)
        axes.set_xlabel("trial", fontsize=7.6)
        axes.margins(x=0.03, y=0.08)
    return figure


def courses(sweep: SweepData) -> Figure:
    """Draw each trial's best evaluation over its training: where the pruned ones were left."""
    with _style():
        figure = _figure(5.2, 2.75)
        axes = figure.add_subplot()
        for trial in [*sweep.trials, *([sweep.best] if sweep.best else [])]:
            if not len(trial.curve):
                continue
            best, pruned = trial is sweep.best, trial.state != "complete"
            colour = LIGHT["agent" if best else "ceiling" if pruned else "third"]
            look: Any = {
                "color": colour,
                "lw": 2.0 if best else 0.8,
                "alpha": 1.0 if best else 0.7,
                "zorder": 4 if best else 2,
            }
            axes.plot(100.0 * trial.curve[:, 0] / 20.0, trial.curve[:, 1], **look)
            if pruned:
                axes.plot(5.0 * trial.curve[-1, 0], trial.curve[-1, 1], "x", ms=3.6, mew=1.0, color=colour)
        _heading(axes, "Best evaluation so far", "the best trial in blue; a cross where one ended early")
        axes.set_xlabel("% of the training", fontsize=7.6)
        axes.set_xlim(0, 101)
        axes.margins(y=0.06)
    return figure


def importance_bars(sweep: SweepData) -> Figure:
    """Draw how much each field's values distinguish the best trials from all."""
    names = list(sweep.importances)
    with _style():
        figure = _figure(5.2, 0.55 + 0.28 * max(len(names), 2))
        axes = figure.add_subplot()
        values = [100.0 * sweep.importances[name] for name in names]
        axes.barh(range(len(names)), values, height=0.55, color=LIGHT["agent"], alpha=0.85)
        for place, value in enumerate(values):
            axes.annotate(
                f"{value:.0f} %", (value, place), (4, 0), textcoords="offset points", va="center", fontsize=7.4,
                color=LIGHT["soft"],
            )  # fmt: skip
        axes.set_ylim(len(names) - 0.45, -0.6)
        axes.set_yticks(range(len(names)), [plain(name, 30) for name in names])
        axes.tick_params(axis="y", labelsize=8, labelcolor=LIGHT["ink"])
        axes.grid(axis="y", visible=False)
        axes.set_xlim(0, 1.12 * max([*values, 1.0]))
        _heading(axes, "Importance of the fields")
    return figure


def slices(sweep: SweepData, field: str) -> Figure:
    """Draw what each value of a field reached, whatever the others were."""
    scored = [trial for trial in sweep.trials if trial.score is not None and field in trial.values]
    choices = "|" in sweep.fields.get(field, "") or any(isinstance(trial.values[field], str) for trial in scored)
    with _style():
        figure = _figure(3.2, 2.1)
        axes = figure.add_subplot()
        at: list[float]
        if choices:
            words = sweep.fields.get(field, "").split("|")
            known = [trial.text(field) for trial in scored]
            shown = _as_listed(words, known)
            at = [shown.index(word) for word in known]
            axes.set_xticks(range(len(shown)), [plain(word, 12) for word in shown], rotation=45 * (len(shown) > _SHOWN))
            axes.set_xlim(-0.5, len(shown) - 0.5)
        else:
            at = [float(trial.values[field]) for trial in scored]
            if field in sweep.logarithmic and all(value > 0.0 for value in at):
                _log_axis(axes)
            else:
                axes.locator_params(axis="x", nbins=5)
            axes.margins(x=0.05)
        _dots(axes, scored, at, sweep.best)
        axes.grid(axis="x", visible=False)
        axes.locator_params(axis="y", nbins=4)
        axes.margins(y=0.1)
        share = sweep.importances.get(field)
        _heading(axes, plain(field, 30), "" if share is None else f"{100.0 * share:.0f} %")
    return figure


def _as_listed(words: list[str], known: list[str]) -> list[str]:
    """Return the choices in the order of the search; 0.0 there is 0 here."""
    listed = []
    for word in words:
        try:
            listed.append(f"{float(word):g}")
        except ValueError:
            listed.append(word)
    return list(dict.fromkeys([*listed, *known]))


def _dots(axes: Axes, trials: list[TrialData], at: list[Any], best: TrialData | None) -> None:
    """Complete trials as dots, those that ended early as crosses, the best one in a ring."""
    for trial, x in zip(trials, at):
        score = trial.score or 0.0  # only trials that have one are drawn
        look: Any = {"color": LIGHT["third"], "ms": 4.6, "mew": 0.8, "mec": LIGHT["paper"], "marker": "o"}
        if trial.state != "complete":
            look = {"color": LIGHT["ceiling"], "ms": 4.0, "mew": 1.1, "marker": "x"}
        axes.plot(x, score, ls="", zorder=3, **look)
        if trial is best:
            axes.plot(x, score, "o", ms=8.5, mew=1.6, mfc="none", color=LIGHT["agent"], zorder=4)


def _whole_numbers(axes: Axes) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.grid(axis="x", visible=False)


def _log_axis(axes: Axes) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 3.0), numticks=8))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))  # matplotlib's own is TeX
    axes.xaxis.set_minor_formatter(NullFormatter())
