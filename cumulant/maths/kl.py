"""Divergences between a policy and a reference: exact, estimated, as a loss, and the coefficient that controls them.

Axes: any batch shape ``[...]``; A actions, always last. All are KL(policy || reference), the reverse one, in nats.

An estimate of a value is not a loss. What samples of the policy say about KL:

=========  ======================  ====================  =====================================================
           formula, d = logp -     mean of the values    mean of the gradients, on samples of the current policy
           logp_ref
=========  ======================  ====================  =====================================================
k1         d                       KL                    zero: nothing is learned
k2         d^2 / 2                 about KL, if small    the gradient of KL(policy || reference)
k3         exp(-d) - 1 + d         KL, never negative    the gradient of KL(reference || policy), the other one
=========  ======================  ====================  =====================================================

So report k1 or k3, put k1 into a reward, and minimise ``kl_loss`` (which is k2), or ``off_policy_kl_loss`` on older samples.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from cumulant.errors import ConfigError, did_you_mean
from cumulant.maths.ranges import check_between, check_positive
from cumulant.maths.shapes import check_shapes


def categorical_kl(logits: Tensor, logits_ref: Tensor) -> Tensor:
    """Return the exact divergence between two categorical policies.

    Gradients flow into both; detach the one that is fixed. A choice that the policy never makes (logit ``-inf``) adds
    nothing; one that only the reference never makes gives infinity.

        kl = sum_a p_a * (log p_a - log q_a),    p = softmax(logits), q = softmax(logits_ref)

    Args:
        logits: Logits or log-probabilities of the policy, ``[..., A]``.
        logits_ref: The same of the reference, ``[..., A]``.

    Returns:
        Divergences in nats, ``[...]``.

    Raises:
        ConfigError: If the shapes differ or there is no action axis.

    Source:
        Kullback & Leibler 1951.

    >>> categorical_kl(torch.log(torch.tensor([[0.5, 0.5]])), torch.log(torch.tensor([[0.25, 0.75]])))
    tensor([0.1438])
    """
    _check_pair(logits=logits, logits_ref=logits_ref)
    logp, logp_ref = logits.log_softmax(-1), logits_ref.log_softmax(-1)
    difference = torch.where(logp == float("-inf"), 0.0, logp - logp_ref)
    return (logp.exp() * difference).sum(-1)


def gaussian_kl(mean: Tensor, log_std: Tensor, mean_ref: Tensor, log_std_ref: Tensor) -> Tensor:
    """Return the exact divergence between two diagonal Gaussian policies.

    The last axis holds the dimensions of one action and is summed. Gradients flow into all four arguments.

        kl = sum_a (log_std_ref_a - log_std_a + (std_a^2 + (mean_a - mean_ref_a)^2) / (2 std_ref_a^2) - 1/2)

    Args:
        mean: Means of the policy, ``[..., A]``.
        log_std: Logarithms of its standard deviations, ``[..., A]``.
        mean_ref: Means of the reference, ``[..., A]``.
        log_std_ref: Logarithms of its standard deviations, ``[..., A]``.

    Returns:
        Divergences in nats, ``[...]``.

    Raises:
        ConfigError: If the shapes differ or there is no action axis.

    Source:
        Kullback & Leibler 1951, integrated for two normal densities.

    >>> zero = torch.zeros(1, 1)
    >>> gaussian_kl(torch.ones(1, 1), zero, zero, zero)
    tensor([0.5000])
    """
    _check_pair(mean=mean, log_std=log_std, mean_ref=mean_ref, log_std_ref=log_std_ref)
    wider = log_std - log_std_ref
    shift = (mean - mean_ref) * (-log_std_ref).exp()
    # expm1 keeps the small divergence of nearly equal policies; exp(2x) - 1 would round it away.
    return (0.5 * (torch.expm1(2.0 * wider) + shift.square()) - wider).sum(-1)


def kl_estimate(logp: Tensor, logp_ref: Tensor, kind: Literal["k1", "k2", "k3"] = "k1") -> Tensor:
    """Estimate the divergence from samples of the policy, to report it or to shape a reward.

    Do not minimise it: see the table above for what its gradient would do, and use ``kl_loss``.

    Args:
        logp: Log-probability of the sample under the policy that drew it, ``[...]``.
        logp_ref: The same under the reference, ``[...]``.
        kind: ``k1`` is unbiased and noisy, ``k2`` biased and calmer, ``k3`` unbiased, calm and never negative.

    Returns:
        Estimates in nats, ``[...]``; their mean estimates KL(policy || reference).

    Raises:
        ConfigError: If there is no such kind or the shapes differ.

    Source:
        Schulman 2020, "Approximating KL divergence".

    >>> logp, logp_ref = torch.tensor([-1.0]), torch.tensor([-2.0])
    >>> [round(kl_estimate(logp, logp_ref, kind).item(), 4) for kind in ("k1", "k2", "k3")]
    [1.0, 0.5, 0.3679]
    """
    check_shapes(logp=logp, logp_ref=logp_ref)
    difference = logp - logp_ref
    if kind == "k1":
        return difference
    if kind == "k2":
        return 0.5 * difference.square()
    if kind == "k3":
        return torch.expm1(-difference) + difference
    raise ConfigError(f"kind = '{kind}' is not a KL estimate: {did_you_mean(str(kind), ('k1', 'k2', 'k3'))}")


def kl_loss(logp: Tensor, logp_ref: Tensor) -> Tensor:
    """Pull a policy towards a reference.

    Its mean gradient, over samples of the *current* policy, is the exact gradient of KL(policy || reference):

        loss = (logp - logp_ref)^2 / 2,    gradient = (logp - logp_ref) * grad logp

    The obvious candidates fail. The gradient of k1 is ``grad logp``, whose mean under the policy is zero; that of k3 is
    ``(1 - p_ref / p) * grad logp``, whose mean is the gradient of the forward KL(reference || policy). On samples of an
    older policy, weight the loss by the (fixed) ratio.

    Args:
        logp: Log-probability of the sample under the current policy, ``[...]``.
        logp_ref: The same under the reference, ``[...]``; held fixed.

    Returns:
        Losses, ``[...]``. Report ``kl_estimate`` instead: this value is only near KL when KL is small.

    Raises:
        ConfigError: If the shapes differ.

    Source:
        The estimator k2 of Schulman 2020. Differs from source: there it estimates a value, here its gradient counts.

    >>> logp = torch.tensor([-1.0], requires_grad=True)
    >>> kl_loss(logp, torch.tensor([-3.0])).backward()
    >>> logp.grad
    tensor([2.])
    """
    check_shapes(logp=logp, logp_ref=logp_ref)
    return 0.5 * (logp - logp_ref.detach()).square()


def off_policy_kl_loss(logp: Tensor, logp_old: Tensor, logp_ref: Tensor) -> Tensor:
    """Pull a policy towards a reference on samples of an older policy.

    Use it for GRPO. Over samples of the older policy its mean is the exact KL(policy || reference), and the mean of its
    gradient the exact gradient of that: the weight carries a gradient too, which is what k3 by itself lacks.

        loss = ratio * (exp(-d) - 1 + d),    ratio = exp(logp - logp_old),    d = logp - logp_ref
        gradient = ratio * d * grad logp

    Args:
        logp: Log-probability of the sample under the current policy, ``[...]``.
        logp_old: The same under the policy that drew it, ``[...]``; held fixed.
        logp_ref: The same under the reference, ``[...]``; held fixed.

    Returns:
        Losses in nats, ``[...]``, never negative.

    Raises:
        ConfigError: If the shapes differ.

    Source:
        Shao et al. 2024, "DeepSeekMath", eq. 4. Differs from source: there is no weight, so there the gradient is that of
        KL(reference || policy) even on samples of the current policy.

    >>> logp = torch.tensor([-1.0], requires_grad=True)
    >>> off_policy_kl_loss(logp, torch.tensor([-1.0]), torch.tensor([-3.0])).backward()
    >>> logp.grad
    tensor([2.])
    """
    check_shapes(logp=logp, logp_old=logp_old, logp_ref=logp_ref)
    return (logp - logp_old.detach()).exp() * kl_estimate(logp, logp_ref.detach(), "k3")


def adaptive_coefficient(coefficient: float, kl: float, target: float, step: float = 0.1, limit: float = 0.2) -> float:
    """Move a KL coefficient towards the value at which the divergence meets its target.

    Call it once per update and keep what it returns.

        error       = clamp(kl / target - 1, -limit, limit)
        coefficient = coefficient * (1 + step * error)

    Args:
        coefficient: The coefficient so far, above 0.
        kl: Measured divergence from the reference, nats per sample; estimates may be negative.
        target: Wanted divergence, above 0, in the same unit.
        step: How fast to react, in [0, 1].
        limit: Largest relative error that counts, in [0, 1].

    Returns:
        The next coefficient, above 0.

    Raises:
        ConfigError: If a number is out of range or the divergence is NaN.

    Source:
        Ziegler et al. 2019, "Fine-tuning language models from human preferences" (step 0.1, limit 0.2).

    >>> round(adaptive_coefficient(0.2, kl=12.0, target=6.0), 6)
    0.204
    """
    check_positive("coefficient", coefficient)
    check_positive("target", target)
    check_between("step", step, 0, 1)
    check_between("limit", limit, 0, 1)
    check_between("kl", kl, float("-inf"), float("inf"))
    error = min(max(kl / target - 1.0, -limit), limit)
    return coefficient * (1.0 + step * error)


def _check_pair(**tensors: Tensor) -> None:
    check_shapes(**tensors)
    name, tensor = next(iter(tensors.items()))
    if tensor.dim() == 0:
        raise ConfigError(f"{name} has shape []; the last axis must be the actions")
