"""The safety shield: every rule by hand, the same behind an option and as a wrapper, and what no policy gets past."""

from __future__ import annotations

import dataclasses
import warnings
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from cumulant.envs.batched import Batch, BatchVectorEnv, SingleEnv
from cumulant.envs.warfarin import course, shield
from cumulant.envs.warfarin.env import Warfarin
from cumulant.envs.warfarin.patients import Patients
from cumulant.envs.warfarin.shield import RULES, Rule, Situation
from cumulant.envs.warfarin.shield_wrappers import Seen, ShieldedEnv, ShieldedVectorEnv
from cumulant.errors import ConfigError, UsageError

BY_NAME = {rule.name: rule for rule in RULES}


def morning(**known: Any) -> Situation:
    """One ordinary morning, but for what is said."""
    usual = {
        "day": 10.0, "inr": 2.5, "inr_age_days": 0.0, "usual_mg": 5.0, "week_low_mg": 5.0,
        "days_since_rise": 99.0, "days_since_change": 99.0,
        "age_years": 67.0, "weight_kg": 90.0, "bled": False, "new_drug": False,
    }  # fmt: skip
    known = usual | known
    return Situation(started=np.array([known["day"] > 1]), **{name: np.array([value]) for name, value in known.items()})


@pytest.mark.parametrize(
    ("rule", "known", "wanted", "allowed"),
    [
        ("range", {}, 12.0, 10.0),
        ("range", {"day": 1.0}, 9.0, 9.0),
        ("change", {}, 7.5, 7.0),  # 2 mg, which is more than 20 % of 5
        ("change", {"usual_mg": 12.0}, 15.0, 14.4),  # 20 % of 12
        ("change", {}, 1.0, 1.0),  # less is always allowed
        ("change", {"day": 1.0}, 10.0, 10.0),  # the first dose changes nothing
        ("week", {"usual_mg": 8.0, "week_low_mg": 4.0}, 9.5, 9.0),
        ("week", {"usual_mg": 12.0, "week_low_mg": 12.0}, 19.0, 18.0),
        ("wait", {"days_since_rise": 2.0}, 5.5, 5.0),
        ("wait", {"days_since_rise": 3.0}, 5.5, 5.5),
        ("wait", {"days_since_rise": 2.0}, 4.0, 4.0),
        ("above_3", {"inr": 3.1}, 5.5, 5.0),
        ("above_3", {"inr": 3.0}, 5.5, 5.5),
        ("old_test", {"inr_age_days": 8.0}, 5.5, 5.0),
        ("old_test", {"inr_age_days": 7.0}, 5.5, 5.5),
        ("hold", {"inr": 5.1}, 4.0, 0.0),
        ("hold", {"inr": 5.0}, 4.0, 4.0),
        ("hold", {"inr": 5.1, "inr_age_days": 3.0}, 4.0, 4.0),  # three days, not a week on one old test
        ("defer", {"inr": 9.1}, 4.0, 0.0),
        ("defer", {"bled": True}, 4.0, 0.0),
        ("defer", {"new_drug": True}, 8.0, 5.0),
        ("defer", {"age_years": 29.0, "inr": 1.5}, 8.0, 5.75),  # the clinician's rule is RE-LY's
        ("defer", {"age_years": 29.0, "inr": 1.9}, 8.0, 5.5),
        ("defer", {"age_years": 29.0, "inr": 3.1}, 8.0, 4.5),
        ("defer", {"age_years": 29.0, "inr": 5.2}, 8.0, 4.25),
        ("defer", {"age_years": 29.0, "inr": 3.1, "days_since_change": 2.0}, 8.0, 5.0),
        ("defer", {"age_years": 29.0, "inr": 3.1, "inr_age_days": 1.0}, 8.0, 5.0),
        ("defer", {"age_years": 29.0}, 8.0, 5.0),
        ("defer", {"weight_kg": 39.0, "usual_mg": 3.0}, 8.0, 3.0),
        ("defer", {"weight_kg": 161.0}, 2.0, 2.0),  # never raised
        ("defer", {"age_years": 29.0, "day": 1.0}, 8.0, 5.0),
        ("defer", {}, 8.0, 8.0),
        ("tablets", {}, 4.3, 4.5),
        ("tablets", {}, 4.2, 4.0),
    ],
)  # fmt: skip
def test_each_rule_by_hand(rule: str, known: dict[str, Any], wanted: float, allowed: float) -> None:
    decision = shield.decide([BY_NAME[rule]], morning(**known), np.array([wanted]))
    assert decision.dose_mg[0] == pytest.approx(allowed)
    assert decision.fired[0, 0] == (allowed != wanted)
    assert decision.override[0] == (allowed != wanted and rule != "tablets")


