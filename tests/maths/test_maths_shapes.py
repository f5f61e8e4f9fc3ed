"""Refusals name what does not fit; what fits passes."""

from __future__ import annotations

import pytest
import torch

from cumulant.errors import ConfigError
from cumulant.maths.ranges import check_between, check_positive
from cumulant.maths.shapes import check_actions, check_dtypes, check_flags, check_shapes


def test_what_fits_passes() -> None:
    one = torch.zeros(3, 2)
    check_shapes(a=one, b=one.clone())
    check_dtypes(a=one, b=one.clone())
    check_flags(mask=one.bool())
    check_actions(one, q=torch.zeros(3, 2, 4))
    for value in (0, 0.5, 1):
        check_between("gamma", value, 0, 1)
    check_positive("clip", 0.2, below=1)
    check_positive("delta", 1e9)


def test_messages_name_both_tensors() -> None:
    with pytest.raises(ConfigError, match=r"third has shape \[2, 1\] but first has \[2\]"):
        check_shapes(first=torch.zeros(2), second=torch.zeros(2), third=torch.zeros(2, 1))
    with pytest.raises(ConfigError, match="third is float16 but first is float32"):
        check_dtypes(first=torch.zeros(2), second=torch.zeros(2), third=torch.zeros(2).half())


@pytest.mark.parametrize("shape", [(3,), (3, 2), (2, 3, 4), (3, 1, 4)])
def test_an_action_axis_must_follow_the_batch(shape: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match=r"it must be \[3, 2, A\]"):
        check_actions(torch.zeros(3, 2), q=torch.zeros(shape))


def test_a_single_step_has_an_action_axis_too() -> None:
    check_actions(torch.tensor(0.0), q=torch.zeros(4))
    with pytest.raises(ConfigError, match=r"it must be \[A\]"):
        check_actions(torch.tensor(0.0), q=torch.tensor(0.0))


@pytest.mark.parametrize("value", [0.0, 1.0, -1.0, float("nan"), float("inf")])
def test_open_intervals_exclude_their_ends(value: float) -> None:
    with pytest.raises(ConfigError, match="above 0 and below 1"):
        check_positive("clip", value, below=1)


def test_infinity_is_not_a_positive_number() -> None:
    with pytest.raises(ConfigError, match="above 0 and finite"):
        check_positive("delta", float("inf"))
