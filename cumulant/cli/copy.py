"""cumulant copy ALGO FILE."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cumulant import api
from cumulant.cli.parsing import Parser, add_json


def run(words: list[str]) -> Any:
    """Run the verb and return what ``--json`` prints."""
    parser = Parser("copy", "Write an editable copy of an algorithm.")
    parser.add_argument("algo", help="algorithm, such as ppo")
    parser.add_argument("file", type=Path, help="where to, such as my/ppo.py")
    add_json(parser)
    known = parser.parse_args(words)
    path = api.copy(known.algo, known.file)
    if not known.json:
        print(f"{path}: edit it, then `cumulant train {path} ENV`")
    return {"algo": known.algo, "file": str(path)}
