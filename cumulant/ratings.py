"""Elo ratings from games: maximum likelihood, with bootstrap intervals over openings.

Axes: P players, N pairings of two games (one opening, colours swapped), R resamples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_PER_LOGIT = 400.0 / np.log(10.0)  # Elo points of one natural logit


@dataclass(frozen=True)
class Rating:
    """A player's Elo, and the 95 % interval of it; the mean over all players is 0."""

    elo: float
    low: float
    high: float


def elo(points: np.ndarray, games: np.ndarray, prior: float = 1.0) -> np.ndarray:
    """Return Elo ratings with mean 0 that make the results most likely.

    The Bradley-Terry model: a player scores against another ``1 / (1 + 10 ** (-(elo - other) / 400))`` points a game; a draw
    counts as half a game won and half a game lost.

    Args:
        points: What each player scored against each other one, ``[..., P, P]``.
        games: Games between them, ``[..., P, P]``, symmetric.
        prior: Games drawn that are added to every pair that has met, without which who won all games would be infinitely strong.

    Returns:
        ``[..., P]`` float64. Between players that no chain of games connects the difference means nothing.

    Source: Bradley & Terry 1952; Newton's method; the prior as in Coulom's BayesElo.

    >>> elo(np.array([[0.0, 75.0], [25.0, 0.0]]), np.array([[0.0, 100.0], [100.0, 0.0]]), prior=0.0).round(1).tolist()
    [95.4, -95.4]
    """
    points, games = np.asarray(points, np.float64), np.asarray(games, np.float64)
    met = games > 0
    points, games = points + met * prior / 2.0, games + met * prior
    scored = points.sum(-1)
    logits = np.zeros(scored.shape)
    identity = np.eye(scored.shape[-1])
    for _ in range(100):
        chance = 1.0 / (1.0 + np.exp(logits[..., None, :] - logits[..., :, None]))
        slope = scored - (games * chance).sum(-1)
        spread = games * chance * (1.0 - chance)
        curvature = spread.sum(-1)[..., None] * identity - spread
        # The mean does not matter to the likelihood: a ridge on it alone makes the matrix regular and the mean zero.
        step = np.linalg.solve(curvature + identity * 1e-9 + 1.0 / scored.shape[-1], slope[..., None])[..., 0]
        step = np.clip(step - step.mean(-1, keepdims=True), -1.0, 1.0)
        logits += step
        if np.abs(step).max() < 1e-9:
            break
    return logits * _PER_LOGIT


def rate(
    players: int,
    pairings: Sequence[tuple[int, int, float, int]],
    rng: np.random.Generator,
    resamples: int = 1000,
    prior: float = 1.0,
) -> list[Rating]:
    """Return the rating of every player with an interval.

    What is drawn again is the pairing: both games from one opening stay together, and every two players keep their number of
    pairings. One drawn pairing is among those that may be drawn, so that a clean sweep has an interval, too. That draws players
    nearer together, most where few pairings were played, so intervals are moved to have their median at the rating.

    Args:
        players: P.
        pairings: ``(one, other, points of the one, games)`` for each, usually two games.
        rng: Of the resamples.
        resamples: R.
        prior: As in `elo`.
    """
    by_pair: dict[tuple[int, int], list[tuple[float, int]]] = {}
    for one, other, scored, count in pairings:
        key, scored = ((one, other), scored) if one < other else ((other, one), count - scored)
        by_pair.setdefault(key, []).append((scored, count))
    points = np.zeros((resamples + 1, players, players))
    games = np.zeros((resamples + 1, players, players))
    for (one, other), results in by_pair.items():
        table = np.array(results)  # [N, 2]
        urn = np.concatenate([table, [[1.0, 2.0]]])
        drawn = urn[rng.integers(len(urn), size=(resamples, len(table)))].sum(1)
        both = np.concatenate([table.sum(0)[None], drawn])
        points[:, one, other], points[:, other, one] = both[:, 0], both[:, 1] - both[:, 0]
        games[:, one, other] = games[:, other, one] = both[:, 1]
    ratings = elo(points, games, prior)
    low, middle, high = np.quantile(ratings[1:], [0.025, 0.5, 0.975], axis=0)
    low, high = ratings[0] + low - middle, ratings[0] + high - middle
    return [Rating(float(a), float(b), float(c)) for a, b, c in zip(ratings[0], low, high)]
