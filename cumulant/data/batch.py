"""Experience as frozen dataclasses with a shape on every field. Axes: T time, B parallel environments, D encoded observation."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Rollout:
    """What happened in B environments over T steps, with the estimates that were true while it happened.

    Args:
        features: Encoded observation before the step, not normalised, ``[T, B, D]``: what running statistics are fed with.
        obs: The same as the networks read it, ``[T, B, D]``.
        action: Action taken, ``[T, B]`` int64 or ``[T, B, A]`` float32.
        logp: Its log-probability under the policy that acted, ``[T, B]``.
        value: Value of ``obs``, ``[T, B]``.
        next_value: Value of what followed the action, ``[T, B]``: of the final observation where an episode was truncated,
            never of the first one of the next episode.
        reward: Reward of the step, ``[T, B]``.
        terminated: Whether the episode reached an end of its own, ``[T, B]`` bool.
        ended: Whether it stopped at all: terminated or truncated, ``[T, B]`` bool.
    """

    features: torch.Tensor
    obs: torch.Tensor
    action: torch.Tensor
    logp: torch.Tensor
    value: torch.Tensor
    next_value: torch.Tensor
    reward: torch.Tensor
    terminated: torch.Tensor
    ended: torch.Tensor


def minibatches(
    num_samples: int, num_minibatches: int, generator: torch.Generator, device: torch.device | str = "cpu"
) -> Iterator[torch.Tensor]:
    """Yield the indices of one epoch: a random permutation, cut into equal parts.

    Args:
        num_samples: How many samples there are.
        num_minibatches: Into how many parts.
        generator: Source of the permutation.
        device: Where the indices are wanted.
    """
    order = torch.randperm(num_samples, generator=generator).to(device)
    yield from order.tensor_split(num_minibatches)  # sizes differ by one at most
