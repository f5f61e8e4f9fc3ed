"""From values to probabilities of actions: epsilon-greedy, Boltzmann, UCB.

Axes: any batch shape ``[...]``; A actions, always last. Nothing is drawn here: the caller samples with its own
generator, and expected SARSA needs the same probabilities. They carry no gradient.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from cumulant.errors import ConfigError
from cumulant.maths.ranges import check_between, check_positive
from cumulant.maths.shapes import check_shapes


@torch.no_grad()
def epsilon_greedy(q: Tensor, epsilon: float) -> Tensor:
    """Take the best action, and any action with probability ``epsilon``.

    Equally good actions share, so that a table of zeros explores evenly instead of always going left.

        p_a = epsilon / A + (1 - epsilon) * [q_a = max q] / (number of best actions)

    A counts the actions that may be taken: the value -inf marks those that may not.

    Args:
        q: Action values, ``[..., A]``; ``-inf`` for an action that must not be taken.
        epsilon: Probability of exploring, in [0, 1]; 0 is greedy.

    Returns:
        Probabilities, ``[..., A]``; they sum to 1.

    Raises:
        ConfigError: If epsilon is outside [0, 1] or there are no actions.

    Source:
        Sutton & Barto 2018, section 2.2. Differs from source: ties are shared.

    >>> epsilon_greedy(torch.tensor([[1.0, 3.0, 3.0, 0.0]]), epsilon=0.2)
    tensor([[0.0500, 0.4500, 0.4500, 0.0500]])
    """
    check_between("epsilon", epsilon, 0, 1)
    _check_action_axis("q", q)
    allowed = (q > -torch.inf).to(q.dtype)
    return _share_best(q).mul_(1.0 - epsilon).add_(allowed.mul_(epsilon / allowed.sum(-1, keepdim=True)))


@torch.no_grad()
def boltzmann(q: Tensor, temperature: float) -> Tensor:
    """Prefer better actions, smoothly.

    Only differences of values matter. Unlike epsilon-greedy it rarely takes an action that it knows to be bad.

        p = softmax(q / temperature)

    Args:
        q: Action values, ``[..., A]``; ``-inf`` for an action that must not be taken.
        temperature: Above 0, in units of the values; near 0 is greedy, large is uniform.

    Returns:
        Probabilities, ``[..., A]``; they sum to 1.

    Raises:
        ConfigError: If the temperature is too small for the type of ``q``, or there are no actions.

    Source:
        Sutton & Barto 2018, eq. 2.11 and section 13.1.

    >>> boltzmann(torch.log(torch.tensor([[1.0, 3.0]])), temperature=1.0)
    tensor([[0.2500, 0.7500]])
    """
    check_positive("temperature", temperature)
    _check_action_axis("q", q)
    smallest = torch.finfo(q.dtype).tiny
    if temperature < smallest:  # it would round to 0
        raise ConfigError(
            f"temperature = {temperature} is out of range: it must be at least {smallest:g} for {q.dtype}; "
            "for greedy actions use epsilon_greedy with epsilon 0"
        )
    # Differences first: q / temperature itself may overflow.
    return ((q - q.amax(-1, keepdim=True)) / temperature).softmax(-1)


@torch.no_grad()
def ucb_scores(value: Tensor, count: Tensor, exploration: float = math.sqrt(2.0)) -> Tensor:
    """Add to each action's mean reward what it might be underestimated by.

    Use it for bandits. The default is for rewards in [0, 1]; for another range multiply it by the range.

        score_a = value_a + exploration * sqrt(log(sum of counts) / count_a),    infinite while count_a is 0

    Args:
        value: Mean reward of each action so far, ``[..., A]``; not used where the count is 0.
        count: How often each action was taken, ``[..., A]``, any numeric type.
        exploration: Weight of the bonus, above 0, in units of the reward.

    Returns:
        Scores, ``[..., A]``; infinite for actions that were never taken.

    Raises:
        ConfigError: If exploration is not above 0, the shapes differ, or there are no actions.

    Source:
        Auer et al. 2002, UCB1.

    >>> ucb_scores(torch.tensor([0.5, 0.6, 0.0]), torch.tensor([4, 4, 0]))
    tensor([1.5197, 1.6197,    inf])
    """
    check_positive("exploration", exploration)
    check_shapes(value=value, count=count)
    _check_action_axis("value", value)
    tried = count.to(value.dtype).clamp(min=1)
    total = count.sum(-1, keepdim=True).to(value.dtype).clamp(min=1)
    return torch.where(count > 0, value + exploration * (total.log() / tried).sqrt(), float("inf"))


def ucb(value: Tensor, count: Tensor, exploration: float = math.sqrt(2.0)) -> Tensor:
    """Take the action with the highest upper confidence bound, untried ones first.

    Args:
        value: Mean reward of each action so far, ``[..., A]``.
        count: How often each action was taken, ``[..., A]``, any numeric type.
        exploration: Weight of the bonus, above 0, in units of the reward.

    Returns:
        Probabilities, ``[..., A]``: 1 for the best score, shared among equals; they sum to 1.

    Raises:
        ConfigError: If exploration is not above 0, the shapes differ, or there are no actions.

    Source:
        Auer et al. 2002, UCB1. Differs from source: ties are shared, also those of untried actions.

    >>> ucb(torch.tensor([0.9, 0.0, 0.0]), torch.tensor([5, 0, 0]))
    tensor([0.0000, 0.5000, 0.5000])
    """
    return _share_best(ucb_scores(value, count, exploration))


def _share_best(score: Tensor) -> Tensor:
    """Return probability 1 for the highest score, shared equally among ties, ``[..., A]``."""
    best = (score == score.amax(-1, keepdim=True)).to(score.dtype)
    return best / best.sum(-1, keepdim=True)


def _check_action_axis(name: str, tensor: Tensor) -> None:
    if tensor.dim() == 0 or tensor.shape[-1] == 0:
        raise ConfigError(f"{name} has shape {list(tensor.shape)}; the last axis must be the actions, at least one")
    if not tensor.is_floating_point():
        raise ConfigError(f"{name} is {tensor.dtype}; it must be floating point, convert it with .float()")
