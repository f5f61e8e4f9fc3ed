"""The sets of solved positions hold what they say, and grade players as they deserve."""

import numpy as np
import pytest

from cumulant.engine.rollouts import tree_search
from cumulant.envs.games.lookup import make_game
from cumulant.envs.games.solved_positions import SETS, solved_positions, value_preserving_share
from cumulant.envs.games.solver_connect_four import NO_MOVE, Solver, position
from cumulant.errors import UsageError


@pytest.mark.parametrize("name", SETS)
def test_positions_are_what_the_set_promises(name):
    game, positions = make_game("connect_four"), solved_positions(name)
    assert len({state.tobytes() for state in positions.states}) == len(positions.moves) == 205
    for state, moves, values in zip(positions.states, positions.moves, positions.values):
        assert 8 <= len(moves) <= 28
        legal = game.legal_actions(state)
        assert np.array_equal(np.flatnonzero(values != NO_MOVE), legal)
        assert values[legal].min() < values.max(), "no move errs"
        for action in legal:
            after = state.copy()
            game.play(after, action)
            assert game.outcome(after) != -1.0, "a move wins at once"


@pytest.mark.parametrize("name", SETS)
def test_the_solver_gives_the_values_that_are_written(name):
    solver, positions = Solver(), solved_positions(name)
    for moves, values in list(zip(positions.moves, positions.values))[-85::5]:
        assert solver.move_scores(*position(moves), sign_only=True).tolist() == values.tolist(), moves
        value, keeps = solver.keeping(*position(moves))
        assert value == values.max(), moves
        assert keeps.tolist() == (values == value).tolist(), moves


def test_players_are_graded_as_they_deserve():
    game, positions = make_game("connect_four"), solved_positions("random")
    assert value_preserving_share(lambda states: positions.values.argmax(1), positions) == 1.0
    worst = np.where(positions.values == NO_MOVE, 99, positions.values).argmin(1)
    assert value_preserving_share(lambda states: worst, positions) == 0.0
    shares = [
        value_preserving_share(lambda states, n=n: tree_search(game, states, n, seed=0)[0].argmax(1), "random")
        for n in (10, 1000)
    ]
    assert shares[0] + 0.1 < shares[1] < 0.95


def test_a_set_that_is_not_there_is_named():
    with pytest.raises(UsageError, match="did you mean 'strong'"):
        solved_positions("stron")
