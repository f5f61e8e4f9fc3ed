"""rust-reversi plays our Othello by our rules, where it is installed."""

import numpy as np
import pytest

from cumulant.engine.matches import openings, play_games
from cumulant.engine.players import make_player
from cumulant.envs.games.lookup import listing, make_game
from cumulant.errors import UsageError


def test_it_plays_othello_only():
    with pytest.raises(UsageError, match="plays othello on 8 x 8 points, not tictactoe"):
        make_player("rust_reversi:3", make_game("tictactoe"))


@pytest.mark.skipif("othello" not in listing(), reason="there is no Othello")
def test_it_beats_random_play_without_a_fault():
    pytest.importorskip("rust_reversi")
    game = make_game("othello")
    strong, weak = make_player("rust_reversi:3", game), make_player("random", game)
    starts = [start for start in openings(game, 5, 4, np.random.default_rng(0)) for _ in (0, 1)]
    records = play_games(game, (strong, weak), starts, [(0, 1), (1, 0)] * 5)
    assert {record.reason for record in records} == {"played out"}
    points = [record.points if record.players[0] == strong.name else 1.0 - record.points for record in records]
    assert sum(points) >= 8
