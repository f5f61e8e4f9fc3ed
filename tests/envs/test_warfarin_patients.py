"""Who the patients are and how they live: models, cohorts, variability, adherence, drift, drugs, starts, files."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from cumulant.envs.batched import Batch
from cumulant.envs.warfarin import cohorts, iwpc, model, model2007, people
from cumulant.envs.warfarin.env import OUTCOMES, Warfarin
from cumulant.envs.warfarin.patients import DIET, MTT_QUICK, MTT_SLOW, V2, Patients
from cumulant.errors import ConfigError, DataError

COLUMN = {name: k for k, name in enumerate(OUTCOMES)}


def cohort(n: int = 20_000, seed: int = 0, **options: Any) -> Patients:
    return Patients.from_state(Batch(Warfarin(**options).kernel(), n, seed).state)


def live(n: int, dose_mg: float | None, days: int = 30, **options: Any) -> tuple[Batch, np.ndarray]:
    """Give everybody a constant dose, their own if None; return the batch and the outcomes [T, B, K]."""
    batch = Batch(Warfarin(actions="dose", days=days, **options).kernel(), n, 1, autoreset=False)
    own = Patients.from_state(batch.state).maintenance_mg
    dose = np.full((n, 1), dose_mg, np.float32) if dose_mg is not None else own[:, None].astype(np.float32)
    outcomes = []
    for _ in range(days):
        batch.step(dose)
        outcomes.append(batch.outcomes.copy())
    return batch, np.array(outcomes)


def reference_2007(who: np.ndarray, dose_mg: np.ndarray) -> np.ndarray:
    """Integrate the published equations of 2007, drug amounts included, with LSODA; chains start at 1 as in the paper."""
    cl, v1, ec50, v2, mtt1, mtt2 = who
    n = len(cl)
    k10, k12, k21 = cl / v1, 0.131 / v1, 0.131 / v2

    def slope(_: float, y: np.ndarray) -> np.ndarray:
        gut, blood, tissue, a = y[:n], y[n : 2 * n], y[2 * n : 3 * n], y[3 * n :].reshape(7, n)
        u = 1 / (1 + (np.maximum(blood, 0) / v1 / ec50) ** 0.424)
        quick = [6 / mtt1 * (before - now) for before, now in zip([u, *a[:5]], a[:6])]
        flows = [-2 * gut, 2 * gut - (k10 + k12) * blood + k21 * tissue, k12 * blood - k21 * tissue]
        return np.concatenate([*flows, *quick, (u - a[6]) / mtt2])

    y = np.concatenate([np.zeros(3 * n), np.ones(7 * n)])
    inr = [np.ones(n)]
    for dose in dose_mg:
        y[:n] += dose / 2
        y = solve_ivp(slope, (0, 24), y, method="LSODA", rtol=1e-10, atol=1e-13).y[:, -1]
        a = y[3 * n :].reshape(7, n)
        inr.append(1 + 20 * (1 - a[5] * a[6]) ** 3.61)
    return np.array(inr)


def people_2007(n: int) -> np.ndarray:
    """Rows cl, v, ec50, v2, mtt_quick, mtt_slow of the environment's own patients."""
    batch = Batch(Warfarin(model="hamberg2007").kernel(), n, 3)
    who = Patients.from_state(batch.state)
    return np.array([who.cl, who.v, who.ec50, *(batch.state[:, k] for k in (V2, MTT_QUICK, MTT_SLOW))])


def test_a_month_of_hamberg_2007_agrees_with_lsoda() -> None:
    who = people_2007(24)
    dose_mg = np.random.default_rng(1).choice([0, 2.5, 5, 7.5, 10, 15], size=(30, 24))
    dose_mg[0] = np.random.default_rng(2).choice([2.5, 5, 15], 24)
    cl, v, ec50, v2, mtt1, mtt2 = who
    inr = model2007.simulate(cl, v, ec50, dose_mg, v2, mtt1, mtt2)
    exact = reference_2007(who, dose_mg)
    assert exact.max() > 5
    assert np.abs(inr - exact).max() < 2e-4


def test_the_environment_lives_by_the_model_it_names() -> None:
    for name, which in (("hamberg2010", model), ("hamberg2007", model2007)):
        batch = Batch(Warfarin(actions="dose", model=name).kernel(), 30, 3, autoreset=False)
        who = Patients.from_state(batch.state)
        more = [batch.state[:, k].copy() for k in (V2, MTT_QUICK, MTT_SLOW)] if name == "hamberg2007" else []
        given = np.random.default_rng(0).choice([0.0, 2.5, 5.0, 7.5], (30, 30, 1)).astype(np.float32)
        inr = []
        for dose in given:
            batch.step(dose)
            inr.append(batch.outcomes[:, 0].copy())
        expected = which.simulate(who.cl, who.v, who.ec50, given[..., 0], *more)
        np.testing.assert_allclose(inr, expected[1:], rtol=1e-12)


