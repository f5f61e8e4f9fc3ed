"""A policy and a value function over the same observation."""

from __future__ import annotations

from collections.abc import Sequence

import gymnasium
import torch
from torch import nn

from cumulant.nn.encoder import checked_mask_size, encode, split_mask
from cumulant.nn.heads import head_for
from cumulant.nn.memory import Memory
from cumulant.nn.network import tower, trunk
from cumulant.nn.normalisation import observation_norm


class ActorCritic(nn.Module):
    """Policy (actor) and value function (critic).

    Three steps lead from observations to outputs, each taken once for a whole rollout: ``encode`` makes vectors of raw
    observations, ``features`` reads them (convolutions, memory; nothing for vectors), and ``sample``, ``mode``, ``value`` and
    ``logp_entropy`` take features. Actions that the observation forbids get the logit -inf.

    Axes: B batch, T time, A actions, D encoded observation, F features, S state of the memory.

    Args:
        observation_space: Of one environment.
        action_space: Of one environment.
        hidden: Sizes of the hidden layers of both towers.
        activation: "tanh", "relu" or "silu".
        normalize_obs: Whether ``encode`` normalises by running statistics.
        generator: Source of the initial weights; None where they are loaded anyway.
        net: See ``NetworkConfig``.
        precision: See ``NetworkConfig``.
        memory: "none", "gru" or "lstm": what is remembered of the episode so far.
        memory_size: Length of what is remembered.
        costs: Whether there is a second critic, of costs.

    Raises:
        ConfigError: If a space is not supported, or a combination is not (message names it).
    """

    def __init__(
        self,
        observation_space: gymnasium.Space,
        action_space: gymnasium.Space,
        hidden: Sequence[int] = (64, 64),
        activation: str = "tanh",
        normalize_obs: bool = False,
        generator: torch.Generator | None = None,
        net: str = "auto",
        memory: str = "none",
        memory_size: int = 64,
        costs: bool = False,
        precision: str = "float32",
    ) -> None:
        super().__init__()
        self.observation_space, self.action_space = observation_space, action_space
        self.spec = {
            "kind": "actor_critic",
            "hidden": list(hidden),
            "activation": activation,
            "normalize_obs": normalize_obs,
            "net": net,
            "memory": memory,
            "memory_size": memory_size,
            "costs": costs,
            "precision": precision,
        }
        self.head = head_for(action_space)
        self.mask_size = checked_mask_size(observation_space, self.head.num_choices, action_space)
        self.norm = observation_norm(observation_space, normalize_obs)
        self.trunk = trunk(observation_space, net, generator, precision)
        size = self.trunk.size
        self.memory = None if memory == "none" else Memory(memory, size, memory_size, generator)
        if self.memory is not None:
            size = memory_size
        self.reads = self.trunk.reads or self.memory is not None  # otherwise features are the encoded observations
        self.actor = tower(net, size, hidden, self.head.size, activation, 0.01, generator)
        self.critic = tower(net, size, hidden, 1, activation, 1.0, generator)
        self.cost_critic = tower(net, size, hidden, 1, activation, 1.0, generator) if costs else None

    def flat(self, obs: torch.Tensor) -> torch.Tensor:
        """Return raw observations as vectors, not yet normalised, ``[..., D]``: what running statistics are fed with."""
        return encode(self.observation_space, obs)

    def normalise(self, flat: torch.Tensor) -> torch.Tensor:
        """Normalise vectors, but for the mask of allowed actions, ``[..., D]``."""
        return flat if self.norm is None else self.norm(flat)

    def observe(self, flat: torch.Tensor) -> None:
        """Add vectors of ``flat``, ``[..., D]``, to the running statistics, if there are any."""
        if self.norm is not None:
            self.norm.update(flat)

    def encode(self, obs: torch.Tensor) -> torch.Tensor:
        """Return observations as the network reads them, ``[..., D]``; the mask of allowed actions is in the last columns."""
        return self.normalise(self.flat(obs))

    def features(
        self, encoded: torch.Tensor, ended: torch.Tensor | None = None, state: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Read encoded observations.

        Args:
            encoded: ``[..., D]``; with a memory whole sequences, ``[B, T, D]``.
            ended: With a memory: whether the episode ended with each step, ``[B, T]`` bool.
            state: With a memory: what was remembered before the first step, ``[B, S]``.

        Returns:
            ``[..., F]``, and behind them the mask of allowed actions.
        """
        seen, mask = split_mask(encoded, self.mask_size)
        out = self.trunk(seen)
        if self.memory is not None:
            assert ended is not None
            assert state is not None
            out = self.memory(out, state, ended)
        return out if mask is None else torch.cat([out, mask], -1)

    def step(self, encoded: torch.Tensor, state: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Read one observation of each of B episodes: ``features`` where the memory goes on from step to step.

        Args:
            encoded: ``[B, D]``.
            state: What is remembered, ``[B, S]``; None without a memory.

        Returns:
            Features ``[B, F]``, and what is remembered now.
        """
        if self.memory is None:
            return self.features(encoded), None
        assert state is not None
        seen, mask = split_mask(encoded, self.mask_size)
        out, state = self.memory.step(self.trunk(seen), state)
        return (out if mask is None else torch.cat([out, mask], -1)), state

    def logits(self, features: torch.Tensor) -> torch.Tensor:
        """Return what the head makes a distribution of, ``[..., head.size]``; -inf for choices that are forbidden."""
        seen, mask = split_mask(features, self.mask_size)
        logits = self.actor(seen)
        return logits if mask is None else self.head.forbid(logits, mask > 0.5)

    def sample(self, features: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        """Return sampled actions, ``[B]`` or ``[B, A]``; ``noise`` comes from ``head.noise``."""
        return self.head.sample(self.logits(features), noise)

    def mode(self, features: torch.Tensor) -> torch.Tensor:
        """Return the most probable actions, ``[B]`` or ``[B, A]``."""
        return self.head.mode(self.logits(features))

    def value(self, features: torch.Tensor) -> torch.Tensor:
        """Return the value of each observation, ``[...]``."""
        return self.critic(split_mask(features, self.mask_size)[0]).squeeze(-1)

    def cost_value(self, features: torch.Tensor) -> torch.Tensor:
        """Return what is still to be paid from each observation on, ``[...]``."""
        assert self.cost_critic is not None
        return self.cost_critic(split_mask(features, self.mask_size)[0]).squeeze(-1)

    def logp_entropy(self, features: torch.Tensor, action: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the log-probability of each action and the policy's entropy, ``[...]`` each."""
        return self.head.logp_entropy(self.logits(features), action)
