"""The complete table of tic-tac-toe, and the check that a player never loses."""

import numpy as np
import pytest

from cumulant.envs.games import minimax
from cumulant.envs.games.lookup import make_game
from cumulant.envs.games.minimax import Table, losing_line
from cumulant.errors import UsageError


def test_the_table_is_the_known_one():
    """5,478 positions, of which 958 are final: 626 won by X, 316 by O, 16 drawn."""
    game = make_game("tictactoe")
    table = Table(game)
    assert len(table.values) == 5478
    final = [np.frombuffer(key, np.int64) for key in table.values]
    final = [state for state in final if not np.isnan(game.outcome(state))]
    stones = [bin(state[0] | state[1]).count("1") for state in final]
    lost = [game.outcome(state) == -1.0 for state in final]
    assert len(final) == 958
    assert sum(lost) == 626 + 316
    assert sum(won and count % 2 for won, count in zip(lost, stones)) == 626
    values = np.array([table.move_values(game.position(list(moves))) for moves in ("", "1", "12")])
    assert np.array_equal(np.sign(values[0]), np.zeros(9))
    assert np.flatnonzero(values[1] == 0).tolist() == [4]  # a corner is met in the middle
    assert np.flatnonzero(values[2] > 0).tolist() == [3, 4, 6]  # and an edge beside it loses


def test_an_early_win_is_worth_more_than_a_late_one():
    game = make_game("tictactoe")
    values = Table(game).move_values(game.position(list("1425")))
    assert values.argmax() == 2  # 1 2 3
    assert values[2] == pytest.approx(1.0 - 1e-3)


def perfect(table):
    return lambda states: np.array([table.move_values(state).argmax() for state in states])


def test_a_perfect_player_never_loses_and_a_flawed_one_is_shown_how():
    game = make_game("tictactoe")
    table = Table(game)
    assert losing_line(perfect(table), game) is None

    def flawed(states):
        actions = perfect(table)(states)
        for index, state in enumerate(states):
            if np.array_equal(state, game.position(list("5"))):
                actions[index] = 1  # an edge, against the middle
        return actions

    line = losing_line(flawed, game)
    assert line[:2] == [4, 1]
    state = game.position([str(action + 1) for action in line])
    assert game.outcome(state) == -1.0
    assert game.player(state) == 1  # the second player has lost


def test_an_illegal_move_is_a_lost_game():
    line = losing_line(lambda states: np.zeros(len(states), np.int64), make_game("tictactoe"))
    assert line.count(0) == 2


def test_a_game_with_too_many_positions_is_refused(monkeypatch):
    monkeypatch.setattr(minimax, "_MOST", 1000)
    with pytest.raises(UsageError, match="connect_four has too many positions"):
        Table(make_game("connect_four"))
