"""AlphaZero: self-play with tree search, whose results a network learns to foresee.

Play many games side by side, every move by a search that the network guides; remember what the search made of each position and
how the game ended; teach the network both; repeat. Nothing but the rules of the game is known beforehand.
Axes: G games side by side, N positions, W words of a position, A actions, C planes, P points of the board.

Source: Silver et al. 2018, "A general reinforcement learning algorithm that masters chess, shogi, and Go through self-play"; with
Gumbel search: Danihelka et al. 2022, "Policy improvement by planning with Gumbel". Playout-cap randomisation, forced tries,
ownership and the growing window: Wu 2019, "Accelerating self-play learning in Go". Differs from source: games begin with some
random moves, proven results are passed up the tree, and the value learns from the search's value too.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
import tyro
from gymnasium import spaces

from cumulant.data.game_replay import UNKNOWN, GameReplay, Positions, WindowConfig
from cumulant.data.recorded_positions import RecordedPositions, RecordsConfig
from cumulant.engine.board_policy import BoardPolicy, NetEvaluator
from cumulant.engine.elo_over_training import EloOverTraining
from cumulant.engine.recorded_start import RecordedStart
from cumulant.engine.sample_games import write_sample_games
from cumulant.engine.search import Search, SearchConfig
from cumulant.engine.self_play_workers import Recorder, SelfPlayWorkers
from cumulant.engine.strength import StrengthKeeper, evaluation
from cumulant.engine.trained_players import board_player
from cumulant.envs.games.game import Game
from cumulant.envs.games.lookup import make_game
from cumulant.kernels.rules import encode_rows, play_at_random, play_rows, rules_of
from cumulant.maths.masked import masked_mean
from cumulant.maths.schedules import linear
from cumulant.nn.averaged import Averaged
from cumulant.nn.board import BoardNet, BoardNetConfig, is_coarse
from cumulant.nn.flat import Flat, FlatAdam
from cumulant.run.config import require
from cumulant.run.run import Run

CATEGORY = "board games"
USE = "board games of two players: it learns by playing against itself"
_ENTRIES = 1 << 18  # positions whose evaluation is remembered until the network changes
_SETTLED = 4  # batches on which the statistics of the averaged network are measured


@dataclass(frozen=True)
class PlayConfig:
    """How games are played against oneself."""

    full_share: float = 1.0
    """Share of moves with a full search, which are learned from; the others are quick."""
    quick_simulations: int = 8
    """Simulations of a quick move."""
    opening_moves: int = 6
    """Games begin with a random number of random moves, at most so many."""
    exploring_moves: int = 20
    """Moves of a game that are drawn at random by what the search found; later ones are the best."""
    resign_below: float = 0.0
    """Give up when the search's value is so bad, such as -0.95; 0 for never."""
    resign_never: float = 0.1
    """Share of games that are played out all the same, to see how many would have been given up wrongly."""
    processes: int = 1
    """Processes that play, each its share of the games, while another one learns; 1 plays and learns in turn, bit-exactly."""
    worker_timeout: float = 600.0
    """Seconds that such a process may take to start, or for a move of all its games, before it is started again; 0 for any."""

    def __post_init__(self) -> None:
        require(self, "full_share", 0.0 < self.full_share <= 1.0, "in (0, 1]")
        require(self, "quick_simulations", self.quick_simulations >= 1, "at least 1")
        for name in ("opening_moves", "exploring_moves"):
            require(self, name, getattr(self, name) >= 0, "at least 0")
        require(self, "resign_below", -1.0 < self.resign_below <= 0.0, "in (-1, 0]")
        require(self, "processes", self.processes >= 1, "at least 1")
        require(self, "worker_timeout", 0.0 <= self.worker_timeout < float("inf"), "seconds, or 0 for any time")
        require(self, "resign_never", 0.0 <= self.resign_never <= 1.0, "in [0, 1]")


