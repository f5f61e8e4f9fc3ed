"""cumulant analyse RUN [FILE] --simulations N: what a player thinks of positions, one JSON object a line."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from cumulant import api
from cumulant.cli.arena import add_game
from cumulant.cli.parsing import Parser, add_trust
from cumulant.cli.train import parse_option
from cumulant.errors import DataError


def run(words: list[str]) -> Any:
    """Run the verb; what it has to say is on stdout already."""
    parser = Parser(
        "analyse",
        "Read positions, one a line, as moves from the start (Connect Four: 4453), and print what a player thinks of each: one "
        "JSON object a line, with move, value (for the player to move, -1 to 1), visits and policy.",
    )
    parser.add_argument("player", metavar="RUN", help="a run, or mcts:ROLLOUTS, alphabeta:DEPTH, perfect")
    parser.add_argument("file", nargs="?", type=Path, help="file of positions (default: stdin, answered line by line)")
    parser.add_argument("--simulations", type=int, help="of the search (default: as in training)")
    add_game(parser)
    parser.add_argument("--seed", type=int, default=0, help="of a baseline's random choices (default 0)")
    add_trust(parser)
    known = parser.parse_args(words)
    options = {
        "simulations": known.simulations,
        "seed": known.seed,
        "game_options": dict(parse_option(option) for option in known.game_option),
        "trust": known.trust,
    }
    if known.file is None or str(known.file) == "-":
        found = api.analyse(known.player, sys.stdin, known.game, at_once=True, **options)
    else:
        try:
            lines = known.file.read_text(encoding="utf-8").splitlines()
        except OSError as problem:
            raise DataError(f"{known.file} cannot be read: {problem.strerror}") from problem
        except UnicodeDecodeError as problem:
            raise DataError(f"{known.file} is no text: byte {problem.start} is not UTF-8") from problem
        found = api.analyse(known.player, lines, known.game, where=str(known.file), **options)
    for line in found:
        print(json.dumps(line), flush=True)
    return None
