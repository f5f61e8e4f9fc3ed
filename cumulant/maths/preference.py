"""Learn from comparisons: Bradley-Terry for scores, and the DPO family for policies that are their own score.

Axes: any batch shape ``[...]``, one entry per pair. Losses are minimised and elementwise: the caller reduces.

Every pair has a ``share``: the fraction of the raters who preferred the chosen response. 1 is a pair without dissent, 0.5 a
tie (half a win for each side), 0.7 seven raters in ten; below 0.5 the pair is the wrong way round, which is allowed.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from cumulant.errors import ConfigError, did_you_mean
from cumulant.maths.ranges import check_between, check_positive
from cumulant.maths.shapes import check_shapes


def bradley_terry_loss(difference: Tensor, share: Tensor | float = 1.0, margin: Tensor | float = 0.0) -> Tensor:
    """Make scores explain which of two responses people preferred.

    Use it to train a reward model. It is the cross-entropy between the raters' share and the model's probability that the
    chosen response wins; without a margin it is smallest where that probability equals the share, so ties pull the two
    scores together and raters who disagree keep them near.

        p    = sigmoid(difference - margin),    difference = score(chosen) - score(rejected)
        loss = -share * log p - (1 - share) * log(1 - p)
        d loss / d difference = p - share

    Args:
        difference: Score of the chosen response minus that of the rejected one, ``[...]``.
        share: Fraction of raters for the chosen response, in [0, 1]: a number, or ``[...]``.
        margin: How much better the chosen response must be, in units of the score: a number, or ``[...]``.

    Returns:
        Losses in nats, ``[...]``; log 2 at equal scores without a margin.

    Raises:
        ConfigError: If a number is out of range or the shapes differ.

    Source:
        Bradley & Terry 1952; as a loss in Christiano et al. 2017, section 2.2.3 (with a tie as half a win for each); the
        margin is that of Touvron et al. 2023 (Llama 2), eq. 2. Differs from them: the margin moves a share as well.

    >>> bradley_terry_loss(torch.tensor([0.0, 2.0, -2.0]))
    tensor([0.6931, 0.1269, 2.1269])
    """
    _check_numbers(difference, share=share, margin=margin)
    return _cross_entropy(difference - margin, share)


def implicit_reward(logp: Tensor, logp_ref: Tensor, beta: float) -> Tensor:
    """Return the reward for which a policy would be optimal, given its reference and the price of leaving it.

    It is known up to a constant per prompt, so only differences between responses to the same prompt mean something.

        reward = beta * (logp - logp_ref)

    Args:
        logp: Log-probability of the response under the policy, summed over its tokens, ``[...]``.
        logp_ref: The same under the reference, ``[...]``.
        beta: Price of a nat of divergence from the reference, above 0.

    Returns:
        Rewards, ``[...]``.

    Raises:
        ConfigError: If beta is not above 0 or the shapes differ.

    Source:
        Rafailov et al. 2023, eq. 5 without the partition function.

    >>> implicit_reward(torch.tensor([-10.0]), torch.tensor([-12.0]), beta=0.1)
    tensor([0.2000])
    """
    check_positive("beta", beta)
    check_shapes(logp=logp, logp_ref=logp_ref)
    return beta * (logp - logp_ref)


def dpo_loss(
    log_ratio_chosen: Tensor,
    log_ratio_rejected: Tensor,
    beta: float,
    *,
    share: Tensor | float = 1.0,
    label_smoothing: float = 0.0,
    smoothing: Literal["conservative", "robust"] = "conservative",
) -> Tensor:
    """Fit a policy to comparisons without a reward model: Bradley-Terry on its implicit rewards.

    A log-ratio is ``logp - logp_ref`` of a response, *summed* over its tokens; the reference is held fixed by the caller.
    Label smoothing says how often the labels are wrong. Conservative: take them as a little less sure than they are, and
    stop at a finite gap. Robust: weigh the loss so that its mean over wrongly labelled pairs is that of clean ones; it
    has no lower bound for a single pair.

        difference = beta * (log_ratio_chosen - log_ratio_rejected)
        s          = share * (1 - eps) + (1 - share) * eps        conservative
                     (share - eps) / (1 - 2 eps)                  robust
        loss       = -s * log sigmoid(difference) - (1 - s) * log sigmoid(-difference)
        d loss / d log_ratio_chosen = beta * (sigmoid(difference) - s) = -(d loss / d log_ratio_rejected)

    Args:
        log_ratio_chosen: Of the chosen responses, in nats, ``[...]``.
        log_ratio_rejected: Of the rejected responses, in nats, ``[...]``.
        beta: Price of a nat of divergence from the reference, above 0 (0.1 is common).
        share: Fraction of raters for the chosen response, in [0, 1]: a number, or ``[...]``.
        label_smoothing: Fraction of labels taken to be wrong (eps), in [0, 0.5).
        smoothing: What to do about them.

    Returns:
        Losses in nats, ``[...]``; log 2 at equal log-ratios.

    Raises:
        ConfigError: If a number is out of range, there is no such smoothing, or the shapes differ.

    Source:
        Rafailov et al. 2023, eq. 7; conservative: Mitchell 2023, "A note on DPO with noisy preferences and relationship
        to IPO"; robust: Chowdhury et al. 2024, "Provably robust DPO". Differs from them: raters' shares in place of one label.

    >>> dpo_loss(torch.tensor([0.0, 5.0]), torch.tensor([0.0, -5.0]), beta=0.1)
    tensor([0.6931, 0.3133])
    """
    check_positive("beta", beta)
    if not 0.0 <= label_smoothing < 0.5:
        raise ConfigError(f"label_smoothing = {label_smoothing} is out of range: it must be in [0, 0.5)")
    check_shapes(log_ratio_chosen=log_ratio_chosen, log_ratio_rejected=log_ratio_rejected)
    _check_numbers(log_ratio_chosen, share=share)
    if smoothing == "conservative":
        share = share * (1.0 - 2.0 * label_smoothing) + label_smoothing
    elif smoothing == "robust":
        share = (share - label_smoothing) / (1.0 - 2.0 * label_smoothing)
    else:
        known = ("conservative", "robust")
        raise ConfigError(f"smoothing = '{smoothing}' does not exist: {did_you_mean(str(smoothing), known)}")
    return _cross_entropy(beta * (log_ratio_chosen - log_ratio_rejected), share)


def ipo_loss(
    log_ratio_chosen: Tensor, log_ratio_rejected: Tensor, beta: float, *, share: Tensor | float = 1.0
) -> Tensor:
    """Fit a policy to comparisons up to a fixed gap, so that pairs without dissent do not drive it to certainty.

    Here a log-ratio is the *mean* of ``logp - logp_ref`` over the response's tokens: the gap that is asked for does not
    grow with the length of a response, so a sum would ask long ones for nearly nothing.

        gap  = log_ratio_chosen - log_ratio_rejected
        loss = share * (gap - 1 / (2 beta))^2 + (1 - share) * (gap + 1 / (2 beta))^2
        d loss / d log_ratio_chosen = 2 * gap - (2 share - 1) / beta = -(d loss / d log_ratio_rejected)

    Args:
        log_ratio_chosen: Of the chosen responses, in nats per token, ``[...]``.
        log_ratio_rejected: Of the rejected responses, in nats per token, ``[...]``.
        beta: Strength of the regularisation, above 0 (the source's tau); the gap asked for is 1 / (2 beta).
        share: Fraction of raters for the chosen response, in [0, 1]: a number, or ``[...]``.

    Returns:
        Losses in nats squared, ``[...]``; 1 / (4 beta^2) at equal log-ratios.

    Raises:
        ConfigError: If a number is out of range or the shapes differ.

    Source:
        Azar et al. 2023, eq. 17. Differs from source: its equation leaves the length of a response out; its authors
        have said that the mean over tokens is what they computed, and TRL does the same. Raters' shares are ours and
        keep the sampled loss's mean.

    >>> ipo_loss(torch.tensor([0.0, 5.0]), torch.tensor([0.0, 0.0]), beta=0.1)
    tensor([25.,  0.])
    """
    check_positive("beta", beta)
    check_shapes(log_ratio_chosen=log_ratio_chosen, log_ratio_rejected=log_ratio_rejected)
    _check_numbers(log_ratio_chosen, share=share)
    gap, wanted = log_ratio_chosen - log_ratio_rejected, 0.5 / beta
    return share * (gap - wanted).square() + (1.0 - share) * (gap + wanted).square()


def _cross_entropy(difference: Tensor, share: Tensor | float) -> Tensor:
    logsigmoid = torch.nn.functional.logsigmoid
    return -share * logsigmoid(difference) - (1.0 - share) * logsigmoid(-difference)


def _check_numbers(pairs: Tensor, **given: Tensor | float) -> None:
    for name, value in given.items():
        if isinstance(value, Tensor):
            check_shapes(pairs=pairs, **{name: value})
        elif name == "share":
            check_between(name, value, 0, 1)
        elif value != value or abs(value) == float("inf"):
            raise ConfigError(f"{name} = {value} is out of range: it must be finite")
