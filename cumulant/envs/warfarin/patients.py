"""A simulated patient: drawn at the start of an episode, then living day by day.

Patient i of (seed, environment, episode) is always the same person: everything is drawn from ``counter_rng``, who they are at
step -1, and what happens to them (missed doses, diet, drift of the INR) at the step at which it happens. Options change only
what they speak of: under another model, or with missed doses, a patient has the same age, genotype and standing within the
genotype.

A row of the state is a patient (columns below), then what the environment keeps of the treatment, then the body, whose
columns are those of the model. ``people`` has the block of options that is read here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit

from cumulant.envs.counter_rng import normal, uniform
from cumulant.envs.warfarin import cohorts, model, model2007, people
from cumulant.envs.warfarin.cohorts import AGE_MAX as AGE_MAX
from cumulant.envs.warfarin.cohorts import AGE_MIN as AGE_MIN
from cumulant.envs.warfarin.cohorts import HEIGHT_MAX, HEIGHT_MIN
from cumulant.envs.warfarin.cohorts import RACES as RACES
from cumulant.envs.warfarin.cohorts import WEIGHT_MAX as WEIGHT_MAX
from cumulant.envs.warfarin.cohorts import WEIGHT_MIN as WEIGHT_MIN

SENSITIVITIES = ("normal", "sensitive", "highly sensitive")
DRUGS = ("none", "amiodarone", "inducer")
LONG_AGO = -10_000.0  # day on which a drug was started that has long had its full effect
TABLET_STEP = 0.5  # a maintenance dose is a multiple of it, mg

# Variant alleles in each genotype, in the order of model.CYP2C9.
STAR2 = np.array([0.0, 1.0, 0.0, 2.0, 1.0, 0.0])
STAR3 = np.array([0.0, 0.0, 1.0, 0.0, 1.0, 2.0])
# Ravvaz's classes, [CYP2C9, VKORC1]: 0 normal, 1 sensitive, 2 highly sensitive.
_SENSITIVITY = np.array([[0, 0, 1], [0, 1, 1], [1, 1, 2], [1, 1, 2], [1, 2, 2], [2, 2, 2]])

# State columns. CL and EC50 are what they are today, BASE_CL and BASE_EC50 without drugs and diet.
AGE, WEIGHT, HEIGHT, FEMALE, RACE, CYP2C9, VKORC1, SMOKER, DRUG, DRUG_DAY, MISSES = range(11)
MODEL, CL, EC50, BASE_CL, V, BASE_EC50, V2, MTT_QUICK, MTT_SLOW = range(11, 20)
_VARIES = BASE_CL  # from here on, what differs between patients of one genotype
BIOLOGY, DIET, TAKEN, MAINTENANCE = 20, 21, 22, 23  # logarithms; dose that was taken, mg; dose before day 1, mg
PATIENT_SIZE = 24
_SIGMAS = 8.6  # no normal number of counter_rng is farther out

BODY_SIZES = {"hamberg2010": model.BODY_SIZE, "hamberg2007": model2007.BODY_SIZE}


@njit(cache=True, error_model="numpy")
def _pick(up_to: np.ndarray, draw: float) -> int:
    k = 0
    while k < up_to.shape[0] - 1 and draw >= up_to[k]:
        k += 1
    return k


@njit(cache=True, error_model="numpy")
def _clipped(mean: float, sd: float, unit: float, low: float, high: float, draw: float) -> float:
    return min(max(mean + sd * draw, low / unit), high / unit) * unit


@njit(cache=True, error_model="numpy")
def _deviation(key: np.uint64, slot: int, sd: float, trimmed: bool) -> float:
    """Return how far a patient is from the typical one, as a logarithm: normal, or the middle half of it."""
    if not trimmed:
        return sd * normal(key, -1, slot)
    share = 0.5 * uniform(key, -1, slot) - 0.25  # of the distribution, from its middle
    z = share * math.sqrt(2.0 * math.pi)
    for _ in range(4):  # Newton on the normal distribution function
        z -= (0.5 * math.erf(z / math.sqrt(2.0)) - share) * math.sqrt(2.0 * math.pi) * math.exp(0.5 * z * z)
    return sd * z


@njit(cache=True, error_model="numpy")
def _draw_who(key: np.uint64, state: np.ndarray, i: int, params: np.ndarray, of: int) -> None:
    """Write what a clinic would write down, and the drug."""
    # Drawn in loops: written out, every draw would be compiled again, and a first run waits for that.
    u, z = np.empty(7), np.empty(3)
    for n in range(7):
        u[n] = uniform(key, -1, n + (6 if n < 4 else 35))  # slots 6 to 9 and 39 to 41
    for n in range(3):
        z[n] = normal(key, -1, 2 * n)
    rows = params[of + people.ROWS :]
    if params[of + people.OWN_ROWS] > 0.0:
        k = int(u[1] * params[of + people.NUM_ROWS]) * cohorts.WIDTH
        for column in range(cohorts.ROW_DRUG):  # in the order of the state
            state[i, column] = rows[k + column]
        state[i, SMOKER] = rows[k + cohorts.ROW_SMOKER]
        takes = int(rows[k + cohorts.ROW_DRUG])
    else:
        k, draw = 0, u[1]
        while k < (params[of + people.NUM_ROWS] - 1) * cohorts.WIDTH and draw >= rows[k]:
            k += cohorts.WIDTH
        s = rows[k : k + cohorts.WIDTH]
        state[i, AGE] = _clipped(s[cohorts.AGE_MEAN], s[cohorts.AGE_SD], 1.0, cohorts.AGE_MIN, cohorts.AGE_MAX, z[0])
        state[i, WEIGHT] = _clipped(
            s[cohorts.WEIGHT_MEAN],
            s[cohorts.WEIGHT_SD],
            s[cohorts.WEIGHT_KG],
            WEIGHT_MIN,
            WEIGHT_MAX,
            z[1],
        )
        state[i, HEIGHT] = _clipped(
            s[cohorts.HEIGHT_MEAN],
            s[cohorts.HEIGHT_SD],
            s[cohorts.HEIGHT_CM],
            HEIGHT_MIN,
            HEIGHT_MAX,
            z[2],
        )
        state[i, FEMALE] = 1.0 if u[0] < s[cohorts.FEMALE_SHARE] else 0.0
        state[i, RACE] = s[cohorts.STRATUM_RACE]
        state[i, CYP2C9] = _pick(s[cohorts.CYP2C9_UP_TO : cohorts.VKORC1_UP_TO], u[2])
        state[i, VKORC1] = _pick(s[cohorts.VKORC1_UP_TO : cohorts.AGE_MEAN], u[3])
        state[i, SMOKER] = 1.0 if u[6] < s[cohorts.SMOKER_SHARE] else 0.0
        draw, amiodarone = u[4], s[cohorts.AMIODARONE_SHARE]
        takes = 1 if draw < amiodarone else (2 if draw < amiodarone + s[cohorts.INDUCER_SHARE] else 0)
    mode = int(params[of + people.TAKEN_DRUGS])  # index into people.DRUGS
    state[i, DRUG] = 0.0 if mode == 0 else (takes if mode <= 2 else mode - 2)
    state[i, DRUG_DAY] = LONG_AGO if mode <= 1 else 1.0 + math.floor(u[5] * params[of + people.DAYS])


@njit(cache=True, error_model="numpy")
def draw_patient(key: np.uint64, state: np.ndarray, i: int, at: int, params: np.ndarray, of: int) -> float:
    """Write a new patient and return the INR on the morning of day 1.

    Args:
        key: Episode key; slots 0 to 63 of step -1, but 20 and 21, are drawn here.
        state: ``[B, S]``, updated in place.
        i: Row.
        at: Column at which the body begins.
        params: Numbers of the environment.
        of: Where ``People.block`` begins in them.
    """
    _draw_who(key, state, i, params, of)
    trimmed = params[of + people.TRIMMED] > 0.0
    cyp2c9, vkorc1, from_71 = int(state[i, CYP2C9]), int(state[i, VKORC1]), state[i, AGE] - 71.0
    for k in range(6):  # how far this patient is from the typical one, in the order of people.OMEGA
        state[i, _VARIES + k] = math.exp(
            _deviation(key, 10 + 2 * k if k < 3 else 26 + 2 * k, params[of + people.LOG_SD + k], trimmed)
        )
    state[i, MODEL] = params[of + people.MODEL]
    if state[i, MODEL] == 0.0:
        state[i, BASE_CL] = model.CL_TYPICAL[cyp2c9] * (1.0 + model.AGE_ON_CL * from_71) * state[i, BASE_CL]
        state[i, V] *= model.VOLUME
        state[i, BASE_EC50] *= model.EC50_TYPICAL[vkorc1]
        state[i, V2], state[i, MTT_QUICK], state[i, MTT_SLOW] = 0.0, model.MTT_QUICK, model.MTT_SLOW
    else:
        state[i, BASE_CL] = model2007.CL_TYPICAL[cyp2c9] * (1.0 + model2007.AGE_ON_CL * from_71) * state[i, BASE_CL]
        state[i, V] *= model2007.VOLUME
        state[i, BASE_EC50] *= model2007.EC50_TYPICAL[vkorc1]
        state[i, V2] *= model2007.VOLUME2
        state[i, MTT_QUICK] *= model2007.MTT_QUICK
        state[i, MTT_SLOW] *= model2007.MTT_SLOW
    state[i, BASE_EC50] *= params[of + people.EC50_FACTOR]
    state[i, MISSES] = 0.0
    if params[of + people.ADHERENCE_B] > 0.0:
        rest = (1.0 - uniform(key, -1, 38)) ** (1.0 / params[of + people.ADHERENCE_B])
        state[i, MISSES] = (1.0 - rest) ** (1.0 / params[of + people.ADHERENCE_A])
    state[i, BIOLOGY] = (
        params[of + people.BIOLOGICAL_SD] * normal(key, -1, 42) if params[of + people.BIOLOGICAL_SD] > 0.0 else 0.0
    )
    state[i, DIET] = (
        params[of + people.VITAMIN_K_LOG_SD] * normal(key, -1, 44)
        if params[of + people.VITAMIN_K_LOG_SD] > 0.0
        else 0.0
    )
    state[i, CL] = state[i, BASE_CL] * _drug_factor(state, i, 0.0) if state[i, DRUG] > 0.0 else state[i, BASE_CL]
    state[i, EC50] = state[i, BASE_EC50] * math.exp(state[i, DIET]) if state[i, DIET] != 0.0 else state[i, BASE_EC50]
    state[i, TAKEN] = state[i, MAINTENANCE] = 0.0
    inr = _begin(state, i, at, params, of)
    return inr * math.exp(state[i, BIOLOGY]) if state[i, BIOLOGY] != 0.0 else inr


@njit(cache=True, error_model="numpy")
def _begin(state: np.ndarray, i: int, at: int, params: np.ndarray, of: int) -> float:
    """Write the body on the morning of day 1 and return the model's INR."""
    if state[i, MODEL] == 0.0:
        model.start(state, i, at, state[i, CL], state[i, V], state[i, EC50])
    else:
        model2007.start(
            state,
            i,
            at,
            state[i, CL],
            state[i, V],
            state[i, EC50],
            state[i, V2],
            state[i, MTT_QUICK],
            state[i, MTT_SLOW],
        )
    if params[of + people.START] == 0.0:
        return model.INR_BASE
    dose_mg = (
        params[of + people.HOLDING] * state[i, CL] * state[i, EC50]
    )  # exact for a constant concentration: closer than half a milligram
    dose_mg = min(max(math.floor(dose_mg / TABLET_STEP + 0.5) * TABLET_STEP, TABLET_STEP), 15.0)
    state[i, TAKEN] = state[i, MAINTENANCE] = dose_mg
    return model.settle(state, i, at, dose_mg) if state[i, MODEL] == 0.0 else model2007.settle(state, i, at, dose_mg)


