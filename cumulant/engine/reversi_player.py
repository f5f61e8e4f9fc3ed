"""The alpha-beta search of rust-reversi as a player of Othello: an opponent of others, at fixed depths.

Axes: B positions.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cumulant.engine.players import Moves, Player
from cumulant.envs.games.game import Game
from cumulant.errors import MissingPackage, PlayerFault, UsageError

# Worth of a disc on each point, for its evaluation: corners are never lost, the points beside them give them away.
_QUARTER = [[100, -20, 10, 5], [-20, -50, -2, -2], [10, -2, 1, 1], [5, -2, 1, 0]]
_WON = 10_000


def reversi_player(game: Game, depth: int) -> Player:
    """Return rust-reversi's search at a fixed depth, with a worth for every point of the board; it is deterministic.

    Args:
        game: Othello on 8 x 8 points.
        depth: Moves that it looks ahead.

    Raises:
        UsageError: If it is another game or board.
        MissingPackage: If rust-reversi is not installed.
    """
    if game.name != "othello" or game.rows != 8:
        raise UsageError(f"rust_reversi plays othello on 8 x 8 points, not {game.name} on {game.rows} x {game.columns}")
    try:
        import rust_reversi
    except ImportError as problem:
        raise MissingPackage("the player rust_reversi needs its package: pip install 'cumulant[games]'") from problem
    half = [row + row[::-1] for row in _QUARTER]
    search = rust_reversi.AlphaBetaSearch(rust_reversi.MatrixEvaluator(half + half[::-1]), depth, _WON)
    skip = 64

    def choose(states: np.ndarray, moves: Sequence[Moves]) -> np.ndarray:
        actions = np.empty(len(states), np.int64)
        for place, played in enumerate(moves):
            board = rust_reversi.Board()
            for action in played:
                if action != skip and not board.is_legal_move(action):
                    raise PlayerFault(f"does not take {game.action_name(action)} for a legal move")
                board.do_pass() if action == skip else board.do_move(action)
            actions[place] = skip if board.is_pass() else search.get_move(board)
        return actions

    return Player(f"rust_reversi:{depth}", choose)
