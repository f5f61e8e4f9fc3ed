"""The one adapter: a batch kernel becomes a vector environment and a Gymnasium environment.

A native environment is a ``Kernel``: two compiled functions over arrays and a few facts. ``Batch`` runs B copies of it
without any Python per copy; ``BatchVectorEnv`` and ``SingleEnv`` are the same batch seen through Gymnasium's two
interfaces.

Axes: B parallel environments, S state columns, K outcome columns, D observation size.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import gymnasium
import numpy as np

from cumulant.envs import lookup
from cumulant.envs.accounting import account, weigh
from cumulant.envs.counter_rng import episode_keys
from cumulant.envs.spaces import array_space, unflatten
from cumulant.errors import ConfigError, UsageError
from cumulant.reward import Reward


@dataclass(frozen=True)
class Kernel:
    """A native environment: two compiled functions and the facts that they need.

    ``reset(mask, key, params, state, obs)`` starts the episodes where ``mask [B]`` is set.
    ``step(key, clock, action, params, state, obs, reward, terminated, outcomes)`` advances every copy by one step.

    Both are numba functions, or functions of the whole batch that call some. ``key [B] uint64`` and ``clock [B] int64``
    (steps taken before this one) address every random number through ``counter_rng``; ``state [B, S]`` float64 is all
    that is remembered. ``obs [B, ...]``, ``reward [B]``, ``terminated [B]`` and ``outcomes [B, K]`` are written in place.
    The kernel does not restart episodes and does not know the time limit.

    Args:
        observation_space: Of one environment; where it is a Dict or Tuple, ``obs [B, D]`` is flat (``envs.spaces``).
        action_space: Of one environment; actions arrive as int64 ``[B]`` (Discrete) or float32 ``[B, A]`` (Box).
        state_size: S.
        reset: See above.
        step: See above.
        params: Numbers that are the same for every copy, ``[P]`` float64.
        max_steps: Episodes are truncated after so many steps; 0 for never.
        reward: Computes the reward from the outcome columns; ``None`` when ``step`` writes it.
        outcome_names: Names of the K columns.
        outcome: The column that says what really matters (higher is better), for ``info["outcome"]``; "" for none.
    """

    observation_space: gymnasium.Space
    action_space: gymnasium.Space
    state_size: int
    reset: Callable[..., None]
    step: Callable[..., None]
    params: np.ndarray = field(default_factory=lambda: np.zeros(1))
    max_steps: int = 0
    reward: Reward | None = None
    outcome_names: tuple[str, ...] = ()
    outcome: str = ""


class EpisodeLog:
    """Running sums of the open episodes, and the summary of those that ended since the last ``drain``.

    Args:
        num_envs: B.
        names: Columns that are averaged over an episode's steps, besides return and length.
    """

    def __init__(self, num_envs: int, names: tuple[str, ...] = ()) -> None:
        self.names = names
        self.open = np.zeros((num_envs, 2 + len(names)))  # return, length, column sums
        self._ended: list[np.ndarray] = []

    def record(self, reward: np.ndarray, columns: np.ndarray | None, ended: np.ndarray) -> None:
        """Add one step of every environment, and close the episodes that ended with it."""
        self.open[:, 0] += reward
        self.open[:, 1] += 1.0
        if columns is not None:
            self.open[:, 2:] += columns
        if ended.any():
            self.close(ended)

    def close(self, ended: np.ndarray) -> None:
        """Move the open episodes where ``ended [B]`` is set to those that ended."""
        rows = np.flatnonzero(ended)
        self.add(self.open[rows])
        self.open[rows] = 0.0

    def add(self, rows: np.ndarray) -> None:
        """Add episodes that ended elsewhere: return, length and column sums, ``[E, 2 + len(names)]``."""
        if len(rows):
            self._ended.append(rows)

    def drain(self) -> dict[str, np.ndarray]:
        """Return and forget the episodes that ended: ``return``, ``length``, each column's mean per step; ``[E]``."""
        rows = np.concatenate(self._ended) if self._ended else self.open[:0]
        self._ended = []
        summary = {"return": rows[:, 0], "length": rows[:, 1]}
        for k, name in enumerate(self.names):
            summary[name] = rows[:, 2 + k] / rows[:, 1]
        return summary

    def state_dict(self) -> dict[str, Any]:
        """Everything that a resumed run needs."""
        return {"open": self.open.copy(), "ended": [rows.copy() for rows in self._ended]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Undo ``state_dict``."""
        self.open[:] = state["open"]
        self._ended = [np.array(rows) for rows in state["ended"]]


class Batch:
    """B copies of a kernel in lock-step, with addressed episodes and automatic restarts.

    After ``step``, ``next_obs`` holds what followed the action and ``obs`` what to act upon next: they differ where an
    episode ended, because ``obs`` is then the first observation of the new one. All arrays are reused by every call.

    Attributes:
        obs, next_obs: Observations, ``[B, ...]``.
        reward: Reward of the last step, ``[B]`` float32.
        cost: The outcome column "cost" of the last step, ``[B]`` float32; 0 where there is none.
        has_costs: Whether there is one.
        outcome: What really mattered in the last step, ``[B]`` float64; None unless ``follow_outcome``.
        terminated, truncated, ended: Flags of the last step, ``[B]`` bool; ended is either.
        outcomes: Outcome columns of the last step, ``[B, K]`` float64.
        terms: Weighted reward terms of the last step, ``[B, len(term_names)]`` float64, or None.
        products: What ``accounting.weigh`` reads of the reward; None of one that only Python can compute.
        episodes: The ``EpisodeLog``; its columns are the outcome columns, then the reward terms as ``reward_<term>``.
    """

    def __init__(
        self, kernel: Kernel, num_envs: int, seed: int = 0, *, autoreset: bool = True, follow_outcome: bool = False
    ) -> None:
        if num_envs < 1:
            raise ConfigError(f"num_envs = {num_envs}: there must be at least one environment")
        self.kernel, self.num_envs, self.autoreset = kernel, num_envs, autoreset
        self.observation_space, self.action_space = kernel.observation_space, kernel.action_space
        self.outcome_names, self.max_steps = kernel.outcome_names, kernel.max_steps
        self.term_names = kernel.reward.term_names if kernel.reward else ()
        shown = array_space(kernel.observation_space)
        self.obs = np.zeros((num_envs, *shown.shape), shown.dtype)  # type: ignore[misc]
        self.next_obs = np.zeros_like(self.obs)
        self.state = np.zeros((num_envs, kernel.state_size))
        self.key = np.zeros(num_envs, np.uint64)
        self.episode = np.zeros(num_envs, np.int64)
        self.clock = np.zeros(num_envs, np.int64)
        self.reward = np.zeros(num_envs, np.float32)
        self.terminated = np.zeros(num_envs, bool)
        self.truncated = np.zeros(num_envs, bool)
        self.ended = np.zeros(num_envs, bool)
        self.outcomes = np.zeros((num_envs, len(kernel.outcome_names)))
        self.faults, self.faulted = 0, np.zeros(num_envs, bool)  # compiled code has none
        self.alive = np.ones(num_envs, bool)
        self.has_costs = "cost" in kernel.outcome_names
        self.cost = np.zeros(num_envs, np.float32)
        self._columns = {name: self.outcomes[:, k] for k, name in enumerate(kernel.outcome_names)}
        self.outcome: np.ndarray | None = self._columns[kernel.outcome] if follow_outcome else None
        self.terms: np.ndarray | None = np.zeros((num_envs, len(self.term_names))) if kernel.reward else None
        self._no_terms = np.zeros((num_envs, 0))
        self.products = kernel.reward.products(kernel.outcome_names) if kernel.reward else None
        names = (*self.outcome_names, *(f"reward_{name}" for name in self.term_names))
        self.episodes = EpisodeLog(num_envs, names)
        self.reset(seed)

    def reset(self, seed: int) -> np.ndarray:
        """Start episode 0 of every environment under this seed and return ``obs``."""
        self.seed = int(seed)
        self.episode[:] = 0
        self.episodes = EpisodeLog(self.num_envs, self.episodes.names)
        self._start(np.ones(self.num_envs, bool))
        return self.obs

    def restart(self, mask: np.ndarray) -> np.ndarray:
        """Start the next episode of the environments where ``mask [B]`` is set and return ``obs``.

        An episode that had not ended is given up and is not counted.
        """
        self.episodes.open[mask] = 0.0
        self._next(mask)
        return self.obs

    def _next(self, mask: np.ndarray) -> None:
        self.episode += mask
        self._start(mask)

    def _start(self, mask: np.ndarray) -> None:
        episode_keys(self.seed, 0, self.episode, self.key)
        self.clock *= ~mask
        self.kernel.reset(mask, self.key, self.kernel.params, self.state, self.obs)

    def step(self, action: np.ndarray) -> None:
        """Advance every environment by one step.

        Args:
            action: int64 ``[B]`` for a Discrete action space, float32 ``[B, A]`` for a Box.
        """
        kernel = self.kernel
        reward, terminated, outcomes = self.reward, self.terminated, self.outcomes
        kernel.step(
            self.key, self.clock, action, kernel.params, self.state, self.next_obs, reward, terminated, outcomes
        )
        if self.has_costs:
            self.cost[:] = self._columns["cost"]
        terms = self._no_terms
        if self.terms is not None and self.products is not None and weigh(outcomes, *self.products, self.terms):
            terms = self.terms
        elif kernel.reward is not None:  # of Python; or a product that is no number, of which this says more
            terms = self.terms = kernel.reward.split(self._columns)
        log, ended = self.episodes, self.ended
        any_ended = account(
            self.clock, kernel.max_steps, reward, outcomes, terms, terminated, self.truncated, ended, log.open
        )
        self.obs[...] = self.next_obs
        if any_ended:
            log.close(ended)
            if self.autoreset:
                self._next(ended)

    def finish(self, episodes: np.ndarray, numbers: bool) -> None:
        """Take over from compiled code that has stepped the arrays of this batch.

        Args:
            episodes: Those that ended, as for ``EpisodeLog.add``.
            numbers: Whether every reward was a number.

        Raises:
            NumericsError: If one was not (message names the term).
        """
        self.episodes.add(episodes)
        if self.has_costs:
            self.cost[:] = self._columns["cost"]
        if not numbers and self.kernel.reward is not None:
            self.kernel.reward.split(self._columns)

    def info(self) -> dict[str, np.ndarray]:
        """Outcome columns and reward terms of the last step, by name, ``[B]`` each."""
        info = {name: column.copy() for name, column in self._columns.items()}
        if self.kernel.outcome:
            info["outcome"] = self._columns[self.kernel.outcome].copy()
        return info

    def state_dict(self) -> dict[str, Any]:
        """Everything that a resumed run needs, as arrays."""
        arrays = ("obs", "state", "key", "episode", "clock")
        saved = {name: getattr(self, name).copy() for name in arrays}
        return saved | {"seed": self.seed, "log": self.episodes.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Undo ``state_dict``; the batch goes on exactly where it was."""
        self.seed = int(state["seed"])
        for name in ("obs", "state", "key", "episode", "clock"):
            array, saved = getattr(self, name), np.asarray(state[name])
            if saved.shape != array.shape:
                raise ValueError(f"{name} is {saved.shape} in the checkpoint and {array.shape} here")
            array[:] = saved
        space = self.observation_space
        if isinstance(space, gymnasium.spaces.Discrete) and not ((self.obs >= 0) & (self.obs < space.n)).all():
            raise ValueError(f"obs names a state outside {space}")  # compiled code would read outside its table
        self.episodes.load_state_dict(state["log"])

    def close(self) -> None:
        """Nothing to free; here because every vector environment has it."""


def entropy() -> int:
    """Return an unpredictable seed, for a reset without one."""
    return int(np.random.SeedSequence().generate_state(1, np.uint64)[0] >> np.uint64(1))


class BatchVectorEnv(gymnasium.vector.VectorEnv):
    """A native environment as a Gymnasium vector environment (``gymnasium.make_vec``).

    Episodes restart within the step that ends them (``AutoresetMode.SAME_STEP``): ``info["final_obs"]`` then holds the
    last observations, an object array as Gymnasium defines it.

    Args:
        name: Short name, such as "warfarin".
        num_envs: B.
        options: Fields of the environment's options.
    """

    metadata: dict[str, Any] = {"autoreset_mode": gymnasium.vector.AutoresetMode.SAME_STEP}  # noqa: RUF012

    def __init__(self, name: str, num_envs: int = 1, **options: Any) -> None:
        self.num_envs = num_envs
        self.batch = Batch(lookup.build(name, options), num_envs)
        self.single_observation_space = self.batch.observation_space
        self.single_action_space = self.batch.action_space
        self.observation_space = gymnasium.vector.utils.batch_space(self.single_observation_space, num_envs)
        self.action_space = gymnasium.vector.utils.batch_space(self.single_action_space, num_envs)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:  # type: ignore[override]
        """Start new episodes; see ``gymnasium.vector.VectorEnv.reset``."""
        return self._shown(self.batch.reset(entropy() if seed is None else seed)), {}

    def _shown(self, obs: np.ndarray) -> Any:
        return unflatten(self.single_observation_space, obs.copy())

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Advance every environment; see ``gymnasium.vector.VectorEnv.step``."""
        batch = self.batch
        batch.step(checked_action(batch.action_space, actions, self.num_envs))
        info: dict[str, Any] = dict(batch.info())
        if batch.ended.any():
            batch.episodes.drain()  # nobody reads them here; Gymnasium's wrappers count for themselves
            final = np.full(self.num_envs, None, dtype=object)
            for i in np.flatnonzero(batch.ended):
                final[i] = self._shown(batch.next_obs[i])
            info |= {"final_obs": final, "_final_obs": batch.ended.copy()}
        return self._shown(batch.obs), batch.reward.copy(), batch.terminated.copy(), batch.truncated.copy(), info


class SingleEnv(gymnasium.Env):
    """A native environment as an ordinary Gymnasium environment: the same kernel at batch 1.

    Args:
        name: Short name, such as "warfarin"; or a kernel.
        options: Fields of the environment's options.
    """

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012

    def __init__(self, name: str | Kernel, **options: Any) -> None:
        self.render_mode = options.pop("render_mode", None)
        self.batch = Batch(name if isinstance(name, Kernel) else lookup.build(name, options), 1, autoreset=False)
        self.observation_space, self.action_space = self.batch.observation_space, self.batch.action_space
        self._seeded = False

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Start a new episode; see ``gymnasium.Env.reset``."""
        super().reset(seed=seed)
        if seed is not None or not self._seeded:
            self.batch.reset(entropy() if seed is None else seed)
            self._seeded = True
        else:
            self.batch.restart(np.ones(1, bool))
            self.batch.episodes.drain()  # nobody reads them here
        return self._first(self.batch.obs), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Advance by one step; see ``gymnasium.Env.step``."""
        batch = self.batch
        batch.step(checked_action(batch.action_space, np.asarray(action)[None], 1))
        info: dict[str, Any] = {name: float(column[0]) for name, column in batch.info().items()}
        if batch.terms is not None:
            info["reward_terms"] = {name: float(batch.terms[0, k]) for k, name in enumerate(batch.term_names)}
        return self._first(batch.obs), float(batch.reward[0]), bool(batch.terminated[0]), bool(batch.truncated[0]), info

    def _first(self, obs: np.ndarray) -> Any:
        return unflatten(self.observation_space, obs[0].copy() if obs.ndim > 1 else obs[0])


def as_batch_action(space: gymnasium.Space, action: Any) -> np.ndarray:
    """Return actions as the kernels take them: int64 ``[B]`` or contiguous float32 ``[B, A]``."""
    if isinstance(space, gymnasium.spaces.Discrete):
        return np.ascontiguousarray(action, np.int64)
    return np.ascontiguousarray(action, np.float32)


def checked_action(space: gymnasium.Space, action: Any, num_envs: int) -> np.ndarray:
    """Return actions from outside as the kernels take them, after looking at them: a kernel trusts what it gets.

    Raises:
        UsageError: If there are not B of them, or one is not in the action space (message names it).
    """
    try:
        batch = as_batch_action(space, action)
    except (TypeError, ValueError) as problem:
        raise UsageError(f"actions {action!r} are not numbers for {space}: {problem}") from None
    if batch.shape != (num_envs, *(space.shape or ())):
        raise UsageError(f"actions have the shape {batch.shape}; {num_envs} of {space} are needed")
    if isinstance(space, gymnasium.spaces.Discrete):
        wrong = (batch < 0) | (batch >= space.n)
    else:
        wrong = ~np.isfinite(batch)
    if wrong.any():
        raise UsageError(f"action {batch[wrong][0]} is not in {space}")
    return batch
