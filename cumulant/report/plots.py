"""Figures of a run, as SVG or PNG.

Every function draws one panel for one question and returns a matplotlib figure; `svg` and `png` write it. Drawing
goes through figure objects, never through pyplot, so a caller's own plots and settings are not touched. Text is
never read as mathematics: a label from a stranger's run directory may hold dollar signs.

matplotlib is imported inside the functions: reading a run must not wait for it.
"""

from __future__ import annotations

import io
import re
import warnings
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from cumulant.report.curves import Curve
from cumulant.report.evaluation import Case, Column, Comparison, Measure, PolicyMap, Subgroup, Trajectories
from cumulant.report.theme import DASHES, LIGHT, LINES
from cumulant.report.wording import brief, fixed, magnitude, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_SETTINGS: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 8.0,
    "text.parse_math": False,
    "text.color": LIGHT["ink"],
    "axes.edgecolor": LIGHT["rule"],
    "axes.facecolor": "none",
    "axes.labelcolor": LIGHT["soft"],
    "axes.linewidth": 0.8,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.xmargin": 0.0,
    "axes.unicode_minus": False,
    "figure.facecolor": "none",
    "figure.constrained_layout.use": True,
    "figure.constrained_layout.w_pad": 0.02,
    "figure.constrained_layout.h_pad": 0.02,
    "grid.color": LIGHT["grid"],
    "grid.linewidth": 0.8,
    "lines.linewidth": 1.7,
    "lines.solid_capstyle": "round",
    "lines.solid_joinstyle": "round",
    "xtick.color": LIGHT["rule"],
    "ytick.color": LIGHT["rule"],
    "xtick.labelcolor": LIGHT["soft"],
    "ytick.labelcolor": LIGHT["soft"],
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
    "xtick.major.size": 3.0,
    "ytick.major.size": 0.0,
    "svg.fonttype": "none",
    "svg.hashsalt": "cumulant",
}


@contextmanager
def _style() -> Iterator[None]:
    """The figures' settings, whatever the user's own matplotlibrc says; restored afterwards."""
    import matplotlib

    with matplotlib.rc_context(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # glyphs that the measuring font lacks: the browser's font has them
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_SETTINGS)
        yield


def svg(figure: Figure, label: str = "") -> str:
    """Return a figure as an ``<svg>`` element, with real text and the same bytes every time.

    Args:
        figure: From a function of this module.
        label: What it shows, for those who cannot see it.
    """
    from xml.sax.saxutils import quoteattr

    with _style():
        stream = io.StringIO()
        figure.savefig(stream, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    text = stream.getvalue()
    text = text[text.index("<svg") :].strip()
    box = re.search(r'viewBox="[^"]*"', text)
    head = f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" {box[0] if box else ""}'
    body = text[text.index(">") + 1 :]
    # Two figures in one page must not share ids, and most ids are not referred to.
    prefix = f"f{zlib.crc32(body.encode()):08x}-"
    used = set(re.findall(r'(?:href="|url\()#([^")]+)', body))
    body = re.sub(r' id="([^"]+)"', lambda found: f' id="{prefix}{found[1]}"' if found[1] in used else "", body)
    body = re.sub(r'(href="|url\()#', rf"\1#{prefix}", body)
    return f'{head} role="img" aria-label={quoteattr(plain(label, 300))}>{body}'


def png(figure: Figure, dpi: int = 160) -> bytes:
    """Return a figure as a PNG on white paper."""
    with _style():
        stream = io.BytesIO()
        figure.savefig(stream, format="png", dpi=dpi, facecolor=LIGHT["paper"])
    return stream.getvalue()


def _figure(width: float, height: float) -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height))
    FigureCanvasAgg(figure)
    return figure


def _heading(axes: Axes, title: str, beside: str = "") -> None:
    """A title at the left, as the figure's sentence; units and remarks beside it, softer."""
    if title:
        axes.set_title(title, loc="left", fontsize=8.8, fontweight="bold", pad=7)
    if beside:
        # Where there is no title, it stands at the left: a y label that is read without turning the head.
        axes.set_title(
            beside, loc="right" if title else "left", fontsize=7.6, color=LIGHT["soft"], pad=7 if title else 4
        )


