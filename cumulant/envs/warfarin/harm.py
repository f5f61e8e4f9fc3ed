"""Harm: the chance of a major bleed or a thrombo-embolism on one day, given the true INR. Three tables to choose from.

``ignite`` (default): steps by INR as in the decision model of the IGNITE and RIGHT pharmacogenomic programmes (inputs of the
discrete event simulation in spgarbet/right).

| true INR | risk of a major bleed in a year | | true INR | risk of a stroke in a year |
|---|---|---|---|---|
| below 3 | .01497 | | below 1.5 | .077 |
| 3 to 4 | .06224 | | 1.5 to 2 | .019 |
| above 4 | .39118 | | 2 and more | .006 |

A risk becomes a daily hazard as in the source, ``-log(1 - risk) / 365``: above INR 4 that is 49.6 events per 100
patient-years.

``oake``: the relative risks of a meta-analysis of 19 studies (Oake et al. 2008, CMAJ 179:235, doi 10.1503/cmaj.080171):
haemorrhage 2.7 (95 % interval 1.8 to 3.9) at 3 to 5 and 21.8 (12.1 to 39.4) above 5, thrombo-embolism 3.5 (2.8 to 4.4) below
2, each against 2 to 3; haemorrhage 1.1 (0.7 to 1.7) below 2. They multiply the absolute rates at 2 to 3 in the tables of the
CHEST guideline, which took up the same studies (Holbrook et al. 2012, Chest 141:e152S, tables 9 and 10): 0.6 major
haemorrhages and 4.6 thrombo-embolisms in 100 patient-years. Above 3, where neither gives a rate, thrombo-embolism is as at 2
to 3.

``smooth``: **our own construction, no published curve**: major bleeds 1.4 exp(max(0, INR - 2.5)) in 100 patient-years, at
most 200. It starts from the 1.4 a year of ATRIA 2011 and agrees with both of Oake's ratios at INR 3.4 (x 2.5) and 5.8 (x 27).
Thrombo-embolism as in ``ignite``.

A major bleed is intracranial and fatal with probability .156, intracranial .144, gastro-intestinal and fatal .043,
gastro-intestinal .557, another and fatal .002, another .098: a fifth of them kill (IGNITE and RIGHT; used with all three
tables). That source has deaths by stroke too (``env.STROKE_FATALITY``); ``alive`` leaves them out on purpose, because the reward
for mere survival is the user's example of a reward that forgets half of the harm.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

TABLES = ("ignite", "oake", "smooth")
DAYS_PER_YEAR = 365.0
BLEED_RISK = (0.01497, 0.06224, 0.39118)  # ignite, in a year: INR below 3, 3 to 4, above 4
STROKE_RISK = (0.077, 0.019, 0.006)  # in a year: INR below 1.5, 1.5 to 2, 2 and more
BLEED_HAZARD = np.array([-math.log(1.0 - risk) / DAYS_PER_YEAR for risk in BLEED_RISK])  # per day
STROKE_HAZARD = np.array([-math.log(1.0 - risk) / DAYS_PER_YEAR for risk in STROKE_RISK])  # per day
_BLEED_PROBABILITY = np.array([1.0 - math.exp(-hazard) for hazard in BLEED_HAZARD])  # on a day
_STROKE_PROBABILITY = np.array([1.0 - math.exp(-hazard) for hazard in STROKE_HAZARD])
OAKE_BLEED_RATE = np.array([1.1 * 0.006, 0.006, 2.7 * 0.006, 21.8 * 0.006])  # a year: below 2, 2 to 3, 3 to 5, above 5
OAKE_EMBOLISM_RATE = np.array([3.5 * 0.046, 0.046])  # a year: below 2, 2 and more
SMOOTH_RATE, SMOOTH_SLOPE, SMOOTH_MOST = 0.014, 1.0, 2.0  # a year
# Where a major bleed is: share of all bleeds, and share of all bleeds that are there and kill.
BLEED_SITES = {"intracranial": (0.300, 0.156), "gastrointestinal": (0.600, 0.043), "other": (0.100, 0.002)}
BLEED_FATALITY = sum(fatal for _, fatal in BLEED_SITES.values())  # share of major bleeds that kill
# One draw decides on site and death: first the fatal ones of each site, then the others.
_OUTCOME_OF_BLEED = np.cumsum(
    [fatal for _, fatal in BLEED_SITES.values()] + [share - fatal for share, fatal in BLEED_SITES.values()]
)


@njit(cache=True, error_model="numpy")
def bleed_probability(inr: float, table: int = 0, multiplier: float = 1.0) -> float:
    """Return the probability of a major bleed on a day at this true INR.

    Args:
        inr: True INR.
        table: Index into ``TABLES``.
        multiplier: Of the hazard; 1, but for teaching.

    >>> [round(bleed_probability(inr) * 36500, 2) for inr in (2.5, 3.5, 5.0)]
    [1.51, 6.43, 49.59]
    """
    if table == 0:
        band = 0 if inr < 3.0 else (1 if inr <= 4.0 else 2)
        if multiplier == 1.0:  # the default, and half of what the hazards cost is the exponential function
            return _BLEED_PROBABILITY[band]
        hazard = BLEED_HAZARD[band]
    elif table == 1:
        band = 0 if inr < 2.0 else (1 if inr <= 3.0 else (2 if inr <= 5.0 else 3))
        hazard = OAKE_BLEED_RATE[band] / DAYS_PER_YEAR
    else:
        hazard = min(SMOOTH_RATE * math.exp(SMOOTH_SLOPE * max(0.0, inr - 2.5)), SMOOTH_MOST) / DAYS_PER_YEAR
    return 1.0 - math.exp(-hazard * multiplier)


@njit(cache=True, error_model="numpy")
def thromboembolism_probability(inr: float, table: int = 0, multiplier: float = 1.0) -> float:
    """Return the probability of a thrombo-embolism on a day at this true INR.

    Args:
        inr: True INR.
        table: Index into ``TABLES``.
        multiplier: Of the hazard; 1, but for teaching.

    >>> [round(thromboembolism_probability(inr) * 36500, 2) for inr in (1.0, 1.7, 2.5)]
    [8.01, 1.92, 0.6]
    """
    if table == 1:
        hazard = OAKE_EMBOLISM_RATE[0 if inr < 2.0 else 1] / DAYS_PER_YEAR
    else:
        band = 0 if inr < 1.5 else (1 if inr < 2.0 else 2)
        if multiplier == 1.0:
            return _STROKE_PROBABILITY[band]
        hazard = STROKE_HAZARD[band]
    return 1.0 - math.exp(-hazard * multiplier)


@njit(cache=True, error_model="numpy")
def site_of_bleed(draw: float) -> tuple[int, bool]:
    """Return where a major bleed is (an index into ``BLEED_SITES``) and whether it kills.

    Args:
        draw: Uniform number of this bleed.

    >>> site_of_bleed(0.1), site_of_bleed(0.3), site_of_bleed(0.95)
    ((0, True), (0, False), (2, False))
    """
    k = 0
    while k < 5 and draw >= _OUTCOME_OF_BLEED[k]:
        k += 1
    return k % 3, k < 3
