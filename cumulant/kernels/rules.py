"""The compiled functions of a game as an argument of compiled code, and what is done with rows of positions.

numba keeps machine code that takes functions as arguments only if it knows them again in the next process; ``rules_of`` tells it
what they are: their names, what they enclose, and the text of the file that they are from.

Axes: G games, W words of a row, A actions, C planes, H rows and w columns of the board.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numba as nb
import numpy as np
from numba import njit, typeof

from cumulant.envs.games.game import Game
from cumulant.kernels.twins import loop


class Rules(NamedTuple):
    """The functions of a game that searches call; see ``Game``."""

    play: Any
    legal: Any
    outcome: Any
    player: Any
    encode: Any
    reward: Any


_STATE = nb.int64[::1]
_TYPES = Rules(
    play=(_STATE, nb.int64),
    legal=(_STATE, nb.uint8[::1]),
    outcome=(_STATE,),
    player=(_STATE,),
    encode=(_STATE, nb.float32[:, :, ::1]),
    reward=(_STATE,),
)


@functools.cache
def rules_of(game: Game) -> Rules:
    """Return the rules of a game as compiled code takes them."""
    rules = Rules(game.play, game.legal, game.outcome, game.player, game.encode, game.reward)
    for function, types in zip(rules, _TYPES):
        identify(function)
        # Now, by itself: within a search, which does without reference counts, it could not make an array.
        function.compile(types)
    return rules


def identify(function: Any) -> None:
    """Give a compiled function that is an argument the same identity in every process, as long as its source is the same."""
    python = function.py_func
    source = Path(inspect.getfile(python)).read_bytes()
    enclosed = repr([cell.cell_contents for cell in python.__closure__ or ()])
    identity = f"{python.__module__}.{python.__qualname__} {enclosed} {hashlib.sha256(source).hexdigest()}"
    # it has one already, or this numba has no such thing: then code is only compiled anew in each process
    with contextlib.suppress(AssertionError, AttributeError):
        function._set_uuid(identity)


def entry(function: Any, *arguments: Any) -> Callable[..., Any]:
    """Return the machine code of a compiled function for the types of these arguments.

    Calling it skips the look-up of types, which costs more than a small batch of work where arguments are functions and many
    arrays. It must only be called with arguments of the same types.
    """
    types = tuple(typeof(argument) for argument in arguments)
    key = (function, types)
    if key not in _entries:
        function.compile(types)
        _entries[key] = function.get_overload(types)
    return _entries[key]


_entries: dict[Any, Callable[..., Any]] = {}


@loop()
@njit(cache=True, nogil=True)
def encode_rows(rules, states, planes):  # type: ignore[no-untyped-def]
    """Write positions ``[G, W]`` as the player to move sees them, ``[G, C, H, w]`` float32."""
    for g in range(states.shape[0]):
        rules.encode(states[g], planes[g])


@loop()
@njit(cache=True, nogil=True)
def play_rows(rules, states, actions, outcomes, players):  # type: ignore[no-untyped-def]
    """Play an action in each game, in place.

    Args:
        rules: Of the game.
        states: Positions, ``[G, W]``.
        actions: What is played, ``[G]``; -1 for nothing.
        outcomes: Where it is written how the game stands for whoever is then to move, ``[G]``: NaN while it goes on.
        players: Where it is written who is then to move, ``[G]``.
    """
    for g in range(states.shape[0]):
        if actions[g] >= 0:
            rules.play(states[g], actions[g])
        outcomes[g] = rules.outcome(states[g])
        players[g] = rules.player(states[g])


@loop()
@njit(cache=True, nogil=True)
def play_at_random(rules, states, numbers, mask):  # type: ignore[no-untyped-def]
    """Play random legal actions from where each game stands, but none that ends it.

    Args:
        rules: Of the game.
        states: Positions, ``[G, W]``, in place.
        numbers: One for each move to be played, uniform in [0, 1), ``[G, most]``; NaN for no more moves.
        mask: Scratch, ``[A]`` uint8.
    """
    for g in range(states.shape[0]):
        for step in range(numbers.shape[1]):
            if np.isnan(numbers[g, step]):
                break
            tried = states[g].copy()
            rules.legal(tried, mask)
            left = np.int64(numbers[g, step] * mask.sum())
            for a in range(mask.shape[0]):
                if mask[a]:
                    if left == 0:
                        rules.play(tried, a)
                        break
                    left -= 1
            if not np.isnan(rules.outcome(tried)):
                break
            states[g] = tried