def _steps_axis(axes: Axes) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _round(magnitude(value))))
    axes.grid(axis="x", visible=False)


def _round(text: str) -> str:
    """Drop decimals that say nothing: 1.50M is 1.5M.

    >>> _round("1.50M"), _round("400k"), _round("2.00M")
    ('1.5M', '400k', '2M')
    """
    return re.sub(r"\.?0+(?=[kMG]$)", "", text) if "." in text else text


def learning_curve(curve: Curve, title: str, unit: str = "", evaluated: Curve | None = None) -> Figure:
    """Draw a metric over training: mean, band, each seed, and periodic evaluations as dots.

    Args:
        curve: Of the training episodes.
        title: What it is.
        unit: Its unit.
        evaluated: Of the periodic evaluations, the same unit.
    """
    with _style():
        figure = _figure(5.2, 2.75)
        axes = figure.add_subplot()
        _curve(axes, curve)
        if evaluated is not None:
            look: Any = {"color": LIGHT["other"], "mec": LIGHT["paper"], "mew": 0.9, "ms": 4.4}
            axes.plot(evaluated.steps, evaluated.mean, "o", zorder=5, clip_on=False, **look)
        end = curve if evaluated is None else evaluated
        _heading(axes, title + (f" ({unit})" if unit else ""), f"last {brief(float(end.mean[-1]))}")
        axes.set_xlabel("environment steps", fontsize=7.6)
        axes.margins(y=0.06)
    return figure


def reward_term(curve: Curve, title: str) -> Figure:
    """Draw what one reward term gave per episode, over training; small, to stand among its like."""
    with _style():
        figure = _figure(3.2, 1.75)
        axes = figure.add_subplot()
        _curve(axes, curve)
        _heading(axes, title, brief(float(curve.mean[-1])))
        axes.locator_params(axis="y", nbins=4)
        axes.margins(y=0.08)
    return figure


def _curve(axes: Axes, curve: Curve) -> None:
    if len(curve.seeds) > 1:
        for values in curve.seeds[:12]:
            axes.plot(curve.steps, values, color=LIGHT["agent"], lw=0.7, alpha=0.45)
    axes.plot(curve.steps, curve.mean, color=LIGHT["agent"], marker="o" if len(curve.steps) == 1 else "", ms=4)
    limits = axes.get_ylim()
    if curve.band:
        axes.fill_between(curve.steps, curve.low, curve.high, color=LIGHT["agent"], alpha=0.16, lw=0)
        # A band of few seeds may be very wide at first; it must not flatten the curve.
        room = 0.5 * (limits[1] - limits[0])
        low, high = max(axes.get_ylim()[0], limits[0] - room), min(axes.get_ylim()[1], limits[1] + room)
        axes.set_ylim(low, high)
    _steps_axis(axes)


def line_styles(trajectories: Trajectories) -> dict[str, tuple[str, Any]]:
    """Return each policy's colour name and dash pattern, the same in every case."""
    labels = dict.fromkeys(line.label for case in trajectories.cases for line in case.lines)
    return {label: (LINES[i % len(LINES)], DASHES[i % len(DASHES)]) for i, label in enumerate(labels)}


