"""An evaluation, a run and a comparison of runs as text, for any width from 60 columns on.

Everything that comes from a run directory is printed as rich ``Text``, which knows no markup. rich is imported inside
the functions.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from cumulant.report import text_terminal
from cumulant.report.curves import Curve
from cumulant.report.evaluation import (
    Column,
    Comparison,
    Evaluation,
    Measure,
    Subgroup,
    default_column,
)
from cumulant.report.load import RunGroup
from cumulant.report.parsing import parse_evaluation
from cumulant.report.progress import LiveProgress
from cumulant.report.wording import (
    MISSING,
    algo_name,
    brief,
    duration,
    first_outcome,
    fixed,
    glued,
    magnitude,
    metric_name,
    outcome_name,
    plain,
    spread,
)

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.text import Text

__all__ = ["LiveProgress", "show_compare", "show_evaluation", "show_run"]


def show_evaluation(evaluation: Evaluation | Mapping[str, Any], console: Console | None = None) -> None:
    """Print an evaluation: comparisons, subgroups, what was left out, and the notice.

    Args:
        evaluation: The checked evaluation, or the dictionary that ``evaluation.json`` holds.
        console: Where to; stdout by default.
    """
    screen = _screen(console)
    known = evaluation if isinstance(evaluation, Evaluation) else parse_evaluation(evaluation)
    facts = [known.environment, f"{known.episodes:,} episodes" if known.episodes else ""]
    facts += [f"seed {known.seed}" if known.seed else ""]
    screen.print(_text("Evaluation  ", "bold"), _text(" · ".join(fact for fact in facts if fact), "dim"), sep="")
    if not any(row.kind == "agent" for comparison in known.comparisons for row in comparison.rows):
        screen.print(_measures(known.measures, {column.key: column for column in known.columns}))
    for comparison in known.comparisons:
        _show_comparison(comparison, known, screen)
    for subgroup in known.subgroups:
        _show_subgroup(subgroup, known, screen)
    text_terminal.show(known, screen)
    for problem in known.problems:
        screen.print(_text(f"note: {plain(problem, 400)}", "yellow"))
    _show_notice(known.notice, screen)


def show_run(group: RunGroup, console: Console | None = None) -> None:
    """Print what a run or a group of seeds is and what it reached, with small learning curves.

    Args:
        group: From `load.load`.
        console: Where to; stdout by default.
    """
    from rich.columns import Columns

    screen = _screen(console)
    first = group.first
    seeds = ", ".join(str(seed) for seed in group.seeds)
    facts = [f"seed{'s' if len(group.runs) > 1 else ''} {plain(seeds, 60)}"]
    facts.append(f"{magnitude(group.steps)} steps" + (" each" if len(group.runs) > 1 else ""))
    facts += [duration(group.seconds)] if group.seconds is not None else []
    facts += [group.speed] if group.speed else []
    screen.print(_text(f"{algo_name(first.algo)} on {first.env}", "bold"))
    screen.print(_text(" · ".join(facts), "dim"))
    options = "  ".join(f"{key}={plain(value, 40)}" for key, value in first.options.items())
    if options:
        screen.print(_text(options, "dim"))
    result = group.result()
    screen.print()
    screen.print(_text(result.source[:1].upper() + result.source[1:], "dim"))
    screen.print(_measures(result.measures, result.columns))
    charts = []
    outcome = first_outcome(group.keys("outcome"))
    width = max(24, min(56, (screen.width - 4) // 2))
    for key, metric in (("return", "episode/return"), (outcome, f"outcome/{outcome}")):
        curve = group.curve(metric) if key else None
        if key is not None and curve is not None:
            name = outcome_name(key)
            title = name.label + (f", {name.unit}" if name.unit else "")
            charts.append(_chart(curve.scaled(name.factor), title, width))
    for metric in [] if charts else text_terminal.chosen_metrics(group.metrics):
        curve = group.curve(metric)
        if curve is not None:
            charts.append(_chart(curve, metric_name(metric), width))
    if charts:
        screen.print()
        screen.print(Columns(charts, padding=(0, 2)))
    if group.evaluation is not None:
        text_terminal.show(group.evaluation, screen)
    for problem in group.problems:
        screen.print(_text(f"note: {plain(problem, 400)}", "yellow"))
    _show_notice(group.evaluation.notice if group.evaluation else "", screen)


def show_compare(result: Mapping[str, Any], console: Console | None = None) -> None:
    """Print a comparison of runs, one table for each set of runs that may be compared.

    Args:
        result: From `compare.compare`.
        console: Where to; stdout by default.
    """
    screen = _screen(console)
    for table in result["tables"]:
        columns = [_as_column(entry) for entry in table["columns"]]
        rows = [
            (_run_label(run), {key: _as_measure(entry) for key, entry in run["measures"].items()}, "")
            for run in table["runs"]
        ]
        screen.print()
        screen.print(_text(table["title"], "bold"))
        _print_table("Run", rows, columns, screen)
    for warning in result["warnings"]:
        screen.print(_text(f"warning: {plain(warning, 600)}", "yellow"))
    _show_notice(plain(result.get("notice") or "", 600), screen)


def _run_label(run: Mapping[str, Any]) -> str:
    if "model" in run:
        return f"{run['model']}\n{run['label']}"
    seeds = f"{len(run['seeds'])} seed" + ("s" if len(run["seeds"]) != 1 else "")
    trained = f"{magnitude(run['steps'])} steps, {duration(run['seconds'])}"
    return f"{run['label']}\n{algo_name(run['algo'])}, {seeds}\n{trained}"


def _as_column(entry: Mapping[str, Any]) -> Column:
    return Column(entry["key"], entry["label"], entry["unit"], entry["better"], entry["digits"])


def _as_measure(entry: Mapping[str, Any]) -> Measure:
    low, high = entry["interval"] or (None, None)
    return Measure(entry["mean"], low, high)


def _screen(console: Console | None) -> Console:
    if console is not None:
        return console
    from rich.console import Console

    return Console(highlight=False)


def _text(text: str, style: str = "") -> Text:
    from rich.text import Text

    return Text(text, style=style)


def _measures(measures: Mapping[str, Measure], columns: Mapping[str, Column]) -> RenderableType:
    """The agent's own figures, one a line."""
    from rich.table import Table

    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    first = next(iter(measures), "")
    for key, measure in measures.items():
        column = columns.get(key, default_column(key))
        known = measure.low is not None and measure.low != measure.high
        ends = f"{fixed(measure.low, column.digits)} to {fixed(measure.high, column.digits)}" if known else ""
        value = fixed(measure.mean, column.digits) + (f" {column.unit}" if column.unit else "")
        table.add_row(
            _text(column.label), _text(value, "bold cyan" if key in ("return", first) else "bold"), _text(ends, "dim")
        )
    return table


