"""Targets and losses for values: hand numbers, definitions by loop, identities, closed-form gradients."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from cumulant.errors import ConfigError
from cumulant.maths.exploration import epsilon_greedy
from cumulant.maths.value import (
    clipped_value_loss,
    double_q_target,
    expected_sarsa_target,
    huber_loss,
    q_learning_target,
    sarsa_target,
    value_loss,
)

exact = settings(deadline=None, max_examples=60, derandomize=True, database=None)
numbers = st.floats(-5.0, 5.0)

REWARD = torch.tensor([1.0, -1.0, 0.0])
Q = torch.tensor([[2.0, 4.0], [8.0, 6.0], [5.0, 7.0]])
OTHER = torch.tensor([[10.0, 20.0], [30.0, 40.0], [50.0, 60.0]])
TERMINATED = torch.tensor([False, False, True])
ACTION = torch.tensor([0, 1, 1])
PROBABILITY = torch.tensor([[0.25, 0.75], [0.5, 0.5], [1.0, 0.0]])


def test_targets_by_hand() -> None:
    assert q_learning_target(REWARD, Q, TERMINATED, 0.5).tolist() == [3.0, 3.0, 0.0]
    assert double_q_target(REWARD, Q, OTHER, TERMINATED, 0.5).tolist() == [11.0, 14.0, 0.0]
    assert sarsa_target(REWARD, Q, ACTION, TERMINATED, 0.5).tolist() == [2.0, 2.0, 0.0]
    assert expected_sarsa_target(REWARD, Q, PROBABILITY, TERMINATED, 0.5).tolist() == [2.75, 2.5, 0.0]


def random_step(seed: int, shape: tuple[int, ...], num_actions: int) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    reward = torch.randn(shape, generator=generator, dtype=torch.float64)
    q = torch.randn((*shape, num_actions), generator=generator, dtype=torch.float64)
    other = torch.randn((*shape, num_actions), generator=generator, dtype=torch.float64)
    action = torch.randint(num_actions, shape, generator=generator)
    terminated = torch.rand(shape, generator=generator) < 0.3
    return reward, q, other, action, terminated


@exact
@given(
    st.integers(0, 1000), st.sampled_from([(), (1,), (5,), (3, 2)]), st.integers(1, 5), st.floats(0, 1), st.floats(0, 1)
)
def test_targets_are_their_definitions(
    seed: int, shape: tuple[int, ...], num_actions: int, gamma: float, epsilon: float
) -> None:
    reward, q, other, action, terminated = random_step(seed, shape, num_actions)
    probability = epsilon_greedy(other, epsilon)
    results = {
        "q": q_learning_target(reward, q, terminated, gamma),
        "double": double_q_target(reward, q, other, terminated, gamma),
        "sarsa": sarsa_target(reward, q, action, terminated, gamma),
        "expected": expected_sarsa_target(reward, q, probability, terminated, gamma),
    }
    rows = [part.reshape(-1, *part.shape[len(shape) :]).tolist() for part in (reward, q, other, action, terminated)]
    chances = probability.reshape(-1, num_actions).tolist()
    for i, (r, values, others, taken, over) in enumerate(zip(*rows)):
        follows = {
            "q": max(values),
            "double": others[values.index(max(values))],
            "sarsa": values[taken],
            "expected": sum(p * v for p, v in zip(chances[i], values)),
        }
        for name, result in results.items():
            expected = r if over else r + gamma * follows[name]
            assert result.reshape(-1)[i].item() == pytest.approx(expected, abs=1e-12)


@exact
@given(st.integers(0, 1000), st.floats(0, 1))
def test_targets_agree_where_they_must(seed: int, gamma: float) -> None:
    reward, q, other, action, terminated = random_step(seed, (6,), 4)
    greedy = epsilon_greedy(q, 0.0)
    best = q_learning_target(reward, q, terminated, gamma)
    torch.testing.assert_close(expected_sarsa_target(reward, q, greedy, terminated, gamma), best)
    torch.testing.assert_close(double_q_target(reward, q, q, terminated, gamma), best)
    torch.testing.assert_close(sarsa_target(reward, q, q.argmax(-1), terminated, gamma), best)
    # A judge that disagrees can only think less of the chosen action than of its own best one.
    assert (
        double_q_target(reward, q, other, terminated, gamma) <= q_learning_target(reward, other, terminated, gamma)
    ).all()
    # Expected SARSA is the mean of SARSA over the policy's actions.
    policy = epsilon_greedy(other, 0.3)
    mean = sum(policy[:, a] * sarsa_target(reward, q, torch.full_like(action, a), terminated, gamma) for a in range(4))
    torch.testing.assert_close(expected_sarsa_target(reward, q, policy, terminated, gamma), mean)


def all_targets(q: Tensor, terminated: Tensor = TERMINATED) -> list[Tensor]:
    return [
        q_learning_target(REWARD, q, terminated, 0.5),
        double_q_target(REWARD, q, q, terminated, 0.5),
        sarsa_target(REWARD, q, ACTION, terminated, 0.5),
        expected_sarsa_target(REWARD, q, PROBABILITY, terminated, 0.5),
    ]


def test_nothing_is_read_behind_a_termination() -> None:
    poisoned = Q.clone()
    poisoned[2] = float("nan")
    for clean, other in zip(all_targets(Q), all_targets(poisoned)):
        assert torch.equal(clean, other)


def test_targets_carry_no_gradient() -> None:
    assert not any(target.requires_grad for target in all_targets(Q.clone().requires_grad_()))


def test_an_action_that_is_never_taken_may_be_worth_minus_infinity() -> None:
    q, probability = torch.tensor([[2.0, float("-inf")]]), torch.tensor([[1.0, 0.0]])
    assert expected_sarsa_target(REWARD[:1], q, probability, TERMINATED[:1], 0.5).item() == 2.0


def test_losses_by_hand() -> None:
    value, target = torch.tensor([0.0, 3.0, -4.0]), torch.tensor([0.5, 1.0, 1.0])
    assert value_loss(value, target).tolist() == [0.125, 2.0, 12.5]
    assert huber_loss(value, target).tolist() == [0.125, 1.5, 4.5]
    assert huber_loss(value, target, delta=2.0).tolist() == [0.125, 2.0, 8.0]
    old = torch.tensor([0.0, 0.0, 0.0])
    # Moves of 0, 3 and -4 are cut to 0, 1 and -1: errors -0.5, max(2, 0) and max(5, 2).
    assert clipped_value_loss(value, old, target, 1.0).tolist() == [0.125, 2.0, 12.5]
    # Moved past the clip towards the target: the clipped error counts, 3 - 1 = 2.
    assert clipped_value_loss(torch.tensor([2.5]), old[:1], torch.tensor([3.0]), 1.0).tolist() == [2.0]


def gradient(loss: Callable[[Tensor], Tensor], value: float) -> float:
    leaf = torch.tensor([value], dtype=torch.float64, requires_grad=True)
    loss(leaf).sum().backward()
    assert leaf.grad is not None
    return leaf.grad.item()


@exact
@given(numbers, numbers, st.floats(0.1, 3.0))
def test_gradients_of_losses(value: float, target: float, delta: float) -> None:
    goal = torch.tensor([target], dtype=torch.float64)
    error = value - target
    assert gradient(lambda v: value_loss(v, goal), value) == pytest.approx(error, abs=1e-12)
    clipped = min(max(error, -delta), delta)
    assert gradient(lambda v: huber_loss(v, goal, delta), value) == pytest.approx(clipped, abs=1e-12)


@exact
@given(numbers, numbers, numbers, st.floats(0.1, 3.0))
def test_clipped_value_loss_is_its_definition(value: float, old: float, target: float, clip: float) -> None:
    goal, before = torch.tensor([target], dtype=torch.float64), torch.tensor([old], dtype=torch.float64)
    moved = old + min(max(value - old, -clip), clip)
    expected = 0.5 * max((value - target) ** 2, (moved - target) ** 2)
    loss = clipped_value_loss(torch.tensor([value], dtype=torch.float64), before, goal, clip)
    assert loss.item() == pytest.approx(expected, abs=1e-12)
    assert loss.item() >= value_loss(torch.tensor([value], dtype=torch.float64), goal).item() - 1e-12


@pytest.mark.parametrize(
    ("value", "target", "expected"),
    [
        (0.3, 2.0, -1.7),  # within the clip: the plain error
        (1.5, 2.0, 0.0),  # moved too far towards the target: nothing pulls any more
        (-1.5, 2.0, -3.5),  # moved away from it: the full error pulls back
        (1.5, 0.0, 1.5),
    ],
)
def test_gradient_of_the_clipped_value_loss(value: float, target: float, expected: float) -> None:
    goal, before = torch.tensor([target], dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    assert gradient(lambda v: clipped_value_loss(v, before, goal, 0.5), value) == pytest.approx(expected)


def test_targets_are_held_fixed() -> None:
    value = torch.tensor([1.0, 2.0], requires_grad=True)
    target, old = torch.tensor([0.0, 5.0], requires_grad=True), torch.tensor([0.5, 0.5], requires_grad=True)
    (
        value_loss(value, target) + huber_loss(value, target) + clipped_value_loss(value, old, target, 0.2)
    ).sum().backward()
    assert value.grad is not None
    assert target.grad is None
    assert old.grad is None


@pytest.mark.parametrize("gamma", [-0.1, 1.5, float("nan")])
def test_gamma_outside_its_range_is_refused(gamma: float) -> None:
    for call in (
        lambda: q_learning_target(REWARD, Q, TERMINATED, gamma),
        lambda: double_q_target(REWARD, Q, OTHER, TERMINATED, gamma),
        lambda: sarsa_target(REWARD, Q, ACTION, TERMINATED, gamma),
        lambda: expected_sarsa_target(REWARD, Q, PROBABILITY, TERMINATED, gamma),
    ):
        with pytest.raises(ConfigError, match=f"gamma = {gamma}"):
            call()


def test_numbers_out_of_range_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"delta = 0\.0"):
        huber_loss(REWARD, REWARD, 0.0)
    with pytest.raises(ConfigError, match=r"clip = -0\.2"):
        clipped_value_loss(REWARD, REWARD, REWARD, -0.2)


def test_shapes_that_broadcasting_would_hide_are_refused() -> None:
    column = REWARD.unsqueeze(-1)
    for call in (
        lambda: value_loss(REWARD, column),
        lambda: huber_loss(REWARD, column),
        lambda: clipped_value_loss(REWARD, REWARD, column, 0.2),
        lambda: clipped_value_loss(REWARD, column, REWARD, 0.2),
        lambda: q_learning_target(column, Q, TERMINATED, 0.5),
        lambda: q_learning_target(REWARD, REWARD, TERMINATED, 0.5),
        lambda: q_learning_target(REWARD, Q, TERMINATED.unsqueeze(-1), 0.5),
        lambda: double_q_target(REWARD, Q, OTHER[:, :1], TERMINATED, 0.5),
        lambda: sarsa_target(REWARD, Q, ACTION.unsqueeze(-1), TERMINATED, 0.5),
        lambda: expected_sarsa_target(REWARD, Q, PROBABILITY[:1], TERMINATED, 0.5),
    ):
        with pytest.raises(ConfigError, match="has shape"):
            call()


def test_wrong_types_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"next_action is .*float32"):
        sarsa_target(REWARD, Q, ACTION.float(), TERMINATED, 0.5)
    with pytest.raises(ConfigError, match="terminated is int64"):
        q_learning_target(REWARD, Q, TERMINATED.long(), 0.5)
    with pytest.raises(ConfigError, match="next_q is float64 but reward is float32"):
        q_learning_target(REWARD, Q.double(), TERMINATED, 0.5)
