"""Compile an algorithm for a game: generic code that calls ``play`` or ``legal`` becomes machine code for one game, kept on disk.

numba caches neither functions that take other functions as arguments nor closures over them across processes. Plain functions of
a module, compiled again with a game's functions in the place of the module's globals, it does: a second process starts at once.
"""

from __future__ import annotations

import hashlib
import types
from collections.abc import Callable
from typing import Any

from numba import njit

from cumulant.envs.games.game import Game

FUNCTIONS = ("initial", "legal", "play", "outcome", "player", "encode", "key", "ownership")
_ready: dict[tuple[Any, ...], dict[str, Callable[..., Any]]] = {}


def specialised(game: Game, *functions: Callable[..., Any]) -> dict[str, Callable[..., Any]]:
    """Compile plain functions for a game, once a process.

    Args:
        game: Its compiled functions replace the globals `FUNCTIONS` of the functions' modules.
        functions: Plain Python functions that numba can compile, those that are called before those that call them.

    Returns:
        The compiled functions by name.
    """
    key = (game.name, tuple(sorted(game.options.items())), *functions)
    if key not in _ready:
        names = {name: getattr(game, name) for name in FUNCTIONS if getattr(game, name) is not None}
        options = repr(sorted(game.options.items()))
        label = f"{game.name}_{hashlib.sha256(options.encode()).hexdigest()[:8]}" if game.options else game.name
        scope: dict[str, Any] = {}
        for function in functions:
            scope |= function.__globals__
        scope |= names
        for function in functions:
            copy = types.FunctionType(function.__code__, scope, function.__name__, function.__defaults__)
            copy.__module__ = function.__module__
            copy.__qualname__ = f"{function.__qualname__}_{label}"  # numba names the cached files after it
            scope[function.__name__] = njit(copy, cache=True, nogil=True)
        _ready[key] = {function.__name__: scope[function.__name__] for function in functions}
    return _ready[key]
