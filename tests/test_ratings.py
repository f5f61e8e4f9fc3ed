"""Elo by maximum likelihood: closed forms, the likelihood's own top, and intervals that hold the truth as often as they say."""

import numpy as np
import pytest

from cumulant.ratings import elo, rate


def test_two_players_differ_by_the_logistic_of_their_score():
    for score in (0.5, 0.64, 0.9):
        found = elo(np.array([[0, 100 * score], [100 * (1 - score), 0]]), np.array([[0, 100], [100, 0]]), prior=0.0)
        assert found[0] - found[1] == pytest.approx(400 * np.log10(score / (1 - score)))
        assert found.sum() == pytest.approx(0.0)


def test_no_other_ratings_are_more_likely():
    rng = np.random.default_rng(0)
    games = np.triu(rng.integers(0, 30, (5, 5)), 1)
    games = games + games.T
    share = np.triu(rng.random((5, 5)), 1)
    points = np.triu(games, 1) * share
    points = points + (np.tril(games) * (1 - share.T))
    found = elo(points, games, prior=0.0)

    def likelihood(ratings):
        chance = 1 / (1 + 10 ** (-(ratings[:, None] - ratings[None]) / 400))
        return (points * np.log(chance)).sum()

    for direction in rng.normal(size=(20, 5)):
        for size in (0.1, 5.0):
            assert likelihood(found + size * direction) < likelihood(found)


def test_who_wins_all_games_is_finitely_strong_and_his_interval_has_a_width():
    ratings = rate(2, [(0, 1, 2.0, 2)] * 20, np.random.default_rng(0))
    assert ratings[0].elo == pytest.approx(200 * np.log10(40.5 / 0.5))
    assert ratings[0].low < ratings[0].elo - 50
    more = rate(2, [(1, 0, 0.0, 2)] * 200, np.random.default_rng(0))
    assert more[0].elo > ratings[0].elo + 100


def test_intervals_hold_their_ratings_where_few_games_were_played():
    pairings = [(0, 1, 2.0, 2)] * 4 + [(1, 2, 2.0, 2)] * 4 + [(2, 3, 2.0, 2)] * 4
    for rating in rate(4, pairings, np.random.default_rng(0)):
        assert rating.low < rating.elo < rating.high


def test_intervals_hold_the_truth():
    rng = np.random.default_rng(1)
    truth = np.array([120.0, 0.0, -120.0])
    held = []
    for _ in range(60):
        pairings = []
        for one, other in ((0, 1), (0, 2), (1, 2)):
            chance = 1 / (1 + 10 ** (-(truth[one] - truth[other]) / 400))
            pairings += [(one, other, float(rng.binomial(2, chance)), 2) for _ in range(60)]
        held += [r.low <= t <= r.high for r, t in zip(rate(3, pairings, rng, 200), truth)]
    assert 0.88 <= np.mean(held) <= 0.99
