"""Machine code that is called directly, also of functions that make arrays although they were to be without."""

import numpy as np
from numba import njit

from cumulant.kernels.rules import entry


@njit(_nrt=False)
def twice(numbers):
    for i in range(len(numbers)):
        numbers[i] *= 2


@njit(_nrt=False)
def backwards(numbers):
    spare = np.empty(len(numbers), numbers.dtype)
    for i in range(len(numbers)):
        spare[i] = numbers[-1 - i]
    for i in range(len(numbers)):
        numbers[i] = spare[i]


def test_entry_is_the_function():
    numbers = np.arange(4)
    entry(twice, numbers)(numbers)
    assert numbers.tolist() == [0, 2, 4, 6]
    assert entry(twice, numbers) is entry(twice, np.zeros(9, np.int64))
    floats = np.arange(3.0)
    entry(twice, floats)(floats)
    assert floats.tolist() == [0.0, 2.0, 4.0]


def test_a_function_that_makes_arrays_is_counted_after_all():
    numbers = np.arange(4)
    entry(backwards, numbers)(numbers)
    assert numbers.tolist() == [3, 2, 1, 0]
