"""A network of action values: dueling, noisy and distributional variants in one module."""

from __future__ import annotations

import math
from collections.abc import Sequence

import gymnasium
import torch
from gymnasium import spaces
from torch import nn
from torch.nn import functional

from cumulant.errors import ConfigError
from cumulant.maths.exploration import epsilon_greedy
from cumulant.nn.backward import Pass, run_layers
from cumulant.nn.encoder import checked_mask_size, encode, split_mask
from cumulant.nn.heads import Categorical
from cumulant.nn.mlp import mlp
from cumulant.nn.network import trunk

NOISE_SCALE = 0.5  # initial deviation of a noisy weight, times 1 / sqrt(inputs)


class QNetwork(nn.Module):
    """Values of all actions of an observation.

    Axes: B batch, A actions, K numbers per action (1 for a scalar head).

    Args:
        observation_space: Of one environment.
        action_space: Discrete.
        hidden: Sizes of the hidden layers.
        dueling: Whether the last layer gives a value and advantages, which are put together, rather than values.
        noisy: Whether weights have learned deviations (see ``noise``).
        head: "scalar" for values; "c51" for logits of K fixed returns; "quantile" for K quantiles of the return.
        num_atoms: K of the last two.
        value_range: Smallest and largest return of "c51".
        epsilon: Share of random actions when acting stochastically.
        generator: Source of the initial weights; None where they are loaded anyway.
        net: See ``NetworkConfig``.
        precision: See ``NetworkConfig``.

    Attributes:
        support: The K returns of a "c51" head.

    Raises:
        ConfigError: If a space is not supported (message names it).

    Source:
        Wang et al. 2016 (dueling), Fortunato et al. 2018 (noisy, factorised), Bellemare et al. 2017 (c51), Dabney et al. 2018
        (quantiles). Differs from source: the two streams of a dueling network share all hidden layers; weights start
        orthogonal, the last layer near zero.
    """

    support: torch.Tensor

    def __init__(
        self,
        observation_space: gymnasium.Space,
        action_space: gymnasium.Space,
        hidden: Sequence[int] = (64, 64),
        dueling: bool = False,
        noisy: bool = False,
        head: str = "scalar",
        num_atoms: int = 51,
        value_range: Sequence[float] = (0.0, 100.0),
        epsilon: float = 0.05,
        generator: torch.Generator | None = None,
        net: str = "auto",
        precision: str = "float32",
    ) -> None:
        super().__init__()
        if not isinstance(action_space, spaces.Discrete):
            raise ConfigError(
                f"values of all actions need Discrete actions, and this environment has {action_space}: use ppo, which takes any"
            )
        self.observation_space, self.action_space = observation_space, action_space
        self.spec = {
            "kind": "q_network",
            "net": net,
            "hidden": list(hidden),
            "dueling": dueling,
            "noisy": noisy,
            "head": head,
            "num_atoms": num_atoms,
            "value_range": list(value_range),
            "epsilon": epsilon,
            "precision": precision,
        }
        self.epsilon, self.dueling, self.kind = epsilon, dueling, head
        self.head = Categorical(action_space)
        self.num_atoms = 1 if head == "scalar" else num_atoms
        self.register_buffer("support", torch.linspace(value_range[0], value_range[1], num_atoms), persistent=False)
        outputs = (self.head.size + dueling) * self.num_atoms
        self.mask_size = checked_mask_size(observation_space, self.head.size, action_space)
        generator = generator or torch.Generator()
        self.trunk = trunk(observation_space, net, generator, precision)
        self._trunk_learns = any(True for _ in self.trunk.parameters())
        self.layers = mlp(self.trunk.size, hidden, outputs, "relu", 0.01, generator)
        linear = [layer for layer in self.layers if isinstance(layer, nn.Linear)] if noisy else []
        deviations = [NOISE_SCALE / math.sqrt(layer.in_features) for layer in linear]
        self.sigma_weight = nn.ParameterList(torch.full_like(x.weight, s) for x, s in zip(linear, deviations))
        self.sigma_bias = nn.ParameterList(torch.full_like(x.bias, s) for x, s in zip(linear, deviations))
        self._noise_sizes = [size for layer in linear for size in (layer.in_features, layer.out_features)]

    def noise(self, generator: torch.Generator) -> torch.Tensor | None:
        """Draw what a noisy network adds to its weights in one pass; None for any other network."""
        if not self._noise_sizes:
            return None
        normal = torch.randn(sum(self._noise_sizes), generator=generator, device=generator.device)
        return normal.abs().sqrt_().copysign_(normal).to(self.support.device)

    def encode(self, obs: torch.Tensor) -> torch.Tensor:
        """Return observations as the network reads them, ``[..., size]`` float32."""
        return encode(self.observation_space, obs)

    def forward(self, encoded: torch.Tensor, noise: torch.Tensor | None = None) -> torch.Tensor:
        """Return what the head says of each action: values ``[B, A]``, or logits or quantiles ``[B, A, K]``.

        Args:
            encoded: Encoded observations, ``[B, size]``.
            noise: Of ``noise``; None for the mean weights.
        """
        seen = self.trunk(split_mask(encoded, self.mask_size)[0])
        return self.read(run_layers(self.layers, seen) if noise is None else self._noisy(seen, noise))

    def by_hand(self, encoded: torch.Tensor) -> Pass | None:
        """Run the layers outside autograd: ``read`` what comes out; None if they are noisy, not plain, or not all there is."""
        if self._noise_sizes or self._trunk_learns:
            return None
        seen = self.trunk(split_mask(encoded, self.mask_size)[0])
        return Pass(self.layers, seen) if Pass.fits(self.layers, seen) else None

    def read(self, out: torch.Tensor) -> torch.Tensor:
        """Return what ``forward`` does, given the numbers that the last layer put out."""
        if self.dueling:
            out = out.unflatten(-1, (-1, self.num_atoms))
            value, advantage = out[..., :1, :], out[..., 1:, :]
            out = value + advantage - advantage.mean(-2, keepdim=True)
            return out.squeeze(-1) if self.kind == "scalar" else out
        return out if self.kind == "scalar" else out.unflatten(-1, (-1, self.num_atoms))

    def _noisy(self, x: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        """Run the layers with factorised noise on every weight and bias."""
        parts, k = noise.split(self._noise_sizes), 0
        for layer in self.layers:
            if isinstance(layer, nn.Linear):
                into, out = parts[2 * k], parts[2 * k + 1]
                weight = torch.addcmul(layer.weight, self.sigma_weight[k], torch.outer(out, into))
                x = functional.linear(x, weight, torch.addcmul(layer.bias, self.sigma_bias[k], out))
                k += 1
            else:
                x = layer(x)
        return x

    def q_of(self, out: torch.Tensor, encoded: torch.Tensor) -> torch.Tensor:
        """Return the values, ``[B, A]``, that outputs of ``forward`` stand for; -inf for actions that are forbidden."""
        if self.kind != "scalar":
            out = out.softmax(-1) @ self.support if self.kind == "c51" else out.mean(-1)
        if not self.mask_size:
            return out
        return out.masked_fill(encoded[..., -self.mask_size :] < 0.5, -torch.inf)

    def q(self, encoded: torch.Tensor, noise: torch.Tensor | None = None) -> torch.Tensor:
        """Return the value of each action, ``[B, A]``."""
        return self.q_of(self(encoded, noise), encoded)

    def value(self, encoded: torch.Tensor) -> torch.Tensor:
        """Return the value of the best action, ``[B]``."""
        return self.q(encoded).amax(-1)

    def mode(self, encoded: torch.Tensor) -> torch.Tensor:
        """Return the greedy actions, ``[B]``."""
        return self.q(encoded).argmax(-1)

    def sample(self, encoded: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        """Return epsilon-greedy actions, ``[B]``; ``noise`` comes from ``head.noise``."""
        return self.head.sample(epsilon_greedy(self.q(encoded), self.epsilon).log(), noise)
