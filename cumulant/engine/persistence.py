"""Random actions that are kept up for a while. Axes: B parallel environments, A actions, or numbers in an action."""

from __future__ import annotations

import numpy as np
import torch

from cumulant.kernels.tabular import choose_by


class Persistence:
    """Random actions that are kept up, most for a step or two, some for very long, until the episode ends.

    A step at which nothing is kept up begins a random action with probability epsilon. It lasts at least n steps with probability
    1 / n, so that what lies many equal actions away is found. The share of random steps is larger than epsilon: in episodes of
    200 steps a fifth at 0.05.

    Args:
        num_envs: Number of environments, B.
        generator: Source of beginnings and lengths.
        size: Numbers in a continuous action, A; 0 for discrete ones.

    Source:
        Dabney, Ostrovski & Barreto 2021, "Temporally-Extended epsilon-Greedy Exploration". Differs from source: a length n has
        probability 1 / (n (n + 1)) instead of one proportional to 1 / n^2, and is drawn as the whole part of 1 / u.
    """

    def __init__(self, num_envs: int, generator: torch.Generator, size: int = 0) -> None:
        self.generator = generator
        self.action = np.zeros((num_envs, size), np.float32) if size else np.zeros(num_envs, np.int64)
        self.left = np.zeros(num_envs, np.int64)  # steps for which it is still kept up

    def choose(self, q: np.ndarray, epsilon: float, noise: np.ndarray, action: np.ndarray) -> None:
        """Write the actions to take, ``[B]``, by values and Gumbel noise, ``[B, A]`` each; a forbidden one (-inf) is given up."""
        begins, share = 1.0 - torch.rand(2, len(action), generator=self.generator, dtype=torch.float64).numpy()
        choose_by(q, 1.0, noise, action)
        self._begin((self.left <= 0) & (begins <= epsilon), action, share)
        choose_by(q, 0.0, noise, action)
        keep = (self.left > 0) & np.isfinite(q[np.arange(len(q)), self.action])
        action[keep] = self.action[keep]
        self.left = np.where(keep, self.left - 1, 0)

    def keep_up(self, drawn: np.ndarray, allowed: np.ndarray | None = None) -> np.ndarray:
        """Return what to do where everything is random: the actions drawn, ``[B]`` or ``[B, A]``, each kept up for its length.

        Args:
            drawn: A random action of every environment.
            allowed: Discrete actions that may be taken, bool ``[B, A]``; what is kept up and forbidden now is given up.
        """
        share = 1.0 - torch.rand(len(drawn), generator=self.generator, dtype=torch.float64).numpy()
        begin = self.left <= 0
        if allowed is not None:
            begin |= ~allowed[np.arange(len(drawn)), self.action]
        self._begin(begin, drawn, share)
        self.left -= 1
        return self.action.copy()

    def _begin(self, begin: np.ndarray, action: np.ndarray, share: np.ndarray) -> None:
        """Keep actions up from now on where they begin, for lengths that follow from numbers drawn from (0, 1], ``[B]``."""
        self.action[begin], self.left[begin] = action[begin], 1.0 / share[begin]

    def state_dict(self) -> dict[str, torch.Tensor]:
        """What is kept up, and for how long; the generator belongs to the run."""
        return {"action": torch.from_numpy(self.action.copy()), "left": torch.from_numpy(self.left.copy())}

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        """Undo ``state_dict``."""
        self.action, self.left = state["action"].numpy().copy(), state["left"].numpy().copy()
