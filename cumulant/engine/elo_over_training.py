"""Elo as training goes on: a network plays the two that were measured before it.

Axes: P networks that were measured, B positions.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from cumulant.data.game_records import PLAYED_OUT
from cumulant.engine.board_policy import NetEvaluator
from cumulant.engine.matches import openings, play_both_sides
from cumulant.engine.players import Moves, Player
from cumulant.engine.search import Search, SearchConfig
from cumulant.envs.games.game import Game
from cumulant.errors import PlayerFault
from cumulant.nn.board import BoardNet
from cumulant.ratings import elo

SIMULATIONS = 16  # of a move: it is the network that is compared
_REMEMBERED = 2
_ENTRIES = 1 << 16


class EloOverTraining:
    """A ladder of networks, each of which has played those before it.

    Args:
        net: The network, as it is when it is measured.
        game: The game.
        search: How it searches; without noise, and with ``SIMULATIONS`` at most.
        games: Of each match, rounded up to an even number: both sides of each opening.
        precision: See ``nn.board.for_inference``.
    """

    def __init__(self, net: BoardNet, game: Game, search: SearchConfig, games: int, precision: str = "auto") -> None:
        self.net, self.game, self.games, self.precision = net, game, games, precision
        self.search = replace(search, simulations=min(search.simulations, SIMULATIONS), leaves=1)
        self._before: list[dict[str, torch.Tensor]] = []  # weights, newest last
        self._points, self._played = np.zeros((0, 0)), np.zeros((0, 0))

    def update(self) -> float:
        """Let the network play, and return its Elo: 0 is the first that was measured."""
        number = len(self._points)
        self._points, self._played = (np.pad(table, (0, 1)) for table in (self._points, self._played))
        own = self._player(self.net)
        for back, weights in enumerate(reversed(self._before), 1):
            other = copy.deepcopy(self.net)
            other.load_state_dict(weights)
            won, count = self._match(own, self._player(other), number)
            self._points[number, number - back], self._points[number - back, number] = won, count - won
            self._played[number, number - back] = self._played[number - back, number] = count
        weights = {name: each.detach().cpu().clone() for name, each in self.net.state_dict().items()}
        self._before = [*self._before, weights][-_REMEMBERED:]
        ratings = elo(self._points, self._played)
        return float(ratings[-1] - ratings[0])

    def _match(self, own: Player, other: Player, number: int) -> tuple[float, int]:
        pairs = -(-self.games // 2)
        length = min(4, max(1, self.game.max_moves // 5), self.game.max_moves - 1)
        starts = openings(self.game, pairs, length, np.random.default_rng(number))
        records, points = play_both_sides(self.game, own, other, starts)
        fault = next((record.reason for record in records if record.reason != PLAYED_OUT), None)
        if fault is not None:  # of our own search: no defeat
            raise PlayerFault(f"a game to measure Elo did not come to its end: {fault}")
        return float(points.sum()), len(points)

    def _player(self, net: BoardNet) -> Player:
        evaluator = NetEvaluator(net, self.game, _ENTRIES, self.precision)

        def choose(states: np.ndarray, moves: Sequence[Moves]) -> np.ndarray:
            return Search(self.game, self.search, len(states), evaluator).run(states).action.astype(np.int64)

        return Player("network", choose)

    def state_dict(self) -> dict[str, Any]:
        """The results so far, and the networks that are played against next."""
        return {"points": self._points, "played": self._played, "before": self._before}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Undo ``state_dict``."""
        self._points, self._played = np.asarray(state["points"]), np.asarray(state["played"])
        self._before = list(state["before"])
