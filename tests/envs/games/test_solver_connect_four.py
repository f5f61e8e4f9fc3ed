"""The Connect Four solver agrees with brute force, with published scores, and with itself seen in a mirror."""

import numpy as np
import pytest

from cumulant.envs.games.solver_connect_four import NO_MOVE, Solver, _key, position


def lines_of_four():
    for column in range(7):
        for row in range(6):
            for right, up in ((1, 0), (0, 1), (1, 1), (1, -1)):
                squares = [(column + right * k, row + up * k) for k in range(4)]
                if all(0 <= c < 7 and 0 <= r < 6 for c, r in squares):
                    yield squares


LINES = list(lines_of_four())


def won(stones):
    return any(all(square in stones for square in line) for line in LINES)


def brute_force(own, other, heights):
    """Negamax over sets of squares, without bounds, order or table: the best score for the player to move."""
    placed = sum(heights)
    if placed == 42:
        return 0
    best = -99
    for column in range(7):
        if heights[column] < 6:
            best = max(best, score_of(own, other, heights, column))
    return best


def score_of(own, other, heights, column):
    after = own | {(column, heights[column])}
    if won(after):
        return 22 - len(after)
    higher = list(heights)
    higher[column] += 1
    return -brute_force(other, after, higher)


def random_game(rng, stones):
    while True:
        moves, sides, heights = "", (set(), set()), [0] * 7
        for count in range(stones):
            column = int(rng.choice([c for c in range(7) if heights[c] < 6]))
            sides[count % 2].add((column, heights[column]))
            heights[column] += 1
            moves += str(column + 1)
            if won(sides[count % 2]):
                break
        else:
            return moves, sides[stones % 2], sides[1 - stones % 2], heights


@pytest.mark.parametrize("stones", [33, 35, 37, 39])
def test_every_move_scores_as_by_brute_force(stones):
    rng, solver = np.random.default_rng(stones), Solver()
    for _ in range(5):
        moves, own, other, heights = random_game(rng, stones)
        expected = [score_of(own, other, heights, c) if heights[c] < 6 else NO_MOVE for c in range(7)]
        assert solver.move_scores(*position(moves)).tolist() == expected, moves
        signs = [NO_MOVE if score == NO_MOVE else np.sign(score) for score in expected]
        assert solver.move_scores(*position(moves), sign_only=True).tolist() == signs, moves
        assert solver.score(*position(moves)) == max(expected)
        value, keeps = solver.keeping(*position(moves))
        assert (value, keeps.tolist()) == (max(signs), [sign == max(signs) for sign in signs]), moves


DRAWN = "23163416124767223154467471272416755633"


def test_moves_that_keep_the_value_lead_to_it():
    rng, solver, ends = np.random.default_rng(5), Solver(), set()
    for moves in [DRAWN, *(random_game(rng, 33)[0] for _ in range(6))]:
        expected = solver.keeping(*position(moves))[0]
        while len(moves) < 42:
            value, keeps = solver.keeping(*position(moves))
            assert value == expected, moves
            column = int(np.flatnonzero(keeps)[-1])
            own, mask = position(moves)
            moves, expected = moves + str(column + 1), -value
            stones = own | ((mask | mask + (1 << 7 * column)) ^ mask)
            if won({(c, r) for c in range(7) for r in range(6) if stones >> 7 * c + r & 1}):
                assert value == 1, moves
                break
        else:
            assert value == 0, moves
        ends.add(value)
    assert ends == {0, 1}


@pytest.mark.parametrize("moves", ["44444432561276", "4411772266"])
def test_what_keeps_the_value_of_a_symmetric_position_is_symmetric(moves):
    assert position(moves) == position(str(8 - int(move)) for move in moves)
    value, keeps = Solver().keeping(*position(moves))
    scores = Solver().move_scores(*position(moves), sign_only=True)
    assert value == scores.max()
    assert keeps.tolist() == keeps.tolist()[::-1] == (scores == value).tolist()


@pytest.mark.parametrize(
    ("moves", "score"),
    [
        ("2252576253462244111563365343671351441", -1),
        ("7422341735647741166133573473242566", 1),
        (DRAWN, 0),
        ("4226111412113275256335534443264375577676", 0),
    ],
)
def test_scores_are_those_of_a_published_test_set(moves, score):
    """The first lines of the end-game set with which Pascal Pons measures his solver."""
    assert Solver().score(*position(moves)) == score


def test_a_table_that_has_seen_other_positions_changes_nothing():
    rng, old = np.random.default_rng(3), Solver()
    for _ in range(12):
        moves = random_game(rng, 18)[0]
        mirrored = "".join(str(8 - int(move)) for move in moves)
        scores = old.move_scores(*position(moves))
        assert scores.tolist() == old.move_scores(*position(mirrored)).tolist()[::-1], moves
        assert scores.tolist() == Solver().move_scores(*position(moves)).tolist(), moves


def test_the_score_of_a_position_is_that_of_its_best_move_turned_over():
    rng, solver = np.random.default_rng(4), Solver()
    for _ in range(8):
        moves = random_game(rng, 17)[0]
        scores = solver.move_scores(*position(moves))
        for column, score in enumerate(scores):
            after = position(moves + str(column + 1))
            if score != NO_MOVE and score != (43 - 17) // 2:  # the game goes on
                assert score == -solver.move_scores(*after).max(), moves


def test_no_position_is_taken_for_an_empty_place_of_the_table():
    """The key of the empty board is not 0, and keys of positions in which one stone differs are different ones."""
    none = np.uint64(0)
    bits = [np.uint64(1 << 7 * column + row) for column in range(7) for row in range(6)]
    low = [np.uint64(1 << 7 * column) for column in range(7)]
    keys = {int(_key(none, none)), *(int(_key(one, one)) for one in low), *(int(_key(none, one)) for one in low)}
    assert 0 not in keys
    assert len(keys) == 15
    full = np.bitwise_or.reduce(bits)
    assert int(_key(full, full)) >> 49 == 0, "it fits into its 49 bits"
