"""Tree search in many games at once: the leaves of all trees go through the network as one batch.

``Search.run`` is the loop: take leaves from the trees, ask the network about them, back up what it says, until every game has had
its simulations. The trees are arrays, and what is done to them is compiled (``kernels.tree``, ``kernels.selection``).

Axes: G games, W words of a position, A actions, L leaves of a wave, C planes, H rows and w columns of the board, S symmetries.

Source: Silver et al. 2018 (PUCT, Dirichlet noise); Danihelka et al. 2022 (Gumbel: sequential halving, completed values); Wu 2019
(forced tries and their pruning); Winands et al. 2008 (proven results).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from cumulant.envs.games.game import Game
from cumulant.errors import ConfigError
from cumulant.kernels import roots, tree
from cumulant.kernels.lanes import padded, padded_zeros
from cumulant.kernels.rules import entry, rules_of
from cumulant.kernels.tree_layout import ENDED, Orders, Settings, Trees, Wave
from cumulant.run.config import require

_LINE = 64  # bytes of a cache line

Evaluate = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
"""Planes ``[L, C, H, w]`` -> logits ``[L, A]`` and values ``[L]`` in [-1, 1] for the player to move, both float32."""


@dataclass(frozen=True)
class SearchConfig:
    """How moves are searched for."""

    method: Literal["gumbel", "puct"] = "gumbel"
    """How the root's moves are tried: gumbel is better with few simulations, puct is the classic."""
    simulations: int = 32
    """Simulations of a move."""
    considered: int = 16
    """Moves that are tried at the root at first (gumbel)."""
    value_scale: float = 0.1
    """Weight of values against the network's logits (gumbel)."""
    visits_offset: float = 50.0
    """What is added to the visits in that weight (gumbel)."""
    rescale: bool = True
    """Count only differences between the values of moves, from lowest to highest as 0 to 1 (gumbel)."""
    exploration: float = 1.25
    """Weight of the network's probabilities against values (puct)."""
    exploration_base: float = 19652.0
    """Visits at which that weight begins to grow (puct)."""
    first_play: float = 0.2
    """How much worse than its position a move is taken to be that was not tried yet (puct)."""
    noise_share: float = 0.25
    """Share of Dirichlet noise at the root, in self-play (puct)."""
    noise_total: float = 10.0
    """Sum of the Dirichlet parameters: each is this over the number of actions (puct)."""
    forced: float = 2.0
    """Least tries of a likely move at the root, in self-play; 0 for none (puct)."""
    leaves: int = 1
    """Leaves of one tree that the network sees at a time; more is faster in few games and a little weaker (puct)."""
    reuse: bool = True
    """Keep what was found below the move that was played (puct)."""
    solve: bool = True
    """Pass proven results up the tree and search no further there."""

    def __post_init__(self) -> None:
        for name in ("simulations", "considered", "leaves"):
            require(self, name, getattr(self, name) >= 1, "at least 1")
        for name in ("value_scale", "exploration", "exploration_base", "noise_total"):
            require(self, name, getattr(self, name) > 0.0, "above 0")
        for name in ("visits_offset", "first_play", "forced"):
            require(self, name, getattr(self, name) >= 0.0, "at least 0")
        require(self, "noise_share", 0.0 <= self.noise_share < 1.0, "in [0, 1)")


@dataclass(frozen=True)
class Found:
    """What a search found.

    Args:
        visits: Visits of the moves at the root, ``[G, A]`` int32.
        policy: What the network shall learn to say: the improved policy, or the share of visits, ``[G, A]`` float32.
        action: The best move, ``[G]`` int64; -1 where the game is over.
        value: Result that is expected for the player to move, in [-1, 1], ``[G]`` float32.
        prior: What the network said, ``[G, A]`` float32, at a root with noise with that.
    """

    visits: np.ndarray
    policy: np.ndarray
    action: np.ndarray
    value: np.ndarray
    prior: np.ndarray


