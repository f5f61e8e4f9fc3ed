"""The environment: cohort, timeline, observations, harm, rewards, and Gymnasium's own checker."""

from __future__ import annotations

import warnings
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from cumulant.envs import register
from cumulant.envs.batched import Batch
from cumulant.envs.warfarin import env, model
from cumulant.envs.warfarin.env import MEASURED, OUTCOMES, Warfarin, obs_names
from cumulant.envs.warfarin.patients import Patients
from cumulant.errors import ConfigError
from cumulant.reward import Reward, Term

COLUMN = {name: k for k, name in enumerate(OUTCOMES)}


def days_of(batch: Batch, actions: np.ndarray) -> dict[str, np.ndarray]:
    """Play actions [T, B, ...] and stack everything."""
    seen: dict[str, list[np.ndarray]] = {"obs": [batch.obs.copy()], "reward": [], "outcomes": [], "terminated": []}
    for action in actions:
        batch.step(action)
        seen["obs"].append(batch.next_obs.copy())
        for name in ("reward", "outcomes", "terminated"):
            seen[name].append(getattr(batch, name).copy())
    return {name: np.array(rows) for name, rows in seen.items()}


def doses(mg: float, batch: int, days: int = 30) -> np.ndarray:
    return np.full((days, batch, 1), mg, np.float32)


def test_cohort() -> None:
    people = Patients.from_state(Batch(Warfarin().kernel(), 40_000, 0).state)
    assert len(people) == 40_000
    assert people.age_years.mean() == pytest.approx(67.1, abs=0.3)  # N(67.30, 13.43), clipped
    assert (people.age_years.min(), people.age_years.max()) == (18.0, 95.0)
    assert people.weight_kg.mean() == pytest.approx(199.4 * 0.4536, abs=0.6)
    assert people.height_cm.mean() == pytest.approx(66.78 * 2.54, abs=0.3)
    assert people.female.mean() == pytest.approx(0.5314, abs=0.01)
    shares = np.bincount(people.cyp2c9, minlength=6) / 40_000
    np.testing.assert_allclose(shares, [0.6739, 0.1486, 0.0925, 0.0651, 0.0197, 0.0002], atol=0.008)
    np.testing.assert_allclose(np.bincount(people.vkorc1) / 40_000, [0.3837, 0.4418, 0.1745], atol=0.008)
    assert (people.race == 0).mean() == pytest.approx(0.9522, abs=0.005)
    assert abs(np.corrcoef(people.cyp2c9, people.vkorc1)[0, 1]) < 0.02  # drawn independently
    eta = np.log(people.cl / model.CL_TYPICAL[people.cyp2c9] / (1 - 0.00571 * (people.age_years - 71)))
    assert (eta.mean(), eta.std()) == (pytest.approx(0, abs=0.006), pytest.approx(0.298, abs=0.005))
    eta = np.log(people.ec50 / model.EC50_TYPICAL[people.vkorc1])
    assert (eta.mean(), eta.std()) == (pytest.approx(0, abs=0.007), pytest.approx(0.34, abs=0.006))
    assert np.log(people.v / 14.3).std() == pytest.approx(0.232, abs=0.004)
    drawn = [people.age_years, people.weight_kg, people.height_cm, eta, np.log(people.v)]
    drawn.append(np.log(people.cl / model.CL_TYPICAL[people.cyp2c9]) / (1 - 0.00571 * (people.age_years - 71)))
    for power in (1, 2):  # unrelated, in size as in sign
        together = np.corrcoef([(x - x.mean()) ** power for x in drawn])
        assert np.abs(together[:5, :5] - np.eye(5)).max() < 0.02
        assert np.abs(together[5, 1:5]).max() < 0.02
    normal = (people.vkorc1 < 2) & (people.cyp2c9 == 0) | (people.vkorc1 == 0) & (people.cyp2c9 == 1)
    assert ((people.sensitivity == 0) == normal).all()
    assert people.describe(0).startswith("patient 0: VKORC1 ")


