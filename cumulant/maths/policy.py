"""Losses and measures of policies: policy gradient, clipped surrogate, entropies, Gaussian log-probabilities.

Axes: any batch shape ``[...]``; A actions (choices of a categorical policy, dimensions of a Gaussian one), always last.
Losses are minimised and elementwise: the caller reduces. Advantages and old log-probabilities are held fixed.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from cumulant.errors import ConfigError
from cumulant.maths.ranges import check_positive
from cumulant.maths.shapes import check_shapes

_HALF_LOG_2PI = 0.5 * math.log(2.0 * math.pi)


def policy_gradient_loss(logp: Tensor, advantage: Tensor) -> Tensor:
    """Make actions with a positive advantage likelier.

    Use it on samples of the current policy (REINFORCE, A2C). Only the gradient means something; the value does not.

        loss = -logp * advantage

    Args:
        logp: Log-probability of the action taken, under the current policy, ``[...]``.
        advantage: How much better it was than expected, ``[...]``; held fixed.

    Returns:
        Losses, ``[...]``.

    Raises:
        ConfigError: If the shapes differ.

    Source:
        Williams 1992; Sutton & Barto 2018, eq. 13.8. Differs from the boxed algorithm there: without the
        factor gamma^t.

    >>> policy_gradient_loss(torch.tensor([-2.0]), torch.tensor([3.0]))
    tensor([6.])
    """
    check_shapes(logp=logp, advantage=advantage)
    return -logp * advantage.detach()


def clipped_policy_loss(logp: Tensor, logp_old: Tensor, advantage: Tensor, clip: float) -> Tensor:
    """Improve the policy on samples of an older one, without profit from moving far.

    Use it for PPO and GRPO. The more pessimistic of the two surrogates is taken: the gradient is that of the policy
    gradient at ratio 1, and zero once the ratio has left the interval in the direction that the advantage asks for.

        ratio = exp(logp - logp_old)
        loss  = -min(ratio * advantage, clamp(ratio, 1 - clip, 1 + clip) * advantage)

    Args:
        logp: Log-probability of the action taken, under the current policy, ``[...]``.
        logp_old: The same under the policy that took it, ``[...]``; held fixed.
        advantage: How much better it was than expected, ``[...]``; held fixed.
        clip: Half width of the interval, above 0 and below 1 (0.2 is common).

    Returns:
        Losses, ``[...]``.

    Raises:
        ConfigError: If clip is out of range or the shapes differ.

    Source:
        Schulman et al. 2017, eq. 7, with the sign turned.

    >>> logp = torch.log(torch.tensor([1.5, 1.5, 0.5]))
    >>> clipped_policy_loss(logp, torch.zeros(3), torch.tensor([1.0, -1.0, 1.0]), clip=0.2)
    tensor([-1.2000,  1.5000, -0.5000])
    """
    check_positive("clip", clip, below=1)
    check_shapes(logp=logp, logp_old=logp_old, advantage=advantage)
    advantage = advantage.detach()
    ratio = (logp - logp_old.detach()).exp()
    return -torch.minimum(ratio * advantage, ratio.clamp(1.0 - clip, 1.0 + clip) * advantage)


@torch.no_grad()
def clip_fraction(logp: Tensor, logp_old: Tensor, clip: float) -> Tensor:
    """Mark the samples whose ratio has left the clip interval.

    Use its mean as a measure of how far an update went. It counts both sides, whatever the advantage says.

        marked = |exp(logp - logp_old) - 1| > clip

    Args:
        logp: Log-probability of the action taken, under the current policy, ``[...]``.
        logp_old: The same under the policy that took it, ``[...]``.
        clip: Half width of the interval, above 0 and below 1.

    Returns:
        1 where the ratio is outside, else 0, ``[...]``, of the type of ``logp``, so that its mean is the fraction.

    Raises:
        ConfigError: If clip is out of range or the shapes differ.

    Source:
        The measure that OpenAI Baselines' PPO2 logs under this name.

    >>> clip_fraction(torch.log(torch.tensor([1.5, 1.1, 0.5, 1.0])), torch.zeros(4), clip=0.2).mean()
    tensor(0.5000)
    """
    check_positive("clip", clip, below=1)
    check_shapes(logp=logp, logp_old=logp_old)
    return ((logp - logp_old).expm1().abs() > clip).to(logp.dtype)


def categorical_entropy(logits: Tensor) -> Tensor:
    """Return the entropy of a categorical policy.

    Choices with the logit ``-inf`` (illegal moves) count as 0 and get no gradient.

        entropy = -sum_a p_a * log p_a,    p = softmax(logits)

    Args:
        logits: Logits, or log-probabilities (which are logits too), ``[..., A]``.

    Returns:
        Entropies in nats, ``[...]``, between 0 and log A.

    Raises:
        ConfigError: If there is no action axis.

    Source:
        Shannon 1948; as a bonus in Williams & Peng 1991.

    >>> categorical_entropy(torch.tensor([0.0, 0.0, float("-inf")]))
    tensor(0.6931)
    """
    _check_action_axis("logits", logits)
    logp = logits.log_softmax(-1)
    # Finite, because 0 * -inf would be NaN in the value and in the gradient.
    return -(logp.exp() * logp.clamp(min=torch.finfo(logp.dtype).min)).sum(-1)


def gaussian_logp(action: Tensor, mean: Tensor, log_std: Tensor) -> Tensor:
    """Return the log-density of an action under a diagonal Gaussian policy.

    The last axis holds the dimensions of one action and is summed. The action is taken as drawn: nothing is squashed.

        logp = -sum_a (((action_a - mean_a) / std_a)^2 / 2 + log_std_a + log(2 pi) / 2)

    Args:
        action: Actions, ``[..., A]``.
        mean: Means, ``[..., A]``.
        log_std: Logarithms of the standard deviations, ``[..., A]``; one that all observations share is passed with
            ``log_std.expand_as(mean)``.

    Returns:
        Log-densities in nats, ``[...]``.

    Raises:
        ConfigError: If the shapes differ or there is no action axis.

    Source:
        Sutton & Barto 2018, eq. 13.19, as a logarithm over several dimensions.

    >>> gaussian_logp(torch.tensor([[1.0, 0.0]]), torch.zeros(1, 2), torch.zeros(1, 2))
    tensor([-2.3379])
    """
    _check_action_axis("action", action)
    check_shapes(action=action, mean=mean, log_std=log_std)
    scaled = (action - mean) * (-log_std).exp()
    return -(0.5 * scaled.square() + log_std + _HALF_LOG_2PI).sum(-1)


def gaussian_entropy(log_std: Tensor) -> Tensor:
    """Return the entropy of a diagonal Gaussian policy.

        entropy = sum_a (log_std_a + (1 + log(2 pi)) / 2)

    Args:
        log_std: Logarithms of the standard deviations, ``[..., A]``.

    Returns:
        Differential entropies in nats, ``[...]``; negative for narrow policies.

    Raises:
        ConfigError: If there is no action axis.

    Source:
        Cover & Thomas 2006, theorem 8.4.1, for a diagonal covariance.

    >>> gaussian_entropy(torch.zeros(1, 2))
    tensor([2.8379])
    """
    _check_action_axis("log_std", log_std)
    return (log_std + (0.5 + _HALF_LOG_2PI)).sum(-1)


@torch.no_grad()
def smoothed_action(action: Tensor, noise: Tensor, deviation: float, clip: float) -> Tensor:
    """Blur an action inside its box, so that a target does not believe a critic at a single point.

    Use it for TD3.

        smoothed = clamp(action + clamp(deviation * noise, -clip, clip), -1, 1)

    Args:
        action: Actions in half-widths of the box, ``[..., A]``.
        noise: Standard normal numbers, ``[..., A]``.
        deviation: Of the noise, in half-widths.
        clip: Largest noise, above 0, in half-widths.

    Returns:
        Actions, ``[..., A]``, without gradient.

    Raises:
        ConfigError: If clip is not above 0 or the shapes differ.

    Source:
        Fujimoto et al. 2018, eq. 14 and 15.

    >>> smoothed_action(torch.tensor([0.0, 0.0, 0.9]), torch.tensor([1.0, -5.0, 2.0]), deviation=0.2, clip=0.5)
    tensor([ 0.2000, -0.5000,  1.0000])
    """
    check_positive("clip", clip)
    check_shapes(action=action, noise=noise)
    return (action + (deviation * noise).clamp(-clip, clip)).clamp(-1.0, 1.0)


def _check_action_axis(name: str, tensor: Tensor) -> None:
    if tensor.dim() == 0:
        raise ConfigError(f"{name} has shape []; the last axis must be the actions")
