"""The virtual cohort: who the simulated patients are.

Cohort ``aurora``: the marginal distributions of 14,206 patients with atrial fibrillation of the Aurora health system,
drawn independently of each other (the source study used a Bayesian network, whose tables are not public). CYP2C9
``*2/*2`` at 6.5 % is far above other White populations (1.7 % in IWPC) and is kept as published.

Patient i of (seed, environment, episode) is always the same person: everything is drawn from ``counter_rng`` at step
-1.

Source: Ravvaz et al. 2017, Circ Cardiovasc Genet 10:e001804, as coded in ReiL's ``PatientWarfarinRavvaz``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numba import njit

from cumulant.envs.counter_rng import normal, uniform
from cumulant.envs.warfarin import model

RACES = ("White", "Black", "Asian", "American Indian", "Pacific Islander")
SENSITIVITIES = ("normal", "sensitive", "highly sensitive")
_RACE = np.cumsum([0.9522, 0.0419, 0.0040, 0.0018, 0.0001])
_CYP2C9 = np.cumsum([0.6739, 0.1486, 0.0925, 0.0651, 0.0197, 0.0002])
_VKORC1 = np.cumsum([0.3837, 0.4418, 0.1745])
_FEMALE = 0.5314
AGE_MIN, AGE_MAX = 18.0, 95.0
_KG_PER_LB, _CM_PER_IN = 0.4536, 2.54
_LB_MIN, _LB_MAX, _IN_MIN, _IN_MAX = 70.0, 500.0, 45.0, 85.0
WEIGHT_MIN, WEIGHT_MAX = _LB_MIN * _KG_PER_LB, _LB_MAX * _KG_PER_LB

# Variant alleles in each genotype, in the order of model.CYP2C9.
STAR2 = np.array([0.0, 1.0, 0.0, 2.0, 1.0, 0.0])
STAR3 = np.array([0.0, 0.0, 1.0, 0.0, 1.0, 2.0])
# Ravvaz's classes, [CYP2C9, VKORC1]: 0 normal, 1 sensitive, 2 highly sensitive.
_SENSITIVITY = np.array([[0, 0, 1], [0, 1, 1], [1, 1, 2], [1, 1, 2], [1, 2, 2], [2, 2, 2]])

# State columns, after those of the model.
AGE, WEIGHT, HEIGHT, FEMALE, RACE, CYP2C9, VKORC1 = range(model.MODEL_SIZE, model.MODEL_SIZE + 7)
PATIENT_SIZE = model.MODEL_SIZE + 7


@njit(cache=True, error_model="numpy")
def _pick(cumulative: np.ndarray, draw: float) -> int:
    k = 0
    while k < cumulative.shape[0] - 1 and draw >= cumulative[k]:
        k += 1
    return k


@njit(cache=True, error_model="numpy")
def draw_patient(key: np.uint64, state: np.ndarray, i: int) -> None:
    """Write a new, untreated patient into row i: slots 0 to 19 of step -1 of this key.

    Args:
        key: Episode key.
        state: ``[B, S]``, S at least ``PATIENT_SIZE``.
        i: Row.
    """
    age = min(max(67.30 + 13.43 * normal(key, -1, 0), AGE_MIN), AGE_MAX)
    cyp2c9, vkorc1 = _pick(_CYP2C9, uniform(key, -1, 8)), _pick(_VKORC1, uniform(key, -1, 9))
    state[i, AGE] = age
    state[i, WEIGHT] = min(max(199.24 + 54.71 * normal(key, -1, 2), _LB_MIN), _LB_MAX) * _KG_PER_LB
    state[i, HEIGHT] = min(max(66.78 + 4.31 * normal(key, -1, 4), _IN_MIN), _IN_MAX) * _CM_PER_IN
    state[i, FEMALE] = 1.0 if uniform(key, -1, 6) < _FEMALE else 0.0
    state[i, RACE] = _pick(_RACE, uniform(key, -1, 7))
    state[i, CYP2C9], state[i, VKORC1] = cyp2c9, vkorc1
    cl = (
        model.CL_TYPICAL[cyp2c9]
        * (1.0 + model.AGE_ON_CL * (age - 71.0))
        * math.exp(model.LOG_SD_CL * normal(key, -1, 10))
    )
    v = model.VOLUME * math.exp(model.LOG_SD_V * normal(key, -1, 12))
    ec50 = model.EC50_TYPICAL[vkorc1] * math.exp(model.LOG_SD_EC50 * normal(key, -1, 14))
    model.start(state, i, cl, v, ec50)


@dataclass(frozen=True)
class Patients:
    """Who is in a batch, as arrays ``[B]``.

    Protocols may read only what a clinic knows (age, weight, height, sex); ``cl``, ``v`` and ``ec50`` are the hidden
    truth, and ``race`` is there for reports, never for an agent.
    """

    age_years: np.ndarray
    weight_kg: np.ndarray
    height_cm: np.ndarray
    female: np.ndarray
    race: np.ndarray
    cyp2c9: np.ndarray
    vkorc1: np.ndarray
    cl: np.ndarray
    v: np.ndarray
    ec50: np.ndarray

    @classmethod
    def from_state(cls, state: np.ndarray) -> Patients:
        """Read the patients of a batch.

        Args:
            state: ``Batch.state``, ``[B, S]``.
        """
        whole = {
            name: state[:, k].astype(np.int64) for name, k in (("race", RACE), ("cyp2c9", CYP2C9), ("vkorc1", VKORC1))
        }
        return cls(
            age_years=state[:, AGE].copy(),
            weight_kg=state[:, WEIGHT].copy(),
            height_cm=state[:, HEIGHT].copy(),
            female=state[:, FEMALE] > 0.5,
            cl=state[:, model.CL].copy(),
            v=state[:, model.V].copy(),
            ec50=state[:, model.EC50].copy(),
            **whole,
        )

    def __len__(self) -> int:
        return len(self.age_years)

    @property
    def sensitivity(self) -> np.ndarray:
        """Ravvaz's genotype class of each patient, an index into ``SENSITIVITIES``, ``[B]``."""
        return _SENSITIVITY[self.cyp2c9, self.vkorc1]

    def describe(self, i: int) -> str:
        """Return one line about patient i, for titles."""
        genotype = f"VKORC1 {model.VKORC1[self.vkorc1[i]]}, CYP2C9 {model.CYP2C9[self.cyp2c9[i]]}"
        return f"patient {i}: {genotype}, {self.age_years[i]:.0f} years, {SENSITIVITIES[self.sensitivity[i]]}"
