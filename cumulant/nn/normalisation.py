"""Running statistics that are part of a network, so that they are saved and loaded with it."""

from __future__ import annotations

import gymnasium
import torch
from torch import nn

from cumulant.errors import ConfigError
from cumulant.nn.encoder import encoded_size, is_image, mask_size, parts

CLIP = 10.0
_EPS = 1e-8


class RunningNorm(nn.Module):
    """Shift and scale inputs to mean 0 and variance 1 by statistics of all that was seen.

    The statistics change only in ``update``, between rollouts, so that one rollout and its update see the same inputs.

    Args:
        size: Length of what is normalised; columns behind it, such as a mask of allowed actions, pass as they are.

    Source:
        Chan, Golub & LeVeque 1979 (merging means and variances of two samples).
    """

    mean: torch.Tensor
    var: torch.Tensor
    count: torch.Tensor
    scale: torch.Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("var", torch.ones(size))
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))
        self.register_buffer("scale", torch.ones(size), persistent=False)  # what every forward needs

    @torch.no_grad()
    def update(self, x: torch.Tensor) -> None:
        """Add inputs to the statistics.

        Args:
            x: Inputs, ``[..., size]``, or longer.
        """
        x = x.reshape(-1, x.shape[-1])[:, : self.size]
        share = len(x) / (len(x) + int(self.count))  # of the new inputs in all that was seen
        delta = x.mean(0) - self.mean
        self.var.mul_(1.0 - share).add_(x.var(0, correction=0) * share + delta.square() * share * (1.0 - share))
        self.mean.add_(delta * share)
        self.count += len(x)
        self._refresh()

    def _refresh(self) -> None:
        self.scale.copy_((self.var + _EPS).rsqrt())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Normalise inputs, clipped to +-10."""
        if x.shape[-1] == self.size:
            return ((x - self.mean) * self.scale).clamp_(-CLIP, CLIP)
        return torch.cat([self(x[..., : self.size]), x[..., self.size :]], -1)

    def _load_from_state_dict(self, *args: object, **kwargs: object) -> None:
        super()._load_from_state_dict(*args, **kwargs)  # type: ignore[arg-type]
        self._refresh()


def observation_norm(observation_space: gymnasium.Space, normalize_obs: bool) -> RunningNorm | None:
    """Make what normalises encoded observations, but for the mask of allowed actions; None if that is not wanted.

    Raises:
        ConfigError: If it is wanted of images.
    """
    if not normalize_obs:
        return None
    if any(is_image(part.space) for part in parts(observation_space)):
        raise ConfigError("normalize_obs is for vectors; images are scaled by the bounds of their space")
    return RunningNorm(encoded_size(observation_space) - mask_size(observation_space))


class RewardScale(nn.Module):
    """Divide rewards by the running spread of the discounted return, so that one value-loss scale fits all tasks.

    Rewards are scaled, never shifted: shifting would change which policy is best when episodes have different lengths.

    Args:
        num_envs: B.
        gamma: Discount of the return whose spread is measured.

    Source:
        Engstrom et al. 2020, section 3 (item 2). Differs from source: the spread is updated once a rollout, before its use.
    """

    running: torch.Tensor

    def __init__(self, num_envs: int, gamma: float) -> None:
        super().__init__()
        self.gamma = gamma
        self.norm = RunningNorm(1)
        self.register_buffer("running", torch.zeros(num_envs))

    @property
    def unit(self) -> float:
        """The reward that is 1 after scaling, by what was seen so far."""
        return 1.0 / self.norm.scale.item()

    @torch.no_grad()
    def forward(self, reward: torch.Tensor, ended: torch.Tensor) -> torch.Tensor:
        """Add a rollout to the statistics and return its scaled rewards.

        Args:
            reward: ``[T, B]``.
            ended: ``[T, B]`` bool.
        """
        returns = torch.empty_like(reward)
        running = self.running
        for t, row in enumerate(reward):
            running = running * self.gamma + row
            returns[t] = running
            running = running * ~ended[t]
        self.running.copy_(running)
        self.norm.update(returns.unsqueeze(-1))
        return (reward * self.norm.scale).clamp_(-CLIP, CLIP)
