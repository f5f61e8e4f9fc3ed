"""A policy on its own, for algorithms whose critics value actions."""

from __future__ import annotations

from collections.abc import Sequence

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from torch import nn

from cumulant.nn.backward import run_layers
from cumulant.nn.encoder import checked_mask_size, encode, split_mask
from cumulant.nn.heads import Categorical
from cumulant.nn.network import tower, trunk
from cumulant.nn.normalisation import observation_norm
from cumulant.nn.squashed import SquashedGaussian, SquashedPoint


class Actor(nn.Module):
    """A network from observations to actions: categorical for Discrete ones, squashed for a Box.

    ``encode`` turns raw observations into what the network, and critics beside it, read. Actions that the observation forbids
    get the logit -inf. Axes: B batch, A actions, D encoded observation.

    Args:
        observation_space: Of one environment.
        action_space: Of one environment: Discrete, or a Box with bounds.
        deterministic: Whether a Box gets one action per observation (plus noise) rather than a distribution.
        noise_std: Deviation of that noise, in half-widths of the box.
        net: See ``NetworkConfig``.
        precision: See ``NetworkConfig``.
        hidden: Sizes of the hidden layers.
        activation: "tanh", "relu" or "silu".
        normalize_obs: Whether ``encode`` normalises by running statistics.
        generator: Source of the initial weights; None where they are loaded anyway.

    Raises:
        ConfigError: If a space is not supported (message names it).
    """

    def __init__(
        self,
        observation_space: gymnasium.Space,
        action_space: gymnasium.Space,
        deterministic: bool = False,
        noise_std: float = 0.1,
        net: str = "auto",
        hidden: Sequence[int] = (256, 256),
        activation: str = "relu",
        normalize_obs: bool = False,
        generator: torch.Generator | None = None,
        precision: str = "float32",
    ) -> None:
        super().__init__()
        self.observation_space, self.action_space = observation_space, action_space
        self.spec = {
            "kind": "actor",
            "deterministic": deterministic,
            "noise_std": noise_std,
            "net": net,
            "hidden": list(hidden),
            "activation": activation,
            "normalize_obs": normalize_obs,
            "precision": precision,
        }
        self.head: Categorical | SquashedGaussian | SquashedPoint
        if isinstance(action_space, spaces.Discrete) and not deterministic:
            self.head, outputs = Categorical(action_space), int(action_space.n)
        else:
            self.head = SquashedPoint(action_space, noise_std) if deterministic else SquashedGaussian(action_space)
            outputs = self.head.outputs
        choices = self.head.size if isinstance(self.head, Categorical) else 0
        self.mask_size = checked_mask_size(observation_space, choices, action_space)
        self.norm = observation_norm(observation_space, normalize_obs)
        self.trunk, self.coarse = trunk(observation_space, net, generator, precision), precision == "bfloat16"
        self.layers = tower(net, self.trunk.size, hidden, outputs, activation, 0.01, generator)

    def flat(self, obs: torch.Tensor) -> torch.Tensor:
        """Return raw observations as vectors, not yet normalised, ``[..., D]``."""
        return encode(self.observation_space, obs)

    def normalise(self, flat: torch.Tensor) -> torch.Tensor:
        """Normalise vectors of ``flat``, but for the mask of allowed actions, ``[..., D]``."""
        return flat if self.norm is None else self.norm(flat)

    def observe(self, flat: torch.Tensor) -> None:
        """Add vectors of ``flat``, ``[..., D]``, to the running statistics, if there are any."""
        if self.norm is not None:
            self.norm.update(flat)

    def encode(self, obs: torch.Tensor) -> torch.Tensor:
        """Return observations as policy and critics read them, ``[..., D]``; the mask is in the last columns."""
        return self.normalise(self.flat(obs))

    def forward(self, encoded: torch.Tensor) -> torch.Tensor:
        """Return what the head needs for each observation."""
        seen, mask = split_mask(encoded, self.mask_size)
        outputs = run_layers(self.layers, self.trunk(seen), self.coarse)
        return outputs if mask is None else outputs.masked_fill(mask < 0.5, -torch.inf)

    def sample(self, encoded: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        """Return sampled actions, ``[B]`` or ``[B, A]``; ``noise`` comes from ``head.noise``."""
        return self.head.sample(self(encoded), noise)

    def mode(self, encoded: torch.Tensor) -> torch.Tensor:
        """Return the actions without noise, ``[B]`` or ``[B, A]``."""
        return self.head.mode(self(encoded))

    def allowed(self, encoded: torch.Tensor) -> np.ndarray | None:
        """Return which discrete actions may be taken, bool ``[B, A]``; None where no observation forbids any."""
        mask = split_mask(encoded, self.mask_size)[1]
        return None if mask is None else mask.cpu().numpy() >= 0.5

    def random(self, encoded: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Draw actions that know nothing: even chances of those allowed, ``[B]``, or anywhere in the box, ``[B, A]``."""
        if not isinstance(self.head, Categorical):
            return torch.rand(len(encoded), self.head.size, generator=generator) * 2.0 - 1.0
        allowed = self.allowed(encoded)
        logits = torch.zeros(len(encoded), self.head.size)
        if allowed is not None:
            logits = logits.masked_fill(~torch.from_numpy(allowed), -torch.inf)
        return self.head.sample(logits, self.head.noise((len(encoded),), generator))


class Temperature(nn.Module):
    """The price of a nat of entropy, learned as its logarithm; 0 is possible where it is fixed."""

    def __init__(self, start: float) -> None:
        super().__init__()
        self.log = nn.Parameter(torch.tensor(start).log())

    def forward(self) -> torch.Tensor:
        """Return the price, a scalar that is held fixed."""
        return self.log.detach().exp()
