"""Returns and advantages: hand numbers, definitions by double loop, identities, and what must not flow."""

from __future__ import annotations

from typing import NamedTuple

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from cumulant.errors import ConfigError
from cumulant.maths.returns import discounted_return, gae, lambda_return, n_step_return

exact = settings(deadline=None, max_examples=60, derandomize=True, database=None)
fraction = st.floats(0.0, 1.0)


class Experience(NamedTuple):
    """Steps of one or more environments, ``[T, ...]``, consistent: inside an episode next_value[t] is value[t + 1]."""

    reward: Tensor
    value: Tensor
    next_value: Tensor
    terminated: Tensor
    ended: Tensor

    @property
    def flags(self) -> tuple[Tensor, Tensor]:
        return self.terminated, self.ended

    @property
    def after(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        return self.reward, self.next_value, self.terminated, self.ended


def make(seed: int, shape: tuple[int, ...], dtype: torch.dtype = torch.float64, ends: float = 0.15) -> Experience:
    generator = torch.Generator().manual_seed(seed)

    def normal() -> Tensor:
        return torch.randn(shape, generator=generator, dtype=dtype)

    reward, value, final = normal(), normal(), normal()
    terminated = torch.rand(shape, generator=generator) < ends
    ended = terminated | (torch.rand(shape, generator=generator) < ends)
    next_value = torch.where(ended, final, torch.cat([value[1:], final[-1:]]))
    return Experience(reward, value, next_value, terminated, ended)


@st.composite
def experiences(draw: st.DrawFn) -> Experience:
    steps = draw(st.integers(1, 20))
    trailing = draw(st.sampled_from([(), (1,), (3,), (2, 2)]))
    return make(draw(st.integers(0, 10_000)), (steps, *trailing), ends=draw(st.sampled_from([0.0, 0.15, 0.5, 1.0])))


def columns(experience: Experience) -> list[Experience]:
    """Each environment's steps by themselves, as ``[T]``."""
    flat = [part.reshape(part.shape[0], -1) for part in experience]
    return [Experience(*(part[:, i] for part in flat)) for i in range(flat[0].shape[1])]


def by_definition(experience: Experience, of_step) -> Tensor:
    """Apply ``of_step(column, t)`` to every step of every environment."""
    steps = experience.reward.shape[0]
    results = [[of_step(column, t) for t in range(steps)] for column in columns(experience)]
    return torch.tensor(results, dtype=torch.float64).T.reshape(experience.reward.shape)


def one_window(column: Experience, t: int, gamma: float, num_steps: int) -> float:
    """Sum rewards from t until num_steps, the end of the episode or the last row; then bootstrap."""
    total, weight = 0.0, 1.0
    for k in range(t, len(column.reward)):
        total += weight * column.reward[k].item()
        weight *= gamma
        if column.ended[k] or k == t + num_steps - 1 or k == len(column.reward) - 1:
            return total if column.terminated[k] else total + weight * column.next_value[k].item()
    raise AssertionError("unreachable")


def steps_left(column: Experience, t: int) -> int:
    """How many steps from t on belong to its episode and are in the rollout."""
    left = 1
    while not column.ended[t + left - 1] and t + left < len(column.reward):
        left += 1
    return left


def mixture(column: Experience, t: int, gamma: float, lam: float) -> float:
    """The lambda-return as the weighted mean of all n-step returns (eq. 12.3), not as a recursion."""
    longest = steps_left(column, t)
    total = lam ** (longest - 1) * one_window(column, t, gamma, longest)
    for n in range(1, longest):
        total += (1 - lam) * lam ** (n - 1) * one_window(column, t, gamma, n)
    return total


def advantage(column: Experience, t: int, gamma: float, lam: float) -> float:
    """The sum of eq. 16."""
    total = 0.0
    for k in range(t, len(column.reward)):
        follows = 0.0 if column.terminated[k] else column.next_value[k].item()
        total += (gamma * lam) ** (k - t) * (column.reward[k].item() + gamma * follows - column.value[k].item())
        if column.ended[k]:
            break
    return total


def same(actual: Tensor, expected: Tensor, tolerance: float = 1e-12) -> None:
    torch.testing.assert_close(actual, expected, rtol=tolerance, atol=tolerance)


# Step 1 is a truncation with final value 10, step 3 a termination, step 4 the open last row with value 8.
REWARD = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0], dtype=torch.float64)
VALUE = torch.tensor([0.5, 1.0, 1.5, 2.0, 2.5], dtype=torch.float64)
NEXT = torch.tensor([1.0, 10.0, 2.0, 99.0, 8.0], dtype=torch.float64)
TERMINATED = torch.tensor([False, False, False, True, False])
ENDED = torch.tensor([False, True, False, True, False])