@njit(cache=True, error_model="numpy")
def _drug_factor(state: np.ndarray, i: int, day: float) -> float:
    """Return what the patient's drug does to the clearance on a day."""
    drug = int(state[i, DRUG])
    if state[i, DRUG_DAY] == LONG_AGO:
        return math.exp(people.LOG_CL_LONG[drug])
    if day < state[i, DRUG_DAY]:
        return 1.0
    return math.exp(
        people.LOG_CL_STARTED[drug] * (1.0 - math.exp(-(day + 1.0 - state[i, DRUG_DAY]) / people.STARTED_DAYS[drug]))
    )


@njit(cache=True, error_model="numpy")
def live(
    key: np.uint64, day: int, dose_mg: float, state: np.ndarray, i: int, at: int, params: np.ndarray, of: int
) -> float:
    """Let a patient live a day on this dose, if it is taken, and return the true INR 24 h later.

    Args:
        key: Episode key; slots 24 to 31 of step ``day - 1`` are drawn here.
        day: 1 for the first.
        dose_mg: Dose that was prescribed.
        state: ``[B, S]``, updated in place.
        i: Row.
        at: Column at which the body begins.
        params: Numbers of the environment.
        of: Where ``People.block`` begins in them.
    """
    state[i, TAKEN] = dose_mg
    if state[i, MISSES] > 0.0 and uniform(key, day - 1, 24) < state[i, MISSES]:
        state[i, TAKEN] = 0.0
    if state[i, DRUG] > 0.0 and state[i, DRUG_DAY] != LONG_AGO and day >= state[i, DRUG_DAY]:
        state[i, CL] = state[i, BASE_CL] * _drug_factor(state, i, float(day))
        if state[i, MODEL] == 0.0:
            model.set_clearance(state, i, at, state[i, CL], state[i, V])
        else:
            model2007.set_clearance(state, i, at, state[i, CL], state[i, V], state[i, V2])
    if params[of + people.VITAMIN_K_LOG_SD] > 0.0:
        kept = math.exp(-1.0 / people.VITAMIN_K_DAYS)
        state[i, DIET] = kept * state[i, DIET] + params[of + people.VITAMIN_K_LOG_SD] * math.sqrt(
            1.0 - kept * kept
        ) * normal(key, day - 1, 28)
        state[i, EC50] = state[i, BASE_EC50] * math.exp(state[i, DIET])
        state[i, at + (model.LOG_EC50 if state[i, MODEL] == 0.0 else model2007.LOG_EC50)] = math.log(state[i, EC50])
    inr = (
        model.advance(state, i, at, state[i, TAKEN])
        if state[i, MODEL] == 0.0
        else model2007.advance(state, i, at, state[i, TAKEN])
    )
    if params[of + people.BIOLOGICAL_SD] > 0.0:
        kept = math.exp(-1.0 / people.BIOLOGICAL_DAYS)
        state[i, BIOLOGY] = kept * state[i, BIOLOGY] + params[of + people.BIOLOGICAL_SD] * math.sqrt(
            1.0 - kept * kept
        ) * normal(key, day - 1, 26)
        inr *= math.exp(state[i, BIOLOGY])
    return inr


