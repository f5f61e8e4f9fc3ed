"""Percent changes by the newest INR, with holds: what UW's nomogram and RE-LY's algorithm have in common."""

from __future__ import annotations

import abc

import numpy as np

from cumulant.envs.warfarin.patients import Patients
from cumulant.envs.warfarin.protocols.protocol import Protocol, usual_or


class Nomogram(Protocol, abc.ABC):
    """Start at 5 mg, adjust from day 3 by the INR, never sooner than 3 days after a change; a hold lasts until INR 3 or less.

    Its own tests: every 3 days in the first week, every 7 after it, every 2 while holding.
    """

    first_day, wait_days = 3, 3
    week, early_days, late_days, holding_days = 8, 3, 7, 2  # its own tests

    @staticmethod
    @abc.abstractmethod
    def percent(inr: np.ndarray) -> np.ndarray:
        """Return how much more to give from now on, %, ``[B]``."""

    @staticmethod
    @abc.abstractmethod
    def today(inr: np.ndarray) -> np.ndarray:
        """Return the share of the new dose that is given on the day of a change, ``[B]``."""

    @staticmethod
    @abc.abstractmethod
    def stops(inr: np.ndarray) -> np.ndarray:
        """Return who is given nothing until the INR is 3 or less, however recent the last change, ``[B]`` bool."""

    def start(self, patients: Patients) -> None:
        """Set everybody to 5 mg, tested on day 1 and again on day 3."""
        super().start(patients)
        self.maintenance_mg = usual_or(patients, 5.0)
        self.next_test_day[:] = 1

    def dose(self, day: int, inr: np.ndarray, tested: np.ndarray) -> np.ndarray:
        """Return the dose of this day; see ``Protocol.dose``."""
        if day < self.first_day:
            self.next_test_day[:] = self.first_day
            return self.maintenance_mg.copy()
        released, free = self.release(tested, inr <= 3.0)
        self.last_change[released] = day
        to_hold = free & self.stops(inr)
        adjust = (free & (day - self.last_change >= self.wait_days)) | to_hold
        percent = np.where(adjust, self.percent(inr), 0.0)
        self.maintenance_mg *= 1.0 + percent / 100.0
        self.last_change[percent != 0.0] = day
        self.holding |= to_hold
        self.next_test_day[tested] = day + (self.early_days if day < self.week else self.late_days)
        self.next_test_day[tested & self.holding] = day + self.holding_days
        return np.where(self.holding, 0.0, self.maintenance_mg * np.where(adjust, self.today(inr), 1.0))
