"""Any environment as a batch, every episode addressed by (seed, environment, episode).

``make_vector`` takes the short name of a native environment ("warfarin"), a Gymnasium id ("CartPole-v1"), or the path of a
class, ``package.module:EnvClass`` or ``folder/file.py:EnvClass``, which needs no registration, each perhaps with another reward
(``CartPole-v1@outcome``, see ``cumulant.envs.views``); that may also make a parallel
environment of several agents, as ``pettingzoo.butterfly.pistonball_v6:parallel_env`` does. All give the same interface,
``VectorEnv``. Where a native environment replaces one of Gymnasium's, the native one is used.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import gymnasium
import numpy as np

from cumulant.engine import atari, mujoco
from cumulant.engine.gym_vector import GymVector
from cumulant.engine.masks import Masks
from cumulant.engine.outcomes import SeenEnv
from cumulant.engine.parallel import ParallelVector, is_parallel
from cumulant.engine.single import make_single
from cumulant.envs import lookup
from cumulant.envs.batched import Batch, EpisodeLog
from cumulant.envs.spaces import mask_slice
from cumulant.envs.views import split_view
from cumulant.errors import ConfigError


class VectorEnv(Protocol):
    """What every batch of environments offers; ``cumulant.envs.batched.Batch`` describes the attributes.

    Observations are arrays whatever the observation space: a Dict or Tuple is flat (``cumulant.envs.spaces``). Actions are
    arrays too (``cumulant.envs.actions``).
    """

    num_envs: int
    observation_space: gymnasium.Space
    action_space: gymnasium.Space
    obs: np.ndarray
    next_obs: np.ndarray
    reward: np.ndarray
    cost: np.ndarray
    """Cost of the last step, ``[B]`` float32; 0 where an environment has none."""
    outcome: np.ndarray | None
    """What really mattered in the last step, ``[B]`` float64; None but for an environment with a view (``envs.views``)."""
    has_costs: bool
    """Whether there were costs so far."""
    faults: int
    """How often an environment raised, hung or gave what is no number, and was made anew."""
    faulted: np.ndarray
    """Whose last step was such a fault, ``[B]`` bool: the episode is truncated there and does not count."""
    alive: np.ndarray
    """Whose last step was an agent's that had not ended before, ``[B]`` bool: all, but for teams that play on (``whole``)."""
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


def make_vector(
    env: str,
    num_envs: int,
    seed: int,
    options: Mapping[str, Any] | None = None,
    masks: Masks = "never",
    *,
    training: bool = True,
) -> VectorEnv:
    """Make a batch of environments.

    Args:
        env: Short name, Gymnasium id, or path of a class.
        num_envs: B; of several agents each is one of them.
        seed: Every episode's randomness follows from it, the environment's index and the episode's number.
        options: Options of a native environment, or keyword arguments of any other.
        masks: When observations bring the action mask with them: an environment that gives ``info["action_mask"]`` is then
            shown with observations ``{"action_mask", "observation"}``, "offered" by any that gives it, "always" or it is an
            error. One whose observations are so anyway stays as it is.
        training: Whether what is collected is learned from. Otherwise rewards are the true ones (Atari's are clipped for
            learning), and agents play on when another one has ended (see ``cumulant.engine.parallel``).

    Raises:
        UsageError: If there is no such environment (message names the closest).
        MissingPackage: If it needs a package that is not installed (message names it).
        ConfigError: If an option is refused, if a part of a space is not supported, or if there are no masks.
        EnvironmentFault: If the environment raises while it is made or reset.
    """
    options = dict(options or {})
    base, view = split_view(env)
    if view and lookup.find(base) is None:

        def make_seen() -> Any:
            made = make_single(base, options)
            if is_parallel(made):
                raise ConfigError(f"environment '{base}' has several agents: it cannot be seen as '{view}'")
            return SeenEnv(made, base, view)

        return GymVector(env, num_envs, seed, make_seen, masks, follow_outcome=True)
    if atari.is_game(env) and masks != "always":
        return atari.AtariVector(env, num_envs, seed, options, training=training)
    if env in mujoco.TASKS and masks != "always":
        return mujoco.MujocoVector(env, num_envs, seed, options)
    if lookup.find(env) is None:
        spare = [make_single(env, options)]

        def make() -> Any:
            return spare.pop() if spare else make_single(env, options)

        if is_parallel(spare[0]):
            return ParallelVector(env, num_envs, seed, make, masks, whole=not training)
        return GymVector(env, num_envs, seed, make, masks)
    kernel = lookup.build(env, options)
    if masks == "always" and mask_slice(kernel.observation_space) is None:
        raise ConfigError(f"environment '{env}' has no action masks")
    return Batch(kernel, num_envs, seed, follow_outcome=bool(view))
