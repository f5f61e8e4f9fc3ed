"""How well a game is played: the share of moves that keep what a position is worth, where that is known; and matches.

Axes: N positions, W words of a position, A actions, G games.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from cumulant.engine.board_policy import BoardPolicy
from cumulant.envs.games.game import Game
from cumulant.envs.games.minimax import Table
from cumulant.envs.games.solved_positions import SETS, solved_positions
from cumulant.kernels.rules import play_at_random, rules_of
from cumulant.nn.board import BoardNet
from cumulant.run.run import Run
from cumulant.stats import mean_interval

Player = Callable[[np.ndarray], np.ndarray]
"""Positions ``[G, W]`` -> moves ``[G]``."""


class Solved(NamedTuple):
    """Positions in which some moves keep the value, and some do not.

    Args:
        states: ``[N, W]``.
        keeps: Which moves keep it, ``[N, A]`` bool.
    """

    states: np.ndarray
    keeps: np.ndarray

    def share(self, actions: np.ndarray) -> float:
        """Return in which share of the positions the move keeps the value."""
        return float(self.kept(actions).mean())

    def kept(self, actions: np.ndarray) -> np.ndarray:
        """Return where the move keeps the value, ``[N]`` bool."""
        return np.take_along_axis(self.keeps, actions[:, None], 1)[:, 0]


@functools.cache
def solved_sets(game: Game) -> dict[str, Solved]:
    """Return what is known of a game by name of the set; nothing of a game that nobody has solved."""
    if game.name == "tictactoe":
        return {"all": _every_position(game)}
    if game.name == "connect_four":
        sets = {name: solved_positions(name) for name in SETS}
        return {
            name: Solved(known.states, known.values == known.values.max(1, keepdims=True))
            for name, known in sets.items()
        }
    return {}


def _every_position(game: Game) -> Solved:
    """Return every position of a small game in which moves differ in value, one of each set of mirror images."""
    table = Table(game)
    states, keeps, seen = [], [], set()
    for key in table.values:
        state = np.frombuffer(key, np.int64)
        values = table.move_values(state)
        worth = np.where(np.isinf(values), np.nan, np.sign(values))
        planes = game.planes(state).reshape(game.num_planes, -1)
        image = min(planes[:, points].tobytes() for points in game.symmetries_points)
        if image not in seen and len(np.unique(worth[~np.isnan(worth)])) > 1:
            seen.add(image)
            states.append(state)
            keeps.append(worth == np.nanmax(worth))
    return Solved(np.stack(states), np.stack(keeps))


def measure(policy: BoardPolicy, simulations: int) -> dict[str, float]:
    """Return the shares of value-preserving moves: ``value_kept_SET`` with search, ``network_kept_SET`` without."""
    found = {}
    for name, known in solved_sets(policy.game).items():
        searched = policy.search(known.states, simulations)
        found[f"value_kept_{name}"] = known.share(searched.action)
        found[f"network_kept_{name}"] = known.share(searched.prior.argmax(-1))
    return found


def at_random(game: Game, seed: int) -> Player:
    """Return the player who takes any legal move."""
    generator = np.random.default_rng(seed)
    return lambda states: np.array([generator.choice(game.legal_actions(state)) for state in states])


def match(game: Game, player: Player, other: Player, games: int, opening: int, seed: int) -> np.ndarray:
    """Play games with colours swapped: each opening twice.

    Args:
        game: The game.
        player: Whose results they are.
        other: The opponent.
        games: How many, an even number.
        opening: Random moves that each pair of games begins with.
        seed: Of those.

    Returns:
        Results for ``player``, ``[games]``: 1 won, 0 drawn, -1 lost.
    """
    generator = np.random.default_rng(seed)
    states = np.tile(game.start(), (games // 2, 1))
    mask = np.zeros(game.num_actions, np.uint8)
    play_at_random(rules_of(game), states, generator.random((len(states), opening)), mask)
    states = np.concatenate([states, states])
    first = np.repeat([True, False], games // 2)  # whether the player moves where player() of the opening is to move
    begins = np.array([game.player(state) for state in states])
    results = np.full(games, np.nan)
    while True:
        results = np.array([game.outcome(state) if r != r else r for r, state in zip(results, states)])
        going = np.flatnonzero([game.outcome(state) != game.outcome(state) for state in states])
        if not len(going):
            break
        to_move = np.array([game.player(states[g]) for g in going])
        own = (to_move == begins[going]) == first[going]
        for who, rows in ((player, going[own]), (other, going[~own])):
            if len(rows):
                for g, action in zip(rows, who(states[rows])):
                    game.play(states[g], action)
    last = np.array([game.player(state) for state in states])
    return results * np.where((last == begins) == first, 1.0, -1.0)


def evaluation(policy: BoardPolicy, simulations: int, games: int = 100, seed: int = 0) -> dict[str, Any]:
    """Return what a run's evaluation says: results against a player who moves at random, and the shares of ``measure``."""
    results = match(
        policy.game,
        functools.partial(policy.act, simulations=simulations),
        at_random(policy.game, seed),
        games,
        1,
        seed,
    )
    mean, low, high = mean_interval(results)
    outcomes = {}
    for name, known in solved_sets(policy.game).items():
        searched = policy.search(known.states, simulations)
        for key, actions in (("value_kept", searched.action), ("network_kept", searched.prior.argmax(-1))):
            share, lower, upper = mean_interval(known.kept(actions).astype(float))
            outcomes[f"{key}_{name}"] = {"mean": share, "interval": [lower, upper]}
    return {
        "schema": 1,
        "environment": policy.game.name,
        "options": dict(policy.card.get("env_options", {})),
        "episodes": games,
        "seed": seed,
        "simulations": simulations,
        "return_mean": mean,
        "return_interval": [low, high],
        "return_std": float(results.std()),
        "outcomes": outcomes,
    }


class StrengthKeeper:
    """Measures a network in training now and then, logs it, and keeps the best on disk.

    Args:
        net: The network; ``policy/best.safetensors`` of the run is its best state so far.
        run: The run.
        simulations: Of a move.
    """

    def __init__(self, net: BoardNet, run: Run, simulations: int) -> None:
        self.net, self.run, self.simulations = net, run, simulations
        self.card = {key: run.spec[key] for key in ("algo", "env", "env_options", "config", "seed")}
        self.best = -math.inf

    def update(self) -> None:
        """Measure now, log ``eval/...``, and keep the network if it is the best so far; the newest where nothing is measured."""
        policy = BoardPolicy(self.net, self.card)
        found = measure(policy, self.simulations)
        self.run.log(**{f"eval/{name}": share for name, share in found.items()})
        searched = [share for name, share in found.items() if name.startswith("value_kept")]
        score = float(np.mean(searched)) if searched else math.inf
        if score >= self.best:
            self.best = score
            policy.save(self.run.directory / "policy", "best")

    def finish(self) -> BoardPolicy:
        """Save the network as it is now (``policy/last.safetensors``) and return the best one."""
        folder = self.run.directory / "policy"
        BoardPolicy(self.net, self.card).save(folder, "last")
        return BoardPolicy.load(folder, "best")

    def state_dict(self) -> dict[str, Any]:
        """The best score so far."""
        return {"best": self.best}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Undo ``state_dict``."""
        self.best = float(state["best"])
