"""What would have become of single patients had the dose been held: the same people, days and chances, other doses.

The course up to the day of the question is that of the policy. From then on the dose is withheld for some days, and
afterwards the policy decides again, from what it then sees. Every random number belongs to a patient and a day, so two
courses differ by the doses alone.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from cumulant.envs.warfarin import charts
from cumulant.envs.warfarin.course import Act, Course, play_steered
from cumulant.envs.warfarin.env import Warfarin
from cumulant.envs.warfarin.patients import Patients

DAY = 10  # of the question, and a test day on either schedule
HOLDS = (0, 1, 3)  # days without a dose
_SHOWN_BEFORE, _SHOWN_AFTER = 4, 14


def curves(act: Act, options: Warfarin, episodes: int, seed: int, patients: Patients) -> dict[str, Any]:
    """Return the true INR and dose of the representatives for each length of a hold.

    Args:
        act: The policy.
        options: Its environment.
        episodes: B.
        seed: Which patients.
        patients: They.
    """
    day = min(DAY, options.days)
    courses = {_label(hold): held(act, options, episodes, seed, day, hold) for hold in HOLDS}
    days = range(max(day - _SHOWN_BEFORE, 1), min(day + _SHOWN_AFTER, options.days) + 1)
    cases = []
    for i in charts.representatives(patients):
        lines = []
        for label, course in courses.items():
            y = [round(float(course.inr[d - 1, i]), 3) for d in days]
            y2 = [round(float(course.dose_mg[d - 1, i]), 3) for d in days]
            lines.append({"label": label, "x": list(days), "y": y, "y2": y2})
        lowest = {label: float(course.inr[day - 1 :, i].min()) for label, course in courses.items()}
        cases.append({"title": patients.describe(i), "lines": lines, "lowest": lowest})
    return {
        "band": charts.BAND,
        "x_label": "Day",
        "y_label": "INR (true)",
        "y2_label": "Dose (mg)",
        "note": f"What if the dose were held from day {day} on? Afterwards the policy decides again. INR 24 h after the dose.",
        "cases": cases,
    }


def held(act: Act, options: Warfarin, episodes: int, seed: int, day: int, days: int) -> Course:
    """Play a policy whose dose is withheld for some days.

    Args:
        act: The policy.
        options: Its environment.
        episodes: B.
        seed: Which patients.
        day: First day without a dose.
        days: How many; 0 for none.
    """
    return play_steered(
        act, options, episodes, seed, lambda now, dose: np.zeros_like(dose) if day <= now < day + days else dose
    )


def _label(days: int) -> str:
    return "as the policy decides" if days == 0 else f"held for {days} day{'s' if days > 1 else ''}"
