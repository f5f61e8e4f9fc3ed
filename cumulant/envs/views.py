"""Environments seen with another reward: ``ENV@outcome`` is ENV whose reward is what really matters.

===================  =====================================================================
``ENV@reward``       as it is; what really matters is followed beside it
``ENV@outcome``      the reward is the outcome, ``info["outcome"]``
``ENV@without=T``    the reward without the term T of ``info["reward_terms"]``
===================  =====================================================================

ENV is any environment that says what really matters: a native one through ``Kernel.outcome``, any other through
``info["outcome"]``, a number in every step, higher is better, summed over the episode. Nothing but the reward changes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from cumulant.errors import ConfigError, NoOutcome, did_you_mean
from cumulant.reward import Product, Reward, Term

if TYPE_CHECKING:
    from cumulant.envs.batched import Kernel

REWARD, OUTCOME, WITHOUT = "reward", "outcome", "without="


def split_view(name: str) -> tuple[str, str]:
    """Return the environment and how it is seen, "" for simply as it is.

    >>> split_view("warfarin@without=below"), split_view("warfarin"), split_view("me@home/envs.py:Mine")
    (('warfarin', 'without=below'), ('warfarin', ''), ('me@home/envs.py:Mine', ''))
    """
    base, _, view = name.rpartition("@")
    if base and (view in (REWARD, OUTCOME) or (view.startswith(WITHOUT) and len(view) > len(WITHOUT))):
        return base, view
    return name, ""


def seen(kernel: Kernel, name: str) -> Kernel:
    """Return a native environment as its name says that it is seen.

    Args:
        kernel: The environment as it is.
        name: Its name, perhaps with a view.

    Raises:
        ConfigError: If it does not say what really matters, or has no such term (message names those that there are).
    """
    base, view = split_view(name)
    if not view:
        return kernel
    if not kernel.outcome:
        raise NoOutcome(f"environment '{base}' does not say what really matters: its kernel names no outcome column")
    if view == OUTCOME:
        column = kernel.outcome
        return dataclasses.replace(kernel, reward=Reward(OUTCOME, (Term(OUTCOME, 1.0, Product(column)),)))
    if view == REWARD:
        return kernel
    term = view.removeprefix(WITHOUT)
    names = kernel.reward.term_names if kernel.reward else ()
    if kernel.reward is None or term not in names:
        raise ConfigError(f"the reward of '{base}' has no term '{term}': {did_you_mean(term, names)}")
    left = tuple(each for each in kernel.reward.terms if each.name != term)
    if not left:
        raise ConfigError(f"the reward of '{base}' is nothing but '{term}': without it there is none")
    return dataclasses.replace(kernel, reward=Reward(f"{kernel.reward.name}, {view}", left))


@dataclasses.dataclass(frozen=True)
class Exhibit:
    """A reward worth an audit: options of an environment by name, and what is to be seen.

    Args:
        name: What the command line calls it.
        summary: What it is.
        options: Options of the environment.
    """

    name: str
    summary: str
    options: Mapping[str, Any]
