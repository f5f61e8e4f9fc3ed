"""Continuous actions that stay inside their box: the tanh of a Gaussian, or of a point.

Like the other heads they live in half-widths of the box: -1 is its lower bound and 1 its upper one, in every dimension.
Axes: B batch, A action dimensions.
"""

from __future__ import annotations

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from torch import nn

from cumulant.errors import ConfigError
from cumulant.maths.soft import squashed_gaussian_logp

LOG_STD_RANGE = (-20.0, 2.0)


class _Box:
    """A bounded box and its units.

    Raises:
        ConfigError: If the space is not a box, or a dimension has no bounds (message names the space).
    """

    def __init__(self, space: gymnasium.Space) -> None:
        if not isinstance(space, spaces.Box):
            raise ConfigError(
                f"this policy squashes its actions to a Box, and this environment has {space}: use ppo, which takes any"
            )
        self.low, self.high = (bound.reshape(-1).astype(np.float32) for bound in (space.low, space.high))
        with np.errstate(over="ignore", invalid="ignore"):
            self.middle, self.half_width = (self.low + self.high) / 2, (self.high - self.low) / 2
        if not (self.half_width < 5e5).all():  # beyond that, a bound only says that there is none
            raise ConfigError(
                f"actions without bounds cannot be squashed to them, and this environment has {space}: "
                "give its action space bounds, or use ppo, which needs none"
            )

    def to_env(self, action: np.ndarray) -> np.ndarray:
        return np.clip(self.middle + self.half_width * action, self.low, self.high)


class SquashedGaussian(nn.Module):
    """The tanh of a diagonal Gaussian whose mean and spread both depend on the observation.

    Args:
        space: The action space: a Box with bounds.

    Attributes:
        size: A.
        outputs: What a network must give for one observation: means and logarithms of the deviations.

    Raises:
        ConfigError: If the space is another one (message names it).

    Source:
        Haarnoja et al. 2018, appendix C.
    """

    def __init__(self, space: gymnasium.Space) -> None:
        super().__init__()
        self._box = _Box(space)
        self.size = len(self._box.low)
        self.outputs = 2 * self.size

    def noise(self, shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
        """Draw standard normal noise, ``[*shape, A]``."""
        return torch.randn(*shape, self.size, generator=generator, device=generator.device)

    def sample_logp(self, outputs: torch.Tensor, noise: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return sampled actions, ``[B, A]``, and their log-densities, ``[B]``; both differentiable."""
        mean, log_std = outputs.chunk(2, -1)
        log_std = log_std.clamp(*LOG_STD_RANGE)
        raw = mean + log_std.exp() * noise
        return raw.tanh(), squashed_gaussian_logp(raw, mean, log_std)

    def sample(self, outputs: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        """Return sampled actions, ``[B, A]``."""
        mean, log_std = outputs.chunk(2, -1)
        return (mean + log_std.clamp(*LOG_STD_RANGE).exp() * noise).tanh()

    def mode(self, outputs: torch.Tensor) -> torch.Tensor:
        """Return the tanh of the means, ``[B, A]``: the median action."""
        return outputs.chunk(2, -1)[0].tanh()

    def to_env(self, action: np.ndarray) -> np.ndarray:
        """Return actions as ``VectorEnv.step`` takes them: in the environment's units, ``[B, A]``."""
        return self._box.to_env(action)


class SquashedPoint(nn.Module):
    """A deterministic action; acting stochastically adds Gaussian noise to it.

    Args:
        space: The action space: a Box with bounds.
        noise_std: Deviation of that noise, in half-widths of the box.

    Attributes:
        size: A.
        outputs: What a network must give for one observation: A numbers.

    Raises:
        ConfigError: If the space is another one (message names it).

    Source:
        Lillicrap et al. 2016; uncorrelated noise: Fujimoto et al. 2018, section 6.
    """

    def __init__(self, space: gymnasium.Space, noise_std: float = 0.1) -> None:
        super().__init__()
        self._box, self.noise_std = _Box(space), noise_std
        self.size = self.outputs = len(self._box.low)

    def noise(self, shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
        """Draw standard normal noise, ``[*shape, A]``."""
        return torch.randn(*shape, self.size, generator=generator, device=generator.device)

    def sample(self, outputs: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        """Return actions with noise, kept inside the box, ``[B, A]``."""
        return (outputs.tanh() + self.noise_std * noise).clamp(-1.0, 1.0)

    def mode(self, outputs: torch.Tensor) -> torch.Tensor:
        """Return the actions, ``[B, A]``."""
        return outputs.tanh()

    def to_env(self, action: np.ndarray) -> np.ndarray:
        """Return actions as ``VectorEnv.step`` takes them: in the environment's units, ``[B, A]``."""
        return self._box.to_env(action)