@njit(cache=True, error_model="numpy")
def observe_body(state: np.ndarray, i: int, at: int, obs: np.ndarray) -> None:
    """Write plasma concentration and what has reached each compartment, for a clairvoyant.

    Args:
        state: ``[B, S]``, updated in place.
        i: Row.
        at: Column at which the body begins.
        obs: Where it is written.
    """
    if state[i, MODEL] == 0.0:
        obs[0] = model.concentration_now(state, i, at)
        for k in range(model.NUM_COMPARTMENTS):
            obs[1 + k] = state[i, at + model.CHAIN + k]
    else:
        obs[0] = model2007.concentration_now(state, i, at)
        for k in range(model2007.NUM_COMPARTMENTS):
            obs[1 + k] = state[i, at + model2007.CHAIN + k]


def bounds_of_truth(options: Any, dose_max_mg: float) -> tuple[list[float], list[float]]:
    """Return the lowest and highest clearance, volume, EC50, true INR, plasma concentration and compartments that can occur.

    Args:
        options: ``People``, with the ``days`` of an episode.
        dose_max_mg: Highest dose of a day.
    """
    which = model if options.model == "hamberg2010" else model2007
    block = options.block(options.days)
    cl_spread, v_spread, ec50_spread = (math.exp(_SIGMAS * float(x)) for x in block[people.LOG_SD : people.LOG_SD + 3])
    age = 1 + which.AGE_ON_CL * (AGE_MIN - 71.0)
    drug = 1.0 if options.drugs == "none" else math.exp(max(people.LOG_CL_LONG))
    cl = float(which.CL_TYPICAL.max()) * age * cl_spread * drug
    ec50 = float(which.EC50_TYPICAL.max()) * ec50_spread * block[people.EC50_FACTOR]
    ec50 *= math.exp(_SIGMAS * block[people.VITAMIN_K_LOG_SD])
    drift = math.exp(_SIGMAS * options.biological_cv)
    doses = options.days + (1000 if options.start == "maintenance" else 0)  # those that may still be in the blood
    most = doses * dose_max_mg * which.S_SHARE / (which.VOLUME / v_spread)  # all of them in the smallest volume
    low = [0.0, 0.0, 0.0, model.INR_BASE / drift] + [0.0] * (1 + which.NUM_COMPARTMENTS)
    inr = (which.INR_BASE + which.INR_MAX) * drift
    return low, [cl, which.VOLUME * v_spread, ec50, inr, most] + [1.0] * which.NUM_COMPARTMENTS


