"""Targets and losses for values: Q-learning and its relatives, Huber, squared error, PPO's clipped value loss.

Axes: any batch shape ``[...]``; A actions, always last. Targets carry no gradient, and the losses hold their target
fixed (semi-gradient). Losses are elementwise: the caller reduces.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from cumulant.errors import ConfigError
from cumulant.maths.ranges import check_between, check_positive
from cumulant.maths.shapes import check_actions, check_dtypes, check_flags, check_shapes


@torch.no_grad()
def q_learning_target(reward: Tensor, next_q: Tensor, terminated: Tensor, gamma: float | Tensor) -> Tensor:
    """Bootstrap with the best next action.

    Use it for Q-learning and DQN (pass the target network's values). The same values choose the action and judge it,
    so noise in them makes the target too large; ``double_q_target`` avoids that.

        target = reward + gamma * (1 - terminated) * max_a next_q[a]

    Args:
        reward: Reward of the step, ``[...]``.
        next_q: Action values of the observation that followed (the final one at a truncation), ``[..., A]``.
        terminated: Whether nothing follows, ``[...]`` bool; ``next_q`` is then not used. Truncated steps bootstrap.
        gamma: Discount in [0, 1]; ``[...]`` where each step has its own, as gamma^n after n-step rewards.

    Returns:
        Targets, ``[...]``, without gradient.

    Raises:
        ConfigError: If gamma is outside [0, 1], or shapes or types differ.

    Source:
        Watkins & Dayan 1992; Sutton & Barto 2018, eq. 6.8.

    >>> q = torch.tensor([[2.0, 4.0], [2.0, 4.0]])
    >>> q_learning_target(torch.tensor([1.0, 1.0]), q, torch.tensor([False, True]), gamma=0.5)
    tensor([3., 1.])
    """
    check_actions(reward, next_q=next_q)
    return _one_step(reward, next_q.amax(-1), terminated, gamma)


@torch.no_grad()
def double_q_target(
    reward: Tensor, next_q_online: Tensor, next_q_target: Tensor, terminated: Tensor, gamma: float | Tensor
) -> Tensor:
    """Let one set of values choose the next action and another one judge it.

    Use it for double Q-learning (two tables) and double DQN (online and target network).

        target = reward + gamma * (1 - terminated) * next_q_target[argmax_a next_q_online[a]]

    Args:
        reward: Reward of the step, ``[...]``.
        next_q_online: Values that choose, ``[..., A]``; the first of equally good actions is taken.
        next_q_target: Values that judge, ``[..., A]``.
        terminated: Whether nothing follows, ``[...]`` bool.
        gamma: Discount in [0, 1]; ``[...]`` where each step has its own.

    Returns:
        Targets, ``[...]``, without gradient.

    Raises:
        ConfigError: If gamma is outside [0, 1], or shapes or types differ.

    Source:
        van Hasselt 2010, algorithm 1; for networks van Hasselt et al. 2016, eq. 4.

    >>> online, target = torch.tensor([[2.0, 4.0]]), torch.tensor([[9.0, 3.0]])
    >>> double_q_target(torch.tensor([1.0]), online, target, torch.tensor([False]), gamma=0.5)
    tensor([2.5000])
    """
    check_actions(reward, next_q_online=next_q_online, next_q_target=next_q_target)
    chosen = next_q_online.argmax(-1, keepdim=True)
    return _one_step(reward, next_q_target.gather(-1, chosen).squeeze(-1), terminated, gamma)


@torch.no_grad()
def sarsa_target(reward: Tensor, next_q: Tensor, next_action: Tensor, terminated: Tensor, gamma: float) -> Tensor:
    """Bootstrap with the action that was taken next.

    Use it on-policy. ``next_action`` must be a valid index everywhere, also where nothing follows.

        target = reward + gamma * (1 - terminated) * next_q[next_action]

    Args:
        reward: Reward of the step, ``[...]``.
        next_q: Action values of the observation that followed, ``[..., A]``.
        next_action: Index of the action taken there, ``[...]`` int64.
        terminated: Whether nothing follows, ``[...]`` bool.
        gamma: Discount in [0, 1].

    Returns:
        Targets, ``[...]``, without gradient.

    Raises:
        ConfigError: If gamma is outside [0, 1], or shapes or types differ.

    Source:
        Rummery & Niranjan 1994; Sutton & Barto 2018, eq. 6.7.

    >>> q, taken = torch.tensor([[2.0, 4.0]]), torch.tensor([0])
    >>> sarsa_target(torch.tensor([1.0]), q, taken, torch.tensor([False]), gamma=0.5)
    tensor([2.])
    """
    check_actions(reward, next_q=next_q)
    check_shapes(reward=reward, next_action=next_action)
    if next_action.dtype != torch.int64:
        raise ConfigError(f"next_action is {next_action.dtype}; it must be an index, convert it with .long()")
    return _one_step(reward, next_q.gather(-1, next_action.unsqueeze(-1)).squeeze(-1), terminated, gamma)


@torch.no_grad()
def expected_sarsa_target(
    reward: Tensor, next_q: Tensor, next_probability: Tensor, terminated: Tensor, gamma: float
) -> Tensor:
    """Bootstrap with the mean over the policy's next actions.

    Use it instead of SARSA whenever the probabilities are known (see ``exploration``): same mean, less noise.

        target = reward + gamma * (1 - terminated) * sum_a next_probability[a] * next_q[a]

    Args:
        reward: Reward of the step, ``[...]``.
        next_q: Action values of the observation that followed, ``[..., A]``; not used where the probability is 0.
        next_probability: The policy's probability of each action there, ``[..., A]``.
        terminated: Whether nothing follows, ``[...]`` bool.
        gamma: Discount in [0, 1].

    Returns:
        Targets, ``[...]``, without gradient.

    Raises:
        ConfigError: If gamma is outside [0, 1], or shapes or types differ.

    Source:
        van Seijen et al. 2009; Sutton & Barto 2018, eq. 6.9.

    >>> q, probability = torch.tensor([[2.0, 4.0]]), torch.tensor([[0.25, 0.75]])
    >>> expected_sarsa_target(torch.tensor([1.0]), q, probability, torch.tensor([False]), gamma=0.5)
    tensor([2.7500])
    """
    check_actions(reward, next_q=next_q, next_probability=next_probability)
    check_dtypes(next_q=next_q, next_probability=next_probability)
    # An action that cannot be taken may have the value -inf, and 0 * inf is not 0.
    expected = (next_probability * next_q.masked_fill(next_probability == 0, 0.0)).sum(-1)
    return _one_step(reward, expected, terminated, gamma)


@torch.no_grad()
def one_step_target(reward: Tensor, next_value: Tensor, terminated: Tensor, gamma: float | Tensor) -> Tensor:
    """Bootstrap with a value of what followed.

        target = reward + gamma * (1 - terminated) * next_value

    Args:
        reward: Reward of the step, ``[...]``.
        next_value: Value of the observation that followed (the final one at a truncation), ``[...]``.
        terminated: Whether nothing follows, ``[...]`` bool; ``next_value`` is then not used. Truncated steps bootstrap.
        gamma: Discount in [0, 1]; ``[...]`` where each step has its own, as gamma^n after n-step rewards.

    Returns:
        Targets, ``[...]``, without gradient.

    Raises:
        ConfigError: If gamma is outside [0, 1], or shapes or types differ.

    Source:
        Sutton & Barto 2018, eq. 6.2.

    >>> one_step_target(torch.tensor([1.0, 1.0]), torch.tensor([4.0, 4.0]), torch.tensor([False, True]), gamma=0.5)
    tensor([3., 1.])
    """
    check_shapes(reward=reward, next_value=next_value)
    return _one_step(reward, next_value, terminated, gamma)


def huber_loss(value: Tensor, target: Tensor, delta: float = 1.0) -> Tensor:
    """Square small errors and count large ones linearly.

    Use it where a few targets are far off: the gradient is the error, clipped to ``[-delta, delta]``.

        loss = error^2 / 2                      where |error| <= delta, error = value - target
        loss = delta * (|error| - delta / 2)    elsewhere

    Args:
        value: Predictions, ``[...]``.
        target: What they should be, ``[...]``; held fixed.
        delta: Where the two pieces meet, above 0, in units of the value.

    Returns:
        Losses, ``[...]``.

    Raises:
        ConfigError: If delta is not above 0, or the shapes differ.

    Source:
        Huber 1964; as the clipped error of Mnih et al. 2015.

    >>> huber_loss(torch.tensor([0.5, 3.0]), torch.zeros(2))
    tensor([0.1250, 2.5000])
    """
    check_positive("delta", delta)
    check_shapes(value=value, target=target)
    return functional.huber_loss(value, target.detach(), reduction="none", delta=delta)


def value_loss(value: Tensor, target: Tensor) -> Tensor:
    """Square the error and halve it, so that the gradient is the error.

        loss = (value - target)^2 / 2

    Args:
        value: Predictions, ``[...]``.
        target: What they should be, ``[...]``; held fixed.

    Returns:
        Losses, ``[...]``.

    Raises:
        ConfigError: If the shapes differ.

    Source:
        Sutton & Barto 2018, eq. 9.4 and 9.5.

    >>> value_loss(torch.tensor([1.0, 3.0]), torch.tensor([1.0, 1.0]))
    tensor([0., 2.])
    """
    check_shapes(value=value, target=target)
    return 0.5 * (value - target.detach()).square()


def clipped_value_loss(value: Tensor, value_old: Tensor, target: Tensor, clip: float) -> Tensor:
    """Stop rewarding a value for moving further than ``clip`` from where it was.

    Use it to reproduce PPO implementations that have it; it depends on the scale of the returns, and Andrychowicz et
    al. 2021 saw it do harm. The larger of the two losses is taken, so there is no gradient once a value has moved too
    far towards its target, and the full one if it has moved away from it.

        moved = value_old + clamp(value - value_old, -clip, clip)
        loss  = max((value - target)^2, (moved - target)^2) / 2

    Args:
        value: Predictions, ``[...]``.
        value_old: Predictions when the experience was collected, ``[...]``; held fixed.
        target: What they should be, ``[...]``; held fixed.
        clip: Largest free move, above 0, in units of the value.

    Returns:
        Losses, ``[...]``.

    Raises:
        ConfigError: If clip is not above 0, or the shapes differ.

    Source:
        OpenAI Baselines' PPO2, written out by Engstrom et al. 2020. Differs from Schulman et al. 2017, which has none.

    >>> clipped_value_loss(torch.tensor([1.0]), torch.tensor([0.0]), torch.tensor([2.0]), clip=0.5)
    tensor([1.1250])
    """
    check_positive("clip", clip)
    check_shapes(value=value, value_old=value_old, target=target)
    value_old, target = value_old.detach(), target.detach()
    moved = value_old + (value - value_old).clamp(-clip, clip)
    return 0.5 * torch.maximum((value - target).square(), (moved - target).square())


def _one_step(reward: Tensor, next_value: Tensor, terminated: Tensor, gamma: float | Tensor) -> Tensor:
    """Return ``reward + gamma * (1 - terminated) * next_value``; checks what all targets have in common."""
    check_shapes(reward=reward, terminated=terminated)
    check_dtypes(reward=reward, next_q=next_value)
    check_flags(terminated=terminated)
    next_value = torch.where(terminated, 0.0, next_value)
    if isinstance(gamma, Tensor):  # looking at each would cost more than the rest
        check_shapes(reward=reward, gamma=gamma)
        return torch.addcmul(reward, gamma, next_value)
    check_between("gamma", gamma, 0, 1)
    return torch.add(reward, next_value, alpha=gamma)
