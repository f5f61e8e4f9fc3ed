"""Harm: the chance of a major bleed or a thrombo-embolism on one day, given the true INR.

Default and only table so far: published steps by INR, as used in the decision model of the IGNITE and RIGHT
pharmacogenomic programmes (inputs of the discrete event simulation in spgarbet/right).

| true INR | risk of a major bleed in a year | | true INR | risk of a stroke in a year |
|---|---|---|---|---|
| below 3 | .01497 | | below 1.5 | .077 |
| 3 to 4 | .06224 | | 1.5 to 2 | .019 |
| above 4 | .39118 | | 2 and more | .006 |

A risk becomes a daily hazard as in the source, ``-log(1 - risk) / 365``: above INR 4 that is 49.6 events per 100
patient-years. A major bleed is intracranial and fatal with probability .156, intracranial .144, gastro-intestinal and
fatal .043, gastro-intestinal .557, another and fatal .002, another .098: a fifth of them kill. The source has deaths by
stroke too (.16 below INR 2, .06 from 2 on); they are left out here on purpose, because the reward for mere survival is
the user's example of a reward that forgets half of the harm.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

DAYS_PER_YEAR = 365.0
BLEED_RISK = (0.01497, 0.06224, 0.39118)  # in a year: INR below 3, 3 to 4, above 4
STROKE_RISK = (0.077, 0.019, 0.006)  # in a year: INR below 1.5, 1.5 to 2, 2 and more
BLEED_HAZARD = np.array([-math.log(1.0 - risk) / DAYS_PER_YEAR for risk in BLEED_RISK])  # per day
STROKE_HAZARD = np.array([-math.log(1.0 - risk) / DAYS_PER_YEAR for risk in STROKE_RISK])  # per day
BLEED_FATALITY = 0.156 + 0.043 + 0.002  # share of major bleeds that kill


@njit(cache=True, error_model="numpy")
def bleed_probability(inr: float) -> float:
    """Return the probability of a major bleed on a day at this true INR.

    >>> [round(bleed_probability(inr) * 36500, 2) for inr in (2.5, 3.5, 5.0)]
    [1.51, 6.43, 49.59]
    """
    band = 0 if inr < 3.0 else (1 if inr <= 4.0 else 2)
    return 1.0 - math.exp(-BLEED_HAZARD[band])


@njit(cache=True, error_model="numpy")
def thromboembolism_probability(inr: float) -> float:
    """Return the probability of a thrombo-embolism on a day at this true INR.

    >>> [round(thromboembolism_probability(inr) * 36500, 2) for inr in (1.0, 1.7, 2.5)]
    [8.01, 1.92, 0.6]
    """
    band = 0 if inr < 1.5 else (1 if inr < 2.0 else 2)
    return 1.0 - math.exp(-STROKE_HAZARD[band])