@pytest.mark.parametrize("options", [{"schedule": "clinic", "observe": "genotype"}, {"observe": "all", "days": 9}])
def test_gymnasiums_checker_has_nothing_to_say_about_other_options(options: dict[str, Any]) -> None:
    """The contract tests check the defaults."""
    if "cumulant/Warfarin-v0" not in gymnasium.registry:
        register()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(gymnasium.make("cumulant/Warfarin-v0", **options).unwrapped)


@pytest.mark.parametrize("options", [{}, {"schedule": "clinic"}, {"observe": "all"}, {"actions": "dose"}])
def test_one_patient_is_the_first_row_of_many(options: dict[str, Any]) -> None:
    kernel = Warfarin(**options).kernel()
    rng = np.random.default_rng(0)
    shape = (30, 6, 1) if options.get("actions") == "dose" else (30, 6)
    actions = rng.uniform(0, 15, shape).astype(np.float32) if len(shape) == 3 else rng.integers(0, 3, shape)
    many = days_of(Batch(kernel, 6, seed=3, autoreset=False), actions)
    one = days_of(Batch(kernel, 1, seed=3, autoreset=False), actions[:, :1])
    for name in many:
        np.testing.assert_array_equal(one[name][:, 0], many[name][:, 0])


def test_same_seed_same_course_and_other_seeds_other_people() -> None:
    actions = np.random.default_rng(0).integers(0, 3, (60, 32))  # over a restart
    first, again, other = (days_of(Batch(Warfarin().kernel(), 32, seed), actions) for seed in (5, 5, 6))
    for name in first:
        np.testing.assert_array_equal(first[name], again[name])
    assert (first["obs"][0, :, 12] != other["obs"][0, :, 12]).all()  # age


def test_common_random_numbers_across_options_and_doses() -> None:
    """Patients, measurement errors and chances do not depend on what is done, seen or tested."""
    batches = [
        Batch(Warfarin(**o).kernel(), 500, 1, autoreset=False)
        for o in ({"actions": "dose"}, {"schedule": "clinic", "actions": "dose"}, {"observe": "all", "actions": "dose"})
    ]
    runs = [days_of(batch, doses(5.0, 500)) for batch in batches]
    for run in runs[1:]:
        np.testing.assert_array_equal(run["outcomes"][..., :10], runs[0]["outcomes"][..., :10])
        np.testing.assert_array_equal(run["obs"][..., 11:14], runs[0]["obs"][..., 11:14])
    np.testing.assert_array_equal(runs[1]["obs"][9, :, 0], runs[0]["obs"][9, :, 0])  # day 10 is a test day of both
    low = days_of(Batch(Warfarin(actions="dose").kernel(), 500, 1, autoreset=False), doses(0.0, 500))
    np.testing.assert_array_equal(low["obs"][0], runs[0]["obs"][0])  # same people, same first measurement
    ratio = runs[0]["obs"][1:, :, 0] / runs[0]["outcomes"][..., 0]
    flat = low["obs"][1:, :, 0] / low["outcomes"][..., 0]
    # The errors are the same numbers, up to rounding to 0.1; unrelated ones would differ by 0.11 on average.
    assert np.abs(ratio - flat).mean() < 0.04


