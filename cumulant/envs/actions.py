"""Actions of any Gymnasium space as arrays: what ``VectorEnv.step`` takes, and what an environment takes.

Discrete and MultiDiscrete count from 0, MultiBinary has a column for each bit, Box one for each dimension. A Dict or Tuple of
them ("hybrid") is one float32 vector: the columns of its parts, in the order of the space.

Axes: C columns; any leading axes (a batch) are kept.
"""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from cumulant.envs.spaces import Part, count, is_nested, laid_out, rebuild


def action_parts(space: gymnasium.Space) -> tuple[Part, ...]:
    """Return the arrays inside an action space, with their columns: one for each Discrete, MultiDiscrete entry or bit.

    Raises:
        ConfigError: If a part is no array (message names it and says what to do).

    >>> space = spaces.Dict(gear=spaces.Discrete(4), wheel=spaces.Box(-1, 1, (2,)))
    >>> [(part.path, part.start, part.stop) for part in action_parts(space)]
    [(('gear',), 0, 1), (('wheel',), 1, 3)]
    """
    return laid_out(space, lambda leaf: count(leaf.shape), "actions")


def action_shape(space: gymnasium.Space) -> tuple[tuple[int, ...], type[np.integer] | type[np.floating]]:
    """Return the shape and dtype of one action as ``VectorEnv.step`` takes it.

    ``()`` int64 for Discrete, ``(K,)`` int64 for MultiDiscrete and MultiBinary, ``(A,)`` float32 for Box, ``(C,)`` float32 for
    Dict and Tuple.

    Raises:
        ConfigError: If a part is no array (message names it and says what to do).

    >>> action_shape(spaces.MultiDiscrete([3, 2])), action_shape(spaces.Box(-1, 1, (2, 2)))
    (((2,), <class 'numpy.int64'>), ((4,), <class 'numpy.float32'>))
    """
    made = action_parts(space)
    if isinstance(space, spaces.Discrete):
        return (), np.int64
    columns = made[-1].stop if made else 0
    return (columns,), np.float32 if is_nested(space) or isinstance(space, spaces.Box) else np.int64


def to_native(space: gymnasium.Space, action: np.ndarray) -> Any:
    """Return actions as an environment takes them.

    Args:
        space: Action space of one environment.
        action: As ``VectorEnv.step`` takes it, ``[..., C]`` (``[...]`` for Discrete).

    Returns:
        What the space contains: an int for one Discrete, arrays in the shape and dtype of the space (with the offset by
        ``start``, and whole numbers for a Box of them), dicts and tuples of these. New arrays, which may be changed.

    >>> space = spaces.Dict(gear=spaces.Discrete(4, start=1), wheel=spaces.Box(-1, 1, (2,)))
    >>> to_native(space, np.array([2.0, 0.5, -0.5], np.float32))
    {'gear': 3, 'wheel': array([ 0.5, -0.5], dtype=float32)}
    """
    action = np.asarray(action)
    if isinstance(space, spaces.Discrete):
        return _native_part(space, action, action.shape)
    leading = action.shape[: action.ndim - 1]
    if not is_nested(space):
        return _native_part(space, action, leading)
    return rebuild(space, iter([_native_part(part.space, part.of(action), leading) for part in action_parts(space)]))


def from_native(space: gymnasium.Space, action: Any) -> np.ndarray:
    """Undo ``to_native``: what an environment takes, as ``VectorEnv.step`` takes it.

    >>> space = spaces.Dict(gear=spaces.Discrete(4, start=1), wheel=spaces.Box(-1, 1, (2,)))
    >>> from_native(space, {"gear": 3, "wheel": [0.5, -0.5]})
    array([ 2. ,  0.5, -0.5], dtype=float32)
    """
    _, dtype = action_shape(space)
    columns = []
    for part in action_parts(space):
        leaf = action
        for key in part.path:
            leaf = leaf[key]
        array, shape = np.asarray(leaf), part.space.shape or ()
        leading = array.shape[: array.ndim - len(shape)]
        array = array - getattr(part.space, "start", 0)
        columns.append(array.reshape(*leading, part.stop - part.start).astype(dtype))
    if isinstance(space, spaces.Discrete):
        return columns[0][..., 0]
    return np.concatenate(columns, -1)


def _native_part(space: gymnasium.Space, columns: np.ndarray, leading: tuple[int, ...]) -> Any:
    shape = (*leading, *(space.shape or ()))
    if isinstance(space, spaces.Discrete):
        index = np.rint(columns).astype(np.int64).reshape(shape) + int(space.start)
        return index if leading else int(index)
    if not np.issubdtype(space.dtype, np.floating):
        columns = np.rint(columns)
    if isinstance(space, spaces.Box) and np.issubdtype(space.dtype, np.integer):
        columns = np.clip(columns, space.low.reshape(-1), space.high.reshape(-1))
    array = columns.astype(space.dtype).reshape(shape)
    return array + space.start.astype(space.dtype) if isinstance(space, spaces.MultiDiscrete) else array
