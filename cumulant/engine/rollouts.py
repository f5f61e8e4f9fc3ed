"""Players of any game that need no learning, because random games judge for them: Monte Carlo tree search, and alpha-beta.

`tree_search` (UCT): a simulation walks from the root to a child that is new, always to the child with the highest

    mean value + exploration * sqrt(log(visits of the parent) / visits of the child),

plays on at random to the end, and gives the result to all positions on the way. The most visited move is played.

`alpha_beta` looks a fixed number of moves ahead. A position at the horizon is worth the mean result of `GAMES` random games,
which are drawn from the position itself: the same one is always worth the same. Results that are reached within the horizon are
exact; of two wins the earlier is better.

Source: Kocsis & Szepesvári 2006, "Bandit based Monte-Carlo planning"; Knuth & Moore 1975, "An analysis of alpha-beta pruning".
Axes: B positions, W words of a row, A actions, N nodes, D depth.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from cumulant.envs.counter_rng import mix
from cumulant.envs.games.game import Game
from cumulant.kernels.rules import rules_of

GAMES = 8
DECIDED = 2.0  # a result that is reached counts at least this much, random games at most 1
_WEYL, _SHIFT = np.uint64(0x9E3779B97F4A7C15), np.uint64(33)


@njit(cache=True, nogil=True)
def _number(state, seed):  # type: ignore[no-untyped-def]
    """Return a number that follows from a position and a seed."""
    for word in state:
        seed = mix(seed + np.uint64(word) + _WEYL)
    return seed


@njit(cache=True, nogil=True)
def _random_result(rules, state, mask, rng):  # type: ignore[no-untyped-def]
    """Play at random to the end, in place, and return the result for who was to move at the start."""
    who = rules.player(state)
    while True:
        result = rules.outcome(state)
        if not np.isnan(result):
            return result if rules.player(state) == who else -result
        rules.legal(state, mask)
        count = 0
        for action in range(mask.shape[0]):
            count += mask[action]
        rng[0] += _WEYL
        chosen = np.int64((mix(rng[0]) >> _SHIFT) % np.uint64(count))
        for action in range(mask.shape[0]):
            if mask[action]:
                if chosen == 0:
                    rules.play(state, action)
                    break
                chosen -= 1


@njit(cache=True, nogil=True)
def _search(rules, root, simulations, exploration, rng, visits):  # type: ignore[no-untyped-def]
    """Write the visits of the root's actions after this many simulations; return its value for who is to move."""
    num_actions = visits.shape[0]
    states = np.empty((simulations + 1, root.shape[0]), np.int64)
    child = np.full((simulations + 1, num_actions), -1, np.int32)  # -1: legal and not tried, -2: not legal
    count = np.zeros(simulations + 1, np.int64)
    total = np.zeros(simulations + 1, np.float64)  # for who moved into the node; at the root, for who is to move
    player = np.empty(simulations + 1, np.int64)
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
                rules.play(states[used], action)
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
            ended[node], player[node] = rules.outcome(states[node]), rules.player(states[node])
            rules.legal(states[node], mask)
            for action in range(num_actions):
                if mask[action]:
                    untried[node] += 1
                else:
                    child[node, action] = -2
        result = ended[node]
        if np.isnan(result):
            scratch[:] = states[node]
            result = _random_result(rules, scratch, mask, rng)
        for place in range(depth + 1):
            total[path[place]] += result if player[path[max(place - 1, 0)]] == player[node] else -result
            count[path[place]] += 1
    for action in range(num_actions):
        below = child[0, action]
        visits[action] = count[below] if below >= 0 else 0
    return total[0] / count[0]


@njit(cache=True, nogil=True)
def _search_many(rules, roots, simulations, exploration, seed, visits, values):  # type: ignore[no-untyped-def]
    """Search every position by itself; what one finds does not depend on the others."""
    rng = np.empty(1, np.uint64)
    for place in range(roots.shape[0]):
        rng[0] = _number(roots[place], np.uint64(seed))
        values[place] = _search(rules, roots[place], simulations, exploration, rng, visits[place])


