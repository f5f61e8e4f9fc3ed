"""Board games as PettingZoo environments: two agents who move in turn (AEC).

``pettingzoo`` is an optional package: ``pip install 'cumulant[games]'``.
"""

from __future__ import annotations

import functools
from typing import Any

import gymnasium
import numpy as np

from cumulant.envs.games.game import Game
from cumulant.envs.games.lookup import make_game
from cumulant.errors import MissingPackage

AGENTS = ("player_0", "player_1")


def aec_env(game: str | Game, render_mode: str | None = None, **options: Any) -> Any:
    """Make a game as a PettingZoo AEC environment.

    Agents are "player_0", who begins, and "player_1". An observation is a dictionary of "observation", the planes ``[C, H, w]``
    as the agent sees them, and "action_mask". Rewards are 1, 0 or -1 at the end; an illegal move loses, as PettingZoo has it.

    Args:
        game: Name of a game, or a game.
        render_mode: None, or "ansi": ``render`` then returns the board as text.
        options: Of the game.

    Raises:
        MissingPackage: If pettingzoo is not installed.
        UsageError: If there is no such game, or no such option.
    """
    try:
        from pettingzoo.utils import wrappers
    except ImportError as problem:
        raise MissingPackage(
            "games of several agents need the package 'pettingzoo': pip install 'cumulant[games]'"
        ) from problem
    made = game if isinstance(game, Game) else make_game(game, **options)
    env: Any = _class()(made, render_mode)
    env = wrappers.TerminateIllegalWrapper(env, illegal_reward=-1)
    return wrappers.OrderEnforcingWrapper(wrappers.AssertOutOfBoundsWrapper(env))


@functools.cache
def _class() -> Any:
    from pettingzoo import AECEnv

    class GameEnv(AECEnv):
        """A game between two agents; see ``aec_env``."""

        def __init__(self, game: Game, render_mode: str | None) -> None:
            super().__init__()
            self.metadata = {"name": f"{game.name}_v0", "is_parallelizable": False, "render_modes": ["ansi"]}
            self.game, self.render_mode = game, render_mode
            self.possible_agents = list(AGENTS)
            first = game.planes(game.start())
            high = max(1.0, float(np.abs(first).max()))
            seen = gymnasium.spaces.Dict(
                {
                    "observation": gymnasium.spaces.Box(-high, high, first.shape, np.float32),
                    "action_mask": gymnasium.spaces.Box(0, 1, (game.num_actions,), np.int8),
                }
            )
            self.observation_spaces = dict.fromkeys(AGENTS, seen)
            self.action_spaces = {agent: gymnasium.spaces.Discrete(game.num_actions) for agent in AGENTS}

        def observation_space(self, agent: str) -> Any:
            return self.observation_spaces[agent]

        def action_space(self, agent: str) -> Any:
            return self.action_spaces[agent]

        def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> None:
            self.state_row = self.game.start()
            self.last_action: int | None = None
            self.agents = list(AGENTS)
            self.rewards = dict.fromkeys(AGENTS, 0.0)
            self._cumulative_rewards = dict.fromkeys(AGENTS, 0.0)
            self.terminations = dict.fromkeys(AGENTS, False)
            self.truncations = dict.fromkeys(AGENTS, False)
            self.infos: dict[str, dict[str, Any]] = {agent: {} for agent in AGENTS}
            self.agent_selection = AGENTS[0]

        def observe(self, agent: str) -> dict[str, np.ndarray]:
            """Return what an agent sees; only who is to move has actions, and the other sees what that one sees."""
            mask = np.zeros(self.game.num_actions, np.uint8)
            if agent == self.agent_selection:
                self.game.legal(self.state_row, mask)
            return {"observation": self.game.planes(self.state_row), "action_mask": mask.astype(np.int8)}

        def step(self, action: Any) -> None:
            agent = self.agent_selection
            if self.terminations[agent] or self.truncations[agent]:
                self._was_dead_step(action)
                return
            self._cumulative_rewards[agent] = 0.0
            self._clear_rewards()
            self.game.play(self.state_row, int(action))
            self.last_action = int(action)
            self.agent_selection = AGENTS[int(self.game.player(self.state_row))]
            worth = float(self.game.outcome(self.state_row))
            if not np.isnan(worth):
                other = AGENTS[1 - AGENTS.index(self.agent_selection)]
                self.rewards = {self.agent_selection: worth, other: -worth}
                self.terminations = dict.fromkeys(AGENTS, True)
            self._accumulate_rewards()

        def render(self) -> str | None:
            if self.render_mode != "ansi":
                return None
            return self.game.render(self.state_row, self.last_action)

        def close(self) -> None:
            """Nothing to free."""

    return GameEnv
