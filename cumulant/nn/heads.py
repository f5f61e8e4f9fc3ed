"""Action distributions. A head turns what the network says into actions, log-probabilities and entropies.

Sampling takes its noise as an argument: the noise of a whole rollout is drawn in one call from a named generator, and acting
becomes a deterministic function. Axes: B batch, A number of actions or action dimensions.
"""

from __future__ import annotations

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from torch import nn

from cumulant.errors import ConfigError
from cumulant.maths.policy import categorical_entropy, gaussian_entropy, gaussian_logp


class Categorical(nn.Module):
    """One of A actions.

    Args:
        space: The action space; actions are ``space.start + index``.
    """

    def __init__(self, space: spaces.Discrete) -> None:
        super().__init__()
        self.size = int(space.n)

    def noise(self, shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
        """Draw Gumbel noise, ``[*shape, A]``: adding it to the logits and taking the largest samples the softmax."""
        uniform = torch.rand(*shape, self.size, generator=generator, device=generator.device)
        return uniform.clamp_(1e-20).log_().neg_().clamp_(1e-20).log_().neg_()

    def sample(self, logits: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        """Return sampled action indices, ``[B]`` int64."""
        return (logits + noise).argmax(-1)

    def mode(self, logits: torch.Tensor) -> torch.Tensor:
        """Return the most probable action indices, ``[B]`` int64."""
        return logits.argmax(-1)

    def to_env(self, action: np.ndarray) -> np.ndarray:
        """Return actions as ``VectorEnv.step`` takes them: the indices themselves."""
        return action

    def logp_entropy(self, logits: torch.Tensor, action: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the log-probability of each action and the entropy, ``[B]`` each."""
        logps = torch.log_softmax(logits, -1)
        return logps.gather(-1, action.unsqueeze(-1)).squeeze(-1), categorical_entropy(logps)


class Gaussian(nn.Module):
    """A diagonal Gaussian whose spread does not depend on the observation.

    It lives in units of the action space: 0 is the middle of a finite box and 1 half its width (an unbounded dimension is
    left as it is), so that a fresh policy tries the whole box whatever its units. Actions are clipped to the box where they
    meet the environment, not before: the likelihood is that of the unclipped action.

    Args:
        space: The action space.
        log_std: Initial log standard deviation.
    """

    def __init__(self, space: spaces.Box, log_std: float = 0.0) -> None:
        super().__init__()
        self.size = int(torch.Size(space.shape).numel())
        self.low, self.high = (bound.reshape(-1).astype(np.float32) for bound in (space.low, space.high))
        with np.errstate(invalid="ignore", over="ignore"):
            finite = self.high - self.low < 1e6  # beyond that, a bound only says that there is none
            self.middle = np.where(finite, (self.low + self.high) / 2, 0.0).astype(np.float32)
            self.half_width = np.where(finite, (self.high - self.low) / 2, 1.0).astype(np.float32)
        self.log_std = nn.Parameter(torch.full((self.size,), log_std))

    def noise(self, shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
        """Draw standard normal noise, ``[*shape, A]``."""
        return torch.randn(*shape, self.size, generator=generator, device=generator.device)

    def sample(self, mean: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        """Return sampled actions, ``[B, A]``."""
        return mean + self.log_std.exp() * noise

    def mode(self, mean: torch.Tensor) -> torch.Tensor:
        """Return the mean action, ``[B, A]``."""
        return mean

    def to_env(self, action: np.ndarray) -> np.ndarray:
        """Return actions as ``VectorEnv.step`` takes them: in the environment's units, within the box, ``[B, A]``."""
        return np.clip(self.middle + self.half_width * action, self.low, self.high)

    def logp_entropy(self, mean: torch.Tensor, action: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the log-density of each action and the entropy, ``[B]`` each."""
        logp = gaussian_logp(action, mean, self.log_std.expand_as(mean))
        return logp, gaussian_entropy(self.log_std).expand_as(logp)


def head_for(space: gymnasium.Space) -> Categorical | Gaussian:
    """Return the head that fits an action space.

    Raises:
        ConfigError: If none does (message names the space).
    """
    if isinstance(space, spaces.Discrete):
        return Categorical(space)
    if isinstance(space, spaces.Box):
        return Gaussian(space)
    raise ConfigError(f"actions of {type(space).__name__} are not supported by this policy: it takes Discrete and Box")
