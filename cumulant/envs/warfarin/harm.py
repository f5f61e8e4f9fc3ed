"""Harm: the chance of a major bleed or a thrombo-embolism on one day, given the true INR.

Default and only table so far: published steps by INR, as used in the decision model of the IGNITE and RIGHT
pharmacogenomic programmes (inputs of the discrete event simulation in spgarbet/right).

| true INR | major bleeds per 100 patient-years | | true INR | strokes per 100 patient-years |
|---|---|---|---|---|
| below 3 | 1.497 | | below 1.5 | 7.7 |
| 3 to 4 | 6.224 | | 1.5 to 2 | 1.9 |
| above 4 | 39.118 | | 2 and more | 0.6 |

A major bleed is intracranial (.300, of which .156 die), gastro-intestinal (.600, .043) or another (.100, .002).
The strokes are those of untreated and treated atrial fibrillation; no deaths are counted for them, because the source
gives none.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

BLEED_BELOW_3, BLEED_3_TO_4, BLEED_ABOVE_4 = 1.497, 6.224, 39.118  # per 100 patient-years
STROKE_BELOW_1_5, STROKE_1_5_TO_2, STROKE_FROM_2 = 7.7, 1.9, 0.6  # per 100 patient-years
BLEED_TYPES = ("intracranial", "gastro-intestinal", "other")
BLEED_SHARE = np.array([0.300, 0.600, 0.100])
BLEED_FATALITY = np.array([0.156, 0.043, 0.002])
DAYS_PER_YEAR = 365.0


@njit(cache=True, error_model="numpy")
def bleed_probability(inr: float) -> float:
    """Return the probability of a major bleed on a day at this true INR.

    >>> round(bleed_probability(2.5) * 365 * 100, 2), round(bleed_probability(5.0) * 365 * 100, 2)
    (1.5, 39.1)
    """
    rate = BLEED_BELOW_3 if inr < 3.0 else (BLEED_3_TO_4 if inr <= 4.0 else BLEED_ABOVE_4)
    return 1.0 - math.exp(-rate / (100.0 * DAYS_PER_YEAR))


@njit(cache=True, error_model="numpy")
def thromboembolism_probability(inr: float) -> float:
    """Return the probability of a thrombo-embolism on a day at this true INR.

    >>> round(thromboembolism_probability(1.0) * 365 * 100, 2), round(thromboembolism_probability(2.5) * 365 * 100, 2)
    (7.7, 0.6)
    """
    rate = STROKE_BELOW_1_5 if inr < 1.5 else (STROKE_1_5_TO_2 if inr < 2.0 else STROKE_FROM_2)
    return 1.0 - math.exp(-rate / (100.0 * DAYS_PER_YEAR))


@njit(cache=True, error_model="numpy")
def bleed_is_fatal(type_draw: float, fatal_draw: float) -> bool:
    """Return whether a major bleed kills.

    Args:
        type_draw: Uniform number in [0, 1) that picks the type of bleed.
        fatal_draw: Uniform number in [0, 1) that picks its outcome.
    """
    kind = 0
    threshold = BLEED_SHARE[0]
    while kind < 2 and type_draw >= threshold:
        kind += 1
        threshold += BLEED_SHARE[kind]
    return fatal_draw < BLEED_FATALITY[kind]
