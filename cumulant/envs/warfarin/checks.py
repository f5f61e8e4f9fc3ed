"""How warfarin is dosed, for ``check_dosing``.

The doses are those of the most sensitive typical patients, because ten times their dose can still be given.
"""

from __future__ import annotations

from cumulant.envs.dosing import Dosing
from cumulant.envs.warfarin import model

# Each row from the least to the most sensitive; rows are apart because Hamberg 2007 has *2/*2 and *2/*3 the other way round.
_ROWS = (
    ("*1/*1 G/G", "*1/*1 G/A", "*1/*1 A/A"),
    ("*1/*1 G/G", "*1/*2 G/G", "*2/*2 G/G"),
    ("*1/*1 A/A", "*1/*3 A/A", "*2/*3 A/A", "*3/*3 A/A"),
)
DOSING = Dosing(
    effect="inr",
    usual_dose=1.4,
    untreated=model.INR_BASE,
    dangerous=5.0,
    steps=40,
    wear_off=21,
    options={"actions": "dose", "days": 110, "cohort": "*2/*3 A/A", "variability": "none", "noise_cv": 0.0},
    sensitivity=[[{"cohort": name} for name in row] for row in _ROWS],
)
