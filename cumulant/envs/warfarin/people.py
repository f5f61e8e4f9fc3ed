"""Options that say who the patients are and how they live, and the block of numbers that compiled code reads them from.

Between-patient variability is log-normal. The papers print omegas without saying, as far as their codings let us see, whether
these are variances or standard deviations of the logarithm, so that is an option, ``variability``:

| variant | how the published omegas are read |
|---|---|
| ``published`` | 2010: CL and V as variances, EC50 as a standard deviation; 2007: all as standard deviations |
| ``calibrated`` | ``published``, with CL and EC50 scaled to the spread of real doses |
| ``sd`` | all as standard deviations |
| ``variance`` | all as variances |
| ``trimmed`` | all as variances, cut to their middle half, as ReiL's coding and Ravvaz's do |
| ``none`` | everybody is typical of their genotype and age |

The default makes CL agree between the models (log-SD .298 and .310), and gives a log-dose SD of .45 and .51. Real stable
patients with ``*1/*1`` have .40, their age included (IWPC, each VKORC1 genotype): that is what ``calibrated`` reproduces.
``trimmed`` is narrower than any real cohort, which flatters whatever is tried on it.

``calibration = iwpc`` multiplies EC50 by the factor that brings the typical dose for INR 2.5 at 71 years to that of real
patients of 60 to 89 years, over the genotypes, by number of patients; see ``iwpc``.

Vitamin K: a day's dietary intake differs from the patient's mean by an AR(1) process with standard deviation
``vitamin_k_sd``, in ug, and memory of VITAMIN_K_DAYS; EC50 moves with it so that 100 ug a day more lower an INR of 2.5 by 0.2
(Khan et al. 2004, Br J Haematol 124:348, 4-day mean intake).

Adherence: every patient misses doses at a rate of their own, each dose by chance. The rates follow a Kumaraswamy distribution
whose first shape is fitted to the quartiles of IN-RANGE (non-adherence 5.8, 14.4 and 33.8 % of days) and whose second gives
the mean that is asked for; IN-RANGE itself is ``adherence = 0.79``.

Drugs act on the clearance, since a steady-state dose is proportional to it. Who has taken amiodarone for long needs 22 % less
(Gage et al. 2008: exp(-.2538)). Who starts it needs less and less, 44 % at the peak after 7 weeks (Sanoski and Bauman 2002,
Chest 121:19), here as 1 - exp(-day / 16), 95 % of it in 7 weeks. Inducers of liver enzymes raise the dose by 44 % (IWPC 2009:
1.1816 on the root of a weekly dose of 35 mg); started, with a time constant of 7 days, which is assumed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from cumulant.envs.warfarin import cohorts, harm, iwpc, model, model2007
from cumulant.errors import ConfigError

MODELS = ("hamberg2010", "hamberg2007")
VARIABILITIES = ("published", "calibrated", "sd", "variance", "trimmed", "none")
DRUGS = ("none", "cohort", "starting", "amiodarone", "inducer")
# Log-SD of CL, V, EC50, V2, MTT of the quick and of the slow chain. Omegas are as printed; PUBLISHED is how we read them.
OMEGA = {"hamberg2010": (0.089, 0.054, 0.34, 0.0, 0.0, 0.0), "hamberg2007": (0.310, 0.262, 0.409, 0.991, 0.141, 1.02)}
PUBLISHED = {
    "hamberg2010": (model.LOG_SD_CL, model.LOG_SD_V, model.LOG_SD_EC50, 0.0, 0.0, 0.0),
    "hamberg2007": OMEGA["hamberg2007"],
}
DOSE_LOG_SD = 0.40  # of real stable patients with CYP2C9 *1/*1 (IWPC: .40, .41 and .42 for G/G, G/A and A/A)
_AGE_SD = 14.9  # years, of White patients in IWPC
VITAMIN_K_DAYS, BIOLOGICAL_DAYS = 4.0, 7.0  # how long a deviation lasts, as a time constant: ours
VITAMIN_K_INR = -0.2  # change of INR 2.5 by 100 ug of vitamin K a day more
ADHERENCE_SHAPE = 0.792  # Kumaraswamy's a, from the quartiles of IN-RANGE
LOG_CL_LONG = (0.0, -0.2538, 2.0 * math.log(1.0 + 1.1816 / math.sqrt(35.0)))  # nothing, amiodarone, an inducer
LOG_CL_STARTED = (0.0, math.log(1.0 - 0.44), LOG_CL_LONG[2])
STARTED_DAYS = (1.0, 16.0, 7.0)

MAINTENANCE_INR = 2.5  # what a maintenance start is settled at

# The block. LOG_SD has six numbers.
MODEL, EC50_FACTOR, LOG_SD, TRIMMED, START = 0, 1, 2, 8, 9
ADHERENCE_A, ADHERENCE_B, BIOLOGICAL_SD, VITAMIN_K_LOG_SD, TAKEN_DRUGS, DAYS = range(10, 16)
HARM, MULTIPLIER, HOLDING, PLAIN, OWN_ROWS, NUM_ROWS, ROWS = range(16, 23)


@dataclass(frozen=True)
class People:
    """Who the patients are, how they live, and what harms them; see ``people`` and ``harm``."""

    model: Literal["hamberg2010", "hamberg2007"] = "hamberg2010"
    """Pharmacology: Hamberg 2010 or 2007."""
    cohort: str = "aurora"
    """aurora, iwpc, iwpc-white, iwpc-black, iwpc-asian, uniform, a genotype such as "*1/*3 A/A", or your own PATH.csv."""
    variability: Literal["published", "calibrated", "sd", "variance", "trimmed", "none"] = "published"
    """How patients of one genotype differ: the published scale as we read it, calibrated to real doses, or another reading."""
    calibration: Literal["none", "iwpc"] = "none"
    """iwpc scales EC50 so that typical doses are those of real patients; both models ask for too much."""
    start: Literal["naive", "maintenance"] = "naive"
    """Untreated patients, or patients settled on the half-milligram dose nearest to what holds INR 2.5."""
    adherence: float = 1.0
    """Mean share of doses that are taken; patients differ in it."""
    biological_cv: float = 0.0
    """Coefficient of variation of the true INR around the model's, lasting for days (the measurement's is noise_cv)."""
    vitamin_k_sd: float = 0.0
    """Standard deviation of the daily vitamin K intake, ug."""
    drugs: Literal["none", "cohort", "starting", "amiodarone", "inducer"] = "none"
    """Who takes an interacting drug: nobody; the cohort's share, since long; those, but starting; or everybody, starting."""
    harm: Literal["ignite", "oake", "smooth"] = "ignite"
    """Source of the risks of bleeding and thrombo-embolism."""
    hazard_multiplier: float = 1.0
    """TEACHING ONLY: multiplies these risks; evaluations set it back to 1."""

    def __post_init__(self) -> None:
        choices = (
            ("model", MODELS), ("variability", VARIABILITIES), ("calibration", ("none", "iwpc")),
            ("start", ("naive", "maintenance")), ("drugs", DRUGS), ("harm", harm.TABLES),
        )  # fmt: skip
        for name, allowed in choices:
            if getattr(self, name) not in allowed:
                raise ConfigError(f"warfarin: {name} = {getattr(self, name)!r}; it must be one of {', '.join(allowed)}")
        if not 0.05 <= self.adherence <= 1.0:
            raise ConfigError(f"warfarin: adherence = {self.adherence}; give 0.05 to 1 (every dose is taken)")
        if not 0.0 <= self.biological_cv <= 1.0:
            raise ConfigError(f"warfarin: biological_cv = {self.biological_cv}; give 0 to 1")
        if not 0.0 <= self.vitamin_k_sd <= 500.0:
            raise ConfigError(f"warfarin: vitamin_k_sd = {self.vitamin_k_sd}; give 0 to 500 ug")
        if not 0.0 < self.hazard_multiplier <= 1e4:
            raise ConfigError(
                f"warfarin: hazard_multiplier = {self.hazard_multiplier}; give a number above 0, to 10000"
            )

    @property
    def log_sd(self) -> tuple[float, ...]:
        """Log-SD of CL, V, EC50, V2 and both mean transit times, before ``trimmed`` cuts them."""
        published = PUBLISHED[self.model]
        if self.variability == "calibrated":
            cl, v, ec50, *others = published
            by_age = _AGE_SD * (model if self.model == "hamberg2010" else model2007).AGE_ON_CL
            scale = math.sqrt((DOSE_LOG_SD**2 - by_age**2) / (cl**2 + ec50**2))
            return (scale * cl, v, scale * ec50, *others)
        if self.variability == "none":
            return (0.0,) * 6
        if self.variability == "published":
            return published
        omega = OMEGA[self.model]
        return omega if self.variability == "sd" else tuple(math.sqrt(x) for x in omega)

    def block(self, days: int) -> np.ndarray:
        """Return everything about the patients as one array of numbers.

        Args:
            days: Length of an episode, within which drugs are started.

        Raises:
            ConfigError: If there is no such cohort.
            DataError: If the file of a cohort cannot be used.
        """
        is_own, rows = cohorts.table(self.cohort)
        missed = 1.0 - self.adherence
        numbers = np.zeros(ROWS)
        numbers[MODEL] = MODELS.index(self.model)
        numbers[EC50_FACTOR] = iwpc.ec50_factor(self.model) if self.calibration == "iwpc" else 1.0
        numbers[LOG_SD : LOG_SD + 6] = self.log_sd
        numbers[TRIMMED] = self.variability == "trimmed"
        numbers[START] = self.start == "maintenance"
        numbers[ADHERENCE_A], numbers[ADHERENCE_B] = ADHERENCE_SHAPE, _second_shape(missed)
        numbers[BIOLOGICAL_SD] = self.biological_cv
        numbers[VITAMIN_K_LOG_SD] = self.vitamin_k_sd / 100.0 * log_ec50_by_vitamin_k(self.model)
        numbers[TAKEN_DRUGS], numbers[DAYS] = DRUGS.index(self.drugs), days
        numbers[HARM], numbers[MULTIPLIER] = harm.TABLES.index(self.harm), self.hazard_multiplier
        numbers[HOLDING] = steady_state_dose(self.model)
        varied = (self.adherence < 1.0, self.biological_cv > 0.0, self.vitamin_k_sd > 0.0, self.drugs != "none")
        numbers[PLAIN] = self.model == "hamberg2010" and not any(varied)  # a day is the model's, and nothing else
        numbers[OWN_ROWS], numbers[NUM_ROWS] = is_own, len(rows)
        return np.concatenate([numbers, rows.ravel()])


