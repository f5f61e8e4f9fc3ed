"""Environments with goals: what is wanted is part of the observation, and any outcome can be judged by any goal."""

from __future__ import annotations

from collections.abc import Callable

import gymnasium
import numpy as np

from cumulant.errors import EnvironmentFault


def reward_of(env: Callable[[], gymnasium.Env]) -> Callable[[np.ndarray, np.ndarray], np.ndarray] | None:
    """Return what judges achieved goals by desired ones, ``[M, G], [M, G] -> [M]``; None if the environment has no such thing.

    Args:
        env: Returns the environment; it may be made anew on the way.
    """
    if not hasattr(env().unwrapped, "compute_reward"):
        return None

    def reward(achieved: np.ndarray, desired: np.ndarray) -> np.ndarray:
        try:
            worth = np.asarray(env().unwrapped.compute_reward(achieved, desired, {}), np.float32)  # type: ignore[attr-defined]
        except Exception as problem:
            raise EnvironmentFault(
                f"compute_reward failed on a batch: {type(problem).__name__}: {problem}"
            ) from problem
        if worth.shape != achieved.shape[:1]:
            raise EnvironmentFault(
                f"compute_reward gave rewards of shape {worth.shape} for {len(achieved)} goals: it must judge a batch, one "
                "reward for each row"
            )
        return worth

    return reward
