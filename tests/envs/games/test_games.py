"""What every game promises, present and future: found by listing, tested alike; and the rules of the small ones."""

import subprocess
import sys

import numpy as np
import pytest
from numba import njit, types

from cumulant.envs.games import lookup
from cumulant.envs.games.connect_four import four_in_line
from cumulant.envs.games.game import ENCODE, INITIAL, KEY, LEGAL, OUTCOME, PLAY, PLAYER, ROW
from cumulant.envs.games.lookup import make_game
from cumulant.errors import ConfigError, UsageError

NAMES = sorted(lookup.listing())


def positions(game, games, seed=0):
    """Positions of random games, with the actions that led there: (state, last action or None)."""
    rng = np.random.default_rng(seed)
    for _ in range(games):
        state, last = game.start(), None
        for _ in range(game.max_moves + 1):
            yield state.copy(), last
            legal = game.legal_actions(state)
            if not len(legal):
                break
            last = int(rng.choice(legal))
            game.play(state, last)
        else:
            raise AssertionError("longer than max_moves")


@njit([types.int64(LEGAL, PLAY, types.int64[:, ::1], types.uint8[:, ::1], types.int64)])
def sequences(legal, play, states, masks, depth):
    """How many sequences of ``depth`` moves there are from ``states[0]``."""
    total, level, actions = 0, 0, masks.shape[1]
    at = np.zeros(depth + 1, np.int64)
    legal(states[0], masks[0])
    while level >= 0:
        if level == depth:
            total += 1
            level -= 1
        elif at[level] == actions:
            at[level] = 0
            level -= 1
        else:
            action = at[level]
            at[level] += 1
            if masks[level, action]:
                states[level + 1] = states[level]
                play(states[level + 1], action)
                level += 1
                if level < depth:
                    legal(states[level], masks[level])
    return total


def perft(game, depth):
    states = np.zeros((depth + 1, game.state_size), np.int64)
    states[0] = game.start()
    return sequences(game.legal, game.play, states, np.zeros((depth + 1, game.num_actions), np.uint8), depth)


@njit([types.float64(INITIAL, OUTCOME, PLAYER, ENCODE, KEY, ROW, types.float32[:, :, ::1])])
def looked_at(initial, outcome, player, encode, key, state, planes):
    initial(state)
    encode(state, planes)
    return outcome(state) + player(state) + key(state)


@pytest.mark.parametrize("name", NAMES)
def test_functions_are_of_the_stated_types(name):
    """Compiled code takes them as arguments; ``perft`` does so with the other two."""
    game = make_game(name)
    planes = np.zeros((game.num_planes, game.rows, game.columns), np.float32)
    state = np.zeros(game.state_size, np.int64)
    assert np.isnan(looked_at(game.initial, game.outcome, game.player, game.encode, game.key, state, planes))
    np.testing.assert_array_equal(planes, game.planes(game.start()))


@pytest.mark.parametrize("name", NAMES)
def test_a_game_goes_on_until_it_ends(name):
    game = make_game(name)
    ends = 0
    for state, _ in positions(game, 5):
        mask = np.full(game.num_actions, 7, np.uint8)
        game.legal(state, mask)
        assert set(mask) <= {0, 1}
        assert mask.any() == np.isnan(game.outcome(state))
        assert game.player(state) in (0, 1)
        ends += not mask.any()
        if not mask.any():
            assert game.outcome(state) in (-1.0, 0.0, 1.0)
    assert ends == 5


@pytest.mark.parametrize("name", NAMES)
def test_functions_write_all_of_their_output_and_none_of_the_position(name):
    game = make_game(name)
    for state, _ in positions(game, 2):
        before, shown = state.copy(), []
        for fill in (0, 3):
            mask = np.full(game.num_actions, fill, np.uint8)
            planes = np.full((game.num_planes, game.rows, game.columns), fill, np.float32)
            game.legal(state, mask)
            game.encode(state, planes)
            shown.append(np.concatenate([mask, planes.ravel()]))
        np.testing.assert_array_equal(*shown)
        game.outcome(state), game.key(state), game.player(state), game.render(state)
        np.testing.assert_array_equal(state, before)
    again = np.full(game.state_size, -1, np.int64)
    game.initial(again)
    np.testing.assert_array_equal(again, game.start())


@pytest.mark.parametrize("name", NAMES)
def test_symmetries_are_symmetries_of_the_rules(name):
    """A game played in a symmetry shows the same, transformed: positions, legal actions and the outcome."""
    game = make_game(name)
    points, actions = game.symmetries_points, game.symmetries_actions
    assert points.dtype == actions.dtype == np.int64
    assert points.shape[1] == game.rows * game.columns
    assert actions.shape == (len(points), game.num_actions)
    np.testing.assert_array_equal(points[0], np.arange(points.shape[1]))
    np.testing.assert_array_equal(actions[0], np.arange(game.num_actions))
    assert len({tuple(row) for row in points}) == len(points)
    rng = np.random.default_rng(1)
    for s in range(len(points)):
        there = np.argsort(actions[s])  # where each action goes
        plain, turned = game.start(), game.start()
        while True:
            planes = game.planes(plain).reshape(game.num_planes, -1)
            np.testing.assert_array_equal(planes[:, points[s]], game.planes(turned).reshape(game.num_planes, -1))
            masks = np.zeros((2, game.num_actions), np.uint8)
            game.legal(plain, masks[0])
            game.legal(turned, masks[1])
            np.testing.assert_array_equal(masks[0][actions[s]], masks[1])
            np.testing.assert_equal(game.outcome(plain), game.outcome(turned))
            if not masks.any():
                break
            action = rng.choice(np.flatnonzero(masks[0]))
            game.play(plain, action)
            game.play(turned, there[action])


