"""Gymnasium environments seen with another reward; ``cumulant.envs.views`` says which views there are."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import gymnasium

from cumulant.envs.views import OUTCOME, WITHOUT
from cumulant.errors import EnvironmentFault, NoOutcome


class SeenEnv(gymnasium.Wrapper):
    """An environment whose reward is replaced as a view says.

    Args:
        env: The environment; its ``info`` must say ``outcome`` in every step.
        name: What messages call it.
        view: Such as "outcome".

    Raises:
        NoOutcome: In the first step that does not say what the view needs.
    """

    def __init__(self, env: gymnasium.Env, name: str, view: str) -> None:
        super().__init__(env)
        self._name, self._view = name, view

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Step, and put the other reward in the place of the own one."""
        obs, reward, terminated, truncated, info = self.env.step(action)
        if "outcome" not in info:
            raise NoOutcome(
                f"environment '{self._name}' does not say what really matters: put a number into info['outcome'] in every step "
                "(higher is better, summed over the episode)"
            )
        outcome = number_of(self._name, "info['outcome']", info["outcome"])
        if self._view == OUTCOME:
            reward = outcome
        elif self._view.startswith(WITHOUT):
            reward = float(reward) - terms_of(self._name, info).get(self._view.removeprefix(WITHOUT), 0.0)
        return obs, reward, terminated, truncated, info


def terms_of(name: str, info: Mapping[str, Any]) -> dict[str, float]:
    """Return the weighted terms of a step's reward; empty where the environment does not tell them.

    Raises:
        EnvironmentFault: If they are no mapping of names to finite numbers.
    """
    told = info.get("reward_terms", {})
    if not isinstance(told, Mapping):
        raise EnvironmentFault(
            f"environment '{name}': info['reward_terms'] is a {type(told).__name__}, not a mapping of names to numbers"
        )
    return {str(key): number_of(name, f"info['reward_terms'][{key!r}]", value) for key, value in told.items()}


def number_of(name: str, what: str, value: Any) -> float:
    """Return a finite number that an environment gave.

    Raises:
        EnvironmentFault: If it is none.
    """
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise EnvironmentFault(f"environment '{name}': {what} is {value!r}; it must be a finite number")
    return number
