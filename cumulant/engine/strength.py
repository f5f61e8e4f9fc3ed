"""How well a game is played: the share of moves that keep what a position is worth, where that is known; and matches.

Axes: N positions, W words of a position, A actions, G games.
"""

from __future__ import annotations

import functools
import math
from dataclasses import replace
from typing import Any

import numpy as np

from cumulant.engine.board_policy import BoardPolicy
from cumulant.engine.elo_over_training import SIMULATIONS, EloOverTraining
from cumulant.engine.matches import openings, play_both_sides
from cumulant.engine.players import Player, make_player
from cumulant.engine.trained_players import board_player
from cumulant.envs.games.game import Game
from cumulant.envs.games.minimax import Table
from cumulant.envs.games.solved_positions import SETS, Solved, solved_positions
from cumulant.nn.board import BoardNet
from cumulant.run.run import Run
from cumulant.stats import mean_interval


@functools.cache
def solved_sets(game: Game) -> dict[str, Solved]:
    """Return what is known of a game by name of the set; nothing of a game that nobody has solved."""
    if game.name == "tictactoe":
        return {"all": _every_position(game)}
    if game.name == "connect_four":
        return {name: solved_positions(name).solved for name in SETS}
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
    return {name: float(kept.mean()) for name, kept in _kept(policy, simulations).items()}


def _kept(policy: BoardPolicy, simulations: int) -> dict[str, np.ndarray]:
    """Return in which positions of each set the move kept the value, ``[N]`` bool."""
    found = {}
    for name, known in solved_sets(policy.game).items():
        searched = policy.search(known.states, simulations)
        found[f"value_kept_{name}"] = known.kept(searched.action)
        found[f"network_kept_{name}"] = known.kept(searched.prior.argmax(-1))
    return found


def against_random(player: Player, game: Game, games: int, seed: int) -> np.ndarray:
    """Return a player's results against one who moves at random, ``[games]``: 1 won, 0 drawn, -1 lost; half of them as second."""
    starts = openings(game, games // 2, 1, np.random.default_rng(seed))
    _, points = play_both_sides(game, player, make_player("random", game, seed=seed), starts)
    return 2.0 * points - 1.0


def evaluation(policy: BoardPolicy, simulations: int, games: int = 100, seed: int = 0) -> dict[str, Any]:
    """Return what a run's evaluation says: results against a player who moves at random, and the shares of ``measure``.

    The games are searched as quickly as those of Elo over training: on a large board they would take longer than the training.
    """
    game = policy.game
    quick = BoardPolicy(policy.net, policy.card, replace(policy.search_config, leaves=1), every_symmetry=False)
    results = against_random(board_player(quick, game, "it", min(simulations, SIMULATIONS)), game, games, seed)
    mean, low, high = mean_interval(results)
    outcomes = {}
    for name, kept in _kept(policy, simulations).items():
        share, lower, upper = mean_interval(kept.astype(float))
        outcomes[name] = {"mean": share, "interval": [lower, upper]}
    return {
        "schema": 1,
        "environment": game.name,
        "options": dict(policy.card.get("env_options", {})),
        "episodes": len(results),
        "seed": seed,
        "simulations": simulations,
        "game_simulations": min(simulations, SIMULATIONS),
        "return_mean": mean,
        "return_interval": [low, high],
        "return_std": float(results.std()),
        "outcomes": outcomes,
    }


class StrengthKeeper:
    """Measures a network in training now and then, logs it, and keeps it on disk.

    Args:
        net: The network; ``policy/STEPS.safetensors`` of the run is a state that was measured, ``best`` the best of them.
        run: The run.
        simulations: Of a move.
        ladder: Matches against the networks of measurements before; None for none.
    """

    def __init__(self, net: BoardNet, run: Run, simulations: int, ladder: EloOverTraining | None = None) -> None:
        self.net, self.run, self.simulations, self.ladder = net, run, simulations, ladder
        self.card = {key: run.spec[key] for key in ("algo", "env", "env_options", "config", "seed")}
        self.best = -math.inf

    def update(self, steps: int) -> None:
        """Measure now, log ``eval/...``, and keep the network.

        It is ``best`` if it is the best so far; where nothing is measured, the newest.

        Args:
            steps: Moves that were played; names the network among those of the run.
        """
        policy = BoardPolicy(self.net, self.card)
        policy.save(self.run.directory / "policy", str(steps))
        found = measure(policy, self.simulations)
        self.run.log(**{f"eval/{name}": share for name, share in found.items()})
        if self.ladder is not None:
            self.run.log(**{"eval/elo": self.ladder.update()})
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
        """The best score so far, and the ladder."""
        return {"best": self.best, "ladder": None if self.ladder is None else self.ladder.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Undo ``state_dict``."""
        self.best = float(state["best"])
        if self.ladder is not None:
            self.ladder.load_state_dict(state["ladder"])