@pytest.mark.parametrize("which", [model, model2007])
def test_settled_is_where_a_long_time_leads(which: Any) -> None:
    who = people_2007(8) if which is model2007 else np.array([cohort(8).cl, cohort(8).v, cohort(8).ec50])
    body = np.zeros((1, which.BODY_SIZE))
    for i in range(8):
        which.start(body, 0, 0, *who[:, i])
        at = which.settle(body, 0, 0, 6.0)
        assert which.advance(body, 0, 0, 6.0) == pytest.approx(at, rel=1e-12)
        long = which.simulate(*who[:3, i : i + 1], np.full((2000, 1), 6.0), *(x[i : i + 1] for x in who[3:]))
        assert at == pytest.approx(long[-1, 0], rel=1e-9)


@pytest.mark.parametrize("which", [model, model2007])
def test_a_new_clearance_changes_the_rate_and_nothing_that_is_there(which: Any) -> None:
    """Half-way through, the drug in gut and blood stays; a clearance set to what it was is no change at all."""
    extra = (6.59,) if which is model2007 else ()
    rest = (6.59, 11.6, 120.0) if which is model2007 else ()
    body, same = np.zeros((1, which.BODY_SIZE)), np.zeros((1, which.BODY_SIZE))
    for each in (body, same):
        which.start(each, 0, 0, 0.3, 14.0, 4.0, *rest)
        for _ in range(9):
            which.advance(each, 0, 0, 5.0)
    before = which.concentration_now(body, 0, 0)
    which.set_clearance(body, 0, 0, 0.15, 14.0, *extra)
    assert which.concentration_now(body, 0, 0) == pytest.approx(before, rel=1e-12)
    slower = [which.advance(body, 0, 0, 0.0) for _ in range(5)]
    usual = [which.advance(same, 0, 0, 0.0) for _ in range(5)]
    assert np.all(np.array(slower) > usual)
    which.set_clearance(same, 0, 0, 0.3, 14.0, *extra)
    again = np.zeros((1, which.BODY_SIZE))
    which.start(again, 0, 0, 0.3, 14.0, 4.0, *rest)
    for dose in [5.0] * 9 + [0.0] * 5:
        which.advance(again, 0, 0, dose)
    assert which.advance(same, 0, 0, 5.0) == pytest.approx(which.advance(again, 0, 0, 5.0), rel=1e-12)


# mg a day for INR 2.5 at 71 years (the notes' independent coding), columns in the order of model.CYP2C9.
DOSES_2007 = {
    "G/G": [7.89, 5.40, 4.31, 2.19, 2.44, 1.17],
    "G/A": [5.17, 3.54, 2.83, 1.44, 1.60, 0.76],
    "A/A": [3.76, 2.58, 2.06, 1.05, 1.17, 0.56],
}


def test_doses_by_genotype_against_real_patients() -> None:
    """How far each model is from the doses of 3,137 real patients, and that the named factor mends the level."""
    rows = iwpc.comparison()
    assert len(rows) == 18
    assert sum(row["n"] for row in rows) == 3137
    for row in rows:
        dose = DOSES_2007[row["vkorc1"]][model.CYP2C9.index(row["cyp2c9"])]
        assert row["hamberg2007"] == pytest.approx(dose, abs=0.011)
    large = [row for row in rows if row["n"] >= 10]
    error = {
        name: np.mean([abs(math.log(row[name] / row["mean_old"])) for row in large])
        for name in ("hamberg2010", "hamberg2007", "hamberg2010_calibrated", "hamberg2007_calibrated")
    }
    assert error["hamberg2010"] == pytest.approx(0.145, abs=0.002)
    assert error["hamberg2007"] == pytest.approx(0.231, abs=0.002)
    for name in ("hamberg2010", "hamberg2007"):
        weight = np.array([row["n_old"] for row in rows])
        real = np.array([row["typical_old"] for row in rows])
        ratio = np.log(np.array([row[f"{name}_calibrated"] for row in rows]) / real)
        assert (weight * np.where(weight > 0, ratio, 0)).sum() == pytest.approx(0.0, abs=1e-9)
    common = [row for row in rows if row["n"] >= 100]
    ratios = [row["hamberg2010_calibrated"] / row["typical_old"] for row in common]
    assert 0.88 < min(ratios) < max(ratios) < 1.12