def _show_comparison(comparison: Comparison, evaluation: Evaluation, screen: Console) -> None:
    keys = {key for row in comparison.rows for key in row.measures}
    columns = [column for column in evaluation.columns if column.key in keys]
    screen.print()
    screen.print(_text(comparison.title, "bold"))
    if comparison.note:
        screen.print(_text(comparison.note, "dim"))
    best = {column.key: comparison.best(column) for column in columns}
    rows = [(row.label, row.measures, row.kind) for row in comparison.rows]
    _print_table("Policy", rows, columns, screen, best)


def _show_subgroup(subgroup: Subgroup, evaluation: Evaluation, screen: Console) -> None:
    keys = {key for row in subgroup.rows for key in row.agent}
    columns = [column for column in evaluation.columns if column.key in keys]
    rows: list[tuple[str, Mapping[str, Measure], str]] = []
    for row in subgroup.rows:
        count = f" ({row.episodes:,})" if row.episodes is not None else ""
        rows.append((row.label + count, row.agent, "agent"))
        if row.reference:
            rows.append(("  " + subgroup.reference_label, row.reference, "protocol"))
    screen.print()
    beside = f"  agent, and {subgroup.reference_label} beneath" if subgroup.reference_label else ""
    screen.print(_text(subgroup.title, "bold"), _text(beside, "dim"), sep="")
    _print_table("", rows, columns, screen)


