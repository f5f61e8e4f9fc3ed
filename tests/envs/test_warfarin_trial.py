"""The trial: common random numbers, honest measures, and the form of the evaluation."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from cumulant.envs.batched import Batch
from cumulant.envs.warfarin import charts, measures, protocols, trial
from cumulant.envs.warfarin import course as courses
from cumulant.envs.warfarin.env import Warfarin
from cumulant.envs.warfarin.patients import Patients
from cumulant.reward import Reward, Term


def hold(obs: np.ndarray) -> np.ndarray:
    return np.ones(len(obs), np.int64)


def by_threshold(obs: np.ndarray) -> np.ndarray:
    return np.where(obs[:, 0] > 3, 0, np.where(obs[:, 0] < 2, 2, 1))


@pytest.fixture(scope="module")
def daily() -> dict[str, Any]:
    return trial.evaluation(by_threshold, Warfarin(), 800, 3, "rule")


def rows(found: dict[str, Any], key: str) -> dict[str, dict[str, Any]]:
    table = next(c for c in found["comparisons"] if c["key"] == key)
    return {row["name"]: row for row in table["rows"]}


def test_evaluation_is_json_and_complete(daily: dict[str, Any]) -> None:
    assert json.loads(json.dumps(daily, allow_nan=False)) == daily
    assert daily["schema"] == 1
    assert daily["environment"] == "cumulant/Warfarin-v0"
    assert (daily["episodes"], daily["seed"], daily["options"]["schedule"]) == (800, 3, "daily")
    assert "Not a medical device" in daily["notice"]
    assert [c["key"] for c in daily["comparisons"]] == ["B", "C"]
    table = rows(daily, "B")
    assert set(table) == {"agent", *protocols.USUAL}
    assert table["agent"]["label"] == "rule"
    assert {row["kind"] for row in table.values()} == {"agent", "protocol", "ceiling", "floor"}
    for row in table.values():
        for name, measure in row["metrics"].items():
            assert name in daily["columns"]
            low, high = measure["interval"]
            assert low <= measure["mean"] <= high
    assert table["agent"]["metrics"]["return"]["mean"] == daily["return_mean"]
    assert daily["outcomes"]["ttr"] == table["agent"]["metrics"]["ttr"]
    assert all(row["metrics"]["tests"]["mean"] == 30 for row in table.values())
    assert all(len(c["note"]) < 600 for c in daily["comparisons"])  # reports cut longer ones off
    assert Warfarin().evaluation(by_threshold, 800, 3, "rule") == daily
    own = rows(daily, "C")
    assert own["agent"]["label"] == "rule: 30 tests"
    assert own["uw"]["metrics"]["tests"]["mean"] < 9
    assert "ttr_rosendaal" not in own["fixed5"]["metrics"]  # never tested: nothing to interpolate
    assert not any("return_gain" in row["metrics"] for row in own.values())


def test_clinic_evaluation_compares_on_the_clinics_days() -> None:
    found = trial.evaluation(by_threshold, Warfarin(schedule="clinic"), 300, 0)
    assert [c["key"] for c in found["comparisons"]] == ["A", "C"]
    table = rows(found, "A")
    assert all(row["metrics"]["tests"]["mean"] == 8 for row in table.values())
    assert rows(found, "C")["agent"]["label"].endswith("8 tests")
    assert found["policy_map"]["title"].startswith("What the policy does on day 14")


@pytest.mark.parametrize("actions", ["step", "dose"])
def test_an_agent_that_always_holds_is_the_fixed_dose(actions: Any) -> None:
    """Same patients, same errors, same bleeds: the paired difference is exactly nothing."""
    options = Warfarin(actions=actions)
    act = hold if actions == "step" else (lambda obs: np.full((len(obs), 1), 5.0, np.float32))
    agent, fixed = courses.play_agent(act, options, 3000, 7), courses.play_protocol("fixed5", options, 3000, 7)
    assert fixed.columns["major_bleed"].sum() > 3
    for name in ("inr", "dose_mg", "measured", "tested", "live"):
        np.testing.assert_array_equal(getattr(agent, name), getattr(fixed, name))
    for name in agent.columns:
        np.testing.assert_array_equal(agent.columns[name], fixed.columns[name])


def test_return_gain_is_paired_with_the_best_protocol(daily: dict[str, Any]) -> None:
    table = rows(daily, "B")
    best = max((r for r in table.values() if r["kind"] == "protocol"), key=lambda r: r["metrics"]["return"]["mean"])
    assert best["name"] == "uw_initiation_10"
    assert "return_gain" not in best["metrics"]
    agent = measures.returns(courses.play_agent(by_threshold, Warfarin(), 800, 3))
    rival = measures.returns(courses.play_protocol(best["name"], Warfarin(), 800, 3))
    gain = table["agent"]["metrics"]["return_gain"]
    assert gain["mean"] == pytest.approx((agent - rival).mean())
    half = 1.96 * (agent - rival).std(ddof=1) / 800**0.5
    assert gain["interval"] == pytest.approx([gain["mean"] - half, gain["mean"] + half], abs=0.01)


def test_measures_by_hand() -> None:
    course = courses.play_protocol("uw", Warfarin(), 500, 1, own_schedule=True)
    found = measures.metrics(course)
    inr = course.inr
    assert found["ttr"]["mean"] == pytest.approx(100 * ((inr >= 2) & (inr <= 3)).mean())
    assert found["below_2"]["mean"] == pytest.approx(100 * (inr < 2).mean())
    assert found["above_4"]["mean"] == pytest.approx(100 * (inr > 4).mean())
    assert found["tests"]["mean"] == pytest.approx(course.tested.sum(axis=0).mean())
    assert found["dose_changes"]["mean"] == pytest.approx((np.abs(np.diff(course.dose_mg, axis=0)) > 1e-6).sum() / 500)
    risk = np.where(inr < 3, 0.01497, np.where(inr <= 4, 0.06224, 0.39118))
    assert found["bleeds"]["mean"] == pytest.approx((1 - (1 - risk) ** (1 / 365)).mean() * 36500)
    assert found["thromboembolisms"]["mean"] == pytest.approx(36500 * course.columns["thromboembolism_risk"].mean())
    some = np.arange(500) < 100
    assert measures.metrics(course, some)["ttr"]["mean"] == pytest.approx(
        100 * ((inr >= 2) & (inr <= 3))[:, some].mean()
    )


def test_a_policy_is_judged_by_its_own_tests() -> None:
    """On one's own schedule only the INRs that were seen enter Rosendaal's measure."""
    course = courses.play_protocol("uw", Warfarin(), 200, 0, own_schedule=True)
    hidden = np.where(course.tested, course.measured, np.nan)
    np.testing.assert_array_equal(
        measures.rosendaal(hidden, course.tested), measures.rosendaal(course.measured, course.tested)
    )


def test_rosendaal_against_day_by_day_interpolation() -> None:
    rng = np.random.default_rng(0)
    measured, tested = np.round(rng.uniform(1, 4.5, (30, 60)), 1), rng.random((30, 60)) < 0.2
    tested[[4, 17], :] |= tested.sum(axis=0) < 2
    tested[:, 0] = False
    tested[:, 1] = np.arange(30) == 4
    found = measures.rosendaal(measured, tested)
    assert np.isnan(found[:2]).all()
    for i in range(2, 60):
        when = np.flatnonzero(tested[:, i])
        days = np.arange(when[0] + 1, when[-1] + 1)
        inr = np.interp(days, when, measured[when, i])
        inside = (inr >= 2 - 1e-9) & (inr <= 3 + 1e-9)
        assert found[i] == pytest.approx(100 * inside.mean())


def test_a_share_stays_within_nothing_and_all() -> None:
    rare = measures.share(np.array([0.0] * 50 + [1.0]))
    assert rare["interval"][0] == 0.0
    assert rare["mean"] < rare["interval"][1] < 7.0
    assert measures.share(np.ones(5))["interval"] == [100.0, 100.0]


def test_a_clairvoyant_is_no_agent_and_the_notes_say_who_knows_what() -> None:
    hold = lambda obs: np.ones(len(obs), np.int64)  # noqa: E731
    for options, words in (
        (Warfarin(observe="all"), "sees every true parameter"),
        (Warfarin(observe="genotype"), "The agent knows the genotype"),
        (Warfarin(schedule="clinic"), "Protocols change the dose on those days only, the agent daily"),
        (Warfarin(start_dose_mg=0.0), "The agent starts from 0 mg"),
    ):
        comparison = trial.evaluation(hold, options, 50, 0, "ppo")["comparisons"][0]
        assert words in comparison["note"]
        assert len(comparison["note"]) < 600  # reports cut longer ones
        (own,) = [row for row in comparison["rows"] if row["name"] == "agent"]
        assert own["kind"] == ("ceiling" if options.observe == "all" else "agent")


def test_intervals_cover_what_they_should() -> None:
    rng = np.random.default_rng(0)
    covered = [
        low <= 0.0 <= high for low, high in (measures.interval(rng.normal(0, 3, 200))["interval"] for _ in range(1000))
    ]
    assert np.mean(covered) == pytest.approx(0.95, abs=0.02)


def test_subgroups_divide_the_patients(daily: dict[str, Any]) -> None:
    assert [group["title"] for group in daily["subgroups"]] == ["Genotype sensitivity", "Age"]
    for group in daily["subgroups"]:
        assert sum(row["episodes"] for row in group["rows"]) == 800
        parts = [(row["episodes"], row["agent"]["return"]["mean"]) for row in group["rows"]]
        assert sum(n * mean for n, mean in parts) / 800 == pytest.approx(daily["return_mean"])
        assert group["reference_label"] == protocols.make(trial.REFERENCE).label
    assert [row["label"] for row in daily["subgroups"][1]["rows"]] == ["under 65", "65 to 74", "75 and over"]


def test_trajectories_show_two_patients_of_each_class(daily: dict[str, Any]) -> None:
    shown = daily["trajectories"]
    assert shown["band"] == [2.0, 3.0]
    titles = [case["title"] for case in shown["cases"]]
    assert [title.rsplit(", ", 1)[1] for title in titles] == [
        "normal", "normal", "sensitive", "sensitive", "highly sensitive", "highly sensitive",
    ]  # fmt: skip
    course = courses.play_agent(by_threshold, Warfarin(), 800, 3)
    who = int(titles[0].split()[1].rstrip(":"))
    agent, reference = shown["cases"][0]["lines"]
    assert (agent["label"], reference["label"]) == ("rule", "UW initiation table")
    np.testing.assert_allclose(agent["y"], course.inr[:, who], atol=1e-3)
    np.testing.assert_allclose(agent["y2"], course.dose_mg[:, who], atol=1e-3)
    assert agent["x"] == list(range(1, 31))


def test_policy_map_asks_the_right_questions() -> None:
    asked = []

    def act(obs: np.ndarray) -> np.ndarray:
        asked.append(obs.copy())
        return np.where(obs[:, 0] > 3, 0, np.where(obs[:, 8] > 7, 1, 2))

    shown = charts.policy_map(act, Warfarin(observe="genotype"))
    space = Warfarin(observe="genotype").kernel().observation_space
    assert all(space.contains(obs) for obs in asked[0])
    np.testing.assert_array_equal(asked[0][0, 4:8], [0, 1, 2, 3])
    z = np.array(shown["z"])
    assert z.shape == (len(shown["y"]), len(shown["x"])) == (16, 51)
    assert z[5, shown["x"].index(3.5)] == 0
    assert z[5, shown["x"].index(2.0)] == 2
    assert z[10, shown["x"].index(2.0)] == 1
    clinic = Warfarin(schedule="clinic")
    charts.policy_map(act, clinic)
    np.testing.assert_array_equal(asked[1][0, 4:8], [0, 4, 7, 9])
    dose = charts.policy_map(lambda obs: obs[:, 8:9] + np.where(obs[:, :1] > 3, -1, 0.1), Warfarin(actions="dose"))
    assert {z for row in dose["z"] for z in row} == {0, 1}


def test_a_short_episode_has_a_map_and_measures_too() -> None:
    found = trial.evaluation(hold, Warfarin(days=3), 50, 0)
    assert found["policy_map"]["title"].startswith("What the policy does on day 3")
    json.dumps(found, allow_nan=False)
    assert "policy_map" not in trial.evaluation(hold, Warfarin(observe="all", days=3), 50, 0)


def test_death_ends_what_is_counted() -> None:
    options = Warfarin(death_ends=True, start_dose_mg=12.0)
    course = courses.play_agent(hold, options, 30_000, 0)
    died = course.columns["death"].any(axis=0)
    assert died.sum() > 10
    first = course.columns["death"].argmax(axis=0)[died]
    np.testing.assert_array_equal(course.live.sum(axis=0)[died], first + 1)
    assert course.live[:, ~died].all()
    some = np.flatnonzero(died)[0]
    assert measures.returns(course)[some] == pytest.approx(course.columns["reward"][: first[0] + 1, some].sum())


def test_held_out_patients_are_not_trained_on() -> None:
    assert courses.HELD_OUT + 2**31 < 2**63
    held_out = Patients.from_state(courses.held_out(Warfarin(), 100, 5).state)
    trained = Patients.from_state(Batch(Warfarin().kernel(), 100, 5).state)
    assert not np.isin(held_out.cl, trained.cl).any()
    again = Patients.from_state(courses.held_out(Warfarin(schedule="clinic", observe="all"), 100, 5).state)
    np.testing.assert_array_equal(held_out.cl, again.cl)


@pytest.mark.parametrize("schedule", ["daily", "clinic"])
def test_a_protocol_is_paid_as_an_agent_who_does_the_same_is(schedule: Any) -> None:
    """Also by a reward that counts tests: those of the schedule, not those of the simulator, which measures every day."""
    options = Warfarin(schedule=schedule, reward="measured_days")
    agent = courses.play_agent(hold, options, 200, 3)
    protocol = courses.play_protocol("fixed5", options, 200, 3)
    np.testing.assert_array_equal(agent.dose_mg, protocol.dose_mg)
    np.testing.assert_allclose(agent.columns["reward"], protocol.columns["reward"], atol=1e-6)
    assert np.ptp(measures.returns(protocol)) > 1.0


def calm(outcomes: Any) -> np.ndarray:
    return outcomes["in_range"] - 0.5 * outcomes["override"]


CALM = Reward("calm", (Term("calm", 1.0, calm),))


def test_a_protocol_overrides_no_shield_and_is_charged_for_none() -> None:
    options = Warfarin(actions="dose", shield="standard", reward=f"{__name__}:CALM")
    protocol = courses.play_protocol("uw", options, 200, 3)
    np.testing.assert_array_equal(protocol.columns["reward"], protocol.columns["in_range"])
    agent = courses.play_agent(lambda obs: np.full((len(obs), 1), 15.0, np.float32), options, 200, 3)
    assert (agent.columns["reward"] < agent.columns["in_range"]).any()
