"""Environments of several agents that act at once (PettingZoo's parallel API), learned by one policy that all of them share.

Each agent is a row of the batch, like an environment of its own; an algorithm does not notice. ``num_envs`` counts rows, so it is
a multiple of the number of agents. Nothing of PettingZoo is imported: an environment is recognised by what it offers.

An agent may end before the others. Its row would then be dead, and no algorithm must learn from that, so in training the whole
team starts anew when its first agent ends: those who were still going are truncated there, which bootstraps from their final
observations. In an evaluation (``whole``) they play on, every agent's episode counts to its own end, and dead rows are marked
(``alive``).

Axes: B rows (agents of all copies), N agents of a team, C columns of an action.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from cumulant.engine.faults import Wrong
from cumulant.engine.gym_vector import GymVector
from cumulant.engine.masks import MaskGate, Masks, read_mask, shown_masks
from cumulant.envs.actions import action_shape, to_native
from cumulant.envs.batched import EpisodeLog
from cumulant.envs.spaces import array_space, flatten, masked
from cumulant.errors import ConfigError, UsageError

_OFFERED = ("possible_agents", "observation_space", "action_space", "reset", "step")


def is_parallel(made: Any) -> bool:
    """Return whether an object is a parallel environment of several agents."""
    return not isinstance(made, gymnasium.Env) and all(hasattr(made, name) for name in _OFFERED)


class Team(gymnasium.Env):
    """One parallel environment as a Gymnasium environment: its agents' observations and actions stacked, ``[N, ...]``.

    What Gymnasium has no place for is in attributes, ``[N]`` each, of the last step.

    Args:
        name: What messages call it.
        made: The parallel environment.
        masks: When to show ``info["action_mask"]`` as part of the observations.
        whole: Whether agents play on when another one has ended.

    Attributes:
        reward, cost: Of each agent, float64; 0 for one that had ended before.
        terminated, truncated: Whether each agent's episode ended with this step.
        alive: Whether each agent took this step.
        living: Whether each agent takes the next one.
        has_costs: Whether there were costs so far.

    Raises:
        UsageError: If its agents do not have the same spaces.
        ConfigError: If a part of a space is not supported, or there are no masks.
    """

    def __init__(self, name: str, made: Any, masks: Masks, whole: bool) -> None:
        self.name, self.made, self.whole = name, made, whole
        self.agents = list(made.possible_agents)
        if not self.agents:
            raise UsageError(f"environment '{name}' has no agents")
        first = self.agents[0]
        seen, acts = made.observation_space(first), made.action_space(first)
        for agent in self.agents[1:]:
            for what, ours, theirs in (
                ("observations", seen, made.observation_space(agent)),
                ("actions", acts, made.action_space(agent)),
            ):
                if ours != theirs:
                    raise UsageError(
                        f"environment '{name}': agents '{first}' and '{agent}' have the {what} {ours} and {theirs}: agents that "
                        "share a policy must have the same spaces; pad them (as supersuit's pad_observations_v0 and "
                        "pad_action_space_v0 do)"
                    )
        try:
            shape, _ = action_shape(acts)
            self._masks = shown_masks(masks, seen, acts, lambda: made.reset(seed=0)[1].get(first, {}))
            self.agent_observation_space = masked(seen, self._masks) if self._masks else seen
            self.agent_action_space = acts
            shown = array_space(self.agent_observation_space)
            self._gate = MaskGate(self.agent_observation_space, acts)
        except ConfigError as problem:
            raise ConfigError(f"environment '{name}': {problem}") from None
        count = len(self.agents)
        self.observation_space = _stacked(shown, count)
        self.action_space = spaces.Box(-np.inf, np.inf, (count, *shape), np.float32)
        self._obs = np.zeros((count, *(shown.shape or ())), shown.dtype)
        self.living = np.zeros(count, bool)
        self.reward, self.cost, self.has_costs = np.zeros(count), np.zeros(count), False
        self.terminated, self.truncated, self.alive = np.zeros((3, count), bool)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Start a new episode with all agents; see ``gymnasium.Env.reset``."""
        obs, infos = self.made.reset(seed=seed)
        missing = [agent for agent in self.agents if agent not in obs]
        if missing:
            raise UsageError(
                f"environment '{self.name}' starts without agent '{missing[0]}': agents that come later are not supported; "
                "all of possible_agents must be there from the start"
            )
        for k, agent in enumerate(self.agents):
            if self._masks and "action_mask" not in infos.get(agent, {}):
                raise ConfigError(f"environment '{self.name}' has no action masks: its infos have no 'action_mask'")
            self._see(k, obs[agent], infos.get(agent, {}), False)
        self.living[:] = True
        return self._obs, {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Let every living agent act; see ``gymnasium.Env.step``."""
        acts = {
            agent: to_native(self.agent_action_space, action[k])
            for k, agent in enumerate(self.agents)
            if self.living[k]
        }
        obs, rewards, terminations, truncations, infos = self.made.step(acts)
        self.alive[:] = self.living
        for values in (self.reward, self.cost, self.terminated, self.truncated):
            values[:] = 0
        for k, agent in enumerate(self.agents):
            if not self.alive[k]:
                continue
            gone = agent not in obs  # without a word: there is nothing to bootstrap from
            self.terminated[k] = gone or bool(terminations[agent])
            self.truncated[k] = not self.terminated[k] and bool(truncations[agent])
            self.reward[k] = float(rewards.get(agent, 0.0))
            info = infos.get(agent, {})
            if "cost" in info:
                self.cost[k], self.has_costs = float(info["cost"]), True
            for what, number in (("reward", self.reward[k]), ("cost", self.cost[k])):
                if not math.isfinite(number):
                    raise Wrong(f"gave agent '{agent}' the {what} {number}: {what}s must be finite numbers")
            if not gone:
                self._see(k, obs[agent], info, bool(self.terminated[k] or self.truncated[k]))
        self.living = self.alive & ~self.terminated & ~self.truncated
        over = not self.living.any() if self.whole else not self.living.all()
        if over:
            self.truncated |= self.living
        return self._obs, float(self.reward.sum()), False, over, {}

    def close(self) -> None:
        """Close the parallel environment."""
        self.made.close()

    def _see(self, k: int, obs: Any, info: Mapping[str, Any], over: bool) -> None:
        """Write the observation of one agent into its row."""
        space = self.agent_observation_space
        if self._masks:
            obs = {"action_mask": read_mask(info, self._masks, over), "observation": obs}
        try:
            array = flatten(space, obs)
        except ValueError as problem:
            raise Wrong(
                f"gave agent '{self.agents[k]}' an observation that is not of its space: {problem}"
            ) from problem
        if array.shape != self._obs.shape[1:]:
            raise Wrong(
                f"gave agent '{self.agents[k]}' an observation of shape {array.shape}: its space has {self._obs.shape[1:]}"
            )
        if array.dtype.kind == "f" and not np.isfinite(array).all():  # before it may become an integer
            raise Wrong(f"gave agent '{self.agents[k]}' an observation that is not finite: {array}")
        self._obs[k] = array
        self._gate.mend(self._obs[k], over, f"agent '{self.agents[k]}' ")


class ParallelVector:
    """Copies of a parallel environment, one row for each agent, behind the interface of ``VectorEnv``.

    Episodes of copies, replay and faults are those of ``GymVector``; at a fault every agent of the copy is truncated.

    Args:
        env: What messages call it.
        num_envs: B, a multiple of the number of agents.
        seed: Run seed.
        make: Makes one parallel environment.
        masks: When to show ``info["action_mask"]`` as part of the observations.
        whole: Whether agents play on when another one has ended (for evaluation); B is then rounded up to whole copies.

    Attributes:
        alive: Whose last step was an agent's that had not ended before, ``[B]`` bool.

    Raises:
        UsageError: If its agents do not have the same spaces.
        ConfigError: If B is no multiple of the number of agents, or a part of a space is not supported.
    """

    def __init__(
        self, env: str, num_envs: int, seed: int, make: Callable[[], Any], masks: Masks = "never", whole: bool = False
    ) -> None:
        spare = [Team(env, make(), masks, whole)]
        first = spare[0]
        agents = len(first.agents)
        copies = -(-num_envs // agents)  # rounded up
        if num_envs % agents and not whole:
            raise ConfigError(
                f"num_envs = {num_envs}: environment '{env}' has {agents} agents, and each is a row of the batch: give a "
                f"multiple, such as {copies * agents}"
            )
        self.observation_space, self.action_space = first.agent_observation_space, first.agent_action_space
        self._teams = GymVector(env, copies, seed, lambda: spare.pop() if spare else Team(env, make(), masks, whole))
        self.num_envs, self._agents = copies * agents, agents
        shape = (self.num_envs, *self._teams.obs.shape[2:])
        self.obs, self.next_obs = self._teams.obs.reshape(shape), self._teams.next_obs.reshape(shape)  # the same memory
        self.reward, self.cost = np.zeros((2, self.num_envs), np.float32)
        self.terminated, self.truncated, self.ended, self.faulted = np.zeros((4, self.num_envs), bool)
        self.alive = np.ones(self.num_envs, bool)
        self.has_costs, self.faults = False, 0
        self.outcome: np.ndarray | None = None
        self.episodes = EpisodeLog(self.num_envs, ("cost",))
        self.outcome_names: tuple[str, ...] = ()
        self.term_names: tuple[str, ...] = ()
        self.max_steps = 0

    def step(self, action: np.ndarray) -> None:
        """Let every agent act; see ``GymVector.step``."""
        teams, count = self._teams, self._agents
        living = np.concatenate([team.living for team in self._each()])  # before a fault replaces a team
        teams.step(np.asarray(action, np.float32).reshape(teams.num_envs, -1))
        self.faults = teams.faults
        teams.episodes.drain()  # of sums over agents, which nobody asks for
        self.alive[:] = living
        self.faulted[:] = np.repeat(teams.faulted, count) & living
        for copy, team in enumerate(self._each()):
            rows = slice(copy * count, (copy + 1) * count)
            if teams.faulted[copy]:
                self.reward[rows] = self.cost[rows] = 0.0
                self.terminated[rows], self.truncated[rows] = False, living[rows]
                continue
            self.reward[rows], self.cost[rows] = team.reward, team.cost
            self.terminated[rows], self.truncated[rows] = team.terminated, team.truncated
            self.has_costs |= team.has_costs
        np.logical_or(self.terminated, self.truncated, out=self.ended)
        log = self.episodes.open
        log += np.stack([self.reward, self.alive, self.cost], 1)
        self.episodes.close(self.ended & ~self.faulted)
        log[self.faulted] = 0.0

    def _each(self) -> list[Team]:
        return self._teams.envs  # type: ignore[return-value]

    def restart(self, mask: np.ndarray) -> np.ndarray:
        """Give up the episodes of every team with an agent in ``mask [B]``, start the next ones, and return ``obs``."""
        copies = np.logical_or.reduce(mask.reshape(-1, self._agents), 1)
        self.episodes.open[np.repeat(copies, self._agents)] = 0.0
        self._teams.restart(copies)
        return self.obs

    def state_dict(self) -> dict[str, Any]:
        """Everything that a resumed run needs."""
        return {"teams": self._teams.state_dict(), "has_costs": self.has_costs, "log": self.episodes.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Rebuild every open episode by replaying its actions."""
        self._teams.load_state_dict(state["teams"])
        self.faults = self._teams.faults
        self.has_costs = bool(state["has_costs"])
        self.episodes.load_state_dict(state["log"])

    def close(self) -> None:
        """Close the environments."""
        self._teams.close()


def _stacked(space: gymnasium.Space, count: int) -> gymnasium.Space:
    """Return the space of ``count`` arrays of a space, one below the other."""
    if isinstance(space, spaces.Discrete):
        return spaces.MultiDiscrete([space.n] * count, start=[space.start] * count)
    if isinstance(space, spaces.MultiDiscrete):
        return spaces.MultiDiscrete(np.stack([space.nvec] * count), start=np.stack([space.start] * count))
    if isinstance(space, spaces.MultiBinary):
        return spaces.MultiBinary((count, *space.shape))
    assert isinstance(space, spaces.Box)
    return spaces.Box(np.stack([space.low] * count), np.stack([space.high] * count), dtype=space.dtype)  # type: ignore[arg-type]
