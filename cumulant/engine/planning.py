"""Solve a problem of one player by search: the best move of every position, found anew as one goes. Axes: L leaves, A actions."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from cumulant.engine.search import Evaluate, Search, SearchConfig
from cumulant.envs.games.game import Game

EXPLORING = SearchConfig(
    value_scale=0.01
)  # values decide slowly: the mean of what is below a move misses a single good path


class Plan(NamedTuple):
    """What was done.

    Args:
        actions: From the start to the end.
        reward: All rewards and the outcome, discounted.
        state: Where it ended, ``[W]`` int64.
    """

    actions: tuple[int, ...]
    reward: float
    state: np.ndarray


def plan(
    problem: Game, simulations: int = 256, evaluate: Evaluate | None = None, config: SearchConfig | None = None
) -> Plan:
    """Go from the start of a problem to its end, every move by a search with the rules of the problem.

    Args:
        problem: A game of one player, such as ``planning.as_game`` makes of a decision process without chance.
        simulations: Of each move.
        evaluate: What is thought of positions: logits ``[L, A]`` and what can still be expected, ``[L]``; by default nothing.
        config: How to search; by default Gumbel search, in which values may be of any size, with much exploration.

    >>> from cumulant.envs.games.planning import as_game
    >>> from cumulant.envs.gridworlds import FourRooms
    >>> mdp = FourRooms().mdp()
    >>> problem = as_game(mdp, longest=6, gamma=0.9, start=101)
    >>> bool(plan(problem).reward == mdp.value_iteration(0.9)[101].max())
    True
    """
    search = Search(problem, config or EXPLORING, 1, evaluate or _nothing(problem), simulations)
    state, actions, reward, weight = problem.start(), list[int](), 0.0, 1.0
    while np.isnan(result := problem.outcome(state)):
        action = int(search.run(state[None], simulations).action[0])
        problem.play(state, action)
        search.follow(np.array([action]))
        actions.append(action)
        reward += weight * problem.reward(state)
        weight *= problem.discount
    return Plan(tuple(actions), float(reward + weight * result), state)


def _nothing(problem: Game) -> Evaluate:
    def evaluate(planes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return np.zeros((len(planes), problem.num_actions), np.float32), np.zeros(len(planes), np.float32)

    return evaluate
