"""How the search trees of many games lie in arrays, and what a search passes to compiled code. Axes: as in ``kernels.tree``."""

from __future__ import annotations

from typing import Any, NamedTuple

WAITING, EXPANDED, ENDED = 0, 1, 2  # states of a node: the network has not seen it yet; it has; the game is over there


class Trees(NamedTuple):
    """The trees."""

    moves: Any
    """A zeros: the length of a tuple is known when code is compiled, and loops over actions are unrolled."""
    rewarded: Any
    """One zero where rewards on the way or a discount count, else none: known, too, and code without them is as fast as ever."""
    count: Any
    """Nodes in use, ``[G]`` int32."""
    state: Any
    """Positions, ``[G, N, W]`` int64."""
    player: Any
    """Who is to move, ``[G, N]`` int8."""
    status: Any
    """WAITING, EXPANDED or ENDED, ``[G, N]`` int8."""
    known: Any
    """Result with best play where it is proven, NaN elsewhere, ``[G, N]`` float32."""
    raw: Any
    """Value by the network, ``[G, N]`` float32."""
    total: Any
    """Visits of all actions of a node, ``[G, N]`` int32."""
    reward: Any
    """What the move to a node brought who made it, ``[G, N]`` float32."""
    value_total: Any
    """Sum of what they brought, ``[G, N]`` float64."""
    child: Any
    """Node behind an action, -1 for none yet, ``[G, N, A]`` int32."""
    visits: Any
    """Visits of an action, those in flight included, ``[G, N, A]`` int32."""
    value_sum: Any
    """Sum of what they brought, those in flight as losses, ``[G, N, A]`` float64."""
    logit: Any
    """Logits by the network, ``[G, N, A]`` float32."""
    prior: Any
    """Probabilities by the network, at the root with noise, ``[G, N, A]`` float32; 0 for what is not legal."""


class Wave(NamedTuple):
    """The leaves of one wave."""

    planes: Any
    """What the network sees, ``[L, C, H, w]`` float32."""
    game: Any
    """Of which game each is, ``[L]`` int32."""
    leaf: Any
    """Which node, ``[L]`` int32."""
    depth: Any
    """Length of the path to it, ``[L]`` int32."""
    nodes: Any
    """Nodes on the path, ``[L, D]`` int32."""
    actions: Any
    """Actions on the path, ``[L, D]`` int32."""
    legal: Any
    """Scratch: which actions are legal in each leaf, ``[L, padded(A)]`` uint8."""
    active: Any
    """Scratch: games that a leaf is to be taken from, ``[G]`` int32."""
    taken: Any
    """Scratch: how many each of them has given already, ``[G]`` int32."""
    open: Any
    """Scratch: rows whose path is not at its end yet, ``[G]`` int32."""


class Settings(NamedTuple):
    """What selection goes by; see ``engine.search.SearchConfig``."""

    gumbel: bool
    exploration: float
    exploration_base: float
    first_play: float
    forced: float
    value_scale: float
    visits_offset: float
    rescale: bool
    solve: bool
    discount: float


class Orders(NamedTuple):
    """What differs from game to game and move to move."""

    left: Any
    """Simulations that are left, ``[G]`` int32."""
    noise: Any
    """Gumbel noise of the root's actions, or positive numbers in proportion to Dirichlet noise, ``[G, padded(A)]`` float32."""
    noise_share: Any
    """Share of noise in the root's prior (PUCT), ``[G]`` float32."""
    forced: Any
    """Whether tries are forced at the root (PUCT), ``[G]`` bool."""
    plan: Any
    """Which schedule (Gumbel), ``[G]`` int32."""
    schedules: Any
    """Visits of the actions that are considered at each simulation, ``[plans, most considered + 1, simulations]`` int32."""