def test_gae_by_hand() -> None:
    # delta = 1 + .5 - .5, 2 + 5 - 1, 3 + 1 - 1.5, 4 - 2, 5 + 4 - 2.5; decay .25
    expected = torch.tensor([1.0 + 0.25 * 6.0, 6.0, 2.5 + 0.25 * 2.0, 2.0, 6.5], dtype=torch.float64)
    same(gae(REWARD, VALUE, NEXT, TERMINATED, ENDED, 0.5, 0.5), expected)


def test_discounted_return_by_hand() -> None:
    expected = torch.tensor([1.0 + 0.5 * 7.0, 2.0 + 5.0, 3.0 + 0.5 * 4.0, 4.0, 5.0 + 4.0], dtype=torch.float64)
    same(discounted_return(REWARD, NEXT, TERMINATED, ENDED, 0.5), expected)


def test_n_step_return_by_hand() -> None:
    no = torch.zeros(5, dtype=torch.bool)
    expected = torch.tensor([1 + 1 + 2.5, 2 + 1.5 + 0.5, 3 + 2 + 24.75, 4 + 2.5 + 2, 9], dtype=torch.float64)
    same(n_step_return(REWARD, NEXT, no, no, 0.5, 2), expected)


def test_lambda_return_by_hand() -> None:
    expected = torch.tensor([1 + 0.5 * (0.5 + 3.5), 7.0, 3 + 0.5 * (1.0 + 2.0), 4.0, 9.0], dtype=torch.float64)
    same(lambda_return(REWARD, NEXT, TERMINATED, ENDED, 0.5, 0.5), expected)


@exact
@given(experiences(), fraction, fraction)
def test_gae_is_its_definition(experience: Experience, gamma: float, lam: float) -> None:
    expected = by_definition(experience, lambda column, t: advantage(column, t, gamma, lam))
    same(gae(*experience, gamma, lam), expected)


@exact
@given(experiences(), fraction)
def test_discounted_return_is_its_definition(experience: Experience, gamma: float) -> None:
    expected = by_definition(experience, lambda column, t: one_window(column, t, gamma, 10_000))
    same(discounted_return(*experience.after, gamma), expected)


@exact
@given(experiences(), fraction, st.integers(1, 25))
def test_n_step_return_is_its_definition(experience: Experience, gamma: float, num_steps: int) -> None:
    expected = by_definition(experience, lambda column, t: one_window(column, t, gamma, num_steps))
    same(n_step_return(*experience.after, gamma, num_steps), expected)


@exact
@given(experiences(), fraction, fraction)
def test_lambda_return_is_the_mixture_of_all_n_step_returns(experience: Experience, gamma: float, lam: float) -> None:
    expected = by_definition(experience, lambda column, t: mixture(column, t, gamma, lam))
    same(lambda_return(*experience.after, gamma, lam), expected)


@pytest.mark.parametrize("steps", [*range(1, 18), 31, 32, 33, 64, 65, 127, 128, 129])
def test_every_length_is_solved(steps: int) -> None:
    # The doubling in the solver treats lengths around powers of two differently; a plain loop does not.
    experience = make(steps, (steps, 2), ends=0.05)
    follows = torch.where(experience.terminated, 0.0, experience.next_value)
    delta = experience.reward + 0.97 * follows - experience.value
    expected, last = torch.empty_like(delta), torch.zeros(2, dtype=torch.float64)
    for t in reversed(range(steps)):
        last = delta[t] + 0.97 * 0.9 * torch.where(experience.ended[t], 0.0, last)
        expected[t] = last
    same(gae(*experience, 0.97, 0.9), expected)


