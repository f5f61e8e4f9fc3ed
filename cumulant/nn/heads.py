"""Action distributions. A head turns what the network says into actions, log-probabilities and entropies.

Sampling takes its noise as an argument: the noise of a whole rollout is drawn in one call from a named generator, and acting
becomes a deterministic function. Axes: B batch, A number of actions or action dimensions.
"""

from __future__ import annotations

import itertools
from typing import Any

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
        self.size = self.num_choices = int(space.n)

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

    def forbid(self, logits: torch.Tensor, allowed: torch.Tensor) -> torch.Tensor:
        """Return the logits with -inf where ``allowed``, ``[B, A]`` bool, is not set."""
        return logits.masked_fill(~allowed, -torch.inf)

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
        self.num_choices = 0
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

    def forbid(self, mean: torch.Tensor, allowed: torch.Tensor) -> torch.Tensor:
        """Return the mean: numbers cannot be forbidden."""
        return mean

    def logp_entropy(self, mean: torch.Tensor, action: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the log-density of each action and the entropy, ``[B]`` each."""
        logp = gaussian_logp(action, mean, self.log_std.expand_as(mean))
        return logp, gaussian_entropy(self.log_std).expand_as(logp)


class Joint(nn.Module):
    """Several independent choices and numbers that make one action.

    For MultiDiscrete, MultiBinary, and Dict and Tuple of these, Discrete and Box. The log-probability and the entropy are the
    sums of the parts'. A mask of allowed actions covers the choices, in their order; numbers are never forbidden.

    Args:
        space: The action space.

    Raises:
        ConfigError: If a part of it is not supported (message names it).
    """

    def __init__(self, space: gymnasium.Space) -> None:
        super().__init__()
        self.parts = _parts(space)
        self.numbers = nn.ModuleList(part for part in self.parts if not part.num_choices)  # what has parameters
        self.whole = isinstance(space, spaces.MultiDiscrete | spaces.MultiBinary)  # indices only: int64 as for Discrete
        self.size = sum(part.size for part in self.parts)
        self.num_choices = sum(part.num_choices for part in self.parts)

    def noise(self, shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
        """Draw the noise of every part, ``[*shape, size]``."""
        return torch.cat([part.noise(shape, generator) for part in self.parts], -1)

    def sample(self, logits: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        """Return sampled actions, ``[B, C]``: one column per choice or number."""
        return self._join([part.sample(x, n) for part, x, n in zip(self.parts, self._cut(logits), self._cut(noise))])

    def mode(self, logits: torch.Tensor) -> torch.Tensor:
        """Return the most probable actions, ``[B, C]``."""
        return self._join([part.mode(x) for part, x in zip(self.parts, self._cut(logits))])

    def to_env(self, action: np.ndarray) -> np.ndarray:
        """Return actions as ``VectorEnv.step`` takes them: indices as they are, numbers in the environment's units."""
        if self.whole:
            return action
        return np.concatenate([part.to_env(x) for part, x in zip(self.parts, self._columns(action))], -1)

    def forbid(self, logits: torch.Tensor, allowed: torch.Tensor) -> torch.Tensor:
        """Return the logits with -inf for choices where ``allowed``, ``[B, num_choices]`` bool, is not set."""
        masks = iter(allowed.split([part.num_choices for part in self.parts if part.num_choices], -1))
        cut = zip(self.parts, self._cut(logits))
        return torch.cat([part.forbid(x, next(masks)) if part.num_choices else x for part, x in cut], -1)

    def logp_entropy(self, logits: torch.Tensor, action: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the log-probability of each action and the entropy, ``[B]`` each."""
        found = []
        for part, x, column in zip(self.parts, self._cut(logits), self._columns(action)):
            found.append(part.logp_entropy(x, column.squeeze(-1).long() if part.num_choices else column))
        logps, entropies = zip(*found)
        return torch.stack(logps).sum(0), torch.stack(entropies).sum(0)

    def _cut(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return x.split([part.size for part in self.parts], -1)

    def _columns(self, action: Any) -> Any:
        """Return the columns of an action that belong to each part."""
        stops = list(itertools.accumulate(1 if part.num_choices else part.size for part in self.parts))
        return [action[..., start:stop] for start, stop in zip([0, *stops], stops)]

    def _join(self, actions: list[torch.Tensor]) -> torch.Tensor:
        if self.whole:
            return torch.stack(actions, -1)
        columns = [x.unsqueeze(-1) if part.num_choices else x for part, x in zip(self.parts, actions)]
        return torch.cat([column.float() for column in columns], -1)


def _parts(space: gymnasium.Space) -> list[Categorical | Gaussian]:
    """Return the heads of an action space's parts, in its order."""
    if isinstance(space, spaces.Discrete):
        return [Categorical(space)]
    if isinstance(space, spaces.Box):
        return [Gaussian(space)]
    if isinstance(space, spaces.MultiDiscrete):
        return [Categorical(spaces.Discrete(int(n))) for n in space.nvec.reshape(-1)]
    if isinstance(space, spaces.MultiBinary):
        return [Categorical(spaces.Discrete(2)) for _ in range(int(torch.Size(space.shape).numel()))]
    if isinstance(space, spaces.Dict | spaces.Tuple):
        inner = space.spaces.values() if isinstance(space, spaces.Dict) else space.spaces
        return [head for each in inner for head in _parts(each)]
    raise ConfigError(
        f"actions of {type(space).__name__} are not supported by this policy: it takes Discrete, MultiDiscrete, MultiBinary, "
        "Box, and Dict and Tuple of them"
    )


def head_for(space: gymnasium.Space) -> Categorical | Gaussian | Joint:
    """Return the head that fits an action space.

    Raises:
        ConfigError: If none does (message names the space).
    """
    if isinstance(space, spaces.Discrete | spaces.Box):
        return _parts(space)[0]
    return Joint(space)
