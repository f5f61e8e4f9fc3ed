"""Find games by name, without importing them: the files beside this one that have ``make``."""

from __future__ import annotations

import ast
import functools
import importlib
import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cumulant.errors import ConfigError, UsageError, did_you_mean

if TYPE_CHECKING:
    from cumulant.envs.games.game import Game

PREFIX = "openspiel:"


@functools.cache
def _makers() -> Mapping[str, tuple[str, ast.FunctionDef]]:
    """Return the first line of each game's file, and its ``make``, by name."""
    found = {}
    for path in sorted(Path(__file__).parent.glob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in tree.body:
            if isinstance(node, ast.FunctionDef) and node.name == "make":
                found[path.stem] = (ast.get_docstring(tree) or "").partition("\n")[0], node
    return found


def listing() -> Mapping[str, str]:
    """Return the first line of what each game says of itself, by name."""
    return {name: summary for name, (summary, _) in _makers().items()}


def options_of(name: str) -> str:
    """Return the options of a game with their defaults.

    >>> options_of("othello")
    'size=8'
    """
    arguments = _makers()[name][1].args
    return ", ".join(f"{given.arg}={ast.unparse(value)}" for given, value in zip(arguments.args, arguments.defaults))


def make_game(name: str, **options: Any) -> Game:
    """Make a game by its name; asked for twice, it is the same object, so that compiled code is made once.

    Args:
        name: A file of this folder; or ``openspiel:`` and a game of OpenSpiel, such as "openspiel:hex(board_size=5)".
        options: Arguments of its ``make``.

    Raises:
        UsageError: If there is no such game (message names the closest).
        ConfigError: If an option does not exist or a value is refused (message names it).

    >>> make_game("connect_four").num_actions
    7
    """
    if name.startswith(PREFIX) and not options:
        return _of_openspiel(name.removeprefix(PREFIX))
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
def _of_openspiel(name: str) -> Game:
    from cumulant.envs.games.openspiel import openspiel_game

    return openspiel_game(name)


@functools.cache
def _made(name: str, options: tuple[tuple[str, Any], ...]) -> Game:
    return importlib.import_module(f"cumulant.envs.games.{name}").make(**dict(options))
