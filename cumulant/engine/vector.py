"""Any environment as a batch, every episode addressed by (seed, environment, episode).

``make_vector`` takes the short name of a native environment ("warfarin"), a Gymnasium id ("CartPole-v1"), or the path of a
class, ``package.module:EnvClass`` or ``folder/file.py:EnvClass``, which needs no registration. All give the same interface,
``VectorEnv``. Where a native environment replaces one of Gymnasium's, the native one is used.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Mapping
from typing import Any, Protocol

import gymnasium
import numpy as np
from gymnasium import spaces

from cumulant.envs import lookup, register
from cumulant.envs.batched import Batch, EpisodeLog
from cumulant.errors import CumulantError, EnvironmentFault, MissingPackage, UsageError, did_you_mean
from cumulant.loading import load_attribute


class VectorEnv(Protocol):
    """What every batch of environments offers; ``cumulant.envs.batched.Batch`` describes the attributes."""

    num_envs: int
    observation_space: gymnasium.Space
    action_space: gymnasium.Space
    obs: np.ndarray
    next_obs: np.ndarray
    reward: np.ndarray
    cost: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray
    ended: np.ndarray
    episodes: EpisodeLog
    outcome_names: tuple[str, ...]
    term_names: tuple[str, ...]
    max_steps: int
    """Time limit of an episode; 0 when there is none that is known."""

    def restart(self, mask: np.ndarray) -> Any:
        """Give up the episodes where ``mask [B]`` is set and start the next ones."""
        ...

    def step(self, action: np.ndarray) -> None:
        """Advance every environment; results are in the attributes."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Everything that a resumed run needs."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Undo ``state_dict``."""
        ...

    def close(self) -> None:
        """Free what the environments hold."""
        ...


def make_vector(env: str, num_envs: int, seed: int, options: Mapping[str, Any] | None = None) -> VectorEnv:
    """Make a batch of environments.

    Args:
        env: Short name, Gymnasium id, or path of a class.
        num_envs: B.
        seed: Every episode's randomness follows from it, the environment's index and the episode's number.
        options: Options of a native environment, or keyword arguments of any other.

    Raises:
        UsageError: If there is no such environment (message names the closest).
        MissingPackage: If it needs a package that is not installed (message names it).
        ConfigError: If an option is refused.
        EnvironmentFault: If the environment raises while it is made or reset.
    """
    options = dict(options or {})
    if lookup.find(env) is not None:
        return Batch(lookup.build(env, options), num_envs, seed)
    return GymVector(env, num_envs, seed, options)


def episode_seed(seed: int, env_index: int, episode: int) -> int:
    """Return the seed of one episode, below 2**31 because some environments take no more."""
    digest = hashlib.sha256(f"{seed}/{env_index}/{episode}".encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1


class GymVector:
    """B Gymnasium environments in this process, behind the interface of ``VectorEnv``.

    No environment needs a save method: an open episode is rebuilt from its seed by replaying its recorded actions, which is
    exact for every deterministic environment.

    Args:
        env: Gymnasium id or path of a class.
        num_envs: B.
        seed: Run seed.
        options: Keyword arguments of the environment.
    """

    def __init__(self, env: str, num_envs: int, seed: int, options: Mapping[str, Any]) -> None:
        self.name, self.num_envs, self.seed = env, num_envs, int(seed)
        self._envs = [make_single(env, options) for _ in range(num_envs)]
        self.observation_space, self.action_space = self._envs[0].observation_space, self._envs[0].action_space
        space = self.observation_space
        if space.shape is None or space.dtype is None:
            raise UsageError(
                f"environment '{env}' has observations of {type(space).__name__}, which are not supported yet; "
                "wrap it in gymnasium.wrappers.FlattenObservation"
            )
        self.obs = np.zeros((num_envs, *space.shape), space.dtype)
        self.next_obs = np.zeros_like(self.obs)
        self.reward = np.zeros(num_envs, np.float32)
        self.cost = np.zeros(num_envs, np.float32)
        self.terminated = np.zeros(num_envs, bool)
        self.truncated = np.zeros(num_envs, bool)
        self.ended = np.zeros(num_envs, bool)
        self.episodes = EpisodeLog(num_envs)
        self.outcome_names: tuple[str, ...] = ()
        self.term_names: tuple[str, ...] = ()
        spec = self._envs[0].spec
        self.max_steps = int(spec.max_episode_steps or 0) if spec is not None else 0
        self._discrete = isinstance(self.action_space, spaces.Discrete)
        self._episode = [0] * num_envs
        self._actions: list[list[np.ndarray]] = [[] for _ in range(num_envs)]
        for i in range(num_envs):
            self._reset(i)

    def _where(self, i: int) -> str:
        episode = self._episode[i]
        return (
            f"environment '{self.name}' (number {i}, episode {episode}, step {len(self._actions[i])}, "
            f"seed {episode_seed(self.seed, i, episode)})"
        )

    def _checked(self, i: int, obs: Any) -> np.ndarray:
        """Refuse an observation that is not of its space: a state that does not exist would be read outside a table."""
        array, space = np.asarray(obs), self.observation_space
        if array.shape != space.shape:
            raise EnvironmentFault(
                f"{self._where(i)} gave an observation of shape {array.shape}: its space has {space.shape}"
            )
        if isinstance(space, spaces.Discrete):
            if not space.start <= array < space.start + space.n:
                raise EnvironmentFault(f"{self._where(i)} gave the observation {array}, which is not in {space}")
        elif not np.isfinite(array).all():
            raise EnvironmentFault(f"{self._where(i)} gave an observation that is not finite: {array}")
        return array

    def _reset(self, i: int) -> None:
        self._actions[i] = []
        try:
            obs, _ = self._envs[i].reset(seed=episode_seed(self.seed, i, self._episode[i]))
            self.obs[i] = self._checked(i, obs)
        except CumulantError:
            raise
        except Exception as problem:
            raise EnvironmentFault(
                f"{self._where(i)} failed in reset: {type(problem).__name__}: {problem}"
            ) from problem

    def _advance(self, i: int, action: np.ndarray) -> tuple[Any, Any, Any, Any]:
        taken = np.array(action)  # before the environment sees it, which may change it in place
        try:
            native = int(action) if self._discrete else action.copy()
            obs, reward, terminated, truncated, _ = self._envs[i].step(native)
            obs, reward = self._checked(i, obs), float(reward)
        except CumulantError:
            raise
        except Exception as problem:
            raise EnvironmentFault(f"{self._where(i)} failed in step: {type(problem).__name__}: {problem}") from problem
        if not np.isfinite(reward):
            raise EnvironmentFault(f"{self._where(i)} gave the reward {reward}: rewards must be finite numbers")
        self._actions[i].append(taken)
        return obs, reward, terminated, truncated

    def step(self, action: np.ndarray) -> None:
        """Advance every environment by one step; episodes that end start anew.

        Args:
            action: int64 ``[B]`` for Discrete (offsets by the space's start are added here), float32 ``[B, A]`` for Box.
        """
        if self._discrete:
            action = action + int(self.action_space.start)  # type: ignore[attr-defined]
        else:
            action = action.reshape(self.num_envs, *self.action_space.shape)  # type: ignore[misc]
        for i in range(self.num_envs):
            self.next_obs[i], self.reward[i], self.terminated[i], self.truncated[i] = self._advance(i, action[i])
        np.logical_or(self.terminated, self.truncated, out=self.ended)
        self.episodes.record(self.reward, None, self.ended)
        self.obs[:] = self.next_obs
        for i in map(int, np.flatnonzero(self.ended)):
            self._episode[i] += 1
            self._reset(i)

    def restart(self, mask: np.ndarray) -> np.ndarray:
        """Give up the episodes where ``mask [B]`` is set, start the next ones, and return ``obs``."""
        self.episodes.open[mask] = 0.0
        for i in map(int, np.flatnonzero(mask)):
            self._episode[i] += 1
            self._reset(i)
        return self.obs

    def state_dict(self) -> dict[str, Any]:
        """Episode numbers and the actions of the open episodes; the observations tell whether a replay went the same way."""
        return {
            "seed": self.seed,
            "episode": list(self._episode),
            "actions": [np.stack(taken) if taken else None for taken in self._actions],
            "obs": self.obs.copy(),
            "log": self.episodes.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Rebuild every open episode by replaying its actions."""
        self.seed, self._episode = int(state["seed"]), list(state["episode"])
        for i, actions in enumerate(state["actions"]):
            self._reset(i)
            for action in () if actions is None else actions:
                self.obs[i] = self._advance(i, action)[0]
        if not np.array_equal(self.obs, state["obs"]):
            warnings.warn(
                f"environment '{self.name}' does not follow from its seed and actions: its open episodes were rebuilt "
                "differently, so this run goes on but will not be bit-identical to an undisturbed one",
                stacklevel=2,
            )
        self.episodes.load_state_dict(state["log"])

    def close(self) -> None:
        """Close the environments."""
        for env in self._envs:
            env.close()


def make_single(env: str, options: Mapping[str, Any]) -> gymnasium.Env:
    """Make one Gymnasium environment from an id or the path of a class.

    Raises:
        UsageError: If there is no such environment.
        MissingPackage: If a package is missing.
        EnvironmentFault: If its constructor raises.
    """
    try:
        if ":" in env:
            made = load_attribute(env)(**options)
        else:
            if not any(known.startswith("cumulant/") for known in gymnasium.registry):
                register()  # an uninstalled working copy has no entry point
            made = gymnasium.make(env, **options)
    except CumulantError:
        raise
    except gymnasium.error.DependencyNotInstalled as problem:
        raise MissingPackage(f"environment '{env}' needs a package that is not installed: {problem}") from problem
    except gymnasium.error.NamespaceNotFound as problem:
        package = ": pip install ale-py" if env.startswith("ALE/") else ""
        raise MissingPackage(
            f"environment '{env}': no installed package brings environments called '{env.rpartition('/')[0]}/...'{package}"
        ) from problem
    except (gymnasium.error.UnregisteredEnv, gymnasium.error.DeprecatedEnv) as problem:
        known = [*lookup.listing(), *(name for name in gymnasium.registry if "/" not in name)]
        hint = did_you_mean(env, known)
        if hint.startswith("known"):  # dozens of them
            hint = "`cumulant list envs` shows ours; any Gymnasium id and module:EnvClass works too"
        raise UsageError(f"no environment '{env}': {hint}") from problem
    except ImportError as problem:
        raise MissingPackage(f"environment '{env}' needs the package '{problem.name}': {problem}") from problem
    except Exception as problem:
        raise EnvironmentFault(f"environment '{env}' cannot be made: {type(problem).__name__}: {problem}") from problem
    if not isinstance(made, gymnasium.Env):
        raise UsageError(f"'{env}' is a {type(made).__name__}, not a gymnasium.Env")
    return made
