"""Monte Carlo tree search whose leaves are judged by random games, for any game: a baseline that needs no learning.

Upper confidence bounds on trees (UCT): a simulation walks from the root to a child that is new, always to the child with the
highest

    mean value + exploration * sqrt(log(visits of the parent) / visits of the child),

plays on at random to the end, and gives the result to all positions on the way.

Source: Kocsis & Szepesvári 2006, "Bandit based Monte-Carlo planning"; the move that is played is the most visited.
Axes: B positions, W words of a row, A actions, N nodes.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from cumulant.envs.counter_rng import mix
from cumulant.envs.games.game import Game
from cumulant.envs.games.specialise import specialised

# of the game: see `specialised`
legal: Any = None
play: Any = None
outcome: Any = None
_WEYL, _SHIFT = np.uint64(0x9E3779B97F4A7C15), np.uint64(33)


def _random_result(state, mask, rng):  # type: ignore[no-untyped-def]
    """Play at random to the end, in place, and return the result for who was to move at the start."""
    sign = 1.0
    while True:
        result = outcome(state)
        if not np.isnan(result):
            return sign * result
        legal(state, mask)
        count = 0
        for action in range(mask.shape[0]):
            count += mask[action]
        rng[0] += _WEYL
        chosen = np.int64((mix(rng[0]) >> _SHIFT) % np.uint64(count))
        for action in range(mask.shape[0]):
            if mask[action]:
                if chosen == 0:
                    play(state, action)
                    break
                chosen -= 1
        sign = -sign


def _search(root, simulations, exploration, rng, visits):  # type: ignore[no-untyped-def]
    """Write the visits of the root's actions after this many simulations; return its value for who is to move."""
    num_actions = visits.shape[0]
    states = np.empty((simulations + 1, root.shape[0]), np.int64)
    child = np.full((simulations + 1, num_actions), -1, np.int32)  # -1: legal and not tried, -2: not legal
    count = np.zeros(simulations + 1, np.int64)
    total = np.zeros(simulations + 1, np.float64)  # for who moved into the node
    untried = np.zeros(simulations + 1, np.int64)
    ended = np.zeros(simulations + 1, np.float64)
    path = np.empty(simulations + 2, np.int64)
    mask = np.empty(num_actions, np.uint8)
    scratch = np.empty_like(root)
    used = 0
    for simulation in range(simulations + 1):  # the first one makes the root
        node, depth = 0, 0
        path[0] = 0
        if simulation == 0:
            states[0] = root
        while simulation > 0:
            if not np.isnan(ended[node]):
                break
            if untried[node] > 0:
                rng[0] += _WEYL
                chosen = np.int64((mix(rng[0]) >> _SHIFT) % np.uint64(untried[node]))
                for action in range(num_actions):
                    if child[node, action] == -1:
                        if chosen == 0:
                            break
                        chosen -= 1
                untried[node] -= 1
                child[node, action] = used
                states[used] = states[node]
                play(states[used], action)
                node = used
                depth += 1
                path[depth] = node
                break
            best, best_score, spread = -1, -np.inf, math.log(count[node])
            for action in range(num_actions):
                below = child[node, action]
                if below >= 0:
                    score = total[below] / count[below] + exploration * math.sqrt(spread / count[below])
                    if score > best_score:
                        best, best_score = below, score
            node = best
            depth += 1
            path[depth] = node
        if node == used:
            used += 1
            ended[node] = outcome(states[node])
            legal(states[node], mask)
            for action in range(num_actions):
                if mask[action]:
                    untried[node] += 1
                else:
                    child[node, action] = -2
        result = ended[node]
        if np.isnan(result):
            scratch[:] = states[node]
            result = _random_result(scratch, mask, rng)
        for place in range(depth, -1, -1):
            result = -result
            total[path[place]] += result
            count[path[place]] += 1
    for action in range(num_actions):
        below = child[0, action]
        visits[action] = count[below] if below >= 0 else 0
    return -total[0] / count[0]


def _search_many(roots, simulations, exploration, seed, visits, values):  # type: ignore[no-untyped-def]
    """Search every position by itself; what one finds does not depend on the others."""
    rng = np.empty(1, np.uint64)
    for place in range(roots.shape[0]):
        number = np.uint64(seed)
        for word in range(roots.shape[1]):
            number = mix(number + np.uint64(roots[place, word]) + _WEYL)
        rng[0] = number
        values[place] = _search(roots[place], simulations, exploration, rng, visits[place])


def search(
    game: Game, states: np.ndarray, simulations: int, seed: int, exploration: float = 1.0
) -> tuple[np.ndarray, np.ndarray]:
    """Return how often every action was tried, ``[B, A]`` int64, and the mean result for who is to move, ``[B]``.

    The most visited action is the move.

    Args:
        game: Any game whose functions are compiled and in which players take turns.
        states: Positions in which the game goes on, ``[B, W]`` int64.
        simulations: Random games per position.
        seed: Of the random games; the same position and seed give the same answer, in whatever batch.
        exploration: Weight of the upper bound, for results from -1 to 1.
    """
    compiled = specialised(game, _random_result, _search, _search_many)
    visits, values = np.zeros((len(states), game.num_actions), np.int64), np.zeros(len(states))
    compiled["_search_many"](np.ascontiguousarray(states), simulations, exploration, seed, visits, values)
    return visits, values
