"""cumulant resume RUN."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cumulant import api
from cumulant.cli.parsing import Parser, add_json, add_trust
from cumulant.cli.show import resume_progress, show_result


def run(words: list[str]) -> Any:
    """Run the verb and return what ``--json`` prints."""
    parser = Parser("resume", "Continue a run, or every unfinished seed of a group, from its last checkpoint.")
    parser.add_argument("run", type=Path, help="directory of the run or group")
    parser.add_argument("--quiet", action="store_true", help="no live progress")
    add_json(parser)
    add_trust(parser)
    known = parser.parse_args(words)
    with resume_progress(known) as progress:
        result = api.resume(known.run, trust=known.trust, progress=progress)
    if not known.json:
        show_result(result)
    return result.summary()