def test_observation_says_what_its_names_say() -> None:
    batch = Batch(Warfarin(schedule="clinic", observe="genotype").kernel(), 4, 2, autoreset=False)
    people = Patients.from_state(batch.state)
    names = obs_names("genotype")
    assert batch.obs.shape == (4, len(names)) == (4, 17)
    first = batch.obs[0].copy()
    np.testing.assert_array_equal(first[:4], first[0])  # one test so far: it stands for all four
    np.testing.assert_array_equal(first[4:8], 0)
    np.testing.assert_array_equal(first[8:11], 5.0)
    assert first[11] == 1
    np.testing.assert_allclose(batch.obs[:, 12], people.age_years, rtol=1e-6)
    np.testing.assert_allclose(batch.obs[:, 13], people.weight_kg, rtol=1e-6)
    np.testing.assert_array_equal(batch.obs[:, 16], people.vkorc1)
    stars = [model.CYP2C9[k] for k in people.cyp2c9]
    np.testing.assert_array_equal(batch.obs[:, 14], [s.count("*2") for s in stars])
    np.testing.assert_array_equal(batch.obs[:, 15], [s.count("*3") for s in stars])
    measured = {1: batch.state[0, MEASURED]}
    for day in range(2, 16):
        batch.step(
            np.array([2, 1, 1, 1]) if day == 2 else np.array([0, 1, 1, 1]) if day == 12 else np.ones(4, np.int64)
        )
        if day in env.CLINIC_DAYS:
            measured[day] = batch.state[0, MEASURED]
    last = batch.obs[0]  # the morning of day 15; tests on days 14, 10, 7, 5
    np.testing.assert_allclose(last[:4], [measured[d] for d in (14, 10, 7, 5)], rtol=1e-6)
    np.testing.assert_array_equal(last[4:8], [1, 5, 8, 10])
    np.testing.assert_array_equal(last[8:12], [5, 5, 5, 15])  # 6 mg from day 1 on, back to 5 on day 11, then held
    assert names[11] == "day"


def test_everything_the_clairvoyant_sees_is_true() -> None:
    batch = Batch(Warfarin(observe="all").kernel(), 8, 0, autoreset=False)
    people = Patients.from_state(batch.state)
    for _ in range(12):
        batch.step(np.full(8, 2))
    seen = dict(zip(obs_names("all"), batch.obs.T))
    np.testing.assert_allclose(seen["clearance, L/h"], people.cl, rtol=1e-6)
    np.testing.assert_allclose(seen["volume, L"], people.v, rtol=1e-6)
    np.testing.assert_allclose(seen["EC50, mg/L"], people.ec50, rtol=1e-6)
    np.testing.assert_allclose(seen["true INR"], batch.outcomes[:, 0], rtol=1e-6)
    chains = seen["quick chain, compartment 3"] + seen["slow chain, compartment 3"]
    np.testing.assert_allclose(1 + 10 * chains, batch.outcomes[:, 0], rtol=1e-5)


@pytest.mark.parametrize("observe", ["standard", "genotype", "all"])
@pytest.mark.parametrize("noise_cv", [0.1, 1.0])
def test_observations_stay_within_honest_bounds(observe: Any, noise_cv: float) -> None:
    kernel = Warfarin(observe=observe, actions="dose", noise_cv=noise_cv).kernel()
    space = kernel.observation_space
    assert isinstance(space, gymnasium.spaces.Box)
    assert np.isfinite(space.low).all()
    assert np.isfinite(space.high).all()
    run = days_of(Batch(kernel, 2000, 0, autoreset=False), doses(15.0, 2000))
    assert (run["obs"] >= space.low).all()
    assert (run["obs"] <= space.high).all()
    assert run["outcomes"][..., COLUMN["inr"]].max() > 12
    assert space.shape == (len(obs_names(observe)),)


def test_measurement_noise_is_lognormal_and_rounded() -> None:
    batch = Batch(Warfarin(actions="dose").kernel(), 20_000, 0, autoreset=False)
    run = days_of(batch, doses(7.0, 20_000, 20))
    measured, true = run["obs"][20, :, 0].astype(float), run["outcomes"][19, :, 0]
    np.testing.assert_allclose(measured * 10, np.round(measured * 10), atol=1e-4)
    error = np.log(measured / true)
    assert error.mean() == pytest.approx(0.0, abs=0.003)
    assert error.std() == pytest.approx(0.10, abs=0.003)
    exact = Batch(Warfarin(noise_cv=0.0).kernel(), 3, 0)
    np.testing.assert_array_equal(exact.obs[:, 0], 1.0)


