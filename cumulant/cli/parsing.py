"""What several verbs share: a parser that raises our errors, and the help of a verb."""

from __future__ import annotations

import argparse
from typing import Any, NoReturn

from cumulant.errors import UsageError


class Parser(argparse.ArgumentParser):
    """argparse whose errors are UsageErrors, so that they read like all others; no abbreviations."""

    def __init__(self, verb: str, description: str, **options: Any) -> None:
        super().__init__(prog=f"cumulant {verb}", description=description, allow_abbrev=False, **options)

    def error(self, message: str) -> NoReturn:
        """Raise what argparse would print."""
        raise UsageError(f"{message}; see `{self.prog} --help`")


def add_json(parser: argparse.ArgumentParser) -> None:
    """Add ``--json``."""
    parser.add_argument("--json", action="store_true", help="print one JSON object on stdout, and nothing else there")


def add_trust(parser: argparse.ArgumentParser) -> None:
    """Add ``--trust``."""
    parser.add_argument("--trust", action="store_true", help="import the code that a run from another machine names")
