"""report.html of a sweep: what was best, how the search went, which fields mattered, and every trial."""

from __future__ import annotations

from html import escape
from pathlib import Path

from cumulant.report import sweep_plots
from cumulant.report.markup import document, figure, section, table, write_page
from cumulant.report.trials import SweepData, TrialData, load_sweep
from cumulant.report.wording import MISSING, brief, duration, magnitude, spread

_ROWS = 300  # of the table
MEANING = (
    "How much the values that the best quarter of the trials have differ from those that all trials have (PED-ANOVA); the "
    "shares add up to 100 %. It says which fields told good trials from bad ones in these ranges, not in which direction, "
    "and with few trials it is a hint and no more."
)


def write_report(path: str | Path) -> Path:
    """Write ``report.html`` into the directory of a sweep and return its path.

    Raises:
        RunError: If sweep.json is missing or damaged.
        StorageError: If the disk refuses.
    """
    sweep = load_sweep(path)
    return write_page(sweep.path / "report.html", page(sweep))


def page(sweep: SweepData) -> str:
    """Return the report of a sweep as HTML."""
    parts = [_head(sweep), _cards(sweep), _course(sweep), _fields(sweep), _trials(sweep)]
    return document(sweep.title, sweep.notice, parts, "Cumulant")


def _head(sweep: SweepData) -> str:
    facts = [f"{len(sweep.trials)} of {sweep.planned} trials"]
    facts += [f"{count} {state}" for state in ("pruned", "failed", "running") if (count := sweep.count(state))]
    facts += [f"{sweep.seeds} seeds each"] if sweep.seeds > 1 else []
    facts.append(f"{duration(sweep.seconds)} of training")
    command = f"<pre>{escape(sweep.command)}</pre>" if sweep.command else ""
    return f'<header><h1>{escape(sweep.title)}</h1><p class="soft">{" · ".join(facts)}</p>{command}</header>'


def _cards(sweep: SweepData) -> str:
    best = sweep.best
    if best is None:
        return '<p class="note">No trial is complete yet.</p>'
    cards = [("Best score", best.score, f"trial {best.number}", True)]
    low, high = best.interval
    if best.evaluated is not None:
        ends = "" if low is None or low == high else f"{brief(low)} to {brief(high)}"
        cards.append(("Return on other episodes", best.evaluated, ends, True))
    usual = next((trial for trial in sweep.trials if trial.number == 0 and trial.state == "complete"), None)
    if usual is not None and usual is not best:
        cards.append(("First trial", usual.score, "the values that a training takes by itself", False))
    text = "".join(
        f'<div class="card{" main" if main else ""}"><b>{label}</b><data value="{value!r}">{brief(value)}</data>'
        f"{f'<small>{line}</small>' if line else ''}</div>"
        for label, value, line, main in cards
    )
    note = (
        "The score of a trial is its best periodic evaluation, of the best of many trials a flattering figure; the return "
        "beside it is the final evaluation, on episodes that had no part in the choice."
    )
    return f'<div class="cards">{text}</div><p class="note">{note}</p>'


def _course(sweep: SweepData) -> str:
    if not any(trial.score is not None for trial in sweep.trials):
        return ""
    figures = figure(sweep_plots.history(sweep), "score of each trial, in order")
    figures += figure(sweep_plots.courses(sweep), "best evaluation of each trial over its training")
    note = "Dots are complete trials, crosses those that ended early; a ring marks the best. Line: the best until then."
    return section("The search", f'<div class="figures">{figures}</div><p class="note">{note}</p>')


def _fields(sweep: SweepData) -> str:
    names = [*sweep.importances, *(name for name in sweep.fields if name not in sweep.importances)][:24]
    scored = [trial for trial in sweep.trials if trial.score is not None]
    if not scored:
        return ""
    bars, note = "", "Importances are computed from ten trials on, if their scores differ."
    if sweep.importances:
        bars = f'<div class="figures">{figure(sweep_plots.importance_bars(sweep), "importance of each field")}</div>'
        note = MEANING
    each = "".join(
        figure(sweep_plots.slices(sweep, name), f"score by {name}")
        for name in names
        if any(name in trial.values for trial in scored)
    )
    return section(
        "What mattered",
        f'{bars}<p class="note">{note}</p><h3>Score by field</h3><div class="figures small">{each}</div>',
    )


def _trials(sweep: SweepData) -> str:
    names = list(sweep.fields)
    heads = ["Trial", "Score", "Return on<br>other episodes", *(escape(name) for name in names), "Steps", "Training"]
    rows = [_row(sweep, trial, names) for trial in sweep.ranked()[:_ROWS]]
    searched = "".join(f"<tr><td>{escape(k)}</td><td>{escape(v)}</td></tr>" for k, v in sweep.fields.items())
    ranges = f"<details><summary>What was searched</summary><table>{searched}</table></details>"
    return section("Trials, the best first", table(heads, rows) + ranges)


def _row(sweep: SweepData, trial: TrialData, names: list[str]) -> str:
    reason = f" <em>{escape(trial.reason)}</em>" if trial.reason else ""
    state = "" if trial.state == "complete" else f" <em>{trial.state}</em>"
    half = spread(trial.evaluated, *trial.interval)
    score = MISSING if trial.score is None else f'<data value="{trial.score!r}">{brief(trial.score)}</data>'
    evaluated = (
        MISSING if trial.evaluated is None else f'<data value="{trial.evaluated!r}">{brief(trial.evaluated)}</data>'
    )
    cells = [f"<td>{trial.number}{state}{reason}</td>", f"<td>{score}</td>"]
    cells.append(f"<td>{evaluated}{f'<i>{half}</i>' if half and trial.interval[0] != trial.interval[1] else ''}</td>")
    cells += [f"<td>{escape(trial.text(name))}</td>" for name in names]
    cells += [f"<td>{magnitude(trial.steps)}</td>", f"<td>{duration(trial.seconds)}</td>"]
    kind = "agent" if trial is sweep.best else "protocol" if trial.state == "complete" else "floor"
    return f'<tr class="{kind}">{"".join(cells)}</tr>'