def _second_shape(missed: float) -> float:
    """Return b of the Kumaraswamy distribution of missed shares with this mean; 0 where nothing is missed."""
    if missed == 0.0:
        return 0.0

    def log_mean(b: float) -> float:
        a = 1.0 / ADHERENCE_SHAPE
        return math.log(b) + math.lgamma(1.0 + a) + math.lgamma(b) - math.lgamma(1.0 + a + b)

    low, high = -12.0, 12.0  # of ln b; the mean falls as b grows
    for _ in range(60):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if log_mean(math.exp(middle)) > math.log(missed) else (low, middle)
    return math.exp(low)


def log_ec50_by_vitamin_k(model_name: str) -> float:
    """Return how much 100 ug of vitamin K a day more add to ln EC50: what lowers a steady INR of 2.5 as published.

    >>> round(log_ec50_by_vitamin_k("hamberg2010"), 3)
    0.134
    """
    lower = steady_state_dose(model_name, MAINTENANCE_INR + VITAMIN_K_INR)
    return math.log(steady_state_dose(model_name) / lower)  # the INR depends on dose / EC50 only


def steady_state_dose(model_name: str, inr: float = MAINTENANCE_INR) -> float:
    """Return the dose that holds an INR in a patient whose clearance and EC50 are 1; it is proportional to both."""
    which = model if model_name == "hamberg2010" else model2007
    return float(which.steady_state_dose(np.ones(1), np.ones(1), inr)[0])
