"""Games that a trained player leaves for its report: drawn as boards, and what its search makes of a position.

Axes: B positions, A actions.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from cumulant.engine.matches import GameRecord, play_games
from cumulant.engine.players import Player, make_player
from cumulant.envs.games.game import Game
from cumulant.run.checkpoint import write_atomic

FILE = "games.json"
_BOARDS, _MOVES = 4, 10


def write_sample_games(player: Player, game: Game, directory: Path, opponent: str = "mcts:200", seed: int = 0) -> None:
    """Play a game against oneself and two against a baseline, and write ``games.json`` for the report.

    Args:
        player: A player that can analyse.
        game: The game.
        directory: Of the run.
        opponent: The baseline.
        seed: Of the baseline.

    Raises:
        StorageError: If the disk refuses.
    """
    other = make_player(opponent, game, seed=seed)
    own = play_games(game, (player, player), [()], [(0, 1)])
    against = play_games(game, (player, other), [(), ()], [(0, 1), (1, 0)])
    half = own[0].moves[: len(own[0].moves) // 2]
    found = {
        "game": game.name,
        "games": [_drawn(game, record) for record in (*own, *against)],
        "views": [_view(game, player, moves) for moves in ((), half)],
    }
    write_atomic(directory / FILE, (json.dumps(found) + "\n").encode())


def _drawn(game: Game, record: GameRecord) -> dict[str, Any]:
    """Return a game with boards from its beginning to its end."""
    shown = sorted({round(x) for x in np.linspace(1, len(record.moves), _BOARDS)})
    boards = [{"after": count, "board": _board(game, record.moves[:count])} for count in shown]
    return record.as_json(game) | {"boards": boards}


def _board(game: Game, moves: tuple[int, ...]) -> str:
    state = game.start()
    for action in moves:
        game.play(state, action)
    return game.render(state, moves[-1] if moves else None)


def _view(game: Game, player: Player, moves: tuple[int, ...]) -> dict[str, Any]:
    """Return what a player thinks of a position, its most likely moves first."""
    assert player.analyse is not None
    state = game.start()
    for action in moves:
        game.play(state, action)
    found = player.analyse(state[None], [moves])
    best = [
        int(action) for action in np.argsort(-found.policy[0], kind="stable") if action in game.legal_actions(state)
    ]
    rows = [
        {
            "move": game.action_name(action),
            "policy": float(found.policy[0, action]),
            "visits": None if found.visits is None else int(found.visits[0, action]),
        }
        for action in best[:_MOVES]
    ]
    return {"after": len(moves), "board": _board(game, moves), "value": float(found.value[0]), "moves": rows}
