"""Machine code that is called directly, and games that make arrays although their callers count no references."""

import numpy as np
from numba import njit

from cumulant.envs.games.lookup import make_game
from cumulant.kernels.rules import entry, rules_of


@njit(_nrt=False)
def twice(numbers):
    for i in range(len(numbers)):
        numbers[i] *= 2


def test_entry_is_the_function():
    numbers = np.arange(4)
    entry(twice, numbers)(numbers)
    assert numbers.tolist() == [0, 2, 4, 6]
    assert entry(twice, numbers) is entry(twice, np.zeros(9, np.int64))
    floats = np.arange(3.0)
    entry(twice, floats)(floats)
    assert floats.tolist() == [0.0, 2.0, 4.0]


@njit(_nrt=False)
def seen(rules, state, planes):
    rules.encode(state, planes)


def test_a_game_may_make_arrays_where_no_references_are_counted():
    """If it is compiled first for such a caller, it may not; and Go makes an array whenever a network looks at a position."""
    game = make_game("go", size=3)  # of a size that no other test uses: nothing of it is compiled yet
    planes = np.zeros((game.num_planes, 3, 3), np.float32)
    arguments = (rules_of(game), game.start(), planes)
    entry(seen, *arguments)(*arguments)
    expected = np.zeros_like(planes)
    game.encode(game.start(), expected)
    np.testing.assert_array_equal(planes, expected)
    assert planes.any()
