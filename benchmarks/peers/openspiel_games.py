"""Random games by OpenSpiel's rules, as digests that CI compares with ours.

Runs in the peers' environment (open_spiel); nothing of ours is imported. Of the legal actions, in ascending order as ours counts
them, number ``mix(move) % n`` is played. Into the digest go, for every position, the legal actions, and at the end what the game
was worth to who began. OpenSpiel ends Go with a draw where a position comes again; ours forbids that move, so here it is no
legal one.

    .peers_games/bin/python benchmarks/peers/openspiel_games.py tests/envs/games/openspiel.json      a million moves, one minute
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyspiel

MASK = 2**64 - 1
GAMES = {
    "tictactoe": ("tic_tac_toe", 100_000),
    "connect_four": ("connect_four", 300_000),
    "othello": ("othello", 200_000),
    "go": ("go(board_size=9,komi=7.5)", 300_000),
    "go 5": ("go(board_size=5,komi=0.5)", 90_000),
    "go 19": ("go(board_size=19,komi=7.5)", 10_000),
}
CHECKPOINTS = 20  # digests of a game


def mix(x: int) -> int:
    """Scramble 64 bits (splitmix64)."""
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & MASK
    return x ^ (x >> 31)


def from_below(size: int) -> Callable[[int], int]:
    """Return the map between OpenSpiel's points of Go, counted from the lower row, and ours, from the upper; its own inverse."""

    def flip(action: int) -> int:
        return action if action == size * size else (size - 1 - action // size) * size + action % size

    return flip


def legal_of(state: Any, size: int, flip: Callable[[int], int]) -> list[int]:
    """Return the legal actions as ours counts them."""
    if state.is_terminal():
        return []
    actions = state.legal_actions()
    if size and state.move_number() > 2:
        last = state.max_game_length() if hasattr(state, "max_game_length") else 2 * size * size
        if state.move_number() + 1 < last:  # else every move ends the game
            actions = [a for a in actions if a == size * size or not state.child(a).is_terminal()]
    return sorted(flip(action) for action in actions)


def digests(game: str, moves: int, checkpoints: int = CHECKPOINTS) -> list[str]:
    """Return the digest after each share of so many moves of random games."""
    loaded = pyspiel.load_game(GAMES[game][0])
    size = int(loaded.get_parameters()["board_size"]) if game.startswith("go") else 0
    flip = from_below(size) if size else int
    words = -(-loaded.num_distinct_actions() // 64)
    state, found, digest = loaded.new_initial_state(), [], 0
    for move in range(1, moves + 1):
        legal = legal_of(state, size, flip)
        bits = sum(1 << action for action in legal)
        for word in range(words):
            digest = mix(digest ^ (bits >> 64 * word) & MASK)
        state.apply_action(flip(legal[(mix(move) >> 33) % len(legal)]))
        if state.is_terminal():
            digest = mix(digest ^ int(state.returns()[0] + 2))
            state = loaded.new_initial_state()
        if move % (moves // checkpoints) == 0:
            found.append(f"{digest:016x}")
    return found


if __name__ == "__main__":
    written = {name: {"moves": moves, "digests": digests(name, moves)} for name, (_, moves) in GAMES.items()}
    Path(sys.argv[1]).write_text(json.dumps(written, indent=1) + "\n", encoding="utf-8")
