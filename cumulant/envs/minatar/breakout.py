"""Breakout on a small board: a ball, a paddle, three rows of bricks.

State columns: last key, paddle, ball x and y, its direction (dx, dy), where it was (x, y), whether its last move struck a
brick, then 30 columns with the bricks of rows 1 to 3.

Channels: paddle, ball, trail (where the ball was), brick.
"""

from __future__ import annotations

from numba import njit

from cumulant.envs.minatar.board import LEFT, RIGHT, SIZE, below, pressed

CHANNELS = 4
_LAST, _PADDLE, _X, _Y, _DX, _DY, _OLD_X, _OLD_Y, _STRUCK, _BRICKS = range(10)
_ROWS = 3
STATE_SIZE = _BRICKS + _ROWS * SIZE
_BOTTOM = SIZE - 1


@njit(cache=True, error_model="numpy")
def reset(mask, key, params, state, obs):  # type: ignore[no-untyped-def]
    """Start episodes: the ball falls inwards from the left or the right wall."""
    for i in range(mask.shape[0]):
        if mask[i]:
            s = state[i]
            from_right = below(key[i], -1, 1, 2) == 1
            s[_LAST], s[_PADDLE], s[_STRUCK] = 0.0, 4.0, 0.0
            s[_X], s[_Y] = (_BOTTOM if from_right else 0), _ROWS
            s[_DX], s[_DY] = (-1.0 if from_right else 1.0), 1.0
            s[_OLD_X], s[_OLD_Y] = s[_X], s[_Y]
            s[_BRICKS:] = 1.0
            _show(s, obs[i])


@njit(cache=True, error_model="numpy")
def step(key, clock, action, params, state, obs, reward, terminated, outcomes):  # type: ignore[no-untyped-def]
    """Advance every game by one frame."""
    for i in range(action.shape[0]):
        s = state[i]
        s[_LAST] = pressed(key[i], clock[i], action[i], params, s[_LAST])
        reward[i], terminated[i] = _frame(s)
        _show(s, obs[i])


@njit(cache=True, error_model="numpy")
def _frame(s):  # type: ignore[no-untyped-def]
    if s[_Y] == _BOTTOM:  # lost already: whoever goes on without a restart must not leave the board
        return 0.0, True
    if s[_LAST] == LEFT:
        s[_PADDLE] = max(s[_PADDLE] - 1.0, 0.0)
    elif s[_LAST] == RIGHT:
        s[_PADDLE] = min(s[_PADDLE] + 1.0, float(_BOTTOM))
    old_x, old_y = int(s[_X]), int(s[_Y])
    s[_OLD_X], s[_OLD_Y] = old_x, old_y
    x, y = old_x + int(s[_DX]), old_y + int(s[_DY])
    if x < 0 or x > _BOTTOM:
        x = old_x
        s[_DX] = -s[_DX]
    reward, lost, struck = 0.0, False, False
    brick = _BRICKS + (y - 1) * SIZE + x
    if y < 0:
        y = 0
        s[_DY] = -s[_DY]
    elif 1 <= y <= _ROWS and s[brick] > 0.0:
        # A ball that struck a brick a moment ago flies past the next one; it has to leave the bricks first.
        struck = True
        if s[_STRUCK] == 0.0:
            reward, s[_STRUCK] = 1.0, 1.0
            s[brick] = 0.0
            y = old_y
            s[_DY] = -s[_DY]
    elif y == _BOTTOM:
        if s[_BRICKS:].sum() == 0.0:
            s[_BRICKS:] = 1.0
        if old_x == s[_PADDLE]:
            s[_DY] = -s[_DY]
            y = old_y
        elif x == s[_PADDLE]:  # the edge of the paddle sends the ball back where it came from
            s[_DX], s[_DY] = -s[_DX], -s[_DY]
            y = old_y
        else:
            lost = True
    if not struck:
        s[_STRUCK] = 0.0
    s[_X], s[_Y] = x, y
    return reward, lost


@njit(cache=True, error_model="numpy")
def _show(s, obs):  # type: ignore[no-untyped-def]
    obs[:] = 0
    obs[_BOTTOM, int(s[_PADDLE]), 0] = 1
    obs[int(s[_Y]), int(s[_X]), 1] = 1
    obs[int(s[_OLD_Y]), int(s[_OLD_X]), 2] = 1
    for row in range(_ROWS):
        for x in range(SIZE):
            obs[1 + row, x, 3] = s[_BRICKS + row * SIZE + x] > 0.0
