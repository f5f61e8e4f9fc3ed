"""What a board game is: facts, and compiled functions of one position.

A position is a row of int64: everything that play depends on is in it, and a copy of the row is a copy of the position.
Batches of games, search trees and replays are arrays of rows. All functions but ``render``, ``action_name`` and ``parse_action``
are compiled by numba with ``cache=True`` and may be called from other compiled code; they trust what they are given. Compiled
code that serves every game takes them as arguments of the types below: it is then compiled once, and cached, for all games.

    @njit([int64(LEGAL, PLAY, ROW)], cache=True)
    def count(legal, play, state): ...

A file in this folder that has ``make(**options) -> Game`` is a game; the first line of its docstring is what ``cumulant list
games`` prints.

Axes: W words of a row, A actions, C planes, H rows and w columns of the board, S symmetries.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numba import njit, types

from cumulant.errors import UsageError

ROW = types.int64[::1]
INITIAL = types.FunctionType(types.void(ROW))
LEGAL = types.FunctionType(types.void(ROW, types.uint8[::1]))
PLAY = types.FunctionType(types.void(ROW, types.int64))
OUTCOME = types.FunctionType(types.float64(ROW))
PLAYER = types.FunctionType(types.int64(ROW))
ENCODE = types.FunctionType(types.void(ROW, types.float32[:, :, ::1]))
KEY = types.FunctionType(types.uint64(ROW))
OWNERSHIP = types.FunctionType(types.void(ROW, types.float32[::1]))


class Address(types.WrapperAddressProtocol):
    """A compiled function by its address: taken in the place of the function, it makes a call begin sooner (9 us, not 25).

    Args:
        function: One of a game's functions.
        kind: Its type: ``LEGAL``, ``PLAY``, ...
    """

    def __init__(self, function: Any, kind: types.FunctionType) -> None:
        self._kind, self._function = kind.signature, function  # kept, or the code is thrown away
        function.compile(self._kind.args)
        made = function.get_compile_result(self._kind)
        self._address = made.library.get_pointer_to_function(made.fndesc.llvm_cfunc_wrapper_name)

    def __wrapper_address__(self) -> int:
        return self._address

    def signature(self) -> Any:
        """Return the types of its arguments and of what it returns, for numba."""
        return self._kind


@njit(cache=True)
def no_reward(state: np.ndarray) -> float:
    """Return what the last move brought where only the end counts: nothing."""
    return 0.0


@dataclass(frozen=True, eq=False)
class Game:
    """A game of two players with perfect information, as facts and functions of one position ``state [W]`` int64.

    A problem of one player is the same, with a ``player`` that is always 0; then what counts is usually the rewards on the way.

    Args:
        name: What the command line calls it.
        rows: H.
        columns: w.
        num_actions: A.
        num_planes: C.
        state_size: W.
        max_moves: No game has more moves.
        initial: ``initial(state)`` writes the first position.
        legal: ``legal(state, mask)`` writes uint8 ``mask [A]``: 1 where an action is legal; all 0 where the game has ended.
        play: ``play(state, action)`` plays a legal action, in place.
        outcome: ``outcome(state) -> float64``: NaN while the game goes on; then what it is worth to the player to move:
            1 won, 0 drawn, -1 lost.
        player: ``player(state) -> int64``: who is to move, 0 (who began) or 1.
        encode: ``encode(state, planes)`` writes float32 ``planes [C, H, w]``, as the player to move sees the position.
        key: ``key(state) -> uint64``: a hash of all that ``legal``, ``outcome`` and ``encode`` depend on.
        symmetries_points: ``[S, H * w]`` int64: ``planes.reshape(C, -1)[:, points[s]]`` is the position seen in symmetry s; row 0
            is the identity.
        symmetries_actions: ``[S, A]`` int64: ``policy[actions[s]]`` is the policy seen so.
        render: ``render(state, last_action=None) -> str``: the board for a terminal.
        action_name: ``action_name(action) -> str``: an action as people write it.
        parse_action: ``parse_action(text) -> int``, its inverse; raises UsageError at what is no action at all.
        ownership: ``ownership(state, out)`` writes float32 ``out [H * w]``: 1 where a point belongs to the player to move, -1 to
            the other, 0 to nobody. None where the game knows no such thing.
        options: What ``make`` was given, so that the same game can be made elsewhere.
        two_valued: Whether each plane of a position has at most one value besides 0; then many positions take little room.
        reward: ``reward(state) -> float64``: what the move that led here brought who made it, beside the outcome.
        discount: What a reward or an outcome is worth that comes a move later.
    """

    name: str
    rows: int
    columns: int
    num_actions: int
    num_planes: int
    state_size: int
    max_moves: int
    initial: Callable[[np.ndarray], None]
    legal: Callable[[np.ndarray, np.ndarray], None]
    play: Callable[[np.ndarray, int], None]
    outcome: Callable[[np.ndarray], float]
    player: Callable[[np.ndarray], int]
    encode: Callable[[np.ndarray, np.ndarray], None]
    key: Callable[[np.ndarray], np.uint64]
    symmetries_points: np.ndarray
    symmetries_actions: np.ndarray
    render: Callable[..., str]
    action_name: Callable[[int], str]
    parse_action: Callable[[str], int]
    ownership: Callable[[np.ndarray, np.ndarray], None] | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    two_valued: bool = True
    reward: Callable[[np.ndarray], float] = no_reward
    discount: float = 1.0

    @property
    def only_the_end_counts(self) -> bool:
        """Whether there are neither rewards nor a discount."""
        return self.reward is no_reward and self.discount == 1.0

    def start(self) -> np.ndarray:
        """Return the first position, ``[W]`` int64."""
        state = np.zeros(self.state_size, np.int64)
        self.initial(state)
        return state

    def legal_actions(self, state: np.ndarray) -> np.ndarray:
        """Return the legal actions, ascending, int64; none where the game has ended."""
        mask = np.zeros(self.num_actions, np.uint8)
        self.legal(state, mask)
        return np.flatnonzero(mask)

    def planes(self, state: np.ndarray) -> np.ndarray:
        """Return the position as the player to move sees it, ``[C, H, w]`` float32."""
        planes = np.zeros((self.num_planes, self.rows, self.columns), np.float32)
        self.encode(state, planes)
        return planes

    def position(self, moves: list[str]) -> np.ndarray:
        """Return the position after these moves from the first, ``[W]`` int64.

        Raises:
            UsageError: If one is no action or not legal there (message says which, and what would be).
        """
        state = self.start()
        for number, text in enumerate(moves, 1):
            action, legal = self.parse_action(text), self.legal_actions(state)
            if action not in legal:
                names = " ".join(self.action_name(each) for each in legal) or "nothing: the game has ended"
                raise UsageError(f"move {number}, '{text}', is not legal in {self.name} there; legal is {names}")
            self.play(state, action)
        return state


def turns(size: int) -> np.ndarray:
    """Return the eight symmetries of a square board, ``[8, size * size]`` int64: where each point is taken from.

    >>> turns(2).tolist()[:3]
    [[0, 1, 2, 3], [1, 3, 0, 2], [3, 2, 1, 0]]
    """
    board = np.arange(size * size).reshape(size, size)
    turned = [np.rot90(each, k) for each in (board, board.T) for k in range(4)]
    return np.stack([each.ravel() for each in turned]).astype(np.int64)


def mirrors(rows: int, columns: int) -> np.ndarray:
    """Return the identity and the mirror from left to right, ``[2, rows * columns]`` int64.

    >>> mirrors(1, 3).tolist()
    [[0, 1, 2], [2, 1, 0]]
    """
    board = np.arange(rows * columns).reshape(rows, columns)
    return np.stack([board.ravel(), board[:, ::-1].ravel()]).astype(np.int64)


def with_pass(points: np.ndarray) -> np.ndarray:
    """Return symmetries of actions from those of points ``[S, P]``: one more action, which stays the same, ``[S, P + 1]``.

    >>> with_pass(mirrors(1, 2)).tolist()
    [[0, 1, 2], [1, 0, 2]]
    """
    return np.pad(points, ((0, 0), (0, 1)), constant_values=points.shape[1])


def draw(signs: list[list[str]], marked: tuple[int, int] | None = None) -> list[str]:
    """Return a board as lines, one point in brackets.

    Args:
        signs: One character a point, ``[H][w]``.
        marked: Row and column of the point in brackets.

    >>> draw([["X", "."], [".", "O"]], (1, 0))
    [' X .', '(.)O']
    """
    lines = []
    for row, points in enumerate(signs):
        edges = [" "] * (len(points) + 1)
        if marked is not None and marked[0] == row:
            edges[marked[1]], edges[marked[1] + 1] = "(", ")"
        lines.append("".join(edge + sign for edge, sign in zip(edges, [*points, ""])).rstrip())
    return lines


def no_move(game: str, text: str, forms: str) -> UsageError:
    """Return the error for a text that is no action of a game.

    Args:
        game: Its name.
        text: What was given.
        forms: How actions are written.
    """
    return UsageError(f"'{text}' is no move of {game}: give {forms}")
