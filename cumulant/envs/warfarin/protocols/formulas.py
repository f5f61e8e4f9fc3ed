"""Dose prediction formulas as published: arrays in, mg a day out. Our re-codings; each coefficient is the source's.

Mind the units, in which other codings of these formulas went wrong: IWPC counts age in whole decades and gives the square root
of a weekly dose; EU-PACT's variant counts it in years; Gage's gives the logarithm of a daily dose and Lenzini's of a weekly one;
"number of A alleles" is 2 for A/A; EU-PACT's loading scheme starts from a daily dose.

Of the covariates that a formula asks for, stroke, diabetes, fluvastatin and a thrombosis as the reason for treatment are not
simulated and count as absent. Race enters where the published formula has a term for it.

Axes: B patients.
"""

from __future__ import annotations

import numpy as np

from cumulant.envs.warfarin.patients import RACES, STAR2, STAR3, Patients

TARGET_INR = 2.5
# Rate constants of elimination, 1/h, by CYP2C9 genotype (in the order of model.CYP2C9): EU-PACT's protocol, p. 19.
EU_PACT_RATES = np.array([0.0189, 0.0158, 0.0132, 0.0130, 0.0090, 0.0075])
_IWPC_VKORC1 = np.array([0.0, -0.8677, -1.6974])
_IWPC_CYP2C9 = np.array([0.0, -0.5211, -0.9357, -1.0616, -1.9206, -2.3312])


def _is(patients: Patients, race: str) -> np.ndarray:
    return (patients.race == RACES.index(race)).astype(np.float64)


def _other_race(patients: Patients) -> np.ndarray:
    """Return who is "mixed or missing" to IWPC: neither White, Black nor Asian, ``[B]``."""
    return 1.0 - _is(patients, "White") - _is(patients, "Black") - _is(patients, "Asian")


def body_surface(patients: Patients) -> np.ndarray:
    """Return the body surface by Mosteller's formula, m^2, ``[B]``."""
    return np.sqrt(patients.height_cm * patients.weight_kg / 3600.0)


def iwpc_clinical(patients: Patients) -> np.ndarray:
    """Return IWPC's clinical prediction, mg a day, ``[B]``.

    Source: IWPC 2009, N Engl J Med 360:753, supplement, S1e.
    """
    root = (
        4.0376
        - 0.2546 * np.floor(patients.age_years / 10.0)
        + 0.0118 * patients.height_cm
        + 0.0134 * patients.weight_kg
        - 0.6752 * _is(patients, "Asian")
        + 0.4060 * _is(patients, "Black")
        + 0.0443 * _other_race(patients)
        + 1.2799 * patients.inducer
        - 0.5695 * patients.amiodarone
    )
    return root**2 / 7.0


def iwpc_genetic(patients: Patients) -> np.ndarray:
    """Return IWPC's pharmacogenetic prediction, mg a day, ``[B]``.

    Source: IWPC 2009, N Engl J Med 360:753, supplement, S1e.
    """
    root = (
        5.6044
        - 0.2614 * np.floor(patients.age_years / 10.0)
        + 0.0087 * patients.height_cm
        + 0.0128 * patients.weight_kg
        + _IWPC_VKORC1[patients.vkorc1]
        + _IWPC_CYP2C9[patients.cyp2c9]
        - 0.1092 * _is(patients, "Asian")
        - 0.2760 * _is(patients, "Black")
        - 0.1032 * _other_race(patients)
        + 1.1816 * patients.inducer
        - 0.5503 * patients.amiodarone
    )
    return root**2 / 7.0


def eu_pact(patients: Patients) -> np.ndarray:
    """Return EU-PACT's maintenance prediction, mg a day, ``[B]``: IWPC's with age in years, without race and inducers.

    Source: EU-PACT protocol, p. 18 (Pirmohamed 2013, N Engl J Med 369:2294), as coded in ReiL.
    """
    root = (
        5.6044
        - 0.02614 * patients.age_years
        + 0.0087 * patients.height_cm
        + 0.0128 * patients.weight_kg
        + _IWPC_VKORC1[patients.vkorc1]
        + _IWPC_CYP2C9[patients.cyp2c9]
        - 0.5503 * patients.amiodarone
    )
    return root**2 / 7.0


