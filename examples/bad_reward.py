"""What a reward for mere survival asks for: give everybody one constant dose, and count.

Over thirty days on simulated patients, as expected values: the return of the task, the time in range, and the days survived when
fatal bleeds are the only deaths, and when fatal strokes are counted too. Run it:

    python examples/bad_reward.py
"""

from __future__ import annotations

import numpy as np

from cumulant.envs.batched import Batch
from cumulant.envs.warfarin.env import Warfarin

DOSES_MG = (0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 7.5, 10.0)
PATIENTS = 20_000
STROKE_FATALITY = (0.16, 0.06)  # INR below 2, 2 and more: the source of the hazards, which the environment leaves out


def live(dose_mg: float) -> tuple[float, float, float, float]:
    """Return the return of the task, the time in range (%), and the expected days survived without and with strokes."""
    batch = Batch(Warfarin(actions="dose").kernel(), PATIENTS, seed=0, autoreset=False)
    column = {name: k for k, name in enumerate(batch.outcome_names)}
    total, in_range = np.zeros(PATIENTS), np.zeros(PATIENTS)
    alive_bleeds, alive_both = np.ones(PATIENTS), np.ones(PATIENTS)
    days_bleeds, days_both = np.zeros(PATIENTS), np.zeros(PATIENTS)
    for _ in range(30):
        batch.step(np.full((PATIENTS, 1), dose_mg, np.float32))
        out = {name: batch.outcomes[:, k] for name, k in column.items()}
        total += batch.reward
        in_range += out["in_range"]
        stroke_death = out["thromboembolism_risk"] * np.where(out["inr"] < 2.0, *STROKE_FATALITY)
        alive_bleeds *= 1.0 - out["death_risk"]
        alive_both *= (1.0 - out["death_risk"]) * (1.0 - stroke_death)
        days_bleeds += alive_bleeds
        days_both += alive_both
    return total.mean(), 100.0 * in_range.mean() / 30.0, days_bleeds.mean(), days_both.mean()


def main() -> None:
    """Print one row for each dose."""
    print("dose mg   return   time in range %   days survived: bleeds only   bleeds and strokes")
    for dose_mg in DOSES_MG:
        total, in_range, bleeds, both = live(dose_mg)
        print(f"{dose_mg:7.1f}   {total:6.2f}   {in_range:15.1f}   {bleeds:26.4f}   {both:18.4f}")


if __name__ == "__main__":
    main()
