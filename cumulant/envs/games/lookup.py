"""Find games by name, without importing them: the files beside this one that have ``make``."""

from __future__ import annotations

import ast
import functools
import importlib
import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cumulant.envs.games.game import Game
from cumulant.errors import ConfigError, UsageError, did_you_mean


@functools.cache
def listing() -> Mapping[str, str]:
    """Return the first line of what each game says of itself, by name."""
    found = {}
    for path in sorted(Path(__file__).parent.glob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        if any(isinstance(node, ast.FunctionDef) and node.name == "make" for node in tree.body):
            found[path.stem] = (ast.get_docstring(tree) or "").partition("\n")[0]
    return found


def make_game(name: str, **options: Any) -> Game:
    """Make a game by its name; asked for twice, it is the same object, so that compiled code is made once.

    Args:
        name: A file of this folder.
        options: Arguments of its ``make``.

    Raises:
        UsageError: If there is no such game (message names the closest).
        ConfigError: If an option does not exist or a value is refused (message names it).

    >>> make_game("connect_four").num_actions
    7
    """
    if name not in listing():
        raise UsageError(f"no game '{name}': {did_you_mean(name, listing())}")
    known = inspect.signature(importlib.import_module(f"cumulant.envs.games.{name}").make).parameters
    for key in options:
        if key not in known:
            hint = did_you_mean(key, known) if known else "it has none"
            raise ConfigError(f"game '{name}' has no option '{key}': {hint}")
    given = {key: parameter.default for key, parameter in known.items()} | options
    return _made(name, tuple(sorted(given.items())))


@functools.cache
def _made(name: str, options: tuple[tuple[str, Any], ...]) -> Game:
    return importlib.import_module(f"cumulant.envs.games.{name}").make(**dict(options))
