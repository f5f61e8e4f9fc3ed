"""Experience as frozen dataclasses with a shape on every field. Axes: T time, B parallel environments, D encoded observation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Rollout:
    """What happened in B environments over T steps, with the estimates that were true while it happened.

    Args:
        flat: Encoded observation before the step, not normalised, ``[T, B, D]``: what running statistics are fed with.
        obs: The same as the networks read it, ``[T, B, D]``.
        action: Action taken, ``[T, B]`` int64 or ``[T, B, A]`` float32.
        logp: Its log-probability under the policy that acted, ``[T, B]``.
        value: Value of ``obs``, ``[T, B]``.
        next_value: Value of what followed the action, ``[T, B]``: of the final observation where an episode was truncated,
            never of the first one of the next episode.
        reward: Reward of the step, ``[T, B]``.
        cost: Cost of the step, ``[T, B]``; 0 where the environment has none.
        terminated: Whether the episode reached an end of its own, ``[T, B]`` bool.
        ended: Whether it stopped at all: terminated or truncated, ``[T, B]`` bool.
        state: What a memory held before the first step, ``[B, S]``; None without one.
        cost_value: As ``value``, of costs, ``[T, B]``; None without a critic of costs.
        next_cost_value: As ``next_value``, of costs.
    """

    flat: torch.Tensor
    obs: torch.Tensor
    action: torch.Tensor
    logp: torch.Tensor
    value: torch.Tensor
    next_value: torch.Tensor
    reward: torch.Tensor
    cost: torch.Tensor
    terminated: torch.Tensor
    ended: torch.Tensor
    state: torch.Tensor | None = None
    cost_value: torch.Tensor | None = None
    next_cost_value: torch.Tensor | None = None


def minibatches(
    samples: Sequence[torch.Tensor], num_minibatches: int, generator: torch.Generator
) -> Iterator[tuple[torch.Tensor, ...]]:
    """Yield the parts of one epoch: all samples in random order, cut into equal parts.

    Args:
        samples: Tensors that belong together, ``[N, ...]`` each.
        num_minibatches: Into how many parts; their sizes differ by one at most.
        generator: Source of the order.

    >>> obs, action = torch.arange(6), torch.arange(6) * 10
    >>> [len(obs) for obs, action in minibatches([obs, action], 4, torch.Generator())]
    [2, 2, 1, 1]
    """
    order = torch.randperm(len(samples[0]), generator=generator).to(samples[0].device)
    # All at once: many times faster than picking each part by itself.
    yield from zip(*(x.index_select(0, order).tensor_split(num_minibatches) for x in samples))
