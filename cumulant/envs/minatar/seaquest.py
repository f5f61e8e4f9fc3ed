"""Seaquest on a small board: shoot fish and submarines, rescue divers, come up for air.

State columns: the submarine's own (see the names below), then five tables of what swims: own shots, enemy shots, fish, enemy
submarines, divers. A row of a table is x, y, direction, frames to the next move, frames to the next shot. Rows keep the order
in which they came, because the first of two fish in one cell is the one that is shot.

Channels: submarine's front, its back, own shot, trail (behind fish, enemy submarines and divers), enemy shot, fish, enemy
submarine, oxygen (bottom row, from the left), divers on board (bottom row, from the right), diver.
"""

from __future__ import annotations

from numba import njit

from cumulant.envs.counter_rng import uniform
from cumulant.envs.minatar.board import DOWN, FIRE, LEFT, RAMPING, RIGHT, SIZE, UP, below, pressed

CHANNELS = 10
_LAST, _X, _Y, _FACING, _OXYGEN, _ABOARD, _UP_FOR_AIR, _COOLDOWN = range(8)
_ENEMY, _ENEMY_EVERY, _DIVER, _MOVE_EVERY, _RAMPS, _COUNTS = range(8, 14)
_SHOTS, _THEIR_SHOTS, _FISH, _SUBS, _DIVERS = range(5)
_TABLES = _COUNTS + 5
_COLUMNS = 5
_AT, _ROW, _DX, _MOVE, _SHOOT = range(_COLUMNS)
# An enemy crosses the board in at most 60 frames while they come every 14 or more, later in 30 while they come every frame;
# a shot crosses it in 10 frames, and a submarine shoots every 11. So no table is ever full.
_ROOM = (4, 40, 40, 40, 4)
_START = (0, 4, 44, 84, 124)
STATE_SIZE = _TABLES + 128 * _COLUMNS

_MAX_OXYGEN, _MAX_ABOARD = 200.0, 6.0
_SHOT_EVERY, _THEIR_SHOT_EVERY = 5.0, 10.0
_DIVER_EVERY, _DIVER_MOVES = 30.0, 5.0
_SUB_SHARE = 1.0 / 3.0
_DEEPEST = SIZE - 2.0


@njit(cache=True, error_model="numpy")
def reset(mask, key, params, state, obs):  # type: ignore[no-untyped-def]
    """Start episodes: the submarine at the surface with a full tank, the sea empty."""
    for i in range(mask.shape[0]):
        if mask[i]:
            s = state[i]
            s[:] = 0.0
            s[_X], s[_FACING] = 5.0, -1.0
            s[_OXYGEN], s[_UP_FOR_AIR] = _MAX_OXYGEN, 1.0
            s[_ENEMY], s[_ENEMY_EVERY] = 20.0, 20.0
            s[_DIVER], s[_MOVE_EVERY] = _DIVER_EVERY, 5.0
            _show(s, obs[i])


@njit(cache=True, error_model="numpy")
def step(key, clock, action, params, state, obs, reward, terminated, outcomes):  # type: ignore[no-untyped-def]
    """Advance every game by one frame."""
    for i in range(action.shape[0]):
        s = state[i]
        s[_LAST] = pressed(key[i], clock[i], action[i], params, s[_LAST])
        if s[_ENEMY] == 0.0:
            _enemy_arrives(key[i], clock[i], s)
            s[_ENEMY] = s[_ENEMY_EVERY]
        if s[_DIVER] == 0.0:
            from_left = uniform(key[i], clock[i], 4) < 0.5
            _arrive(s, _DIVERS, from_left, 1 + below(key[i], clock[i], 5, SIZE - 2), _DIVER_MOVES)
            s[_DIVER] = _DIVER_EVERY
        _steer(s)
        reward[i] = _own_shots(s)
        _divers(s)
        by_subs, met_sub = _enemies(s, _SUBS)
        shot_down = _their_shots(s)
        by_fish, met_fish = _enemies(s, _FISH)
        gained, out_of_air = _breathe(s, params[RAMPING] > 0.0)
        reward[i] += by_subs + by_fish + gained
        terminated[i] = met_sub or shot_down or met_fish or out_of_air
        _show(s, obs[i])


@njit(cache=True, error_model="numpy")
def _table(s, which):  # type: ignore[no-untyped-def]
    """Return a table with all its room, ``[room, columns]``."""
    first = _TABLES + _START[which] * _COLUMNS
    return s[first : first + _ROOM[which] * _COLUMNS].reshape(_ROOM[which], _COLUMNS)


@njit(cache=True, error_model="numpy")
def _append(s, which, x, y, dx, move, shoot):  # type: ignore[no-untyped-def]
    table, count = _table(s, which), int(s[_COUNTS + which])
    if count < table.shape[0]:
        row = table[count]
        row[_AT], row[_ROW], row[_DX], row[_MOVE], row[_SHOOT] = x, y, dx, move, shoot
        s[_COUNTS + which] = count + 1


