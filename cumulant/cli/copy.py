"""cumulant copy ALGO FILE."""

from __future__ import annotations

import json
from pathlib import Path

from cumulant import api
from cumulant.cli.parsing import Parser, add_json


def run(words: list[str]) -> int:
    """Run the verb."""
    parser = Parser("copy", "Write an editable copy of an algorithm.")
    parser.add_argument("algo", help="algorithm, such as ppo")
    parser.add_argument("file", type=Path, help="where to, such as my/ppo.py")
    add_json(parser)
    known = parser.parse_args(words)
    path = api.copy(known.algo, known.file)
    if known.json:
        print(json.dumps({"algo": known.algo, "file": str(path)}))
    else:
        print(f"{path}: edit it, then `cumulant train {path} ENV`")
    return 0
