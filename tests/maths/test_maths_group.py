"""Advantages within groups: by hand, by definition, and what must not change them."""

from __future__ import annotations

import statistics

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from cumulant.errors import ConfigError
from cumulant.maths.group import group_relative_advantage, leave_one_out_advantage

exact = settings(deadline=None, max_examples=60, derandomize=True, database=None)
groups = st.lists(st.floats(-100.0, 100.0), min_size=2, max_size=9)


def tensor(values: list[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_by_hand() -> None:
    reward = torch.tensor([[1.0, 2.0, 3.0], [0.0, 0.0, 6.0]])
    relative = group_relative_advantage(reward, eps=1e-9)
    torch.testing.assert_close(relative[0], torch.tensor([-1.0, 0.0, 1.0]))  # mean 2, deviation 1
    torch.testing.assert_close(relative[1], torch.tensor([-2.0, -2.0, 4.0]) / 12**0.5)
    plain = group_relative_advantage(reward, standardise=False)
    torch.testing.assert_close(plain, torch.tensor([[-1.0, 0.0, 1.0], [-2.0, -2.0, 4.0]]))
    left_out = leave_one_out_advantage(reward)
    torch.testing.assert_close(left_out, torch.tensor([[-1.5, 0.0, 1.5], [-3.0, -3.0, 6.0]]))
    torch.testing.assert_close(group_relative_advantage(reward, eps=1.0)[0], torch.tensor([-0.5, 0.0, 0.5]))


@exact
@given(groups)
def test_it_is_its_definition(values: list[float]) -> None:
    mean = statistics.fmean(values)
    deviation = statistics.stdev(values)
    others = [value - (sum(values) - value) / (len(values) - 1) for value in values]
    expected = [(value - mean) / (deviation + 1e-4) for value in values]
    torch.testing.assert_close(group_relative_advantage(tensor(values)), tensor(expected), atol=1e-8, rtol=1e-8)
    torch.testing.assert_close(leave_one_out_advantage(tensor(values)), tensor(others), atol=1e-9, rtol=1e-9)


@exact
@given(groups, st.floats(-10.0, 10.0), st.floats(0.1, 10.0))
def test_a_shift_of_the_reward_changes_nothing_and_a_scale_only_what_is_not_standardised(
    values: list[float], shift: float, scale: float
) -> None:
    reward = tensor(values)
    moved = scale * reward + shift
    for function in (leave_one_out_advantage, lambda x: group_relative_advantage(x, standardise=False)):
        torch.testing.assert_close(function(moved), scale * function(reward), atol=1e-7, rtol=1e-7)
        assert function(reward).sum().item() == pytest.approx(0.0, abs=1e-8)
    if reward.std() > 0.1:
        one, other = (group_relative_advantage(x, eps=1e-12) for x in (reward, moved))
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-6)
        assert one.std().item() == pytest.approx(1.0)


@exact
@given(st.floats(-1000.0, 1000.0, width=32), st.integers(1, 40))
def test_equal_rewards_teach_nothing(value: float, size: int) -> None:
    reward = torch.full((2, size), value)
    for advantage in (
        group_relative_advantage(reward, eps=1e-12),
        group_relative_advantage(reward, standardise=False),
        leave_one_out_advantage(reward),
    ):
        assert (advantage == 0.0).all()


@exact
@given(groups, st.data())
def test_answers_that_do_not_count_enter_nowhere(values: list[float], data: st.DataObject) -> None:
    kept = data.draw(st.lists(st.booleans(), min_size=len(values), max_size=len(values)))
    mask, reward = torch.tensor(kept), tensor(values)
    marked = reward.masked_fill(~mask, float("nan"))
    for function in (group_relative_advantage, leave_one_out_advantage):
        advantage = function(marked, mask)
        assert (advantage[~mask] == 0.0).all()
        if mask.any():
            torch.testing.assert_close(advantage[mask], function(reward[mask]), atol=1e-9, rtol=1e-9)


def test_nothing_carries_a_gradient() -> None:
    reward = torch.tensor([1.0, 2.0], requires_grad=True)
    assert not group_relative_advantage(reward).requires_grad
    assert not leave_one_out_advantage(reward).requires_grad


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ConfigError, match="last axis must be the answers"):
        leave_one_out_advantage(torch.tensor(1.0))
    with pytest.raises(ConfigError, match="mask has shape"):
        leave_one_out_advantage(torch.zeros(2, 3), torch.ones(3, dtype=torch.bool))
    with pytest.raises(ConfigError, match="mask is float32"):
        group_relative_advantage(torch.zeros(3), torch.ones(3))
    with pytest.raises(ConfigError, match="reward is int64"):
        group_relative_advantage(torch.zeros(3, dtype=torch.int64))
    with pytest.raises(ConfigError, match="eps = 0"):
        group_relative_advantage(torch.zeros(3), eps=0.0)