class Search:
    """Trees for G games, kept from move to move.

    Of a problem of one player the values are what it can still expect, rewards on the way included: of any size with gumbel,
    which rescales them; puct expects them between -1 and 1. Nothing is proven where rewards count.

    Args:
        game: The game.
        config: Options.
        games: G.
        evaluate: The network.
        most: Most simulations of a move; by default those of the options.
    """

    def __init__(self, game: Game, config: SearchConfig, games: int, evaluate: Evaluate, most: int = 0) -> None:
        self.game, self.config, self.games, self.evaluate = game, config, games, evaluate
        self.most = max(most, config.simulations)
        self.rules = rules_of(game)
        gumbel = config.method == "gumbel"
        self.leaves = 1 if gumbel else config.leaves
        nodes = self.most + self.leaves + 2
        self.trees = _trees(game, games, nodes)
        leaves = games * self.leaves + 1  # one more row: a path is written before it is known whether it ends in a leaf
        depth = min(nodes, game.max_moves + 1) + 1
        self.wave = Wave(
            planes=np.zeros((leaves, game.num_planes, game.rows, game.columns), np.float32),
            game=np.zeros(leaves, np.int32),
            leaf=np.zeros(leaves, np.int32),
            depth=np.zeros(leaves, np.int32),
            nodes=np.zeros((leaves, depth), np.int32),
            actions=np.zeros((leaves, depth), np.int32),
            legal=np.zeros((leaves, padded(game.num_actions)), np.uint8),
            active=np.zeros(games, np.int32),
            taken=np.zeros(games, np.int32),
            open=np.zeros(games, np.int32),
        )
        self.settings = Settings(
            gumbel, config.exploration, config.exploration_base, config.first_play, config.forced, config.value_scale,
            config.visits_offset, config.rescale, config.solve and game.only_the_end_counts, game.discount,
        )  # fmt: skip
        row = (game.num_actions,)
        self._mask = padded_zeros(row, np.uint8)
        self._value, self._added = padded_zeros(row, np.float64), padded_zeros(row, np.float64)
        self._places = np.zeros(nodes, np.int32)
        self._advance: Callable[..., int] | None = None
        self._schedules: dict[tuple[int, ...], np.ndarray] = {}

    def run(
        self,
        states: np.ndarray,
        simulations: int | np.ndarray | None = None,
        generator: np.random.Generator | None = None,
        explore: np.ndarray | None = None,
    ) -> Found:
        """Search every position.

        Trees whose root is a position already are gone on with (puct); all others begin anew.

        Args:
            states: Positions, ``[G, W]``.
            simulations: Of each game, ``[G]``, or of all; what a kept tree has had counts.
            generator: Of the noise; None for no noise.
            explore: Which games get it, ``[G]`` bool; all by default.
        """
        game, config, trees = self.game, self.config, self.trees
        if not self.games:
            nothing = np.zeros((0, game.num_actions), np.float32)
            return Found(nothing.astype(np.int32), nothing, np.zeros(0, np.int64), np.zeros(0, np.float32), nothing)
        budget = np.broadcast_to(
            np.asarray(config.simulations if simulations is None else simulations, np.int32), self.games
        )
        if budget.min() < 1 or budget.max() > self.most:  # compiled code checks no bounds
            raise ConfigError(
                f"simulations = {budget.min()} to {budget.max()}: these trees have room for 1 to {self.most} a move"
            )
        explore = np.ones(self.games, bool) if explore is None else explore
        orders = self._orders(budget, generator, explore)
        if self.settings.gumbel:  # its schedule begins with an empty root
            self.forget()
        tree.plant(trees, self.rules, states)
        if not self.settings.gumbel and config.reuse:
            roots.renew_noise(trees, self.rules, orders, self._mask)
        policy = np.zeros((self.games, game.num_actions), np.float32)
        action, value = np.full(self.games, -1), np.zeros(self.games, np.float32)
        orders.left[:] = np.maximum(budget - trees.total[:, 0], 0)
        common = trees, self.rules, self.settings, orders, self.wave
        scratch = self.leaves, self._value, self._added
        if self._advance is None:  # the types of all these never change
            self._advance = entry(tree.advance, *common, 0, policy, value, *scratch)
        count, logits, values = 0, policy, value
        while True:
            count = self._advance(*common, count, logits, values, *scratch)
            if count:
                said = self.evaluate(self.wave.planes[:count])
                logits, values = (np.ascontiguousarray(part, np.float32) for part in said)
            elif not (orders.left > 0).any():
                break
        if self.settings.gumbel:
            roots.gumbel_policy(trees, self.settings, orders, policy, action, value)
        else:
            roots.puct_policy(trees, self.settings, orders, policy, value)
            over = trees.status[:, 0] == ENDED
            action = np.where(over, -1, policy.argmax(-1))
        return Found(trees.visits[:, 0].copy(), policy, action, value, trees.prior[:, 0].copy())

    def follow(self, played: np.ndarray) -> None:
        """Go on from the move that was played in each game, ``[G]`` int64; -1 to leave a tree alone."""
        roots.follow(self.trees, self.rules, played, self.config.reuse and not self.settings.gumbel, self._places)

    def forget(self) -> None:
        """Drop all trees, as when the network has changed."""
        self.trees.count[:] = 0

    def _orders(self, budget: np.ndarray, generator: np.random.Generator | None, explore: np.ndarray) -> Orders:
        shape, config = (self.games, self.game.num_actions), self.config
        noise = np.zeros((self.games, padded(shape[1])), np.float32)
        share = np.zeros(self.games, np.float32)
        forced = np.zeros(self.games, bool)
        plans, plan = np.unique(budget, return_inverse=True)
        if generator is not None and self.settings.gumbel:
            noise[:, : shape[1]] = generator.gumbel(size=shape) * explore[:, None]
        elif generator is not None:
            noise[:, : shape[1]] = generator.standard_gamma(config.noise_total / shape[1], shape) + 1e-20
            share[explore] = config.noise_share
            forced[:] = explore & (config.forced > 0.0)
        return Orders(
            np.zeros(self.games, np.int32), noise, share, forced, plan.astype(np.int32),
            self._schedule(tuple(plans.tolist())),
        )  # fmt: skip

    def _schedule(self, plans: tuple[int, ...]) -> np.ndarray:
        if plans not in self._schedules:
            most, longest = min(self.config.considered, self.game.num_actions), max(plans)
            if self.settings.gumbel:
                tables = [[_pad(halving(m, plan), longest) for m in range(most + 1)] for plan in plans]
            else:
                tables = [[[0]]] * len(plans)
            self._schedules[plans] = np.array(tables, np.int32)
        return self._schedules[plans]


