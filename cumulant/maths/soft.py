"""Maximum-entropy learning: the tanh-squashed Gaussian policy, soft targets, policy and temperature losses.

Soft values count the entropy of the policy as reward: ``temperature`` is the price of a nat. Each formula comes in two forms,
for one sampled action and, ``discrete_``, for the exact mean over A actions, whose axis is the last.

Axes: any batch shape ``[...]``; A actions (choices of a categorical policy, dimensions of a Gaussian one). Losses are minimised
and elementwise: the caller reduces. Where there are several critics, ``q`` is what they agree to: their smallest value.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from cumulant.errors import ConfigError
from cumulant.maths.policy import gaussian_logp
from cumulant.maths.shapes import check_shapes
from cumulant.maths.value import one_step_target

_LOG_2 = math.log(2.0)


def squashed_gaussian_logp(raw: Tensor, mean: Tensor, log_std: Tensor) -> Tensor:
    """Return the log-density of the action ``tanh(raw)`` when ``raw`` is drawn from a diagonal Gaussian.

    It takes ``raw`` because the action alone has forgotten it: beyond 9 the tanh is 1 in float32.

        logp = gaussian_logp(raw, mean, log_std) - sum_a log(1 - tanh(raw_a)^2)
        log(1 - tanh(x)^2) = 2 (log 2 - x - softplus(-2 x))

    Args:
        raw: What was drawn, before the tanh, ``[..., A]``.
        mean: Means of the Gaussian, ``[..., A]``.
        log_std: Logarithms of its standard deviations, ``[..., A]``.

    Returns:
        Log-densities in nats, ``[...]``.

    Raises:
        ConfigError: If the shapes differ or there is no action axis.

    Source:
        Haarnoja et al. 2018, appendix C, eq. 21. Differs from source: the second line, which is exact, and finite for any
        ``raw``, instead of a small number under the logarithm.

    >>> squashed_gaussian_logp(torch.tensor([[0.0], [20.0]]), torch.tensor([[0.0], [20.0]]), torch.zeros(2, 1))
    tensor([-0.9189, 37.6948])
    """
    log_slope = 2.0 * (_LOG_2 - raw - functional.softplus(-2.0 * raw))
    return gaussian_logp(raw, mean, log_std) - log_slope.sum(-1)


@torch.no_grad()
def sac_target(
    reward: Tensor,
    next_q: Tensor,
    next_logp: Tensor,
    terminated: Tensor,
    gamma: float | Tensor,
    temperature: float | Tensor,
) -> Tensor:
    """Bootstrap with the value of an action of the policy, and with its surprise as a bonus.

        target = reward + gamma * (1 - terminated) * (next_q - temperature * next_logp)

    Args:
        reward: Reward of the step, ``[...]``.
        next_q: Smallest critic's value of an action that the policy would take next, ``[...]``.
        next_logp: Log-probability of that action, ``[...]``.
        terminated: Whether nothing follows, ``[...]`` bool. Truncated steps bootstrap.
        gamma: Discount in [0, 1]; ``[...]`` where each step has its own, as gamma^n after n-step rewards.
        temperature: Price of a nat, at least 0; a number or a scalar tensor.

    Returns:
        Targets, ``[...]``, without gradient.

    Raises:
        ConfigError: If gamma is outside [0, 1], or shapes or types differ.

    Source:
        Haarnoja et al. 2018, eq. 3 and 6. After n-step rewards the entropies in between are not counted.

    >>> q, logp, over = torch.tensor([2.0]), torch.tensor([-1.0]), torch.tensor([False])
    >>> sac_target(torch.tensor([1.0]), q, logp, over, gamma=0.5, temperature=0.2)
    tensor([2.1000])
    """
    check_shapes(next_q=next_q, next_logp=next_logp)
    return one_step_target(reward, next_q - temperature * next_logp, terminated, gamma)


@torch.no_grad()
def discrete_sac_target(
    reward: Tensor,
    next_q: Tensor,
    next_logp: Tensor,
    terminated: Tensor,
    gamma: float | Tensor,
    temperature: float | Tensor,
) -> Tensor:
    """Bootstrap with the soft value, exactly: the mean over the policy's next actions.

        target = reward + gamma * (1 - terminated) * sum_a p_a (next_q_a - temperature * log p_a),   p = exp(next_logp)

    Args:
        reward: Reward of the step, ``[...]``.
        next_q: Smallest critic's value of each next action, ``[..., A]``.
        next_logp: Log-probability of each, ``[..., A]``; ``-inf`` for one that cannot be taken.
        terminated: Whether nothing follows, ``[...]`` bool.
        gamma: Discount in [0, 1]; ``[...]`` where each step has its own.
        temperature: Price of a nat, at least 0; a number or a scalar tensor.

    Returns:
        Targets, ``[...]``, without gradient.

    Raises:
        ConfigError: If gamma is outside [0, 1], or shapes or types differ.

    Source:
        Christodoulou 2019, eq. 3 and 10.

    >>> q, logp, over = torch.tensor([[2.0, 4.0]]), torch.tensor([[0.5, 0.5]]).log(), torch.tensor([False])
    >>> discrete_sac_target(torch.tensor([1.0]), q, logp, over, gamma=0.5, temperature=0.0)
    tensor([2.5000])
    """
    return one_step_target(reward, -discrete_sac_policy_loss(next_q, next_logp, temperature), terminated, gamma)


def sac_policy_loss(q: Tensor, logp: Tensor, temperature: float | Tensor) -> Tensor:
    """Make actions of a higher value likelier, and the policy as random as the temperature pays for.

    The action must be a differentiable function of the policy's parameters (the reparameterisation), through which both
    terms have their gradient.

        loss = temperature * logp - q

    Args:
        q: Smallest critic's value of an action of the policy, ``[...]``.
        logp: Log-probability of that action, ``[...]``.
        temperature: Price of a nat, at least 0; held fixed.

    Returns:
        Losses, ``[...]``: minus the soft value of the policy.

    Raises:
        ConfigError: If the shapes differ.

    Source:
        Haarnoja et al. 2018, eq. 9.

    >>> sac_policy_loss(torch.tensor([2.0]), torch.tensor([-1.0]), temperature=0.5)
    tensor([-2.5000])
    """
    check_shapes(q=q, logp=logp)
    return _fixed(temperature) * logp - q


def discrete_sac_policy_loss(q: Tensor, logp: Tensor, temperature: float | Tensor) -> Tensor:
    """Do the same exactly, as the mean over all actions; the values are held fixed.

        loss = sum_a p_a (temperature * log p_a - q_a),   p = exp(logp)

    Args:
        q: Smallest critic's value of each action, ``[..., A]``; held fixed.
        logp: Log-probability of each, ``[..., A]``; ``-inf`` for one that cannot be taken, which counts as nothing.
        temperature: Price of a nat, at least 0; held fixed.

    Returns:
        Losses, ``[...]``: minus the soft value of the policy.

    Raises:
        ConfigError: If the shapes differ or there is no action axis.

    Source:
        Christodoulou 2019, eq. 12.

    >>> discrete_sac_policy_loss(torch.tensor([[2.0, 4.0]]), torch.tensor([[0.5, 0.5]]).log(), temperature=1.0)
    tensor([-3.6931])
    """
    check_shapes(q=q, logp=logp)
    if q.dim() == 0:
        raise ConfigError("q has shape []; the last axis must be the actions")
    # Of an action that cannot be taken neither -inf nor its value may enter: 0 * inf is not 0.
    possible = logp.isfinite()
    finite = logp.masked_fill(~possible, 0.0)
    each = finite.exp() * (_fixed(temperature) * finite - q.detach().masked_fill(~possible, 0.0))
    return each.sum(-1)


def temperature_loss(log_temperature: Tensor, entropy: Tensor, target_entropy: float) -> Tensor:
    """Raise the temperature while the policy is less random than wanted, and lower it while it is more so.

        loss = log_temperature * (entropy - target_entropy)

    Args:
        log_temperature: Logarithm of the temperature, a scalar.
        entropy: Entropy of the policy at each observation, or minus the log-probability of a sampled action, ``[...]``;
            held fixed.
        target_entropy: What its mean should be, in nats.

    Returns:
        Losses, ``[...]``.

    Raises:
        ConfigError: If ``log_temperature`` is not a scalar.

    Source:
        Haarnoja et al. 2018b, eq. 18. Differs from source: the logarithm instead of the temperature itself, as in their code:
        the step is then relative.

    >>> temperature_loss(torch.tensor(-1.0), torch.tensor([3.0, 0.5]), target_entropy=1.0)
    tensor([-2.0000,  0.5000])
    """
    if log_temperature.dim() != 0:
        raise ConfigError(f"log_temperature has shape {list(log_temperature.shape)}; there is one temperature")
    return log_temperature * (entropy.detach() - target_entropy)


def _fixed(number: float | Tensor) -> float | Tensor:
    return number.detach() if isinstance(number, Tensor) else number
