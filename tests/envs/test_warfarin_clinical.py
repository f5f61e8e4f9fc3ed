"""The clinical pack: every figure against its definition, with rules that a person wrote in the place of a policy."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from cumulant.envs.warfarin import clinical, distil, stress, whatif
from cumulant.envs.warfarin.course import held_out, play_agent, play_protocol, play_steered
from cumulant.envs.warfarin.env import Warfarin
from cumulant.envs.warfarin.field import Agent, Field, gain, play
from cumulant.envs.warfarin.measures import returns
from cumulant.envs.warfarin.patients import Patients

BATCH = 600


def by_threshold(obs: np.ndarray) -> np.ndarray:
    return np.where(obs[:, 0] > 3, 0, np.where(obs[:, 0] < 2, 2, 1))


def cautious(obs: np.ndarray) -> np.ndarray:
    return np.where(obs[:, 0] > 2.8, 0, np.where(obs[:, 0] < 1.6, 2, 1))


@pytest.fixture(scope="module")
def pack() -> dict[str, Any]:
    agents = {0: Agent(by_threshold), 1: Agent(cautious)}
    return clinical.pack(agents, Warfarin(), BATCH, 3, "two rules", {"itself": (Agent(by_threshold), Warfarin())})


@pytest.fixture(scope="module")
def field() -> Field:
    return play({0: Agent(by_threshold)}, Warfarin(), BATCH, 3)


def test_it_is_plain_json_with_all_three_schedules(pack: dict[str, Any]) -> None:
    assert json.loads(json.dumps(pack, allow_nan=False)) == pack
    assert [each["key"] for each in pack["comparisons"]] == ["A", "B", "C"]
    tests = {
        each["key"]: {row["name"]: row["metrics"]["tests"]["mean"] for row in each["rows"]}
        for each in pack["comparisons"]
    }
    assert set(tests["A"].values()) == {8.0}
    assert set(tests["B"].values()) == {30.0}
    assert tests["C"]["agent"] == 30.0
    assert tests["C"]["uw"] < 9
    for each in pack["comparisons"]:
        assert each["rows"][0]["kind"] == "agent"
    assert "trained on other test days" in pack["comparisons"][0]["note"]
    assert "trained on other test days" not in pack["comparisons"][1]["note"]
    assert pack["return_mean"] == pack["comparisons"][1]["rows"][0]["metrics"]["return"]["mean"]


def test_subgroups_are_paired_and_judged_by_the_bound(field: Field) -> None:
    patients = Patients.from_state(held_out(Warfarin(), BATCH, 3).state)
    groups = stress.subgroups(field, patients)
    assert [group["title"] for group in groups] == ["Genotype sensitivity", "Age", "Race (never observed)"]
    for group in groups[:2]:
        assert sum(row["episodes"] for row in group["rows"]) == BATCH
    row = next(row for group in groups for row in group["rows"] if row["label"] == "under 65")
    who = patients.age_years < 65
    own = returns(field.agents[0])[who]
    uw = max((returns(field.others[name])[who] for name in stress.UW), key=np.mean)
    difference = own - uw
    assert row["gain_on_uw"]["mean"] == pytest.approx(difference.mean())
    bound = difference.mean() - 1.645 * difference.std(ddof=1) / len(own) ** 0.5
    assert row["bound_on_uw"] == pytest.approx(bound, abs=0.05)
    assert row["non_inferior"] is None  # fewer than 500
    everybody = next(row for row in groups[2]["rows"] if row["label"] == "White")
    assert everybody["non_inferior"] is (everybody["bound_on_uw"] > -0.5)
    assert everybody["episodes"] >= 500


def test_somebody_who_does_as_uw_does_is_not_inferior_and_a_little_worse_is() -> None:
    """A margin that nobody could fail or pass would be none."""
    uw = play_protocol("uw_initiation", Warfarin(), BATCH, 3)
    others = {name: play_protocol("uw", Warfarin(), BATCH, 3) for name in stress.UW} | {"uw_initiation": uw}
    kinds = dict.fromkeys(others, "protocol")
    patients = Patients.from_state(held_out(Warfarin(), BATCH, 3).state)
    for worse, verdict in ((0.0, True), (0.4, True), (0.6, False)):
        columns = uw.columns | {"reward": uw.columns["reward"] - worse / 30}
        course = type(uw)(uw.inr, uw.dose_mg, uw.measured, uw.tested, uw.live, columns)
        rows = [row for group in stress.subgroups(Field({0: course}, others, kinds), patients) for row in group["rows"]]
        white = next(row for row in rows if row["label"] == "White")
        assert white["non_inferior"] is verdict


def test_drugs_and_missed_doses_are_looked_at_where_there_are_any(pack: dict[str, Any]) -> None:
    burdened = [
        group for group in pack["subgroups"] if group["title"].endswith("in a world with drugs and missed doses")
    ]
    assert [group["title"].split(",")[0] for group in burdened] == ["Interacting drug", "Doses missed"]
    by_drug, by_missed = ({row["label"]: row for row in group["rows"]} for group in burdened)
    assert set(by_drug) == {"none", "amiodarone"}  # the Aurora cohort has no inducers
    assert sum(row["episodes"] for row in by_missed.values()) == BATCH
    options = Warfarin(drugs="cohort", adherence=0.79)
    who = Patients.from_state(held_out(options, BATCH, 3).state).amiodarone
    own = np.mean([returns(play_agent(act, options, BATCH, 3))[who].mean() for act in (by_threshold, cautious)])
    assert by_drug["amiodarone"]["return"]["mean"] == pytest.approx(own)


def test_the_tail_is_the_mean_of_the_worst(field: Field) -> None:
    rows = {row["name"]: row for row in stress.tails(field, np.random.default_rng(0))}
    own = np.sort(returns(field.agents[0]))
    assert rows["agent"]["cvar_10"]["mean"] == pytest.approx(own[: BATCH // 10].mean())
    assert rows["agent"]["cvar_5"]["mean"] == pytest.approx(own[: BATCH // 20].mean())
    assert rows["agent"]["worst"] == pytest.approx(own[0])
    low, high = rows["agent"]["cvar_10"]["interval"]
    assert low < rows["agent"]["cvar_10"]["mean"] < high
    assert {"uw", "uw_initiation"} <= set(rows)


def test_two_seeds_are_one_agent(field: Field) -> None:
    both = play({0: Agent(by_threshold), 1: Agent(cautious)}, Warfarin(), BATCH, 3)
    rival = both.rivals["uw"]
    found = gain(both, rival)
    parts = [(own - rival).mean() for own in both.agent_returns]
    assert found.mean == pytest.approx(np.mean(parts))
    assert found.low < min(parts)
    assert found.high > max(parts)


def test_the_shield_is_shown_with_its_overrides(pack: dict[str, Any]) -> None:
    without, behind = pack["shield"]["rows"]
    assert without["return"]["mean"] == pytest.approx(pack["return_mean"])
    courses = [play_agent(act, Warfarin(shield="standard"), BATCH, 3) for act in (by_threshold, cautious)]
    assert behind["return"]["mean"] == pytest.approx(np.mean([returns(course).mean() for course in courses]))
    overridden = np.mean([100 * course.columns["override"].mean() for course in courses])
    assert behind["overrides"]["mean"] == pytest.approx(overridden)
    assert overridden > 5.0
    shares = {rule["name"]: rule["share"]["mean"] for rule in pack["shield"]["rules"]}
    assert shares["hold"] == pytest.approx(np.mean([100 * c.columns["override_hold"].mean() for c in courses]))


def test_worlds_change_what_they_say(pack: dict[str, Any]) -> None:
    rows = {row["world"]: row for row in pack["robustness"]}
    assert set(rows) == {"as it was trained", *(name for name in stress.worlds(Warfarin()))} - {"Hamberg 2010"}
    noisy = rows["measurement noise 20 %"]
    options = Warfarin(noise_cv=0.2)
    half = BATCH // 2
    own = [returns(play_agent(act, options, half, 3)).mean() for act in (by_threshold, cautious)]
    assert noisy["return"]["mean"] == pytest.approx(np.mean(own))
    assert noisy["gain_on_best"]["mean"] == pytest.approx(np.mean(own) - noisy["best_return"]["mean"])


def test_a_value_that_is_right_is_calibrated_and_one_that_is_not_is_not() -> None:
    options = Warfarin(days=10)
    batch = held_out(options, BATCH, 3)
    rewards = []
    for _ in range(10):
        batch.step(by_threshold(batch.obs))
        rewards.append(batch.reward.copy())
    first = sum(0.9**t * reward for t, reward in enumerate(rewards))
    later = sum(0.9**t * reward for t, reward in enumerate(rewards[7:]))

    def value(obs: np.ndarray) -> np.ndarray:
        return np.asarray(first if obs[0, 11] == 1 else later)

    rows = stress.calibration({0: Agent(by_threshold, value, 0.9)}, options, BATCH, 3)
    assert [row["day"] for row in rows] == [1, 8]
    for row in rows:
        assert row["difference"]["mean"] == pytest.approx(0.0, abs=1e-5)
        assert row["correlation"] == pytest.approx(1.0, abs=1e-5)
        assert len(row["bins"]) == 10
    hopeful = stress.calibration({0: Agent(by_threshold, lambda obs: value(obs) + 1.0, 0.9)}, options, BATCH, 3)
    assert hopeful[0]["difference"]["mean"] == pytest.approx(1.0, abs=1e-5)
    assert stress.calibration({0: Agent(by_threshold)}, options, BATCH, 3) == []


def test_a_tree_of_a_rule_is_the_rule(pack: dict[str, Any]) -> None:
    tree = pack["readable"]["tree"]
    assert tree["fidelity"]["mean"] == 1.0
    assert tree["loss"]["mean"] == 0.0
    rules = tree["rules"]
    assert (rules["if"], rules["at_most"], rules["then"]["action"]) == ("INR", 1.95, "+1 mg")
    assert (rules["else"]["at_most"], rules["else"]["then"]["action"], rules["else"]["else"]["action"]) == (
        3.05,
        "hold",
        "-1 mg",
    )
    table = pack["readable"]["table"]
    assert table["fidelity"]["mean"] == 1.0
    assert [set(row[1:]) - {"-"} for row in table["rows"]] == [{"+1 mg"}] * 2 + [{"hold"}] * 2 + [{"-1 mg"}] * 3


def test_what_cannot_be_said_in_few_leaves_costs_something() -> None:
    def by_day(obs: np.ndarray) -> np.ndarray:
        return ((obs[:, 11] + np.round(obs[:, 0] * 10)) % 3).astype(np.int64)

    found = distil.readable(by_day, Warfarin(), 200, 0)
    assert found["tree"]["fidelity"]["mean"] < 0.7
    assert found["sizes"][-1]["fidelity"]["mean"] > found["sizes"][0]["fidelity"]["mean"]
    assert abs(found["tree"]["loss"]["mean"]) > 0.1


def test_a_tree_of_doses_names_changes() -> None:
    def act(obs: np.ndarray) -> np.ndarray:
        return np.clip(obs[:, 8:9] + np.where(obs[:, :1] > 3, -2.0, np.where(obs[:, :1] < 2, 1.0, 0.0)), 0, 15).astype(
            np.float32
        )

    options = Warfarin(actions="dose")
    found = distil.readable(act, options, 300, 0)
    assert found["tree"]["fidelity"]["mean"] > 0.95
    assert found["table"]["rows"][0][2] == "+1 mg"
    assert found["table"]["rows"][4][-1] == "-2 mg"  # 3.1 to 3.5, rising


def test_a_hold_is_a_hold_and_nothing_else_changes() -> None:
    options = Warfarin()
    plain, held = (whatif.held(by_threshold, options, 100, 0, 10, days) for days in (0, 3))
    agent = play_agent(by_threshold, options, 100, 0)
    np.testing.assert_array_equal(plain.dose_mg, agent.dose_mg)
    np.testing.assert_array_equal(plain.inr, agent.inr)
    np.testing.assert_array_equal(held.dose_mg[:9], agent.dose_mg[:9])
    np.testing.assert_array_equal(held.dose_mg[9:12], 0.0)
    np.testing.assert_array_equal(held.inr[:9], agent.inr[:9])
    gave = agent.dose_mg[9:12].sum(axis=0) > 0
    assert (held.inr[11] < agent.inr[11])[gave].all()
    assert (held.dose_mg[12] <= 1.0).all()  # it goes on from the last dose, which was none


def test_what_if_shows_the_representatives(pack: dict[str, Any]) -> None:
    case = pack["what_if"]["cases"][0]
    assert [line["label"] for line in case["lines"]] == ["as the policy decides", "held for 1 day", "held for 3 days"]
    assert case["lines"][0]["y"][:4] == case["lines"][2]["y"][:4]  # before the question
    assert case["lowest"]["held for 3 days"] < case["lowest"]["as the policy decides"]


def test_steering_by_nothing_is_the_agent_itself() -> None:
    options = Warfarin(actions="percent", tablets_mg=(0.5,), observe="genotype")
    act = lambda obs: np.where(obs[:, 0] > 3, 0, np.where(obs[:, 0] < 2, 4, 2))  # noqa: E731
    agent, steered = play_agent(act, options, 100, 1), play_steered(act, options, 100, 1, lambda day, dose: dose)
    np.testing.assert_allclose(agent.dose_mg, steered.dose_mg)
    np.testing.assert_allclose(returns(agent), returns(steered))


def test_the_gap_to_itself_is_whole(pack: dict[str, Any]) -> None:
    (found,) = pack["gaps"]
    best, top = found["best_return"]["mean"], found["ceiling_return"]["mean"]
    assert top == pytest.approx(returns(play_agent(by_threshold, Warfarin(), BATCH, 3)).mean())
    parts = [
        (returns(play_agent(act, Warfarin(), BATCH, 3)).mean() - best) / (top - best)
        for act in (by_threshold, cautious)
    ]
    assert found["share"]["mean"] == pytest.approx(np.mean(parts))
    assert parts[0] == pytest.approx(1.0)


def test_what_is_found_is_said(pack: dict[str, Any]) -> None:
    text = " ".join(each["text"] for each in pack["findings"])
    for words in (
        "less than the best protocol on the same test days",
        "Non-inferior to UW in",
        "worlds",
        "A tree of 12 leaves",
    ):
        assert words in text
    assert pack["findings"][0]["good"] is False  # a threshold rule does not beat the protocols


def test_who_begins_a_drug_is_in_its_subgroup() -> None:
    patients = Patients.from_state(held_out(Warfarin(drugs="starting"), BATCH, 3).state)
    assert not patients.amiodarone.all()
    (none, _), (amiodarone, begins), _ = patients.divisions()["Interacting drug"]
    assert (none, amiodarone) == ("none", "amiodarone")
    assert begins.sum() > 50
    assert not patients.amiodarone[begins].all()  # not on day 1


def test_each_seed_sorts_its_own_patients_by_what_it_expects() -> None:
    """Two critics that expect opposite things: in each one's highest bin are the patients of whom it expects most."""
    agents = {
        seed: Agent(by_threshold, lambda obs, sign=sign: sign * obs[:, 0], 0.9) for seed, sign in ((0, 1.0), (1, -1.0))
    }
    for row in stress.calibration(agents, Warfarin(), BATCH, 3):
        expected = [each for each, _ in row["bins"]]
        assert expected == sorted(expected)
        assert expected[-1] - expected[0] > 0.3
