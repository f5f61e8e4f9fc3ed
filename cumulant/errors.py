"""Every error a user can cause, in one tree.

CumulantError                  catch this to catch them all; the CLI prints its message and exits
├── UsageError                 exit 2: an unknown name, an option that does not exist
│   ├── ConfigError            exit 2: a field or value that an algorithm or environment refuses
│   │   └── NoOutcome          an environment that does not say what really matters
│   └── DataError              exit 2: a file of texts or preferences that cannot be read as such
├── RunError                   exit 1: a run directory that cannot be used
│   ├── RunInUse               another process holds its lock
│   └── CheckpointError        nothing in it can be restored
├── StorageError               exit 1: the disk refused to write
├── NumericsError              exit 1: a loss or a reward became NaN or infinite
├── MaterialError              exit 1: an embedded text or model that cannot be fetched, or is not what it must be
├── MissingPackage             exit 1: an optional package is not installed
├── EnvironmentFault           exit 1: the user's environment raised, hung or broke its contract, from the start or too often
├── PlayerFault                exit 1: a player of a board game crashed, hung or gave no legal move; in a match it loses the game
└── Interrupted                exit 130: Ctrl-C; everything up to here is saved

A message has three parts: what was wrong, where, and what to do about it.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class CumulantError(Exception):
    """Root of every error that Cumulant raises on purpose."""

    exit_code = 1


class UsageError(CumulantError, ValueError):
    """A name or an option that does not exist."""

    exit_code = 2


class ConfigError(UsageError):
    """A field or a value that an algorithm or environment refuses."""


class NoOutcome(ConfigError):
    """An environment that does not say what really matters, where that is needed."""


class DataError(UsageError):
    """A file of texts or preferences that cannot be read as such."""


class RunError(CumulantError):
    """A run directory that cannot be used."""


class RunInUse(RunError):
    """A run directory that another process is writing."""


class CheckpointError(RunError):
    """A run directory in which no checkpoint can be restored."""


class StorageError(CumulantError):
    """The disk refused to write."""


class NumericsError(CumulantError):
    """A number that must be finite is not."""


class MaterialError(CumulantError):
    """An embedded text or model that cannot be fetched, or is not what it must be."""


class MissingPackage(CumulantError):
    """An optional package is needed and not installed."""


class EnvironmentFault(CumulantError):
    """An environment raised, hung, or broke the Gymnasium contract, from the start or too often."""


class PlayerFault(CumulantError):
    """A player of a board game crashed, hung or gave no legal move."""


class Interrupted(CumulantError):
    """The user stopped the run; its state is saved."""

    exit_code = 130


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return a hint that names the closest known words.

    Args:
        word: What the user wrote.
        known: What exists.

    Returns:
        ``"did you mean 'ppo'?"``, or the list of what exists when nothing is close.

    >>> did_you_mean("poo", ["ppo", "sarsa"])
    "did you mean 'ppo'?"
    """
    known = sorted(known)
    close = difflib.get_close_matches(word, known, n=2, cutoff=0.5)
    if close:
        return "did you mean " + " or ".join(f"'{name}'" for name in close) + "?"
    return "known: " + ", ".join(known) if known else "none exist"
