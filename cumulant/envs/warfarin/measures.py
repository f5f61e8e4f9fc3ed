"""Measures of what became of patients, each with its 95 % interval over patients.

Axes: T days, B patients.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from cumulant.envs.warfarin.course import Course
from cumulant.stats import mean_interval

Metric = dict[str, Any]

COLUMNS: dict[str, dict[str, Any]] = {
    "return": {"label": "Return", "unit": "", "better": "higher", "digits": 2},
    "return_gain": {"label": "Return vs best protocol", "unit": "", "better": "higher", "digits": 2},
    "ttr": {"label": "True TTR", "unit": "%", "better": "higher", "digits": 1},
    "tests": {"label": "INR tests", "unit": "", "better": "", "digits": 1},
    "ttr_rosendaal": {"label": "Rosendaal TTR", "unit": "%", "better": "higher", "digits": 1},
    "below_2": {"label": "INR < 2", "unit": "%", "better": "lower", "digits": 1},
    "above_4": {"label": "INR > 4", "unit": "%", "better": "lower", "digits": 2},
    "bleeds": {"label": "Major bleeds", "unit": "/100 patient-years", "better": "lower", "digits": 2},
    "thromboembolisms": {"label": "Thrombo-embolisms", "unit": "/100 patient-years", "better": "lower", "digits": 2},
    "dose_changes": {"label": "Dose changes", "unit": "", "better": "", "digits": 1},
}

NOTES = (
    "Protocols are our own simplified re-codings. Bleeds and thrombo-embolisms are expected numbers: published rates at "
    "each day's true INR. True TTR: share of days with the true INR from 2 to 3. Rosendaal TTR: the same of the measured "
    "INR, interpolated between a policy's own tests."
)


def interval(values: np.ndarray) -> Metric:
    """Return the mean over patients with its 95 % interval, leaving out NaN.

    >>> interval(np.array([1.0, 2.0, 3.0]))["mean"]
    2.0
    """
    values = values[~np.isnan(values)]
    if len(values) == 1:
        return {"mean": float(values[0]), "interval": [float(values[0])] * 2}
    mean, low, high = mean_interval(values)
    return {"mean": float(mean), "interval": [float(low), float(high)]}


def share(values: np.ndarray) -> Metric:
    """Return the mean share over patients in percent, with an interval that stays within 0 and 100."""
    measure = interval(100.0 * values)
    measure["interval"] = [max(measure["interval"][0], 0.0), min(measure["interval"][1], 100.0)]
    return measure


def rosendaal(measured: np.ndarray, tested: np.ndarray) -> np.ndarray:
    """Return each patient's time in range by linear interpolation, in percent; NaN with fewer than two tests.

    Args:
        measured: Measured INR of each morning, ``[T, B]``; only read where ``tested``.
        tested: ``[T, B]`` bool.

    Source: Rosendaal et al. 1993, Thromb Haemost 69:236; the day of the first test itself is not counted.

    >>> measured = np.array([[1.0], [0.0], [0.0], [0.0], [3.0]])  # 1.5, 2, 2.5 and 3 on the days after the first test
    >>> float(rosendaal(measured, measured > 0)[0])
    75.0
    """
    days = np.arange(len(measured))[:, None]
    before = np.maximum.accumulate(np.where(tested, days, -1), axis=0)  # last test up to this day
    after = np.minimum.accumulate(np.where(tested, days, len(days))[::-1], axis=0)[::-1]  # next test from this day on
    inside = (before >= 0) & (after < len(days)) & (days > tested.argmax(axis=0))
    left = np.take_along_axis(measured, np.maximum(before, 0), axis=0)
    right = np.take_along_axis(measured, np.minimum(after, len(days) - 1), axis=0)
    inr = left + (right - left) * (days - before) / np.maximum(after - before, 1)
    within = inside & (inr >= 2.0 - 1e-9) & (inr <= 3.0 + 1e-9)
    count = inside.sum(axis=0)
    return np.where(count > 0, 100.0 * within.sum(axis=0) / np.maximum(count, 1), np.nan)


def returns(course: Course) -> np.ndarray:
    """Return every patient's return, ``[B]``."""
    return (course.columns["reward"] * course.live).sum(axis=0)


def metrics(course: Course, who: np.ndarray | None = None) -> dict[str, Metric]:
    """Return the measures of a course, each with its 95 % interval.

    Args:
        course: What happened.
        who: Patients to look at, ``[B]`` bool; everybody if left out.
    """
    who = np.ones(course.inr.shape[1], bool) if who is None else who
    live = course.live[:, who]
    days = live.sum(axis=0)

    def total(values: np.ndarray) -> np.ndarray:
        return (values[:, who] * live).sum(axis=0)

    found = {
        "return": interval(returns(course)[who]),
        "ttr": share(total(course.columns["in_range"]) / days),
        "below_2": share(total(course.columns["below"]) / days),
        "above_4": share(total(course.columns["above_4"]) / days),
        "bleeds": interval(36500.0 * total(course.columns["bleed_risk"]) / days),
        "thromboembolisms": interval(36500.0 * total(course.columns["thromboembolism_risk"]) / days),
        "tests": interval(total(course.tested)),
        "dose_changes": interval(total(course.columns["dose_changed"])),
    }
    by_interpolation = rosendaal(course.measured[:, who], (course.tested & course.live)[:, who])
    if not np.isnan(by_interpolation).all():
        found["ttr_rosendaal"] = interval(by_interpolation)
    return {name: found[name] for name in COLUMNS if name in found}
