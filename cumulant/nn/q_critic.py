"""Several critics: values of actions, each by a tower of its own."""

from __future__ import annotations

from collections.abc import Sequence

import gymnasium
import torch
from gymnasium import spaces
from torch import nn

from cumulant.nn.backward import run_towers
from cumulant.nn.encoder import mask_size, split_mask
from cumulant.nn.network import tower, trunk


class QCritics(nn.Module):
    """N towers that value actions; they share nothing but what reads images.

    With a Box they read observation and action; with Discrete actions they read the observation and value every action, also
    those that a mask forbids.
    Axes: M batch, A actions, K quantiles.

    Args:
        observation_space: Of one environment.
        action_space: Of one environment.
        num_critics: N.
        num_quantiles: K: quantiles of the return instead of its mean; 0 for the mean.
        net: See ``NetworkConfig``.
        precision: See ``NetworkConfig``.
        hidden: Sizes of the hidden layers.
        activation: "tanh", "relu" or "silu".
        normalize_obs: Belongs to the policy, whose ``encode`` makes the observations; not used.
        generator: Source of the initial weights; None where they are copied anyway.
    """

    def __init__(
        self,
        observation_space: gymnasium.Space,
        action_space: gymnasium.Space,
        num_critics: int = 2,
        num_quantiles: int = 0,
        net: str = "auto",
        hidden: Sequence[int] = (256, 256),
        activation: str = "relu",
        normalize_obs: bool = False,
        generator: torch.Generator | None = None,
        precision: str = "float32",
    ) -> None:
        super().__init__()
        self.discrete, self.num_quantiles = isinstance(action_space, spaces.Discrete), num_quantiles
        self.mask_size = mask_size(observation_space)
        self.trunk, self.coarse = trunk(observation_space, net, generator, precision), precision == "bfloat16"
        size, outputs = self.trunk.size, max(1, num_quantiles)
        if isinstance(action_space, spaces.Discrete):
            outputs *= int(action_space.n)
        else:
            size += int(torch.Size(action_space.shape or ()).numel())
        self.members = nn.ModuleList(
            tower(net, size, hidden, outputs, activation, 1.0, generator) for _ in range(num_critics)
        )

    def forward(
        self, encoded: torch.Tensor, action: torch.Tensor | None = None, members: int | None = None
    ) -> torch.Tensor:
        """Return what each critic says.

        Args:
            encoded: Encoded observations, ``[M, size]``.
            action: Actions in half-widths of the box, ``[M, A]``; None if they are Discrete.
            members: How many critics to ask, the first ones; None for all.

        Returns:
            Values ``[N, M]`` (Box) or ``[N, M, A]`` (Discrete), with quantiles as one more axis ``K`` where there are any.
        """
        seen = self.trunk(split_mask(encoded, self.mask_size)[0])
        x = seen if action is None else torch.cat([seen, action], -1)
        out = run_towers(self.members, x, members or len(self.members), self.coarse)
        if self.num_quantiles:
            return out.unflatten(-1, (-1, self.num_quantiles)) if self.discrete else out
        return out if self.discrete else out.squeeze(-1)
