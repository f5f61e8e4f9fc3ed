"""Atari games as a batch, on the vector environment that ale_py has in C++.

An observation is four grey frames of 84 x 84, the newest last: ``[84, 84, 4]`` uint8. A step is four frames of the console;
a pixel is the larger of its values in the last two. ale_py restarts an episode by itself only in the step after its end, and
takes a seed for each restart, so every episode is started here: addressed by (seed, environment, episode) like any other, and
with its true final observation.

Axes: B parallel environments.
"""

from __future__ import annotations

import dataclasses
import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
import torch

from cumulant.engine.buffers import Buffers
from cumulant.envs import extras
from cumulant.errors import ConfigError, EnvironmentFault, UsageError, did_you_mean

SIZE, STACK = 84, 4


@dataclass(frozen=True)
class Options:
    """Options of an Atari game.

    Args:
        clip_reward: Train on the sign of rewards; logs and evaluations have the true score either way.
        episodic_life: Show a lost life as a terminal step in training; the game goes on. Logs count whole games.
        repeat_action_probability: Chance of each frame to repeat the action before; the published scores of agents mostly have 0.
        full_action_space: All 18 actions, not only those that do something in this game.
        frame_skip: Frames per step.
        noop_max: A game starts after 1 to so many frames without an action.
        fire_on_reset: Press the fire button at the start where the game waits for it.
        max_frames: Games are truncated after so many frames (half an hour).

    Raises:
        ConfigError: If a value is refused.
    """

    clip_reward: bool = True
    episodic_life: bool = False
    repeat_action_probability: float = 0.25
    full_action_space: bool = False
    frame_skip: int = 4
    noop_max: int = 30
    fire_on_reset: bool = True
    max_frames: int = 108_000

    def __post_init__(self) -> None:
        if not 0.0 <= self.repeat_action_probability < 1.0:
            raise ConfigError(f"repeat_action_probability = {self.repeat_action_probability}; it must be in [0, 1)")
        for name, low in (("frame_skip", 1), ("noop_max", 0), ("max_frames", 1)):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < low:
                raise ConfigError(f"{name} = {value!r}; it must be a whole number, at least {low}")


def is_game(env: str) -> bool:
    """Return whether an id is one of ale_py's."""
    return env.startswith(extras.ATARI)


