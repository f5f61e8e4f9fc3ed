"""Which action a search tries next at a node: the scores of PUCT, and what Gumbel search makes of values and visits.

What is said of all actions of a node is computed in lanes, eight actions at a time and without branches. Axes: as in
``kernels.tree``.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from cumulant.kernels.lanes import (
    LANES,
    both,
    exp,
    first,
    highest,
    how_many,
    load,
    lowest,
    maximum,
    minimum,
    spread,
    store,
    summed,
    where,
)
from cumulant.kernels.twins import loop, twin


@twin("cumulant.maths.planning.puct_score")
@njit(inline="always")
def puct_score(value, prior, visits, total, exploration, exploration_base):  # type: ignore[no-untyped-def]
    """Score one action, or lanes of them."""
    weight = exploration + math.log((total + exploration_base + 2.0) / exploration_base)
    return value + weight * prior * math.sqrt(total + 1.0) / (visits + 1.0)


@twin("cumulant.maths.planning.completed_values")
@njit(inline="always")
def completed_values(moves, value, prior, visits, node_value, scale, visits_offset, rescale, out):  # type: ignore[no-untyped-def]
    """Write what each action adds to its logit, ``out [A]``; return the mixed value."""
    all_visits, most, tried_prior, tried_value = spread(0.0), spread(0.0), spread(0.0), spread(0.0)
    for k in range(0, len(moves), LANES):
        share, tries = load(prior, k), load(visits, k)
        tried = both(share > 0.0, tries > 0.0)
        all_visits = all_visits + where(tried, tries, 0.0)
        most = maximum(most, where(tried, tries, 0.0))
        tried_prior = tried_prior + where(tried, share, 0.0)
        tried_value = tried_value + where(tried, share * load(value, k), 0.0)
    tries, shares = summed(all_visits), max(summed(tried_prior), 1e-30)
    mixed = (node_value * shares + tries * summed(tried_value)) / (shares * (1.0 + tries))  # a division takes long
    low, high = spread(np.inf), spread(-np.inf)
    for k in range(0, len(moves), LANES):
        allowed = load(prior, k) > 0.0
        completed = where(load(visits, k) > 0.0, load(value, k), mixed)
        store(out, k, completed)
        low, high = minimum(low, where(allowed, completed, np.inf)), maximum(high, where(allowed, completed, -np.inf))
    least, spread_out = -1.0, 2.0
    if rescale:
        least = lowest(low)
        spread_out = max(highest(high) - least, 1e-8)
    weight = (visits_offset + highest(most)) * scale / spread_out
    for k in range(0, len(moves), LANES):
        store(out, k, where(load(prior, k) > 0.0, weight * (load(out, k) - least), 0.0))
    return mixed


@loop()
@njit(inline="always")
def action_values(trees, g, n, solve, out):  # type: ignore[no-untyped-def]
    """Write the value of each action, ``out [A]``: what is proven, or else the mean; 0 of one that was not tried."""
    visits, sums = trees.visits[g, n], trees.value_sum[g, n]
    for k in range(0, len(trees.moves), LANES):
        tries = load(visits, k)
        store(out, k, where(tries > 0.0, load(sums, k) / tries, 0.0))
    if solve:
        for a in range(len(trees.moves)):
            if visits[a] > 0:
                c = trees.child[g, n, a]
                if trees.known[g, c] == trees.known[g, c]:
                    same = trees.player[g, c] == trees.player[g, n]
                    out[a] = trees.known[g, c] if same else -trees.known[g, c]


@loop()
@njit(inline="always")
def better(score, allowed, at, best, best_score):  # type: ignore[no-untyped-def]
    """Return the action with the best score so far, and that score: of equal ones the first."""
    score = where(allowed, score, -np.inf)
    top = highest(score)
    if top > best_score:
        best, best_score = at + first(score == top), top
    return best, best_score


@loop(puct_score, action_values, better)
@njit(inline="always")
def choose_puct(trees, settings, g, n, forced, value):  # type: ignore[no-untyped-def]
    """Return the action with the best score; ``value [A]`` is scratch."""
    total = trees.total[g, n]
    action_values(trees, g, n, settings.solve, value)
    untried = (trees.raw[g, n] + trees.value_total[g, n]) / (1.0 + total) - settings.first_play
    if settings.solve:
        for a in range(len(trees.moves)):
            if value[a] <= -1.0 and is_proven(trees, g, n, a):
                value[a] = -1e6  # a proven loss, only if all are
    prior, visits = trees.prior[g, n], trees.visits[g, n]
    best, best_score = -1, -np.inf
    for k in range(0, len(trees.moves), LANES):
        share, tries = load(prior, k), load(visits, k)
        assumed = where(tries > 0.0, load(value, k), untried)
        score = puct_score(assumed, share, tries, total, settings.exploration, settings.exploration_base)
        if forced:
            too_few = both(tries > 0.0, share * (settings.forced * total) > tries * tries)
            score = where(both(too_few, assumed > -1e5), score + 1e3, score)
        best, best_score = better(score, share > 0.0, k, best, best_score)
    return best


@loop()
@njit(inline="always")
def is_proven(trees, g, n, a):  # type: ignore[no-untyped-def]
    """Return whether what an action leads to is proven: a value of 1 or -1 may be a guess of the network."""
    c = trees.child[g, n, a]
    return c >= 0 and trees.known[g, c] == trees.known[g, c]


@loop(action_values, completed_values, better, exp)
@njit(inline="always")
def choose_gumbel(trees, settings, orders, g, n, value, added):  # type: ignore[no-untyped-def]
    """Return the action that sequential halving, or below the root the improved policy, tries next; the last two are scratch."""
    visits, logit, prior, tries = trees.visits[g, n], trees.logit[g, n], trees.prior[g, n], trees.total[g, n]
    best, best_score = -1, -np.inf
    if tries == 0 and n != 0:  # every move has the same value
        for k in range(0, len(trees.moves), LANES):
            share = load(prior, k)
            best, best_score = better(share, share > 0.0, k, best, best_score)
        return best
    action_values(trees, g, n, settings.solve, value)
    completed_values(
        trees.moves,
        value,
        prior,
        visits,
        trees.raw[g, n],
        settings.value_scale,
        settings.visits_offset,
        settings.rescale,
        added,
    )
    if n == 0:
        legal = 0
        for k in range(0, len(trees.moves), LANES):
            legal += how_many(load(prior, k) > 0.0)
        schedule = orders.schedules[orders.plan[g], min(legal, orders.schedules.shape[1] - 1)]
        considered = float(schedule[min(tries, schedule.shape[0] - 1)])
        noise = orders.noise[g]
        for k in range(0, len(trees.moves), LANES):
            allowed = both(load(prior, k) > 0.0, load(visits, k) == considered)
            best, best_score = better(load(noise, k) + load(logit, k) + load(added, k), allowed, k, best, best_score)
        if best >= 0:
            return best
    top = spread(-np.inf)
    for k in range(0, len(trees.moves), LANES):
        score = where(load(prior, k) > 0.0, load(logit, k) + load(added, k), -np.inf)
        store(added, k, score)
        top = maximum(top, score)
    most, shares = highest(top), spread(0.0)
    for k in range(0, len(trees.moves), LANES):
        share = where(load(prior, k) > 0.0, exp(load(added, k) - most), 0.0)
        store(added, k, share)
        shares = shares + share
    normaliser = summed(shares)
    for k in range(0, len(trees.moves), LANES):
        score = (
            load(added, k) * (1.0 + tries) - load(visits, k) * normaliser
        )  # share of all - share of visits, times both
        best, best_score = better(score, load(prior, k) > 0.0, k, best, best_score)
    return best
