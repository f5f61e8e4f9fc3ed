"""Observations of any Gymnasium space as arrays: the gate between environments and everything that learns.

A space that is one array (Box, Discrete, MultiBinary, MultiDiscrete) is left as it is. A Dict or Tuple becomes one float32
vector in the layout of ``gymnasium.spaces.flatten``: the parts in the order of the space, Discrete and MultiDiscrete as
one-hots. ``cumulant.envs.actions`` does the same for actions.

Axes: D numbers of a flat observation; any leading axes (a batch) are kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from cumulant.errors import ConfigError

Path = tuple[str | int, ...]

ARRAYS = (spaces.Box, spaces.Discrete, spaces.MultiBinary, spaces.MultiDiscrete)
CATEGORIES = (spaces.Discrete, spaces.MultiDiscrete)


@dataclass(frozen=True)
class Part:
    """One array inside a space, and where it lies in the flat vector.

    Args:
        path: Keys and indices that lead to it; empty where the space is the array itself.
        space: Box, Discrete, MultiBinary or MultiDiscrete.
        start: Its first number in the flat vector.
        stop: One past its last.
    """

    path: Path
    space: gymnasium.Space
    start: int
    stop: int

    def of(self, flat: Any) -> Any:
        """Return its numbers from flat vectors (numpy or torch), ``[..., D] -> [..., stop - start]``."""
        return flat[..., self.start : self.stop]


def is_nested(space: gymnasium.Space) -> bool:
    """Return whether a space is a Dict or a Tuple, so that its values are flattened."""
    return isinstance(space, spaces.Dict | spaces.Tuple)


def parts(space: gymnasium.Space) -> tuple[Part, ...]:
    """Return the arrays inside an observation space, in the order of the flat vector.

    Raises:
        ConfigError: If a part is no array (message names it and says what to do).

    >>> space = spaces.Dict(place=spaces.Discrete(4), speed=spaces.Box(-1, 1, (2,)))
    >>> [(part.path, part.start, part.stop) for part in parts(space)]
    [(('place',), 0, 4), (('speed',), 4, 6)]
    """
    return laid_out(space, width, "observations")


def array_space(space: gymnasium.Space) -> gymnasium.Space:
    """Return what observations look like behind the gate: the space itself, or the Box of the flat vectors.

    Raises:
        ConfigError: If a part is no array (message names it and says what to do).

    >>> array_space(spaces.Tuple([spaces.Discrete(3), spaces.MultiBinary(2)]))
    Box(0.0, 1.0, (5,), float32)
    """
    made = parts(space)
    if not is_nested(space):
        return space
    low, high = np.zeros((2, made[-1].stop if made else 0), np.float32)
    high[:] = 1.0
    with np.errstate(over="ignore"):  # a bound beyond float32 is none
        for part in made:
            if isinstance(part.space, spaces.Box):
                low[part.start : part.stop] = part.space.low.reshape(-1)
                high[part.start : part.stop] = part.space.high.reshape(-1)
    return spaces.Box(low, high, dtype=np.float32)


def mask_slice(space: gymnasium.Space) -> slice | None:
    """Return where the action mask lies in the flat observation; None where a space has none.

    An observation is masked if it is a Dict with the keys "observation" and "action_mask"; the mask has one entry for each logit,
    and 1 allows.

    Raises:
        ConfigError: If the mask is neither a MultiBinary nor a Box.

    >>> mask_slice(spaces.Dict({"action_mask": spaces.MultiBinary(3), "observation": spaces.Discrete(4)}))
    slice(0, 3, None)
    """
    if not isinstance(space, spaces.Dict) or not {"observation", "action_mask"} <= set(space.spaces):
        return None
    mask = next(part for part in laid_out(space, width, "observations") if part.path[0] == "action_mask")
    if mask.path != ("action_mask",) or not isinstance(mask.space, spaces.MultiBinary | spaces.Box):
        raise ConfigError(
            f"the action mask is {space['action_mask']}: it must be a MultiBinary or a Box with one 0 or 1 for each logit"
        )
    return slice(mask.start, mask.stop)


def masked(space: gymnasium.Space, num_logits: int) -> spaces.Dict:
    """Return the space of observations that bring their action mask with them."""
    return spaces.Dict({"action_mask": spaces.MultiBinary(num_logits), "observation": space})


def choice_sizes(space: gymnasium.Space) -> tuple[int, ...]:
    """Return how many options each choice of an action space has, in the order of a mask's entries; numbers are no choices.

    Raises:
        ConfigError: If a part is no array (message names it and says what to do).

    >>> choice_sizes(spaces.Tuple([spaces.MultiDiscrete([3, 2]), spaces.Box(-1, 1, (2,)), spaces.MultiBinary(1)]))
    (3, 2, 2)
    """
    sizes: list[int] = []
    for _, leaf in _leaves(space, (), "actions"):
        if isinstance(leaf, CATEGORIES):
            sizes += _choices(leaf)[0].tolist()
        elif isinstance(leaf, spaces.MultiBinary):
            sizes += [2] * count(leaf.shape)
    return tuple(sizes)


# -- observations --------------------------------------------------------------------------------------------------------


def flatten(space: gymnasium.Space, value: Any, out: np.ndarray | None = None) -> np.ndarray:
    """Return observations as arrays: a Dict or Tuple flat, ``[..., D]`` float32, anything else as it is.

    Args:
        space: Space of one observation.
        value: One observation, or a structure of arrays with the same leading axes (a batch).
        out: Where to write a flat vector.

    Raises:
        ValueError: If a part has the wrong shape, is missing or is not in its space.

    >>> space = spaces.Dict(place=spaces.Discrete(3, start=1), speed=spaces.Box(-9, 9, (2,)))
    >>> flatten(space, {"place": 2, "speed": [0.5, -1.0]})
    array([ 0. ,  1. ,  0. ,  0.5, -1. ], dtype=float32)
    """
    if not is_nested(space):
        return np.asarray(value)
    return Layout(space).flatten(value, out)


def unflatten(space: gymnasium.Space, array: np.ndarray) -> Any:
    """Undo ``flatten``; any leading axes are kept, and numbers have the dtypes of the space again.

    >>> space = spaces.Tuple([spaces.Discrete(3, start=1), spaces.Box(-9, 9, (1,))])
    >>> unflatten(space, np.array([0.0, 1.0, 0.0, 0.5]))
    (np.int64(2), array([0.5], dtype=float32))
    """
    if not is_nested(space):
        return array
    array = np.asarray(array)
    leading = array.shape[:-1]
    return rebuild(space, iter([_decoded(part.space, part.of(array), leading) for part in parts(space)]))


class Layout:
    """The layout of one nested space, worked out once: ``flatten`` for those who flatten at every step.

    Args:
        space: Dict or Tuple.

    Raises:
        ConfigError: If a part is no array (message names it and says what to do).
    """

    def __init__(self, space: gymnasium.Space) -> None:
        self.parts = parts(space)
        self.size = self.parts[-1].stop if self.parts else 0
        self._plan = [(part, part.space.shape or (), not isinstance(part.space, CATEGORIES)) for part in self.parts]

    def flatten(self, value: Any, out: np.ndarray | None = None) -> np.ndarray:
        """Return observations as flat vectors, ``[..., D]`` float32; see ``flatten``."""
        for part, shape, plain in self._plan:
            try:
                leaf: Any = value
                for key in part.path:
                    leaf = leaf[key]
                array = np.asarray(leaf)
            except (KeyError, IndexError, TypeError) as problem:
                raise ValueError(f"the observation has no part {_named(part.path)}: {problem!r}") from problem
            cut = array.ndim - len(shape)
            if cut < 0 or array.shape[cut:] != shape:
                raise ValueError(f"part {_named(part.path)} of shape {array.shape}: its space has {shape}")
            leading = array.shape[:cut]
            if out is None:
                out = np.zeros((*leading, self.size), np.float32)
            if out.shape[:-1] != leading:
                raise ValueError(
                    f"part {_named(part.path)} has the leading axes {leading}, and others {out.shape[:-1]}"
                )
            target = out[..., part.start : part.stop]
            if plain:
                target[...] = array.reshape(target.shape)
            else:
                _one_hot(part, array, target)
        return np.zeros(0, np.float32) if out is None else out


def _one_hot(part: Part, array: np.ndarray, target: np.ndarray) -> None:
    """Write indices as one-hots; refuse those that do not exist."""
    sizes, start = _choices(part.space)
    if array.ndim == 0:  # one Discrete, at every step of an environment
        index = int(array) - int(start[0])
        if not 0 <= index < sizes[0] or index + int(start[0]) != array:
            raise ValueError(f"part {_named(part.path)} is {array}, which is not in {part.space}")
        target[...] = 0.0
        target[index] = 1.0
        return
    whole = array.astype(np.int64).reshape(*target.shape[:-1], len(sizes))
    index = whole - start
    if ((index < 0) | (index >= sizes)).any() or not np.array_equal(whole.reshape(array.shape), array):
        raise ValueError(f"part {_named(part.path)} is {array}, which is not in {part.space}")
    target[...] = 0.0
    np.put_along_axis(target, index + np.cumsum(sizes) - sizes, 1.0, -1)


def _decoded(space: gymnasium.Space, flat: np.ndarray, leading: tuple[int, ...]) -> Any:
    """Return one part from its numbers."""
    if isinstance(space, CATEGORIES):
        sizes, start = _choices(space)
        ends = np.cumsum(sizes)
        index = [flat[..., end - size : end].argmax(-1) for size, end in zip(sizes, ends)]
        array = np.stack(index, -1) + start if index else np.zeros((*leading, 0), np.int64)
    else:
        array = np.rint(flat) if np.issubdtype(space.dtype, np.integer) else flat
    shape = (*leading, *(space.shape or ()))
    array = array.reshape(shape).astype(space.dtype)
    return array[()] if isinstance(space, spaces.Discrete) else array


# -- the walk over a space -----------------------------------------------------------------------------------------------


def laid_out(space: gymnasium.Space, width: Callable[[gymnasium.Space], int], what: str) -> tuple[Part, ...]:
    """Return the arrays inside a space, each as wide as ``width`` says; ``what`` is for messages."""
    made, start = [], 0
    for path, leaf in _leaves(space, (), what):
        stop = start + width(leaf)
        made.append(Part(path, leaf, start, stop))
        start = stop
    return tuple(made)


def _leaves(space: gymnasium.Space, path: Path, what: str) -> Iterator[tuple[Path, gymnasium.Space]]:
    if isinstance(space, spaces.Dict):
        for key, inner in space.spaces.items():
            yield from _leaves(inner, (*path, key), what)
    elif isinstance(space, spaces.Tuple):
        for index, inner in enumerate(space.spaces):
            yield from _leaves(inner, (*path, index), what)
    elif isinstance(space, ARRAYS):
        yield path, space
    else:
        where = f"part {_named(path)} of the {what} is" if path else f"the {what} are"
        remedy = (
            "leave it out with gymnasium.wrappers.FilterObservation, or turn it into a Box with TransformObservation"
            if what == "observations"
            else "turn it into Discrete or Box with gymnasium.wrappers.TransformAction"
        )
        raise ConfigError(
            f"{where} {type(space).__name__}, which is not supported: Box, Discrete, MultiBinary, MultiDiscrete and Dict or "
            f"Tuple of them are; {remedy}"
        )


def rebuild(space: gymnasium.Space, leaves: Iterator[Any]) -> Any:
    """Put the values of the parts, in order, into the structure of the space."""
    if isinstance(space, spaces.Dict):
        return {key: rebuild(inner, leaves) for key, inner in space.spaces.items()}
    if isinstance(space, spaces.Tuple):
        return tuple(rebuild(inner, leaves) for inner in space.spaces)
    return next(leaves)


def _named(path: Path) -> str:
    return "/".join(map(str, path)) or "itself"


def count(shape: tuple[int, ...] | None) -> int:
    """Return how many numbers an array of this shape holds."""
    return int(np.prod(shape or (), dtype=np.int64))


def _choices(space: gymnasium.Space) -> tuple[np.ndarray, np.ndarray]:
    """Return the sizes and the offsets of the choices of a Discrete or MultiDiscrete, ``[K]`` each."""
    if isinstance(space, spaces.Discrete):
        return np.array([space.n]), np.array([space.start])
    assert isinstance(space, spaces.MultiDiscrete)
    return space.nvec.reshape(-1).astype(np.int64), space.start.reshape(-1).astype(np.int64)


def width(space: gymnasium.Space) -> int:
    """Return how many numbers an array takes in a flat observation: one for each choice, each bit, each number."""
    if isinstance(space, CATEGORIES):
        return int(_choices(space)[0].sum())
    return count(space.shape)


def same_kind(one: gymnasium.Space, other: gymnasium.Space) -> bool:
    """Return whether two spaces have the same structure and sizes, so that a policy for one can read or act in the other.

    Bounds may differ, and so may dtypes.

    >>> same_kind(spaces.Box(-1, 1, (2,)), spaces.Box(0, 9, (2,))), same_kind(spaces.Discrete(3), spaces.Discrete(4))
    (True, False)
    """
    if type(one) is not type(other):
        return False
    if isinstance(one, spaces.Dict) and isinstance(other, spaces.Dict):
        return list(one.spaces) == list(other.spaces) and all(same_kind(one[key], other[key]) for key in one.spaces)
    if isinstance(one, spaces.Tuple) and isinstance(other, spaces.Tuple):
        return len(one.spaces) == len(other.spaces) and all(map(same_kind, one.spaces, other.spaces))
    if isinstance(one, CATEGORIES):
        return np.array_equal(_choices(one)[0], _choices(other)[0]) and one.shape == other.shape
    return one.shape == other.shape


def has_goals(space: gymnasium.Space) -> bool:
    """Return whether observations are those of a goal environment, whose info says ``is_success``."""
    return isinstance(space, spaces.Dict) and {"achieved_goal", "desired_goal"} <= space.spaces.keys()


def whole_bounds(space: gymnasium.Space) -> tuple[Any, Any]:
    """Return the smallest values of a space of choices and one past the largest; None for any other."""
    if isinstance(space, spaces.Discrete):
        return int(space.start), int(space.start + space.n)
    if isinstance(space, spaces.MultiDiscrete):
        return space.start, space.start + space.nvec
    return None, None