@pytest.mark.parametrize(("schedule", "tests"), [("daily", list(range(1, 31))), ("clinic", list(env.CLINIC_DAYS))])
def test_schedule(schedule: Any, tests: list[int]) -> None:
    options = Warfarin(schedule=schedule)
    run = days_of(Batch(options.kernel(), 3, 0, autoreset=False), np.ones((30, 3), np.int64))
    assert list(options.test_days) == tests
    assert [d + 1 for d in range(30) if run["outcomes"][d, 0, COLUMN["tested"]]] == tests
    fresh = [d for d in range(1, 32) if (run["obs"][d - 1, :, 4] == 0).all()]
    assert fresh == tests + ([31] if schedule == "daily" else [])  # daily testing sees how the last dose ended, too
    assert Warfarin(schedule="clinic", days=45).test_days[-2:] == (35, 42)


def test_episode_ends_by_termination_on_the_last_day_and_restarts() -> None:
    batch = Batch(Warfarin(days=12).kernel(), 5, 0)
    for day in range(1, 25):
        batch.step(np.ones(5, np.int64))
        assert batch.terminated.all() == (day % 12 == 0)
        assert not batch.truncated.any()
    assert (batch.obs[:, 11] == 1).all()


def test_doses_move_by_one_milligram_within_their_range() -> None:
    batch = Batch(Warfarin(start_dose_mg=1.0).kernel(), 2, 0, autoreset=False)
    run = days_of(batch, np.tile([0, 2], (30, 1)))
    given = run["outcomes"][..., COLUMN["dose_mg"]]
    np.testing.assert_array_equal(given[:4, 0], [0, 0, 0, 0])
    np.testing.assert_array_equal(given[:3, 1], [2, 3, 4])
    assert given[-1, 1] == 15.0
    changed = run["outcomes"][..., COLUMN["dose_changed"]].sum(axis=0)
    np.testing.assert_array_equal(changed, [0, 13])  # from day 2 on: the first dose is a start
    wild = days_of(Batch(Warfarin(actions="dose").kernel(), 2, 0, autoreset=False), doses(99.0, 2, 1))
    assert (wild["outcomes"][0, :, COLUMN["dose_mg"]] == 15.0).all()


def test_true_inr_is_the_models() -> None:
    batch = Batch(Warfarin(actions="dose").kernel(), 40, 0, autoreset=False)
    people = Patients.from_state(batch.state)
    given = np.random.default_rng(0).choice([0.0, 2.5, 5.0, 7.5], (30, 40, 1)).astype(np.float32)
    run = days_of(batch, given)
    inr = model.simulate(people.cl, people.v, people.ec50, given[..., 0])
    np.testing.assert_allclose(run["outcomes"][..., 0], inr[1:], rtol=1e-12)


def test_reward_terms_by_hand() -> None:
    kernel = Warfarin().kernel()
    assert kernel.reward is not None
    inr = np.array([1.99, 2.0, 3.0, 3.5, 4.0, 4.01, 2.5])
    outcomes = {
        "in_range": (inr >= 2) & (inr <= 3), "below": inr < 2, "above_4": inr > 4,
        "major_bleed": np.array([0, 0, 0, 0, 0, 0, 1.0]),
    }  # fmt: skip
    np.testing.assert_array_equal(kernel.reward.split(outcomes).sum(axis=1), [-0.5, 1, 1, 0, 0, -2, 1 - 5])
    assert kernel.reward.term_names == ("in_range", "below", "above_4", "major_bleed")


def test_outcome_columns_and_reward_agree_with_the_inr() -> None:
    run = days_of(Batch(Warfarin(actions="dose").kernel(), 20_000, 0, autoreset=False), doses(9.0, 20_000))
    out = {name: run["outcomes"][..., k] for name, k in COLUMN.items()}
    np.testing.assert_array_equal(out["in_range"], (out["inr"] >= 2) & (out["inr"] <= 3))
    np.testing.assert_array_equal(out["below"], out["inr"] < 2)
    np.testing.assert_array_equal(out["above_4"], out["inr"] > 4)
    assert out["major_bleed"].sum() > 100
    by_hand = out["in_range"] - 0.5 * out["below"] - 2.0 * out["above_4"] - 5.0 * out["major_bleed"]
    np.testing.assert_allclose(run["reward"], by_hand, atol=1e-6)


