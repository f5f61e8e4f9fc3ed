"""cumulant compare RUN RUN ...."""

from __future__ import annotations

import json
from pathlib import Path

from cumulant import api
from cumulant.cli.parsing import Parser, add_json
from cumulant.cli.show import show_comparison


def run(words: list[str]) -> int:
    """Run the verb."""
    parser = Parser("compare", "Put several runs or groups side by side.")
    parser.add_argument("runs", type=Path, nargs="+", help="directories of runs or groups")
    add_json(parser)
    known = parser.parse_args(words)
    comparison = api.compare(known.runs)
    if known.json:
        print(json.dumps(comparison))
    else:
        show_comparison(comparison)
    return 0
