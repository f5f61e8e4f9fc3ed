"""The University of Washington's nomogram and initiation tables, our re-codings."""

from __future__ import annotations

import numpy as np

from cumulant.envs.warfarin.patients import Patients
from cumulant.envs.warfarin.protocols.nomogram import Nomogram
from cumulant.envs.warfarin.protocols.protocol import Protocol, usual_or


class UW(Nomogram):
    """University of Washington nomogram after a 5 mg start (adapted from Crowther 1997).

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
    source = "Crowther 1997"

    @staticmethod
    def percent(inr: np.ndarray) -> np.ndarray:
        """Return the change of the weekly dose, mid-points; see ``Nomogram.percent``."""
        limits, changes = [inr < 1.5, inr < 2.0, inr <= 3.0, inr <= 3.5, inr <= 4.0], [15.0, 10.0, 0.0, -7.0, -10.0]
        return np.select(limits, changes, default=-15.0)

    @staticmethod
    def today(inr: np.ndarray) -> np.ndarray:
        """Return the share that is given on the day of a change: half a dose more to reload; see ``Nomogram.today``."""
        return np.select([inr < 2.0, inr <= 3.5], [1.5, 1.0], default=0.0)

    @staticmethod
    def stops(inr: np.ndarray) -> np.ndarray:
        """Return who is held; see ``Nomogram.stops``."""
        return inr > 4.0


class UWInitiation(Protocol):
    """University of Washington 5 mg initiation table for daily INR, days 1 to 6, then its nomogram.

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
    source = "UW, web page"
    first_mg = 5.0
    table_mg = (
        (5.0, 2.5, 1.75, 0.0, 0.0),
        (7.5, 3.75, 1.25, 1.25, 0.0),
        (10.0, 6.25, 2.5, 2.5, 0.0),
        (10.0, 8.75, 2.5, 2.5, 0.0),
        (10.0, 7.5, 3.75, 3.75, 0.0),
    )  # days 2 to 6, mid-points

    def start(self, patients: Patients) -> None:
        """Set everybody to the first dose, tested daily until day 7."""
        super().start(patients)
        self.nomogram = UW()
        self.nomogram.start(patients)
        self.given_mg = [usual_or(patients, self.first_mg)]
        self.treated = patients.maintenance_mg > 0.0
        self.next_test_day[:] = 1

    def dose(self, day: int, inr: np.ndarray, tested: np.ndarray) -> np.ndarray:
        """Return the dose of this day; see ``Protocol.dose``."""
        if 1 < day <= 6:
            row = self.table_mg[day - 2]
            wanted = np.select([inr < 1.5, inr < 2.0, inr <= 2.5, inr <= 3.0], row[:4], default=row[4])
            self.given_mg.append(np.where(tested & ~self.treated, wanted, self.given_mg[-1]))
        if day <= 6:
            self.next_test_day[:] = day + 1
            return self.given_mg[-1].copy()
        if day == 7:
            self.nomogram.maintenance_mg = np.mean(self.given_mg[3:], axis=0)
            self.nomogram.last_change[:] = 6
        given = self.nomogram.dose(day, inr, tested)
        self.next_test_day = np.where(tested, self.nomogram.next_test_day, self.next_test_day)
        return given


class UWInitiation10(UWInitiation):
    """University of Washington 10 mg initiation table, for the young and healthy by its page.

    As the 5 mg table, but 10 mg on day 1 and 7.5 to 10 mg on day 2 with an INR below 1.5.

    Source: depts.washington.edu/anticoag, "Flexible initiation method".
    """

    label = "UW initiation table, 10 mg"
    first_mg = 10.0
    table_mg = ((8.75, *UWInitiation.table_mg[0][1:]), *UWInitiation.table_mg[1:])
