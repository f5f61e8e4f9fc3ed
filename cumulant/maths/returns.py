"""Returns and advantages over time: discounted, n-step, lambda-return, GAE.

Axes: T time, then any batch shape (usually B parallel environments). Experience is time-major, ``[T, ...]``.

All four functions read an experience in the same way:

- ``reward[t]`` is the reward of step t.
- ``next_value[t]`` is the value of the observation that *followed* step t. At a truncation that is the final
  observation of the episode, never the first one of the next. Where ``terminated[t]`` it is not read.
- ``terminated[t]``: the episode is over for good and nothing follows. ``ended[t]``: the episode stops here, because it
  terminated or because it was truncated. A terminated step is therefore always an ended one.
- The last row is followed by ``next_value[-1]`` when its episode goes on.

None of them carries a gradient: a target is a number to be approached.
"""

from __future__ import annotations

import torch
from torch import Tensor

from cumulant.errors import ConfigError
from cumulant.maths.ranges import check_between
from cumulant.maths.shapes import check_dtypes, check_flags, check_shapes


@torch.no_grad()
def discounted_return(reward: Tensor, next_value: Tensor, terminated: Tensor, ended: Tensor, gamma: float) -> Tensor:
    """Sum the discounted rewards of the rest of each episode.

    Use it for Monte Carlo targets (REINFORCE). What a truncation, or the end of the rollout, cut off is replaced
    by ``next_value``; pass zeros to leave it out (which is a bias). ``next_value`` is read at those places only.

        G_t = reward_t + gamma * G_{t+1}                                    inside an episode
        G_t = reward_t + gamma * (1 - terminated_t) * next_value_t          where it ended, and in the last row

    Args:
        reward: Reward of step t, ``[T, ...]``.
        next_value: Value of the observation that followed step t, ``[T, ...]``.
        terminated: Whether nothing follows step t, ``[T, ...]`` bool.
        ended: Whether the episode stops at step t for any reason, ``[T, ...]`` bool.
        gamma: Discount in [0, 1].

    Returns:
        Returns, ``[T, ...]``, of the type of ``reward``.

    Raises:
        ConfigError: If gamma is outside [0, 1], shapes or types differ, or a terminated step has not ended.

    Source:
        Sutton & Barto 2018, eq. 3.8 and 3.9. Differs from source: bootstraps where an episode is cut.

    >>> no, reward = torch.tensor([False, False, False]), torch.tensor([1.0, 2.0, 3.0])
    >>> discounted_return(reward, torch.tensor([0.0, 0.0, 8.0]), no, no, 0.5)
    tensor([3.7500, 5.5000, 7.0000])
    """
    check_between("gamma", gamma, 0, 1)
    _check_experience(terminated, ended, reward=reward, next_value=next_value)
    cut = ended.clone()
    cut[-1:] = True
    total = torch.add(reward, torch.where(cut > terminated, next_value, 0.0), alpha=gamma)
    return _accumulate(total, _decay(ended, total, gamma))


