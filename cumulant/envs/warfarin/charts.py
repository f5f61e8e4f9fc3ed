"""Numbers for the pictures of an evaluation: the course of a few patients, and the policy as a map.

Axes: T days, B patients, D observation size.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from cumulant.envs.warfarin.actions import DOSE_MAX, proposed
from cumulant.envs.warfarin.env import CLINIC_DAYS, Warfarin
from cumulant.envs.warfarin.patients import SENSITIVITIES, Patients

BAND = [2.0, 3.0]


def representatives(patients: Patients) -> list[int]:
    """Pick two patients of each sensitivity class: those at the quartiles of the constant dose that they would need.

    Args:
        patients: ``[B]``.

    Returns:
        Up to six indices: normal, sensitive, highly sensitive, the smaller need first.
    """
    need = patients.dose_for(2.5)
    chosen: list[int] = []
    for k in range(len(SENSITIVITIES)):
        members = np.flatnonzero(patients.sensitivity == k)
        members = members[np.argsort(need[members], kind="stable")]
        for quarter in (1, 3):
            if len(members) and (index := int(members[(len(members) - 1) * quarter // 4])) not in chosen:
                chosen.append(index)
    return chosen


def trajectories(policies: Mapping[str, tuple[np.ndarray, np.ndarray]], patients: Patients) -> dict[str, Any]:
    """Return the INR and dose curves of the representatives under each policy.

    Args:
        policies: Label -> true INR 24 h after each dose and dose in mg, ``[T, B]`` each.
        patients: ``[B]``.
    """
    cases = []
    for i in representatives(patients):
        lines = []
        for label, (inr, dose_mg) in policies.items():
            days = list(range(1, len(inr) + 1))
            y, y2 = np.round(inr[:, i], 3).tolist(), np.round(dose_mg[:, i], 3).tolist()
            lines.append({"label": label, "x": days, "y": y, "y2": y2})
        cases.append({"title": patients.describe(i), "lines": lines})
    return {
        "band": BAND,
        "x_label": "Day",
        "y_label": "INR (true)",
        "y2_label": "Dose (mg)",
        "note": "Two of each sensitivity class, at the quartiles of the dose they need. INR 24 h after the dose.",
        "cases": cases,
    }


def policy_map(act: Callable[[np.ndarray], np.ndarray], options: Warfarin) -> dict[str, Any]:
    """Ask the policy what it does at each measured INR and dose, half-way through.

    One fixed situation: day 15 (or the last test day before it), every recent test showed this INR and every recent
    dose was this dose, age 67, 90 kg; with genotype, CYP2C9 *1/*1 and VKORC1 G/A.

    Args:
        act: Observations ``[B, D]`` -> actions ``[B]``.
        options: The environment that the policy was trained on; not ``observe="all"``.

    Returns:
        x (INR), y (dose), z (rows follow y): 0 decrease, 1 hold, 2 increase.
    """
    inr, dose = np.round(np.arange(1.0, 6.01, 0.1), 1), np.arange(0.0, DOSE_MAX + 0.5, 1.0)
    usual = CLINIC_DAYS if options.schedule == "ordered" else options.test_days
    tests = [day for day in usual if day <= min(15, options.days)][-4:]
    day = tests[-1]
    tests = [tests[0]] * (4 - len(tests)) + tests
    grid_dose, grid_inr = np.meshgrid(dose, inr, indexing="ij")
    obs = np.zeros((grid_inr.size, 17 if options.observe == "genotype" else 14), np.float32)
    obs[:, 0:4] = grid_inr.reshape(-1, 1)
    obs[:, 4:8] = [day - d for d in reversed(tests)]
    obs[:, 8:11] = grid_dose.reshape(-1, 1)
    obs[:, 11], obs[:, 12], obs[:, 13] = day, 67.0, 90.0
    if options.observe == "genotype":
        obs[:, 14:17] = 0.0, 0.0, 1.0
    if hasattr(act, "forget"):
        act.forget()
    change = proposed(options.actions, options.tablets_mg, obs[:, 8], act(obs)) - obs[:, 8]
    least = 0.25 if options.actions == "dose" else 0.0  # a dose is never exactly the one before
    action = np.where(change < -least, 0, np.where(change > least, 2, 1))
    return {
        "title": f"What the policy does on day {day}, when the INR and the dose have been steady",
        "x_label": "Measured INR",
        "y_label": "Current dose (mg)",
        "x": inr.tolist(),
        "y": dose.tolist(),
        "z": action.reshape(grid_inr.shape).tolist(),
        "legend": ["decrease", "hold", "increase"],
    }
