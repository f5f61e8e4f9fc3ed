"""A trained player of a board game: a network and a search. Saved, loaded and asked for moves.

Axes: G positions, W words of a position, A actions, L positions that the network sees at once, C planes, H rows and w columns of
the board, S symmetries.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cumulant.engine.policy import Policy
from cumulant.engine.search import Found, Search, SearchConfig
from cumulant.envs.games.game import Game
from cumulant.envs.games.lookup import make_game
from cumulant.errors import RunError
from cumulant.kernels.seen import Seen, Turns, fill_in, look_up
from cumulant.nn.board import BoardNet, for_inference
from cumulant.run.config import from_dict

_ROWS = 256  # that the network sees at once of the symmetries of some positions


class NetEvaluator:
    """What a network says of positions, for a search.

    Args:
        net: The network; a copy for inference is made.
        game: The game.
        entries: How many positions are remembered, a power of 2; 0 for none. Then a position and its mirror images are one.
        precision: See ``nn.board.for_inference``.
        every_symmetry: Whether to average what is said of all symmetries of a position: S times the work.

    Attributes:
        asked: Positions that were asked for.
        evaluated: Those that the network had to see.
    """

    def __init__(
        self, net: BoardNet, game: Game, entries: int = 0, precision: str = "auto", every_symmetry: bool = False
    ) -> None:
        self.game, self.precision, self.every_symmetry = game, precision, every_symmetry
        self.asked = self.evaluated = 0
        actions = game.num_actions
        self._seen = Seen(
            np.zeros(entries, np.uint64), np.zeros((entries, actions), np.float32), np.zeros(entries, np.float32)
        )
        places = np.argsort(game.symmetries_points, axis=1)
        none = np.zeros(0, np.int32), np.zeros(0, np.int64), np.zeros(0, np.int64)
        self._turns = Turns(game.symmetries_points, places, game.symmetries_actions, *none)
        self.renew(net)

    def renew(self, net: BoardNet) -> None:
        """Take the weights of a network as they are now, and forget what was said before."""
        self.net = for_inference(net, self.precision)
        self._seen.key[:] = 0

    def __call__(self, planes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return logits ``[L, A]`` and values ``[L]`` of positions ``[L, C, H, w]``."""
        count = len(planes)
        self.asked += count
        if not len(self._seen.key):
            self.evaluated += count
            return self._say(planes)
        if len(self._turns.symmetry) < count:
            self._make_room(count)
        flat = planes.reshape(count, planes.shape[1], -1)
        rows = look_up(flat, flat.view(np.uint32), count, self._seen, self._turns, self._shown)
        self.evaluated += rows
        said = self._logits, self._values
        if rows:
            try:
                said = self._say(self._shown[:rows].reshape(rows, *planes.shape[1:]))
            except BaseException:
                self._seen.key[:] = 0  # the keys of these positions are written, what the network says of them is not
                raise
        fill_in(count, said[0], said[1], self._seen, self._turns, self._logits, self._values)
        return self._logits[:count], self._values[:count]

    def _make_room(self, count: int) -> None:
        game = self.game
        self._turns = self._turns._replace(
            symmetry=np.zeros(count, np.int32), slot=np.zeros(count, np.int64), row=np.zeros(count, np.int64)
        )
        self._shown = np.zeros((count, game.num_planes, game.rows * game.columns), np.float32)
        self._logits = np.zeros((count, game.num_actions), np.float32)
        self._values = np.zeros(count, np.float32)

    def counts(self) -> tuple[int, int]:
        """Return how many positions were asked for, and how many of them the network had to see, since the last call."""
        counts = self.asked, self.evaluated
        self.asked = self.evaluated = 0
        return counts

    @torch.inference_mode()
    def _say(self, planes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if not self.every_symmetry or not len(planes):
            return self._ask(planes)
        game, count = self.game, len(planes)
        logits, values = np.zeros((count, game.num_actions), np.float32), np.zeros(count, np.float32)
        flat, number = planes.reshape(*planes.shape[:2], -1), len(game.symmetries_points)
        together = max(1, _ROWS // count)  # a few positions by themselves take the network several times as long
        for first in range(0, number, together):
            some = slice(first, first + together)
            shown = flat[:, :, game.symmetries_points[some]].transpose(2, 0, 1, 3)
            said, value = self._ask(np.ascontiguousarray(shown).reshape(-1, *planes.shape[1:]))
            for own, worth, actions in zip(
                said.reshape(-1, count, game.num_actions), value.reshape(-1, count), game.symmetries_actions[some]
            ):
                logits[:, actions] += own / number
                values += worth / number
        return logits, values

    def _ask(self, planes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        weight = self.net.value.weight
        x = torch.from_numpy(planes).to(device=weight.device, dtype=weight.dtype)
        said = self.net(x.contiguous(memory_format=torch.channels_last))
        return said.logits.float().cpu().numpy(), torch.tanh(said.result.float() / 2.0).cpu().numpy()


class BoardPolicy:
    """A network that plays a game by searching.

    Args:
        net: The network.
        card: What is known of it; ``env`` and ``env_options`` name the game, ``config`` how it was trained.
        search: How moves are searched for; by default as in training, without its noise.
        every_symmetry: See ``NetEvaluator``.
    """

    def __init__(
        self,
        net: BoardNet,
        card: Mapping[str, Any],
        search: SearchConfig | None = None,
        every_symmetry: bool = True,
    ) -> None:
        self.net, self.card, self.every_symmetry = net, dict(card), every_symmetry
        try:
            self.game = make_game(str(self.card["env"]), **self.card.get("env_options", {}))
            trained_with = from_dict(SearchConfig, self.card.get("config", {}).get("search", {}), where="search")
        except (KeyError, TypeError, AttributeError) as problem:
            raise RunError(f"the policy card says nothing sensible of its game: {problem!r}") from problem
        self.search_config = search or trained_with
        shape = (self.game.num_planes, self.game.rows, self.game.columns)
        if net.observation_space.shape != shape or net.action_space.n != self.game.num_actions:
            raise RunError(
                f"this network is for boards of {net.observation_space.shape} with {net.action_space.n} actions, and "
                f"{self.game.name} has {shape} and {self.game.num_actions}"
            )
        self._evaluator: NetEvaluator | None = None

    def evaluator(self) -> NetEvaluator:
        """Return what the network says of positions; the same object every time."""
        if self._evaluator is None:
            self._evaluator = NetEvaluator(
                self.net,
                self.game,
                1 << 18,
                str(self.card.get("config", {}).get("precision", "auto")),
                self.every_symmetry,
            )
        return self._evaluator

    def searcher(self, games: int, simulations: int | None = None, **options: Any) -> Search:
        """Return a search in some games side by side, whose trees are kept from move to move.

        Args:
            games: G.
            simulations: Most of a move.
            options: Other fields of ``SearchConfig``.
        """
        config = replace(self.search_config, **options)
        return Search(self.game, config, games, self.evaluator(), simulations or config.simulations)

    def search(
        self, states: np.ndarray, simulations: int | None = None, generator: np.random.Generator | None = None
    ) -> Found:
        """Search positions.

        Args:
            states: ``[G, W]``.
            simulations: Of each; by default as in training.
            generator: Of exploration as in self-play; None for none, which makes the search deterministic.

        Returns:
            Visits, policy, best move and value of each.
        """
        return self.searcher(len(states), simulations).run(states, simulations, generator)

    def act(self, states: np.ndarray, simulations: int | None = None) -> np.ndarray:
        """Return the best move of each position, ``[G]`` int64; -1 where the game is over."""
        return self.search(states, simulations).action

    def save(self, folder: Path | str, name: str = "policy") -> None:
        """Write weights and card; see ``engine.policy.Policy.save``."""
        Policy(self.net, self.card).save(folder, name)

    @classmethod
    def load(cls, folder: Path | str, name: str = "policy") -> BoardPolicy:
        """Read a saved policy.

        Raises:
            RunError: If it is missing or damaged, or no policy of a board game.
        """
        return cls.of(Policy.load(folder, name), folder)

    @classmethod
    def of(cls, policy: Policy, where: Path | str = "it") -> BoardPolicy:
        """Return a policy that was read as one of a board game.

        Raises:
            RunError: If it is none.
        """
        if not isinstance(policy.net, BoardNet):
            raise RunError(f"{where} holds no policy of a board game: its network is a {type(policy.net).__name__}")
        return cls(policy.net, policy.card)
