"""Schedules: hand numbers, exact ends, monotony, refusals; and that they need no torch."""

from __future__ import annotations

import math
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cumulant.errors import ConfigError
from cumulant.maths.schedules import constant, cosine, exponential, linear, piecewise

exact = settings(deadline=None, max_examples=100, derandomize=True, database=None)
fractions = st.floats(0.0, 1.0)
values = st.floats(1e-4, 10.0)
POINTS = [(0.0, 1.0), (0.25, 0.5), (0.5, 0.5), (0.5, 0.2), (1.0, 0.0)]


def test_numbers_by_hand() -> None:
    assert constant(0.3, 0.7) == 0.3
    assert linear(0.9, 0.05, 0.5) == pytest.approx(0.475)
    assert exponential(1.0, 0.01, 0.5) == pytest.approx(0.1)
    assert cosine(2.0, 1.0, 1 / 3) == pytest.approx(1.75)
    assert cosine(2.0, 1.0, 0.05, warmup=0.1) == pytest.approx(1.0)
    assert cosine(2.0, 1.0, 0.4, warmup=0.1) == pytest.approx(1.75)


@pytest.mark.parametrize(
    ("fraction", "expected"),
    [(0.0, 1.0), (0.125, 0.75), (0.25, 0.5), (0.4, 0.5), (0.5, 0.2), (0.75, 0.1), (1.0, 0.0)],
)
def test_piecewise_by_hand(fraction: float, expected: float) -> None:
    assert piecewise(POINTS, fraction) == pytest.approx(expected)


def test_piecewise_stays_outside_its_points() -> None:
    points = [(0.2, 3.0), (0.6, 1.0)]
    assert [piecewise(points, fraction) for fraction in (0.0, 0.2, 0.6, 1.0)] == [3.0, 3.0, 1.0, 1.0]
    assert piecewise([(0.5, 7.0)], 0.1) == piecewise([(0.5, 7.0)], 0.9) == 7.0


@exact
@given(values, values)
def test_ends_are_met_exactly(start: float, end: float) -> None:
    for schedule in (linear, exponential, cosine):
        assert schedule(start, end, 0.0) == start
        assert schedule(start, end, 1.0) == end
    assert cosine(start, end, 0.0, warmup=0.3) == 0.0
    assert cosine(start, end, 0.3, warmup=0.3) == start
    assert cosine(start, end, 1.0, warmup=0.3) == end


@exact
@given(values, values, fractions, fractions)
def test_values_move_one_way_and_stay_between_the_ends(start: float, end: float, one: float, other: float) -> None:
    early, late = sorted((one, other))
    sign = 1.0 if end >= start else -1.0
    slack = 1e-12 * max(start, end)
    for schedule in (linear, exponential, cosine):
        first, second = schedule(start, end, early), schedule(start, end, late)
        assert sign * (second - first) >= -slack
        assert min(start, end) - slack <= first <= max(start, end) + slack


@exact
@given(values, values, fractions)
def test_two_points_are_linear_and_logarithms_of_exponential_are(start: float, end: float, fraction: float) -> None:
    assert piecewise([(0.0, start), (1.0, end)], fraction) == pytest.approx(linear(start, end, fraction))
    logarithm = linear(math.log(start), math.log(end), fraction)
    assert math.log(exponential(start, end, fraction)) == pytest.approx(logarithm, abs=1e-9)


@pytest.mark.parametrize("fraction", [-0.01, 1.01, float("nan")])
def test_fractions_outside_the_run_are_refused(fraction: float) -> None:
    for call in (
        lambda: constant(1.0, fraction),
        lambda: linear(1.0, 0.0, fraction),
        lambda: exponential(1.0, 0.5, fraction),
        lambda: cosine(1.0, 0.0, fraction),
        lambda: piecewise(POINTS, fraction),
    ):
        with pytest.raises(ConfigError, match=f"fraction = {fraction}"):
            call()


def test_bad_settings_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"end = 0\.0"):
        exponential(1.0, 0.0, 0.5)
    with pytest.raises(ConfigError, match=r"start = -1\.0"):
        exponential(-1.0, 1.0, 0.5)
    for warmup in (-0.1, 1.0):
        with pytest.raises(ConfigError, match=f"warmup = {warmup}"):
            cosine(1.0, 0.0, 0.5, warmup)
    with pytest.raises(ConfigError, match="points is empty"):
        piecewise([], 0.5)
    with pytest.raises(ConfigError, match="out of order"):
        piecewise([(0.5, 1.0), (0.2, 0.0)], 0.5)
    with pytest.raises(ConfigError, match=r"points: fraction = 1\.5"):
        piecewise([(0.0, 1.0), (1.5, 0.0)], 0.5)


def test_schedules_need_no_torch() -> None:
    check = "import sys, cumulant.maths.schedules; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], check=False, timeout=60).returncode == 0
