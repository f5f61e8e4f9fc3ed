"""A table of action values, as a module so that it is saved, loaded and acted upon like any other policy."""

from __future__ import annotations

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from torch import nn

from cumulant.errors import ConfigError
from cumulant.maths.exploration import epsilon_greedy
from cumulant.nn.heads import Categorical


class QTable(nn.Module):
    """One value for each state and action.

    Args:
        observation_space: Discrete, S states.
        action_space: Discrete, A actions.
        epsilon: Share of random actions when acting stochastically.

    Raises:
        ConfigError: If a space is not Discrete (message names it).
    """

    q: torch.Tensor

    def __init__(
        self, observation_space: gymnasium.Space, action_space: gymnasium.Space, epsilon: float = 0.05
    ) -> None:
        super().__init__()
        for what, space in (("observations", observation_space), ("actions", action_space)):
            if not isinstance(space, spaces.Discrete):
                raise ConfigError(f"a table needs Discrete {what}, and this environment has {space}: use ppo")
        self.observation_space, self.action_space = observation_space, action_space
        self.spec = {"kind": "q_table", "epsilon": epsilon}
        self.epsilon = epsilon
        self.head = Categorical(action_space)  # type: ignore[arg-type]
        # float64: step sizes get small, and the values are compared with exact ones
        self.register_buffer("q", torch.zeros(int(observation_space.n), int(action_space.n), dtype=torch.float64))  # type: ignore[attr-defined]

    @property
    def first_state(self) -> int:
        """Number of the first state of the space; rows of the table count from 0."""
        return int(self.observation_space.start)  # type: ignore[attr-defined]

    def encode(self, obs: torch.Tensor) -> torch.Tensor:
        """Return state indices, int64."""
        return obs.long() - self.first_state

    def mode(self, encoded: torch.Tensor) -> torch.Tensor:
        """Return the greedy actions, ``[B]``."""
        return self.q[encoded].argmax(-1)

    def sample(self, encoded: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        """Return epsilon-greedy actions, ``[B]``."""
        return self.head.sample(epsilon_greedy(self.q[encoded], self.epsilon).log(), noise)


class TableState:
    """A table in training: what compiled code changes and a resumed run needs.

    Args:
        table: The table; ``q`` shares its memory.
        num_envs: B.

    Attributes:
        q: Action values, ``[S, A]`` float64.
        visits: Updates of each, ``[S, A]`` int64.
        action: What every environment does next, ``[B]`` int64.
    """

    def __init__(self, table: QTable, num_envs: int) -> None:
        self.q = table.q.numpy()
        self.visits = np.zeros(self.q.shape, np.int64)
        self.action = np.zeros(num_envs, np.int64)

    def state_dict(self) -> dict[str, np.ndarray]:
        """Copies of the arrays."""
        return {name: getattr(self, name).copy() for name in ("q", "visits", "action")}

    def load_state_dict(self, state: dict[str, np.ndarray]) -> None:
        """Undo ``state_dict``."""
        for name in ("q", "visits", "action"):
            array, saved = getattr(self, name), np.asarray(state[name])
            if saved.shape != array.shape:
                raise ValueError(f"{name} is {saved.shape} in the checkpoint and {array.shape} here")
            array[:] = saved
        if not ((self.action >= 0) & (self.action < self.q.shape[1])).all():
            raise ValueError("an action in the checkpoint does not exist")  # compiled code would read outside its table
