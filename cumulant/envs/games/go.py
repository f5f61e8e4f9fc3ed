"""Go on any square board: area scoring, no suicide, no position twice (positional superko); two passes end it.

Whoever has more stones and surrounded points wins. All stones that are still on the board count as alive (Tromp-Taylor), so a
game is played until the dead ones are gone. White is given ``komi`` points.
"""

from __future__ import annotations

import math
import re

import numpy as np
from numba import njit

from cumulant.envs.counter_rng import mix
from cumulant.envs.games.game import Game, draw, no_move, turns, with_pass
from cumulant.envs.games.go_board import (
    EMPTY,
    HASH,
    HEAD,
    KOMI2,
    LAST,
    PASSES,
    SIZE,
    TO_MOVE,
    columns_of,
    legal,
    outcome,
    ownership,
    play,
    point_of,
    row_of,
    start,
)
from cumulant.errors import ConfigError

LETTERS = "ABCDEFGHJKLMNOPQRST"
PLANES = (
    "own stones",
    "the other's stones",
    "chains with one liberty",
    "with two",
    "with three",
    "last move",
    "empty points where no stone may be put",
    "1 if the other has just passed",
    "komi for the player to move, over the size",
)


def make(size: int = 9, komi: float = 7.0, max_moves: int = 0) -> Game:
    """Return the game. Actions are the points, row by row from the top, written D4 (there is no column I), and pass.

    Args:
        size: Rows and columns, 2 to 19.
        komi: Points given to White; a half or a whole number.
        max_moves: The game ends, and is scored, after so many moves; 0 for twice the number of points.

    Raises:
        ConfigError: If an option is refused.

    >>> game = make(size=5)
    >>> print(game.render(game.position(["C3", "B3", "pass"]), game.parse_action("B3")))
       A B C D E
     5 . . . . .
     4 . . . . .
     3 .(O)X . .
     2 . . . . .
     1 . . . . .
    """
    if not isinstance(size, int) or not 2 <= size <= 19:
        raise ConfigError(f"go: size = {size}; boards are 2 to 19 points wide")
    if not isinstance(komi, int | float) or not math.isfinite(komi) or 2 * komi != int(2 * komi) or abs(komi) > 19 * 19:
        raise ConfigError(f"go: komi = {komi}; it must be a half or a whole number of points, at most {19 * 19}")
    if not isinstance(max_moves, int) or max_moves < 0:
        raise ConfigError(f"go: max_moves = {max_moves}; it must be a number of moves, or 0 for twice the points")
    longest = max_moves or 2 * size * size
    komi2 = int(2 * komi)
    at_bloom, at_seen, words = row_of(size, longest)
    points = turns(size)

    @njit(cache=True)
    def initial(state):  # type: ignore[no-untyped-def]
        start(state, size, komi2, longest, at_bloom, at_seen)

    def action_name(action: int) -> str:
        return "pass" if action == size * size else f"{LETTERS[action % size]}{size - action // size}"

    def parse_action(text: str) -> int:
        plain = text.strip().upper()
        if plain == "PASS":
            return size * size
        found = re.fullmatch(rf"([{LETTERS[:size]}])([1-9][0-9]?)", plain)
        if found and int(found[2]) <= size:
            return size * (size - int(found[2])) + LETTERS.index(found[1])
        raise no_move("go", text, f"a column and a row, A1 to {LETTERS[size - 1]}{size} without I, or pass")

    return Game(
        "go",
        rows=size,
        columns=size,
        num_actions=size * size + 1,
        num_planes=len(PLANES),
        state_size=words,
        max_moves=longest,
        initial=initial,
        legal=legal,
        play=play,
        outcome=outcome,
        player=_player,
        encode=_encode,
        key=_key,
        symmetries_points=points,
        symmetries_actions=with_pass(points),
        render=_render,
        action_name=action_name,
        parse_action=parse_action,
        ownership=ownership,
        options={"size": size, "komi": komi, "max_moves": max_moves},
    )


@njit(cache=True)
def _player(state):  # type: ignore[no-untyped-def]
    return state[TO_MOVE]


@njit(cache=True)
def _encode(state, planes):  # type: ignore[no-untyped-def]
    size, own = state[SIZE], state[TO_MOVE] + 1
    cells, columns = state.view(np.int16), columns_of(state)
    colour, chain, _, liberties = columns
    komi = state[KOMI2] / 2.0 if own == 2 else -state[KOMI2] / 2.0
    mask = np.empty(size * size + 1, np.uint8)
    legal(state, mask)
    for row in range(size):
        for column in range(size):
            action = row * size + column
            point = point_of(action, size)
            there = cells[colour + point]
            free = cells[liberties + cells[chain + point]] if there != EMPTY else 0
            planes[0, row, column] = there == own
            planes[1, row, column] = there == 3 - own
            for count in range(1, 4):
                planes[1 + count, row, column] = free == count
            planes[5, row, column] = action == state[LAST]
            planes[6, row, column] = there == EMPTY and not mask[action]
            planes[7, row, column] = state[PASSES] > 0
            planes[8, row, column] = komi / size


@njit(cache=True)
def _key(state):  # type: ignore[no-untyped-def]
    size, cells, colour = state[SIZE], state.view(np.int16), columns_of(state)[0]
    facts = (state[LAST] + 1) * 8 + min(state[PASSES], 2) * 2 + state[TO_MOVE]
    found = mix(np.uint64(state[HASH]) + mix(np.uint64(facts)))
    mask = np.empty(size * size + 1, np.uint8)
    legal(state, mask)
    if not mask[size * size]:
        return mix(found)  # it has ended
    for action in range(size * size):  # what has been depends on how one came here
        if not mask[action] and cells[colour + point_of(action, size)] == EMPTY:
            found = mix(found + np.uint64(action + 1))
    return found


def _render(state: np.ndarray, last_action: int | None = None) -> str:
    size = int(state[SIZE])
    colours = state.view(np.int16)[4 * HEAD :][: (size + 2) * (size + 1)].reshape(size + 2, size + 1)
    signs = [[".XO"[colour] for colour in row] for row in colours[1:-1, 1:]]
    marked = None if last_action is None or last_action == size * size else divmod(last_action, size)
    head = "  " + "".join(f" {letter}" for letter in LETTERS[:size])
    return "\n".join([head, *(f"{size - row:2d}{line}" for row, line in enumerate(draw(signs, marked)))])
