"""cumulant report RUN."""

from __future__ import annotations

import json
from pathlib import Path

from cumulant import api
from cumulant.cli.parsing import Parser, add_json
from cumulant.cli.show import show_run


def run(words: list[str]) -> int:
    """Run the verb."""
    parser = Parser("report", "Write a run's report.html again, and show it here.")
    parser.add_argument("run", type=Path, help="directory of the run or group")
    add_json(parser)
    known = parser.parse_args(words)
    path = api.report(known.run)
    if known.json:
        print(json.dumps({"run": str(known.run), "report": str(path)}))
    else:
        show_run(known.run, path)
    return 0
