"""report.html: one file that shows a run, or a group of seeds, to somebody who has nothing else.

No scripts and nothing from the net: style and figures are inside. Every text from the run directory is escaped, every
number is a ``<data>`` element whose value is the recorded one, and a Content-Security-Policy forbids what should not be
there anyway.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from cumulant.report import games, plots, text_html, video
from cumulant.report.evaluation import Column, Comparison, Evaluation, Measure, Subgroup, Trajectories, default_column
from cumulant.report.load import RunGroup, load
from cumulant.report.markup import document, write_page
from cumulant.report.markup import figure as _figure
from cumulant.report.markup import section as _section
from cumulant.report.markup import table as _table
from cumulant.report.theme import themed
from cumulant.report.wording import (
    MISSING,
    algo_name,
    command_line,
    duration,
    first_outcome,
    fixed,
    glued,
    magnitude,
    number,
    outcome_name,
    plain,
    spread,
)


def write_report(path: str | Path) -> Path:
    """Write ``report.html`` into a run directory or a group of seeds.

    Args:
        path: The directory.

    Returns:
        The file. It is written aside and renamed: complete or absent, and a link left in its place is not followed.

    Raises:
        RunError: If the directory is no run.
        StorageError: If the disk refuses.
    """
    group = load(path)
    return write_page(group.path / "report.html", page(group))


def page(group: RunGroup) -> str:
    """Return the report of a run or a group as HTML."""
    evaluation = group.evaluation
    known = [group.evaluation, *(run.evaluation for run in group.runs)]
    notice = next((each.notice for each in known if each and each.notice), "")
    title = f"{algo_name(group.first.algo)} on {group.first.env}"
    parts = [_head(group, title), _cards(group), video.section(group.path), _learning(group)]
    if evaluation is not None:
        parts += [comparisons(evaluation), trajectories(evaluation.trajectories), _policy_map(evaluation)]
        parts += [_subgroups(evaluation), text_html.evaluation(evaluation)]
    parts += [games.sections(group.first.path)]
    parts += [_terms(group), _seeds(group), _details(group)]
    manifest = group.first.manifest
    versions = manifest.get("versions")
    version = versions.get("cumulant") if isinstance(versions, Mapping) else manifest.get("cumulant")
    made = f"Cumulant {escape(plain(version or '', 40))}"
    made += f" · run of {escape(plain(manifest['created'], 40))}" if manifest.get("created") else ""
    return document(title, notice, parts, made)


def _head(group: RunGroup, title: str) -> str:
    seeds = len(group.runs)
    facts = [f"{seeds} seeds" if seeds > 1 else f"seed {group.first.seed}" if group.first.seed is not None else ""]
    facts.append(f"{magnitude(group.steps)} steps" + (" each" if seeds > 1 else "") if group.steps else "no steps yet")
    facts.append(f"{duration(group.seconds)} of training" if group.seconds else "")
    facts.append(escape(plain(group.first.manifest.get("created", ""))[:10]))
    command = command_line(
        group.first.algo,
        group.first.env,
        group.first.options,
        group.seeds,
        number(group.first.settings.get("total_steps")),
    )
    problems = "".join(f"<li>{escape(plain(problem, 400))}</li>" for problem in group.problems[:20])
    return (
        f'<header><h1>{escape(title)}</h1><p class="soft">{" · ".join(fact for fact in facts if fact)}</p>'
        f"<pre>{escape(command)}</pre></header>"
        + (f'<div class="problems">Notes:<ul>{problems}</ul></div>' if problems else "")
    )


def _cards(group: RunGroup) -> str:
    result = group.result()
    comparison = group.evaluation.comparisons[0] if group.evaluation and group.evaluation.comparisons else None
    of_text = group.evaluation is not None and group.evaluation.is_text
    main = list(result.columns)[:1] if of_text else ["return"] + ([result.outcome.key] if result.outcome else [])
    keys = [*main, *(key for key in result.columns if key not in main)]
    cards = []
    for key in [key for key in keys if key in result.measures][:5]:
        column, measure = result.columns[key], result.measures[key]
        lines = []
        if measure.low is not None:
            lines.append(f"{fixed(measure.low, column.digits)} to {fixed(measure.high, column.digits)}")
        best = comparison.best_protocol(column) if comparison else None
        if best is not None:
            lines.append(f"best protocol {fixed(best.measures[key].mean, column.digits)}")
        cards.append(_card(column.label, _data(measure.mean, column.digits), column.unit, lines, key in main))
    if group.seconds is not None:
        text = f'<span class="text">{duration(group.seconds)}</span>'
        cards.append(
            _card("Training", text, "", [group.speed, "all seeds together" if len(group.runs) > 1 else ""], False)
        )
    if not cards:
        return '<p class="note">Nothing has been measured yet.</p>'
    episodes = group.evaluation.episodes if group.evaluation else None
    source = f"From the {result.source}" if result.measures else "No result yet"
    items = "texts" if of_text else "episodes"
    source += f" on {episodes:,} held-out {items}" if episodes and result.source == "evaluation" else ""
    if group.evaluation is None:
        source += "; 'cumulant evaluate' makes the evaluation that is not there yet"
    kind = group.evaluation.intervals if group.evaluation else "95 %"
    ranges = f"; ranges: {escape(kind)}" if any(m.low is not None for m in result.measures.values()) else ""
    return f'<div class="cards">{"".join(cards)}</div><p class="note">{source}{ranges}.</p>'


def _card(label: str, value: str, unit: str, lines: Iterable[str], main: bool) -> str:
    unit = f' <span class="unit">{escape(unit)}</span>' if unit else ""
    rest = "".join(f"<small>{line}</small>" for line in lines if line)
    return f'<div class="card{" main" if main else ""}"><b>{escape(label)}</b>{value}{unit}{rest}</div>'


def _learning(group: RunGroup) -> str:
    figures, bands = [], []
    outcome = first_outcome(group.keys("outcome"))
    evaluated = first_outcome(group.keys("eval"))
    for key, metric, periodic in (
        ("return", "episode/return", "return"),
        (outcome, f"outcome/{outcome}", evaluated),
    ):
        curve = group.curve(metric) if key else None
        if key is None or curve is None:
            continue
        name = outcome_name(key)
        points = group.curve(f"eval/{periodic}") if periodic else None
        # Another outcome than the one drawn is comparable only when both are shares of time.
        if points is not None and periodic != key and outcome_name(periodic or "").unit != (name.unit or None):
            points = None
        points = points and points.scaled(outcome_name(periodic or "").factor)
        label = f"{name.label} over training"
        figures.append(
            _figure(
                plots.learning_curve(curve.scaled(name.factor), default_column(key).label, name.unit, points), label
            )
        )
        bands.append((curve.band, points is not None))
    if not figures:  # no episodes: a run on text, or one that has just begun
        return text_html.curves(group)
    caption = "Line: mean of the training episodes."
    caption += f" Shaded: {bands[0][0]}." if bands[0][0] else ""
    caption += " Thin lines: single seeds." if len(group.runs) > 1 else ""
    caption += " Dots: periodic evaluation of the policy without exploration." if any(dots for _, dots in bands) else ""
    return _section("Learning", f'<div class="figures">{"".join(figures)}</div><p class="note">{escape(caption)}</p>')


def comparisons(evaluation: Evaluation) -> str:
    """Return the section of everybody under the same rules."""
    parts = []
    for comparison in evaluation.comparisons:
        if not comparison.rows:
            continue
        keys = {key for row in comparison.rows for key in row.measures}
        columns = [column for column in evaluation.columns if column.key in keys]
        shown = [column for column in columns if column.key == "return"] or columns[:1]
        shown += [column for column in [evaluation.outcome] if column and column.key in keys and column not in shown]
        label = "mean and interval of every policy: " + comparison.title
        dots = f'<div class="wide">{_figure(plots.comparison_dots(comparison, shown), label)}</div>' if shown else ""
        note = f'<p class="note">{escape(comparison.note)}</p>' if comparison.note else ""
        parts.append(f"<h3>{escape(comparison.title)}</h3>{note}{dots}{_comparison_table(comparison, columns)}")
    if not parts:
        return ""
    foot = (
        f"Small figures are intervals (the agent's: {escape(evaluation.intervals)}; the others': 95 %). Bold: best of agent and "
        "protocols. Grey rows know the patient, or do nothing, and do not compete."
    )
    return _section("Compared with other policies", "".join(parts) + f'<p class="note">{foot}</p>')


def _comparison_table(comparison: Comparison, columns: Sequence[Column]) -> str:
    best = {column.key: comparison.best(column) for column in columns}
    rows = []
    for index, row in enumerate(comparison.rows):
        kind = f" <em>{row.kind}</em>" if row.kind in ("ceiling", "floor") else ""
        cells = [f"<td>{escape(row.label)}{kind}</td>"]
        cells += [_cell(row.measures.get(column.key), column, index in best[column.key]) for column in columns]
        rows.append(f'<tr class="{row.kind}">{"".join(cells)}</tr>')
    return _table(["Policy", *map(_header, columns)], rows)


def trajectories(trajectories: Trajectories | None, title: str = "Single cases") -> str:
    """Return the section of single cases; nothing where there are none."""
    if trajectories is None:
        return ""
    legend = ""
    for label, (colour, dash) in plots.line_styles(trajectories).items():
        dashes = "" if dash == "-" else f' stroke-dasharray="{" ".join(str(2 * part) for part in dash[1])}"'
        stroke = f'<line x1="1" y1="6" x2="31" y2="6" stroke-width="2.6"{dashes} style="stroke: var(--{colour})"/>'
        legend += f'<li><svg viewBox="0 0 32 12" aria-hidden="true">{stroke}</svg>{escape(label)}</li>'
    if trajectories.band:
        low, high = trajectories.band
        box = '<rect width="32" height="12" style="fill: var(--band); opacity: .25"/>'
        legend += (
            f'<li><svg viewBox="0 0 32 12" aria-hidden="true">{box}</svg>range to stay in, {low:g} to {high:g}</li>'
        )
    figures = "".join(
        _figure(plots.trajectory(trajectories, case, title=False), f"{trajectories.y_label}: {case.title}", case.title)
        for case in trajectories.cases
    )
    note = f'<p class="note">{escape(trajectories.note)}</p>' if trajectories.note else ""
    return _section(title, f'{note}<ul class="legend">{legend}</ul><div class="figures">{figures}</div>')


def _policy_map(evaluation: Evaluation) -> str:
    policy, courses = evaluation.policy_map, evaluation.trajectories
    if policy is None:
        return ""
    # The band belongs to what the cases show; it is marked here when the x axis is the same quantity.
    words = set(courses.y_label.split()) & set(policy.x_label.split()) if courses else set()
    band = courses.band if courses and words else None
    legend = "".join(
        f'<li><svg viewBox="0 0 32 12" aria-hidden="true"><rect width="32" height="12" style="fill: {colour}"/></svg>'
        f"{escape(label)}</li>"
        for label, colour in zip(policy.legend, plots.action_colours(len(policy.legend)))
    )
    figure = _figure(plots.policy_map(policy, band), f"action by {policy.x_label} and {policy.y_label}")
    if band:
        look = 'stroke-dasharray="3 2.5" stroke-width="1.5" style="stroke: var(--ink)"'
        text = f"range to stay in, {band[0]:g} to {band[1]:g}"
        legend += f'<li><svg viewBox="0 0 32 12" aria-hidden="true"><path d="M16 0V12" {look}/></svg>{text}</li>'
    title = f'<p class="note">{escape(policy.title)}</p>' if policy.title else ""
    return _section("The policy", f'{title}<div class="beside">{figure}<ul class="legend">{themed(legend)}</ul></div>')


def _subgroups(evaluation: Evaluation) -> str:
    parts = []
    for subgroup in evaluation.subgroups:
        keys = {key for row in subgroup.rows for key in row.agent}
        columns = [column for column in evaluation.columns if column.key in keys]
        shown = [column for column in columns if column.key == "return"]
        shown += [column for column in [evaluation.outcome] if column and column.key in keys]
        shown += [column for column in columns if column.key == "above_4"]  # harm belongs in sight
        if not shown:
            continue
        legend = _dot_legend("agent", "agent", True)
        legend += _dot_legend("other", subgroup.reference_label, False) if subgroup.reference_label else ""
        dots = _figure(plots.subgroup_dots(subgroup, shown), f"agent and reference by {subgroup.title}")
        parts.append(
            f'<h3>{escape(subgroup.title)}</h3><ul class="legend">{legend}</ul><div class="wide">{dots}</div>'
            f"<details><summary>All figures</summary>{_subgroup_table(subgroup, columns)}</details>"
        )
    return _section("By subgroup", "".join(parts)) if parts else ""


def _dot_legend(colour: str, label: str, round_: bool) -> str:
    shape = '<circle cx="16" cy="6" r="5"' if round_ else '<path d="M16 0L22 6L16 12L10 6Z"'
    shape += f' style="fill: var(--{colour})"/>'
    return f'<li><svg viewBox="0 0 32 12" aria-hidden="true">{shape}</svg>{escape(label)}</li>'


def _subgroup_table(subgroup: Subgroup, columns: Sequence[Column]) -> str:
    rows = []
    for row in subgroup.rows:
        for who, measures, kind in (
            (" agent", row.agent, "agent"),
            (subgroup.reference_label, row.reference, "protocol"),
        ):
            if measures:
                count = f" <em>{row.episodes:,} episodes</em>" if row.episodes is not None and kind == "agent" else ""
                cells = "".join(_cell(measures.get(column.key), column, False) for column in columns)
                rows.append(
                    f'<tr class="{kind}"><td>{escape(row.label)}, {escape(who.strip())}{count}</td>{cells}</tr>'
                )
    return _table(["", *map(_header, columns)], rows)


def _terms(group: RunGroup) -> str:
    names = group.keys("reward")[:12]
    curves = [(name, group.curve(f"reward/{name}")) for name in names]
    figures = "".join(
        _figure(plots.reward_term(curve, plain(name, 40)), f"reward term {name} over training")
        for name, curve in curves
        if curve is not None
    )
    note = (
        '<p class="note">What each term of the reward gave, mean per episode; the last figure is beside its name.</p>'
    )
    return _section("Reward, term by term", f'{note}<div class="figures small">{figures}</div>') if figures else ""


def _seeds(group: RunGroup) -> str:
    if len(group.runs) < 2:
        return ""
    results = [RunGroup(run.path, (run,), run.evaluation).result() for run in group.runs]
    columns = [column for column in results[0].columns.values() if any(column.key in r.measures for r in results)]
    rows = []
    for run, result in zip(group.runs, results):
        cells = "".join(_cell(result.measures.get(column.key), column, False) for column in columns)
        extra = f"<td>{magnitude(run.steps)}</td><td>{duration(run.seconds)}</td>"
        rows.append(f"<tr><td>seed {escape(str(run.seed))}</td>{cells}{extra}</tr>")
    return _section("Each seed", _table(["Seed", *map(_header, columns), "Steps", "Training"], rows))


def _details(group: RunGroup) -> str:
    tables = []
    # A report is passed on; the name of the machine that trained is nobody's business.
    manifest = {key: value for key, value in group.first.manifest.items() if key != "host"}
    for title, value in (
        ("Configuration", group.first.config),
        ("Manifest: versions, hardware, commit", manifest),
        ("Evaluation options", group.evaluation.options if group.evaluation else {}),
    ):
        rows = [f"<tr><td>{escape(key)}</td><td>{escape(text)}</td></tr>" for key, text in _flat(value)][:400]
        if rows:
            tables.append(f"<details><summary>{title}</summary><table>{''.join(rows)}</table></details>")
    return _section("Details", "".join(tables)) if tables else ""


def _flat(value: Mapping[str, Any], prefix: str = "", depth: int = 0) -> Iterable[tuple[str, str]]:
    for key, item in value.items():
        name = prefix + plain(key, 80)
        if isinstance(item, Mapping) and depth < 6:
            yield from _flat(item, name + ".", depth + 1)
        else:
            yield name, plain("none" if item is None else item, 300)


def _header(column: Column) -> str:
    return escape(glued(column.label)) + (f"<br>{escape(column.unit)}" if column.unit else "")


def _cell(measure: Measure | None, column: Column, best: bool) -> str:
    if measure is None:
        return f"<td>{MISSING}</td>"
    half = spread(measure.mean, measure.low, measure.high, column.digits)
    interval = f"<i>{half}</i>" if half and measure.low != measure.high else ""
    return f"<td{' class=best' if best else ''}>{_data(measure.mean, column.digits)}{interval}</td>"


def _data(value: float, digits: int) -> str:
    return f'<data value="{value!r}">{fixed(value, digits)}</data>'
