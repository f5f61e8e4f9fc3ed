"""cumulant compare RUN RUN ...."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cumulant import api
from cumulant.cli.parsing import Parser, add_json
from cumulant.cli.show import show_comparison


def run(words: list[str]) -> Any:
    """Run the verb and return what ``--json`` prints."""
    parser = Parser("compare", "Put several runs, groups or alignments side by side.")
    parser.add_argument("runs", type=Path, nargs="+", help="directories of runs, groups or alignments")
    add_json(parser)
    known = parser.parse_args(words)
    comparison = api.compare(known.runs)
    if not known.json:
        show_comparison(comparison)
    return comparison
