"""The Connect Four solver agrees with brute force, with published scores, and with itself seen in a mirror."""

import numpy as np
import pytest

from cumulant.envs.games.solver_connect_four import NO_MOVE, Solver, position


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


@pytest.mark.parametrize(
    ("moves", "score"),
    [
        ("2252576253462244111563365343671351441", -1),
        ("7422341735647741166133573473242566", 1),
        ("23163416124767223154467471272416755633", 0),
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
