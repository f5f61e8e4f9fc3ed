"""Space Invaders on a small board: shoot the aliens before they are down.

State columns: last key, cannon x, direction of the aliens, frames between two of their moves while they are many, frames to
their next move, to their next shot and to the next shot of the cannon; then three boards of 100 cells: aliens, shots of the
cannon, shots of the aliens.

Channels: cannon, alien, alien that moves left, alien that moves right, shot of the cannon, shot of an alien.
"""

from __future__ import annotations

from numba import njit

from cumulant.envs.minatar.board import FIRE, LEFT, RAMPING, RIGHT, SIZE, pressed

CHANNELS = 6
_LAST, _CANNON, _DX, _MOVE_EVERY, _MOVE, _THEIR_SHOT, _OWN_SHOT, _BOARDS = range(8)
_ALIENS, _UP, _DOWN = range(3)
STATE_SIZE = _BOARDS + 3 * SIZE * SIZE
_BOTTOM = SIZE - 1
_SLOWEST, _FASTEST_WAVE = 12.0, 6.0
_THEIR_SHOT_EVERY, _OWN_SHOT_EVERY = 10.0, 5.0


@njit(cache=True, error_model="numpy")
def reset(mask, key, params, state, obs):  # type: ignore[no-untyped-def]
    """Start episodes: 24 aliens at the top, moving left."""
    for i in range(mask.shape[0]):
        if mask[i]:
            s = state[i]
            s[:] = 0.0
            s[_CANNON], s[_DX] = 5.0, -1.0
            s[_MOVE_EVERY], s[_MOVE] = _SLOWEST, _SLOWEST
            s[_THEIR_SHOT] = _THEIR_SHOT_EVERY
            boards = s[_BOARDS:].reshape(3, SIZE, SIZE)
            _wave(boards[_ALIENS])
            _show(s, boards, obs[i])


@njit(cache=True, error_model="numpy")
def step(key, clock, action, params, state, obs, reward, terminated, outcomes):  # type: ignore[no-untyped-def]
    """Advance every game by one frame."""
    for i in range(action.shape[0]):
        s = state[i]
        s[_LAST] = pressed(key[i], clock[i], action[i], params, s[_LAST])
        boards = s[_BOARDS:].reshape(3, SIZE, SIZE)
        reward[i], terminated[i] = _frame(s, boards, params[RAMPING] > 0.0)
        _show(s, boards, obs[i])


@njit(cache=True, error_model="numpy")
def _wave(aliens):  # type: ignore[no-untyped-def]
    aliens[0:4, 2:8] = 1.0


@njit(cache=True, error_model="numpy")
def _frame(s, boards, ramping):  # type: ignore[no-untyped-def]
    aliens, up, down = boards[_ALIENS], boards[_UP], boards[_DOWN]
    if s[_LAST] == FIRE:
        if s[_OWN_SHOT] == 0.0:
            up[_BOTTOM, int(s[_CANNON])] = 1.0
            s[_OWN_SHOT] = _OWN_SHOT_EVERY
    elif s[_LAST] == LEFT:
        s[_CANNON] = max(s[_CANNON] - 1.0, 0.0)
    elif s[_LAST] == RIGHT:
        s[_CANNON] = min(s[_CANNON] + 1.0, float(_BOTTOM))
    cannon = int(s[_CANNON])
    for y in range(_BOTTOM):
        up[y] = up[y + 1]
        down[_BOTTOM - y] = down[_BOTTOM - y - 1]
    up[_BOTTOM] = 0.0
    down[0] = 0.0
    lost = down[_BOTTOM, cannon] > 0.0 or aliens[_BOTTOM, cannon] > 0.0
    if s[_MOVE] == 0.0:
        s[_MOVE] = min(aliens.sum(), s[_MOVE_EVERY])
        lost |= _march(s, aliens)
        lost |= aliens[_BOTTOM, cannon] > 0.0
    if s[_THEIR_SHOT] == 0.0:
        s[_THEIR_SHOT] = _THEIR_SHOT_EVERY
        y, x = _shooter(aliens, cannon)
        down[y, x] = 1.0
    reward = 0.0
    for y in range(SIZE):
        for x in range(SIZE):
            if aliens[y, x] > 0.0 and up[y, x] > 0.0:
                aliens[y, x], up[y, x] = 0.0, 0.0
                reward += 1.0
    s[_OWN_SHOT] = max(s[_OWN_SHOT] - 1.0, 0.0)
    s[_MOVE] -= 1.0
    s[_THEIR_SHOT] -= 1.0
    if aliens.sum() == 0.0:
        if ramping and s[_MOVE_EVERY] > _FASTEST_WAVE:
            s[_MOVE_EVERY] -= 1.0
        _wave(aliens)
    return reward, lost


@njit(cache=True, error_model="numpy")
def _march(s, aliens):  # type: ignore[no-untyped-def]
    """Move the aliens: sideways, or down and about if one of them is at the edge; return whether they have landed."""
    right = s[_DX] > 0.0
    if aliens[:, _BOTTOM if right else 0].sum() == 0.0:
        for y in range(SIZE):
            for k in range(_BOTTOM):
                x = _BOTTOM - k if right else k
                aliens[y, x] = aliens[y, x - 1 if right else x + 1]
            aliens[y, 0 if right else _BOTTOM] = 0.0
        return False
    s[_DX] = -s[_DX]
    landed = aliens[_BOTTOM].copy()
    for y in range(_BOTTOM, 0, -1):
        aliens[y] = aliens[y - 1]
    aliens[0] = landed  # as in the original, whose board is a ring; the game is over
    return landed.sum() > 0.0


@njit(cache=True, error_model="numpy")
def _shooter(aliens, cannon):  # type: ignore[no-untyped-def]
    """Return the lowest alien of the column that is nearest to the cannon, the left one of two."""
    for distance in range(SIZE):
        for x in (cannon - distance, cannon + distance):
            if 0 <= x < SIZE:
                for y in range(_BOTTOM, -1, -1):
                    if aliens[y, x] > 0.0:
                        return y, x
    return 0, 0  # not reached: there is always an alien


@njit(cache=True, error_model="numpy")
def _show(s, boards, obs):  # type: ignore[no-untyped-def]
    obs[:] = 0
    obs[_BOTTOM, int(s[_CANNON]), 0] = 1
    moving = 2 if s[_DX] < 0.0 else 3
    for y in range(SIZE):
        for x in range(SIZE):
            alien = boards[_ALIENS, y, x] > 0.0
            obs[y, x, 1] = alien
            obs[y, x, moving] = alien
            obs[y, x, 4] = boards[_UP, y, x] > 0.0
            obs[y, x, 5] = boards[_DOWN, y, x] > 0.0