def eu_pact_loading(patients: Patients) -> np.ndarray:
    """Return EU-PACT's doses of days 1 to 3, mg, ``[3, B]``.

        LD3 = D / ((1 - q) (1 + q + q^2)),  q = exp(-24 k)
        doses = D + (1.5, 1, 0.5) (LD3 - D)

    with the *daily* dose D of ``eu_pact`` and the rate of elimination k of the genotype.

    Source: EU-PACT protocol, p. 19, as coded in ReiL.
    """
    daily = eu_pact(patients)
    left = np.exp(-24.0 * EU_PACT_RATES[patients.cyp2c9])
    loading = daily / ((1.0 - left) * (1.0 + left + left**2))
    return np.stack([daily + more * (loading - daily) for more in (1.5, 1.0, 0.5)])


def eu_pact_control(patients: Patients) -> np.ndarray:
    """Return the doses of days 1 to 3 of EU-PACT's control arm, mg, ``[3, B]``.

    Source: Pirmohamed 2013, N Engl J Med 369:2294.
    """
    rest = np.full(len(patients), 5.0)
    return np.stack([np.where(patients.age_years > 75.0, 5.0, 10.0), rest, rest])


def gage_clinical(patients: Patients) -> np.ndarray:
    """Return Gage's clinical prediction, mg a day, ``[B]``.

    Source: Gage et al. 2008, Clin Pharmacol Ther 84:326, as coded in ReiL.
    """
    return np.exp(
        0.613
        + 0.4250 * body_surface(patients)
        - 0.0075 * patients.age_years
        + 0.1560 * _is(patients, "Black")
        + 0.2160 * TARGET_INR
        - 0.2570 * patients.amiodarone
        + 0.1080 * patients.smoker
    )


def gage_genetic(patients: Patients) -> np.ndarray:
    """Return Gage's pharmacogenetic prediction, mg a day, ``[B]``.

    Source: Gage et al. 2008, Clin Pharmacol Ther 84:326 (coefficients agree with the abstract's percentages).
    Differs from source: none known; one coding counts A/A as no A allele.
    """
    return np.exp(
        0.9751
        - 0.3238 * patients.vkorc1  # number of A alleles
        + 0.4317 * body_surface(patients)
        - 0.4008 * STAR3[patients.cyp2c9]
        - 0.00745 * patients.age_years
        - 0.2066 * STAR2[patients.cyp2c9]
        + 0.2029 * TARGET_INR
        - 0.2538 * patients.amiodarone
        + 0.0922 * patients.smoker
        - 0.0901 * _is(patients, "Black")
    )


def lenzini_clinical(patients: Patients, inr: np.ndarray, before_mg: np.ndarray) -> np.ndarray:
    """Return Lenzini's clinical revision on day 4 or 5, mg a day, ``[B]``.

    Args:
        patients: Who they are, ``[B]``.
        inr: INR of this morning, ``[B]``.
        before_mg: Doses given 2, 3 and 4 days before, 0 where there was none, ``[3, B]``.

    Source: Lenzini et al. 2010, Clin Pharmacol Ther 87:572, as coded in ReiL (one source).
    """
    weekly = np.exp(
        2.81602
        - 0.76679 * np.log(inr)
        - 0.00590 * patients.age_years
        + 0.27815 * TARGET_INR
        + 0.17675 * body_surface(patients)
        + 0.07123 * _is(patients, "Black")
        - 0.11137 * patients.amiodarone
        + 0.03471 * before_mg[0]
        + 0.03047 * before_mg[1]
        + 0.01929 * before_mg[2]
    )
    return weekly / 7.0


def lenzini_genetic(patients: Patients, inr: np.ndarray, before_mg: np.ndarray) -> np.ndarray:
    """Return Lenzini's pharmacogenetic revision on day 4 or 5, mg a day, ``[B]``.

    Args:
        patients: Who they are, ``[B]``.
        inr: INR of this morning, ``[B]``.
        before_mg: Doses given 2, 3 and 4 days before, 0 where there was none, ``[3, B]``.

    Source: Lenzini et al. 2010, Clin Pharmacol Ther 87:572, as coded in ReiL (one source).
    """
    weekly = np.exp(
        3.10894
        - 0.00767 * patients.age_years
        - 0.51611 * np.log(inr)
        - 0.23032 * patients.vkorc1  # number of A alleles
        - 0.14745 * STAR2[patients.cyp2c9]
        - 0.30770 * STAR3[patients.cyp2c9]
        + 0.24597 * body_surface(patients)
        + 0.26729 * TARGET_INR
        - 0.09644 * _is(patients, "Black")
        - 0.10350 * patients.amiodarone
        + 0.01690 * before_mg[0]
        + 0.02018 * before_mg[1]
        + 0.01065 * before_mg[2]
    )
    return weekly / 7.0
