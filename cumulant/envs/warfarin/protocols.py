"""Dosing protocols to compare an agent with: our own simplified re-codings of published rules, a ceiling and a floor.

A protocol sees what a clinic sees: the measured INR on the days on which it was tested, and age. It may change the
dose only on a day with a test, and only when its own rule's shortest interval since its last change has passed,
however often the INR is measured; a hold for a high INR, where its rule has one, starts at once. On its own schedule
it says when to test next.

Ranges of a published table are coded by their mid-points, doses are not rounded to tablets, and no vitamin K is given.
Where a source does not say how long to wait between changes, the interval is ours, and short, in the protocol's favour.
Research and education only: these are not instructions for dosing people.
"""

from __future__ import annotations

import numpy as np

from cumulant.envs.warfarin import model
from cumulant.envs.warfarin.patients import Patients
from cumulant.errors import UsageError, did_you_mean

PROTOCOLS = {
    "zero": "ZeroDose",
    "fixed5": "Fixed5",
    "threshold": "Threshold",
    "uw": "UW",
    "uw_initiation": "UWInitiation",
    "aurora": "Aurora",
    "oracle": "OracleConstant",
}

NEVER = 1_000_000  # a day that does not come


class Protocol:
    """Decide doses for B patients, morning by morning.

    Attributes:
        label: What tables call it.
        kind: protocol, ceiling (it knows what no clinic can) or floor.
        next_test_day: When each patient should be tested next on the protocol's own schedule, ``[B]``.
    """

    label = ""
    kind = "protocol"

    def start(self, patients: Patients) -> None:
        """Meet the patients; day 1 comes next.

        Args:
            patients: Who they are, ``[B]``. Only a ceiling may read ``cl`` and ``ec50``.
        """
        self.maintenance_mg = np.zeros(len(patients))
        self.last_change = np.zeros(len(patients), np.int64)
        self.next_test_day = np.full(len(patients), NEVER)

    def dose(self, day: int, inr: np.ndarray, tested: np.ndarray) -> np.ndarray:
        """Return the dose of this day in mg, ``[B]``.

        Args:
            day: 1 for the first; called once for every day, in order.
            inr: Measured INR of this morning, ``[B]``; only read where ``tested``.
            tested: Who was tested this morning, ``[B]`` bool.
        """
        return self.maintenance_mg.copy()


class ZeroDose(Protocol):
    """No warfarin at all: the floor."""

    label = "Zero dose"
    kind = "floor"


class Fixed5(Protocol):
    """5 mg a day for everybody, never adjusted."""

    label = "Fixed 5 mg"

    def start(self, patients: Patients) -> None:
        """Set everybody to 5 mg."""
        super().start(patients)
        self.maintenance_mg[:] = 5.0


class Threshold(Protocol):
    """Start at 5 mg; 1 mg less above INR 3, 1 mg more below 2, else hold; at most every second day (our own rule).

    Two days between changes is what served it best of 1 to 10 on these patients when the INR is measured daily. Its own
    test days are every second day.
    """

    label = "Threshold rule"
    interval_days = 2

    def start(self, patients: Patients) -> None:
        """Set everybody to 5 mg, tested on day 1."""
        super().start(patients)
        self.maintenance_mg[:] = 5.0
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


class UW(Protocol):
    """University of Washington nomogram after a 5 mg start (adapted from Crowther 1997; our re-coding).

    | INR | rule | as coded |
    |---|---|---|
    | below 2 | reload 0 to 1 dose, +5-15 % | half a dose more today; +15 % below 1.5, else +10 % |
    | 2 to 3 | no change | |
    | 3.1 to 3.5 | -0-15 % | -7 % |
    | 3.6 to 4 | hold 0 to 1 dose, -5-15 % | hold today, -10 % |
    | above 4 | hold until therapeutic, -10-20 % | hold until INR <= 3, -15 % |

    Adjusts from day 3, never sooner than 3 days after a change. Its own tests: every 3 days in the first week, every 7
    after it, every 2 while holding. The page gives no intervals: these are ours.

    Source: depts.washington.edu/anticoag, "Simplified nomogram for warfarin maintenance dosing".
    """

    label = "UW nomogram"
    first_day, wait_days = 3, 3
    week, early_days, late_days, holding_days = 8, 3, 7, 2  # its own tests

    def start(self, patients: Patients) -> None:
        """Set everybody to 5 mg, tested on day 1 and again on day 3."""
        super().start(patients)
        self.maintenance_mg[:] = 5.0
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
        waited = day - self.last_change >= self.wait_days
        to_hold = free & (inr > 4.0)
        adjust = (free & waited) | to_hold
        percent = np.select(
            [inr < 1.5, inr < 2.0, inr <= 3.0, inr <= 3.5, inr <= 4.0], [15.0, 10.0, 0.0, -7.0, -10.0], default=-15.0
        )
        percent[~adjust] = 0.0
        self.maintenance_mg *= 1.0 + percent / 100.0
        self.last_change[percent != 0.0] = day
        self.holding |= to_hold
        skip_today = adjust & (inr > 3.5)
        self.next_test_day[tested] = day + (self.early_days if day < self.week else self.late_days)
        self.next_test_day[tested & self.holding] = day + self.holding_days
        reload = np.where(adjust & (inr < 2.0), 1.5, 1.0)
        return np.where(self.holding | skip_today, 0.0, self.maintenance_mg * reload)