def test_the_page_shows_these_doses() -> None:
    page = (Path(__file__).parents[2] / "docs" / "patients.md").read_text(encoding="utf-8").replace("\\", "")
    for row in iwpc.comparison():
        doses = [row[f"{name}{end}"] for name in people.MODELS for end in ("", "_calibrated")]
        typical = f"{row['typical_old']:.2f}" if row["n_old"] else ""
        cells = [row["vkorc1"], row["cyp2c9"], str(row["n"]), f"{row['mean']:.2f}", f"{row['median']:.2f}", typical]
        line = "| " + " | ".join([*cells, *(f"{dose:.2f}" for dose in doses)]) + " |"
        assert line.replace("|  |", "| |") in page
    factors = (
        f"times **{iwpc.ec50_factor('hamberg2010'):.2f}** (2010) or **{iwpc.ec50_factor('hamberg2007'):.2f}** (2007)"
    )
    assert factors in page


def test_simulated_stable_doses_of_a_calibrated_cohort_are_those_of_iwpc() -> None:
    """White patients of 60 to 89 years: level and spread of the dose, by VKORC1 genotype, without CYP2C9 variants."""
    who = cohort(60_000, cohort="iwpc-white", variability="calibrated", calibration="iwpc")
    old = (who.age_years >= 60) & (who.age_years < 90) & (who.cyp2c9 == 0)
    for k, name in enumerate(model.VKORC1):
        mine = np.log(who.dose_for()[old & (who.vkorc1 == k)])
        assert math.exp(mine.mean()) == pytest.approx(iwpc.REAL[name, "*1/*1"].typical_old, rel=0.06)
    for name in people.MODELS:
        who = cohort(60_000, cohort="iwpc-white", variability="calibrated", model=name)
        everyone = np.log(who.dose_for()[(who.cyp2c9 == 0) & (who.vkorc1 == 1)])
        assert everyone.std() == pytest.approx(0.40, abs=0.015)


def test_variants_of_variability() -> None:
    def spreads(**options: Any) -> tuple[float, float]:
        who = cohort(**options)
        which = model if options["model"] == "hamberg2010" else model2007
        cl = np.log(who.cl / which.CL_TYPICAL[who.cyp2c9] / (1 + which.AGE_ON_CL * (who.age_years - 71)))
        return cl.std(), np.log(who.ec50 / which.EC50_TYPICAL[who.vkorc1]).std()

    expected = {
        ("hamberg2010", "published"): (0.298, 0.34),
        ("hamberg2010", "sd"): (0.089, 0.34),
        ("hamberg2010", "variance"): (0.298, 0.583),
        ("hamberg2007", "published"): (0.310, 0.409),
        ("hamberg2007", "variance"): (0.557, 0.640),
        ("hamberg2007", "none"): (0.0, 0.0),
    }
    for (name, variability), (cl, ec50) in expected.items():
        assert spreads(model=name, variability=variability) == pytest.approx((cl, ec50), rel=0.02, abs=1e-9)
    trimmed = cohort(variability="trimmed")
    eta = np.log(trimmed.ec50 / model.EC50_TYPICAL[trimmed.vkorc1]) / math.sqrt(0.34)
    assert np.abs(eta).max() == pytest.approx(0.6745, abs=0.001)  # the quartiles of the normal distribution
    share = (eta < 0.3186).mean()  # its 62.5 % point is the 75 % point of the middle half
    assert share == pytest.approx(0.75, abs=0.01)


@pytest.mark.parametrize(
    ("name", "stratum"), [("iwpc-white", "white"), ("iwpc-black", "black"), ("iwpc-asian", "asian")]
)
def test_cohorts_by_race(name: str, stratum: str) -> None:
    who, wanted = cohort(40_000, cohort=name, drugs="cohort"), cohorts.IWPC[stratum]
    assert (who.race == wanted.race).all()
    shares = np.bincount(who.cyp2c9, minlength=6) / len(who)
    np.testing.assert_allclose(shares, np.array(wanted.cyp2c9) / sum(wanted.cyp2c9), atol=0.008)
    np.testing.assert_allclose(np.bincount(who.vkorc1, minlength=3) / len(who), wanted.vkorc1, atol=0.008)
    assert who.weight_kg.mean() == pytest.approx(wanted.weight[0], abs=0.6)
    assert who.height_cm.mean() == pytest.approx(wanted.height[0], abs=0.3)
    assert who.female.mean() == pytest.approx(wanted.female, abs=0.01)
    assert who.amiodarone.mean() == pytest.approx(wanted.amiodarone, abs=0.005)
    assert who.inducer.mean() == pytest.approx(wanted.inducer, abs=0.004)
    assert who.smoker.mean() == pytest.approx(wanted.smoker, abs=0.008)


