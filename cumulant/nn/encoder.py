"""Observations of a Gymnasium space as one vector each.

Whatever the space, an observation is a vector on its way from the environment to the network, so that rollouts, replay and
running statistics need to know nothing else. Images stay bytes until the network reads them. Where some actions are forbidden
the observation says so: an observation ``Dict(observation=..., action_mask=...)`` has its mask in the last columns of the vector.
"""

from __future__ import annotations

from typing import NamedTuple

import gymnasium
import torch
from gymnasium import spaces
from torch.nn.functional import one_hot

from cumulant.errors import ConfigError

MASK = "action_mask"


class Part(NamedTuple):
    """A piece of an encoded observation."""

    space: gymnasium.Space
    size: int


def is_image(space: gymnasium.Space) -> bool:
    """Return whether a space is one of images, ``[height, width, channels]`` or ``[channels, height, width]``."""
    return isinstance(space, spaces.Box) and len(space.shape) == 3


def has_mask(space: gymnasium.Space) -> bool:
    """Return whether observations say which actions are allowed."""
    return isinstance(space, spaces.Dict) and {MASK, "observation"} <= set(space.spaces)


def mask_size(space: gymnasium.Space) -> int:
    """Return the length of the mask of allowed actions; 0 without one."""
    return encoded_size(space[MASK]) if has_mask(space) else 0  # type: ignore[index]


def parts(space: gymnasium.Space) -> list[Part]:
    """Return the pieces of an encoded observation in their order; the mask of allowed actions comes last.

    Raises:
        ConfigError: If the space cannot be encoded (message names it).
    """
    if isinstance(space, spaces.Discrete):
        return [Part(space, int(space.n))]
    if isinstance(space, spaces.MultiDiscrete):
        return [Part(space, int(space.nvec.sum()))]
    if isinstance(space, spaces.Box | spaces.MultiBinary):
        return [Part(space, int(torch.Size(space.shape).numel()))]
    if isinstance(space, spaces.Tuple):
        return [part for inner in space.spaces for part in parts(inner)]
    if isinstance(space, spaces.Dict):
        names = [name for name in space.spaces if not (name == MASK and has_mask(space))]
        return [part for name in [*names, *([MASK] if has_mask(space) else [])] for part in parts(space[name])]
    raise ConfigError(
        f"observations of {type(space).__name__} are not supported: networks read Box, Discrete, MultiDiscrete, MultiBinary, "
        "and Dict and Tuple of them"
    )


def encoded_size(space: gymnasium.Space) -> int:
    """Return the length of an encoded observation.

    Raises:
        ConfigError: If the space cannot be encoded (message names it).
    """
    return sum(part.size for part in parts(space))


def encode(space: gymnasium.Space, obs: torch.Tensor) -> torch.Tensor:
    """Encode a batch of observations: one-hot for Discrete, flat otherwise; the mask of allowed actions moves to the end.

    Args:
        space: Space of one observation.
        obs: As the vector environment shows them: ``[..., *space.shape]``, or vectors in the layout of
            ``gymnasium.spaces.flatten`` for Dict and Tuple.

    Returns:
        ``[..., encoded_size(space)]`` float32; uint8 for an image of bytes.
    """
    if isinstance(space, spaces.Discrete):
        return one_hot(obs.long() - int(space.start), int(space.n)).float()
    if isinstance(space, spaces.MultiDiscrete):
        start, sizes = space.start.reshape(-1), space.nvec.reshape(-1)
        columns = obs.long().flatten(-len(space.shape)).unbind(-1)
        return torch.cat([one_hot(x - int(a), int(n)) for x, a, n in zip(columns, start, sizes)], -1).float()
    if isinstance(space, spaces.Dict | spaces.Tuple):
        return _mask_last(space, obs)
    shape = space.shape or ()
    flat = obs.reshape(*obs.shape[: obs.ndim - len(shape)], -1)
    return flat if is_image(space) and flat.dtype == torch.uint8 else flat.float()


def _mask_last(space: spaces.Dict | spaces.Tuple, obs: torch.Tensor) -> torch.Tensor:
    """Move the columns of the mask to the end of flat observations."""
    if not has_mask(space):
        return obs
    assert isinstance(space, spaces.Dict)
    before = 0
    for name, inner in space.spaces.items():
        if name == MASK:
            break
        before += encoded_size(inner)
    after = before + mask_size(space)
    return torch.cat([obs[..., :before], obs[..., after:], obs[..., before:after]], -1)


def checked_mask_size(observation_space: gymnasium.Space, choices: int, action_space: gymnasium.Space) -> int:
    """Return the length of the mask of allowed actions; 0 without one.

    Raises:
        ConfigError: If it is not one entry for each choice.
    """
    size = mask_size(observation_space)
    if size not in (0, choices):
        raise ConfigError(f"action_mask has {size} entries, and there are {choices} choices in {action_space}")
    return size


def split_mask(encoded: torch.Tensor, mask_size: int) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Return encoded observations, or features, without the mask of allowed actions, and the mask if there is one."""
    return (encoded[..., :-mask_size], encoded[..., -mask_size:]) if mask_size else (encoded, None)