@exact
@given(experiences(), fraction)
def test_gae_without_trace_is_the_td_error(experience: Experience, gamma: float) -> None:
    follows = torch.where(experience.terminated, 0.0, experience.next_value)
    same(gae(*experience, gamma, 0.0), experience.reward + gamma * follows - experience.value)


@exact
@given(experiences(), fraction)
def test_gae_with_full_trace_is_monte_carlo_with_bootstrap(experience: Experience, gamma: float) -> None:
    same(gae(*experience, gamma, 1.0), discounted_return(*experience.after, gamma) - experience.value)


@exact
@given(experiences(), fraction, fraction)
def test_lambda_return_is_advantage_plus_value(experience: Experience, gamma: float, lam: float) -> None:
    same(lambda_return(*experience.after, gamma, lam), gae(*experience, gamma, lam) + experience.value)


@exact
@given(experiences(), fraction)
def test_returns_meet_at_their_ends(experience: Experience, gamma: float) -> None:
    full = discounted_return(*experience.after, gamma)
    same(n_step_return(*experience.after, gamma, len(experience.reward)), full)
    same(lambda_return(*experience.after, gamma, 1.0), full)
    same(lambda_return(*experience.after, gamma, 0.0), n_step_return(*experience.after, gamma, 1))


def all_four(experience: Experience) -> list[Tensor]:
    return [
        gae(*experience, 0.9, 0.8),
        discounted_return(*experience.after, 0.9),
        n_step_return(*experience.after, 0.9, 3),
        lambda_return(*experience.after, 0.9, 0.8),
    ]


def test_nothing_is_read_behind_a_termination() -> None:
    experience = make(1, (40, 3))
    poisoned = experience._replace(next_value=experience.next_value.masked_fill(experience.terminated, float("nan")))
    for clean, other in zip(all_four(experience), all_four(poisoned)):
        assert torch.equal(clean, other)


def test_discounted_return_reads_next_value_only_where_the_experience_is_cut() -> None:
    experience = make(2, (40, 3))
    cut = experience.ended & ~experience.terminated
    cut[-1] |= ~experience.terminated[-1]
    poisoned = experience.next_value.masked_fill(~cut, float("nan"))
    clean = discounted_return(*experience.after, 0.9)
    assert torch.equal(discounted_return(experience.reward, poisoned, *experience.flags, 0.9), clean)


def test_nothing_flows_back_over_an_end() -> None:
    experience = make(3, (10, 2), ends=0.0)
    for kind in ("terminated", "truncated"):
        ended = experience.ended.clone()
        ended[4] = True
        terminated = ended if kind == "terminated" else experience.terminated
        before = experience._replace(terminated=terminated, ended=ended)
        reward, value = experience.reward.clone(), experience.value.clone()
        reward[5:], value[5:] = 1e6, -1e6
        after = before._replace(reward=reward, value=value)
        for first, second in zip(all_four(before), all_four(after)):
            assert torch.equal(first[:5], second[:5])
            assert not torch.equal(first[5:], second[5:])


def test_padding_behind_an_end_needs_no_mask() -> None:
    # One token a step, reward at the last token, responses of different lengths in one batch.
    lengths = [3, 7, 5]
    reward, value, next_value = (torch.zeros(7, 3, dtype=torch.float64) for _ in range(3))
    ended = torch.zeros(7, 3, dtype=torch.bool)
    alone = []
    for i, length in enumerate(lengths):
        single = make(i, (length,), ends=0.0)
        single.ended[-1] = True
        single = single._replace(terminated=single.ended)
        reward[:length, i], value[:length, i], next_value[:length, i] = single.reward, single.value, single.next_value
        ended[length - 1, i] = True
        alone.append(gae(*single, 1.0, 0.95))
    together = gae(reward, value, next_value, ended, ended, 1.0, 0.95)
    for i, length in enumerate(lengths):
        same(together[:length, i], alone[i])
        assert not together[length:, i].any()


def test_environments_do_not_influence_each_other() -> None:
    experience = make(4, (50, 8))
    for whole, position in zip(all_four(experience), range(4)):
        alone = [all_four(column)[position] for column in columns(experience)]
        same(whole, torch.stack(alone, dim=1), tolerance=1e-14)