class AtariVector(Buffers):
    """B games, behind the interface of ``VectorEnv``.

    They run on as many threads as torch has (``--threads``; one by default); the result does not depend on it. ale_py's vector
    environment cannot save its state, so an open game is rebuilt by replaying its actions from its seed, which is exact.

    Args:
        env: Such as "ALE/Pong-v5".
        num_envs: B.
        seed: Run seed.
        options: Fields of ``Options``.
        training: Whether rewards are clipped and lives are episodes, where the options say so; an evaluation wants neither.

    Raises:
        MissingPackage: If ale_py is not installed (message names the extra).
        UsageError: If there is no such game (message names the closest).
        ConfigError: If an option is refused.

    Source:
        Mnih et al. 2015, "Human-level control through deep reinforcement learning"; Machado et al. 2018 (repeated actions).
    """

    def __init__(
        self, env: str, num_envs: int, seed: int, options: Mapping[str, Any], *, training: bool = True
    ) -> None:
        os.environ.setdefault("ALE_LOG_LEVEL", "error")
        extras.announce(env)
        spec = gymnasium.registry.get(env)
        if spec is None:
            games = [name for name in gymnasium.registry if is_game(name)]
            raise UsageError(f"no environment '{env}': {did_you_mean(env, games)}")
        known = [field.name for field in dataclasses.fields(Options)]
        for name in options:
            if name not in known:
                raise ConfigError(f"environment '{env}' has no option '{name}': {did_you_mean(name, known)}")
        try:
            self.options = Options(**options)
        except TypeError as problem:
            raise ConfigError(f"environment '{env}' refuses {dict(options)}: {problem}") from problem
        self._clip = self.options.clip_reward and training
        self._by_life = self.options.episodic_life and training
        from ale_py.vector_env import AtariVectorEnv

        self._games: Any = AtariVectorEnv(
            spec.kwargs["game"],
            num_envs,
            num_threads=max(1, min(torch.get_num_threads(), num_envs)),
            max_num_frames_per_episode=self.options.max_frames,
            repeat_action_probability=self.options.repeat_action_probability,
            full_action_space=self.options.full_action_space,
            img_height=SIZE,
            img_width=SIZE,
            stack_num=STACK,
            frameskip=self.options.frame_skip,
            noop_max=self.options.noop_max,
            use_fire_reset=self.options.fire_on_reset,
            reward_clipping=False,  # here, so that the log has the score
        )
        space = gymnasium.spaces.Box(0, 255, (SIZE, SIZE, STACK), np.uint8)
        max_steps = -(-self.options.max_frames // self.options.frame_skip)
        super().__init__(env, num_envs, seed, space, self._games.single_action_space, max_steps)
        self._actions = [bytearray() for _ in range(num_envs)]  # of the open games
        self._lives = np.zeros(num_envs, np.int64)
        self._begin(np.ones(num_envs, bool))

    def _begin(self, mask: np.ndarray) -> None:
        """Start the games where ``mask [B]`` is set."""
        starting = np.flatnonzero(mask)
        for i in starting:
            self._actions[i] = bytearray()
        self.clock[mask] = 0
        frames, info = self._restart_games(mask)
        self.obs[mask] = np.moveaxis(frames[mask], 1, -1)
        self._lives[mask] = info["lives"][mask]

    def _restart_games(self, mask: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        seeds = np.array([self.seed_of(int(i)) for i in np.flatnonzero(mask)])
        # ale_py wants every game started at once before any on its own
        return self._games.reset(seed=seeds, options=None if mask.all() else {"reset_mask": mask.copy()})

    def step(self, action: np.ndarray) -> None:
        """Advance every game by one step; games that end start anew.

        Args:
            action: int64 ``[B]``.
        """
        action = np.ascontiguousarray(action, np.int64)
        frames, score, over, cut, info = self._games.step(action)
        self.next_obs[:] = np.moveaxis(frames, 1, -1)
        self.clock += 1
        for taken, choice in zip(self._actions, action.tolist()):
            taken.append(choice)
        self.reward[:] = np.sign(score) if self._clip else score
        self.terminated[:], self.truncated[:] = over, cut & ~over
        game_ended = self.terminated | self.truncated
        if self._by_life:
            self.terminated |= (info["lives"] < self._lives) & ~game_ended
        self._lives[:] = info["lives"]
        np.logical_or(self.terminated, self.truncated, out=self.ended)
        self.episodes.record(score, None, game_ended)
        self.obs[:] = self.next_obs
        if game_ended.any():
            self.episode += game_ended
            self._begin(game_ended)

    def restart(self, mask: np.ndarray) -> np.ndarray:
        """Give up the games where ``mask [B]`` is set, start the next ones, and return ``obs``."""
        self.episodes.open[mask] = 0.0
        self.episode += mask
        self._begin(mask)
        return self.obs

    def state_dict(self) -> dict[str, Any]:
        """Episode numbers and the actions of the open games; the observations tell whether a replay went the same way."""
        return {
            "seed": self.seed,
            "episode": self.episode.copy(),
            "actions": [np.frombuffer(bytes(taken), np.uint8).copy() for taken in self._actions],
            "obs": self.obs.copy(),
            "log": self.episodes.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Rebuild every open game by replaying its actions; all games step together, so that they arrive together."""
        self.seed, self.episode[:] = int(state["seed"]), state["episode"]
        taken = [np.asarray(actions, np.uint8) for actions in state["actions"]]
        if len(taken) != self.num_envs:
            raise ValueError(f"{len(taken)} games in the checkpoint and {self.num_envs} here")
        self._begin(np.ones(self.num_envs, bool))
        longest = max(len(actions) for actions in taken)
        first = np.array([longest - len(actions) for actions in taken])  # until then a game plays for nothing
        frames, info = None, {"lives": self._lives}
        for t in range(longest):
            if (first == t).any() and t > 0:
                self._restart_games(first == t)
            now = np.array([actions[t - start] if t >= start else 0 for actions, start in zip(taken, first)], np.int64)
            frames, _, over, cut, info = self._games.step(now)
            if ((over | cut) & (t >= first)).any():
                raise EnvironmentFault(f"environment '{self.name}' ended a game that was open when it was saved")
        if frames is not None:
            self.obs[:] = np.moveaxis(frames, 1, -1)
        if (first == longest).any() and longest > 0:  # no step of it was taken yet
            self._begin(first == longest)
        self._lives[:] = np.where(first == longest, self._lives, info["lives"])
        self.clock[:] = longest - first
        self._actions = [bytearray(actions.tobytes()) for actions in taken]
        if not np.array_equal(self.obs, state["obs"]):
            warnings.warn(
                f"environment '{self.name}' does not follow from its seed and actions: its open games were rebuilt "
                "differently, so this run goes on but will not be bit-identical to an undisturbed one",
                stacklevel=2,
            )
        self.episodes.load_state_dict(state["log"])

    def close(self) -> None:
        """Free the consoles."""
        self._games = None
