"""Agreement of scores with people: by hand, and what intervals and calibration must be."""

from __future__ import annotations

import numpy as np
import pytest

from cumulant.data.preferences import Agreement
from cumulant.engine.preference_report import (
    accuracy,
    agreement_figures,
    agreement_rows,
    agreement_table,
    bootstrap_mean,
    calibration,
    calibration_error,
    calibration_table,
    distribution_table,
)
from cumulant.stats import Interval


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def disjoint(count: int) -> np.ndarray:
    return np.arange(2 * count).reshape(-1, 2)


def test_accuracy_by_hand() -> None:
    difference = np.array([1.0, -1.0, 0.0, 2.0, 5.0])
    share = np.array([0.9, 0.8, 0.7, 0.2, 0.5])  # right, wrong, half, wrong, and people who are split evenly
    assert accuracy(difference, share, disjoint(5), rng()).mean == pytest.approx(1.5 / 4)
    assert np.isnan(accuracy(difference[4:], share[4:], disjoint(1), rng()).mean)


def test_intervals_of_disjoint_pairs_are_those_of_a_share() -> None:
    values = np.array([1.0] * 80 + [0.0] * 20)
    _, low, high = bootstrap_mean(values, disjoint(100), rng())
    half = 1.96 * np.sqrt(0.8 * 0.2 / 100)
    assert (low, high) == (pytest.approx(0.8 - half, abs=0.015), pytest.approx(0.8 + half, abs=0.015))


def test_a_response_in_many_pairs_makes_the_interval_wider() -> None:
    """Two hundred pairs of twenty responses say less than two hundred pairs of four hundred."""
    generator = np.random.default_rng(1)
    quality = generator.normal(size=20)
    sides = np.stack([generator.permutation(20) for _ in range(20)]).reshape(-1, 2)
    hits = (quality[sides[:, 0]] + generator.normal(size=len(sides)) > 0).astype(float)
    _, low, high = bootstrap_mean(hits, sides, rng())
    _, alone_low, alone_high = bootstrap_mean(hits, disjoint(len(hits)), rng())
    assert high - low > 1.3 * (alone_high - alone_low)


def test_scores_that_are_log_odds_are_calibrated() -> None:
    generator = np.random.default_rng(2)
    difference = generator.normal(size=6_000) * 2
    votes = generator.random((6_000, 1)) < 1 / (1 + np.exp(-difference[:, None]))
    share = votes.mean(1)
    rows = calibration(difference, share, disjoint(len(share)), rng())
    for row, low in zip(rows, (0.5, 0.6, 0.7, 0.8, 0.9), strict=True):
        assert low <= row["predicted"] <= low + 0.1
    assert sum(row["pairs"] for row in rows) == 6_000
    assert calibration_error(rows) < 0.02
    for row in rows:
        assert row["low"] <= row["observed"] <= row["high"]
        assert row["low"] - 0.03 < row["predicted"] < row["high"] + 0.03
    # Scores that are twice as far apart are surer than people are.
    sure = calibration(2 * difference, share, disjoint(len(share)), rng())
    assert all(row["observed"] < row["predicted"] for row in sure[1:])  # the first bin is near a half either way
    assert calibration_error(sure) > 0.05


def test_calibration_looks_at_the_side_that_scored_higher() -> None:
    difference, share = np.array([3.0, -3.0]), np.array([0.9, 0.1])
    (row,) = calibration(difference, share, disjoint(2), rng())
    assert row["observed"] == pytest.approx(0.9)
    assert row["predicted"] == pytest.approx(1 / (1 + np.exp(-3.0)))
    assert calibration_error([row]) == pytest.approx(abs(0.9 - 1 / (1 + np.exp(-3.0))))


def test_rows_by_gap_stand_beside_the_people() -> None:
    share, margin = np.array([0.9, 0.8, 0.6, 0.6]), np.array([2.5, 1.5, 0.7, 0.2])
    difference = np.array([1.0, 1.0, -1.0, -1.0])
    people = [Agreement(gap, 9, Interval(0.8, 0.7, 0.9), Interval(1.0, 1.0, 1.0)) for gap in (0.0, 1.0)]
    rows = agreement_rows(difference, share, disjoint(4), margin, people, rng())
    assert [(row.gap, row.pairs, row.model.mean) for row in rows] == [
        (0.0, 4, 0.5),
        (0.5, 3, pytest.approx(2 / 3)),
        (1.0, 2, 1.0),
        (2.0, 1, 1.0),
    ]
    assert [row.people is None for row in rows] == [False, True, False, True]
    figures = agreement_figures(rows)
    assert list(figures)[:2] == ["accuracy", "one_rater"]
    assert (figures["accuracy"]["value"], figures["accuracy_all"]["value"]) == (1.0, 0.5)
    assert figures["accuracy_gap_0_5"]["value"] == pytest.approx(2 / 3)
    assert agreement_table(rows)["rows"][1][5:] == ["-", "-"]
    # Without ratings there is one row, and it is the main one.
    plain = agreement_figures(agreement_rows(difference, share, disjoint(4), np.zeros(4), [], rng()))
    assert list(plain) == ["accuracy"]


def test_tables_have_a_cell_for_every_column() -> None:
    rows = calibration(np.array([1.0, 0.1]), np.array([0.7, 0.5]), disjoint(2), rng())
    for table in (calibration_table(rows), distribution_table({"chosen": np.arange(5.0)})):
        assert all(len(row) == len(table["columns"]) for row in table["rows"])
    assert distribution_table({"chosen": np.arange(5.0)})["rows"][0][:3] == ["chosen", 5, 2.0]