@njit(cache=True, error_model="numpy")
def _remove(s, which, k):  # type: ignore[no-untyped-def]
    table, count = _table(s, which), int(s[_COUNTS + which])
    for later in range(k + 1, count):
        table[later - 1] = table[later]
    s[_COUNTS + which] = count - 1


@njit(cache=True, error_model="numpy")
def _arrive(s, which, from_left, y, move):  # type: ignore[no-untyped-def]
    _append(s, which, 0.0 if from_left else SIZE - 1.0, y, 1.0 if from_left else -1.0, move, _THEIR_SHOT_EVERY)


@njit(cache=True, error_model="numpy")
def _enemy_arrives(key, clock, s):  # type: ignore[no-untyped-def]
    """Let a fish or an enemy submarine come in, unless one swims the other way in that row."""
    from_left = uniform(key, clock, 1) < 0.5
    which = _SUBS if uniform(key, clock, 2) < _SUB_SHARE else _FISH
    y = 1 + below(key, clock, 3, SIZE - 2)
    for other in (_FISH, _SUBS):
        table = _table(s, other)
        for k in range(int(s[_COUNTS + other])):
            if table[k, _ROW] == y and (table[k, _DX] > 0.0) != from_left:
                return
    _arrive(s, which, from_left, y, s[_MOVE_EVERY])


@njit(cache=True, error_model="numpy")
def _steer(s):  # type: ignore[no-untyped-def]
    last = s[_LAST]
    if last == FIRE:
        if s[_COOLDOWN] == 0.0:
            _append(s, _SHOTS, s[_X], s[_Y], s[_FACING], 0.0, 0.0)
            s[_COOLDOWN] = _SHOT_EVERY
    elif last == LEFT:
        s[_X], s[_FACING] = max(s[_X] - 1.0, 0.0), -1.0
    elif last == RIGHT:
        s[_X], s[_FACING] = min(s[_X] + 1.0, SIZE - 1.0), 1.0
    elif last == UP:
        s[_Y] = max(s[_Y] - 1.0, 0.0)
    elif last == DOWN:
        s[_Y] = min(s[_Y] + 1.0, _DEEPEST)


@njit(cache=True, error_model="numpy")
def _outside(x):  # type: ignore[no-untyped-def]
    return x < 0.0 or x >= SIZE


@njit(cache=True, error_model="numpy")
def _meets(s, row):  # type: ignore[no-untyped-def]
    return row[_AT] == s[_X] and row[_ROW] == s[_Y]


@njit(cache=True, error_model="numpy")
def _own_shots(s):  # type: ignore[no-untyped-def]
    """Move the submarine's shots and return how many enemies they struck."""
    struck = 0.0
    shots = _table(s, _SHOTS)
    for k in range(int(s[_COUNTS + _SHOTS]) - 1, -1, -1):
        shot = shots[k]
        shot[_AT] += shot[_DX]
        if _outside(shot[_AT]):
            _remove(s, _SHOTS, k)
        elif _strikes(s, _FISH, shot[_AT], shot[_ROW]) or _strikes(s, _SUBS, shot[_AT], shot[_ROW]):
            _remove(s, _SHOTS, k)
            struck += 1.0
    return struck


@njit(cache=True, error_model="numpy")
def _strikes(s, which, x, y):  # type: ignore[no-untyped-def]
    """Remove the first of a table that is in this cell; return whether there was one."""
    table = _table(s, which)
    for k in range(int(s[_COUNTS + which])):
        if table[k, _AT] == x and table[k, _ROW] == y:
            _remove(s, which, k)
            return True
    return False


@njit(cache=True, error_model="numpy")
def _divers(s):  # type: ignore[no-untyped-def]
    """Take divers aboard that the submarine meets before or after their move."""
    divers = _table(s, _DIVERS)
    for k in range(int(s[_COUNTS + _DIVERS]) - 1, -1, -1):
        diver = divers[k]
        rescued = s[_ABOARD] < _MAX_ABOARD and _meets(s, diver)
        if not rescued:
            if diver[_MOVE] == 0.0:
                diver[_MOVE] = _DIVER_MOVES
                diver[_AT] += diver[_DX]
                if _outside(diver[_AT]):
                    _remove(s, _DIVERS, k)
                else:
                    rescued = s[_ABOARD] < _MAX_ABOARD and _meets(s, diver)
            else:
                diver[_MOVE] -= 1.0
        if rescued:
            s[_ABOARD] += 1.0
            _remove(s, _DIVERS, k)


