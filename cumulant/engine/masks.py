"""Masks of allowed actions on their way from an environment into its observations.

A mask is part of an observation (``cumulant.envs.spaces.mask_slice``). Some environments show it so by themselves, others give it
as ``info["action_mask"]``. It has one entry for each option of each choice, in the order of the action space; 1 allows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import gymnasium
import numpy as np

from cumulant.engine.faults import Wrong
from cumulant.envs.spaces import choice_sizes, mask_slice
from cumulant.errors import ConfigError

Masks = Literal["never", "offered", "always"]


def shown_masks(
    masks: Masks, seen: gymnasium.Space, acts: gymnasium.Space, first_info: Callable[[], Mapping[str, Any]]
) -> int:
    """Return the length of the masks that infos bring and that are to be shown; 0 for none.

    Args:
        masks: When to show them.
        seen: Observations; those with a mask of their own need no other.
        acts: Actions.
        first_info: Returns the info of a first reset, where that decides.

    Raises:
        ConfigError: If such actions cannot be masked, and must be.
    """
    if masks == "never" or mask_slice(seen) is not None:
        return 0
    size = sum(choice_sizes(acts))
    if masks == "offered":
        if not size:
            return 0
        try:
            if "action_mask" not in first_info():
                return 0
        except Exception:  # it is reset again in a moment, and that says what is wrong
            return 0
    if not size:
        raise ConfigError(f"actions of {type(acts).__name__} cannot be masked: there are no choices in {acts}")
    return size


def read_mask(info: Mapping[str, Any], size: int, over: bool) -> np.ndarray:
    """Return ``info["action_mask"]``, ``[size]``; where an episode is over nothing is chosen, and it may be missing.

    Raises:
        Wrong: If it is missing or has another size.
    """
    given = info.get("action_mask")
    mask = None if given is None else np.hstack(given)
    if mask is not None and mask.shape == (size,):
        return mask
    if over:
        return np.ones(size, np.int8)
    if mask is None:
        raise Wrong("gave no info['action_mask']")
    raise Wrong(f"gave an info['action_mask'] {given}: {size} entries are needed, one for each option of each choice")


class MaskGate:
    """Looks at the masks in observations before a network does: a choice without any option would make it all nan.

    Args:
        seen: Observations, their masks included.
        acts: Actions.
    """

    def __init__(self, seen: gymnasium.Space, acts: gymnasium.Space) -> None:
        self._sizes = choice_sizes(acts)
        found = mask_slice(seen)
        fits = found is not None and found.stop - found.start == sum(self._sizes)
        self._at = found if fits else None  # one that does not fit is refused by every network that would read it

    def mend(self, obs: np.ndarray, over: bool, whom: str = "") -> None:
        """Allow everything again where an episode is over and its last observation forbids everything.

        Nothing is chosen there; but where it was truncated, the value of the best action is still asked for.

        Args:
            obs: One flat observation, ``[D]``; changed in place.
            over: Whether the episode ended with it.
            whom: To whom it is shown, for the message.

        Raises:
            Wrong: If there is a choice to be made and all its options are forbidden.
        """
        if self._at is None:
            return
        start, mask = 0, obs[self._at]
        for k, size in enumerate(self._sizes):
            options = mask[start : start + size]
            start += size
            if (options > 0.5).any():
                continue
            if not over:
                every = "every action" if len(self._sizes) == 1 else f"every option of choice {k}"
                raise Wrong(f"gave {whom}an action mask that forbids {every}: {mask}")
            options[...] = 1.0
