"""cumulant report RUN."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cumulant import api
from cumulant.cli.parsing import Parser, add_json
from cumulant.cli.show import show_align, show_audit, show_run, show_sweep


def run(words: list[str]) -> Any:
    """Run the verb and return what ``--json`` prints."""
    parser = Parser("report", "Write a run's report.html again, and show it here.")
    parser.add_argument("run", type=Path, help="directory of the run, group, sweep, alignment or audit")
    add_json(parser)
    known = parser.parse_args(words)
    path = api.write_report(known.run)
    if not known.json:
        if api.is_audit(known.run):
            show_audit(known.run)
        elif api.is_alignment(known.run):
            show_align(known.run)
        elif api.is_sweep(known.run):
            show_sweep(known.run)
        else:
            show_run(known.run, path)
    return {"run": str(known.run), "report": str(path)}
