"""Gymnasium environments as a batch in this process, every episode addressed by (seed, environment, episode).

Axes: B environments.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from cumulant.engine.faults import Hang, Watchdog, Wrong, bear, fault_limits
from cumulant.engine.goals import reward_of
from cumulant.engine.masks import MaskGate, Masks, read_mask, shown_masks
from cumulant.engine.outcomes import terms_of
from cumulant.envs.actions import action_shape, to_native
from cumulant.envs.batched import EpisodeLog
from cumulant.envs.spaces import Layout, array_space, has_goals, is_nested, masked, whole_bounds
from cumulant.errors import ConfigError, CumulantError, EnvironmentFault


def episode_seed(seed: int, env_index: int, episode: int) -> int:
    """Return the seed of one episode, below 2**31 because some environments take no more."""
    digest = hashlib.sha256(f"{seed}/{env_index}/{episode}".encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1


class GymVector:
    """B Gymnasium environments in this process, behind the interface of ``VectorEnv``.

    No environment needs a save method: an open episode is rebuilt from its seed by replaying its recorded actions, which is
    exact for every deterministic environment. A goal environment (observations with ``achieved_goal`` and ``desired_goal``) has
    the outcome ``success``: its ``info["is_success"]`` at the end of the episode.

    An environment that raises, hangs, or gives an observation, reward or cost that is not of its kind is at fault. Its episode
    is truncated there: the step that failed shows the last good observation as what followed, and no reward, so that its value
    is bootstrapped from where the episode stood. (To mark the step before as the last would be exact, but that step has been
    handed out by then.) One transition from an observation to itself is what learning sees of a fault; the episode is not
    counted in ``episodes``. The environment is closed and made anew, a warning says what happened, and the next episode begins.
    More than ``max_faults`` (``cumulant.engine.faults``) are an error; so is, at once, what never worked: a new environment that
    fails in its first reset, or the very first step.

    Attributes:
        envs: The environments.
        faults: How many faults there were.
        faulted: Whose last step was one, ``[B]`` bool.

    Args:
        env: What messages call it.
        num_envs: B.
        seed: Run seed.
        make: Makes one environment.
        masks: When to show ``info["action_mask"]`` as part of the observation.
        follow_outcome: Whether to read ``info["outcome"]`` and ``info["reward_terms"]`` (into ``outcome``, ``told_terms``).

    Raises:
        ConfigError: If a part of a space is not supported (message names it), or there are no masks.
        EnvironmentFault: If an environment never works, here or after it was made anew, or at too many faults.
    """

    def __init__(
        self,
        env: str,
        num_envs: int,
        seed: int,
        make: Callable[[], gymnasium.Env],
        masks: Masks = "never",
        follow_outcome: bool = False,
    ) -> None:
        self.name, self.num_envs, self.seed, self._make = env, num_envs, int(seed), make
        self.envs = [make() for _ in range(num_envs)]
        self._limits = fault_limits()
        self._watchdog = Watchdog(self._limits.env_timeout)
        self.observation_space, self.action_space = self.envs[0].observation_space, self.envs[0].action_space
        try:
            if 0 in action_shape(self.action_space)[0]:  # refuses what is not supported
                raise ConfigError(f"there is nothing to choose in its actions, {self.action_space}")
            self._masks = shown_masks(masks, self.observation_space, self.action_space, self._first_info)
            if self._masks:
                self.observation_space = masked(self.observation_space, self._masks)
            shown = array_space(self.observation_space)
            if 0 in (shown.shape or ()):
                raise ConfigError(
                    f"its observations, {self.observation_space}, are empty: give them at least one number"
                )
        except ConfigError as problem:
            raise ConfigError(f"environment '{env}': {problem}") from None
        self._layout = Layout(self.observation_space) if is_nested(self.observation_space) else None
        self._gate = MaskGate(self.observation_space, self.action_space)
        self._low, self._high = whole_bounds(self.observation_space)
        self.obs = np.zeros((num_envs, *shown.shape), shown.dtype)  # type: ignore[misc]
        self.next_obs = np.zeros_like(self.obs)
        self._rows, self._next_rows = ([array[i, ...] for i in range(num_envs)] for array in (self.obs, self.next_obs))
        self.reward = np.zeros(num_envs, np.float32)
        self.cost = np.zeros(num_envs, np.float32)
        self.has_costs = False
        self.terminated = np.zeros(num_envs, bool)
        self.truncated = np.zeros(num_envs, bool)
        self.ended = np.zeros(num_envs, bool)
        self.outcome_names: tuple[str, ...] = ("success",) if has_goals(self.observation_space) else ()
        self.outcome = np.zeros(num_envs) if follow_outcome else None
        self.told_terms: list[dict[str, float]] = [{} for _ in range(num_envs)]
        self.goal_reward = reward_of(lambda: self.envs[0])
        self.outcomes = np.zeros((num_envs, len(self.outcome_names)))
        self.episodes = EpisodeLog(num_envs, ("cost", *self.outcome_names))
        self.term_names: tuple[str, ...] = ()
        spec = self.envs[0].spec
        self.max_steps = int(spec.max_episode_steps or 0) if spec is not None else 0
        self._discrete = int(self.action_space.start) if isinstance(self.action_space, spaces.Discrete) else None
        plain = isinstance(self.action_space, spaces.Box) and np.issubdtype(self.action_space.dtype, np.floating)
        self._box = (num_envs, *(self.action_space.shape or ())) if plain else None
        self.faults, self.faulted = 0, np.zeros(num_envs, bool)
        self.alive = np.ones(num_envs, bool)
        self._resets = [0] * num_envs  # of the environment object that there is now
        self._episode = [-1] * num_envs
        self._actions: list[list[np.ndarray]] = [[] for _ in range(num_envs)]
        with self._watchdog:
            for i in range(num_envs):
                self._next_episode(i)

    def _first_info(self) -> Mapping[str, Any]:
        """Return the info of a first reset, which will be done again."""
        with self._watchdog:
            self._watchdog.calls += 1
            try:
                return self.envs[0].reset(seed=episode_seed(self.seed, 0, 0))[1]
            except Hang:  # that will be said when it is done again
                return {}

    # -- one environment

    def _where(self, i: int) -> str:
        episode = self._episode[i]
        return (
            f"environment '{self.name}' (number {i}, episode {episode}, step {len(self._actions[i])}, "
            f"seed {episode_seed(self.seed, i, episode)})"
        )

    def _show(self, obs: Any, info: Mapping[str, Any], over: bool, row: np.ndarray) -> None:
        """Write an observation into its row, after refusing what is not of its space.

        A state that does not exist would be read outside a table, and one number that is not finite spoils a network.
        """
        if self._layout is not None:
            if self._masks:
                obs = {"action_mask": read_mask(info, self._masks, over), "observation": obs}
            try:
                self._layout.flatten(obs, row)
            except ValueError as problem:
                raise Wrong(f"gave an observation that is not of its space: {problem}") from problem
            if not np.isfinite(row).all():
                raise Wrong(f"gave an observation that is not finite: {obs}")
            self._gate.mend(row, over)
            return
        array, space = np.asarray(obs), self.observation_space
        if array.shape != space.shape:
            raise Wrong(f"gave an observation of shape {array.shape}: its space has {space.shape}")
        if self._low is not None:
            if not ((array >= self._low) & (array < self._high)).all():
                raise Wrong(f"gave the observation {array}, which is not in {space}")
        elif not np.isfinite(array).all():
            raise Wrong(f"gave an observation that is not finite: {array}")
        row[...] = array

    def _start(self, i: int) -> None:
        """Reset one environment to its episode."""
        watchdog, seed = self._watchdog, episode_seed(self.seed, i, self._episode[i])
        self._actions[i] = []
        watchdog.calls += 1
        obs, info = self.envs[i].reset(seed=seed)
        watchdog.calls += 1
        if self._masks and self._episode[i] == 0 and "action_mask" not in info:
            raise ConfigError(f"environment '{self.name}' has no action masks: its info has no 'action_mask'")
        self._show(obs, info, False, self._rows[i])
        self._resets[i] += 1

    def _take(self, i: int, taken: np.ndarray, native: Any) -> None:
        """Take one step of one environment and write what came of it into its rows."""
        watchdog = self._watchdog
        watchdog.calls += 1
        obs, reward, self.terminated[i], self.truncated[i], info = self.envs[i].step(native)
        watchdog.calls += 1
        self._show(obs, info, self.terminated[i] or self.truncated[i], self._next_rows[i])
        reward = float(reward)
        if not math.isfinite(reward):
            raise Wrong(f"gave the reward {reward}: rewards must be finite numbers")
        self.reward[i] = reward
        if "cost" in info:
            cost = float(info["cost"])
            if not math.isfinite(cost):
                raise Wrong(f"gave the cost {cost}: costs must be finite numbers")
            self.cost[i], self.has_costs = cost, True
        if self.outcome is not None:
            self.outcome[i] = float(info["outcome"])
            self.told_terms[i] = terms_of(self.name, info)
        if self.outcome_names:
            self.outcomes[i] = float(info.get("is_success", 0.0))
        self._actions[i].append(taken)

    def _next_episode(self, i: int) -> None:
        """Start the next episode of one environment; the one after it, should that fail."""
        while True:
            self._episode[i] += 1
            try:
                self._start(i)
                return
            except CumulantError:
                raise
            except (Exception, Hang) as problem:
                self._make_anew(i, "reset", problem)

    def _replay(self, i: int, actions: Iterable[np.ndarray]) -> None:
        """Rebuild the open episode of one environment; again on a new one, should that fail."""
        while True:
            call = "reset"
            try:
                self._start(i)
                call = "step"
                for taken in actions:
                    self._take(i, taken, to_native(self.action_space, np.asarray(taken)))
                    self._rows[i][...] = self._next_rows[i]
                return
            except CumulantError:
                raise
            except (Exception, Hang) as problem:
                self._make_anew(i, call, problem, "its open episode is replayed once more")

    def _cut_off(self, i: int) -> None:
        """End an episode at its last good observation, after a fault."""
        self._next_rows[i][...] = self._rows[i]
        self.reward[i] = self.cost[i] = 0.0
        self.terminated[i], self.truncated[i], self.faulted[i] = False, True, True
        if self.outcome is not None:
            self.outcome[i], self.told_terms[i] = 0.0, {}

    def _make_anew(self, i: int, call: str, problem: BaseException, goes_on: str = "the episode is given up") -> None:
        """Count a fault and replace the environment.

        Raises:
            EnvironmentFault: If it is one too many, if a new environment fails in its first reset, or in the first step of all.
        """
        watchdog, limits = self._watchdog, self._limits
        watchdog.calls += watchdog.calls % 2  # the call that failed is over
        if isinstance(problem, Wrong):
            said = f"{self._where(i)} {problem}"
        elif isinstance(problem, Hang):
            said = f"{self._where(i)} did not come back from {call} within {limits.env_timeout:g} s (--env-timeout)"
        else:
            said = f"{self._where(i)} failed in {call}: {type(problem).__name__}: {problem}"
        first_step = call == "step" and self._episode[i] == 0 and not self._actions[i]
        if self._resets[i] == 0 or first_step:  # it never worked
            raise EnvironmentFault(said) from problem
        self.faults += 1
        bear(self.faults, limits.max_faults, said, f"it is made anew, and {goes_on}", problem)
        with contextlib.suppress(Exception, Hang):  # it is broken; that it cannot be closed either is no news
            watchdog.calls += 1
            self.envs[i].close()
        watchdog.calls += watchdog.calls % 2
        try:
            watchdog.calls += 1
            self.envs[i] = self._make()
        except Hang:
            raise EnvironmentFault(f"environment '{self.name}' cannot be made anew: it does not come back") from problem
        finally:
            watchdog.calls += watchdog.calls % 2
        self._resets[i] = 0

    # -- all of them

    def _native(self, action: np.ndarray) -> Iterable[Any]:
        """Return an action for each environment, in arrays of their own: an environment may change what it gets."""
        if self._discrete is not None:
            return (action + self._discrete).tolist()
        if self._box is not None:
            return np.array(action, self.action_space.dtype).reshape(self._box)
        if is_nested(self.action_space):
            return [to_native(self.action_space, row) for row in action]
        return to_native(self.action_space, action)

    def step(self, action: np.ndarray) -> None:
        """Advance every environment by one step; episodes that end start anew.

        Args:
            action: int64 ``[B]`` from 0 for Discrete, int64 ``[B, K]`` from 0 for MultiDiscrete and MultiBinary, float32
                ``[B, A]`` for Box, float32 ``[B, C]`` for Dict and Tuple; see ``cumulant.envs.actions``.
        """
        taken = np.array(action)  # the caller may use its array again
        if self.has_costs:
            self.cost[:] = 0.0
        self.faulted[:] = False
        faults = self.faults
        with self._watchdog:
            for i, native in enumerate(self._native(action)):
                try:
                    self._take(i, taken[i], native)
                except CumulantError:
                    raise
                except (Exception, Hang) as problem:
                    self._make_anew(i, "step", problem)
                    self._cut_off(i)
            np.logical_or(self.terminated, self.truncated, out=self.ended)
            counted = self.ended if self.faults == faults else self.ended & ~self.faulted
            if self.outcome_names:  # what counts is the end, and columns are divided by an episode's length
                self.outcomes *= (self.ended * (self.episodes.open[:, 1] + 1.0))[:, None]
            columns = np.column_stack([self.cost, self.outcomes]) if self.has_costs or self.outcome_names else None
            self.episodes.record(self.reward, columns, counted)
            if counted is not self.ended:
                self.episodes.open[self.faulted] = 0.0
            self.obs[...] = self.next_obs
            if self.ended.any():
                for i in map(int, np.flatnonzero(self.ended)):
                    self._next_episode(i)

    def restart(self, mask: np.ndarray) -> np.ndarray:
        """Give up the episodes where ``mask [B]`` is set, start the next ones, and return ``obs``."""
        self.episodes.open[mask] = 0.0
        with self._watchdog:
            for i in map(int, np.flatnonzero(mask)):
                self._next_episode(i)
        return self.obs

    def state_dict(self) -> dict[str, Any]:
        """Episode numbers and the actions of the open episodes; the observations tell whether a replay went the same way."""
        return {
            "seed": self.seed,
            "episode": list(self._episode),
            "actions": [np.stack(taken) if taken else None for taken in self._actions],
            "obs": self.obs.copy(),
            "faults": self.faults,
            "has_costs": self.has_costs,
            "log": self.episodes.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Rebuild every open episode by replaying its actions."""
        self.seed, self._episode = int(state["seed"]), list(state["episode"])
        self.faults = int(state["faults"])
        with self._watchdog:
            for i, actions in enumerate(state["actions"]):
                self._replay(i, () if actions is None else actions)
        if not np.array_equal(self.obs, state["obs"]):
            warnings.warn(
                f"environment '{self.name}' does not follow from its seed and actions: its open episodes were rebuilt "
                "differently, so this run goes on but will not be bit-identical to an undisturbed one",
                stacklevel=2,
            )
        self.has_costs = bool(state["has_costs"])
        self.episodes.load_state_dict(state["log"])

    def close(self) -> None:
        """Close the environments."""
        self._watchdog.stop()
        for env in self.envs:
            try:
                env.close()
            except Exception as problem:  # everything that matters is done by now
                warnings.warn(f"environment '{self.name}' cannot be closed: {problem!r}", stacklevel=2)
