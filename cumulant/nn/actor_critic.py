"""A policy and a value function as two separate perceptrons over the same observation."""

from __future__ import annotations

from collections.abc import Sequence

import gymnasium
import torch
from torch import nn

from cumulant.nn.encoder import encode, encoded_size
from cumulant.nn.heads import head_for
from cumulant.nn.mlp import mlp
from cumulant.nn.normalisation import RunningNorm


class ActorCritic(nn.Module):
    """Policy (actor) and value function (critic).

    ``encode`` turns raw observations into what the networks read; every other method takes encoded observations, so that a
    rollout is encoded once. Axes: B batch, A actions.

    Args:
        observation_space: Of one environment.
        action_space: Of one environment.
        hidden: Sizes of the hidden layers of both networks.
        activation: "tanh", "relu" or "silu".
        normalize_obs: Whether ``encode`` normalises by running statistics.
        generator: Source of the initial weights; None where they are loaded anyway.
    """

    def __init__(
        self,
        observation_space: gymnasium.Space,
        action_space: gymnasium.Space,
        hidden: Sequence[int] = (64, 64),
        activation: str = "tanh",
        normalize_obs: bool = False,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.observation_space, self.action_space = observation_space, action_space
        self.spec = {
            "kind": "actor_critic",
            "hidden": list(hidden),
            "activation": activation,
            "normalize_obs": normalize_obs,
        }
        size = encoded_size(observation_space)
        self.head = head_for(action_space)
        self.norm = RunningNorm(size) if normalize_obs else None
        self.actor = mlp(size, hidden, self.head.size, activation, 0.01, generator)
        self.critic = mlp(size, hidden, 1, activation, 1.0, generator)

    def features(self, obs: torch.Tensor) -> torch.Tensor:
        """Return observations as vectors, not yet normalised, ``[..., size]`` float32."""
        return encode(self.observation_space, obs)

    def encode(self, obs: torch.Tensor) -> torch.Tensor:
        """Return observations as the networks read them, ``[..., size]`` float32."""
        features = self.features(obs)
        return features if self.norm is None else self.norm(features)

    def sample(self, encoded: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        """Return sampled actions, ``[B]`` or ``[B, A]``; ``noise`` comes from ``head.noise``."""
        return self.head.sample(self.actor(encoded), noise)

    def mode(self, encoded: torch.Tensor) -> torch.Tensor:
        """Return the most probable actions, ``[B]`` or ``[B, A]``."""
        return self.head.mode(self.actor(encoded))

    def value(self, encoded: torch.Tensor) -> torch.Tensor:
        """Return the value of each observation, ``[...]``."""
        return self.critic(encoded).squeeze(-1)

    def logp_entropy(self, encoded: torch.Tensor, action: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the log-probability of each action and the policy's entropy, ``[B]`` each."""
        return self.head.logp_entropy(self.actor(encoded), action)
