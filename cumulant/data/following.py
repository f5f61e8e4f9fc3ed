"""What followed each step of a replay ring, without storing an observation twice.

What followed a step is, as a rule, what the next step of its environment starts from, and that is in the ring already. Only the
rest is stored: final observations, and what followed the newest step.

Axes: L rows of the ring, B parallel environments; slot = row * B + environment; M slots that are asked for.
"""

from __future__ import annotations

import numpy as np


class Following:
    """Next observations beside a ring of observations.

    Args:
        obs: The ring that it reads, ``[L, B, ...]``; the owner writes to it after ``add``.

    Attributes:
        newest: What followed the newest row, ``[B, ...]``.
    """

    def __init__(self, obs: np.ndarray) -> None:
        self._num_envs = obs.shape[1]
        self._obs = obs.reshape(-1, *obs.shape[2:])
        self.newest = np.zeros_like(obs[0])
        self._row = -1  # the newest
        self._place = np.full(len(self._obs), -1, np.int64)  # in the pool; -1 for what the ring has
        self._pool = np.zeros((0, *obs.shape[2:]), obs.dtype)
        self._free: list[int] = []

    def add(self, row: int, obs: np.ndarray, next_obs: np.ndarray) -> None:
        """Take over a row: what it starts from, which need not be what followed the row before, and what followed it.

        Args:
            row: Where the ring will have it.
            obs: ``[B, ...]``.
            next_obs: ``[B, ...]``.
        """
        num_envs = self._num_envs
        if self._row >= 0:
            differs = np.asarray(obs != self.newest).reshape(num_envs, -1).any(axis=1)
            for i in np.flatnonzero(differs).tolist():
                self._keep(self._row * num_envs + i, self.newest[i])
        slots = np.arange(row * num_envs, (row + 1) * num_envs)
        forgotten = self._place[slots]
        self._free += forgotten[forgotten >= 0].tolist()
        self._place[slots] = -1
        self.newest[...] = next_obs
        self._row = row

    def _keep(self, slot: int, observation: np.ndarray) -> None:
        if not self._free:
            size = len(self._pool)
            grown = np.zeros((min(max(16, 2 * size), len(self._obs)), *self._pool.shape[1:]), self._pool.dtype)
            grown[:size] = self._pool
            self._free = list(range(len(grown) - 1, size - 1, -1))
            self._pool = grown
        place = self._free.pop()
        self._pool[place], self._place[slot] = observation, place

    def take(self, slot: np.ndarray) -> np.ndarray:
        """Return what followed the steps in these slots, ``[M, ...]``."""
        found = self._obs.take((slot + self._num_envs) % len(self._obs), 0)
        place = self._place.take(slot)
        own = np.flatnonzero(place >= 0)
        found[own] = self._pool[place[own]]
        newest = np.flatnonzero(slot // self._num_envs == self._row)
        found[newest] = self.newest[slot[newest] % self._num_envs]
        return found

    def own(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """Return what the observations of consecutive rows do not tell: of all of them final ones, of the last one everything.

        Args:
            rows: Rows of the ring, ``[N]``, in the order of their steps.

        Returns:
            ``next_at [E]``, counted from the first of them like slots, and ``next_obs [E, ...]``.
        """
        num_envs = self._num_envs
        slots = (rows[:, None] * num_envs + np.arange(num_envs)).reshape(-1)
        told = self._place.take(slots) < 0
        told[-num_envs:] = False
        at = np.flatnonzero(~told)
        return {"next_at": at, "next_obs": self.take(slots[at])}

    @staticmethod
    def rebuilt(obs: np.ndarray, at: np.ndarray, own: np.ndarray, row: int) -> np.ndarray:
        """Return what followed one of the rows that ``own`` was made of, ``[B, ...]``.

        Args:
            obs: Their observations, ``[N, B, ...]``.
            at: ``next_at``.
            own: ``next_obs``.
            row: Which of them, from 0.
        """
        num_envs = obs.shape[1]
        first, last = np.searchsorted(at, [row * num_envs, (row + 1) * num_envs])
        found = obs[min(row + 1, len(obs) - 1)].copy()
        found[at[first:last] - row * num_envs] = own[first:last]
        return found