def trajectory(trajectories: Trajectories, case: Case, title: bool = True) -> Figure:
    """Draw one case: the course of what is controlled with the range to stay in, and what was given beneath.

    Args:
        trajectories: Band and labels.
        case: One of its cases.
        title: Without it the caption has to name the case.
    """
    styles = line_styles(trajectories)
    second = any(line.y2 for line in case.lines)
    heights = (2.5, 1) if second else (1,)
    with _style():
        figure = _figure(5.2, (3.3 if second else 2.4) + 0.2 * title)
        parts = figure.subplots(len(heights), 1, sharex=True, height_ratios=heights, squeeze=False)[:, 0]
        top, last = parts[0], parts[-1]
        if title:
            figure.suptitle(case.title, x=0.01, ha="left", fontsize=8.8, fontweight="bold")
        if trajectories.band:
            top.axhspan(*trajectories.band, color=LIGHT["band"], alpha=0.13, lw=0)
            for edge in trajectories.band:
                top.axhline(edge, color=LIGHT["band"], lw=0.7, alpha=0.75)
        # The first policy is the agent: drawn last, so that it lies on top.
        for line in reversed(case.lines):
            colour, dash = styles[line.label]
            look = {"color": LIGHT[colour], "ls": dash, "lw": 1.9 if colour == "agent" else 1.5}
            top.plot(line.x, _floats(line.y), **look)
            if line.y2:
                last.step(line.x, _floats(line.y2), where="post", **look)
        _heading(top, "", trajectories.y_label)
        _same_scale(top, [value for each in trajectories.cases for line in each.lines for value in line.y])
        if second:
            _heading(last, "", trajectories.y2_label)
            last.locator_params(axis="y", nbins=3)
            _same_scale(last, [value for each in trajectories.cases for line in each.lines for value in line.y2])
        last.set_xlabel(trajectories.x_label, fontsize=7.6)
        for axes in parts:
            axes.grid(axis="x", visible=False)
    return figure


def _floats(values: Sequence[float | None]) -> np.ndarray:
    return np.array([np.nan if value is None else value for value in values])


def _same_scale(axes: Axes, values: Sequence[float | None]) -> None:
    """Give every case the same y axis, so that they can be compared."""
    known = [value for value in values if value is not None]
    if known and max(known) > min(known):
        room = 0.07 * (max(known) - min(known))
        axes.set_ylim(min(known) - room, max(known) + room)


def action_colours(count: int) -> list[str]:
    """Return a colour per action, from the least to the most, through a neutral middle.

    >>> action_colours(3)
    ['#4a90d0', '#e3e7ec', '#e08a3c']
    """
    ends = [np.array([int(LIGHT[name][i : i + 2], 16) for i in (1, 3, 5)]) for name in ("less", "same", "more")]
    colours = []
    for at in np.linspace(0, 2, count) if count > 1 else [1.0]:
        index = min(int(at), 1)
        mixed = ends[index] + (ends[index + 1] - ends[index]) * (at - index)
        colours.append("#" + "".join(f"{round(part):02x}" for part in mixed))
    return colours


def policy_map(policy: PolicyMap, band: tuple[float, float] | None = None) -> Figure:
    """Draw the action by two observations.

    Args:
        policy: The map.
        band: Range of the x axis to mark, if x has one.
    """
    colours = action_colours(len(policy.legend))
    x_edges, y_edges = _edges(policy.x), _edges(policy.y)
    with _style():
        figure = _figure(5.6, 3.5)
        axes = figure.add_subplot()
        for row, cells in enumerate(policy.z):
            # Neighbours of one action are one rectangle: a small file, and no hairlines between cells.
            cuts = [0, *(i for i in range(1, len(cells)) if cells[i] != cells[i - 1]), len(cells)]
            spans = [(x_edges[a], x_edges[b] - x_edges[a]) for a, b in pairwise(cuts)]
            faces = [colours[cells[a]] for a in cuts[:-1]]
            axes.broken_barh(
                spans,
                (y_edges[row], y_edges[row + 1] - y_edges[row]),
                facecolors=faces,
                edgecolors=faces,
                linewidth=0.6,
            )
        axes.set(xlim=(x_edges[0], x_edges[-1]), ylim=(y_edges[0], y_edges[-1]))
        for edge in band or ():
            if x_edges[0] < edge < x_edges[-1]:
                axes.axvline(edge, color=LIGHT["ink"], lw=0.9, ls=(0, (3, 2.5)), alpha=0.7)
        axes.set_xlabel(policy.x_label, fontsize=7.8)
        _heading(axes, "", policy.y_label)
        axes.grid(visible=False)
    return figure


def _edges(centres: Sequence[float]) -> np.ndarray:
    at = np.asarray(centres)
    middle = (at[1:] + at[:-1]) / 2
    return np.concatenate([[at[0] - (middle[0] - at[0])], middle, [at[-1] + (at[-1] - middle[-1])]])