def my_reward() -> Reward:
    return Reward("mine", (Term("low_dose", -0.1, lambda o: o["dose_mg"]),))


def test_other_rewards() -> None:
    batch = Batch(Warfarin(reward="survival").kernel(), 4, 0, autoreset=False)
    run = days_of(batch, np.zeros((30, 4), np.int64))
    np.testing.assert_array_equal(run["reward"], run["outcomes"][..., COLUMN["alive"]])
    mine = Batch(Warfarin(reward=f"{__name__}:my_reward").kernel(), 4, 0, autoreset=False)
    mine.step(np.ones(4, np.int64))
    np.testing.assert_allclose(mine.reward, -0.5)
    with pytest.raises(ConfigError, match="did you mean 'survival'"):
        Warfarin(reward="survive").kernel()


def test_simulated_harm_reproduces_the_hazards() -> None:
    """At each INR step the rate of events per living patient-year is the input, within five standard errors."""
    run = [
        days_of(Batch(Warfarin(actions="dose", days=60).kernel(), 30_000, s, autoreset=False), doses(mg, 30_000, 60))
        for s, mg in ((0, 4.0), (1, 9.0))
    ]
    out = {name: np.concatenate([r["outcomes"][..., k] for r in run]).ravel() for name, k in COLUMN.items()}
    before = out["alive"] + out["death"]  # alive that morning
    inr = out["inr"]
    bands = {
        "major_bleed": [(inr < 3, 0.01497), ((inr >= 3) & (inr <= 4), 0.06224), (inr > 4, 0.39118)],
        "thromboembolism": [(inr < 1.5, 0.077), ((inr >= 1.5) & (inr < 2), 0.019), (inr >= 2, 0.006)],
    }
    for event, steps in bands.items():
        for where, yearly_risk in steps:
            hazard = -np.log(1 - yearly_risk) / 365
            expected = hazard * before[where].sum()
            risk = out["bleed_risk" if event == "major_bleed" else "thromboembolism_risk"][where]
            np.testing.assert_allclose(risk, 1 - np.exp(-hazard))
            assert expected > 20
            assert out[event][where].sum() == pytest.approx(expected, abs=5 * expected**0.5)
    assert not (out["major_bleed"] * out["thromboembolism"]).any()  # they are drawn apart: both on one day is a rarity
    deaths, bleeds = out["death"].sum(), out["major_bleed"].sum()
    fatality = 0.156 + 0.043 + 0.002
    np.testing.assert_allclose(out["death_risk"], fatality * out["bleed_risk"])
    assert deaths == pytest.approx(fatality * bleeds, abs=5 * (fatality * bleeds) ** 0.5)


@pytest.mark.parametrize("ends", [False, True])
def test_death(ends: bool) -> None:
    batch = Batch(Warfarin(actions="dose", death_ends=ends).kernel(), 30_000, 0, autoreset=False)
    run = days_of(batch, doses(12.0, 30_000))
    out = {name: run["outcomes"][..., k] for name, k in COLUMN.items()}
    dead = out["death"].sum(axis=0) > 0
    assert dead.sum() > 20
    first = out["death"][:, dead].argmax(axis=0)
    alive = np.arange(30)[:, None] < first
    np.testing.assert_array_equal(out["alive"][:, dead], alive)  # from that day on 0
    np.testing.assert_array_equal(out["death"].sum(axis=0)[dead], 1)
    assert not (out["major_bleed"][:, dead] * (np.arange(30)[:, None] > first)).any()
    assert (out["major_bleed"][first, np.flatnonzero(dead)] == 1).all()
    assert (out["inr"][-1, dead] > 1.5).all()  # the body is simulated on
    expected = np.arange(30)[:, None] >= (first if ends else np.full_like(first, 29))
    np.testing.assert_array_equal(run["terminated"][:, dead], expected)


