"""Observations of a Gymnasium space as float tensors that a perceptron can read."""

from __future__ import annotations

import gymnasium
import torch
from gymnasium import spaces
from torch.nn.functional import one_hot

from cumulant.errors import ConfigError


def encoded_size(space: gymnasium.Space) -> int:
    """Return the length of an encoded observation.

    Raises:
        ConfigError: If the space cannot be encoded (message names it).
    """
    if isinstance(space, spaces.Discrete):
        return int(space.n)
    if isinstance(space, spaces.Box):
        return int(torch.Size(space.shape).numel())
    if isinstance(space, spaces.MultiBinary):
        return int(torch.Size(space.shape).numel())
    raise ConfigError(
        f"observations of {type(space).__name__} are not supported by this network: it reads Box, Discrete and MultiBinary; "
        "wrap the environment in gymnasium.wrappers.FlattenObservation"
    )


def encode(space: gymnasium.Space, obs: torch.Tensor) -> torch.Tensor:
    """Encode a batch of observations: one-hot for Discrete, flattened floats otherwise.

    Args:
        space: Space of one observation.
        obs: Raw observations, ``[..., *space.shape]``.

    Returns:
        ``[..., encoded_size(space)]`` float32.
    """
    if isinstance(space, spaces.Discrete):
        return one_hot(obs.long() - int(space.start), int(space.n)).float()
    shape = space.shape or ()
    return obs.float().reshape(*obs.shape[: obs.ndim - len(shape)], -1)