def halving(considered: int, simulations: int) -> list[int]:
    """Return how many visits the move has that is tried at each simulation of a sequential halving.

    Args:
        considered: Moves at the start.
        simulations: How many.

    Source:
        Karnin et al. 2013; as in mctx.

    >>> halving(4, 8)
    [0, 0, 0, 0, 1, 1, 2, 2]
    """
    if considered <= 1:
        return list(range(simulations))
    rounds, left = math.ceil(math.log2(considered)), considered
    visits, sequence = [0] * considered, list[int]()
    while len(sequence) < simulations:
        for _ in range(max(1, simulations // (rounds * left))):
            sequence += visits[:left]
            visits[:left] = [each + 1 for each in visits[:left]]
        left = max(2, left // 2)
    return sequence[:simulations]


def _pad(sequence: list[int], length: int) -> list[int]:
    return sequence + [-1] * (length - len(sequence))


def _trees(game: Game, games: int, nodes: int) -> Trees:
    """Make room: all that there is of a node but its position lies side by side, from a cache line on."""
    row, actions = padded(game.num_actions), game.num_actions
    of_actions = {
        "value_sum": np.float64,
        "visits": np.int32,
        "prior": np.float32,
        "logit": np.float32,
        "child": np.int32,
    }
    of_node = {
        "value_total": np.float64, "total": np.int32, "known": np.float32, "raw": np.float32, "reward": np.float32,
        "player": np.int8, "status": np.int8,
    }  # fmt: skip
    fields = [(name, kind, (row,)) for name, kind in of_actions.items()] + list(of_node.items())
    size = -(-np.dtype(fields).itemsize // _LINE) * _LINE
    memory = np.zeros(games * nodes * size + _LINE, np.uint8)
    start = -memory.ctypes.data % _LINE
    found = memory[start : start + games * nodes * size].reshape(games, nodes, size)
    node = found[:, :, : np.dtype(fields).itemsize].view(fields)[:, :, 0]
    return Trees(
        moves=(0,) * actions,
        rewarded=() if game.only_the_end_counts else (0,),
        count=np.zeros(games, np.int32),
        state=np.zeros((games, nodes, game.state_size), np.int64),
        **{name: node[name] for name in of_node},
        **{name: node[name][:, :, :actions] for name in of_actions},
    )