def test_the_mixed_cohort_has_each_race_with_its_own_genes() -> None:
    who = cohort(40_000, cohort="iwpc")
    np.testing.assert_allclose(
        np.bincount(who.race, minlength=3) / 40_000, np.array([3425, 692, 1654]) / 5771, atol=0.01
    )
    assert (who.vkorc1[who.race == 2] == 2).mean() == pytest.approx(0.822, abs=0.01)
    assert (who.vkorc1[who.race == 1] == 2).mean() == pytest.approx(0.023, abs=0.01)


def test_uniform_and_single_genotypes() -> None:
    who = cohort(36_000, cohort="uniform")
    cells = np.bincount(3 * who.cyp2c9 + who.vkorc1, minlength=18)
    assert cells.min() > 2000 * 0.9
    one = cohort(500, cohort="*1/*3 A/A")
    assert (one.cyp2c9 == 2).all()
    assert (one.vkorc1 == 2).all()
    with pytest.raises(ConfigError, match="did you mean 'iwpc'"):
        Warfarin(cohort="iwpcc").kernel()
    with pytest.raises(ConfigError, match=r"\*1/\*4"):
        Warfarin(cohort="*1/*4 A/A").kernel()


CSV = "name, age_years,weight_kg,cyp2c9,vkorc1,race,amiodarone\nA,71,80,*1/*3,G/G,Asian,yes\nB, 40 ,60,*1/*1,A/G,,no\n"


def test_your_own_patients(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text(CSV.replace(",,no", ",Black,no"), encoding="utf-8")
    who = cohort(2000, cohort=str(path), drugs="cohort", variability="none")
    first = who.age_years == 71
    assert 0.4 < first.mean() < 0.6
    assert set(who.age_years) == {71, 40}
    assert (who.weight_kg[first] == 80).all()
    assert (who.cyp2c9[first] == 2).all()
    assert (who.vkorc1[~first] == 1).all()
    assert (who.race[first] == 2).all()
    assert who.amiodarone[first].all()
    assert not who.amiodarone[~first].any()
    np.testing.assert_allclose(who.cl[first], (0.174 + 0.0422) * math.exp(-0.2538))
    np.testing.assert_allclose(who.ec50[~first], 2.05 + 0.96)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("vkorc1,", "vkorc,"), r"mine.csv: no column vkorc1 \(it has name, age_years"),
        (("*1/*3", "*1/*4"), r"mine.csv, row 2, column cyp2c9: '\*1/\*4' is none of \*1/\*1, "),
        ((" 40 ", "17"), "mine.csv, row 3, column age_years: 17 is out of range; give 18 to 95 years"),
        ((",80,", ",heavy,"), "row 2, column weight_kg: 'heavy' is no number"),
        ((",80,", ",nan,"), "row 2, column weight_kg: nan is out of range"),
        (("Asian", "Martian"), "row 2, column race: 'Martian' is none of White, Black"),
        (("yes", "maybe"), "row 2, column amiodarone: 'maybe' is neither yes"),
        (("B, 40 ,60,*1/*1,A/G,,no", "B,40"), "row 3: column weight_kg: there is no cell"),
        ((CSV.partition("\n")[2], ""), "there is no patient below the header"),
        ((CSV, ""), r"no column age_years, weight_kg, cyp2c9, vkorc1 \(it is empty\)"),
    ],
)
def test_a_file_that_makes_no_sense_says_where(tmp_path: Path, change: tuple[str, str], message: str) -> None:
    path = tmp_path / "mine.csv"
    good = CSV.replace(",,no", ",White,no")
    bad = "" if change == (CSV, "") else good.partition("\n")[0] + "\n" if not change[1] else good
    path.write_text(bad.replace(*change) if change[1] else bad, encoding="utf-8")
    if change[0].startswith("B, 40"):
        path.write_text(CSV.replace(*change), encoding="utf-8")
    with pytest.raises(DataError, match=message):
        Warfarin(cohort=str(path)).kernel()


