"""What an agent may do each morning: change the dose by steps or percent, or name it; round it to tablets; order a test.

| action set | actions | what they do |
|---|---|---|
| step | 3 | 1 mg less, hold, 1 mg more |
| step5 | 5 | 1 mg less, half a mg less, hold, half a mg more, 1 mg more |
| percent | 5 | 20 % less, 10 % less, hold, 10 % more, 20 % more |
| dose | a number | the day's dose itself, mg |

Changes start from the dose of the day before. Where doses must be made of whole tablets, a dose is the nearest that they
make, and a change is never rounded away: it goes to the next such dose in its direction.

Where the agent orders its INR tests, every action comes twice, without and with a test on the next morning: of n moves,
``action = move + n * order``; a dose has a second number, which orders a test above one half.
"""

from __future__ import annotations

import numpy as np
from gymnasium import spaces
from numba import njit

from cumulant.errors import ConfigError

DOSE_MAX = 15.0  # mg a day
# Milligrams to add and percent to add, of each move.
MOVES: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "step": ((-1.0, 0.0, 1.0), (0.0, 0.0, 0.0)),
    "step5": ((-1.0, -0.5, 0.0, 0.5, 1.0), (0.0,) * 5),
    "percent": ((0.0,) * 5, (-20.0, -10.0, 0.0, 10.0, 20.0)),
}
ACTIONS = (*MOVES, "dose")


def space(actions: str, orders: bool) -> spaces.Space:
    """Return the action space.

    Args:
        actions: Action set.
        orders: Whether the agent orders its tests.

    >>> space("step", False), space("step5", True)
    (Discrete(3), Discrete(10))
    """
    if actions == "dose":
        high = [DOSE_MAX, 1.0] if orders else [DOSE_MAX]
        return spaces.Box(np.zeros(len(high), np.float32), np.array(high, np.float32), dtype=np.float32)
    return spaces.Discrete(len(MOVES[actions][0]) * (2 if orders else 1))


def doses_of_tablets(tablets_mg: tuple[float, ...]) -> np.ndarray:
    """Return the doses up to ``DOSE_MAX`` that whole tablets of these sizes make, in order, ``[N]``; none for no tablets.

    >>> doses_of_tablets((3.0, 5.0))
    array([ 0.,  3.,  5.,  6.,  8.,  9., 10., 11., 12., 13., 14., 15.])

    Raises:
        ConfigError: If a size is not a multiple of 0.1 mg from 0.1 to ``DOSE_MAX`` (message names it).
    """
    tenths = [round(size * 10.0) for size in tablets_mg]
    for size, parts in zip(tablets_mg, tenths):
        if not (1 <= parts <= DOSE_MAX * 10 and abs(parts - size * 10.0) < 1e-6):
            raise ConfigError(f"warfarin: tablets_mg has {size}; give multiples of 0.1 mg, up to {DOSE_MAX:g} mg")
    can = np.zeros(int(DOSE_MAX * 10) + 1, bool)
    can[0] = bool(tenths)
    for total in range(1, len(can)):
        can[total] = any(parts <= total and can[total - parts] for parts in tenths)
    return np.flatnonzero(can) / 10.0


def table(actions: str, tablets_mg: tuple[float, ...]) -> np.ndarray:
    """Return the action set as numbers, for ``unpacked``: moves, milligrams, factors, number of tablet doses, these.

    Args:
        actions: Action set.
        tablets_mg: Sizes of tablets, or none.
    """
    add_mg, percent = MOVES.get(actions, ((), ()))
    doses = doses_of_tablets(tablets_mg)
    factors = [1.0 + p / 100.0 for p in percent]
    return np.concatenate([[len(add_mg)], add_mg, factors, [len(doses)], doses])


@njit(cache=True, error_model="numpy")
def unpacked(table: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return milligrams ``[M]`` and factors ``[M]`` of the moves, and the doses of tablets ``[N]``, as views of ``table``."""
    moves = int(table[0])
    first = 2 + 2 * moves
    return table[1 : 1 + moves], table[1 + moves : 1 + 2 * moves], table[first : first + int(table[first - 1])]


@njit(cache=True, error_model="numpy")
def rounded(dose_mg: float, last_mg: float, tablets: np.ndarray) -> float:
    """Return the nearest dose that the tablets make; one above (below) the last dose if the wanted one is.

    Args:
        dose_mg: Wanted dose, 0 to ``DOSE_MAX``.
        last_mg: Dose that it is a change of; the wanted dose itself for one that was named.
        tablets: Doses that can be made, in order, ``[N]``, N at least 1.
    """
    nearest, count = 0, tablets.shape[0]
    for k in range(1, count):
        if abs(tablets[k] - dose_mg) < abs(tablets[nearest] - dose_mg):
            nearest = k
    while dose_mg > last_mg and tablets[nearest] <= last_mg and nearest < count - 1:
        nearest += 1
    while dose_mg < last_mg and tablets[nearest] >= last_mg and nearest > 0:
        nearest -= 1
    return tablets[nearest]


@njit(cache=True, error_model="numpy")
def moved(last_mg: float, add_mg: float, factor: float, tablets: np.ndarray) -> float:
    """Return the dose that a move makes of the last one.

    Args:
        last_mg: Dose of the day before, mg.
        add_mg: Milligrams of the move.
        factor: Factor of the move.
        tablets: Doses that can be made, ``[N]``; none for any.
    """
    wanted = min(max(last_mg * factor + add_mg, 0.0), DOSE_MAX)
    return rounded(wanted, last_mg, tablets) if tablets.shape[0] > 0 else wanted


@njit(cache=True, error_model="numpy")
def named(dose_mg: float, tablets: np.ndarray) -> float:
    """Return the dose that is given where this one was asked for."""
    wanted = min(max(dose_mg, 0.0), DOSE_MAX)
    return rounded(wanted, wanted, tablets) if tablets.shape[0] > 0 else wanted


@njit(cache=True, error_model="numpy")
def _proposed(last_mg: np.ndarray, action: np.ndarray, table: np.ndarray, dose_mg: np.ndarray) -> None:
    add_mg, factor, tablets = unpacked(table)
    for i in range(last_mg.shape[0]):
        if len(add_mg):
            move = int(action[i, 0]) % len(add_mg)
            dose_mg[i] = moved(last_mg[i], add_mg[move], factor[move], tablets)
        else:
            dose_mg[i] = named(action[i, 0], tablets)


def proposed_by(table: np.ndarray, last_mg: np.ndarray, action: np.ndarray) -> np.ndarray:
    """Return the doses that these actions ask for, ``[B]``; ``proposed`` with a ``table`` and actions ``[B, A]`` float64."""
    dose_mg = np.empty(len(last_mg))
    _proposed(last_mg, action, table, dose_mg)
    return dose_mg


def proposed(actions: str, tablets_mg: tuple[float, ...], last_mg: np.ndarray, action: np.ndarray) -> np.ndarray:
    """Return the doses that these actions ask for, ``[B]``, exactly as the environment would give them.

    Args:
        actions: Action set.
        tablets_mg: Sizes of tablets, or none.
        last_mg: Doses of the day before, ``[B]``.
        action: ``[B]`` or ``[B, A]``.

    >>> proposed("percent", (0.5, 3.0), np.array([5.0, 5.0]), np.array([3, 0]))
    array([5.5, 4. ])
    """
    columns = np.asarray(action, dtype=np.float64).reshape(len(last_mg), -1)
    return proposed_by(table(actions, tablets_mg), np.asarray(last_mg, dtype=np.float64), columns)
