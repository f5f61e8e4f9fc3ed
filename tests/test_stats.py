"""Summaries of measurements: hand numbers, scipy's values, identities and coverage."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from cumulant import stats


@pytest.mark.parametrize("df", [1, 1.5, 2, 3, 4, 7.25, 10, 30, 100, 999, 1000, 1001, 5000, 1e6])
@pytest.mark.parametrize(
    "probability", [1e-6, 0.001, 0.025, 0.2, 0.5, 0.5000001, 0.75, 0.9, 0.95, 0.975, 0.995, 0.999999]
)
def test_t_quantile_agrees_with_scipy(probability: float, df: float) -> None:
    expected = scipy.stats.t.ppf(probability, df)
    assert stats.student_t_quantile(probability, df) == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_t_quantile_of_infinitely_many_degrees_is_normal() -> None:
    assert stats.student_t_quantile(0.975, math.inf) == pytest.approx(scipy.stats.norm.ppf(0.975), rel=1e-12)


@pytest.mark.parametrize(("probability", "df"), [(0.0, 3), (1.0, 3), (0.9, 0.5), (0.9, math.nan), (math.nan, 3)])
def test_t_quantile_refuses_what_it_cannot_compute(probability: float, df: float) -> None:
    with pytest.raises(ValueError, match=r"probability|df"):
        stats.student_t_quantile(probability, df)


def test_mean_interval_agrees_with_scipy_on_every_axis() -> None:
    x = np.random.default_rng(1).gamma(2.0, 3.0, size=(7, 4))
    for axis in (0, 1, -1):
        mean, low, high = stats.mean_interval(x, 0.9, axis=axis)
        n = x.shape[axis]
        expected = scipy.stats.t.interval(0.9, n - 1, loc=x.mean(axis), scale=scipy.stats.sem(x, axis=axis))
        np.testing.assert_allclose([low, high], expected, rtol=1e-10)
        np.testing.assert_allclose(mean, x.mean(axis))


def test_mean_interval_covers_at_its_level() -> None:
    """Of 4,000 intervals from 5 normal measurements, 95 % hold the true mean; a z interval would hold 88 %."""
    x = np.random.default_rng(2).normal(size=(4000, 5))
    _, low, high = stats.mean_interval(x, axis=1)
    assert np.mean((low < 0) & (high > 0)) == pytest.approx(0.95, abs=0.012)


def test_one_measurement_has_no_interval() -> None:
    mean, low, high = stats.mean_interval([4.0])
    assert mean == 4.0
    assert math.isnan(low)
    assert math.isnan(high)


@pytest.mark.parametrize("summary", [stats.mean_interval, stats.iqm])
def test_nothing_measured_is_an_error(summary: object) -> None:
    with pytest.raises(ValueError, match="empty"):
        summary([])  # type: ignore[operator]


def test_seeds_and_not_episodes_are_the_measurements() -> None:
    rng = np.random.default_rng(3)
    episodes = rng.normal(size=(1, 5)).repeat(1000, axis=0).T + rng.normal(scale=0.01, size=(5, 1000))
    over_seeds = stats.mean_over_seeds(episodes)
    pooled = stats.mean_interval(episodes)
    assert over_seeds.mean == pytest.approx(pooled.mean)
    assert over_seeds.high - over_seeds.low > 20 * (pooled.high - pooled.low)
    assert stats.mean_over_seeds(episodes[:1]) == stats.mean_interval(episodes[0])
    with pytest.raises(ValueError, match=r"\[R, E\]"):
        stats.mean_over_seeds([1.0, 2.0])


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=40))
@settings(max_examples=60, deadline=None)
def test_iqm_agrees_with_the_trimmed_mean(values: list[float]) -> None:
    assert stats.iqm(values) == pytest.approx(scipy.stats.trim_mean(values, 0.25), rel=1e-12, abs=1e-9)


def test_iqm_works_along_an_axis() -> None:
    x = np.random.default_rng(4).normal(size=(3, 9, 2))
    np.testing.assert_allclose(stats.iqm(x, axis=1), scipy.stats.trim_mean(x, 0.25, axis=1))


def test_bootstrap_of_three_numbers_has_the_exact_distribution() -> None:
    """All 27 equally likely resamples of three numbers are known; the percentiles must be theirs."""
    x = [0.0, 1.0, 5.0]
    exact = np.quantile([np.mean(draw) for draw in itertools.product(x, repeat=3)], [0.1, 0.9])
    found = stats.bootstrap_interval(x, np.random.default_rng(5), level=0.8, resamples=20_000)
    assert found.mean == 2.0
    np.testing.assert_allclose([found.low, found.high], exact, atol=1e-9)


def test_bootstrap_of_a_mean_is_near_the_t_interval_when_there_are_many() -> None:
    x = np.random.default_rng(6).normal(10.0, 2.0, size=400)
    t = stats.mean_interval(x)
    boot = stats.bootstrap_interval(x, np.random.default_rng(7), resamples=4000)
    np.testing.assert_allclose(boot, t, atol=0.03)


def test_bootstrap_takes_any_statistic_and_repeats_with_its_generator() -> None:
    x = np.random.default_rng(8).normal(size=50)
    first = stats.bootstrap_interval(x, np.random.default_rng(9), np.median)
    assert first == stats.bootstrap_interval(x, np.random.default_rng(9), np.median)
    assert first != stats.bootstrap_interval(x, np.random.default_rng(10), np.median)
    assert first.mean == np.median(x)


def test_bootstrap_in_blocks_draws_as_many_as_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stats, "_BLOCK", 64)
    seen: list[int] = []

    def count(x: np.ndarray, axis: int) -> np.ndarray:
        seen.append(len(x))
        return x.mean(axis=axis)

    stats.bootstrap_interval(np.arange(10.0), np.random.default_rng(0), count, resamples=50)
    assert sum(seen) == 50 + 1  # and once for the estimate itself
    assert max(seen) == 6


def test_rows_are_drawn_whole() -> None:
    x = np.random.default_rng(11).normal(size=(30, 1)) * np.array([1.0, -1.0])
    found = stats.bootstrap_interval(x, np.random.default_rng(0), lambda rows, axis: rows.sum(axis=-1).mean(axis=axis))
    np.testing.assert_allclose(found, (0.0, 0.0, 0.0), atol=1e-12)


def test_strata_are_kept() -> None:
    """Identical runs of tasks on different scales: drawing within a task changes nothing, across tasks it would."""
    scores = np.tile([0.0, 50.0, 100.0], (6, 1))
    for statistic in (np.mean, stats.iqm, np.median):
        point, low, high = stats.stratified_bootstrap(scores, np.random.default_rng(0), statistic)
        assert low == high == point
    noisy = scores + np.random.default_rng(1).normal(size=scores.shape)
    point, low, high = stats.stratified_bootstrap(noisy, np.random.default_rng(0), np.mean)
    assert low < point < high
    # The variance of a resampled task mean is var / 6, and three independent ones are averaged.
    error = math.sqrt((noisy.var(axis=0) / 6).sum()) / 3
    assert (high - low) / 2 == pytest.approx(1.96 * error, rel=0.1)


def test_tasks_are_drawn_independently_of_each_other() -> None:
    """Two tasks whose scores cancel run by run: drawing whole runs would see no variation at all."""
    scores = np.random.default_rng(2).normal(size=(8, 1)) * np.array([1.0, -1.0])
    point, low, high = stats.stratified_bootstrap(scores, np.random.default_rng(0), np.mean)
    assert point == pytest.approx(0.0)
    assert high - low > 0.3


@pytest.mark.parametrize("scores", [[], [1.0, 2.0], [[]]])
def test_stratified_bootstrap_says_which_shape_it_needs(scores: list[float]) -> None:
    with pytest.raises(ValueError, match=r"\[R, M\]"):
        stats.stratified_bootstrap(scores, np.random.default_rng(0))


@given(st.lists(st.integers(0, 6), min_size=1, max_size=8), st.integers(0, 2**31))
@settings(max_examples=60, deadline=None)
def test_running_equals_the_whole_stream_however_it_is_cut(sizes: list[int], seed: int) -> None:
    stream = np.random.default_rng(seed).normal(1e6, 1.0, size=(sum(sizes), 2))
    batches = np.split(stream, np.cumsum(sizes)[:-1])
    one, left, right = (stats.Running((2,)) for _ in range(3))
    for index, batch in enumerate(batches):
        one.update(batch)
        (left if index % 2 else right).update(batch)
    left.merge(right)
    for seen in (one, left):
        assert seen.count == len(stream)
        if len(stream):
            np.testing.assert_allclose(seen.mean, stream.mean(axis=0), rtol=1e-12)
            np.testing.assert_allclose(seen.var, stream.var(axis=0), rtol=1e-6, atol=1e-9)


def test_running_state_round_trip_is_a_copy() -> None:
    seen = stats.Running((2,))
    seen.update(np.random.default_rng(0).normal(size=(5, 2)))
    state = seen.state_dict()
    before = seen.mean.copy()
    seen.update([[100.0, 100.0]])
    again = stats.Running((2,))
    again.load_state_dict(state)
    np.testing.assert_array_equal(again.mean, before)
    again.update([[100.0, 100.0]])
    np.testing.assert_array_equal(again.var, seen.var)
    np.testing.assert_array_equal(again.std, np.sqrt(seen.var))


def test_running_refuses_another_shape() -> None:
    seen = stats.Running((2,))
    with pytest.raises(ValueError, match=r"\(3,\)"):
        seen.update(np.zeros(3))
    with pytest.raises(ValueError, match="merge"):
        seen.merge(stats.Running((3,)))


def test_a_ratio_of_sums_covers_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(0)
    inside = 0
    for _ in range(1000):
        characters = rng.integers(5, 80, 40).astype(float)
        bits = characters * 2.0 * rng.gamma(8.0, 1 / 8.0, 40)  # long texts weigh more, and vary more
        found = stats.ratio_interval(bits, characters)
        inside += found.low <= 2.0 <= found.high
        assert found.mean == pytest.approx(bits.sum() / characters.sum())
    assert 0.92 <= inside / 1000 <= 0.97


def test_one_item_has_a_ratio_and_no_interval():
    mean, low, high = stats.ratio_interval([3.0], [2.0])
    assert mean == 1.5
    assert math.isnan(low)
    assert math.isnan(high)