@torch.no_grad()
def n_step_return(
    reward: Tensor, next_value: Tensor, terminated: Tensor, ended: Tensor, gamma: float, num_steps: int
) -> Tensor:
    """Sum the next ``num_steps`` discounted rewards and bootstrap after them.

    The window is shortened where the episode ends or the rollout stops. With ``num_steps`` 1 this is the one-step
    target, with T or more the discounted return.

        G^1_t = reward_t + gamma * (1 - terminated_t) * next_value_t
        G^n_t = reward_t + gamma * G^{n-1}_{t+1}       inside an episode, else G^1_t

    Args:
        reward: Reward of step t, ``[T, ...]``.
        next_value: Value of the observation that followed step t, ``[T, ...]``.
        terminated: Whether nothing follows step t, ``[T, ...]`` bool.
        ended: Whether the episode stops at step t for any reason, ``[T, ...]`` bool.
        gamma: Discount in [0, 1].
        num_steps: Number of rewards, at least 1. Time grows with it: made for a few steps.

    Returns:
        Returns, ``[T, ...]``, of the type of ``reward``.

    Raises:
        ConfigError: If gamma or num_steps is out of range, shapes or types differ, or a terminated step has not ended.

    Source:
        Sutton & Barto 2018, eq. 7.1. Differs from source: bootstraps at truncations too.

    >>> no, reward = torch.tensor([False, False, False]), torch.tensor([1.0, 2.0, 3.0])
    >>> n_step_return(reward, torch.tensor([0.0, 4.0, 8.0]), no, no, 0.5, num_steps=2)
    tensor([3.0000, 5.5000, 7.0000])
    """
    check_between("gamma", gamma, 0, 1)
    if num_steps < 1:
        raise ConfigError(f"num_steps = {num_steps} is out of range: it must be at least 1")
    _check_experience(terminated, ended, reward=reward, next_value=next_value)
    one_step = torch.add(reward, torch.where(terminated, 0.0, next_value), alpha=gamma)
    # Where an episode ends the one-step target is final; elsewhere the reward waits for what follows it.
    base = torch.where(ended, one_step, reward)[:-1]
    decay = _decay(ended, one_step, gamma)[:-1]
    total = one_step
    for _ in range(min(num_steps, reward.shape[0]) - 1):  # each pass lengthens every window by one step
        total = torch.cat([torch.addcmul(base, decay, total[1:]), one_step[-1:]])
    return total


@torch.no_grad()
def lambda_return(
    reward: Tensor, next_value: Tensor, terminated: Tensor, ended: Tensor, gamma: float, lam: float
) -> Tensor:
    """Average all n-step returns with weights that fade by ``lam``.

    Use it as a value target. It equals ``gae(...) + value`` if ``next_value[t]`` is ``value[t + 1]`` inside episodes.

        G_t = reward_t + gamma * ((1 - lam) * next_value_t + lam * G_{t+1})      inside an episode
        G_t = reward_t + gamma * (1 - terminated_t) * next_value_t               where it ended, and in the last row

    Args:
        reward: Reward of step t, ``[T, ...]``.
        next_value: Value of the observation that followed step t, ``[T, ...]``.
        terminated: Whether nothing follows step t, ``[T, ...]`` bool.
        ended: Whether the episode stops at step t for any reason, ``[T, ...]`` bool.
        gamma: Discount in [0, 1].
        lam: Trace decay in [0, 1]; 0 gives the one-step target, 1 the discounted return.

    Returns:
        Returns, ``[T, ...]``, of the type of ``reward``.

    Raises:
        ConfigError: If gamma or lam is outside [0, 1], shapes or types differ, or a terminated step has not ended.

    Source:
        Sutton & Barto 2018, eq. 12.2, in recursive form. Differs from source: bootstraps at truncations and after the
        last row, where the remaining weight goes to the longest return.

    >>> no, reward = torch.tensor([False, False, False]), torch.tensor([1.0, 2.0, 3.0])
    >>> lambda_return(reward, torch.tensor([0.0, 4.0, 8.0]), no, no, 0.5, lam=0.5)
    tensor([2.1875, 4.7500, 7.0000])
    """
    check_between("gamma", gamma, 0, 1)
    check_between("lam", lam, 0, 1)
    _check_experience(terminated, ended, reward=reward, next_value=next_value)
    decay = _decay(ended, reward, gamma * lam)
    decay[-1:] = 0.0
    # What does not flow back through the trace is bootstrapped at once: all of it where the decay is zero.
    total = torch.addcmul(reward, torch.where(terminated, 0.0, next_value), gamma - decay)
    return _accumulate(total, decay)


