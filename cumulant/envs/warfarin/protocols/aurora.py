"""The Aurora protocol, our re-coding; its other arms are in predicted.py."""

from __future__ import annotations

import numpy as np

from cumulant.envs.warfarin.patients import Patients
from cumulant.envs.warfarin.protocols.protocol import Protocol, usual_or


class Aurora(Protocol):
    """Aurora protocol (AAA): 10 mg below 65 years, else 5 mg, for two days, then by INR.

    Day 3: INR of 2 or more gives 5 mg, else the table. Table: below 1.5 +15 %; below 1.8 +10 %; below 2 +7.5 %; 2 to
    3 keep; below 3.4 -7.5 %; below 4 -10 %; 4 to 5 skip two doses, -12.5 %; above 5 hold, test every 2 days until 3
    or less, -15 %. Tested again after 2 days (from day 3), 7 days (out of range), or 1, 5, 7, 14 and 28 days as the
    INR stays in range.

    Source: Ravvaz et al. 2017, doi 10.1161/circgenetics.117.001804, as coded in ReiL.
    """

    label = "Aurora protocol"
    knows = "clinic"
    source = "Ravvaz 2017"
    first_day, early_days, late_days, holding_days = 3, 2, 7, 2

    def start(self, patients: Patients) -> None:
        """Set the first two days' dose by age, tested on day 1 and again on day 3."""
        super().start(patients)
        self.maintenance_mg = usual_or(patients, np.where(patients.age_years < 65.0, 10.0, 5.0))
        self.treated = patients.maintenance_mg > 0.0
        self.skip_until = np.zeros(len(patients), np.int64)  # last day of a hold of two doses
        self.stable_days = np.zeros(len(patients), np.int64)
        self.last_tested = np.zeros(len(patients), np.int64)
        self.early_until = np.full(len(patients), self.first_day)  # a change up to this day is looked at again early
        self.next_test_day[:] = 1

    def take_over(self, who: np.ndarray, dose_mg: np.ndarray, day: int) -> None:
        """Maintain these patients from tomorrow on; see ``Protocol.take_over``."""
        super().take_over(who, dose_mg, day)
        self.early_until[who] = max(day, self.first_day)

    def dose(self, day: int, inr: np.ndarray, tested: np.ndarray) -> np.ndarray:
        """Return the dose of this day; see ``Protocol.dose``."""
        if day < self.first_day:
            self.next_test_day[:] = self.first_day
            return self.maintenance_mg.copy()
        released, free = self.release(tested, inr <= 3.0)
        self.last_change[released] = day
        # The first adjustment is looked at again after two days, later ones after a week.
        waited = day - self.last_change >= np.where(
            self.last_change <= self.early_until, self.early_days, self.late_days
        )
        to_hold = free & (inr > 5.0)
        to_skip = free & (inr >= 4.0) & (inr <= 5.0) & (waited | (self.last_change > self.skip_until))
        adjust = (free & waited) | to_hold | to_skip
        percent = np.select(
            [inr < 1.5, inr < 1.8, inr < 2.0, inr <= 3.0, inr < 3.4, inr < 4.0, inr <= 5.0],
            [15.0, 10.0, 7.5, 0.0, -7.5, -10.0, -12.5],
            default=-15.0,
        )
        percent[~adjust] = 0.0
        if day == self.first_day:
            enough = tested & (inr >= 2.0) & ~self.treated
            percent[enough] = 0.0
            to_hold, to_skip = to_hold & ~enough, to_skip & ~enough
            self.maintenance_mg[enough] = 5.0
            self.last_change[enough] = day
        self.maintenance_mg *= 1.0 + percent / 100.0
        self.last_change[percent != 0.0] = day
        self.holding |= to_hold
        self.skip_until[to_skip] = day + 1
        self._plan(day, inr, tested, released, to_skip)
        return np.where(self.holding | (self.skip_until >= day), 0.0, self.maintenance_mg)

    def _plan(self, day: int, inr: np.ndarray, tested: np.ndarray, released: np.ndarray, skipped: np.ndarray) -> None:
        """Count the days in range and set the next test."""
        in_range = tested & (inr >= 2.0) & (inr <= 3.0)
        since = day - self.last_tested
        self.stable_days[in_range] = np.where(self.stable_days > 0, self.stable_days + since, 1)[in_range]
        self.stable_days[tested & ~in_range] = 0
        self.last_tested[tested] = day
        wait = np.select([self.stable_days >= d for d in (28, 14, 7, 2, 1)], [28, 14, 7, 5, 1], default=self.late_days)
        if day == self.first_day:
            wait[:] = self.early_days
        wait[released] = self.late_days
        wait[skipped] = self.late_days + 2
        wait[self.holding] = self.holding_days
        self.next_test_day[tested] = (day + wait)[tested]
