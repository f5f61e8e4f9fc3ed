"""What a search found at its roots, and how a tree goes on after a move. Axes: as in ``kernels.tree``."""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from cumulant.kernels.lanes import LANES
from cumulant.kernels.selection import action_values, completed_values, is_proven, puct_score
from cumulant.kernels.tree import add_noise, new_node, set_prior
from cumulant.kernels.tree_layout import EXPANDED
from cumulant.kernels.twins import loop


@loop(completed_values, action_values, is_proven)
@njit(cache=True, nogil=True)
def gumbel_policy(trees, settings, orders, policy, best, value):  # type: ignore[no-untyped-def]
    """Write the improved policy of each root, the action to take, and the root's value under that policy.

    The action is, of those visited most, the one with the highest sum of noise, logit and completed value. Proven results
    overrule: a winning action is taken, losing ones get nothing unless all lose.

    Args:
        trees: The trees.
        settings: Of the search.
        orders: With its noise.
        policy: ``[G, A]`` float32.
        best: ``[G]`` int64.
        value: ``[G]`` float32.
    """
    actions = policy.shape[1]
    values, added = np.zeros(actions + LANES), np.zeros(actions + LANES)  # whole lanes are written
    for g in range(policy.shape[0]):
        visits, logit, prior = trees.visits[g, 0], trees.logit[g, 0], trees.prior[g, 0]
        policy[g, :], best[g], value[g] = 0.0, -1, trees.raw[g, 0]
        if trees.status[g, 0] != EXPANDED:
            continue
        action_values(trees, g, 0, settings.solve, values)
        mixed = completed_values(
            trees.moves,
            values,
            prior,
            visits,
            trees.raw[g, 0],
            settings.value_scale,
            settings.visits_offset,
            settings.rescale,
            added,
        )
        known = trees.known[g, 0]
        lost = settings.solve and known == known and known <= -1.0
        highest, most = -np.inf, 0
        for a in range(actions):
            if prior[a] > 0.0:
                if settings.solve and not lost and values[a] <= -1.0 and is_proven(trees, g, 0, a):
                    added[a] = -np.inf
                else:
                    most = max(most, visits[a])
                highest = max(highest, logit[a] + added[a])
        normaliser, best_score, mean = 0.0, -np.inf, 0.0
        for a in range(actions):
            if prior[a] > 0.0:
                policy[g, a] = math.exp(logit[a] + added[a] - highest)
                normaliser += policy[g, a]
                won = settings.solve and values[a] >= 1.0 and is_proven(trees, g, 0, a)
                score = orders.noise[g, a] + logit[a] + added[a] + (1e6 if won else 0.0)
                if (visits[a] == most or won) and score > best_score:
                    best_score, best[g] = score, a
        for a in range(actions):
            policy[g, a] /= normaliser
            mean += policy[g, a] * (values[a] if visits[a] > 0 else mixed)
        value[g] = known if settings.solve and known == known else mean