@dataclass(frozen=True)
class Config:
    """Options of AlphaZero."""

    env: Annotated[str, tyro.conf.Suppress] = "tictactoe"
    """The game."""
    env_options: Annotated[Mapping[str, Any], tyro.conf.Suppress] = field(default_factory=dict)
    """Options of the game."""
    total_steps: int = 1_000_000
    """Moves to play against oneself, all games together."""
    num_envs: int = 256
    """Games that are played side by side (G)."""
    horizon: int = 16
    """Moves of each game per iteration."""
    search: SearchConfig = field(default_factory=SearchConfig)
    """The search."""
    play: PlayConfig = field(default_factory=PlayConfig)
    """Self-play."""
    network: BoardNetConfig = field(default_factory=BoardNetConfig)
    """The network."""
    replay: WindowConfig = field(default_factory=WindowConfig)
    """What is learned from."""
    recorded: RecordsConfig = field(default_factory=RecordsConfig)
    """Games that were written down, to begin with."""
    learning_rate: float = 2e-3
    """Step size of Adam at the start."""
    learning_rate_end: float = 1e-4
    """Step size at the end; linear in between."""
    weight_decay: float = 1e-2
    """How fast weights shrink, per unit of the step size."""
    value_coef: float = 1.0
    """Weight of the value loss."""
    ownership_coef: float = 0.15
    """Weight of the loss of ownership."""
    max_grad_norm: float = 2.0
    """Gradients are scaled down to this norm."""
    average: float = 0.05
    """Share of the gradient steps so far whose weights are averaged in the network that plays and is kept; 0 for no average."""
    eval_every_steps: int = 0
    """Moves between measurements of strength, which keep the best policy; 0 for ten in a run."""
    eval_simulations: int = 100
    """Simulations of a move there."""
    elo_games: int = 20
    """Games there against each of the two networks measured before, for Elo over training; 0 for none."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Arithmetic of the network; auto takes bfloat16 where the processor gains by it."""
    device: str = "cpu"
    """Where the network lives: cpu, cuda or mps."""

    def __post_init__(self) -> None:
        for name in ("total_steps", "num_envs", "horizon", "eval_simulations"):
            require(self, name, getattr(self, name) >= 1, "at least 1")
        for name in ("learning_rate", "max_grad_norm"):
            require(self, name, getattr(self, name) > 0.0, "above 0")
        for name in ("learning_rate_end", "weight_decay", "value_coef", "ownership_coef"):
            require(self, name, getattr(self, name) >= 0.0, "at least 0")
        for name in ("eval_every_steps", "elo_games"):
            require(self, name, getattr(self, name) >= 0, "at least 0")
        require(self, "average", 0.0 <= self.average <= 1.0, "in [0, 1]")
        shared = self.num_envs % self.play.processes == 0
        require(self, "num_envs", shared, f"a multiple of processes = {self.play.processes}")


def build(config: Config, generator: torch.Generator | None = None) -> tuple[Game, BoardNet]:
    """Return the game and a network for it."""
    game, network = make_game(config.env, **config.env_options), config.network
    seen = spaces.Box(0.0, 1.0, (game.num_planes, game.rows, game.columns))
    ownership = network.ownership and game.ownership is not None
    shape = network.channels, network.blocks, network.pooling, ownership
    return game, BoardNet(seen, spaces.Discrete(game.num_actions), *shape, generator).to(config.device)