def test_a_file_that_is_not_there() -> None:
    with pytest.raises(DataError, match=r"cohort nowhere.csv cannot be read: No such file"):
        Warfarin(cohort="nowhere.csv").kernel()


def test_missed_doses() -> None:
    batch, out = live(20_000, 5.0, adherence=0.79)
    rate = Patients.from_state(batch.state).misses
    assert rate.mean() == pytest.approx(0.21, abs=0.005)
    np.testing.assert_allclose(np.quantile(rate, [0.25, 0.5, 0.75]), [0.058, 0.144, 0.338], atol=0.03)  # IN-RANGE
    missed = out[..., COLUMN["missed"]]
    assert missed.mean() == pytest.approx(0.21, abs=0.005)
    assert np.corrcoef(missed.mean(axis=0), rate)[0, 1] > 0.85  # the same patients miss again and again
    assert (out[..., COLUMN["dose_mg"]] == 5.0).all()  # what was prescribed
    often = rate > np.quantile(rate, 0.9)
    _, full = live(20_000, 5.0)
    assert (out[-1, often, 0] < full[-1, often, 0]).mean() > 0.99
    assert not full[..., COLUMN["missed"]].any()
    assert (out[0, missed[0] == 0, 0] == full[0, missed[0] == 0, 0]).all()  # the same person, the same first dose


def test_biological_variation_is_true_and_lasts() -> None:
    _, out = live(4000, 5.0, 60, biological_cv=0.09, noise_cv=0.0)
    _, still = live(4000, 5.0, 60, noise_cv=0.0)
    drift = np.log(out[..., 0] / still[..., 0])
    assert drift.std() == pytest.approx(0.09, abs=0.002)
    assert abs(drift.mean()) < 0.003
    for lag in (1, 7):
        got = np.corrcoef(drift[:-lag].ravel(), drift[lag:].ravel())[0, 1]
        assert got == pytest.approx(math.exp(-lag / people.BIOLOGICAL_DAYS), abs=0.02)


@pytest.mark.parametrize("name", people.MODELS)
def test_vitamin_k_moves_the_inr_as_published(name: str) -> None:
    """100 ug a day more, for good, lower an INR of 2.5 by 0.2; the diet itself is an AR(1) process."""
    which = model if name == "hamberg2010" else model2007
    rest = (6.59, 11.6, 120.0) if name == "hamberg2007" else ()
    body = np.zeros((1, which.BODY_SIZE))
    which.start(body, 0, 0, 0.3, 14.0, 4.0, *rest)
    dose = float(which.steady_state_dose(np.array(0.3), np.array(4.0)))
    usual = which.settle(body, 0, 0, dose)
    which.start(body, 0, 0, 0.3, 14.0, 4.0 * math.exp(people.log_ec50_by_vitamin_k(name)), *rest)
    assert which.settle(body, 0, 0, dose) - usual == pytest.approx(-0.2, abs=0.02)
    batch, _ = live(5000, 5.0, 1, model=name, vitamin_k_sd=50.0)
    first = batch.state[:, DIET].copy()
    batch.step(np.full((5000, 1), 5.0, np.float32))
    second = batch.state[:, DIET]
    assert second.std() == pytest.approx(0.5 * people.log_ec50_by_vitamin_k(name), rel=0.04)
    assert np.corrcoef(first, second)[0, 1] == pytest.approx(math.exp(-1 / people.VITAMIN_K_DAYS), abs=0.02)


@pytest.mark.parametrize("name", people.MODELS)
def test_drugs_change_the_dose_as_published(name: str) -> None:
    usual = cohort(20_000, model=name)
    long = cohort(20_000, model=name, drugs="cohort")
    took = long.amiodarone
    assert took.mean() == pytest.approx(0.1151, abs=0.006)
    ratio = long.dose_for() / usual.dose_for()
    np.testing.assert_allclose(ratio[took], math.exp(-0.2538))
    np.testing.assert_allclose(ratio[~took], 1.0)
    # Started on a day of its own, its effect grows; after 7 weeks 95 % of the reduction by 44 % are there.
    batch = Batch(Warfarin(model=name, drugs="amiodarone", actions="dose", days=60).kernel(), 300, 0, autoreset=False)
    who = Patients.from_state(batch.state)
    assert (who.drug == 1).all()
    assert not who.amiodarone.any()
    assert (who.drug_day >= 1).all()
    assert (who.drug_day <= 60).all()
    np.testing.assert_allclose(who.cl, cohort(300, 0, model=name).cl)
    for day in range(1, 61):
        batch.step(np.full((300, 1), 4.0, np.float32))
        now = Patients.from_state(batch.state).cl / who.cl
        np.testing.assert_allclose(now[who.drug_day > day], 1.0)
        on_it = who.drug_day <= day
        expected = 0.56 ** (1 - np.exp(-(day + 1 - who.drug_day[on_it]) / 16))
        np.testing.assert_allclose(now[on_it], expected)
    assert 0.56 ** (1 - math.exp(-49 / 16)) == pytest.approx(0.56, abs=0.02)
    more = cohort(20_000, model=name, drugs="cohort", cohort="iwpc-white")
    plain = cohort(20_000, model=name, cohort="iwpc-white")
    np.testing.assert_allclose((more.dose_for() / plain.dose_for())[more.inducer], 1.4395, rtol=1e-3)