@pytest.mark.parametrize("name", NAMES)
def test_a_key_is_of_what_is_seen(name):
    """Positions that differ in what legal, outcome or encode say have different keys, and equal ones the same."""
    game = make_game(name)
    seen = {}
    for state, _ in positions(game, 30):
        mask = np.zeros(game.num_actions, np.uint8)
        game.legal(state, mask)
        what = (mask.tobytes(), game.planes(state).tobytes(), str(game.outcome(state)))
        assert seen.setdefault(game.key(state), what) == what
    assert len(seen) > 30 * 5 / 2  # random games part soon
    assert len(set(seen.values())) == len(seen)


@pytest.mark.parametrize("name", NAMES)
def test_actions_have_names(name):
    game = make_game(name)
    names = [game.action_name(action) for action in range(game.num_actions)]
    assert len(set(names)) == game.num_actions
    for action, text in enumerate(names):
        assert game.parse_action(text) == game.parse_action(f" {text}\n") == action
    for wrong in ("", "0", "99", "z9", "a", "-1", "4.0", "d44", "²"):
        with pytest.raises(UsageError, match=f"is no move of {name}: give"):
            game.parse_action(wrong)


@pytest.mark.parametrize("name", NAMES)
def test_ownership_agrees_with_the_outcome(name):
    game = make_game(name)
    if game.ownership is None:
        pytest.skip("has no ownership")
    for state, _ in positions(game, 10):
        owned = np.full(game.rows * game.columns, 9, np.float32)
        game.ownership(state, owned)
        assert set(owned) <= {-1.0, 0.0, 1.0}
        if name == "othello" and not np.isnan(game.outcome(state)):
            assert np.sign(owned.sum()) == game.outcome(state)


def test_unknown_games_moves_and_options():
    with pytest.raises(UsageError, match="did you mean 'connect_four'"):
        make_game("conect_four")
    with pytest.raises(ConfigError, match="game 'connect_four' has no option 'size': it has none"):
        make_game("connect_four", size=3)
    with pytest.raises(UsageError, match=r"move 3, '1', is not legal in tictactoe there; legal is 2 3 4 6 7 8 9"):
        make_game("tictactoe").position(["1", "5", "1"])
    with pytest.raises(UsageError, match=r"move 6, '9', .* legal is nothing: the game has ended"):
        make_game("tictactoe").position(["1", "4", "2", "5", "3", "9"])
    assert make_game("connect_four") is make_game("connect_four")
    with pytest.raises(ConfigError, match="othello: size = 7; boards are 4, 6 or 8"):
        make_game("othello", size=7)


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        # Published numbers of sequences of so many moves. Connect Four: 7^n until a column is full or four are in line.
        ("tictactoe", [1, 9, 72, 504, 3024, 15120, 54720, 148176, 200448, 127872]),
        ("connect_four", [1, 7, 49, 343, 2401, 16807, 117649, 823536, 5673234]),
        ("othello", [1, 4, 12, 56, 244, 1396, 8200, 55092, 390216, 3005288]),
    ],
)
def test_perft(name, counts):
    game = make_game(name)
    assert [perft(game, depth) for depth in range(len(counts))] == counts


@pytest.mark.parametrize("moves", ["1212121", "1122334", "12233434414", "76655454474"])
def test_a_line_ends_connect_four(moves):
    """A column, a row, and both diagonals, with their last stone."""
    game = make_game("connect_four")
    assert np.isnan(game.outcome(game.position(list(moves[:-1]))))
    assert game.outcome(game.position(list(moves))) == -1.0


def test_lines_do_not_run_on_into_the_next_column():
    for stones in (
        [(0, 4), (0, 5), (1, 0), (1, 1)],
        [(0, 3), (1, 2), (2, 1), (2, 5)],
        [(2, 4), (3, 5), (5, 0), (6, 1)],
    ):
        assert not four_in_line(sum(1 << (7 * column + height) for column, height in stones))


def test_discs_are_turned_on_every_side_and_never_over_the_edge():
    """Flips by a walk along each line, in random games on every board."""
    for size in (4, 6, 8):
        game, rng = make_game("othello", size=size), np.random.default_rng(size)
        state = game.start()
        while len(legal := game.legal_actions(state)):
            own, other = (plane.astype(bool) for plane in game.planes(state))
            action = int(rng.choice(legal))
            for down, right in np.ndindex(3, 3) if action < size * size else ():
                row, column = divmod(action, size)
                line = []
                while 0 <= (row := row + down - 1) < size and 0 <= (column := column + right - 1) < size:
                    if not other[row, column]:
                        break
                    line.append((row, column))
                if 0 <= row < size and 0 <= column < size and own[row, column] and (down, right) != (1, 1):
                    for point in line:
                        own[point], other[point] = True, False
            if action < size * size:
                own[divmod(action, size)] = True
            game.play(state, action)
            np.testing.assert_array_equal(game.planes(state), [other, own])
        assert game.outcome(state) == np.sign(int(game.planes(state)[0].sum()) - int(game.planes(state)[1].sum()))


def test_a_second_process_starts_in_a_second():
    """Compiled code is cached: another process plays at once."""
    code = (
        "import time; from cumulant.envs.games.lookup import make_game; t = time.process_time()\n"
        "for name in ('tictactoe', 'connect_four', 'othello', 'go'):\n"
        "    game = make_game(name); s = game.start()\n"
        "    game.play(s, int(game.legal_actions(s)[0])); game.planes(s)\n"
        "    game.key(s), game.outcome(s), game.player(s)\n"
        "print(time.process_time() - t)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    second = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert float(second.stdout) < 1.0