class SelfPlay:
    """G games against oneself, a new one wherever one ends.

    Args:
        game: The game.
        config: Options.
        net: The network, as it is whenever ``play`` is called.
        replay: Where finished games go.
    """

    def __init__(self, game: Game, config: Config, net: BoardNet, replay: GameReplay | Recorder) -> None:
        self.game, self.config, self.net, self.replay, self.rules = game, config, net, replay, rules_of(game)
        self.evaluator = NetEvaluator(net, game, _ENTRIES, config.precision)
        self.search = Search(game, config.search, config.num_envs, self.evaluator, config.play.quick_simulations)
        self.states = np.zeros((config.num_envs, game.state_size), np.int64)
        self._planes = np.zeros((config.num_envs, game.num_planes, game.rows, game.columns), np.float32)
        self.fights_on = np.zeros(config.num_envs, bool)
        """Games that are not given up."""
        self.given_up = np.full(config.num_envs, -1)
        """Who would have given up such a game, ``[G]``; -1 for nobody so far."""
        self.begun = False

    def play(self, moves: int, generator: np.random.Generator) -> dict[str, float]:
        """Play some moves in every game; return sums over those that ended, for ``shown``."""
        if not self.begun:
            self._begin(np.arange(len(self.states)), generator)
            self.begun = True
        self.evaluator.renew(self.net)
        self.search.forget()
        sums = dict.fromkeys(
            ("count", "moves", "first_won", "drawn", "resigned", "resign_checked", "resign_wrong"), 0.0
        )
        for _ in range(moves):
            self._move(generator, sums)
        asked, evaluated = self.evaluator.counts()
        return sums | {"asked": asked, "evaluated": evaluated}

    def _move(self, generator: np.random.Generator, sums: dict[str, float]) -> None:
        config, replay, games = self.config, self.replay, len(self.states)
        full = generator.random(games) < config.play.full_share
        exploring = replay.moves < config.play.exploring_moves
        budget = np.where(full, config.search.simulations, config.play.quick_simulations)
        found = self.search.run(self.states, budget, generator, full & (exploring | (config.search.method == "puct")))
        action = found.action
        if config.search.method == "puct":
            summed = found.policy.cumsum(1, dtype=np.float64)  # ends in the sum: no illegal move is ever drawn
            drawn = (summed <= generator.random((games, 1)) * summed[:, -1:]).sum(1)
            action = np.where(exploring, drawn, action)
        player = np.zeros(games, np.int8)
        result = np.zeros(games)
        play_rows(self.rules, self.states, np.full(games, -1), result, player)
        encode_rows(self.rules, self.states, self._planes)
        replay.remember(replay.packing.pack(self._planes), found.policy, found.value, player, full)
        hopeless = found.value < (config.play.resign_below or -np.inf)
        self.given_up = np.where(hopeless & (self.given_up < 0), player, self.given_up)
        resigned = hopeless & ~self.fights_on
        mover = player.copy()
        play_rows(self.rules, self.states, action, result, player)
        self.search.follow(action)
        over = ~np.isnan(result) | resigned
        for g in map(int, np.flatnonzero(over)):
            value, who = (-1.0, mover[g]) if resigned[g] else (result[g], player[g])
            self._finish(g, value, who, resigned[g], sums)
        self._begin(np.flatnonzero(over), generator)

    def _finish(self, g: int, result: float, player: int, resigned: bool, sums: dict[str, float]) -> None:
        sums["count"] += 1
        sums["moves"] += self.replay.moves[g]
        sums["first_won"] += (result if player == 0 else -result) > 0
        sums["drawn"] += result == 0
        sums["resigned"] += resigned
        if self.fights_on[g] and self.given_up[g] >= 0:
            sums["resign_checked"] += 1
            sums["resign_wrong"] += (result if player == self.given_up[g] else -result) >= 0
        ownership = None
        if self.game.ownership is not None and not resigned:
            ownership = np.zeros(self.game.rows * self.game.columns, np.float32)
            self.game.ownership(self.states[g], ownership)
        self.replay.finish(g, result, player, ownership)

    def _begin(self, games: np.ndarray, generator: np.random.Generator) -> None:
        if not len(games):
            return
        states = np.tile(self.game.start(), (len(games), 1))
        most = self.config.play.opening_moves
        numbers = generator.random((len(games), most))
        numbers[np.arange(most) >= generator.integers(0, most + 1, len(games))[:, None]] = np.nan
        play_at_random(self.rules, states, numbers, np.zeros(self.game.num_actions, np.uint8))
        self.states[games], self.given_up[games] = states, -1
        self.fights_on[games] = generator.random(len(games)) < self.config.play.resign_never

    def state_dict(self) -> dict[str, Any]:
        """Where the games stand; search trees live no longer than an iteration."""
        return {name: getattr(self, name) for name in ("states", "fights_on", "given_up", "begun")}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Undo ``state_dict``."""
        for name in ("states", "fights_on", "given_up"):
            getattr(self, name)[:] = state[name]
        self.begun = bool(state["begun"])


def shown(sums: dict[str, float]) -> dict[str, float]:
    """Return what to log of sums over games."""
    count, checked = max(sums["count"], 1.0), sums["resign_checked"]
    metrics = {"selfplay/games": sums["count"], "selfplay/resigned": sums["resigned"] / count}
    if sums["count"]:
        metrics |= {f"selfplay/{name}": sums[name] / count for name in ("moves", "first_won", "drawn")}
    if checked:
        metrics["selfplay/resign_wrong"] = sums["resign_wrong"] / checked
    return metrics | {"search/evaluated": sums["evaluated"] / max(sums["asked"], 1.0)}


def turned(game: Game, drawn: Positions, generator: np.random.Generator) -> tuple[torch.Tensor, ...]:
    """Return positions as the network reads them, each in a random symmetry: planes, policy, value, ownership."""
    count = len(drawn.planes)
    symmetry = generator.integers(0, len(game.symmetries_points), count)
    points, actions = game.symmetries_points[symmetry], game.symmetries_actions[symmetry]
    planes = np.take_along_axis(drawn.planes, points[:, None], 2).reshape(count, -1, game.rows, game.columns)
    policy = np.take_along_axis(drawn.policy, actions, 1)
    ownership = np.take_along_axis(drawn.ownership, points, 1) if drawn.ownership.shape[1] else drawn.ownership
    return (
        torch.from_numpy(planes).contiguous(memory_format=torch.channels_last),
        torch.from_numpy(policy),
        torch.from_numpy(drawn.value),
        torch.from_numpy(ownership),
    )


def learn(
    net: BoardNet, flat: Flat, optimizer: FlatAdam, average: Averaged[BoardNet], positions: GameReplay | RecordedPositions,
    steps: int, config: Config, generator: np.random.Generator,
) -> dict[str, float]:  # fmt: skip
    """Take gradient steps on positions, those of the window or recorded ones, which the average of the network follows.

    loss = cross-entropy(policy of the search) + value_coef * cross-entropy(result) + ownership_coef * cross-entropy(owner)
    """
    coarse = is_coarse(config.precision, torch.device(config.device))
    sums = dict.fromkeys(("policy", "value", "ownership", "grad_norm", "policy_floor"), 0.0)
    seen: deque[torch.Tensor] = deque(maxlen=_SETTLED)
    net.train()
    for _ in range(steps):
        drawn = turned(positions.game, positions.draw(config.replay.batch_size, generator), generator)
        planes, policy, value, owner = (part.to(config.device) for part in drawn)
        with torch.autocast(planes.device.type, torch.bfloat16, enabled=coarse):
            said = net(planes)
        policy_loss = -(policy * F.log_softmax(said.logits.float(), -1)).sum(-1).mean()
        value_loss = F.binary_cross_entropy_with_logits(said.result.float(), (value + 1.0) / 2.0)
        loss = policy_loss + config.value_coef * value_loss
        if said.ownership is not None:
            known = owner != UNKNOWN
            owner_loss = masked_mean(
                F.binary_cross_entropy_with_logits(
                    said.ownership.float(), (owner.float() * known + 1.0) / 2.0, reduction="none"
                ),
                known,
            )
            loss = loss + config.ownership_coef * owner_loss
            sums["ownership"] += owner_loss.item()
        flat.zero_grad()
        loss.backward()
        sums["grad_norm"] += flat.clip_grad_norm(config.max_grad_norm).item()
        optimizer.step()
        average.update()
        seen.append(planes)
        sums["policy"] += policy_loss.item()
        sums["value"] += value_loss.item()
        sums["policy_floor"] += -torch.special.xlogy(policy, policy).sum(-1).mean().item()
    net.eval()
    with torch.autocast(config.device.partition(":")[0], torch.bfloat16, enabled=coarse):
        average.settle(seen)
    return {f"loss/{name}": total / steps for name, total in sums.items() if steps}


def train(config: Config, run: Run) -> BoardPolicy:
    """Train a player.

    Args:
        config: Options.
        run: Where it is logged and saved.

    Returns:
        The policy with the best measured strength; the last one for a game that nobody has solved.
    """
    game, net = build(config, run.rng("init"))
    flat = Flat(net)
    optimizer = FlatAdam(flat, config.learning_rate, weight_decay=config.weight_decay)
    average = Averaged(net, flat, config.average)
    kept = average.net  # what plays, is measured and kept
    replay = GameReplay(game, config.replay, config.num_envs, run.directory / "state" / "replay")
    elo = EloOverTraining(kept, game, config.search, config.elo_games, config.precision) if config.elo_games else None
    keeper = StrengthKeeper(kept, run, config.eval_simulations, elo)
    start = RecordedStart(config.recorded, game, run.seed_for("records"))
    play_rng, learn_rng = run.rng("play"), run.rng("learn")

    batch_size = config.num_envs * config.horizon
    total = -(-config.total_steps // batch_size)  # rounded up
    eval_every = max(1, config.eval_every_steps // batch_size if config.eval_every_steps else total // 10)

    def teach(positions: GameReplay | RecordedPositions, steps: int) -> dict[str, float]:
        return learn(net, flat, optimizer, average, positions, steps, config, seeded(learn_rng))

    with _players(config, game, kept, replay, run.seed_for("workers")) as selfplay:
        run.track(net=net, optimizer=optimizer, average=average, replay=replay, selfplay=selfplay, keeper=keeper)
        for number in run.iterations(start.iterations + total):
            iteration = number - start.iterations  # of self-play
            if iteration < 0:
                run.log(steps=0, **start.learn(number, kept, teach))
            else:
                optimizer.learning_rate = linear(config.learning_rate, config.learning_rate_end, iteration / total)
                before = replay.added
                played = shown(selfplay.play(config.horizon, seeded(play_rng)))
                pace = config.replay.passes / config.replay.batch_size
                steps = int(replay.added * pace) - int(before * pace)  # what is left over counts in the next iteration
                run.log(steps=(iteration + 1) * batch_size, **played, **teach(replay, steps))
                run.log(**{"replay/window": replay.window, "replay/added": replay.added})
                if isinstance(selfplay, SelfPlayWorkers):
                    run.log(**{"selfplay/faults": selfplay.faults})
            if iteration + 1 == total or (iteration >= -1 and (iteration + 1) % eval_every == 0):
                keeper.update(max(0, iteration + 1) * batch_size)
    policy = keeper.finish()
    write_sample_games(board_player(policy, game, "alphazero", None), game, run.directory)
    return policy


def _players(
    config: Config, game: Game, net: BoardNet, replay: GameReplay, seed: int
) -> AbstractContextManager[SelfPlay | SelfPlayWorkers]:
    """Return who plays: this process, or several others."""
    if config.play.processes == 1:
        return nullcontext(SelfPlay(game, config, net, replay))
    return SelfPlayWorkers(__name__ if "." in __name__ else __file__, config, net, replay, seed)


def seeded(generator: torch.Generator) -> np.random.Generator:
    """Return a numpy generator that follows from one of the run."""
    return np.random.default_rng(int(torch.randint(2**62, (), generator=generator)))


def evaluate(policy: BoardPolicy, config: Config) -> dict[str, Any]:
    """Return the evaluation of a trained policy; the same every time."""
    return evaluation(policy, config.eval_simulations)
