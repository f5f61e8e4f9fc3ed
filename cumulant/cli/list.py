"""cumulant list [algos|envs|protocols]."""

from __future__ import annotations

import json

from cumulant import api
from cumulant.cli.parsing import Parser, add_json
from cumulant.cli.show import show_listing

WHAT = ("algos", "envs", "protocols")


def run(words: list[str]) -> int:
    """Run the verb."""
    parser = Parser("list", "List algorithms, environments and clinical protocols.")
    parser.add_argument("what", nargs="?", choices=WHAT, help="only these")
    add_json(parser)
    known = parser.parse_args(words)
    listing = api.listing()
    if known.what:
        listing = {known.what: listing[known.what]}
    if known.json:
        print(json.dumps(listing))
    else:
        show_listing(listing)
    return 0
