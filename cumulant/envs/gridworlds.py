"""Small worlds whose exact solution is known: for tabular algorithms, and for checking any other.

The observation is the number of the state, the action a direction: 0 up, 1 right, 2 down, 3 left (in ``garnet`` actions
mean nothing). Each class has ``mdp()``, the tables, and with them value iteration and policy evaluation.

In the maps: ``S`` start, ``G`` goal, ``#`` wall (not a state), ``C`` cliff, ``O`` hole. Elsewhere the floor is free;
states are numbered row by row. Whoever walks into a wall or the edge stays.
"""

from __future__ import annotations

import abc
from dataclasses import dataclass

import numpy as np

from cumulant.envs.batched import Kernel
from cumulant.envs.mdp import TabularMDP
from cumulant.errors import ConfigError

ENVIRONMENTS = {
    "cliff-walking": "CliffWalking-v0",
    "four-rooms": "FourRooms-v0",
    "slippery-lake": "SlipperyLake-v0",
    "garnet": "Garnet-v0",
}

_MOVES = ((-1, 0), (0, 1), (1, 0), (0, -1))  # up, right, down, left

CLIFF = """
............
............
............
SCCCCCCCCCCG
"""

ROOMS = """
.....#.....
.....#.....
...........
.....#.....
.....#.....
#.####.....
.....###.##
.....#.....
.....#.....
...........
.....#....G
"""

LAKE = """
S.....
..O...
.O..O.
....O.
.O....
...O.G
"""


@dataclass(frozen=True)
class _TableWorld(abc.ABC):
    """What all table worlds share: the way from tables to a kernel."""

    @abc.abstractmethod
    def mdp(self) -> TabularMDP:
        """Return the tables."""

    def kernel(self) -> Kernel:
        """Return the batch kernel."""
        return self.mdp().kernel(self.max_steps)  # type: ignore[attr-defined]

    def exact_values(self, gamma: float) -> np.ndarray:
        """Return the best action values, ``[S, A]``, by value iteration."""
        return self.mdp().value_iteration(gamma)


@dataclass(frozen=True)
class CliffWalking(_TableWorld):
    """Walk along a cliff to the goal: -1 a step, -100 for falling, which leads back to the start.

    The table is that of Gymnasium's CliffWalking-v1; only the time limit is ours. Q-learning finds the short path along
    the edge, SARSA with an epsilon-greedy policy the safe one above.

    Args:
        max_steps: Episodes are truncated after so many steps.

    Raises:
        ConfigError: If ``max_steps`` is not positive.

    Source: Sutton & Barto 2018, example 6.6.
    """

    max_steps: int = 1000

    def __post_init__(self) -> None:
        _positive("cliff-walking", self, "max_steps")

    def mdp(self) -> TabularMDP:
        """Return the tables: 48 states, 4 actions."""
        return _grid(CLIFF, step_reward=-1.0, goal_reward=-1.0, cliff_reward=-100.0)


@dataclass(frozen=True)
class FourRooms(_TableWorld):
    """Find the way through four rooms to a far corner: reward 1 at the goal, 0 before; starts anywhere.

    Args:
        slip: Probability that a move goes in one of the three other directions.
        max_steps: Episodes are truncated after so many steps.

    Raises:
        ConfigError: If a value is out of range.

    Source: Sutton, Precup & Singh 1999, with their layout of rooms and their ``slip`` of 1/3 as an option.
    """

    slip: float = 0.0
    max_steps: int = 500

    def __post_init__(self) -> None:
        _positive("four-rooms", self, "max_steps")
        _fraction("four-rooms", self, "slip")

    def mdp(self) -> TabularMDP:
        """Return the tables: 104 states, 4 actions."""
        rest = self.slip / 3
        return _grid(ROOMS, goal_reward=1.0, turns={0: 1.0 - self.slip, 1: rest, 2: rest, 3: rest})


@dataclass(frozen=True)
class SlipperyLake(_TableWorld):
    """Cross a frozen lake with holes, on which one slides sideways: reward 1 at the goal, 0 before; a hole is the end.

    The dynamics are those of Gymnasium's FrozenLake-v1 on a map of our own.

    Args:
        slip: Probability of sliding to one of the two sides instead of going ahead.
        max_steps: Episodes are truncated after so many steps.

    Raises:
        ConfigError: If a value is out of range.
    """

    slip: float = 2.0 / 3.0
    max_steps: int = 200

    def __post_init__(self) -> None:
        _positive("slippery-lake", self, "max_steps")
        _fraction("slippery-lake", self, "slip")

    def mdp(self) -> TabularMDP:
        """Return the tables: 36 states, 4 actions."""
        return _grid(LAKE, goal_reward=1.0, turns={-1: self.slip / 2, 0: 1.0 - self.slip, 1: self.slip / 2})