def comparison_dots(comparison: Comparison, columns: Sequence[Column]) -> Figure:
    """Draw every policy's mean and interval, one panel a measure.

    Floors (no treatment) may lie far off and would flatten the rest: beyond the others they become an arrow.

    Args:
        comparison: The policies.
        columns: One to three measures.
    """
    rows = comparison.rows
    looks = {
        "agent": ("agent", "o", True), "protocol": ("other", "o", True),
        "ceiling": ("ceiling", "D", False), "floor": ("ceiling", "s", False),
    }  # fmt: skip
    with _style():
        figure, panels = _panels([row.label for row in rows], columns)
        for axes, column in zip(panels, columns):
            inside = [
                row.measures[column.key].mean for row in rows if row.kind != "floor" and column.key in row.measures
            ]
            low, high = (min(inside), max(inside)) if inside else (0.0, 1.0)
            edge = low - 0.12 * (high - low)
            for place, row in enumerate(rows):
                measure = row.measures.get(column.key)
                if measure is None:
                    continue
                colour, marker, filled = looks[row.kind]
                if row.kind == "floor" and not edge <= measure.mean <= high + 0.12 * (high - low):
                    left = measure.mean < edge
                    text = (
                        f"◂ {fixed(measure.mean, column.digits)}" if left else f"{fixed(measure.mean, column.digits)} ▸"
                    )
                    axes.annotate(
                        text, (0 if left else 1, place), (3 if left else -3, 0), xycoords=("axes fraction", "data"),
                        textcoords="offset points", va="center", ha="left" if left else "right", fontsize=7.4,
                        color=LIGHT["soft"],
                    )  # fmt: skip
                    continue
                _dot(axes, measure, place, colour, marker, filled, column.digits)
            axes.margins(x=0.14)
    return figure


def subgroup_dots(subgroup: Subgroup, columns: Sequence[Column]) -> Figure:
    """Draw the agent beside the reference in every part of the population, one panel a measure."""
    labels = [f"{row.label}  ({row.episodes:,})" if row.episodes is not None else row.label for row in subgroup.rows]
    with _style():
        figure, panels = _panels(labels, columns, height=0.42)
        for axes, column in zip(panels, columns):
            for place, row in enumerate(subgroup.rows):
                sides = ((row.agent, -0.15, "agent", "o"), (row.reference, 0.15, "other", "D"))
                for measures, shift, colour, marker in sides:
                    if column.key in measures:
                        _dot(axes, measures[column.key], place + shift, colour, marker, True, None)
            axes.margins(x=0.1)
    return figure


def _panels(labels: Sequence[str], columns: Sequence[Column], height: float = 0.3) -> tuple[Figure, list[Axes]]:
    figure = _figure(8.2, 0.75 + height * max(len(labels), 2))
    figure.set_layout_engine("constrained", wspace=0.07)
    panels = list(figure.subplots(1, len(columns), sharey=True, squeeze=False)[0])
    for axes, column in zip(panels, columns):
        _heading(axes, column.title, {"higher": "more is better →", "lower": "← less is better"}.get(column.better, ""))
        axes.set_ylim(len(labels) - 0.45, -0.6)
        axes.set_yticks(range(len(labels)), labels)
        axes.tick_params(axis="y", labelsize=8, labelcolor=LIGHT["ink"])
        axes.grid(axis="y", visible=False)
        axes.locator_params(axis="x", nbins=6)
    return figure, panels


def _dot(
    axes: Axes, measure: Measure, place: float, colour: str, marker: str, filled: bool, digits: int | None
) -> None:
    if measure.low is not None and measure.high is not None:
        axes.plot([measure.low, measure.high], [place, place], color=LIGHT[colour], lw=2.0, alpha=0.55)
    face = LIGHT[colour] if filled else LIGHT["paper"]
    axes.plot(measure.mean, place, marker, ms=6.2, color=LIGHT[colour], mfc=face, mew=1.3)
    if digits is not None:
        axes.annotate(
            fixed(measure.mean, digits), (measure.high or measure.mean, place), (6, 0), textcoords="offset points",
            va="center", fontsize=7.4, color=LIGHT["soft"],
        )  # fmt: skip
