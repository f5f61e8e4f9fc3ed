"""The Intermountain Healthcare protocol, our re-coding."""

from __future__ import annotations

import numpy as np

from cumulant.envs.warfarin.patients import Patients
from cumulant.envs.warfarin.protocols.protocol import Protocol, usual_or

_LIMITS = (1.6, 1.8, 2.0)  # below them: action point low, red zone low, yellow zone low
_GREEN, _YELLOW_HIGH, _RED_HIGH, _ACTION_HIGH = 3, 4, 5, 6


class Intermountain(Protocol):
    """Intermountain protocol: percent changes and one-time doses by seven INR zones, from day 5 on 5 mg.

    | zone | INR | weekly dose | today | next test, days (again in the zone) |
    |---|---|---|---|---|
    | action low | below 1.6 | +10 % | two doses | 5 (14) |
    | red low | below 1.8 | +5 % | one and a half | 7 (14) |
    | yellow low | below 2 | +5 % if repeated | | 14 |
    | green | to 3 | | | 14 (28) |
    | yellow high | below 3.4 | -5 % if repeated | | 14 |
    | red high | below 5 | -10 % | half a dose, none from 4 on | 7 (14) |
    | action high | 5 and more | -15 % | none for 2 days, and on until below 3.4 | 2, then 7 |

    Changes no sooner after a change than the zone's next test; a hold starts at once. Repeated means in the zone for 7 days or
    more. The start is ours: 5 mg until a test from day 5 on (the source starts with 8 days of another rule).

    Source: Anderson et al. 2007, Circulation 116:2563, appendix B, as coded in ReiL.
    Differs from source: a hold ends below 3.4 however low the INR; as coded there it goes on below 1.8. One-time doses
    are of the new maintenance dose, there of the old one.
    """

    label = "Intermountain protocol"
    source = "Anderson 2007"
    first_day, repeated_days, holding_days = 5, 7, 2
    percent = np.array([10.0, 5.0, 5.0, 0.0, -5.0, -10.0, -15.0])
    today = np.array([2.0, 1.5, 1.0, 1.0, 1.0, 0.5, 0.0])  # doses, once
    next_days = np.array([[5, 7, 14, 14, 14, 7, 2], [14, 14, 14, 28, 14, 14, 2]])  # first time and again in the zone

    def start(self, patients: Patients) -> None:
        """Set everybody to 5 mg, tested on day 1 and again on day 5."""
        super().start(patients)
        self.maintenance_mg = usual_or(patients, 5.0)
        self.zone = np.full(len(patients), -1)
        self.zone_since = np.zeros(len(patients), np.int64)
        self.not_before = np.zeros(len(patients), np.int64)  # day of the next change
        self.next_test_day[:] = 1

    def take_over(self, who: np.ndarray, dose_mg: np.ndarray, day: int) -> None:
        """Maintain these patients from tomorrow on; see ``Protocol.take_over``."""
        super().take_over(who, dose_mg, day)
        self.not_before[who] = day + 2

    def dose(self, day: int, inr: np.ndarray, tested: np.ndarray) -> np.ndarray:
        """Return the dose of this day; see ``Protocol.dose``."""
        if day < self.first_day:
            self.next_test_day[:] = self.first_day
            return self.maintenance_mg.copy()
        high = np.select([inr <= 3.0, inr < 3.4, inr < 5.0], [_GREEN, _YELLOW_HIGH, _RED_HIGH], default=_ACTION_HIGH)
        zone = np.select([inr < limit for limit in _LIMITS], [0, 1, 2], default=high)
        again = zone == self.zone
        self.zone_since[tested & ~again] = day
        repeated = again & (day - self.zone_since >= self.repeated_days)
        self.zone[tested] = zone[tested]

        released, free = self.release(tested, inr < 3.4)
        to_hold = free & (zone == _ACTION_HIGH)
        adjust = (free & (day >= self.not_before)) | to_hold
        yellow = (zone == 2) | (zone == _YELLOW_HIGH)
        change = adjust & (zone != _GREEN) & (repeated | ~yellow)
        self.maintenance_mg = np.where(
            change, self.maintenance_mg * (1.0 + self.percent[zone] / 100.0), self.maintenance_mg
        )
        self.holding |= to_hold
        wait = self.next_days[again.astype(np.int64), zone]
        wait[released] = self.next_days[0, _RED_HIGH]
        wait[self.holding] = self.holding_days
        self.not_before[change | released] = (day + wait)[change | released]
        self.next_test_day[tested] = (day + wait)[tested]
        doses = np.where(change, np.where(inr >= 4.0, 0.0, self.today[zone]), 1.0)
        return np.where(self.holding, 0.0, self.maintenance_mg * doses)
