"""Action sets, tablets, tests that the agent orders, and the cost that a limit counts."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

from cumulant.envs.batched import Batch
from cumulant.envs.warfarin import actions, course, measures, trial
from cumulant.envs.warfarin.env import MEASURED, OUTCOMES, TEST_DAY, Warfarin
from cumulant.errors import ConfigError

COLUMN = {name: k for k, name in enumerate(OUTCOMES)}


def given(options: Warfarin, moves: list[Any], noise: int = 0) -> list[float]:
    """Doses that one patient gets under these actions."""
    batch = Batch(options.kernel(), 1, noise, autoreset=False)
    doses = []
    for move in moves:
        box = isinstance(batch.action_space, spaces.Box)
        batch.step(np.array([move], np.float32) if box else np.array([move], np.int64))
        doses.append(float(batch.outcomes[0, COLUMN["dose_mg"]]))
    return doses


def test_each_action_set_by_hand() -> None:
    assert given(Warfarin(), [2, 2, 1, 0]) == [6, 7, 7, 6]
    assert given(Warfarin(actions="step5"), [4, 3, 2, 1, 0]) == [6, 6.5, 6.5, 6, 5]
    np.testing.assert_allclose(given(Warfarin(actions="percent"), [4, 3, 2, 1, 0]), [6, 6.6, 6.6, 5.94, 4.752])
    np.testing.assert_allclose(given(Warfarin(actions="dose"), [[3.3], [0.0], [99.0], [-1.0]]), [3.3, 0, 15, 0])
    assert given(Warfarin(actions="step5", start_dose_mg=14.5), [4, 4]) == [15, 15]
    assert given(Warfarin(actions="step5", start_dose_mg=0.5), [0, 0, 3]) == [0, 0, 0.5]


def test_tablets_round_doses_and_never_a_change_away() -> None:
    whole = Warfarin(tablets_mg=(2.5,), start_dose_mg=5.0)
    assert given(whole, [2, 1, 0, 0]) == [7.5, 7.5, 5.0, 2.5]  # a milligram becomes a tablet
    assert given(dataclasses.replace(whole, actions="percent"), [3, 3, 1, 0]) == [7.5, 10.0, 7.5, 5.0]
    halves = Warfarin(actions="dose", tablets_mg=(0.5, 1.0, 3.0, 5.0))
    np.testing.assert_array_equal(given(halves, [[3.3], [0.2], [0.26], [14.9]]), [3.5, 0.0, 0.5, 15.0])
    assert given(Warfarin(actions="dose", tablets_mg=(4.0,)), [[13.9], [15.0]]) == [12.0, 12.0]  # 16 would be too much
    assert given(Warfarin(tablets_mg=(4.0,), start_dose_mg=12.0), [2, 2, 0]) == [12.0, 12.0, 8.0]
    third = Warfarin(tablets_mg=(0.3,), start_dose_mg=1.5)
    np.testing.assert_allclose(given(third, [1, 1]), 1.5)  # tenths that floats cannot hold stay what they are


@pytest.mark.parametrize("sizes", [(0.5,), (1.0, 2.5), (3.0, 5.0), (0.7, 4.1)])
def test_doses_of_tablets_against_brute_force(sizes: tuple[float, ...]) -> None:
    counts = [range(int(15 / size) + 1) for size in sizes]
    sums = {round(sum(n * s for n, s in zip(number, sizes)), 1) for number in itertools.product(*counts)}
    np.testing.assert_allclose(actions.doses_of_tablets(sizes), sorted(x for x in sums if x <= 15.0))


@pytest.mark.parametrize("name", actions.ACTIONS)
@pytest.mark.parametrize("tablets_mg", [(), (0.5,), (2.0, 5.0)])
def test_what_is_proposed_is_what_is_given(name: Any, tablets_mg: tuple[float, ...]) -> None:
    batch = Batch(Warfarin(actions=name, tablets_mg=tablets_mg).kernel(), 200, 0, autoreset=False)
    rng = np.random.default_rng(0)
    for _ in range(10):
        last = batch.obs[:, 8].astype(np.float64)  # doses as the agent sees them
        space = batch.action_space
        box = isinstance(space, spaces.Box)
        action = rng.uniform(0, 15, (200, 1)).astype(np.float32) if box else rng.integers(0, space.n, 200)  # type: ignore[attr-defined]
        wanted = actions.proposed(name, tablets_mg, last, action)
        batch.step(action)
        np.testing.assert_allclose(batch.outcomes[:, COLUMN["dose_mg"]], wanted, rtol=1e-5)


def test_ordered_tests_are_made_seen_and_paid() -> None:
    options = Warfarin(schedule="ordered", test_cost=0.25)
    kernel = options.kernel()
    assert isinstance(kernel.action_space, spaces.Discrete)
    assert kernel.action_space.n == 6
    batch, plain = Batch(kernel, 2, 0, autoreset=False), Batch(Warfarin().kernel(), 2, 0, autoreset=False)
    tested, rewards, fresh = [], [], []
    for day in range(1, 31):
        order = day in (2, 3, 9, 30)
        np.testing.assert_array_equal(batch.obs[:, 4] == 0, day in (1, 3, 4, 10))
        if day in (3, 4, 10):  # the same laboratory error as with daily tests
            np.testing.assert_array_equal(batch.obs[:, 0], plain.obs[:, 0])
            fresh.append(batch.state[0, TEST_DAY])
        batch.step(np.array([1 + 3 * order, 4 if order else 1]))
        plain.step(np.array([1, 1]))
        tested.append(batch.outcomes[0, COLUMN["tested"]])
        rewards.append(batch.reward - plain.reward)
    assert [d + 1 for d, seen in enumerate(tested) if seen] == [1, 3, 4, 10]
    assert fresh == [3, 4, 10]
    np.testing.assert_allclose(rewards, np.outer([-0.25 * seen for seen in tested], [1, 1]), atol=1e-6)
    assert kernel.reward is not None
    assert kernel.reward.term_names[-1] == "tests"
    assert Warfarin().kernel().reward.term_names[-1] != "tests"  # type: ignore[union-attr]


def test_a_continuous_dose_orders_by_its_second_number() -> None:
    batch = Batch(Warfarin(schedule="ordered", actions="dose").kernel(), 3, 0, autoreset=False)
    assert batch.action_space.shape == (2,)
    batch.step(np.array([[4.0, 0.9], [4.0, 0.1], [7.0, 0.6]], np.float32))
    np.testing.assert_array_equal(batch.outcomes[:, COLUMN["dose_mg"]], [4, 4, 7])
    np.testing.assert_array_equal(batch.state[:, TEST_DAY], [2, 1, 2])
    np.testing.assert_array_equal(batch.obs[:, 0], batch.state[:, MEASURED].astype(np.float32))


def test_an_agent_that_orders_is_compared_with_tests_at_the_same_price() -> None:
    options = Warfarin(schedule="ordered", test_cost=0.5)

    def weekly(obs: np.ndarray) -> np.ndarray:
        return 1 + 3 * (obs[:, 11] % 7 == 0)

    found = trial.evaluation(weekly, options, 200, 0, "weekly")
    (table,) = found["comparisons"]
    assert "each test costs 0.5" in table["note"]
    rows = {row["name"]: row["metrics"] for row in table["rows"]}
    assert rows["agent"]["tests"]["mean"] == 5.0  # days 1, 8, 15, 22, 29
    free = measures.returns(course.play_protocol("fixed5", Warfarin(), 200, 0))
    np.testing.assert_allclose(rows["fixed5"]["return"]["mean"], free.mean(), atol=1e-6)  # it needs no test
    np.testing.assert_allclose(rows["agent"]["return"]["mean"], free.mean() - 5 * 0.5, atol=1e-5)
    uw = course.play_protocol("uw", Warfarin(), 200, 0, own_schedule=True)
    np.testing.assert_allclose(
        rows["uw"]["return"]["mean"], (measures.returns(uw) - 0.5 * uw.tested.sum(axis=0)).mean(), atol=1e-5
    )


@pytest.mark.parametrize("name", ["step5", "percent", "dose"])
def test_every_action_set_can_be_evaluated(name: Any) -> None:
    for schedule in ("clinic", "ordered"):
        options = Warfarin(actions=name, schedule=schedule, tablets_mg=(0.5,), days=20)  # type: ignore[arg-type]
        space = options.kernel().action_space
        low = np.zeros((50, *(space.shape or ())), space.dtype)
        found = trial.evaluation(lambda obs, low=low: np.resize(low, (len(obs), *low.shape[1:])), options, 50, 0)
        assert {cell for row in found["policy_map"]["z"] for cell in row} <= {0, 1, 2}
        assert found["policy_map"]["z"][8][0] == 0  # the first action lowers a dose of 8 mg


def test_cost_is_a_day_above_4() -> None:
    batch = Batch(Warfarin(actions="dose").kernel(), 500, 0, autoreset=False)
    assert batch.has_costs
    high = 0
    for _ in range(20):
        batch.step(np.full((500, 1), 12.0, np.float32))
        np.testing.assert_array_equal(batch.cost, batch.outcomes[:, COLUMN["inr"]] > 4.0)
        high += batch.cost.sum()
    assert high > 1000


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tablets_mg": (0.05,)}, "tablets_mg has 0.05"),
        ({"tablets_mg": (1.0, 20.0)}, "tablets_mg has 20.0"),
        ({"actions": "percent", "start_dose_mg": 0.0}, "no percentage leads away"),
        ({"test_cost": -1.0}, "test_cost = -1.0"),
        ({"schedule": "weekly"}, "daily, clinic, ordered"),
    ],
)
def test_actions_that_make_no_sense_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Warfarin(**options)
