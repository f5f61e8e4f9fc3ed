"""Asterix on a small board: collect gold, avoid enemies; both fly along eight lanes.

State columns: last key, player x and y, frames to the next arrival and between two, frames to the next move of the lanes and
between two, frames to the next increase of difficulty and how many there were; then for each of the eight lanes whether
something is in it, its x, its direction and whether it is gold. The lanes are rows 1 to 8.

Channels: player, enemy, trail (behind what flies), gold.
"""

from __future__ import annotations

from numba import njit

from cumulant.envs.counter_rng import uniform
from cumulant.envs.minatar.board import DOWN, LEFT, RAMPING, RIGHT, SIZE, UP, below, pressed

CHANNELS = 4
_LAST, _X, _Y, _ARRIVAL, _ARRIVAL_EVERY, _MOVE, _MOVE_EVERY, _RAMP, _RAMPS, _LANES = range(10)
_NUM_LANES = SIZE - 2
_USED, _AT, _DX, _GOLD = range(4)
STATE_SIZE = _LANES + 4 * _NUM_LANES
_RAMP_EVERY = 100
_GOLD_SHARE = 1.0 / 3.0


@njit(cache=True, error_model="numpy")
def reset(mask, key, params, state, obs):  # type: ignore[no-untyped-def]
    """Start episodes: the player in the middle, the lanes empty."""
    for i in range(mask.shape[0]):
        if mask[i]:
            s = state[i]
            s[:] = 0.0
            s[_X], s[_Y] = 5.0, 5.0
            s[_ARRIVAL], s[_ARRIVAL_EVERY] = 10.0, 10.0
            s[_MOVE], s[_MOVE_EVERY] = 5.0, 5.0
            s[_RAMP] = _RAMP_EVERY
            _show(s, obs[i])


@njit(cache=True, error_model="numpy")
def step(key, clock, action, params, state, obs, reward, terminated, outcomes):  # type: ignore[no-untyped-def]
    """Advance every game by one frame."""
    for i in range(action.shape[0]):
        s = state[i]
        s[_LAST] = pressed(key[i], clock[i], action[i], params, s[_LAST])
        if s[_ARRIVAL] == 0.0:
            _arrive(key[i], clock[i], s)
            s[_ARRIVAL] = s[_ARRIVAL_EVERY]
        reward[i], terminated[i] = _frame(s)
        if params[RAMPING] > 0.0:
            _ramp(s)
        _show(s, obs[i])


@njit(cache=True, error_model="numpy")
def _arrive(key, clock, s):  # type: ignore[no-untyped-def]
    """Let something fly in along a lane that is free, if any is."""
    from_left = uniform(key, clock, 1) < 0.5
    gold = uniform(key, clock, 2) < _GOLD_SHARE
    lanes = s[_LANES:].reshape(_NUM_LANES, 4)
    free = 0
    for k in range(_NUM_LANES):
        free += lanes[k, _USED] == 0.0
    if free == 0:
        return
    chosen = below(key, clock, 3, free)
    for k in range(_NUM_LANES):
        if lanes[k, _USED] == 0.0:
            if chosen == 0:
                lanes[k, _USED] = 1.0
                lanes[k, _AT] = 0.0 if from_left else SIZE - 1.0
                lanes[k, _DX] = 1.0 if from_left else -1.0
                lanes[k, _GOLD] = 1.0 if gold else 0.0
            chosen -= 1


@njit(cache=True, error_model="numpy")
def _frame(s):  # type: ignore[no-untyped-def]
    last = s[_LAST]
    if last == LEFT:
        s[_X] = max(s[_X] - 1.0, 0.0)
    elif last == RIGHT:
        s[_X] = min(s[_X] + 1.0, SIZE - 1.0)
    elif last == UP:
        s[_Y] = max(s[_Y] - 1.0, 1.0)
    elif last == DOWN:
        s[_Y] = min(s[_Y] + 1.0, SIZE - 2.0)
    # The player has moved; when the lanes move too, whoever they bring counts as well.
    reward, lost = _touch(s)
    if s[_MOVE] == 0.0:
        s[_MOVE] = s[_MOVE_EVERY]
        lanes = s[_LANES:].reshape(_NUM_LANES, 4)
        for k in range(_NUM_LANES):
            lanes[k, _AT] += lanes[k, _DX]
            if lanes[k, _AT] < 0.0 or lanes[k, _AT] >= SIZE:
                lanes[k, :] = 0.0
        more, hit = _touch(s)
        reward, lost = reward + more, lost or hit
    s[_ARRIVAL] -= 1.0
    s[_MOVE] -= 1.0
    return reward, lost


@njit(cache=True, error_model="numpy")
def _touch(s):  # type: ignore[no-untyped-def]
    """Let the player meet what is in its lane: gold is taken, an enemy ends the game."""
    lane = s[_LANES:].reshape(_NUM_LANES, 4)[int(s[_Y]) - 1]
    if lane[_USED] == 0.0 or lane[_AT] != s[_X]:
        return 0.0, False
    if lane[_GOLD] == 0.0:
        return 0.0, True
    lane[:] = 0.0
    return 1.0, False


@njit(cache=True, error_model="numpy")
def _ramp(s):  # type: ignore[no-untyped-def]
    """Make it harder from time to time: more arrivals, and every other time faster lanes too."""
    if s[_ARRIVAL_EVERY] <= 1.0 and s[_MOVE_EVERY] <= 1.0:
        return
    if s[_RAMP] >= 0.0:
        s[_RAMP] -= 1.0
        return
    if s[_MOVE_EVERY] > 1.0 and int(s[_RAMPS]) % 2 == 1:
        s[_MOVE_EVERY] -= 1.0
    s[_ARRIVAL_EVERY] = max(s[_ARRIVAL_EVERY] - 1.0, 1.0)
    s[_RAMPS] += 1.0
    s[_RAMP] = _RAMP_EVERY


@njit(cache=True, error_model="numpy")
def _show(s, obs):  # type: ignore[no-untyped-def]
    obs[:] = 0
    obs[int(s[_Y]), int(s[_X]), 0] = 1
    lanes = s[_LANES:].reshape(_NUM_LANES, 4)
    for k in range(_NUM_LANES):
        if lanes[k, _USED] > 0.0:
            at = int(lanes[k, _AT])
            behind = at - int(lanes[k, _DX])
            obs[k + 1, at, 3 if lanes[k, _GOLD] > 0.0 else 1] = 1
            if 0 <= behind < SIZE:
                obs[k + 1, behind, 2] = 1