def test_rules_are_applied_in_order_and_each_is_counted_for_what_it_changed() -> None:
    decision = shield.decide(RULES, morning(inr=5.5, days_since_rise=1.0), np.array([13.3]))
    fired = {rule.name for rule, did in zip(RULES, decision.fired[0]) if did}
    assert fired == {"range", "change", "wait", "hold"}  # 10, 7, 5, 0: nothing was left to the rule above INR 3
    assert decision.dose_mg[0] == 0.0


def test_a_test_is_asked_for_in_time() -> None:
    no, yes = np.array([False]), np.array([True])
    assert not shield.decide(RULES, morning(inr_age_days=6.0), np.array([5.0]), no).test[0]
    asked = shield.decide(RULES, morning(inr_age_days=7.0), np.array([5.0]), no)
    assert asked.test[0]
    assert asked.override[0]
    assert not shield.decide(RULES, morning(inr_age_days=7.0), np.array([5.0]), yes).override[0]  # it is ordered anyway
    assert shield.decide(RULES, morning(inr=5.1), np.array([0.0]), no).test[0]
    batch = Batch(Warfarin(schedule="ordered", start_dose_mg=1.0, shield="standard").kernel(), 20, 0, autoreset=False)
    tests = []
    for _ in range(30):
        batch.step(np.ones(20, np.int64))  # hold, and never a test
        tests.append(batch.outcomes[:, batch.outcome_names.index("tested")].copy())
    assert [day + 1 for day, row in enumerate(tests) if row.all()] == [1, 9, 17, 25]


def columns_of(batch: Batch) -> dict[str, np.ndarray]:
    return {name: batch.outcomes[:, k].copy() for k, name in enumerate(batch.outcome_names)}


def played(options: Warfarin, policy: Any, days: int = 30, patients: int = 1500) -> list[dict[str, np.ndarray]]:
    batch = Batch(options.kernel(), patients, 0, autoreset=False)
    seen = []
    for _ in range(days):
        row = {"inr_seen": batch.obs[:, 0].copy(), "age": batch.obs[:, 12].copy(), "weight": batch.obs[:, 13].copy()}
        batch.step(policy(batch))
        seen.append(row | columns_of(batch))
    return seen


@pytest.mark.parametrize("name", ["step", "step5", "percent", "dose"])
def test_no_policy_gets_past_the_shield(name: Any) -> None:
    """A wild one tries for a month; what was given keeps to every rule, counted from what was given alone."""
    rng = np.random.default_rng(0)

    def wild(batch: Batch) -> np.ndarray:
        if isinstance(batch.action_space, gymnasium.spaces.Box):
            return rng.uniform(0, 15, (1500, 1)).astype(np.float32)
        return rng.integers(0, batch.action_space.n, 1500)  # type: ignore[attr-defined]

    days = played(Warfarin(actions=name, shield="standard"), wild)
    doses = np.stack([day["dose_mg"] for day in days])
    assert doses.max() <= 10.0
    np.testing.assert_array_equal(doses * 2, np.round(doses * 2))
    usual, last_rise = doses[0].copy(), np.full(1500, -99)
    usual = np.where(usual > 0, usual, 5.0)
    for k in range(1, 30):
        inr, given = days[k]["inr_seen"], doses[k]
        strange = (days[k]["age"] < 30) | (days[k]["weight"] < 40) | (days[k]["weight"] > 160)
        rose = given > usual + 1e-9
        assert not (rose & (inr > 3.0)).any()
        assert not ((given > 0) & (inr > 5.0)).any()
        assert not ((given > 0) & (days[k - 1]["major_bleed"] > 0)).any()
        assert (given <= usual + np.maximum(2.0, 0.2 * usual) + 0.25 + 1e-9).all()  # and a quarter for rounding
        assert not (rose & (k - last_rise < 3)).any()
        assert not (rose & strange & (inr >= 2.0)).any()  # a clinician's are raised below 2 only
        last_rise[rose] = k
        usual = np.where(given > 0, given, usual)
    counted = {key: np.sum([day[key] for day in days]) for key in days[0] if key.startswith("override")}
    assert set(counted) == {"override", *(f"override_{rule.name}" for rule in RULES)}
    assert counted["override_wait"] > 100
    assert counted["override_defer"] > 100
    assert counted["override"] <= sum(
        value for key, value in counted.items() if key not in ("override", "override_tablets")
    )