@pytest.mark.parametrize("name", people.MODELS)
def test_a_maintenance_start_is_steady_near_2_5(name: str) -> None:
    batch, out = live(4000, None, 30, model=name, start="maintenance", noise_cv=0.0)
    who = Patients.from_state(batch.state)
    steps = who.maintenance_mg * 2
    np.testing.assert_array_equal(steps, np.round(steps))
    inr = out[..., 0]
    np.testing.assert_allclose(inr, np.broadcast_to(inr[0], inr.shape), rtol=1e-9)  # nothing moves on the same dose
    fits = (who.maintenance_mg > 2.0) & (who.maintenance_mg < 15.0)
    assert np.abs(inr[0, fits] - 2.5).max() < 0.45  # half-milligram steps, and the swing of a day
    fresh = Batch(Warfarin(start="maintenance", model=name).kernel(), 50, 1)
    mine = Patients.from_state(fresh.state).maintenance_mg
    np.testing.assert_allclose(fresh.obs[:, 8:11], np.repeat(mine[:, None], 3, axis=1))
    assert (cohort(50, 1).maintenance_mg == 0).all()


def test_one_patient_under_every_option_is_the_same_person() -> None:
    base = cohort(300, 5)
    for options in ({"model": "hamberg2007"}, {"adherence": 0.8}, {"drugs": "cohort"}, {"start": "maintenance"}):
        who = cohort(300, 5, **options)
        for field in ("age_years", "weight_kg", "cyp2c9", "vkorc1", "race", "female"):
            np.testing.assert_array_equal(getattr(who, field), getattr(base, field))
    other = cohort(300, 5, model="hamberg2007")
    z_2010 = np.log(base.ec50 / model.EC50_TYPICAL[base.vkorc1]) / 0.34
    z_2007 = np.log(other.ec50 / model2007.EC50_TYPICAL[other.vkorc1]) / 0.409
    np.testing.assert_allclose(z_2010, z_2007, atol=1e-9)


@pytest.mark.parametrize(
    "options",
    [
        {"model": "hamberg2007", "observe": "all", "vitamin_k_sd": 100.0, "drugs": "inducer"},
        {"observe": "all", "biological_cv": 0.5, "start": "maintenance", "drugs": "amiodarone", "adherence": 0.5},
        {"observe": "all", "variability": "variance", "calibration": "iwpc", "cohort": "iwpc"},
    ],
)
def test_observations_stay_within_honest_bounds_under_other_options(options: dict[str, Any]) -> None:
    batch = Batch(Warfarin(actions="dose", days=20, **options).kernel(), 1500, 0, autoreset=False)
    low, high = batch.observation_space.low, batch.observation_space.high  # type: ignore[attr-defined]
    assert np.isfinite(high).all()
    for _ in range(20):
        assert ((batch.obs >= low) & (batch.obs <= high)).all()
        batch.step(np.full((1500, 1), 15.0, np.float32))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": "hamberg2015"}, "model = 'hamberg2015'"),
        ({"variability": "iqr"}, "variability = 'iqr'"),
        ({"adherence": 0.0}, "adherence = 0.0"),
        ({"adherence": 1.2}, "adherence = 1.2"),
        ({"biological_cv": -0.1}, "biological_cv = -0.1"),
        ({"vitamin_k_sd": float("nan")}, "vitamin_k_sd = nan"),
        ({"drugs": "aspirin"}, "drugs = 'aspirin'"),
        ({"harm": "guess"}, "harm = 'guess'"),
        ({"hazard_multiplier": 0.0}, "hazard_multiplier = 0.0"),
        ({"start": "late"}, "start = 'late'"),
        ({"calibration": "yes"}, "calibration = 'yes'"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Warfarin(**options)
