"""The maintenance algorithm of the RE-LY trial, our re-coding: the simplest credible protocol."""

from __future__ import annotations

import numpy as np

from cumulant.envs.warfarin.protocols.nomogram import Nomogram


class Rely(Nomogram):
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

    @staticmethod
    def percent(inr: np.ndarray) -> np.ndarray:
        """Return the change of the weekly dose; see ``Nomogram.percent``."""
        return np.select([inr <= 1.5, inr < 2.0, inr <= 3.0, inr < 5.0], [15.0, 10.0, 0.0, -10.0], default=-15.0)

    @staticmethod
    def today(inr: np.ndarray) -> np.ndarray:
        """Return the share that is given on the day of a change; see ``Nomogram.today``."""
        return np.where(inr >= 4.0, 0.0, 1.0)

    @staticmethod
    def stops(inr: np.ndarray) -> np.ndarray:
        """Return who is held; see ``Nomogram.stops``."""
        return inr >= 5.0
