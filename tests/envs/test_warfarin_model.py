"""The model against an ODE solver, the published dose table, and what any anticoagulant must do."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from cumulant.envs.warfarin import harm, model


def people(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    age = rng.uniform(18, 95, n)
    cl = model.CL_TYPICAL[rng.integers(0, 6, n)] * (1 - 0.00571 * (age - 71)) * np.exp(rng.normal(0, 0.298, n))
    ec50 = model.EC50_TYPICAL[rng.integers(0, 3, n)] * np.exp(rng.normal(0, 0.34, n))
    return cl, 14.3 * np.exp(rng.normal(0, 0.232, n)), ec50


def reference(cl: np.ndarray, v: np.ndarray, ec50: np.ndarray, dose_mg: np.ndarray) -> np.ndarray:
    """Integrate the published equations, drug amounts included, with LSODA; chains start at 1 as in the paper."""
    n = len(cl)
    k1, k2, ka = 3 / 28.6, 3 / 118.3, 2.0

    def slope(_: float, y: np.ndarray) -> np.ndarray:
        gut, blood, c = y[:n], y[n : 2 * n], y[2 * n :].reshape(6, n)
        x = (np.maximum(blood, 0) / v / ec50) ** 1.15
        u = 1 / (1 + x)
        chains = [k1 * (u - c[0]), k1 * (c[0] - c[1]), k1 * (c[1] - c[2])]
        chains += [k2 * (u - c[3]), k2 * (c[3] - c[4]), k2 * (c[4] - c[5])]
        return np.concatenate([-ka * gut, ka * gut - cl / v * blood, *chains])

    y = np.concatenate([np.zeros(2 * n), np.ones(6 * n)])
    inr = [np.ones(n)]
    for dose in dose_mg:
        y[:n] += dose / 2
        y = solve_ivp(slope, (0, 24), y, method="LSODA", rtol=1e-10, atol=1e-12).y[:, -1]
        c = y[2 * n :].reshape(6, n)
        inr.append(1 + 20 * (1 - (c[2] + c[5]) / 2))
    return np.array(inr)


def test_a_month_agrees_with_lsoda() -> None:
    cl, v, ec50 = people(24)
    dose_mg = np.random.default_rng(1).choice([0, 2.5, 5, 7.5, 10, 15], size=(30, 24))
    dose_mg[0] = np.random.default_rng(2).choice(
        [2.5, 5, 15], 24
    )  # day 1 is the hard one: the concentration rises from 0
    inr, exact = model.simulate(cl, v, ec50, dose_mg), reference(cl, v, ec50, dose_mg)
    assert exact.max() > 6  # far above the band, too
    assert np.abs(inr - exact).max() < 2e-4


# mg a day for INR 2.5 at 71 years, one row per VKORC1 genotype, columns in the order of model.CYP2C9.
DOSES = {
    "G/G": [7.71, 5.80, 4.79, 3.89, 2.88, 1.87],
    "G/A": [5.66, 4.26, 3.51, 2.86, 2.12, 1.37],
    "A/A": [3.61, 2.72, 2.24, 1.82, 1.35, 0.88],
}


@pytest.mark.parametrize("vkorc1", model.VKORC1)
def test_dose_by_genotype(vkorc1: str) -> None:
    ec50 = model.EC50_TYPICAL[model.VKORC1.index(vkorc1)]
    np.testing.assert_allclose(model.steady_state_dose(model.CL_TYPICAL, ec50), DOSES[vkorc1], atol=0.02)


def test_the_steady_state_dose_holds_its_inr() -> None:
    cl, v, ec50 = people(50)
    dose = model.steady_state_dose(cl, ec50, 2.5)
    last = model.simulate(cl, v, ec50, np.tile(dose, (400, 1)))[-1]
    # The solver takes the concentration as constant; the swing over a day costs a little.
    assert np.abs(last - 2.5).max() < 0.1


@pytest.mark.parametrize(("vkorc1", "plateau"), [(0, 1.94), (1, 2.32), (2, 3.11)])
def test_plateau_on_5_mg(vkorc1: int, plateau: float) -> None:
    one = np.ones(1)
    inr = model.simulate(0.348 * one, 14.3 * one, model.EC50_TYPICAL[vkorc1] * one, np.full((40, 1), 5.0))
    assert inr[15, 0] == pytest.approx(plateau, rel=0.02)
    assert inr[-1, 0] == pytest.approx(plateau, rel=0.01)


def test_no_ceiling_and_no_floor_where_there_should_be_none() -> None:
    cl, v, ec50 = people(200)
    dose = model.steady_state_dose(cl, ec50)
    days = np.ones((30, 1))
    ten_times, none = model.simulate(cl, v, ec50, 10 * dose * days), model.simulate(cl, v, ec50, 0 * dose * days)
    assert (ten_times[-1] > 8).all()  # an overdose is possible: nothing caps the INR near the band
    assert (ten_times <= 21).all()
    assert (none == 1.0).all()
    more = model.simulate(cl, v, ec50, 1.2 * dose * days)
    usual = model.simulate(cl, v, ec50, dose * days)
    assert (more[1:] > usual[1:]).all()


def test_sensitive_genotypes_have_higher_inr_at_the_same_dose() -> None:
    cl, ec50 = np.meshgrid(model.CL_TYPICAL, model.EC50_TYPICAL, indexing="ij")
    inr = model.simulate(cl.ravel(), np.full(18, 14.3), ec50.ravel(), np.full((30, 18), 5.0))[-1].reshape(6, 3)
    assert (np.diff(inr, axis=0) > 0).all()  # CYP2C9, from *1/*1 to *3/*3
    assert (np.diff(inr, axis=1) > 0).all()  # VKORC1, from G/G to A/A


def test_the_inr_lags_a_hold_and_falls_after_it() -> None:
    one = np.ones(1)
    dose = np.full((50, 1), 7.71)
    dose[30:33] = 0.0
    inr = model.simulate(0.348 * one, 14.3 * one, 4.1 * one, dose)[:, 0]
    assert inr[30] == pytest.approx(2.49, abs=0.05)
    assert inr[31] > 2.1  # one day later most of it is still there
    assert inr[30:36].argmin() in (3, 4)  # the nadir comes about a day after the restart
    assert inr[33:35].min() == pytest.approx(1.79, abs=0.06)
    assert inr[-1] == pytest.approx(2.49, abs=0.05)


def test_hazard_steps_are_the_published_ones() -> None:
    """A year of days at one INR gives the published risk in a year."""

    def yearly(probability: float) -> float:
        return 1 - (1 - probability) ** 365

    bleed = {1.0: 0.01497, 2.99: 0.01497, 3.0: 0.06224, 4.0: 0.06224, 4.01: 0.39118, 12.0: 0.39118}
    stroke = {1.0: 0.077, 1.49: 0.077, 1.5: 0.019, 1.99: 0.019, 2.0: 0.006, 9.0: 0.006}
    assert {inr: yearly(harm.bleed_probability(inr)) for inr in bleed} == pytest.approx(bleed)
    assert {inr: yearly(harm.thromboembolism_probability(inr)) for inr in stroke} == pytest.approx(stroke)
    assert pytest.approx(0.201) == harm.BLEED_FATALITY