def test_a_rule_that_never_speaks_changes_nothing() -> None:
    for name in ("step", "percent", "dose"):
        rng, again = np.random.default_rng(1), np.random.default_rng(1)
        n = 1 if name == "dose" else {"step": 3, "percent": 5}[name]

        def some(batch: Batch, rng: np.random.Generator, n: int = n) -> np.ndarray:
            if n == 1:
                return rng.uniform(0, 10, (200, 1)).astype(np.float32)
            return rng.integers(0, n, 200)

        plain = played(Warfarin(actions=name), lambda batch, rng=rng: some(batch, rng), 30, 200)  # type: ignore[arg-type]
        quiet = Warfarin(actions=name, shield=f"{__name__}:QUIET")  # type: ignore[arg-type]
        behind = played(quiet, lambda batch, again=again: some(batch, again), 30, 200)
        for before, after in zip(plain, behind):
            for key in before:
                np.testing.assert_allclose(after[key], before[key], atol=1e-5, err_msg=key)
            assert not after["override"].any()


QUIET = [Rule("quiet", "nothing", lambda now, wanted: wanted)]
HALF = [Rule("half", "half of everything", lambda now, wanted: wanted / 2)]
BROKEN = [Rule("broken", "raises", lambda now, wanted: wanted[:, 3])]
NEGATIVE = [Rule("negative", "a dose below nothing", lambda now, wanted: wanted - 100.0)]
TWICE = [QUIET[0], QUIET[0]]
DEFER = [BY_NAME["defer"]]


def test_rules_of_ones_own() -> None:
    days = played(
        Warfarin(actions="dose", shield=f"{__name__}:HALF"), lambda batch: np.full((9, 1), 6.0, np.float32), 3, 9
    )
    for day in days:
        np.testing.assert_array_equal(day["dose_mg"], 3.0)
        np.testing.assert_array_equal(day["override_half"], 1.0)
    for name, message in (
        ("standart", "did you mean 'standard'"),
        (f"{__name__}:TWICE", "a name of its own"),
        (f"{__name__}:columns_of", "must be a list of Rule"),
    ):
        with pytest.raises(ConfigError, match=message):
            Warfarin(shield=name).kernel()
    for name, message in (("BROKEN", "rule 'broken' raised IndexError"), ("NEGATIVE", "rule 'negative': it must give")):
        batch = Batch(Warfarin(shield=f"{__name__}:{name}").kernel(), 2, 0)
        with pytest.raises(ConfigError, match=message):
            batch.step(np.ones(2, np.int64))


def test_a_hold_interrupts_the_dose_and_does_not_restart_it() -> None:
    """Steps start from the dose before the hold."""
    hold = [Rule("third", "no dose on day 3", lambda now, wanted: np.where(now.day == 3, 0.0, wanted))]
    globals()["THIRD"] = hold
    days = played(Warfarin(shield=f"{__name__}:THIRD"), lambda batch: np.full(2, 2), 6, 2)
    assert [float(day["dose_mg"][0]) for day in days] == [6, 7, 0, 8, 9, 10]
    down = played(Warfarin(start_dose_mg=2.0, shield=f"{__name__}:QUIET"), lambda batch: np.full(2, 0), 4, 2)
    assert [float(day["dose_mg"][0]) for day in down] == [1, 0, 0, 0]  # a stop of the agent's own is one


def test_patients_on_maintenance_have_started() -> None:
    """A first dose is free; for a patient who comes with one, day 1 is a change like any other."""
    for start, most in (("naive", 10.0), ("maintenance", 2.0)):
        batch = Batch(Warfarin(start=start, actions="dose", shield="standard").kernel(), 300, 0)  # type: ignore[arg-type]
        before = batch.obs[:, 8].copy()
        batch.step(np.full((300, 1), 10.0, np.float32))
        rise = batch.outcomes[:, batch.outcome_names.index("dose_mg")] - before
        assert (rise[before < 8.0] <= most + 0.25).all()
        assert rise.max() > 1.5


def test_a_new_drug_is_a_clinicians() -> None:
    """Whoever begins one keeps the usual dose on the first three days, and nobody else does."""
    batch = Batch(
        Warfarin(actions="dose", drugs="starting", shield=f"{__name__}:DEFER").kernel(), 400, 0, autoreset=False
    )
    people = Patients.from_state(batch.state)
    column = batch.outcome_names.index("override_defer")
    strange = (people.age_years < 30) | (people.weight_kg < 40) | (people.weight_kg > 160)
    fired = []
    for day in range(1, 31):
        batch.step(np.full((400, 1), 0.3 + 0.05 * day, np.float32))  # a little more every day
        fired.append(batch.outcomes[:, column].copy())
    begun = (people.drug > 0) & (people.drug_day >= 3) & (people.drug_day <= 28) & ~strange
    assert begun.sum() > 5
    when = np.array(fired)[:, begun]
    expected = (np.arange(1, 31)[:, None] >= people.drug_day[begun]) & (
        np.arange(1, 31)[:, None] < people.drug_day[begun] + 3
    )
    first = when.argmax(axis=0) + 1
    np.testing.assert_array_equal(first, people.drug_day[begun])
    assert not (when * ~expected).any()
    assert not np.array(fired)[:, (people.drug == 0) & ~strange].any()


