"""The simplest protocols, a ceiling and a floor."""

from __future__ import annotations

import numpy as np

from cumulant.envs.warfarin.patients import Patients
from cumulant.envs.warfarin.protocols.protocol import Protocol, usual_or


class ZeroDose(Protocol):
    """No warfarin at all: the floor."""

    label = "Zero dose"
    kind = "floor"
    knows = "nothing"
    source = "ours"


class Fixed5(Protocol):
    """5 mg a day for everybody, never adjusted."""

    label = "Fixed 5 mg"
    knows = "nothing"
    source = "usual practice"

    def start(self, patients: Patients) -> None:
        """Set everybody to 5 mg."""
        super().start(patients)
        self.maintenance_mg[:] = 5.0


class Constant(Protocol):
    """A dose for each patient, never adjusted; no test.

    Args:
        dose_mg: Doses, ``[B]``.
        label: What tables call it.
    """

    knows = "nothing"
    source = "yours"

    def __init__(self, dose_mg: np.ndarray, label: str) -> None:
        self.dose_mg, self.label = dose_mg, label

    def start(self, patients: Patients) -> None:
        """Set everybody to their dose."""
        super().start(patients)
        self.maintenance_mg[:] = self.dose_mg


class Threshold(Protocol):
    """Start at 5 mg; 1 mg less above INR 3, 1 mg more below 2, else hold; at most every second day (our own rule).

    Two days between changes is what served it best of 1 to 10 on these patients when the INR is measured daily. Its own
    test days are every second day.
    """

    label = "Threshold rule"
    source = "ours"
    interval_days = 2

    def start(self, patients: Patients) -> None:
        """Set everybody to 5 mg, tested on day 1."""
        super().start(patients)
        self.maintenance_mg = usual_or(patients, 5.0)
        self.last_change[:] = 1
        self.next_test_day[:] = 1

    def dose(self, day: int, inr: np.ndarray, tested: np.ndarray) -> np.ndarray:
        """Return the dose of this day; see ``Protocol.dose``."""
        move = np.where(inr > 3.0, -1.0, np.where(inr < 2.0, 1.0, 0.0))
        move[~tested | (day - self.last_change < self.interval_days)] = 0.0
        self.maintenance_mg = np.clip(self.maintenance_mg + move, 0.0, 15.0)
        self.last_change[move != 0.0] = day
        self.next_test_day[tested] = day + self.interval_days
        return self.maintenance_mg.copy()


class OracleConstant(Protocol):
    """The constant dose that would hold INR 2.5 for ever, from the true clearance and EC50: a ceiling."""

    label = "Oracle constant dose"
    kind = "ceiling"
    knows = "truth"
    source = "the model"

    def start(self, patients: Patients) -> None:
        """Work out every patient's dose."""
        super().start(patients)
        self.maintenance_mg = np.minimum(patients.dose_for(2.5), 15.0)
