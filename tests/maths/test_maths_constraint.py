"""The price of cost: hand numbers, and dual ascent on a problem whose multiplier is known."""

from __future__ import annotations

import pytest
import torch

from cumulant.errors import ConfigError
from cumulant.maths.constraint import dual_ascent, penalised


def test_numbers_by_hand() -> None:
    assert dual_ascent(0.5, cost=3.0, limit=1.0, step_size=0.1) == pytest.approx(0.7)
    assert dual_ascent(0.5, cost=1.0, limit=3.0, step_size=0.1) == pytest.approx(0.3)
    assert dual_ascent(0.1, cost=1.0, limit=3.0, step_size=0.1) == 0.0
    gain, cost = torch.tensor([4.0, 1.0]), torch.tensor([1.0, 3.0])
    assert penalised(gain, cost, 0.0).tolist() == [4.0, 1.0]
    assert penalised(gain, cost, 3.0).tolist() == pytest.approx([0.25, -2.0])


def test_dual_ascent_finds_the_multiplier() -> None:
    # Maximise -(x - 3)^2 where x <= 1: the multiplier is the slope at the limit, 2 (3 - 1) = 4. Without a limit that binds: 0.
    for limit, expected in ((1.0, 4.0), (5.0, 0.0)):
        multiplier = 1.0
        for _ in range(200):
            best = 3.0 - multiplier / 2.0  # of -(x - 3)^2 - multiplier * x
            multiplier = dual_ascent(multiplier, cost=best, limit=limit, step_size=0.2)
        assert multiplier == pytest.approx(expected, abs=1e-6)
        best = 3.0 - multiplier / 2.0
        around = [penalised(-((x - 3.0) ** 2), x, multiplier) for x in (best - 0.01, best, best + 0.01)]
        assert max(around) == around[1]


def test_nonsense_is_refused() -> None:
    for step_size in (0.0, -1.0, float("nan")):
        with pytest.raises(ConfigError, match="step_size = "):
            dual_ascent(0.0, 1.0, 1.0, step_size)
    for multiplier in (-0.1, float("nan")):
        with pytest.raises(ConfigError, match="multiplier = "):
            dual_ascent(multiplier, 1.0, 1.0, 0.1)
        with pytest.raises(ConfigError, match="multiplier = "):
            penalised(1.0, 1.0, multiplier)
