"""An environment of your own: keep a room near 20 degrees. Nothing is registered; the command names file and class.

cumulant train q_learning examples/thermostat.py:Thermostat
cumulant train ppo examples/thermostat.py:Thermostat --total-steps 100000
"""

from __future__ import annotations

from typing import Any

import gymnasium
from gymnasium import spaces

COLDEST, WARMEST = 10, 30  # degrees Celsius


class Thermostat(gymnasium.Env):
    """Heat or not, every quarter of an hour for a day; the room loses a degree, and the heater brings two, or three by luck."""

    observation_space = spaces.Discrete(WARMEST - COLDEST + 1)  # degrees above the coldest
    action_space = spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[int, dict[str, Any]]:
        """Start at a random temperature."""
        super().reset(seed=seed)
        self.degrees = int(self.np_random.integers(COLDEST, WARMEST + 1))
        self.quarters = 0
        return self.degrees - COLDEST, {}

    def step(self, action: int) -> tuple[int, float, bool, bool, dict[str, Any]]:
        """Heat (1) or not (0); the reward is minus the distance from 20 degrees."""
        heat = 0 if action == 0 else 2 + int(self.np_random.random() < 0.3)
        self.degrees = min(max(self.degrees - 1 + heat, COLDEST), WARMEST)
        self.quarters += 1
        return self.degrees - COLDEST, -abs(self.degrees - 20.0), False, self.quarters >= 96, {}
