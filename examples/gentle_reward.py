"""A reward of your own for the dosing assistant: named terms over what happened that day.

    cumulant train ppo warfarin --reward examples/gentle_reward.py:gentle

The reward of the task pays nothing between INR 3 and 4, so that hovering there is free. This one charges it, and charges
restless dosing; every term is logged by itself (``reward/...`` in metrics.jsonl), and the report shows time in range beside it.
"""

from __future__ import annotations

import numpy as np

from cumulant.reward import Outcomes, Reward, Term


def between_3_and_4(outcomes: Outcomes) -> np.ndarray:
    """Whether the true INR is above the range but not yet above 4, ``[B]``."""
    return (outcomes["inr"] > 3.0) & (outcomes["inr"] <= 4.0)


gentle = Reward(
    "gentle",
    (
        Term("in_range", 1.0, lambda outcomes: outcomes["in_range"]),
        Term("below", -0.5, lambda outcomes: outcomes["below"]),
        Term("between_3_and_4", -0.5, between_3_and_4),
        Term("above_4", -2.0, lambda outcomes: outcomes["above_4"]),
        Term("major_bleed", -5.0, lambda outcomes: outcomes["major_bleed"]),
        Term("restless", -0.1, lambda outcomes: outcomes["dose_changed"]),
    ),
)
