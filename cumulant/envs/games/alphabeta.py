"""Alpha-beta to a fixed depth for any game, with random games as the judge: a baseline that needs no learning.

A position at the horizon is worth the mean result of `GAMES` random games, which are drawn from the position's own key: the same
position is always worth the same. Results that are reached within the horizon are exact; of two wins the earlier is better.

Source: Knuth & Moore 1975, "An analysis of alpha-beta pruning".
Axes: B positions, W words of a row, A actions, D depth.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from cumulant.envs.games.game import Game
from cumulant.envs.games.rollouts import _random_result
from cumulant.envs.games.specialise import specialised

# of the game: see `specialised`
legal: Any = None
play: Any = None
outcome: Any = None
key: Any = None
GAMES = 8
DECIDED = 2.0  # a result that is reached counts at least this much, random games at most 1


def _judged(state, scratch, mask, rng):  # type: ignore[no-untyped-def]
    """Return the mean result of random games for who is to move."""
    rng[0] = key(state)
    total = 0.0
    for _ in range(GAMES):
        scratch[:] = state
        total += _random_result(scratch, mask, rng)
    return total / GAMES


def _value(depth, alpha, beta, states, masks, rng):  # type: ignore[no-untyped-def]
    """Return the value of ``states[depth]`` for who is to move, exact within (alpha, beta); ``depth`` moves are looked ahead."""
    result = outcome(states[depth])
    if not np.isnan(result):
        return result * (DECIDED + depth)
    if depth == 0:
        return _judged(states[0], states[-1], masks[0], rng)
    legal(states[depth], masks[depth])
    for action in range(masks.shape[1]):
        if masks[depth, action]:
            states[depth - 1] = states[depth]
            play(states[depth - 1], action)
            alpha = max(alpha, -_value(depth - 1, -beta, -alpha, states, masks, rng))
            if alpha >= beta:
                break
    return alpha


def _root_values(roots, depth, values):  # type: ignore[no-untyped-def]
    """Write the value of every legal action of every position; one that is not better than the best before it gets a bound."""
    states = np.empty((depth + 2, roots.shape[1]), np.int64)  # the last is scratch
    masks = np.empty((depth + 1, values.shape[1]), np.uint8)
    rng = np.empty(1, np.uint64)
    for place in range(roots.shape[0]):
        states[depth] = roots[place]
        legal(states[depth], masks[depth])
        best = -np.inf
        for action in range(values.shape[1]):
            if masks[depth, action]:
                states[depth - 1] = states[depth]
                play(states[depth - 1], action)
                values[place, action] = -_value(depth - 1, -np.inf, -best, states, masks, rng)
                best = max(best, values[place, action])


def search(game: Game, states: np.ndarray, depth: int) -> np.ndarray:
    """Return what every action is worth to the player to move, ``[B, A]`` float64; the first of the highest is the move.

    A move that is no better than one before it has an upper bound of its value; one that is not legal has minus infinity.

    Args:
        game: Any game whose functions are compiled and in which players take turns.
        states: Positions in which the game goes on, ``[B, W]`` int64.
        depth: Moves to look ahead, at least 1.
    """
    compiled = specialised(game, _random_result, _judged, _value, _root_values)
    values = np.full((len(states), game.num_actions), -np.inf)
    compiled["_root_values"](np.ascontiguousarray(states), depth, values)
    return values