@dataclass(frozen=True)
class Patients:
    """Who is in a batch on the morning of day 1, as arrays ``[B]``.

    Protocols may read what a clinic knows (age, weight, height, sex, genotype where their rule asks for it, smoking,
    drugs, the dose before day 1); ``cl``, ``v``, ``ec50`` and ``misses`` are the hidden truth, and ``race`` is there for
    reports and for those published rules that have a term for it, never for an agent.
    """

    age_years: np.ndarray
    weight_kg: np.ndarray
    height_cm: np.ndarray
    female: np.ndarray
    race: np.ndarray
    cyp2c9: np.ndarray
    vkorc1: np.ndarray
    smoker: np.ndarray
    drug: np.ndarray
    drug_day: np.ndarray
    misses: np.ndarray
    maintenance_mg: np.ndarray
    model: np.ndarray
    cl: np.ndarray
    v: np.ndarray
    ec50: np.ndarray

    @classmethod
    def from_state(cls, state: np.ndarray) -> Patients:
        """Read the patients of a batch.

        Args:
            state: ``Batch.state``, ``[B, S]``.
        """
        numbers = {
            "age_years": AGE, "weight_kg": WEIGHT, "height_cm": HEIGHT, "drug_day": DRUG_DAY, "misses": MISSES,
            "maintenance_mg": MAINTENANCE, "cl": CL, "v": V, "ec50": EC50,
        }  # fmt: skip
        whole = {"race": RACE, "cyp2c9": CYP2C9, "vkorc1": VKORC1, "drug": DRUG, "model": MODEL}
        return cls(
            female=state[:, FEMALE] > 0.5,
            smoker=state[:, SMOKER] > 0.5,
            **{name: state[:, k].copy() for name, k in numbers.items()},
            **{name: state[:, k].astype(np.int64) for name, k in whole.items()},
        )

    def __len__(self) -> int:
        return len(self.age_years)

    @property
    def sensitivity(self) -> np.ndarray:
        """Ravvaz's genotype class of each patient, an index into ``SENSITIVITIES``, ``[B]``."""
        return _SENSITIVITY[self.cyp2c9, self.vkorc1]

    @property
    def amiodarone(self) -> np.ndarray:
        """Who takes amiodarone on day 1 already, ``[B]`` bool."""
        return (self.drug == 1) & (self.drug_day < 1)

    @property
    def inducer(self) -> np.ndarray:
        """Who takes an inducer of liver enzymes on day 1 already, ``[B]`` bool."""
        return (self.drug == 2) & (self.drug_day < 1)

    def divisions(self) -> dict[str, list[tuple[str, np.ndarray]]]:
        """Return the subgroups that were named beforehand: title -> names and members, ``[B]`` bool."""
        age, missed = self.age_years, 100.0 * self.misses
        return {
            "Genotype sensitivity": [(name, self.sensitivity == k) for k, name in enumerate(SENSITIVITIES)],
            "Age": [("under 65", age < 65), ("65 to 74", (age >= 65) & (age < 75)), ("75 and over", age >= 75)],
            "Race (never observed)": [(name, self.race == k) for k, name in enumerate(RACES)],
            "Interacting drug": [(name, self.drug == k) for k, name in enumerate(DRUGS)],
            "Doses missed": [
                ("up to 5 %", missed <= 5),
                ("5 to 20 %", (missed > 5) & (missed <= 20)),
                ("more", missed > 20),
            ],
        }

    def dose_for(self, inr: float = 2.5) -> np.ndarray:
        """Return the constant dose that would hold an INR for ever by each patient's own truth, mg a day, ``[B]``.

        Args:
            inr: INR to hold.
        """
        doses = (which.steady_state_dose(self.cl, self.ec50, inr) for which in (model, model2007))
        return np.where(self.model == 0, *doses)

    def describe(self, i: int) -> str:
        """Return one line about patient i, for titles."""
        genotype = f"VKORC1 {model.VKORC1[self.vkorc1[i]]}, CYP2C9 {model.CYP2C9[self.cyp2c9[i]]}"
        return f"patient {i}: {genotype}, {self.age_years[i]:.0f} years, {SENSITIVITIES[self.sensitivity[i]]}"