def test_wrapper_and_option_are_the_same_shield() -> None:
    rng = np.random.default_rng(3)
    doses = rng.uniform(0, 15, (70, 1)).astype(np.float32)
    inside = SingleEnv("warfarin", actions="dose", shield="standard")
    around = ShieldedEnv(SingleEnv("warfarin", actions="dose"))
    total = 0
    for env_seed in (0, 1):
        first, second = inside.reset(seed=env_seed)[0], around.reset(seed=env_seed)[0]
        np.testing.assert_array_equal(first, second)
        for dose in doses[:30]:
            one, two = inside.step(dose), around.step(dose)
            np.testing.assert_array_equal(one[0], two[0])
            assert one[1:4] == two[1:4]
            said = {
                name.removeprefix("override_") for name, did in one[4].items() if name.startswith("override_") and did
            }
            assert said == set(two[4]["overrides"])
            assert two[4]["dose_wanted_mg"] == pytest.approx(float(dose[0]))
            total += int(one[4]["override"])
    assert around.shield.counts["any"] == total > 20
    assert around.shield.days == 60


def test_vector_wrapper_goes_on_over_restarts() -> None:
    doses = np.random.default_rng(4).uniform(0, 15, (70, 5, 1)).astype(np.float32)
    inside = BatchVectorEnv("warfarin", 5, actions="dose", shield="standard")
    around = ShieldedVectorEnv(BatchVectorEnv("warfarin", 5, actions="dose"))
    inside.reset(seed=0)
    around.reset(seed=0)
    for dose in doses:
        one, two = inside.step(dose), around.step(dose)
        np.testing.assert_array_equal(one[0], two[0])
        np.testing.assert_array_equal(one[4]["override_wait"], two[4]["override_wait"])
    assert around.shield.days == 350


def test_wrappers_take_other_environments_that_dose() -> None:
    class Toy(gymnasium.Env[np.ndarray, np.ndarray]):
        """Observes the INR; two numbers of action, of which the first is the dose."""

        observation_space = gymnasium.spaces.Box(0, 10, (1,))
        action_space = gymnasium.spaces.Box(0, 20, (2,))

        def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
            super().reset(seed=seed)
            return np.array([5.5], np.float32), {}

        def step(self, action: np.ndarray) -> Any:
            self.got = action
            return np.array([2.0], np.float32), 0.0, False, False, {}

    def read(obs: np.ndarray) -> Seen:
        one = np.ones(len(obs))
        return Seen(5 * one, obs[:, 0], 0 * one, 4 * one, 60 * one, 80 * one)

    env = ShieldedEnv(Toy(), [BY_NAME["hold"]], read)
    env.reset()
    env.step(np.array([4.0, 17.0], np.float32))
    np.testing.assert_array_equal(env.unwrapped.got, [0.0, 17.0])  # type: ignore[attr-defined]
    env.step(np.array([4.0, 17.0], np.float32))
    np.testing.assert_array_equal(env.unwrapped.got, [4.0, 17.0])  # type: ignore[attr-defined]
    with pytest.raises(UsageError, match='actions="dose"'):
        ShieldedEnv(SingleEnv("warfarin"))


def test_shielded_environment_is_one_to_gymnasium_and_resumes() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(SingleEnv("warfarin", shield="standard"), skip_render_check=True)
    batch, other = (Batch(Warfarin(shield="standard").kernel(), 50, 7) for _ in range(2))
    moves = np.random.default_rng(0).integers(0, 3, (80, 50))
    for k in range(40):
        batch.step(moves[k])
    other.load_state_dict(batch.state_dict())
    for k in range(40, 80):
        batch.step(moves[k])
        other.step(moves[k])
        np.testing.assert_array_equal(batch.obs, other.obs)
        np.testing.assert_array_equal(batch.outcomes, other.outcomes)


def test_evaluation_plays_a_shielded_agent_against_plain_protocols() -> None:
    def eager(obs: np.ndarray) -> np.ndarray:
        return np.full(len(obs), 2)

    open_, shut = Warfarin(), Warfarin(shield="standard")
    free, kept = (course.play_agent(eager, options, 300, 0) for options in (open_, shut))
    assert kept.columns["above_4"].mean() < 0.5 * free.columns["above_4"].mean()
    assert kept.columns["override"].mean() > 0.3
    plain, same = (course.play_protocol("uw", options, 300, 0) for options in (open_, shut))
    np.testing.assert_array_equal(plain.dose_mg, same.dose_mg)
    assert dataclasses.asdict(shut)["shield"] == "standard"
