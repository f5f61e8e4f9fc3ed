"""Simulated doses by genotype beside those of real patients, and the factor that would bring them together.

``REAL`` summarises 3,137 patients of the International Warfarin Pharmacogenetics Consortium: those with both genotypes, a
stable dose and an INR of 2 to 3 on it. Doses are in mg a day. It is a table of our own making from the public data; the data
are not here.

Source: IWPC 2009, N Engl J Med 360:753, doi 10.1056/NEJMoa0809329; data set of ClinPGx (PharmGKB).
"""

from __future__ import annotations

import functools
import math
from typing import Any, NamedTuple

import numpy as np

from cumulant.envs.warfarin import model, model2007


class Real(NamedTuple):
    """Real stable patients of one genotype; doses in mg a day.

    Args:
        n: Patients.
        mean: Mean dose.
        median: Median dose.
        n_old: Of them, from 60 to 89 years old.
        mean_old: Their mean dose; NaN where there are none.
        typical_old: Their geometric mean dose.
    """

    n: int
    mean: float
    median: float
    n_old: int
    mean_old: float
    typical_old: float


_NONE = math.nan
REAL: dict[tuple[str, str], Real] = {  # VKORC1, CYP2C9
    ("G/G", "*1/*1"): Real(905, 6.58, 6.07, 512, 5.97, 5.583),
    ("G/G", "*1/*2"): Real(169, 5.44, 5.00, 109, 4.94, 4.575),
    ("G/G", "*1/*3"): Real(92, 4.76, 4.38, 61, 4.09, 3.793),
    ("G/G", "*2/*2"): Real(13, 4.46, 4.14, 9, 3.79, 3.465),
    ("G/G", "*2/*3"): Real(13, 4.10, 3.75, 7, 3.41, 3.339),
    ("G/G", "*3/*3"): Real(5, 2.76, 3.57, 2, 2.34, 1.717),
    ("G/A", "*1/*1"): Real(801, 4.84, 4.64, 517, 4.39, 4.101),
    ("G/A", "*1/*2"): Real(213, 4.23, 3.93, 131, 3.74, 3.462),
    ("G/A", "*1/*3"): Real(110, 3.45, 3.00, 78, 2.94, 2.751),
    ("G/A", "*2/*2"): Real(16, 3.49, 3.29, 12, 3.39, 3.278),
    ("G/A", "*2/*3"): Real(15, 2.26, 2.00, 7, 1.87, 1.850),
    ("G/A", "*3/*3"): Real(4, 0.88, 0.70, 4, 0.88, 0.811),
    ("A/A", "*1/*1"): Real(659, 3.28, 3.00, 388, 2.96, 2.733),
    ("A/A", "*1/*2"): Real(50, 3.18, 3.00, 32, 2.78, 2.558),
    ("A/A", "*1/*3"): Real(59, 2.60, 2.50, 31, 2.32, 2.119),
    ("A/A", "*2/*2"): Real(6, 1.75, 1.80, 3, 1.64, 1.551),
    ("A/A", "*2/*3"): Real(5, 1.69, 1.50, 5, 1.69, 1.570),
    ("A/A", "*3/*3"): Real(2, 1.57, 1.57, 0, _NONE, _NONE),
}


def typical_dose(model_name: str, vkorc1: str, cyp2c9: str, inr: float = 2.5) -> float:
    """Return the dose that holds an INR in the typical patient of a genotype at 71 years, mg a day.

    Args:
        model_name: hamberg2010 or hamberg2007.
        vkorc1: Name in ``model.VKORC1``.
        cyp2c9: Name in ``model.CYP2C9``.
        inr: INR to hold.

    >>> round(typical_dose("hamberg2010", "G/A", "*1/*1"), 2), round(typical_dose("hamberg2007", "G/A", "*1/*1"), 2)
    (5.66, 5.17)
    """
    which = model if model_name == "hamberg2010" else model2007
    cl = which.CL_TYPICAL[model.CYP2C9.index(cyp2c9)]
    return float(which.steady_state_dose(cl, which.EC50_TYPICAL[model.VKORC1.index(vkorc1)], inr))


@functools.cache
def ec50_factor(model_name: str) -> float:
    """Return the factor on EC50 that calibrates a model.

    The typical dose is proportional to EC50. The factor is the geometric mean, over the genotypes by number of patients, of the
    real typical (geometric mean) dose of 60 to 89 years over the model's at 71.

    >>> round(ec50_factor("hamberg2010"), 2), round(ec50_factor("hamberg2007"), 2)
    (0.76, 0.8)
    """
    rows = [(real.n_old, real.typical_old / typical_dose(model_name, *key)) for key, real in REAL.items() if real.n_old]
    weight, ratio = np.array(rows).T
    return math.exp(float((weight * np.log(ratio)).sum() / weight.sum()))


def comparison(inr: float = 2.5) -> list[dict[str, Any]]:
    """Return one row per genotype: real doses beside those of the typical patient of both models, as they are and calibrated.

    Args:
        inr: INR that the simulated dose is to hold.
    """
    rows = []
    for (vkorc1, cyp2c9), real in REAL.items():
        row: dict[str, Any] = {"vkorc1": vkorc1, "cyp2c9": cyp2c9, **real._asdict()}
        for name in ("hamberg2010", "hamberg2007"):
            row[name] = typical_dose(name, vkorc1, cyp2c9, inr)
            row[f"{name}_calibrated"] = row[name] * ec50_factor(name)
        rows.append(row)
    return rows
