"""Figures of aligned models: who is preferred, how training went, where more reward made worse texts, whom to believe."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from cumulant.report.align_data import AlignData, BetaCurve, Moment
from cumulant.report.align_wording import figure_name
from cumulant.report.plots import _dot, _figure, _heading, _style
from cumulant.report.theme import DASHES, LIGHT
from cumulant.report.wording import fixed, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_JUDGES = (("agent", "o"), ("other", "D"), ("third", "s"), ("fourth", "^"), ("fifth", "v"), ("ceiling", "P"))
_BETWEEN = (("third", "s"), ("fourth", "^"), ("fifth", "v"))
CURVES = {  # of a training: title, remark, what it says
    "reward": ("Reward", "s.d. of SFT", "What the reward model gives to the answers of this update."),
    "kl": ("Distance from SFT (KL)", "nats an answer", "How far the policy has moved from the model it began as."),
    "distinct_2": ("Distinct word pairs", "", "1: no pair of words twice. Falling: all answers sound the same."),
}


class Look(NamedTuple):
    """How a line is drawn: a colour of `theme`, dashes, a marker."""

    colour: str
    dash: Any
    marker: str


def beta_looks(curves: Sequence[BetaCurve]) -> dict[str, Look]:
    """Return a look for each beta: the strongest hold in blue, the weakest in vermilion, the others between."""
    labels = list(dict.fromkeys(curve.label for curve in curves))
    looks = {}
    for i, label in enumerate(labels):
        if i and i == len(labels) - 1:
            looks[label] = Look("other", DASHES[1], "D")
        elif i:
            colour, marker = _BETWEEN[(i - 1) % len(_BETWEEN)]
            looks[label] = Look(colour, DASHES[2 + (i - 1) % 3], marker)
        else:
            looks[label] = Look("agent", DASHES[0], "o")
    return looks


def judge_looks(align: AlignData) -> dict[str, tuple[str, str, str]]:
    """Return by judge: label, colour, marker."""
    return {judge.name: (judge.label, *_JUDGES[i % len(_JUDGES)]) for i, judge in enumerate(align.judges)}


def wins(align: AlignData) -> Figure | None:
    """Draw how often each model's answer is preferred to SFT's, by every judge: under the rule, and without it.

    Returns:
        None where no model has been judged.
    """
    kinds = [
        (prefix, title)
        for prefix, title in (("win_", "Under the rule"), ("raw_", "Judges alone, without the rule"))
        if any(prefix + name in model.figures for model in align.models for name in judge_looks(align))
    ]
    models = [model for model in align.models if any(key.startswith(("win_", "raw_")) for key in model.figures)]
    if not kinds or not models:
        return None
    looks = judge_looks(align)
    room = 0.3 if len(looks) > 1 else 0.0
    with _style():
        figure = _figure(8.2, 0.85 + 0.36 * max(len(models), 2))
        figure.set_layout_engine("constrained", wspace=0.07)
        panels = figure.subplots(1, len(kinds), sharey=True, squeeze=False)[0]
        for axes, (prefix, title) in zip(panels, kinds):
            axes.axvline(50, color=LIGHT["ink"], lw=0.8, ls=(0, (3, 2.5)), alpha=0.6)
            for place, model in enumerate(models):
                for i, (name, (_, colour, marker)) in enumerate(looks.items()):
                    measure = model.figures.get(prefix + name)
                    if measure is None:
                        continue
                    shift = room * (i / max(len(looks) - 1, 1) - 0.5)
                    shown = figure_name(prefix + name).shown(measure)
                    _dot(axes, shown, place + shift, colour, marker, True, None)
            _heading(axes, title, "% preferred to SFT")
            axes.set_xlim(-2, 102)
            axes.set_ylim(len(models) - 0.45, -0.6)
            axes.set_yticks(range(len(models)), [model.label for model in models])
            axes.tick_params(axis="y", labelsize=8, labelcolor=LIGHT["ink"])
            axes.grid(axis="y", visible=False)
            axes.set_xticks([0, 25, 50, 75, 100])
    return figure


def training(align: AlignData, key: str) -> Figure | None:
    """Draw a metric over the updates of PPO, a line for each beta; further seeds are thin lines.

    Args:
        align: What was measured.
        key: One of `CURVES`.

    Returns:
        None where nobody has the metric.
    """
    title, remark, _ = CURVES[key]
    looks = beta_looks(align.curves)
    drawn = [(curve, *curve.column(key)) for curve in align.curves]
    drawn = [(curve, x, y) for curve, x, y in drawn if x]
    if not drawn:
        return None
    with _style():
        figure = _figure(3.3, 2.2)
        axes = figure.add_subplot()
        seen: set[str] = set()
        for curve, x, y in drawn:
            look, first = looks[curve.label], curve.label not in seen
            seen.add(curve.label)
            line: Any = {"color": LIGHT[look.colour], "ls": look.dash if first else "-"}
            marker = "o" if len(x) == 1 else ""
            line |= {"lw": 1.7, "zorder": 3} if first else {"lw": 0.7, "alpha": 0.45, "zorder": 2}
            axes.plot(x, y, marker=marker, ms=4, **line)
        _heading(axes, title, remark)
        axes.set_xlabel("update", fontsize=7.6)
        axes.grid(axis="x", visible=False)
        axes.locator_params(axis="x", nbins=6, integer=True)
        axes.locator_params(axis="y", nbins=5)
        axes.margins(y=0.07)
        if min(min(y) for _, _, y in drawn) >= 0:
            axes.set_ylim(bottom=0)
    return figure


def over_optimisation(align: AlignData) -> Figure | None:
    """Draw the proxy reward, and beneath it the share of good answers, against the distance from SFT.

    Returns:
        None where no moment was judged.
    """
    looks = beta_looks(align.curves)
    known = [(curve, [m for m in curve.moments if m.kl is not None]) for curve in align.curves]
    known = [(curve, moments) for curve, moments in known if moments]
    if not known:
        return None
    far = max(max(moment.kl or 0.0, 0.0) for _, moments in known for moment in moments)
    with _style():
        figure = _figure(5.6, 4.7)
        top, low = figure.subplots(2, 1, sharex=True)
        seen: set[str] = set()
        for curve, moments in known:
            first = curve.label not in seen
            seen.add(curve.label)
            _course(top, low, moments, looks[curve.label], first)
        peak = max(
            ((m.good.mean, _root(m.kl)) for _, moments in known for m in moments if m.good), default=None
        )  # the best answers that any of these policies gave
        if peak is not None:
            for axes in (top, low):
                axes.axvline(peak[1], color=LIGHT["ink"], lw=0.8, ls=(0, (3, 2.5)), alpha=0.6)
            right = peak[1] < 0.6 * _root(far)
            low.annotate(
                "most good answers", (peak[1], 1.0), (4 if right else -4, -3), xycoords=("data", "axes fraction"),
                textcoords="offset points", fontsize=7.4, color=LIGHT["soft"], va="top", ha="left" if right else "right",
            )  # fmt: skip
        _heading(top, "What training raises: reward", "s.d. of SFT, by the reward model")
        _heading(low, "What we want: good answers", "%, by a judge that never trained, within the rule")
        low.set_xlabel("distance from SFT (KL), nats an answer; square-root scale", fontsize=7.6)
        ticks = [tick for tick in (0, 1, 3, 10, 30, 100, 300, 1000, 3000) if tick <= 1.05 * far] or [0]
        low.set_xticks([_root(tick) for tick in ticks], [f"{tick:g}" for tick in ticks])
        low.set_xlim(-0.03 * _root(far) - 0.02, 1.05 * _root(far) + 0.05)
        top.margins(y=0.1)
        low.margins(y=0.1)
        low.set_ylim(bottom=min(0.0, low.get_ylim()[0]))
        for axes in (top, low):
            axes.locator_params(axis="y", nbins=5)
    return figure


def _root(kl: float | None) -> float:
    return math.sqrt(max(kl or 0.0, 0.0))


def _course(top: Axes, low: Axes, moments: Sequence[Moment], look: Look, first: bool) -> None:
    """One training: reward above, good answers beneath, in the order of its updates."""
    colour = LIGHT[look.colour]
    faint: Any = {"alpha": 1.0, "zorder": 3} if first else {"alpha": 0.4, "zorder": 2}
    dots: Any = {"marker": look.marker, "ms": 5.0 if first else 3.0, "mec": LIGHT["paper"], "mew": 0.7}
    line: Any = {"color": colour, "ls": look.dash, "lw": 1.5 if first else 0.7}
    scored = [moment for moment in moments if moment.reward is not None]
    top.plot([_root(m.kl) for m in scored], [m.reward or 0.0 for m in scored], **line, **dots, **faint)
    judged = [(m, figure_name("accepted").shown(m.good)) for m in moments if m.good is not None]
    for moment, good in judged:
        if first and good.low is not None and good.high is not None:
            low.plot([_root(moment.kl)] * 2, [good.low, good.high], color=colour, lw=1.6, alpha=0.4)
    low.plot([_root(m.kl) for m, _ in judged], [good.mean for _, good in judged], **line, **dots, **faint)


def accuracies(align: AlignData) -> Figure | None:
    """Draw how often the reward model and each judge agree with people, and how often people agree with people."""
    rows = [("reward model", align.accuracy, "agent")]
    rows += [(f"judge: {judge.label}", judge.accuracy, "third") for judge in align.judges]
    known = [
        (label, figure_name("accuracy").shown(value), colour) for label, value, colour in rows if value is not None
    ]
    if not known:
        return None
    with _style():
        figure = _figure(5.2, 1.1 + 0.6 * max(len(known), 2))
        axes = figure.add_subplot()
        axes.axvline(50, color=LIGHT["soft"], lw=0.8, ls=(0, (1.4, 1.2)))
        ends = [50.0]
        if align.ceiling is not None:
            ceiling = figure_name("accuracy").shown(align.ceiling)
            ends.append(ceiling.mean)
            axes.axvline(ceiling.mean, color=LIGHT["ceiling"], lw=1.2, ls=(0, (5, 1.6)))
            if ceiling.low is not None and ceiling.high is not None:
                axes.axvspan(ceiling.low, ceiling.high, color=LIGHT["ceiling"], alpha=0.18, lw=0)
            axes.annotate(
                f"people {fixed(ceiling.mean, 1)}", (ceiling.mean, 0), (-4, 3), xycoords=("data", "axes fraction"),
                textcoords="offset points", ha="right", fontsize=7.4, color=LIGHT["soft"],
            )  # fmt: skip
        for place, (_, value, colour) in enumerate(known):
            _dot(axes, value, place, colour, "o", True, 1)
            ends += [end for end in (value.mean, value.low, value.high) if end is not None]
        _heading(axes, "Agreement with people", "% of held-out pairs")
        axes.set_xlim(min(ends) - 3, max(max(ends) + 4, 100))
        axes.set_ylim(len(known) - 0.2, -0.6)
        axes.set_yticks(range(len(known)), ["\n".join(textwrap.wrap(label, 16)) for label, _, _ in known])
        axes.tick_params(axis="y", labelsize=8, labelcolor=LIGHT["ink"])
        axes.grid(axis="y", visible=False)
    return figure


def legend_label(label: str) -> str:
    """Return a beta's label as a legend writes it: what the number does stands beside it.

    >>> legend_label("beta 0"), legend_label("beta 0.2")
    ('beta 0: no hold', 'beta 0.2')
    """
    return f"{plain(label, 40)}: no hold" if label == "beta 0" else plain(label, 40)