@torch.no_grad()
def gae(
    reward: Tensor, value: Tensor, next_value: Tensor, terminated: Tensor, ended: Tensor, gamma: float, lam: float
) -> Tensor:
    """Estimate advantages by generalised advantage estimation.

    Use it for PPO and A2C, and with one token per step for language models (transpose: time comes first). Padding after
    an episode's end needs no mask: nothing flows back over ``ended``.

        delta_t = reward_t + gamma * (1 - terminated_t) * next_value_t - value_t
        A_t     = delta_t + gamma * lam * (1 - ended_t) * A_{t+1}

    Args:
        reward: Reward of step t, ``[T, ...]``.
        value: Value of the observation before step t, ``[T, ...]``.
        next_value: Value of the observation that followed step t (the final one at a truncation), ``[T, ...]``.
        terminated: Whether nothing follows step t, ``[T, ...]`` bool.
        ended: Whether the episode stops at step t for any reason, ``[T, ...]`` bool.
        gamma: Discount in [0, 1].
        lam: Trace decay in [0, 1]; 0 gives the TD error, 1 the Monte Carlo advantage.

    Returns:
        Advantages, ``[T, ...]``, of the type of ``reward``; no gradient flows into them.

    Raises:
        ConfigError: If gamma or lam is outside [0, 1], shapes or types differ, or a terminated step has not ended.

    Source:
        Schulman et al. 2016, eq. 16; cut at the last row as in Schulman et al. 2017, eq. 11 and 12. Differs from
        source: the sum stops at truncations too, where the final observation's value is bootstrapped.

    >>> reward, value = torch.tensor([1.0, 1.0, 1.0]), torch.tensor([1.0, 2.0, 0.0])
    >>> ended = torch.tensor([False, True, False])
    >>> gae(reward, value, torch.tensor([2.0, 9.0, 4.0]), ended, ended, gamma=0.5, lam=0.5)
    tensor([ 0.7500, -1.0000,  3.0000])
    """
    check_between("gamma", gamma, 0, 1)
    check_between("lam", lam, 0, 1)
    _check_experience(terminated, ended, reward=reward, value=value, next_value=next_value)
    delta = torch.sub(reward, value)
    delta.add_(torch.where(terminated, 0.0, next_value), alpha=gamma)
    return _accumulate(delta, _decay(ended, delta, gamma * lam))


def _check_experience(terminated: Tensor, ended: Tensor, **tensors: Tensor) -> None:
    """Refuse an experience whose parts do not fit together (also the two flags passed in the wrong order)."""
    check_shapes(**tensors, terminated=terminated, ended=ended)
    check_dtypes(**tensors)
    check_flags(terminated=terminated, ended=ended)
    if terminated.dim() == 0:
        raise ConfigError("reward has shape []; the first axis must be time")
    # Seen as bytes because reductions and conversions of bool tensors are several times slower.
    if terminated.numel() and (terminated > ended).view(torch.uint8).amax():
        raise ConfigError("a step is terminated but has not ended; ended must be terminated | truncated")


def _decay(ended: Tensor, like: Tensor, factor: float) -> Tensor:
    """Return ``factor`` where the episode goes on and 0 where it ended, ``[T, ...]``."""
    return ended.logical_not().view(torch.uint8).to(like.dtype).mul_(factor)


def _accumulate(total: Tensor, decay: Tensor) -> Tensor:
    """Solve ``x_t = total_t + decay_t * x_{t+1}`` for all t, with x = 0 after the last row.

    A loop over T costs T dispatches; this takes two per doubling. After a pass every block of ``2 * half`` rows is
    solved as if nothing followed it: the rows of its first half receive the first row of its second half, times their
    decay to the end of the first half. There is no division and no product above 1, and each number goes through
    log2(T) roundings instead of T: in float32 the error is smaller than the loop's. Columns never mix.

    Args:
        total: What each row adds, ``[T, ...]``; newly made by the caller (not a view), overwritten.
        decay: Weight of the row after it, ``[T, ...]``, in [0, 1]; likewise.

    Returns:
        The solution, ``[T, ...]``, contiguous.

    Source:
        Sklansky 1960 (conditional sums) applied to linear recurrences as in Blelloch 1990.
    """
    total, decay = total.contiguous(), decay.contiguous()
    num_steps = total.shape[0]
    row = total.numel() // max(num_steps, 1)
    half = 1
    while half < num_steps:
        num_blocks = (num_steps + half - 1) // (2 * half)  # those that have a second half, be it shortened
        stride = (2 * half * row, row, 1)
        first, head = (num_blocks, half, row), (num_blocks, 1, row)
        first_decay = decay.as_strided(first, stride)
        total.as_strided(first, stride).addcmul_(first_decay, total.as_strided(head, stride, half * row))
        if 2 * half < num_steps:
            first_decay.mul_(decay.as_strided(head, stride, half * row))
        half *= 2
    return total