class UWInitiation(Protocol):
    """University of Washington 5 mg initiation table for daily INR, days 1 to 6, then its nomogram (our re-coding).

    | day | INR below 1.5 | 1.5 to 1.9 | 2 to 2.5 | 2.6 to 3 | above 3 |
    |---|---|---|---|---|---|
    | 1 | 5 mg for everybody | | | | |
    | 2 | 5 | 2.5 | 1-2.5 | 0 | 0 |
    | 3 | 5-10 | 2.5-5 | 0-2.5 | 0-2.5 | 0 |
    | 4 | 10 | 5-7.5 | 0-5 | 0-5 | 0 |
    | 5 | 10 | 7.5-10 | 0-5 | 0-5 | 0 |
    | 6 | 7.5-12.5 | 5-10 | 0-7.5 | 0-7.5 | 0 |

    The page does not say which dose to maintain after day 6: here the mean of days 4 to 6, the best of what was
    tried. On a day without a test the dose stays as it was.

    Source: depts.washington.edu/anticoag, "Flexible initiation method".
    """

    label = "UW initiation table"
    table_mg = (
        (5.0, 2.5, 1.75, 0.0, 0.0),
        (7.5, 3.75, 1.25, 1.25, 0.0),
        (10.0, 6.25, 2.5, 2.5, 0.0),
        (10.0, 8.75, 2.5, 2.5, 0.0),
        (10.0, 7.5, 3.75, 3.75, 0.0),
    )  # days 2 to 6, mid-points

    def start(self, patients: Patients) -> None:
        """Set everybody to 5 mg, tested daily until day 7."""
        super().start(patients)
        self.nomogram = UW()
        self.nomogram.start(patients)
        self.given_mg = [np.full(len(patients), 5.0)]
        self.next_test_day[:] = 1

    def dose(self, day: int, inr: np.ndarray, tested: np.ndarray) -> np.ndarray:
        """Return the dose of this day; see ``Protocol.dose``."""
        if 1 < day <= 6:
            row = self.table_mg[day - 2]
            wanted = np.select([inr < 1.5, inr < 2.0, inr <= 2.5, inr <= 3.0], row[:4], default=row[4])
            self.given_mg.append(np.where(tested, wanted, self.given_mg[-1]))
        if day <= 6:
            self.next_test_day[:] = day + 1
            return self.given_mg[-1].copy()
        if day == 7:
            self.nomogram.maintenance_mg = np.mean(self.given_mg[3:], axis=0)
            self.nomogram.last_change[:] = 6
        given = self.nomogram.dose(day, inr, tested)
        self.next_test_day = np.where(tested, self.nomogram.next_test_day, self.next_test_day)
        return given


class Aurora(Protocol):
    """Aurora protocol: 10 mg below 65 years, else 5 mg, for two days, then by INR (AAA of Ravvaz 2017; our re-coding).

    Day 3: INR of 2 or more gives 5 mg, else the table. Table: below 1.5 +15 %; below 1.8 +10 %; below 2 +7.5 %; 2 to
    3 keep; below 3.4 -7.5 %; below 4 -10 %; 4 to 5 skip two doses, -12.5 %; above 5 hold, test every 2 days until 3
    or less, -15 %. Tested again after 2 days (from day 3), 7 days (out of range), or 1, 5, 7, 14 and 28 days as the
    INR stays in range.

    Source: Ravvaz et al. 2017, doi 10.1161/circgenetics.117.001804, as coded in ReiL.
    """

    label = "Aurora protocol"
    first_day, early_days, late_days, holding_days = 3, 2, 7, 2

    def start(self, patients: Patients) -> None:
        """Set the first two days' dose by age, tested on day 1 and again on day 3."""
        super().start(patients)
        self.maintenance_mg = np.where(patients.age_years < 65.0, 10.0, 5.0)
        self.holding = np.zeros(len(patients), bool)
        self.skip_until = np.zeros(len(patients), np.int64)  # last day of a hold of two doses
        self.stable_days = np.zeros(len(patients), np.int64)
        self.last_tested = np.zeros(len(patients), np.int64)
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
        # The first adjustment is looked at again after two days, later ones after a week.
        waited = day - self.last_change >= np.where(self.last_change <= self.first_day, self.early_days, self.late_days)
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
            enough = tested & (inr >= 2.0)
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


class OracleConstant(Protocol):
    """The constant dose that would hold INR 2.5 for ever, from the true clearance and EC50: a ceiling."""

    label = "Oracle constant dose"
    kind = "ceiling"

    def start(self, patients: Patients) -> None:
        """Work out every patient's dose."""
        super().start(patients)
        self.maintenance_mg = np.minimum(model.steady_state_dose(patients.cl, patients.ec50), 15.0)


def make(name: str) -> Protocol:
    """Return a new protocol by its name in ``PROTOCOLS``.

    Raises:
        UsageError: If there is no such protocol (message names the closest).
    """
    if name not in PROTOCOLS:
        raise UsageError(f"no dosing protocol '{name}': {did_you_mean(name, PROTOCOLS)}")
    return globals()[PROTOCOLS[name]]()
