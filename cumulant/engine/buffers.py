"""The arrays that a vector environment over foreign compiled code shows, and its episode numbers.

``engine.mujoco`` and ``engine.atari`` stand on it. Axes: B parallel environments.
"""

from __future__ import annotations

import gymnasium
import numpy as np

from cumulant.engine.gym_vector import episode_seed
from cumulant.envs.batched import EpisodeLog
from cumulant.errors import ConfigError


class Buffers:
    """What ``VectorEnv`` promises to have, before the first step.

    Args:
        name: Of the environment, for messages.
        num_envs: B.
        seed: Run seed.
        observation_space: Of one environment.
        action_space: Of one environment.
        max_steps: Time limit of an episode in steps; 0 for none.

    Raises:
        ConfigError: If there are no environments.
    """

    def __init__(
        self,
        name: str,
        num_envs: int,
        seed: int,
        observation_space: gymnasium.spaces.Box,
        action_space: gymnasium.Space,
        max_steps: int,
    ) -> None:
        if num_envs < 1:
            raise ConfigError(f"num_envs = {num_envs}: there must be at least one environment")
        self.name, self.num_envs, self.seed, self.max_steps = name, num_envs, int(seed), max_steps
        self.observation_space: gymnasium.Space = observation_space
        self.action_space: gymnasium.Space = action_space
        self.obs = np.zeros((num_envs, *observation_space.shape), observation_space.dtype)
        self.next_obs = np.zeros_like(self.obs)
        self.reward = np.zeros(num_envs, np.float32)
        self.cost = np.zeros(num_envs, np.float32)
        self.has_costs = False
        self.outcome: np.ndarray | None = None
        self.faults, self.faulted = 0, np.zeros(num_envs, bool)  # compiled code has none
        self.terminated = np.zeros(num_envs, bool)
        self.truncated = np.zeros(num_envs, bool)
        self.ended = np.zeros(num_envs, bool)
        self.alive = np.ones(num_envs, bool)
        self.episode = np.zeros(num_envs, np.int64)
        self.clock = np.zeros(num_envs, np.int64)
        self.episodes = EpisodeLog(num_envs)
        self.outcome_names: tuple[str, ...] = ()
        self.term_names: tuple[str, ...] = ()

    def seed_of(self, i: int) -> int:
        """Return the seed of the open episode of environment ``i``."""
        return episode_seed(self.seed, i, int(self.episode[i]))

    def where(self, i: int) -> str:
        """Return environment, episode and step in words, for messages."""
        return (
            f"environment '{self.name}' (number {i}, episode {self.episode[i]}, step {self.clock[i]}, "
            f"seed {self.seed_of(i)})"
        )
