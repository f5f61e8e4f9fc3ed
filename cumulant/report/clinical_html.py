"""clinical.html: the clinical pack of a run as a page."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

from cumulant.report import clinical, clinical_plots
from cumulant.report.clinical import TextTable
from cumulant.report.html import comparisons, trajectories
from cumulant.report.markup import document, figure, section, table, write_page
from cumulant.report.parsing import parse_evaluation
from cumulant.report.wording import plain

_MARKS = {True: "✓", False: "✗", None: "·"}


def write_report(directory: Path, pack: Mapping[str, Any]) -> Path:
    """Write ``clinical.html`` into the directory of a run or a group and return its path.

    Args:
        directory: Where to.
        pack: What ``clinical.json`` holds.

    Raises:
        StorageError: If the disk refuses.
    """
    return write_page(directory / "clinical.html", page(pack))


def page(pack: Mapping[str, Any]) -> str:
    """Return the pack as HTML."""
    evaluation = parse_evaluation({**pack, "subgroups": [], "trajectories": pack.get("what_if")})
    found = "".join(f"<li>{_MARKS[each['good']]} {escape(plain(each['text'], 600))}</li>" for each in pack["findings"])
    seeds = ", ".join(str(seed) for seed in pack["agent_seeds"])
    chosen = [f"{plain(name, 60)} {plain(pack['options'][name], 60)}" for name in pack["chosen"]] or ["default options"]
    options = ", ".join(chosen)
    head = (
        f"<header><h1>Clinical evaluation: {escape(plain(pack['label'], 120))}</h1>"
        f'<p class="soft">{pack["episodes"]:,} held-out simulated patients · trained with seed {escape(plain(seeds, 60))} · '
        f'{escape(plain(options, 600))}</p></header><ul class="findings">{found}</ul>'
    )
    shown = "".join(_table(each) for each in clinical.tables(pack))
    drawn = ""
    if pack["calibration"]:
        label = "expected and realised return of ten groups of patients, from four days on"
        drawn = f'<div class="wide">{figure(clinical_plots.calibration(pack["calibration"]), label)}</div>'
    rules = escape(plain_text(clinical.tree_lines(pack["readable"]["tree"]["rules"])))
    leaves = pack["readable"]["tree"]["leaves"]
    readable = f"<h3>As a decision tree of {leaves} leaves</h3><pre>{rules}</pre>"
    readable += "".join(_table(each) for each in clinical.readable_tables(pack))
    parts = [
        head,
        comparisons(evaluation),
        section("Where it might fail", shown + drawn),
        section("The policy, readable", readable),
        trajectories(evaluation.trajectories, "What if the dose were held?"),
    ]
    return document(f"Clinical evaluation: {plain(pack['label'], 120)}", plain(pack["notice"], 300), parts, "Cumulant")


def plain_text(lines: list[str]) -> str:
    """Return lines as one text without anything that moves a cursor."""
    return "\n".join(plain(line, 300) for line in lines)


def _table(each: TextTable) -> str:
    rows = ["<tr>" + "".join(f"<td>{escape(plain(cell, 200))}</td>" for cell in row) + "</tr>" for row in each.rows]
    note = f'<p class="note">{escape(plain(each.note, 600))}</p>' if each.note else ""
    return f"<h3>{escape(plain(each.title, 200))}</h3>{note}{table([escape(plain(h, 120)) for h in each.heads], rows)}"
