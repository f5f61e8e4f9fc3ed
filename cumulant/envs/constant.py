"""Policies that always do the same: the simplest policy search there is, and one that sees what no learner can.

A learner follows differences that stand out from the noise of its episodes. Constant actions, each played on the same many
episodes, show differences of a thousandth.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import gymnasium
import numpy as np

from cumulant.envs import lookup

_MOST_CHOICES, _PLACES = 20, 11


@dataclass(frozen=True)
class ConstantActions:
    """What to do all the time, one after the other.

    Args:
        label: What the number is, with its unit.
        actions: The numbers: choices from 0, or values of an action's every dimension.
        options: Options of the environment in which they are actions, where they are none of its own.
        episodes: How many each is played for, and every policy that is compared with them; 0 for as many as those usually are.
    """

    label: str
    actions: tuple[float, ...]
    options: Mapping[str, Any] = field(default_factory=dict)
    episodes: int = 0


def constant_actions(env: str, options: Mapping[str, Any], space: gymnasium.Space) -> ConstantActions | None:
    """Return what constant actions an environment can be played with; None where those are too many.

    A native environment may say it itself, by a method ``constant_actions``.

    Args:
        env: Environment.
        options: Its options.
        space: Of its actions.

    >>> constant_actions("trap-loop", {}, gymnasium.spaces.Discrete(2)).actions
    (0.0, 1.0)
    """
    if lookup.find(env) is not None:
        made = lookup.with_options(env, options)
        if hasattr(made, "constant_actions"):
            return made.constant_actions()
    if isinstance(space, gymnasium.spaces.Discrete) and space.n <= _MOST_CHOICES:
        return ConstantActions("constant action", tuple(map(float, range(int(space.n)))))
    if isinstance(space, gymnasium.spaces.Box) and space.shape == (1,) and np.isfinite([space.low, space.high]).all():
        places = np.linspace(space.low[0], space.high[0], _PLACES)
        return ConstantActions("constant action", tuple(round(float(place), 6) for place in places))
    return None
