"""Fennerty's induction by daily INR, our re-coding."""

from __future__ import annotations

import numpy as np

from cumulant.envs.warfarin.patients import Patients
from cumulant.envs.warfarin.protocols.protocol import Protocol, usual_or
from cumulant.envs.warfarin.protocols.uw import UW

_ROUND = 1e-9  # the laboratory reports tenths, which floats do not hold exactly
# The highest INR of each row, and its dose in mg; above the last one the dose in the rows' last place.
_DAY2 = ((1.7, 1.8), (10.0, 1.0, 0.5))
_DAY3 = (
    (1.9, 2.1, 2.3, 2.5, 2.7, 2.9, 3.1, 3.3, 3.4, 3.5, 4.0),
    (10.0, 5.0, 4.5, 4.0, 3.5, 3.0, 2.5, 2.0, 1.5, 1.0, 0.5, 0.0),
)
_MAINTENANCE = (
    (1.3, 1.4, 1.5, 1.7, 1.8, 1.9, 2.1, 2.3, 2.6, 3.0, 3.5, 4.0, 4.5),
    (9.0, 8.0, 7.5, 7.0, 6.5, 6.0, 5.5, 5.0, 4.5, 4.0, 3.5, 3.0, 2.0, 1.0),
)


def _look_up(table: tuple[tuple[float, ...], tuple[float, ...]], inr: np.ndarray) -> np.ndarray:
    """Return the dose of each patient's row, ``[B]``."""
    highest, dose_mg = table
    return np.array(dose_mg)[np.searchsorted(np.array(highest) + _ROUND, inr, side="left")]


class Fennerty(Protocol):
    """Fennerty's induction: 10 mg, then by tables for the INR of days 2, 3 and 4, then UW's nomogram.

    Day 4 predicts the dose to maintain: from 8 mg at INR 1.4 down to 3 mg at 4; from 4.1 to 4.5 none today, then 2 mg; above
    4.5 none for two days, then 1 mg. "Above 8 mg", below INR 1.4, is coded as 9 mg. On a day without a test the dose stays as it
    was; the day-4 table waits for the first test from day 4 on. The source is for young patients with a thrombosis and says
    nothing of what follows: a nomogram is ours.

    Source: Fennerty et al. 1988, BMJ 297:1285, as printed in Drug and Therapeutics Bulletin 1992, 30:77.
    """

    label = "Fennerty induction"
    source = "Fennerty 1988"

    def start(self, patients: Patients) -> None:
        """Set everybody to 10 mg, tested daily until day 4."""
        super().start(patients)
        self.maintenance_mg = usual_or(patients, 10.0)
        self.nomogram = UW()
        self.nomogram.start(patients)
        self.begun = patients.maintenance_mg > 0.0
        self.nomogram.take_over(self.begun, self.maintenance_mg, 0)
        self.skip_until = np.zeros(len(patients), np.int64)
        self.next_test_day[:] = 1

    def dose(self, day: int, inr: np.ndarray, tested: np.ndarray) -> np.ndarray:
        """Return the dose of this day; see ``Protocol.dose``."""
        inr = np.where(tested, inr, 2.0)
        if day in (2, 3):
            wanted = _look_up(_DAY2 if day == 2 else _DAY3, inr)
            self.maintenance_mg = np.where(tested & ~self.begun, wanted, self.maintenance_mg)
        if day < 4:
            self.next_test_day[:] = day + 1
            return self.maintenance_mg.copy()
        self.next_test_day[~self.begun] = day + 1
        known = tested & self.begun
        given = np.where(self.begun, self.nomogram.dose(day, inr, known), self.maintenance_mg)
        due = tested & ~self.begun
        given[due] = _look_up(_MAINTENANCE, inr)[due]
        self.nomogram.take_over(due, given, day)
        self.skip_until[due] = day + np.select([inr <= 4.0 + _ROUND, inr <= 4.5 + _ROUND], [-1, 0], default=1)[due]
        self.begun |= due
        heard = known | due
        self.next_test_day[heard] = self.nomogram.next_test_day[heard]
        return np.where(self.skip_until >= day, 0.0, given)