@loop(puct_score, action_values, is_proven)
@njit(cache=True, nogil=True)
def puct_policy(trees, settings, orders, policy, value):  # type: ignore[no-untyped-def]
    """Write the share of visits of each root's actions, ``policy [G, A]``, and its mean value, ``value [G]``.

    Visits that were forced and that the scores do not bear out are not counted (Wu 2019, section 3.2). Proven results overrule
    as in ``gumbel_policy``.
    """
    actions = policy.shape[1]
    values = np.zeros(actions + LANES)  # whole lanes are written
    for g in range(policy.shape[0]):
        visits, prior, total = trees.visits[g, 0], trees.prior[g, 0], trees.total[g, 0]
        policy[g, :] = 0.0
        value[g] = (trees.raw[g, 0] + trees.value_total[g, 0]) / (1.0 + total)
        action_values(trees, g, 0, settings.solve, values)
        known = trees.known[g, 0]
        is_known = settings.solve and known == known
        if is_known:
            value[g] = known
        best = 0
        for a in range(actions):
            policy[g, a] = visits[a]
            if visits[a] > visits[best]:
                best = a
            if settings.solve and visits[a] > 0:
                proven = is_proven(trees, g, 0, a)
                worse = is_known and known >= 1.0 and not (proven and values[a] >= 1.0)
                if worse or (proven and values[a] <= -1.0 and not (is_known and known <= -1.0)):
                    policy[g, a] = 0.0
        if orders.forced[g]:
            limit = puct_score(
                values[best], prior[best], visits[best], total, settings.exploration, settings.exploration_base
            )
            for a in range(actions):
                if a == best or policy[g, a] <= 0.0:
                    continue
                spare = math.ceil(math.sqrt(settings.forced * prior[a] * total))
                kept = policy[g, a]
                while kept > 0 and spare > 0:
                    score = puct_score(
                        values[a], prior[a], kept - 1.0, total, settings.exploration, settings.exploration_base
                    )
                    if score >= limit:
                        break
                    kept -= 1.0
                    spare -= 1
                policy[g, a] = 0.0 if kept <= 1.0 else kept
        normaliser = policy[g].sum()
        if normaliser > 0.0:
            policy[g] /= normaliser
        else:  # nothing was tried: what the network says
            policy[g] = prior


@loop(new_node)
@njit(cache=True, nogil=True)
def follow(trees, rules, played, keep, places):  # type: ignore[no-untyped-def]
    """Make the position after each move the root of its tree; what was found below it stays.

    Args:
        trees: The trees.
        rules: Of the game.
        played: Action that was taken, ``[G]``; -1 to leave a tree alone.
        keep: Whether what was found stays.
        places: Scratch, ``[N]`` int32.
    """
    for g in range(played.shape[0]):
        a = played[g]
        if a < 0:
            continue
        root = trees.child[g, 0, a]
        if not keep or root < 0 or trees.status[g, root] != EXPANDED:
            rules.play(trees.state[g, 0], a)
            trees.count[g] = 0
            new_node(trees, rules, g)
            continue
        # a node's number is above its parent's: one pass finds all below the new root, and no node is moved onto one to be moved
        places[: trees.count[g]] = -1
        places[root], kept = 0, 0
        for n in range(root, trees.count[g]):
            if places[n] >= 0:
                places[n] = kept
                kept += 1
                for b in range(trees.child.shape[2]):
                    if trees.child[g, n, b] >= 0:
                        places[trees.child[g, n, b]] = 0
        for n in range(root, trees.count[g]):
            if places[n] >= 0:
                _move(trees, g, n, places[n], places)
        trees.count[g] = kept


@loop()
@njit(cache=True, nogil=True)
def _move(trees, g, n, to, places):  # type: ignore[no-untyped-def]
    """Move a node, and name its children by their new places."""
    trees.state[g, to, :] = trees.state[g, n]
    trees.player[g, to], trees.status[g, to] = trees.player[g, n], trees.status[g, n]
    trees.known[g, to], trees.raw[g, to] = trees.known[g, n], trees.raw[g, n]
    trees.reward[g, to] = trees.reward[g, n]
    trees.total[g, to], trees.value_total[g, to] = trees.total[g, n], trees.value_total[g, n]
    for b in range(trees.child.shape[2]):
        c = trees.child[g, n, b]
        trees.child[g, to, b] = places[c] if c >= 0 else -1
        trees.visits[g, to, b], trees.value_sum[g, to, b] = trees.visits[g, n, b], trees.value_sum[g, n, b]
        trees.logit[g, to, b], trees.prior[g, to, b] = trees.logit[g, n, b], trees.prior[g, n, b]


@loop(set_prior, add_noise)
@njit(cache=True, nogil=True)
def renew_noise(trees, rules, orders, mask):  # type: ignore[no-untyped-def]
    """Give the roots that the network has seen fresh noise; ``mask [A]`` uint8 is scratch."""
    for g in range(trees.count.shape[0]):
        if trees.status[g, 0] == EXPANDED:
            rules.legal(trees.state[g, 0], mask)
            set_prior(trees, g, 0, mask)
            add_noise(trees, orders, g)
