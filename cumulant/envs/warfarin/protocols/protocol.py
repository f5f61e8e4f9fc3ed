"""What every protocol offers, and how one hands its patients over to another.

Axes: B patients, N opening days.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from cumulant.envs.warfarin.patients import Patients

NEVER = 1_000_000  # a day that does not come


def usual_or(patients: Patients, start_mg: np.ndarray | float) -> np.ndarray:
    """Return the dose that each patient comes with, or else this one to start with, mg, ``[B]``."""
    return np.where(patients.maintenance_mg > 0.0, patients.maintenance_mg, start_mg)


class Protocol:
    """Decide doses for B patients, morning by morning.

    Attributes:
        label: What tables call it.
        kind: protocol, ceiling (it knows what no clinic can) or floor.
        knows: What it needs: nothing, INR, clinic (age, size, race, drugs, smoking, beside the INR), genotype (these and the
            alleles) or truth.
        source: Where its rules come from, for lists.
        next_test_day: When each patient should be tested next on the protocol's own schedule, ``[B]``.
    """

    label = ""
    kind = "protocol"
    knows = "INR"
    source = ""

    def start(self, patients: Patients) -> None:
        """Meet the patients; day 1 comes next.

        Args:
            patients: Who they are, ``[B]``. Only a ceiling may read ``cl`` and ``ec50``.
        """
        self.maintenance_mg = np.zeros(len(patients))
        self.last_change = np.zeros(len(patients), np.int64)
        self.holding = np.zeros(len(patients), bool)  # who is given nothing until a test releases him
        self.next_test_day = np.full(len(patients), NEVER)

    def dose(self, day: int, inr: np.ndarray, tested: np.ndarray) -> np.ndarray:
        """Return the dose of this day in mg, ``[B]``.

        Args:
            day: 1 for the first; called once for every day, in order.
            inr: Measured INR of this morning, ``[B]``; only read where ``tested``.
            tested: Who was tested this morning, ``[B]`` bool.
        """
        return self.maintenance_mg.copy()

    def release(self, tested: np.ndarray, may_go: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """End holds; return whose ended this morning, and whose dose may be changed: tested, and neither held nor just released.

        Args:
            tested: Who was tested this morning, ``[B]`` bool.
            may_go: Whose INR ends a hold, ``[B]`` bool.
        """
        released = self.holding & tested & may_go
        self.holding &= ~released
        return released, tested & ~self.holding & ~released

    def take_over(self, who: np.ndarray, dose_mg: np.ndarray, day: int) -> None:
        """Maintain these patients from tomorrow on, after another rule's first days.

        Args:
            who: ``[B]`` bool.
            dose_mg: Dose of today, which counts as a change of today, ``[B]``.
            day: Today; they are tested again in two days.
        """
        self.maintenance_mg[who] = dose_mg[who]
        self.last_change[who] = day
        self.next_test_day[who] = day + 2


class Phased(Protocol):
    """First days by a formula, then, where there is one, a revision by the first INR from day 4 on, then another protocol.

    The last of the first days' doses stays until the revision, when the first test from day 4 on comes later. Patients who come
    with a dose of their own keep it, and have the later protocol from the start.

    Attributes:
        formula: Maps patients to their first doses, mg: ``[B]``, the same on each day, or ``[N, B]``.
        days: N, how many days these are given.
        revise: Maps patients, the INR of day 4 or 5 and the doses given 2, 3 and 4 days before (0 where there was none,
            ``[3, B]``) to a revised dose, ``[B]``; None for no revision.
        maintains: The protocol that takes over.
    """

    formula: Callable[[Patients], np.ndarray]
    days: int
    revise: Callable[[Patients, np.ndarray, np.ndarray], np.ndarray] | None = None
    maintains: type[Protocol]
    revision_day = 4

    def start(self, patients: Patients) -> None:
        """Work out the first days; everybody is tested on day 1."""
        super().start(patients)
        self.patients = patients
        self.first_mg = usual_or(patients, np.broadcast_to(self.formula(patients), (self.days, len(patients))))
        self.given_mg: list[np.ndarray] = []
        self.then = self.maintains()
        self.then.start(patients)
        self.begun = patients.maintenance_mg > 0.0  # whom the later protocol has
        self.next_test_day[:] = 1
        self.second_test_day = self.revision_day
        if self.revise is None:
            self.second_test_day = len(self.first_mg) + 1
            self.begun[:] = True
        self.then.take_over(self.begun, self.first_mg[-1], 0)

    def dose(self, day: int, inr: np.ndarray, tested: np.ndarray) -> np.ndarray:
        """Return the dose of this day; see ``Protocol.dose``."""
        given = self.first_mg[min(day, len(self.first_mg)) - 1].copy()
        if day == 1:
            self.next_test_day[:] = self.second_test_day
        if day > len(self.first_mg):
            known = tested & self.begun
            later = self.then.dose(day, inr, known)
            given[self.begun] = later[self.begun]
            due = tested & ~self.begun & (day >= self.revision_day)
            if self.revise is not None and due.any():
                before = [self.given_mg[day - 1 - k] if day > k else np.zeros_like(given) for k in (2, 3, 4)]
                revised = self.revise(self.patients, np.where(due, inr, 2.0), np.stack(before))
                given[due] = revised[due]
                self.then.take_over(due, given, day)
                self.begun |= due
            heard = known | due
            self.next_test_day[heard] = self.then.next_test_day[heard]
        self.given_mg.append(given)
        return given.copy()
