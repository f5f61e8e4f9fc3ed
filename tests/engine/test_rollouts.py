"""Monte Carlo tree search and alpha-beta: counts, tactics, agreement with the complete table, no influence of the batch."""

import numpy as np
import pytest
from numba import njit

from cumulant.engine import rollouts
from cumulant.envs.games.game import Game
from cumulant.envs.games.lookup import make_game
from cumulant.envs.games.minimax import Table


def test_every_simulation_is_a_visit_of_a_legal_action():
    game = make_game("connect_four")
    states = np.stack([game.start(), game.position(list("111111")), game.position(list("4444442"))])
    visits, values = rollouts.tree_search(game, states, 50, seed=1)
    assert visits.sum(1).tolist() == [50, 50, 50]
    assert visits[1, 0] == visits[2, 3] == 0
    assert visits.sum(0).min() > 0
    assert np.abs(values).max() < 1.0


@pytest.mark.parametrize(
    ("name", "moves", "best"), [("connect_four", "112233", 3), ("connect_four", "11223", 3), ("tictactoe", "1529", 2)]
)
def test_a_win_is_taken_and_a_threat_is_met(name, moves, best):
    game = make_game(name)
    states = game.position(list(moves))[None]
    visits, values = rollouts.tree_search(game, states, 3000, seed=0)
    assert visits[0].argmax() == best
    wins = name == "tictactoe" or len(moves) == 6
    assert not wins or values[0] > 0.9
    found = rollouts.alpha_beta(game, states, 2)
    assert found[0].argmax() == best
    assert not wins or found[0].max() >= rollouts.DECIDED


def test_the_answer_depends_on_position_and_seed_alone():
    game = make_game("connect_four")
    states = np.stack([game.start(), game.position(list("44"))])
    both = rollouts.tree_search(game, states, 100, seed=5)
    alone = rollouts.tree_search(game, states[1:], 100, seed=5)
    assert np.array_equal(both[0][1], alone[0][0])
    assert both[1][1] == alone[1][0]
    assert not np.array_equal(both[0], rollouts.tree_search(game, states, 100, seed=6)[0])
    assert np.array_equal(rollouts.alpha_beta(game, states, 3)[1], rollouts.alpha_beta(game, states[1:], 3)[0])


def test_alpha_beta_to_the_end_is_the_complete_table():
    game = make_game("tictactoe")
    table = Table(game)
    rng = np.random.default_rng(0)
    keys = sorted(table.values)
    for index in rng.choice(len(keys), 60, replace=False):
        state = np.frombuffer(keys[index], np.int64).copy()
        if np.isnan(game.outcome(state)):
            values = rollouts.alpha_beta(game, state[None], 9)[0]
            assert np.sign(values.max()) == np.sign(table.values[keys[index]])
            assert values.argmax() in np.flatnonzero(table.move_values(state) == table.move_values(state).max())


def test_alpha_beta_looks_as_far_as_it_is_told():
    """X threatens to complete a row two moves on; depth 1 does not see it, depth 2 does."""
    game = make_game("connect_four")
    state = game.position(list("1122377"))  # O to move: X wins on 4 unless O takes it
    shallow, deep = (rollouts.alpha_beta(game, state[None], depth)[0] for depth in (1, 2))
    assert shallow.min() > -rollouts.DECIDED
    others = [0, 1, 2, 4, 5, 6]
    assert deep[3] > -rollouts.DECIDED
    assert (deep[others] <= np.maximum(deep[3], -rollouts.DECIDED)).all()


# -- a heap: take 1 and move again, or take 2 or 3 and let the other move; who takes the last one wins -------------------


@njit
def _initial(state):
    state[0], state[1] = 9, 0


@njit
def _legal(state, mask):
    for action in range(3):
        mask[action] = state[0] > action


@njit
def _play(state, action):
    state[0] -= action + 1
    if action > 0:
        state[1] = 1 - state[1]


@njit
def _outcome(state):
    if state[0] > 0:
        return np.nan
    return 1.0 if state[2] == state[1] else -1.0


@njit
def _play_and_remember(state, action):
    state[2] = state[1]  # who took last
    _play(state, action)


@njit
def _player(state):
    return state[1]


@njit
def _encode(state, planes):
    planes[0, 0, 0] = state[0]


@njit
def _key(state):
    return np.uint64(state[0] * 4 + state[1] * 2 + state[2])


def worth(game, state):
    """Return the result for who is to move, and the actions that reach it."""
    result = game.outcome(state)
    if not np.isnan(result):
        return result, []
    values = {}
    for action in game.legal_actions(state):
        after = state.copy()
        game.play(after, action)
        value = worth(game, after)[0]
        values[int(action)] = value if after[1] == state[1] else -value
    best = max(values.values())
    return best, [action for action, value in values.items() if value == best]


def test_a_player_may_move_again():
    game = Game(
        "heap", 1, 1, 3, 1, 3, 20, _initial, _legal, _play_and_remember, _outcome, _player, _encode, _key,
        np.arange(1)[None], np.arange(3)[None], str, str, int,
    )  # fmt: skip
    told_apart = 0
    for heap in range(1, 8):
        for player in (0, 1):
            state = np.array([heap, player, 0])
            value, best = worth(game, state)
            found = rollouts.alpha_beta(game, state[None], 12)[0]
            assert np.sign(found.max()) == value
            assert found.argmax() in best
            visits, mean = rollouts.tree_search(game, state[None], 2000, seed=0)
            assert visits[0].argmax() in best
            assert np.sign(mean[0]) == value
            told_apart += len(best) < min(heap, 3)
    assert told_apart > 0
