"""The maintenance algorithm of the RE-LY trial, our re-coding: the simplest credible protocol."""

from __future__ import annotations

import numpy as np

from cumulant.envs.warfarin.patients import Patients
from cumulant.envs.warfarin.protocols.protocol import Protocol, usual_or


class Rely(Protocol):
    """RE-LY's algorithm after a 5 mg start: 15 % or 10 % up below INR 2, 10 % or 15 % down above 3.

    | INR | weekly dose | today |
    |---|---|---|
    | up to 1.5 | +15 % | |
    | below 2 | +10 % | |
    | 2 to 3 | | |
    | above 3 | -10 % | |
    | from 4 | -10 % | no dose |
    | from 5 | -15 % | no dose until 3 or less |

    Adjusts from day 3, never sooner than 3 days after a change; tests every 3 days in the first week, every 7 after it,
    every 2 while holding: start and intervals are ours, the algorithm is for maintenance.

    Source: Van Spall et al. 2012, Circulation 126:2309, doi 10.1161/CIRCULATIONAHA.112.101808; the holds from 4 on as in the
    European Society of Cardiology's reprint of the table.
    """

    label = "RE-LY algorithm"
    source = "Van Spall 2012"
    first_day, wait_days = 3, 3
    week, early_days, late_days, holding_days = 8, 3, 7, 2  # its own tests

    def start(self, patients: Patients) -> None:
        """Set everybody to 5 mg, tested on day 1 and again on day 3."""
        super().start(patients)
        self.maintenance_mg = usual_or(patients, 5.0)
        self.holding = np.zeros(len(patients), bool)
        self.next_test_day[:] = 1

    def dose(self, day: int, inr: np.ndarray, tested: np.ndarray) -> np.ndarray:
        """Return the dose of this day; see ``Protocol.dose``."""
        if day < self.first_day:
            self.next_test_day[:] = self.first_day
            return self.maintenance_mg.copy()
        released = self.holding & tested & (inr <= 3.0)
        self.holding &= ~released
        self.last_change[released] = day
        free = tested & ~self.holding & ~released
        to_hold = free & (inr >= 5.0)
        adjust = (free & (day - self.last_change >= self.wait_days)) | to_hold
        percent = np.select([inr <= 1.5, inr < 2.0, inr <= 3.0, inr < 5.0], [15.0, 10.0, 0.0, -10.0], default=-15.0)
        percent[~adjust] = 0.0
        self.maintenance_mg *= 1.0 + percent / 100.0
        self.last_change[percent != 0.0] = day
        self.holding |= to_hold
        self.next_test_day[tested] = day + (self.early_days if day < self.week else self.late_days)
        self.next_test_day[tested & self.holding] = day + self.holding_days
        return np.where(self.holding | (adjust & (inr >= 4.0)), 0.0, self.maintenance_mg)
