"""Rewards for the dosing assistant, good and bad, by name: exhibits of ``cumulant audit warfarin --exhibit NAME``."""

from __future__ import annotations

from cumulant.envs.views import Exhibit

EXHIBITS = (
    Exhibit("good_design", "time in range, less time below and above, less bleeds: the reward of the task", {}),
    Exhibit(
        "survival",
        "+1 for each day survived, where only bleeds kill: no dose at all is best, by a thousandth",
        {"reward": "survival"},
    ),
    Exhibit(
        "survival_strokes",
        "+1 for each day survived, where strokes kill too: the half of the harm that was left out",
        {"reward": "survival_strokes"},
    ),
    Exhibit(
        "flat_above_4",
        "-2 for each day above INR 4 and nothing else: 4.1 costs what 12 costs",
        {"reward": "flat_above_4"},
    ),
    Exhibit(
        "terminating_bleed",
        "the reward of the task, where a bleed ends the episode; 100 times the risks, for teaching",
        {"bleed_ends": True, "hazard_multiplier": 100.0},
    ),
    Exhibit(
        "measured_days",
        "the reward of the task on days that begin with a test only, and the agent orders the tests",
        {"reward": "measured_days", "schedule": "ordered"},
    ),
)
