"""Hindsight: what was reached counts as what was wanted, so that failures teach, too.

For environments with goals: observations are a Dict with the keys "observation", "achieved_goal" and "desired_goal", and the
environment can say what reward any achieved goal is worth under any desired one (``compute_reward``, over a batch at once).
A share of the transitions that are drawn from a replay buffer get as their goal what the same episode achieved at a later step.

Axes: L rows of the ring, B parallel environments; slot = row * B + environment; M drawn transitions, G numbers of a goal.
"""

from __future__ import annotations

from collections.abc import Callable

import gymnasium
import numpy as np

from cumulant.envs.spaces import has_goals, parts
from cumulant.errors import ConfigError

ACHIEVED, DESIRED = "achieved_goal", "desired_goal"

GoalReward = Callable[[np.ndarray, np.ndarray], np.ndarray]


class Hindsight:
    """Relabels drawn transitions by the "future" strategy.

    Args:
        share: Of the transitions that get another goal, in (0, 1]; 0.8 is four for each that keeps its own.
        observation_space: Of one environment.
        goal_reward: What achieved goals are worth under desired ones, ``[M, G], [M, G] -> [M]``; None if there is no such thing.
        num_rows: L.
        num_envs: B.

    Raises:
        ConfigError: If the environment has no goals (message says what is missing).

    Source:
        Andrychowicz et al. 2017, section 4.5. Differs from source: transitions get another goal whenever they are drawn, not once
        when they are stored; the goals of an open episode come from what there is of it so far.
    """

    def __init__(
        self,
        share: float,
        observation_space: gymnasium.Space,
        goal_reward: GoalReward | None,
        num_rows: int,
        num_envs: int,
    ) -> None:
        if goal_reward is None or not has_goals(observation_space):
            raise ConfigError(
                f"hindsight = {share}: it needs goals, which are observations of a Dict with '{ACHIEVED}' and '{DESIRED}' and "
                f"an environment with compute_reward; this one shows {observation_space}"
            )
        self.share, self._goal_reward = share, goal_reward
        self._num_rows, self._num_envs = num_rows, num_envs
        where = {part.path: slice(part.start, part.stop) for part in parts(observation_space)}
        self._achieved, self._desired = where[(ACHIEVED,)], where[(DESIRED,)]
        self._last = np.zeros(
            (num_rows, num_envs), np.int64
        )  # step with which the episode ended, counted from the first ever
        self._start = np.zeros(num_envs, np.int64)  # first step of the open episodes
        self._added = 0

    def add(self, ended: np.ndarray) -> None:
        """Take note of one step of every environment; ``ended [B]`` says where an episode stopped with it."""
        self._last[self._added % self._num_rows] = -1  # open
        for i in map(int, np.flatnonzero(ended)):
            first = max(int(self._start[i]), self._added + 1 - self._num_rows)
            self._last[np.arange(first, self._added + 1) % self._num_rows, i] = self._added
            self._start[i] = self._added + 1
        self._added += 1

    def restart(self, first: int, ended: np.ndarray) -> None:
        """Start anew with the steps that a ring holds.

        Args:
            first: Number of the oldest step, counted from the first ever.
            ended: Whether an episode stopped with each of them, ``[N, B]``, oldest first.
        """
        self._added = first
        self._start[:] = first
        for row in ended:
            self.add(row)

    def relabel(
        self,
        slot: np.ndarray,
        chance: np.ndarray,
        obs: np.ndarray,
        next_obs: np.ndarray,
        reward: np.ndarray,
        following: Callable[[np.ndarray], np.ndarray],
    ) -> None:
        """Give a share of drawn transitions another goal, in place.

        Args:
            slot: Where they are in the ring, ``[M]``.
            chance: Numbers in [0, 1), ``[2, M]``: which ones, and which later step.
            obs: Observations before the step, ``[M, D]``.
            next_obs: Observations after it, ``[M, D]``.
            reward: Its reward, ``[M]``.
            following: Gives what followed the steps in slots, ``[K] -> [K, D]``.
        """
        chosen = np.flatnonzero(chance[0] < self.share)
        row, i = np.divmod(slot[chosen], self._num_envs)
        newest = self._added - 1
        step = newest - (newest - row) % self._num_rows  # counted from the first ever
        last = self._last[row, i]
        last = np.where(last < 0, newest, last)
        later = step + (chance[1, chosen] * (last - step + 1)).astype(np.int64)
        goal = following(later % self._num_rows * self._num_envs + i)[:, self._achieved]
        obs[chosen, self._desired] = goal
        next_obs[chosen, self._desired] = goal
        reward[chosen] = self._goal_reward(next_obs[chosen, self._achieved], goal)