@njit(cache=True, error_model="numpy")
def _enemies(s, which):  # type: ignore[no-untyped-def]
    """Move the fish or the enemy submarines, let the latter shoot.

    Return how many swam into a shot and whether one met the submarine.
    """
    struck, lost = 0.0, False
    table = _table(s, which)
    for k in range(int(s[_COUNTS + which]) - 1, -1, -1):
        row = table[k]
        lost |= _meets(s, row)
        x, y, dx = row[_AT], row[_ROW], row[_DX]
        gone = False
        if row[_MOVE] == 0.0:
            row[_MOVE] = s[_MOVE_EVERY]
            x += dx
            row[_AT] = x
            gone = _outside(x)
            if not gone:
                lost |= _meets(s, row)
                if _strikes(s, _SHOTS, x, y):
                    struck += 1.0
                    gone = True
        else:
            row[_MOVE] -= 1.0
        if which == _SUBS:
            if row[_SHOOT] == 0.0:
                row[_SHOOT] = _THEIR_SHOT_EVERY
                _append(s, _THEIR_SHOTS, x, y, dx, 0.0, 0.0)
            else:
                row[_SHOOT] -= 1.0
        if gone:
            _remove(s, which, k)
    return struck, lost


@njit(cache=True, error_model="numpy")
def _their_shots(s):  # type: ignore[no-untyped-def]
    """Move the enemies' shots; return whether one met the submarine before or after its move."""
    lost = False
    shots = _table(s, _THEIR_SHOTS)
    for k in range(int(s[_COUNTS + _THEIR_SHOTS]) - 1, -1, -1):
        shot = shots[k]
        lost |= _meets(s, shot)
        shot[_AT] += shot[_DX]
        if _outside(shot[_AT]):
            _remove(s, _THEIR_SHOTS, k)
        else:
            lost |= _meets(s, shot)
    return lost


@njit(cache=True, error_model="numpy")
def _breathe(s, ramping):  # type: ignore[no-untyped-def]
    """Run the clocks, use or fill the tank; return the reward of surfacing and whether the game is over."""
    s[_ENEMY] = max(s[_ENEMY] - 1.0, 0.0)
    s[_DIVER] = max(s[_DIVER] - 1.0, 0.0)
    s[_COOLDOWN] = max(s[_COOLDOWN] - 1.0, 0.0)
    reward = 0.0
    if s[_Y] > 0.0:
        s[_OXYGEN] -= 1.0
        s[_UP_FOR_AIR] = 0.0
        return 0.0, s[_OXYGEN] < 0.0
    if s[_UP_FOR_AIR] == 0.0:
        if s[_ABOARD] == 0.0:
            return 0.0, True
        s[_UP_FOR_AIR] = 1.0
        if s[_ABOARD] == _MAX_ABOARD:
            s[_ABOARD] = 0.0
            reward = s[_OXYGEN] * SIZE // _MAX_OXYGEN
        s[_ABOARD] -= (
            1.0  # also after six, which leaves -1: the original does so, and it lets the next surfacing go free
        )
        s[_OXYGEN] = _MAX_OXYGEN
        if ramping and (s[_ENEMY_EVERY] > 1.0 or s[_MOVE_EVERY] > 2.0):
            if s[_MOVE_EVERY] > 2.0 and int(s[_RAMPS]) % 2 == 1:
                s[_MOVE_EVERY] -= 1.0
            s[_ENEMY_EVERY] = max(s[_ENEMY_EVERY] - 1.0, 1.0)
            s[_RAMPS] += 1.0
    return reward, False


@njit(cache=True, error_model="numpy")
def _show(s, obs):  # type: ignore[no-untyped-def]
    obs[:] = 0
    y, x, back = int(s[_Y]), int(s[_X]), int(s[_X] - s[_FACING])
    obs[y, x, 0] = 1
    obs[y, back, 1] = 1  # always on the board: the submarine faces the way it last moved
    for k in range(int(s[_OXYGEN] * SIZE // _MAX_OXYGEN)):
        obs[SIZE - 1, k, 7] = 1
    for k in range(int(s[_ABOARD])):
        obs[SIZE - 1, SIZE - 2 - k, 8] = 1
    _show_table(s, _SHOTS, 2, False, obs)
    _show_table(s, _THEIR_SHOTS, 4, False, obs)
    _show_table(s, _FISH, 5, True, obs)
    _show_table(s, _SUBS, 6, True, obs)
    _show_table(s, _DIVERS, 9, True, obs)


@njit(cache=True, error_model="numpy")
def _show_table(s, which, channel, trail, obs):  # type: ignore[no-untyped-def]
    table = _table(s, which)
    for k in range(int(s[_COUNTS + which])):
        x, y = int(table[k, _AT]), int(table[k, _ROW])
        behind = x - int(table[k, _DX])
        if 0 <= x < SIZE:
            obs[y, x, channel] = 1
        if trail and 0 <= behind < SIZE:
            obs[y, behind, 3] = 1