@dataclass(frozen=True)
class Garnet(_TableWorld):
    """A random decision process without an end: each action leads to a few random states, with rewards from 0 to 1.

    Every episode is truncated by the time limit, so that right values need right bootstrapping at truncations.

    Args:
        states: Number of states.
        actions: Number of actions.
        branches: Number of states to which an action can lead.
        instance: Which of the random processes.
        max_steps: Episodes are truncated after so many steps.

    Raises:
        ConfigError: If a number is not positive or there are more branches than states.

    Source: Archibald, McKinnon & Thomas 1995; Bhatnagar, Sutton, Ghavamzadeh & Lee 2009.
    """

    states: int = 20
    actions: int = 4
    branches: int = 3
    instance: int = 0
    max_steps: int = 100

    def __post_init__(self) -> None:
        for name in ("states", "actions", "branches", "max_steps"):
            _positive("garnet", self, name)
        if self.branches > self.states:
            raise ConfigError(f"environment 'garnet': branches = {self.branches}; there are only {self.states} states")
        if self.instance < 0:
            raise ConfigError(f"environment 'garnet': instance = {self.instance}; it must not be negative")

    def mdp(self) -> TabularMDP:
        """Return the tables."""
        rng = np.random.default_rng(self.instance)
        shape = (self.states, self.actions, self.branches)
        next_obs = rng.permuted(np.broadcast_to(np.arange(self.states), (*shape[:2], self.states)), axis=-1)
        cuts = np.sort(rng.random((*shape[:2], self.branches - 1)), axis=-1)  # gaps between sorted numbers sum to 1
        prob = np.diff(cuts, axis=-1, prepend=0.0, append=1.0)
        reward = np.broadcast_to(rng.random((*shape[:2], 1)), shape)
        start = np.full(self.states, 1.0 / self.states)
        return TabularMDP(next_obs[..., : self.branches].copy(), prob, reward.copy(), np.zeros(shape, bool), start)


def _grid(
    text: str,
    *,
    step_reward: float = 0.0,
    goal_reward: float,
    cliff_reward: float = 0.0,
    turns: dict[int, float] | None = None,
) -> TabularMDP:
    """Make the tables of a map.

    Args:
        text: The map; see the top of this file. Without an ``S``, episodes start on any free floor.
        step_reward: Reward of a step that nothing else is said about, and of falling into a hole.
        goal_reward: Reward of the step that reaches the goal.
        cliff_reward: Reward of a fall from the cliff, which leads to the start.
        turns: Probability that a move is turned so many quarters to the right of what was wanted.
    """
    turns = {0: 1.0} if turns is None else turns
    rows = text.strip().splitlines()
    cells = [(y, x) for y, row in enumerate(rows) for x, mark in enumerate(row) if mark != "#"]
    number = {cell: s for s, cell in enumerate(cells)}
    marks = "".join(rows[y][x] for y, x in cells)
    shape = (len(cells), len(_MOVES), len(turns))
    next_obs, prob, reward = np.zeros(shape, np.int64), np.zeros(shape), np.zeros(shape)
    terminated = np.zeros(shape, bool)
    for s, (y, x) in enumerate(cells):
        for a in range(len(_MOVES)):
            for k, (turn, share) in enumerate(turns.items()):
                prob[s, a, k] = share
                dy, dx = _MOVES[(a + turn) % len(_MOVES)]
                to = number.get((y + dy, x + dx), s)
                if marks[s] in "GO":  # the episode ended on the way here; the row only completes the table
                    next_obs[s, a, k], terminated[s, a, k] = s, True
                elif marks[to] == "C":
                    next_obs[s, a, k], reward[s, a, k] = marks.index("S"), cliff_reward
                else:
                    next_obs[s, a, k], terminated[s, a, k] = to, marks[to] in "GO"
                    reward[s, a, k] = goal_reward if marks[to] == "G" else step_reward
    start = np.array([mark == ("S" if "S" in marks else ".") for mark in marks], float)
    return TabularMDP(next_obs, prob, reward, terminated, start / start.sum())


def _positive(environment: str, options: object, name: str) -> None:
    value = getattr(options, name)
    if value < 1:
        raise ConfigError(f"environment '{environment}': {name} = {value}; it must be at least 1")


def _fraction(environment: str, options: object, name: str) -> None:
    value = getattr(options, name)
    if not 0.0 <= value <= 1.0:
        raise ConfigError(f"environment '{environment}': {name} = {value}; it must be between 0 and 1")