def test_nothing_happens_to_the_dead() -> None:
    batch = Batch(Warfarin(actions="dose").kernel(), 20_000, 0, autoreset=False)
    batch.state[:, env.ALIVE] = 0.0
    run = days_of(batch, doses(15.0, 20_000))
    assert not run["outcomes"][..., COLUMN["major_bleed"] : COLUMN["alive"] + 1].any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"schedule": "weekly"}, "schedule = 'weekly'"),
        ({"observe": "race"}, "observe = 'race'"),
        ({"actions": "both"}, "actions = 'both'"),
        ({"start_dose_mg": 20.0}, "start_dose_mg = 20.0"),
        ({"start_dose_mg": float("nan")}, "start_dose_mg = nan"),
        ({"days": 0}, "days = 0"),
        ({"noise_cv": -0.1}, "noise_cv = -0.1"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Warfarin(**options)


def test_race_is_never_observed() -> None:
    assert not any("race" in name for name in obs_names("all"))
    run = [
        Batch(Warfarin(observe="all").kernel(), 3000, 0).obs[:, k]
        for k in range(len(obs_names("all")))
    ]  # fmt: skip
    race = Patients.from_state(Batch(Warfarin().kernel(), 3000, 0).state).race
    assert not any(np.array_equal(column, race) for column in run)


def test_the_outcome_is_time_in_range_less_expected_harm_and_no_reward_at_all() -> None:
    kernel = Warfarin(actions="dose").kernel()
    assert kernel.outcome == "good_days"
    run = days_of(Batch(kernel, 3000, 1), doses(7.5, 3000))
    inr, risk = run["outcomes"][..., COLUMN["inr"]], run["outcomes"][..., COLUMN["bleed_risk"]]
    risk = risk + run["outcomes"][..., COLUMN["thromboembolism_risk"]]
    np.testing.assert_allclose(run["outcomes"][..., COLUMN["good_days"]], ((inr >= 2) & (inr <= 3)) - 730 * risk)
    by_band = [run["outcomes"][..., COLUMN["good_days"]][(inr >= low) & (inr < high)].mean() for low, high in BANDS]
    assert [round(value, 2) for value in by_band] == [-0.19, -0.07, 0.96, -0.14, -1.0]  # a day in each band
    for name in env.REWARDS:
        batch = Batch(Warfarin(actions="dose", reward=name).kernel(), 3000, 1)
        assert not np.allclose(days_of(batch, doses(7.5, 3000))["reward"], run["outcomes"][..., COLUMN["good_days"]])


BANDS = ((0, 1.5), (1.5, 2), (2, 3), (3, 4), (4, 30))


def test_strokes_kill_in_a_column_of_their_own() -> None:
    untreated = days_of(Batch(Warfarin(actions="dose").kernel(), 60_000, 3), doses(0, 60_000))["outcomes"]
    alive, with_strokes = untreated[-1, :, COLUMN["alive"]], untreated[-1, :, COLUMN["alive_strokes"]]
    assert (with_strokes <= alive).all()
    assert (alive - with_strokes).mean() == pytest.approx(
        30 * 2.195e-4 * 0.16, rel=0.25
    )  # INR 1: .077 a year, 16 % fatal


def test_a_bleed_ends_the_episode_where_that_is_asked_for() -> None:
    seen = 0
    batch = Batch(Warfarin(actions="dose", bleed_ends=True).kernel(), 4000, 5, autoreset=False)
    for _ in range(10):
        live = ~batch.terminated
        batch.step(np.full((4000, 1), 15, np.float32))
        bled = batch.outcomes[:, COLUMN["major_bleed"]] > 0
        np.testing.assert_array_equal(batch.terminated[live], bled[live])
        seen += bled[live].sum()
    assert seen > 3
