"""Small Gymnasium environments of a user's own, for tests."""

import gymnasium
import numpy as np
from gymnasium import spaces


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