def _print_table(
    head: str,
    rows: Sequence[tuple[str, Mapping[str, Measure], str]],
    columns: Sequence[Column],
    screen: Console,
    best: Mapping[str, frozenset[int]] | None = None,
) -> None:
    """A table of means with their intervals beneath; columns that do not fit are left out from the right, and named."""
    from rich import box
    from rich.table import Table

    longest = max([len(part) for label, _, _ in rows for part in label.split("\n")] + [8])
    label_width = min(longest + 2, 34, screen.width // 3)
    widths = [_width(column, [measures.get(column.key) for _, measures, _ in rows]) for column in columns]
    fitting = len(columns)
    while fitting > 1 and label_width + sum(width + 2 for width in widths[:fitting]) > screen.width:
        fitting -= 1
    heads = [[head], *(_head(column, width) for column, width in zip(columns[:fitting], widths))]
    tall = max(len(lines) for lines in heads)
    titles = [_text("\n" * (tall - len(lines)) + "\n".join(lines)) for lines in heads]
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False, collapse_padding=True, show_edge=False)
    table.header_style = "dim"
    table.add_column(titles[0], width=label_width, overflow="fold")
    for title, width in zip(titles[1:], widths):
        table.add_column(title, justify="right", width=width)
    for index, (label, measures, kind) in enumerate(rows):
        agent, aside = kind == "agent", kind in ("ceiling", "floor")
        name = _text(("▸ " if agent else "  ") + label.replace("\n", "\n  "), "bold cyan" if agent else "")
        if aside:
            name.append(f"\n  ({kind})")
        bests = [best is not None and index in best.get(column.key, ()) for column in columns[:fitting]]
        cells = [_cell(measures.get(column.key), column, is_best, agent) for column, is_best in zip(columns, bests)]
        table.add_row(name, *cells, style="dim" if aside else "")
    screen.print(table)
    if fitting < len(columns):
        left_out = ", ".join(column.label for column in columns[fitting:])
        screen.print(_text(f"not shown at this width: {left_out}", "dim"))


def _head(column: Column, width: int) -> list[str]:
    return [*textwrap.wrap(glued(column.label), width), *textwrap.wrap(glued(column.unit), width)]


def _width(column: Column, measures: Sequence[Measure | None]) -> int:
    words = glued(f"{column.label} {column.unit}").replace("-", "- ").split(" ")
    texts = [fixed(m.mean, column.digits) for m in measures if m]
    texts += [spread(m.mean, m.low, m.high, column.digits) for m in measures if m]
    return max(len(text) for text in [*words, *texts, "0.00"])


def _cell(measure: Measure | None, column: Column, best: bool, agent: bool) -> Text:
    if measure is None:
        return _text(MISSING, "dim")
    style = ("bold " if best else "") + ("cyan" if agent else "")
    cell = _text("").append(fixed(measure.mean, column.digits), style=style.strip())
    if measure.low != measure.high:
        cell.append("\n" + spread(measure.mean, measure.low, measure.high, column.digits), style="dim")
    return cell


def _chart(curve: Curve, title: str, width: int, height: int = 6) -> RenderableType:
    """A curve in braille dots, two by four to a character."""
    low, high = float(curve.mean.min()), float(curve.mean.max())
    label = max(len(brief(low)), len(brief(high)))
    inner = max(8, width - label - 2)
    at = np.linspace(curve.steps[0], curve.steps[-1], 2 * inner)
    values = np.interp(at, curve.steps, curve.mean)
    level = np.round((values - low) / ((high - low) or 1.0) * (4 * height - 1)).astype(int)
    cells = np.zeros((height, inner), dtype=int)
    dots = ((0x40, 0x04, 0x02, 0x01), (0x80, 0x20, 0x10, 0x08))  # of both columns, from the lowest
    before = level[0]
    for x, now in enumerate(level):
        # A steep piece is filled in, so that the line does not fall apart.
        for y in range(min(before + (now > before), now), max(before - (now < before), now) + 1):
            cells[height - 1 - y // 4, x // 2] |= dots[x % 2][y % 4]
        before = now
    text = _text("").append(f"{' ' * label}  {title}   last {brief(float(curve.mean[-1]))}\n", style="dim")
    for row in range(height):
        edge = brief(high) if row == 0 else brief(low) if row == height - 1 else ""
        text.append(f"{edge:>{label}} ", style="dim").append("│", style="dim")
        text.append("".join(chr(0x2800 + cell) for cell in cells[row]) + "\n", style="cyan")
    end = f"{magnitude(float(curve.steps[-1]))} steps"
    return text.append(f"{' ' * label} └{end:>{inner}}", style="dim")


def _show_notice(notice: str, screen: Console) -> None:
    if notice:
        from rich.panel import Panel

        screen.print()
        screen.print(Panel(_text(notice, "bold"), border_style="yellow", padding=(0, 1), expand=False))
