"""cumulant list [algos|envs|games|exhibits|protocols|data]."""

from __future__ import annotations

from typing import Any

from cumulant import api
from cumulant.cli.parsing import Parser, add_json
from cumulant.cli.show import show_listing

WHAT = ("algos", "envs", "games", "exhibits", "protocols", "data")


def run(words: list[str]) -> Any:
    """Run the verb and return what ``--json`` prints."""
    parser = Parser(
        "list",
        "List algorithms, environments, games, rewards to audit, clinical protocols, and embedded texts and models.",
    )
    parser.add_argument("what", nargs="?", choices=WHAT, help="only these")
    add_json(parser)
    known = parser.parse_args(words)
    listing = api.listing()
    if known.what:
        listing = {known.what: listing[known.what]}
    if not known.json:
        show_listing(listing)
    return listing
