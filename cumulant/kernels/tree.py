"""Search trees of many games in lock-step, in arrays: selection, expansion and backup of PUCT and Gumbel.

A *wave* takes at most a few leaves from each tree and writes them into one batch for the network. A simulation that ends in a
decided position is backed up at once and costs the network nothing.

Axes: G games, N nodes of a tree (0 is its root), A actions, W words of a position, L leaves of a wave, D moves of a path,
C planes, H rows and w columns of the board. Values are results for the player to move at a node, in [-1, 1]; those of an action
are results for who takes it. A problem of one player is a game in which the same one is always to move; then they are what can
still be expected, rewards on the way included, discounted.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from cumulant.kernels.lanes import LANES, exp, fetch, highest, load, maximum, spread, store, summed, where
from cumulant.kernels.selection import choose_gumbel, choose_puct, is_proven
from cumulant.kernels.tree_layout import ENDED, EXPANDED, WAITING
from cumulant.kernels.twins import loop

# Without reference counts, which cost half of the time: these functions make no arrays; those of games may, and are compiled
# by themselves before (``rules.rules_of``).
_OPTIONS: dict[str, Any] = {
    "cache": True,
    "nogil": True,
    "_nrt": False,
    "error_model": "numpy",
}


@loop()
@njit(inline="always")
def new_node(trees, rules, g):  # type: ignore[no-untyped-def]
    """Make a node of the position that was written into its place; return its number."""
    n = trees.count[g]
    trees.count[g] = n + 1
    trees.player[g, n] = rules.player(trees.state[g, n])
    result = rules.outcome(trees.state[g, n])
    trees.known[g, n] = result
    if len(trees.rewarded) > 0:
        trees.reward[g, n] = rules.reward(trees.state[g, n])
    trees.status[g, n] = WAITING if result != result else ENDED
    trees.raw[g, n] = 0.0 if result != result else result
    trees.total[g, n], trees.value_total[g, n] = 0, 0.0
    child, visits, sums, prior = trees.child[g, n], trees.visits[g, n], trees.value_sum[g, n], trees.prior[g, n]
    for k in range(0, len(trees.moves), LANES):
        store(child, k, -1.0)
        store(visits, k, 0.0)
        store(sums, k, 0.0)
        store(prior, k, 0.0)
    return n


@loop(new_node)
@njit(cache=True, nogil=True)
def plant(trees, rules, states):  # type: ignore[no-untyped-def]
    """Begin a tree from each position, ``[G, W]``, that its root does not hold already; else keep the tree."""
    for g in range(states.shape[0]):
        same = trees.count[g] > 0
        for w in range(states.shape[1]):
            same = same and trees.state[g, 0, w] == states[g, w]
        if not same:
            trees.count[g] = 0
            for w in range(states.shape[1]):
                trees.state[g, 0, w] = states[g, w]
            new_node(trees, rules, g)


@loop()
@njit(inline="always")
def _back_up(trees, settings, g, nodes, actions, depth, leaf, value, in_flight):  # type: ignore[no-untyped-def]
    """Add the value of a leaf to the path to it, with the rewards on the way; pass on what is proven."""
    who, below = trees.player[g, leaf], leaf
    proven = settings.solve and trees.known[g, leaf] == trees.known[g, leaf]
    for k in range(depth - 1, -1, -1):
        n, a = nodes[k], actions[k]
        if trees.player[g, n] != who:
            value, who = -value, trees.player[g, n]
        if len(trees.rewarded) > 0:
            value = trees.reward[g, below] + settings.discount * value
            below = n
        if in_flight:  # it was counted, as a loss
            trees.value_sum[g, n, a] += value + 1.0
            trees.value_total[g, n] += value + 1.0
        else:
            trees.visits[g, n, a] += 1
            trees.total[g, n] += 1
            trees.value_sum[g, n, a] += value
            trees.value_total[g, n] += value
        if proven:
            best, every = -2.0, True
            for b in range(len(trees.moves)):
                if trees.prior[g, n, b] > 0.0:
                    if is_proven(trees, g, n, b):
                        c = trees.child[g, n, b]
                        own = trees.known[g, c] if trees.player[g, c] == who else -trees.known[g, c]
                        best = max(best, own)
                    else:
                        every = False
            proven = every or best >= 1.0
            if proven:
                trees.known[g, n] = best
                value = best


@loop(choose_puct, choose_gumbel)
@njit(inline="always")
def _descend(trees, settings, orders, wave, first, count, value, added):  # type: ignore[no-untyped-def]
    """Go from the roots of the trees of some rows of a wave to an action that was not tried, or to a node to stop at.

    All trees move a step at a time: what a step computes is a long chain, and those of several trees run side by side.
    """
    for i in range(count):
        wave.open[i] = first + i
    while count > 0:
        for i in range(count):
            row = wave.open[i]
            g, n = wave.game[row], wave.leaf[row]
            if settings.gumbel:
                a = choose_gumbel(trees, settings, orders, g, n, value, added)
            else:
                a = choose_puct(trees, settings, g, n, n == 0 and orders.forced[g], value)
            wave.actions[row, wave.depth[row]] = a
        going = 0
        for i in range(count):
            row = wave.open[i]
            g, n, depth = wave.game[row], wave.leaf[row], wave.depth[row]
            c = trees.child[g, n, wave.actions[row, depth]]
            wave.nodes[row, depth], wave.depth[row], wave.leaf[row] = n, depth + 1, c
            below = max(c, 0)  # no branch: where paths end differs from tree to tree
            ends = (c < 0) | (trees.status[g, below] != EXPANDED)
            if settings.solve:
                ends = ends | (trees.known[g, below] == trees.known[g, below])
            wave.open[going] = row
            going += 1 - int(ends)
            near = c if c >= 0 else trees.count[g]  # what is looked at or made next
            fetch(trees.value_sum[g, near])
            fetch(trees.visits[g, near])
            fetch(trees.logit[g, near])
        count = going


@loop(_descend, new_node, _back_up)
@njit(**_OPTIONS)
def gather(trees, rules, settings, orders, wave, most, value, added):  # type: ignore[no-untyped-def]
    """Take up to ``most`` leaves from each tree that has simulations left; return how many there are for the network.

    A root that the network has not seen is taken first and counts as no simulation. ``value`` and ``added`` ``[A]`` are scratch.
    """
    m, games = 0, 0
    for g in range(trees.count.shape[0]):
        if orders.left[g] <= 0:
            continue
        if trees.status[g, 0] == ENDED or (settings.solve and trees.known[g, 0] == trees.known[g, 0]):
            orders.left[g] = 0
        elif trees.status[g, 0] == WAITING:
            rules.encode(trees.state[g, 0], wave.planes[m])
            wave.game[m], wave.leaf[m], wave.depth[m] = g, 0, 0
            m += 1
        else:
            wave.active[games], wave.taken[games] = g, 0
            games += 1
    for _ in range(4 * most):  # tries, of which some end in decided positions
        for i in range(games):
            wave.game[m + i], wave.leaf[m + i], wave.depth[m + i] = wave.active[i], 0, 0
        _descend(trees, settings, orders, wave, m, games, value, added)
        first, going = m, 0
        for i in range(games):
            row = first + i
            g, c, depth = wave.game[row], wave.leaf[row], wave.depth[row]
            if c >= 0 and trees.status[g, c] == WAITING:
                continue  # it is in this wave already
            if c < 0:
                n, a, c = wave.nodes[row, depth - 1], wave.actions[row, depth - 1], trees.count[g]
                for w in range(trees.state.shape[2]):
                    trees.state[g, c, w] = trees.state[g, n, w]
                rules.play(trees.state[g, c], a)
                trees.child[g, n, a] = new_node(trees, rules, g)
            orders.left[g] -= 1
            taken = wave.taken[i]
            if trees.known[g, c] == trees.known[g, c]:
                _back_up(trees, settings, g, wave.nodes[row], wave.actions[row], depth, c, trees.known[g, c], False)
                if settings.solve and trees.known[g, 0] == trees.known[g, 0]:
                    orders.left[g] = 0
            else:
                for k in range(depth):
                    n, a = wave.nodes[row, k], wave.actions[row, k]
                    trees.visits[g, n, a] += 1
                    trees.total[g, n] += 1
                    trees.value_sum[g, n, a] -= 1.0
                    trees.value_total[g, n] -= 1.0
                    wave.nodes[m, k], wave.actions[m, k] = n, a
                rules.encode(trees.state[g, c], wave.planes[m])
                wave.game[m], wave.leaf[m], wave.depth[m] = g, c, depth
                m += 1
                taken += 1
            if taken < most and orders.left[g] > 0:
                wave.active[going], wave.taken[going] = g, taken
                going += 1
        games = going
    return m


@loop(_back_up)
@njit(**_OPTIONS)
def expand(trees, rules, settings, orders, wave, count, logits, values):  # type: ignore[no-untyped-def]
    """Give the leaves of a wave what the network said of them, ``logits [L, A]`` and ``values [L]``, and back it up."""
    for i in range(count):
        g, n = wave.game[i], wave.leaf[i]
        rules.legal(trees.state[g, n], wave.legal[i, : len(trees.moves)])
        for a in range(len(trees.moves)):
            trees.logit[g, n, a] = logits[i, a]
    for i in range(count):  # by now what was written number by number can be read in one
        g, n = wave.game[i], wave.leaf[i]
        trees.raw[g, n] = values[i]
        trees.status[g, n] = EXPANDED
        set_prior(trees, g, n, wave.legal[i])
        if n == 0:
            add_noise(trees, orders, g)
        _back_up(trees, settings, g, wave.nodes[i], wave.actions[i], wave.depth[i], n, values[i], True)


@loop(expand, gather)
@njit(**_OPTIONS)
def advance(trees, rules, settings, orders, wave, count, logits, values, most, value, added):  # type: ignore[no-untyped-def]
    """Expand the leaves of a wave and gather the next one; return how many leaves it has. One call, because each costs."""
    expand(trees, rules, settings, orders, wave, count, logits, values)
    return gather(trees, rules, settings, orders, wave, most, value, added)


@loop(exp)
@njit(inline="always")
def set_prior(trees, g, n, mask):  # type: ignore[no-untyped-def]
    """Make the prior of a node of its logits: a softmax over what is legal, ``mask [A]``."""
    logit, prior, top = trees.logit[g, n], trees.prior[g, n], spread(-np.inf)
    for k in range(0, len(trees.moves), LANES):
        top = maximum(top, where(load(mask, k) > 0.0, load(logit, k), -np.inf))
    most, shares = highest(top), spread(0.0)
    for k in range(0, len(trees.moves), LANES):
        share = where(load(mask, k) > 0.0, maximum(exp(load(logit, k) - most), 1e-30), 0.0)  # 0 would mean not legal
        store(prior, k, share)
        shares = shares + share
    normaliser = summed(shares)
    for k in range(0, len(trees.moves), LANES):
        store(prior, k, load(prior, k) / normaliser)


@loop()
@njit(inline="always")
def add_noise(trees, orders, g):  # type: ignore[no-untyped-def]
    """Mix noise into the prior of a root, over its legal actions only."""
    share = orders.noise_share[g]
    if share > 0.0:
        total = 0.0
        for a in range(len(trees.moves)):
            if trees.prior[g, 0, a] > 0.0:
                total += orders.noise[g, a]
        for a in range(len(trees.moves)):
            if trees.prior[g, 0, a] > 0.0:
                mixed = (1.0 - share) * trees.prior[g, 0, a] + share * orders.noise[g, a] / total
                trees.prior[g, 0, a] = max(mixed, 1e-30)
