"""Small Gymnasium environments of a user's own, for tests."""

import time
from typing import ClassVar

import gymnasium
import numpy as np
from gymnasium import spaces

from cumulant.errors import ConfigError


class Corridor(gymnasium.Env):
    """Walk right to the end of a corridor; noise from the episode's own generator; discrete."""

    def __init__(self, length: int = 5, wind: float = 0.1):
        self.length, self.wind = length, wind
        self.observation_space, self.action_space = spaces.Discrete(length), spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place, self.steps = int(self.np_random.integers(0, 2)), 0
        return self.place, {}

    def step(self, action):
        blown = self.np_random.random() < self.wind
        self.place = max(0, self.place + (1 if action == 1 and not blown else -1))
        self.steps += 1
        arrived = self.place >= self.length - 1
        return min(self.place, self.length - 1), float(arrived), arrived, self.steps >= 30, {}


class Reach(gymnasium.Env):
    """Name the number that is seen; continuous, one step."""

    def __init__(self):
        self.observation_space = spaces.Box(-1, 1, (2,), np.float32)
        self.action_space = spaces.Box(-2, 2, (1,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.target = self.np_random.uniform(-1, 1, 2).astype(np.float32)
        return self.target, {}

    def step(self, action):
        return self.target, -float((action[0] - self.target[0]) ** 2), True, False, {}


class Broken(Corridor):
    """Raises at its third step."""

    def step(self, action):
        if self.steps == 2:
            raise RuntimeError("the motor is stuck")
        return super().step(action)


class Poisoned(Corridor):
    """Gives a reward that is no number."""

    def step(self, action):
        obs, _, terminated, truncated, info = super().step(action)
        return obs, float("nan"), terminated, truncated, info


class NotAnEnv:
    """Looks like nothing."""


class Endless(gymnasium.Env):
    """A corridor with a wall and no time limit: a policy that pushes against the wall is stuck for ever."""

    observation_space, action_space = spaces.Discrete(20), spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place = 5
        return self.place, {}

    def step(self, action):
        self.place = max(0, self.place + (1 if action == 1 else -1))
        return min(self.place, 19), 0.0, self.place >= 19, False, {}


class Careless(Reach):
    """Changes the action that it is given, and keeps a running sum of what it saw."""

    def reset(self, *, seed=None, options=None):
        obs, info = super().reset(seed=seed)
        self.sum = np.zeros(2, np.float32)
        return obs, info

    def step(self, action):
        action *= 0.5
        self.sum += action
        return self.sum.copy(), 0.0, False, False, {}


class Unseeded(Corridor):
    """Draws from a generator of its own that no seed reaches."""

    dice = np.random.default_rng()

    def step(self, action):
        _, *rest = super().step(action)
        return int(self.dice.integers(0, self.length)), *rest


class Rover(gymnasium.Env):
    """Observations and actions of several parts; remembers what it was told, and pays for speed as a cost."""

    def __init__(self, length: int = 7):
        self.length = length
        self.observation_space = spaces.Dict(
            {
                "camera": spaces.Box(0, 255, (2, 2), np.uint8),
                "wheels": spaces.Tuple([spaces.MultiDiscrete([3, 2], start=[1, 0]), spaces.MultiBinary(2)]),
                "zone": spaces.Discrete(4, start=2),
            }
        )
        self.action_space = spaces.Dict(
            {
                "gear": spaces.Discrete(3, start=-1),
                "lamps": spaces.MultiDiscrete([2, 3]),
                "steer": spaces.Box(-1, 1, (2,)),
            }
        )

    def _seen(self):
        return {
            "camera": np.full((2, 2), 10 * self.steps, np.uint8),
            "wheels": (np.array([1 + self.steps % 3, self.steps % 2]), np.array([1, self.lit])),
            "zone": 2 + self.zone,
        }

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps, self.lit, self.zone, self.told = 0, 0, int(self.np_random.integers(0, 4)), []
        return self._seen(), {}

    def step(self, action):
        assert self.action_space.contains(action), action
        self.told.append(action)
        self.steps += 1
        self.lit, self.zone = int(action["lamps"][0]), (self.zone + action["gear"]) % 4
        info = {"cost": 0.5} if action["gear"] == 1 else {}
        return self._seen(), float(action["steer"].sum()), self.steps == self.length, False, info


class Switches(gymnasium.Env):
    """Set four switches at once."""

    observation_space, action_space = spaces.MultiBinary(4), spaces.MultiBinary(4)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(4, np.int8), {}

    def step(self, action):
        assert self.action_space.contains(action), action
        return action, float(action.sum()), True, False, {}


class Bare(gymnasium.Env):
    """Nothing to see, or nothing to do."""

    def __init__(self, sees=True, acts=True):
        self.observation_space = spaces.Box(-1, 1, (1,)) if sees else spaces.Dict()
        self.action_space = spaces.Discrete(2) if acts else spaces.Box(-1, 1, (0,))


class Gated(Corridor):
    """A corridor that says which steps are possible: not left at its start, and in odd places only right."""

    def reset(self, *, seed=None, options=None):
        obs, _ = super().reset(seed=seed)
        return obs, {"action_mask": self.mask()}

    def mask(self):
        return np.array([self.place > 0 and self.place % 2 == 0, self.place < self.length - 1], np.int8)

    def step(self, action):
        assert self.mask()[action], (self.place, action)
        obs, reward, terminated, truncated, _ = super().step(action)
        return obs, reward, terminated, truncated, {"action_mask": self.mask()}


class Strict(Corridor):
    """Forbids everything after its first step, or says nothing any more."""

    def __init__(self, length: int = 5, wind: float = 0.1, silent: bool = False):
        super().__init__(length, wind)
        self.silent = silent

    def reset(self, *, seed=None, options=None):
        return super().reset(seed=seed)[0], {"action_mask": np.ones(2, np.int8)}

    def step(self, action):
        return *super().step(action)[:4], {} if self.silent else {"action_mask": np.zeros(2, np.int8)}


class Ruled(gymnasium.Env):
    """One number, of which the rules say what may be chosen; after ``lame_at`` steps they forbid every option of ``lame``.

    Args:
        actions: "one", "two" (choices) or "mixed" (a choice and a number).
        own: Whether observations bring their mask themselves; else the info does.
        lame_at: When.
        lame: The entries of the mask that are then 0.
        limit: Steps of an episode, which is then truncated.
    """

    def __init__(self, actions="one", own=True, lame_at=99, lame=(0, 3), limit=5):
        self.action_space = {
            "one": spaces.Discrete(3),
            "two": spaces.MultiDiscrete([3, 2]),
            "mixed": spaces.Dict(gear=spaces.Discrete(3), wheel=spaces.Box(-1, 1, (1,))),
        }[actions]
        self.own, self.lame_at, self.lame, self.limit = own, lame_at, slice(*lame), limit
        self.size, number = 5 if actions == "two" else 3, spaces.Box(-1, 1, (1,))
        mask = spaces.MultiBinary(self.size)
        self.observation_space = spaces.Dict(action_mask=mask, observation=number) if own else number

    def _seen(self):
        self.mask = np.ones(self.size, np.int8)
        self.mask[self.clock % 3] = 0
        if self.clock == self.lame_at:
            self.mask[self.lame] = 0
        number = np.array([self.clock / 9], np.float32)
        if self.own:
            return {"action_mask": self.mask, "observation": number}, {}
        return number, {"action_mask": self.mask}

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.clock = 0
        return self._seen()

    def step(self, action):
        first = action["gear"] if isinstance(action, dict) else np.ravel(action)[0]
        assert self.mask[first], (self.mask, action)
        self.clock += 1
        obs, info = self._seen()
        return obs, 1.0, False, self.clock >= self.limit, info


class Flaky(Corridor):
    """Fails with the episode's own dice: raises, hangs, or gives what is no number."""

    closed = 0

    def __init__(self, rate: float = 0.1, how: str = "raise", at_reset: float = 0.0):
        super().__init__(length=50, wind=0.2)
        self.rate, self.how, self.at_reset = rate, how, at_reset
        self.observation_space = spaces.Box(-1.0, 50.0, (2,), np.float32)

    def reset(self, *, seed=None, options=None):
        place, info = super().reset(seed=seed)
        if seed % 1000 < 1000 * self.at_reset:
            if self.how == "hang":
                self._hang()
            raise RuntimeError("no reset today")
        return np.array([place, 0.0], np.float32), info

    def step(self, action):
        place, _, terminated, _, _ = super().step(action)
        obs, reward, info = np.array([place, self.steps], np.float32), 1.0, {}
        if self.np_random.random() < self.rate and (self.steps > 1 or self.rate == 1.0):
            if self.how == "raise":
                raise OSError("the line is dead")
            if self.how == "hang":
                self._hang()
            if self.how == "obs":
                obs[1] = np.nan
            if self.how == "shape":
                obs = obs[:1]
            if self.how == "reward":
                reward = float("inf")
            if self.how == "cost":
                info = {"cost": float("nan")}
        return obs, reward, terminated, self.steps >= 12, info

    def _hang(self):
        while True:
            try:
                time.sleep(0.01)
            except Exception:  # as a loop around a socket does
                continue

    def close(self):
        type(self).closed += 1
        raise OSError("already gone")


class Busy(Flaky):
    """Hangs without ever waiting."""

    def _hang(self):
        while True:
            pass


class Unlucky(Corridor):
    """Fails at chosen calls of ``step``, counted over all copies there ever were; its episodes are long."""

    fails_at: ClassVar[set[int]] = set()
    calls = 0
    for_good = False

    def __init__(self):
        super().__init__(length=500)

    def reset(self, *, seed=None, options=None):
        if self.for_good and self.calls >= min(self.fails_at):
            raise RuntimeError("gone for good")
        return super().reset(seed=seed)

    def step(self, action):
        type(self).calls += 1
        if self.calls in self.fails_at:
            raise RuntimeError("out of luck")
        return *super().step(action)[:3], False, {}


class Mistaken(Corridor):
    """Tells its user what is wrong with the call."""

    def step(self, action):
        raise ConfigError("wind = 3: it must be a probability")


class Chatty(gymnasium.Env):
    """Says something, which no network here reads."""

    observation_space = spaces.Dict(place=spaces.Discrete(3), said=spaces.Text(9))
    action_space = spaces.Discrete(2)


class Relay:
    """Several agents at once, as PettingZoo's parallel API has them; agent k is out of breath after ``lives[k]`` steps.

    Each sees its number and its own clock, and is paid when it names the parity of its clock; naming it costs. With ``roles``
    the first agent is paid for the one action, and the others for the other.
    """

    def __init__(self, lives=(4, 2, 4), limit=50, fails_at=None, late=False, mixed=False, roles=False):
        self.lives, self.limit, self.fails_at, self.late, self.mixed = tuple(lives), limit, fails_at, late, mixed
        self.roles = roles
        self.possible_agents = [f"runner_{k}" for k in range(len(self.lives))]
        self.agents = []

    def observation_space(self, agent):
        return spaces.Box(0, 100, (3 if self.mixed and agent == "runner_1" else 2,), np.float32)

    def action_space(self, agent):
        return spaces.Discrete(2, start=1)

    def _seen(self, agent):
        return np.array([self.possible_agents.index(agent), self.clock], np.float32)

    def reset(self, seed=None, options=None):
        self.agents, self.clock = self.possible_agents[1:] if self.late else self.possible_agents[:], 0
        self.dice = np.random.default_rng(seed)
        return {agent: self._seen(agent) for agent in self.agents}, {agent: {} for agent in self.agents}

    def step(self, actions):
        assert sorted(actions) == sorted(self.agents), (actions, self.agents)
        assert all(self.action_space(agent).contains(action) for agent, action in actions.items()), actions
        self.clock += 1
        if self.clock == self.fails_at and self.dice.random() < 0.7:
            raise RuntimeError("the baton fell")
        wanted = {a: int(a != "runner_0") if self.roles else self.clock % 2 for a in self.agents}
        right = {agent: float(action - 1 == wanted[agent]) for agent, action in actions.items()}
        last = {agent: self.clock >= self.lives[self.possible_agents.index(agent)] for agent in self.agents}
        cut = dict.fromkeys(self.agents, self.clock >= self.limit)
        seen, infos = {a: self._seen(a) for a in self.agents}, {a: {"cost": 2 * right[a]} for a in self.agents}
        self.agents = [agent for agent in self.agents if not last[agent] and not cut[agent]]
        return seen, right, last, cut, infos

    def close(self):
        pass


class Choosy(Relay):
    """Agents that may not do the same thing twice."""

    def _masks(self, actions):
        masks = {agent: np.ones(2, np.int8) for agent in self.possible_agents}
        for agent, action in actions.items():
            assert self.told is None or self.told[agent][action - 1], (agent, action)
            masks[agent][action - 1] = 0
        self.told = masks
        return {agent: {"action_mask": mask} for agent, mask in masks.items()}

    def reset(self, seed=None, options=None):
        self.told = None
        obs, _ = super().reset(seed, options)
        return obs, self._masks({})

    def step(self, actions):
        *rest, _ = super().step(actions)
        return *rest, self._masks(actions)


def relay(**options):
    return Relay(**options)
