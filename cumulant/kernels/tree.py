"""Search trees of many games in lock-step, in arrays: selection, expansion and backup of PUCT and Gumbel.

A *wave* takes at most a few leaves from each tree and writes them into one batch for the network. A simulation that ends in a
decided position is backed up at once and costs the network nothing.

Axes: G games, N nodes of a tree (0 is its root), A actions, W words of a position, L leaves of a wave, D moves of a path,
C planes, H rows and w columns of the board. Values are results for the player to move at a node, in [-1, 1]; those of an action
are results for who takes it. A problem of one player is a game in which the same one is always to move; then they are what can
still be expected, rewards on the way included, discounted.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit

from cumulant.kernels.tree_layout import ENDED, EXPANDED, WAITING
from cumulant.kernels.twins import loop, twin

# Without reference counts, which cost half of the time: these functions make no arrays; those of games may, and are compiled
# by themselves before (``rules.rules_of``).
_OPTIONS: dict[str, Any] = {
    "cache": True,
    "nogil": True,
    "_nrt": False,
    "error_model": "numpy",
}


@twin("cumulant.maths.planning.puct_score")
@njit(inline="always")
def puct_score(value, prior, visits, total, exploration, exploration_base):  # type: ignore[no-untyped-def]
    """Score one action."""
    weight = exploration + math.log((total + exploration_base + 2.0) / exploration_base)
    return value + weight * prior * math.sqrt(total + 1.0) / (visits + 1.0)


@twin("cumulant.maths.planning.completed_values")
@njit(inline="always")
def completed_values(moves, value, prior, visits, node_value, scale, visits_offset, rescale, out):  # type: ignore[no-untyped-def]
    """Write what each action adds to its logit, ``out [A]``; return the mixed value."""
    total, most, tried_prior, tried_value = 0.0, 0.0, 0.0, 0.0
    for a in range(len(moves)):
        if prior[a] > 0.0 and visits[a] > 0:
            total += visits[a]
            most = max(most, float(visits[a]))
            tried_prior += prior[a]
            tried_value += prior[a] * value[a]
    mixed = (node_value + total * (tried_value / max(tried_prior, 1e-30))) / (1.0 + total)
    low, high = np.inf, -np.inf
    for a in range(len(moves)):
        if prior[a] > 0.0:
            out[a] = value[a] if visits[a] > 0 else mixed
            low, high = min(low, out[a]), max(high, out[a])
    if rescale:
        spread = max(high - low, 1e-8)
    else:
        low, spread = -1.0, 2.0
    weight = (visits_offset + most) * scale
    for a in range(len(moves)):
        out[a] = weight * (out[a] - low) / spread if prior[a] > 0.0 else 0.0
    return mixed


@loop()
@njit(inline="always")
def action_values(trees, g, n, solve, out):  # type: ignore[no-untyped-def]
    """Write the value of each action that was tried at a node, ``out [A]``: what is proven, or else the mean."""
    for a in range(len(trees.moves)):
        visits = trees.visits[g, n, a]
        if visits > 0:
            out[a] = trees.value_sum[g, n, a] / visits
            c = trees.child[g, n, a]
            if solve and trees.known[g, c] == trees.known[g, c]:
                same = trees.player[g, c] == trees.player[g, n]
                out[a] = trees.known[g, c] if same else -trees.known[g, c]


@loop(puct_score)
@njit(inline="always")
def choose_puct(trees, settings, g, n, forced, value):  # type: ignore[no-untyped-def]
    """Return the action with the best score; ``value [A]`` is scratch."""
    total = trees.total[g, n]
    action_values(trees, g, n, settings.solve, value)
    untried = (trees.raw[g, n] + trees.value_total[g, n]) / (1.0 + total) - settings.first_play
    best, best_score = -1, -np.inf
    for a in range(len(trees.moves)):
        prior, visits = trees.prior[g, n, a], trees.visits[g, n, a]
        if prior <= 0.0:
            continue
        if visits == 0:
            score = puct_score(untried, prior, 0, total, settings.exploration, settings.exploration_base)
        else:
            score = puct_score(value[a], prior, visits, total, settings.exploration, settings.exploration_base)
            if settings.solve and value[a] <= -1.0 and is_proven(trees, g, n, a):
                score -= 1e6  # a proven loss, only if all are
            elif forced and visits < math.sqrt(settings.forced * prior * total):
                score += 1e3
        if score > best_score:
            best, best_score = a, score
    return best


@loop()
@njit(inline="always")
def is_proven(trees, g, n, a):  # type: ignore[no-untyped-def]
    """Return whether what an action leads to is proven: a value of 1 or -1 may be a guess of the network."""
    c = trees.child[g, n, a]
    return c >= 0 and trees.known[g, c] == trees.known[g, c]


@loop(completed_values)
@njit(inline="always")
def choose_gumbel(trees, settings, orders, g, n, value, added):  # type: ignore[no-untyped-def]
    """Return the action that sequential halving, or below the root the improved policy, tries next; the last two are scratch."""
    visits, logit, prior, total = trees.visits[g, n], trees.logit[g, n], trees.prior[g, n], trees.total[g, n]
    best, best_score = -1, -np.inf
    if total == 0 and n != 0:  # every move has the same value
        for a in range(len(trees.moves)):
            if prior[a] > best_score and prior[a] > 0.0:
                best, best_score = a, prior[a]
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
    legal, highest = 0, -np.inf
    for a in range(len(trees.moves)):
        if prior[a] > 0.0:
            legal += 1
            highest = max(highest, logit[a] + added[a])
    if n == 0:
        schedule = orders.schedules[orders.plan[g], min(legal, orders.schedules.shape[1] - 1)]
        considered = schedule[min(total, schedule.shape[0] - 1)]
        for a in range(len(trees.moves)):
            if prior[a] > 0.0 and visits[a] == considered:
                score = orders.noise[g, a] + logit[a] + added[a]
                if score > best_score:
                    best, best_score = a, score
        if best >= 0:
            return best
    normaliser = 0.0
    for a in range(len(trees.moves)):
        if prior[a] > 0.0:
            added[a] = math.exp(np.float32(logit[a] + added[a] - highest))
            normaliser += added[a]
    for a in range(len(trees.moves)):
        if prior[a] > 0.0:
            score = added[a] / normaliser - visits[a] / (1.0 + total)
            if score > best_score:
                best, best_score = a, score
    return best


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
    for a in range(len(trees.moves)):
        trees.child[g, n, a], trees.visits[g, n, a] = -1, 0
        trees.value_sum[g, n, a], trees.prior[g, n, a] = 0.0, 0.0
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


@loop(choose_puct, choose_gumbel, new_node, _back_up)
@njit(**_OPTIONS)
def gather(trees, rules, settings, orders, wave, most, value, added):  # type: ignore[no-untyped-def]
    """Take up to ``most`` leaves from each tree that has simulations left; return how many there are for the network.

    A root that the network has not seen is taken first and counts as no simulation. ``value`` and ``added`` ``[A]`` are scratch.
    """
    m = 0
    for g in range(trees.count.shape[0]):
        if orders.left[g] <= 0:
            continue
        if trees.status[g, 0] == ENDED or (settings.solve and trees.known[g, 0] == trees.known[g, 0]):
            orders.left[g] = 0
            continue
        if trees.status[g, 0] == WAITING:
            rules.encode(trees.state[g, 0], wave.planes[m])
            wave.game[m], wave.leaf[m], wave.depth[m] = g, 0, 0
            m += 1
            continue
        taken, tries = 0, 0
        while taken < most and orders.left[g] > 0 and tries < 4 * most:
            tries += 1
            n, depth, clash = 0, 0, False
            nodes, path = wave.nodes[m], wave.actions[m]
            while True:
                if settings.gumbel:
                    a = choose_gumbel(trees, settings, orders, g, n, value, added)
                else:
                    forced = n == 0 and orders.forced[g]
                    a = choose_puct(trees, settings, g, n, forced, value)
                nodes[depth], path[depth] = n, a
                depth += 1
                c = trees.child[g, n, a]
                if c < 0:
                    c = trees.count[g]
                    for w in range(trees.state.shape[2]):
                        trees.state[g, c, w] = trees.state[g, n, w]
                    rules.play(trees.state[g, c], a)
                    trees.child[g, n, a] = new_node(trees, rules, g)
                    break
                if trees.status[g, c] == ENDED or (settings.solve and trees.known[g, c] == trees.known[g, c]):
                    break
                if trees.status[g, c] == WAITING:  # it is in this wave already
                    clash = True
                    break
                n = c
            if clash:
                break
            orders.left[g] -= 1
            if trees.known[g, c] == trees.known[g, c]:
                _back_up(trees, settings, g, nodes, path, depth, c, trees.known[g, c], False)
                if settings.solve and trees.known[g, 0] == trees.known[g, 0]:
                    orders.left[g] = 0
                continue
            for k in range(depth):
                trees.visits[g, nodes[k], path[k]] += 1
                trees.total[g, nodes[k]] += 1
                trees.value_sum[g, nodes[k], path[k]] -= 1.0
                trees.value_total[g, nodes[k]] -= 1.0
            rules.encode(trees.state[g, c], wave.planes[m])
            wave.game[m], wave.leaf[m], wave.depth[m] = g, c, depth
            m += 1
            taken += 1
    return m


@loop(_back_up)
@njit(**_OPTIONS)
def expand(trees, rules, settings, orders, wave, count, logits, values, mask):  # type: ignore[no-untyped-def]
    """Give the leaves of a wave what the network said of them, ``logits [L, A]`` and ``values [L]``, and back it up.

    ``mask [A]`` uint8 is scratch.
    """
    for i in range(count):
        g, n = wave.game[i], wave.leaf[i]
        rules.legal(trees.state[g, n], mask)
        for a in range(len(trees.moves)):
            trees.logit[g, n, a] = logits[i, a]
        trees.raw[g, n] = values[i]
        trees.status[g, n] = EXPANDED
        set_prior(trees, g, n, mask)
        if n == 0:
            add_noise(trees, orders, g)
        _back_up(trees, settings, g, wave.nodes[i], wave.actions[i], wave.depth[i], n, values[i], True)


@loop()
@njit(inline="always")
def set_prior(trees, g, n, mask):  # type: ignore[no-untyped-def]
    """Make the prior of a node of its logits: a softmax over what is legal, ``mask [A]``."""
    highest, normaliser = -np.inf, 0.0
    for a in range(len(trees.moves)):
        if mask[a]:
            highest = max(highest, trees.logit[g, n, a])
    for a in range(len(trees.moves)):
        if mask[a]:
            trees.prior[g, n, a] = max(
                math.exp(np.float32(trees.logit[g, n, a] - highest)), np.float32(1e-30)
            )  # 0 would mean not legal
            normaliser += trees.prior[g, n, a]
    for a in range(len(trees.moves)):
        trees.prior[g, n, a] = trees.prior[g, n, a] / normaliser if mask[a] else 0.0


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