def tree_search(
    game: Game, states: np.ndarray, simulations: int, seed: int, exploration: float = 1.0
) -> tuple[np.ndarray, np.ndarray]:
    """Return how often every action was tried, ``[B, A]`` int64, and the mean result for who is to move, ``[B]``.

    The most visited action is the move.

    Args:
        game: Any game whose functions are compiled.
        states: Positions in which the game goes on, ``[B, W]`` int64.
        simulations: Random games per position.
        seed: Of the random games; the same position and seed give the same answer, in whatever batch.
        exploration: Weight of the upper bound, for results from -1 to 1.
    """
    visits, values = np.zeros((len(states), game.num_actions), np.int64), np.zeros(len(states))
    _search_many(rules_of(game), np.ascontiguousarray(states), simulations, exploration, seed, visits, values)
    return visits, values


@njit(cache=True, nogil=True)
def _judged(rules, state, scratch, mask, rng):  # type: ignore[no-untyped-def]
    """Return the mean result of random games for who is to move."""
    rng[0] = _number(state, np.uint64(0))
    total = 0.0
    for _ in range(GAMES):
        scratch[:] = state
        total += _random_result(rules, scratch, mask, rng)
    return total / GAMES


@njit(cache=True, nogil=True)
def _value(rules, depth, alpha, beta, states, masks, rng):  # type: ignore[no-untyped-def]
    """Return the value of ``states[depth]`` for who is to move, exact within (alpha, beta); ``depth`` moves are looked ahead."""
    result = rules.outcome(states[depth])
    if not np.isnan(result):
        return result * (DECIDED + depth)
    if depth == 0:
        return _judged(rules, states[0], states[-1], masks[0], rng)
    rules.legal(states[depth], masks[depth])
    for action in range(masks.shape[1]):
        if masks[depth, action]:
            states[depth - 1] = states[depth]
            rules.play(states[depth - 1], action)
            if rules.player(states[depth - 1]) == rules.player(states[depth]):
                alpha = max(alpha, _value(rules, depth - 1, alpha, beta, states, masks, rng))
            else:
                alpha = max(alpha, -_value(rules, depth - 1, -beta, -alpha, states, masks, rng))
            if alpha >= beta:
                break
    return alpha


@njit(cache=True, nogil=True)
def _root_values(rules, roots, depth, values):  # type: ignore[no-untyped-def]
    """Write the value of every legal action of every position; one that is not better than the best before it gets a bound."""
    states = np.empty((depth + 2, roots.shape[1]), np.int64)  # the last is scratch
    masks = np.empty((depth + 1, values.shape[1]), np.uint8)
    rng = np.empty(1, np.uint64)
    for place in range(roots.shape[0]):
        states[depth] = roots[place]
        rules.legal(states[depth], masks[depth])
        best = -np.inf
        for action in range(values.shape[1]):
            if masks[depth, action]:
                states[depth - 1] = states[depth]
                rules.play(states[depth - 1], action)
                if rules.player(states[depth - 1]) == rules.player(states[depth]):
                    values[place, action] = _value(rules, depth - 1, best, np.inf, states, masks, rng)
                else:
                    values[place, action] = -_value(rules, depth - 1, -np.inf, -best, states, masks, rng)
                best = max(best, values[place, action])


def alpha_beta(game: Game, states: np.ndarray, depth: int) -> np.ndarray:
    """Return what every action is worth to the player to move, ``[B, A]`` float64; the first of the highest is the move.

    A move that is no better than one before it has an upper bound of its value; one that is not legal has minus infinity.

    Args:
        game: Any game whose functions are compiled.
        states: Positions in which the game goes on, ``[B, W]`` int64.
        depth: Moves to look ahead, at least 1.
    """
    values = np.full((len(states), game.num_actions), -np.inf)
    _root_values(rules_of(game), np.ascontiguousarray(states), depth, values)
    return values
