"""Let players play games: many in lock-step, from openings that both sides get, each with a result that says why.

Axes: G games, B positions of one call, W words of a row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cumulant.data.game_records import GAVE_UP, PLAYED_OUT
from cumulant.engine.players import RESIGNED, Player, written
from cumulant.envs.games.game import Game
from cumulant.errors import ConfigError, PlayerFault


@dataclass(frozen=True)
class GameRecord:
    """One game.

    Args:
        players: Names of who began and of the other.
        moves: All actions, those of the opening first.
        opening: How many of them nobody chose.
        points: Of who began: 1 won, 0.5 drawn, 0 lost.
        reason: "played out", "resigned", or what else the loser did: an illegal move, a crash, a time-out.
    """

    players: tuple[str, str]
    moves: tuple[int, ...]
    opening: int
    points: float
    reason: str

    def as_json(self, game: Game) -> dict[str, Any]:
        """Return plain JSON values, with moves as people write them."""
        return {
            "game": game.name,
            "game_options": dict(game.options),
            "first": self.players[0],
            "second": self.players[1],
            "points": self.points,
            "reason": self.reason,
            "opening": self.opening,
            "moves": [game.action_name(action) for action in self.moves],
        }


def openings(game: Game, count: int, length: int, rng: np.random.Generator) -> list[tuple[int, ...]]:
    """Draw openings: random legal moves after which nobody has won or can win at once, all different while there are others.

    Raises:
        ConfigError: If hardly any game goes on after so many random moves.
    """
    if not 0 <= length < game.max_moves:
        raise ConfigError(
            f"opening moves = {length}: it must be from 0 to {game.max_moves - 1}, for {game.name} then ends"
        )
    found: list[tuple[int, ...]] = []
    seen: set[bytes] = set()
    tries = 0
    while len(found) < count:
        tries += 1
        state, moves = game.start(), list[int]()
        while len(moves) < length and np.isnan(game.outcome(state)):
            moves.append(int(rng.choice(game.legal_actions(state))))
            game.play(state, moves[-1])
        if len(moves) == length and _is_open(game, state) and (state.tobytes() not in seen or tries > 20 * count):
            seen.add(state.tobytes())
            found.append(tuple(moves))
        if tries > 200 * count + 200:
            raise ConfigError(
                f"opening moves = {length}: after so many random moves {game.name} has nearly always ended"
            )
    return found


def _is_open(game: Game, state: np.ndarray) -> bool:
    if not np.isnan(game.outcome(state)):
        return False
    for action in game.legal_actions(state):
        after = state.copy()
        game.play(after, int(action))
        result = game.outcome(after)
        if not np.isnan(result) and result * (1 if game.player(after) == game.player(state) else -1) > 0:
            return False
    return True


class _Table:
    """Games under way: who sits where, where each game stands, and how it ended."""

    def __init__(self, game: Game, seats: Sequence[tuple[int, int]], starts: Sequence[Sequence[int]]) -> None:
        self.game, self.seats = game, seats
        self.states = np.stack([game.start() for _ in starts])
        self.moves: list[list[int]] = [[] for _ in starts]
        self.ended: list[tuple[float, str] | None] = [None] * len(starts)
        for place, start in enumerate(starts):
            for action in start:
                self.play(place, action)

    def play(self, place: int, action: int) -> None:
        state = self.states[place]
        self.game.play(state, action)
        self.moves[place].append(int(action))
        result = float(self.game.outcome(state))
        if not np.isnan(result):
            first = result if self.game.player(state) == 0 else -result
            self.ended[place] = ((1.0 + first) / 2.0, PLAYED_OUT)

    def fail(self, place: int, reason: str) -> None:
        """End a game: who is to move loses."""
        loser = self.game.player(self.states[place])
        self.ended[place] = (float(loser), reason)

    def waiting_for(self, player: int) -> list[int]:
        """Return the games in which a player is to move."""
        return [
            place
            for place, result in enumerate(self.ended)
            if result is None and self.seats[place][self.game.player(self.states[place])] == player
        ]


def play_games(
    game: Game, players: tuple[Player, Player], starts: Sequence[Sequence[int]], seats: Sequence[tuple[int, int]]
) -> list[GameRecord]:
    """Play games between two players and return their records, in the order of ``starts``.

    A player that crashes, hangs or makes an illegal move loses that game, and its record says so; the others go on.

    Args:
        game: The game.
        players: Both of them.
        starts: The opening of every game, ``[G]`` tuples of actions.
        seats: Who begins every game and who comes second, ``(0, 1)`` or ``(1, 0)``.
    """
    at_once = min(player.at_once for player in players)
    records = []
    for first in range(0, len(starts), at_once):
        some = slice(first, first + at_once)
        table = _Table(game, seats[some], starts[some])
        while any(result is None for result in table.ended):
            for index, player in enumerate(players):
                waiting = table.waiting_for(index)
                if waiting:
                    _move(table, waiting, player)
        for seat, moves, start, result in zip(seats[some], table.moves, starts[some], table.ended):
            assert result is not None
            names = (players[seat[0]].name, players[seat[1]].name)
            records.append(GameRecord(names, tuple(moves), len(start), *result))
    return records


def play_both_sides(
    game: Game, one: Player, other: Player, starts: Sequence[Sequence[int]]
) -> tuple[list[GameRecord], np.ndarray]:
    """Let two players play every opening twice, the second time with sides swapped.

    Returns:
        The games, in pairs, and what ``one`` scored in each: 1 won, 0.5 drawn, 0 lost.
    """
    both = [start for start in starts for _ in (0, 1)]
    records = play_games(game, (one, other), both, [(0, 1), (1, 0)] * len(starts))
    return records, np.array([record.points if k % 2 == 0 else 1.0 - record.points for k, record in enumerate(records)])


def _move(table: _Table, waiting: list[int], player: Player) -> None:
    """Ask for a move in every one of these games and play it."""
    try:
        actions = np.asarray(player.choose(table.states[waiting].copy(), [tuple(table.moves[k]) for k in waiting]))
        if actions.shape != (len(waiting),) or actions.dtype.kind not in "iu":
            raise PlayerFault(f"gave {actions.dtype} {list(actions.shape)} instead of {len(waiting)} actions")
    except Exception as problem:
        if len(waiting) > 1:  # whose game was it?
            for place in waiting:
                _move(table, [place], player)
            return
        fault = str(problem) if isinstance(problem, PlayerFault) else f"crashed: {type(problem).__name__}: {problem}"
        table.fail(waiting[0], f"{player.name} {' '.join(fault.split())}")
        return
    for place, action in zip(waiting, actions):
        legal = table.game.legal_actions(table.states[place])
        if action == RESIGNED:
            table.fail(place, GAVE_UP)
        elif action in legal:
            table.play(place, int(action))
        else:
            table.fail(place, f"{player.name} made an illegal move: {written(table.game, int(action))}")
