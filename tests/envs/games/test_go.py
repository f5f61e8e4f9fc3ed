"""Go: against rules written down plainly, and the situations that programs get wrong."""

import numpy as np
import pytest

from cumulant.envs.games.lookup import make_game
from cumulant.errors import ConfigError, UsageError


class Plain:
    """Go as a rule book has it: a grid, all positions that have been, floods. 1 is Black, 2 is White."""

    def __init__(self, size):
        self.size, self.grid, self.to_move = size, (0,) * (size * size), 1
        self.been, self.passes = {self.grid}, 0

    def neighbours(self, point):
        row, column = divmod(point, self.size)
        for down, right in ((-1, 0), (0, -1), (0, 1), (1, 0)):
            if 0 <= row + down < self.size and 0 <= column + right < self.size:
                yield (row + down) * self.size + column + right

    def region(self, grid, point):
        """The points of the same colour that hang together with this one, and the colours around them."""
        found, around, left = {point}, set(), [point]
        while left:
            for near in self.neighbours(left.pop()):
                if grid[near] != grid[point]:
                    around.add(grid[near])
                elif near not in found:
                    found.add(near)
                    left.append(near)
        return found, around

    def after(self, point):
        """The grid after a stone; None if it may not be put there."""
        if self.grid[point]:
            return None
        grid = list(self.grid)
        grid[point] = self.to_move
        for near in self.neighbours(point):
            if grid[near] == 3 - self.to_move:
                chain, around = self.region(grid, near)
                if 0 not in around:
                    for stone in chain:
                        grid[stone] = 0
        if 0 not in self.region(grid, point)[1] or tuple(grid) in self.been:
            return None
        return tuple(grid)

    def legal(self):
        return [self.after(point) is not None for point in range(len(self.grid))] + [True]

    def play(self, action):
        self.passes = self.passes + 1 if action == len(self.grid) else 0
        if action < len(self.grid):
            self.grid = self.after(action)
            self.been.add(self.grid)
        self.to_move = 3 - self.to_move

    def owners(self):
        """1 for Black, -1 for White, 0 for nobody."""
        owner = []
        for point, colour in enumerate(self.grid):
            around = {colour} if colour else self.region(self.grid, point)[1]
            owner.append(1 if around == {1} else -1 if around == {2} else 0)
        return owner

    def liberties(self, point):
        chain = self.region(self.grid, point)[0]
        return len({near for stone in chain for near in self.neighbours(stone) if self.grid[near] == 0})


@pytest.mark.parametrize(
    ("size", "games", "max_moves"), [(2, 60, 40), (3, 60, 90), (4, 20, 150), (5, 8, 0), (9, 2, 0), (19, 1, 350)]
)
def test_random_games_go_by_the_rule_book(size, games, max_moves):
    game = make_game("go", size=size, komi=0.5, max_moves=max_moves)
    rng = np.random.default_rng(size)
    mask, owned, banned = np.zeros(size * size + 1, np.uint8), np.zeros(size * size, np.float32), 0
    for _ in range(games):
        plain, state = Plain(size), game.start()
        for move in range(game.max_moves + 1):
            game.legal(state, mask)
            sign = 1 if plain.to_move == 1 else -1
            game.ownership(state, owned)
            np.testing.assert_array_equal(owned, sign * np.array(plain.owners()))
            if plain.passes == 2 or move == game.max_moves:
                assert not mask.any()
                assert game.outcome(state) == np.sign(sign * (sum(plain.owners()) - 0.5))
                break
            expected = plain.legal()
            np.testing.assert_array_equal(mask, expected)
            banned += sum(colour == 0 and not may for colour, may in zip(plain.grid, expected))
            planes = game.planes(state).reshape(game.num_planes, -1)
            grid = np.array(plain.grid)
            np.testing.assert_array_equal(planes[0], grid == plain.to_move)
            np.testing.assert_array_equal(planes[1], grid == 3 - plain.to_move)
            if move % 5 == 0:
                free = [plain.liberties(point) if colour else 0 for point, colour in enumerate(plain.grid)]
                for count in (1, 2, 3):
                    np.testing.assert_array_equal(planes[1 + count], np.array(free) == count)
            np.testing.assert_array_equal(planes[6], [c == 0 and not may for c, may in zip(plain.grid, expected)])
            choices = np.flatnonzero(mask[:-1])
            action = rng.choice(choices) if len(choices) and rng.random() < 0.95 else size * size
            plain.play(action)
            game.play(state, action)
    assert banned > 10 or size == 19


def test_a_ko_may_not_be_taken_back_at_once_but_later():
    game = make_game("go", size=5)
    # Black takes one stone at C3; White may take back only after something else has been played.
    moves = ["B3", "C3", "C4", "B2", "D3", "D2", "A5", "C1", "C2"]
    state = game.position(moves)  # C2 takes C3
    back = game.parse_action("C3")
    mask = np.zeros(game.num_actions, np.uint8)
    game.legal(state, mask)
    assert not mask[back]
    assert game.planes(state)[6].reshape(-1)[back] == 1.0
    later = game.position([*moves, "E5", "E1"])
    game.legal(later, mask)
    assert mask[back]


def test_a_position_may_not_come_again_after_more_than_a_ko():
    """Sending two and getting one back, on a board of four points: nobody can go on for ever."""
    game = make_game("go", size=2, max_moves=500)
    rng = np.random.default_rng(0)
    for _ in range(20):
        state, seen = game.start(), set()
        while True:
            legal = game.legal_actions(state)
            legal = legal[legal < 4]
            if not len(legal):
                break
            game.play(state, int(rng.choice(legal)))
            stones = game.render(state)
            assert stones not in seen
            seen.add(stones)
        assert len(seen) < 57  # that many legal positions there are on 2x2


def test_suicide_is_forbidden_and_a_capture_is_none():
    game = make_game("go", size=3)
    state = game.position(["A2", "C3", "B3"])
    with pytest.raises(UsageError, match="move 4, 'A3', is not legal"):
        game.position(["A2", "C3", "B3", "A3"])
    assert np.isnan(game.outcome(state))
    taken = game.position(["A3", "A2", "C1", "B3"])
    assert game.render(taken).splitlines()[1] == " 3 . O ."


def test_komi_decides_and_may_make_a_draw():
    moves = ["B1", "pass", "pass"]  # all nine points are Black's; White is asked
    for komi, worth in ((8.5, -1.0), (9.0, 0.0), (9.0 - 0.5, -1.0), (-3.0, -1.0)):
        assert make_game("go", size=3, komi=komi).outcome(make_game("go", size=3, komi=komi).position(moves)) == worth
    state = make_game("go", size=4, komi=8.0).position(["B1", "C1", "B2", "C2", "B3", "C3", "B4", "C4", "pass", "pass"])
    assert make_game("go", size=4, komi=8.0).outcome(state) == -1.0


@pytest.mark.parametrize(
    "options", [{"size": 1}, {"size": 20}, {"size": 9.5}, {"komi": 0.3}, {"komi": np.nan}, {"max_moves": -1}]
)
def test_impossible_boards_are_refused(options):
    with pytest.raises(ConfigError, match=f"go: {next(iter(options))} = .*;"):
        make_game("go", **options)
