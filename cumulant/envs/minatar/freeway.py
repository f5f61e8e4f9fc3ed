"""Freeway on a small board: cross eight lanes of traffic, again and again.

State columns: last key, chicken y, frames until it may move; then for each of the eight cars its x, the frames to its next move
and its speed, the frames between two moves, negative to the left. The cars drive along rows 1 to 8, the chicken along column 4.

Channels: chicken, car, then five channels for the cell behind a car, by its speed.
"""

from __future__ import annotations

from numba import njit

from cumulant.envs.counter_rng import uniform
from cumulant.envs.minatar.board import DOWN, SIZE, UP, below, pressed

CHANNELS = 7
_LAST, _CHICKEN, _WAIT, _CARS = range(4)
_NUM_CARS = SIZE - 2
_AT, _MOVE, _SPEED = range(3)
STATE_SIZE = _CARS + 3 * _NUM_CARS
_COLUMN, _BOTTOM = 4, SIZE - 1.0
_WAIT_FRAMES = 3.0
_SLOWEST = 5


@njit(cache=True, error_model="numpy")
def reset(mask, key, params, state, obs):  # type: ignore[no-untyped-def]
    """Start episodes: the chicken at the bottom, all cars in the first column."""
    for i in range(mask.shape[0]):
        if mask[i]:
            s = state[i]
            s[:] = 0.0
            s[_CHICKEN], s[_WAIT] = _BOTTOM, _WAIT_FRAMES
            _draw_speeds(key[i], -1, s)
            _show(s, obs[i])


@njit(cache=True, error_model="numpy")
def step(key, clock, action, params, state, obs, reward, terminated, outcomes):  # type: ignore[no-untyped-def]
    """Advance every game by one frame."""
    for i in range(action.shape[0]):
        s = state[i]
        s[_LAST] = pressed(key[i], clock[i], action[i], params, s[_LAST])
        reward[i] = _frame(key[i], clock[i], s)
        terminated[i] = False
        _show(s, obs[i])


@njit(cache=True, error_model="numpy")
def _draw_speeds(key, clock, s):  # type: ignore[no-untyped-def]
    """Give every car a new speed and direction; it stays where it is."""
    cars = s[_CARS:].reshape(_NUM_CARS, 3)
    for k in range(_NUM_CARS):
        frames = 1.0 + below(key, clock, 1 + k, _SLOWEST)
        cars[k, _MOVE] = frames
        cars[k, _SPEED] = -frames if uniform(key, clock, 1 + _NUM_CARS + k) < 0.5 else frames


@njit(cache=True, error_model="numpy")
def _frame(key, clock, s):  # type: ignore[no-untyped-def]
    reward = 0.0
    if s[_WAIT] == 0.0 and (s[_LAST] == UP or s[_LAST] == DOWN):
        s[_WAIT] = _WAIT_FRAMES
        s[_CHICKEN] = max(s[_CHICKEN] - 1.0, 0.0) if s[_LAST] == UP else min(s[_CHICKEN] + 1.0, _BOTTOM)
    if s[_CHICKEN] == 0.0:
        reward = 1.0
        s[_CHICKEN] = _BOTTOM
        _draw_speeds(key, clock, s)
    cars = s[_CARS:].reshape(_NUM_CARS, 3)
    for k in range(_NUM_CARS):
        car = cars[k]
        if car[_AT] == _COLUMN and s[_CHICKEN] == k + 1:
            s[_CHICKEN] = _BOTTOM
        if car[_MOVE] == 0.0:
            car[_MOVE] = abs(car[_SPEED])
            car[_AT] = (car[_AT] + (1.0 if car[_SPEED] > 0.0 else -1.0)) % SIZE
            if car[_AT] == _COLUMN and s[_CHICKEN] == k + 1:
                s[_CHICKEN] = _BOTTOM
        else:
            car[_MOVE] -= 1.0
    s[_WAIT] = max(s[_WAIT] - 1.0, 0.0)
    return reward


@njit(cache=True, error_model="numpy")
def _show(s, obs):  # type: ignore[no-untyped-def]
    obs[:] = 0
    obs[int(s[_CHICKEN]), _COLUMN, 0] = 1
    cars = s[_CARS:].reshape(_NUM_CARS, 3)
    for k in range(_NUM_CARS):
        at, speed = int(cars[k, _AT]), int(cars[k, _SPEED])
        behind = (at - (1 if speed > 0 else -1)) % SIZE
        obs[k + 1, at, 1] = 1
        obs[k + 1, behind, 1 + abs(speed)] = 1
