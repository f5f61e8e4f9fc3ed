"""How well scores agree with people: accuracy by how different a pair is, calibration, and the people's own agreement beside it.

Axes: P pairs, R resamples.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cumulant.data.preferences import THRESHOLDS, Agreement
from cumulant.stats import Interval

RESAMPLES, MAIN_GAP = 1000, 1.0
BINS = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)


def accuracy(difference: np.ndarray, share: np.ndarray, sides: np.ndarray, rng: np.random.Generator) -> Interval:
    """Return how often the higher score is that of the response which more people prefer, with a bootstrap interval.

    A tie of the scores counts half; pairs that split people evenly are left out. Where a response is in several pairs these are
    not independent: then responses are drawn anew, not pairs, and a pair counts as often as both of its sides together.

    Args:
        difference: Score of the first response less that of the second, ``[P]``.
        share: Fraction of the people for the first, ``[P]``.
        sides: Numbers of both responses, ``[P, 2]`` int.
        rng: Source of the resamples.

    Returns:
        Share of the pairs with its 95 % interval; NaN without a pair.
    """
    told = share != 0.5
    product = np.sign(difference[told]) * np.sign(share[told] - 0.5)
    return bootstrap_mean(0.5 + 0.5 * product, sides[told], rng)


def bootstrap_mean(values: np.ndarray, sides: np.ndarray, rng: np.random.Generator) -> Interval:
    """Return a mean over pairs and its 95 % percentile interval over responses (over pairs, where no response is in two)."""
    if not len(values):
        return Interval(float("nan"), float("nan"), float("nan"))
    names, index = np.unique(sides, return_inverse=True)
    index = index.reshape(-1, 2)
    if len(names) == sides.size:
        weight = rng.multinomial(len(values), np.full(len(values), 1 / len(values)), RESAMPLES).astype(float)
    else:
        drawn = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), RESAMPLES)
        weight = (drawn[:, index[:, 0]] * drawn[:, index[:, 1]]).astype(float)
    total = weight.sum(1)
    low, high = np.quantile((weight @ values)[total > 0] / total[total > 0], [0.025, 0.975])
    return Interval(float(values.mean()), min(float(low), float(values.mean())), max(float(high), float(values.mean())))


def calibration(
    difference: np.ndarray, share: np.ndarray, sides: np.ndarray, rng: np.random.Generator
) -> list[dict[str, float]]:
    """Return, by how sure the scores are, how many of the people agree.

    The side with the higher score is the one that is looked at, so predictions are from 0.5 to 1.

    Args:
        difference: As of `accuracy`.
        share: As of `accuracy`.
        sides: As of `accuracy`.
        rng: Source of the resamples.

    Returns:
        For each bin with a pair in it: mean ``predicted`` share, mean ``observed`` share with ``low`` and ``high``, ``pairs``.
    """
    predicted = 1.0 / (1.0 + np.exp(-np.abs(np.clip(difference, -50, 50))))
    observed = np.where(difference >= 0, share, 1.0 - share)
    which = np.clip(np.digitize(predicted, BINS) - 1, 0, len(BINS) - 2)
    rows = []
    for number in range(len(BINS) - 1):
        inside = which == number
        if inside.any():
            mean, low, high = bootstrap_mean(observed[inside], sides[inside], rng)
            rows.append(
                {"predicted": float(predicted[inside].mean()), "observed": mean, "low": low, "high": high}
                | {"pairs": int(inside.sum())}
            )
    return rows


def calibration_error(rows: Sequence[Mapping[str, float]]) -> float:
    """Return the expected calibration error: the mean distance of predicted and observed shares, weighted by pairs.

    Source:
        Naeini et al. 2015; on shares of raters in place of labels.
    """
    pairs = sum(row["pairs"] for row in rows)
    return (
        sum(row["pairs"] * abs(row["predicted"] - row["observed"]) for row in rows) / pairs if pairs else float("nan")
    )


@dataclass(frozen=True)
class AgreementRow:
    """Agreement on pairs that people rated apart by more than a gap.

    Args:
        gap: In units of the ratings; 0 for all pairs.
        pairs: How many there are.
        model: How often the higher score is that of the response which more people prefer.
        people: How often people agree with each other; None where each pair was compared by one person only.
    """

    gap: float
    pairs: int
    model: Interval
    people: Agreement | None


def agreement_rows(
    difference: np.ndarray,
    share: np.ndarray,
    sides: np.ndarray,
    margin: np.ndarray,
    people: Sequence[Agreement],
    rng: np.random.Generator,
) -> list[AgreementRow]:
    """Return accuracy by how far apart people rated a pair, beside how far people agree with each other.

    Args:
        difference: As of `accuracy`.
        share: As of `accuracy`.
        sides: As of `accuracy`.
        margin: How much better the first was rated, ``[P]``; all zero where nobody said.
        people: From ``human_agreement`` at its own thresholds.
        rng: Source of the resamples.
    """
    by_gap = {each.threshold: each for each in people if each.pairs > 1}
    rows = []
    for gap in THRESHOLDS:
        inside = np.abs(margin) > gap if gap else np.ones(len(margin), dtype=bool)
        found = accuracy(difference[inside], share[inside], sides[inside], rng)
        if not np.isnan(found.mean):
            rows.append(AgreementRow(gap, int(inside.sum()), found, by_gap.get(gap)))
    return rows


def agreement_figures(rows: Sequence[AgreementRow]) -> dict[str, Any]:
    """Return an evaluation's figures: ``accuracy`` on pairs that were rated more than 1 apart, or on all without ratings.

    Beside it ``accuracy_all``, ``accuracy_gap_0_5`` and so on, and how far people agree with each other (``one_rater``).
    """
    figures = {}
    main = MAIN_GAP if any(row.gap == MAIN_GAP for row in rows) else 0.0
    for row in rows:
        end = "" if row.gap == main else "_all" if row.gap == 0 else f"_gap_{row.gap:g}".replace(".", "_")
        text = f", rated more than {row.gap:g} apart" if row.gap else ""
        figures["accuracy" + end] = _figure(row.model, f"Agreement with people on held-out pairs{text}")
        if row.people is not None:
            figures["one_rater" + end] = _figure(row.people.one_rater, f"One rater with the others{text}")
    return dict(sorted(figures.items(), key=lambda item: item[0] not in ("accuracy", "one_rater")))


def _figure(interval: Interval, label: str) -> dict[str, Any]:
    known = {"value": float(interval.mean), "label": label, "better": "higher"}
    return known if np.isnan(interval.low) else known | {"low": float(interval.low), "high": float(interval.high)}


def agreement_table(rows: Sequence[AgreementRow]) -> dict[str, Any]:
    """Return the table of an evaluation on accuracy."""
    people = [
        ["-", "-"] if row.people is None else [float(row.people.one_rater.mean), float(row.people.half.mean)]
        for row in rows
    ]
    return {
        "title": "Agreement with people, by how far apart they rated a pair",
        "columns": ["apart by more than", "pairs", "model", "low", "high", "one rater, others", "half, half"],
        "rows": [[row.gap, row.pairs, *map(float, row.model), *both] for row, both in zip(rows, people)],
    }


def calibration_table(rows: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    """Return the table of an evaluation on calibration; a report draws it."""
    return {
        "title": "Calibration: share of the raters for the side with the higher score",
        "columns": ["predicted", "observed", "low", "high", "pairs"],
        "rows": [list(row.values()) for row in rows],
    }


def distribution_table(scores: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Return the table of an evaluation on how scores are spread."""
    rows = []
    for name, values in scores.items():
        quantiles = np.quantile(values, [0.05, 0.25, 0.5, 0.75, 0.95])
        rows.append([name, len(values), *map(float, (values.mean(), values.std(), *quantiles))])
    columns = ["responses", "pairs", "mean", "deviation", "5 %", "25 %", "50 %", "75 %", "95 %"]
    return {"title": "Scores of held-out responses", "columns": columns, "rows": rows}
