"""Refuse tensors that do not fit together, before broadcasting makes a silent mistake of them.

For torch, ``[B]`` minus ``[B, 1]`` is a fine ``[B, B]`` tensor. Here it is always a bug, and one that trains, badly.
"""

from __future__ import annotations

import torch
from torch import Tensor

from cumulant.errors import ConfigError


def check_shapes(**tensors: Tensor) -> None:
    """Refuse tensors that are not all of the same shape.

    Args:
        **tensors: Tensors under the names that the message shall use; the first one sets the shape.

    Raises:
        ConfigError: If two shapes differ (message names both tensors and both shapes).

    >>> check_shapes(reward=torch.zeros(5), value=torch.zeros(5, 1))
    Traceback (most recent call last):
    cumulant.errors.ConfigError: value has shape [5, 1] but reward has [5]; they must be equal, nothing is broadcast
    """
    shape = None
    for name, tensor in tensors.items():
        if shape is None:
            shape, first = tensor.shape, name
        elif tensor.shape != shape:
            raise ConfigError(
                f"{name} has shape {list(tensor.shape)} but {first} has {list(shape)}; "
                "they must be equal, nothing is broadcast"
            )


def check_dtypes(**tensors: Tensor) -> None:
    """Refuse tensors that are not all of the same floating-point type.

    Args:
        **tensors: Tensors under the names that the message shall use; the first one sets the type.

    Raises:
        ConfigError: If one is not floating point, or two differ (message names the tensor and its type).

    >>> check_dtypes(reward=torch.zeros(2), value=torch.zeros(2, dtype=torch.float64))
    Traceback (most recent call last):
    cumulant.errors.ConfigError: value is float64 but reward is float32; convert one of them with .to(dtype)
    """
    dtype = None
    for name, tensor in tensors.items():
        if dtype is None:
            dtype, first = tensor.dtype, name
            if not dtype.is_floating_point:
                raise ConfigError(f"{name} is {_name(dtype)}; it must be floating point, convert it with .to(dtype)")
        elif tensor.dtype != dtype:
            raise ConfigError(
                f"{name} is {_name(tensor.dtype)} but {first} is {_name(dtype)}; convert one of them with .to(dtype)"
            )


def check_flags(**tensors: Tensor) -> None:
    """Refuse flags and masks that are not boolean.

    Args:
        **tensors: Tensors under the names that the message shall use.

    Raises:
        ConfigError: If one is not of type bool (message names it and its type).

    >>> check_flags(terminated=torch.zeros(2))
    Traceback (most recent call last):
    cumulant.errors.ConfigError: terminated is float32; it must be bool, convert it with .bool()
    """
    for name, tensor in tensors.items():
        if tensor.dtype is not torch.bool:
            raise ConfigError(f"{name} is {_name(tensor.dtype)}; it must be bool, convert it with .bool()")


def check_actions(shape_of: Tensor, **tensors: Tensor) -> None:
    """Refuse tensors that are not ``shape_of``'s shape with an action axis behind it.

    Args:
        shape_of: Tensor without the action axis, ``[...]``.
        **tensors: Tensors that must be ``[..., A]``, with the same ``A``.

    Raises:
        ConfigError: If one has another shape (message names it and both shapes).

    >>> check_actions(torch.zeros(4), next_q=torch.zeros(3, 2))
    Traceback (most recent call last):
    cumulant.errors.ConfigError: next_q has shape [3, 2]; it must be [4, A], one entry per action on the last axis
    """
    check_shapes(**tensors)
    for name, tensor in tensors.items():
        if tensor.shape[:-1] != shape_of.shape or tensor.dim() == shape_of.dim():
            wanted = ", ".join([*(str(size) for size in shape_of.shape), "A"])
            raise ConfigError(
                f"{name} has shape {list(tensor.shape)}; it must be [{wanted}], one entry per action on the last axis"
            )


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
