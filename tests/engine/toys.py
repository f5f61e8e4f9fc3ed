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
