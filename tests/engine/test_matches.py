"""Matches end with a result that says why; players get the positions and moves that they ask about."""

import numpy as np
import pytest

from cumulant.engine.matches import openings, play_games
from cumulant.engine.players import RESIGNED, Player, close_all, make_player
from cumulant.envs.games.lookup import make_game
from cumulant.errors import ConfigError, PlayerFault, UsageError

GAME = make_game("tictactoe")


def lowest(states, moves):
    """Take the first free point, having checked that positions and moves belong together."""
    for state, played in zip(states, moves):
        assert np.array_equal(state, GAME.position([str(action + 1) for action in played]))
    return np.array([GAME.legal_actions(state)[0] for state in states])


def faulty(what):
    """A player that fails in games that began on point 5."""

    def choose(states, moves):
        actions = lowest(states, moves)
        if any(played[0] == 4 for played in moves):
            if what == "crash":
                raise ValueError("lost my\nmarbles")
            if what == "shape":
                return actions[:-1]
            actions[[played[0] == 4 for played in moves]] = what
        return actions

    return Player("faulty", choose)


def test_both_sides_of_an_opening_are_the_same_game_for_equal_players():
    one, other = Player("one", lowest), Player("other", lowest)
    a, b = play_games(GAME, (one, other), [(4,), (4,)], [(0, 1), (1, 0)])
    assert a.moves == b.moves == (4, 0, 1, 2, 3, 5, 6, 7, 8)
    assert (a.points, b.points) == (0.5, 0.5)
    assert a.players == ("one", "other")
    assert b.players == ("other", "one")
    assert a.as_json(GAME)["moves"] == list("512346789")


@pytest.mark.parametrize(
    ("what", "reason"),
    [
        ("crash", "faulty crashed: ValueError: lost my marbles"),
        ("shape", "faulty gave int64 [0] instead of 1 actions"),
        (4, "faulty made an illegal move: 5"),
        (99, "faulty made an illegal move: action 99"),
        (RESIGNED, "resigned"),
    ],
)
def test_a_fault_loses_its_own_game_only(what, reason):
    records = play_games(GAME, (Player("one", lowest), faulty(what)), [(4,), (0,), (4,)], [(0, 1)] * 3)
    for record in (records[0], records[2]):
        assert (record.points, record.reason) == (1.0, reason)
        assert record.moves == (4,)
    assert records[1].reason == "played out"


def test_openings_are_open_and_different_while_there_are_others():
    game = make_game("connect_four")
    found = openings(game, 40, 6, np.random.default_rng(0))
    assert len({game.position([str(a + 1) for a in moves]).tobytes() for moves in found}) == 40
    for moves in found:
        state = game.position([str(action + 1) for action in moves])
        assert len(moves) == 6
        for action in game.legal_actions(state):
            after = state.copy()
            game.play(after, action)
            assert game.outcome(after) != -1.0
    assert sorted(openings(GAME, 9, 1, np.random.default_rng(1))) == [(k,) for k in range(9)]
    assert openings(GAME, 3, 0, np.random.default_rng(1)) == [(), (), ()]
    with pytest.raises(ConfigError, match="from 0 to 8"):
        openings(GAME, 2, 9, np.random.default_rng(1))
    with pytest.raises(ConfigError, match="nearly always ended"):
        openings(game, 2, 41, np.random.default_rng(1))


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("randon", "no player 'randon', and no run of that name: did you mean 'random'"),
        ("mcts", "needs the number of its rollouts: mcts:5"),
        ("mcts:0", "whole number of at least 1"),
        ("mcts:many", "whole number of at least 1"),
        ("random:3", "'random' takes no number"),
        ("runs/gone", "no run of that name"),
    ],
)
def test_a_player_that_is_none_is_refused(spec, message):
    with pytest.raises(UsageError, match=message):
        make_player(spec, GAME)


def test_there_is_no_perfect_player_of_everything():
    from dataclasses import replace

    with pytest.raises(UsageError, match="no perfect player of chess"):
        make_player("perfect", replace(GAME, name="chess"))


def test_the_perfect_player_of_connect_four_wins_a_won_endgame_and_is_never_beaten():
    game = make_game("connect_four")
    perfect = make_player("perfect", game)
    rng = np.random.default_rng(0)
    starts = [
        each
        for each in openings(game, 40, 20, rng)
        if perfect.analyse(state_of(game, each)[None], [each]).value[0] >= 0
    ][:8]
    records = play_games(game, (perfect, make_player("mcts:50", game)), starts, [(0, 1)] * len(starts))
    for start, record in zip(starts, records):
        worth = perfect.analyse(state_of(game, start)[None], [start]).value[0]
        assert record.points >= {0.0: 0.5, 1.0: 1.0}[worth]


def state_of(game, moves):
    return game.position([game.action_name(action) for action in moves])


def test_all_players_are_closed_though_one_fails():
    closed = []

    def fails():
        closed.append(1)
        raise PlayerFault("no")

    with pytest.raises(PlayerFault):
        close_all([Player("a", lowest, close=fails), Player("b", lowest, close=lambda: closed.append(2))])
    assert closed == [1, 2]
