"""Tournaments: what is left of one that is broken off."""

import json

import pytest

from cumulant.tournament import arena


def test_what_was_played_stays_when_a_tournament_is_broken_off(tmp_path):
    def told(one, other, played, games):
        if played == 16:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        arena(["perfect", "random"], "tictactoe", games=40, out=tmp_path / "arena", told=told)
    games = [json.loads(line) for line in (tmp_path / "arena" / "games.jsonl").read_text().splitlines()]
    assert len(games) == 16
    assert {game["reason"] for game in games} == {"played out"}
    assert not (tmp_path / "arena" / "arena.json").exists()


def test_openings_of_a_short_game_differ(tmp_path):
    found = arena(["perfect", "random"], "tictactoe", games=12, out=tmp_path / "arena")
    games = [json.loads(line) for line in (tmp_path / "arena" / "games.jsonl").read_text().splitlines()]
    assert found["opening_moves"] == games[0]["opening"] == 1
    assert len({game["moves"][0] for game in games}) == 6


def test_a_pair_of_games_counts_for_who_won_it(tmp_path):
    """The perfect player is never below one who moves at random, whichever seat each of them has."""
    for players in (["perfect", "random"], ["random", "perfect"]):
        found = arena(players, "tictactoe", games=20, out=tmp_path / players[0])
        strongest, weakest = found["players"]
        assert strongest["player"] == "perfect"
        assert strongest["low"] > 50 > -50 > weakest["high"]