def test_memory_layout_does_not_matter() -> None:
    experience = make(5, (20, 6))
    transposed = Experience(*(part.T.contiguous().T for part in experience))
    assert not transposed.reward.is_contiguous()
    for first, second in zip(all_four(experience), all_four(transposed)):
        same(first, second, tolerance=1e-14)


def test_float32_is_as_accurate_as_its_type_over_long_rollouts() -> None:
    experience = make(6, (4096, 4), torch.float32, ends=0.0005)
    double = Experience(*(part.double() if part.is_floating_point() else part for part in experience))
    single = gae(*experience, 1.0, 1.0)
    assert single.dtype == torch.float32
    expected = gae(*double, 1.0, 1.0)
    # Sums of up to 4096 numbers reach 100; one rounding of such a number is 8e-6 and only a dozen pile up.
    assert (single - expected).abs().max() < 5e-5


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_results_carry_no_gradient_and_arguments_stay_as_they_were(dtype: torch.dtype) -> None:
    experience = make(7, (20, 3), dtype)
    experience = Experience(*(part.requires_grad_(part.is_floating_point()) for part in experience))
    before = [part.detach().clone() for part in experience]
    for result in all_four(experience):
        assert result.dtype == dtype
        assert result.shape == (20, 3)
        assert not result.requires_grad
    for part, kept in zip(experience, before):
        assert torch.equal(part, kept)


def test_an_empty_rollout_gives_an_empty_result() -> None:
    empty = Experience(*(part[:0] for part in make(8, (4, 2))))
    assert [result.shape for result in all_four(empty)] == [(0, 2)] * 4


@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan")])
@pytest.mark.parametrize("field", ["gamma", "lam"])
def test_discounts_outside_their_range_are_refused(field: str, value: float) -> None:
    experience = make(9, (4, 2))
    numbers = {"gamma": 0.9, "lam": 0.9, field: value}
    with pytest.raises(ConfigError, match=rf"{field} = {value}.*\[0, 1\]"):
        gae(*experience, **numbers)
    with pytest.raises(ConfigError, match=rf"{field} = {value}"):
        lambda_return(*experience.after, **numbers)
    if field == "gamma":
        with pytest.raises(ConfigError, match=rf"gamma = {value}"):
            discounted_return(*experience.after, gamma=value)
        with pytest.raises(ConfigError, match=rf"gamma = {value}"):
            n_step_return(*experience.after, gamma=value, num_steps=1)


@pytest.mark.parametrize("num_steps", [0, -3])
def test_a_window_needs_a_step(num_steps: int) -> None:
    with pytest.raises(ConfigError, match=f"num_steps = {num_steps}.*at least 1"):
        n_step_return(*make(9, (4, 2)).after, 0.9, num_steps)


@pytest.mark.parametrize("field", Experience._fields)
def test_shapes_that_broadcasting_would_hide_are_refused(field: str) -> None:
    experience = make(10, (4, 1))
    wrong = experience._replace(**{field: getattr(experience, field).expand(4, 3)})
    with pytest.raises(ConfigError, match=r"has shape \[4, .\] but reward has \[4, .\]"):
        gae(*wrong, 0.9, 0.9)
    if field != "value":
        for function in (discounted_return, n_step_return, lambda_return):
            with pytest.raises(ConfigError, match="has shape"):
                function(*wrong.after, 0.9, *([] if function is discounted_return else [1]))


def test_flags_in_the_wrong_order_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"ended must be terminated \| truncated"):
        gae(REWARD, VALUE, NEXT, ENDED, TERMINATED, 0.9, 0.9)


def test_wrong_types_are_refused() -> None:
    experience = make(11, (4, 2))
    with pytest.raises(ConfigError, match="ended is float64; it must be bool"):
        gae(*experience._replace(ended=experience.ended.double()), 0.9, 0.9)
    with pytest.raises(ConfigError, match="value is float32 but reward is float64"):
        gae(*experience._replace(value=experience.value.float()), 0.9, 0.9)
    with pytest.raises(ConfigError, match="reward is int64; it must be floating point"):
        discounted_return(experience.reward.long(), experience.next_value, *experience.flags, 0.9)


def test_one_number_has_no_time_axis() -> None:
    one = torch.tensor(1.0)
    with pytest.raises(ConfigError, match="first axis must be time"):
        discounted_return(one, one, torch.tensor(False), torch.tensor(False), 0.9)
