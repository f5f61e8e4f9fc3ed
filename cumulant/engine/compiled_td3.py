"""TD3's updates in compiled calls, for perceptrons on vectors on the CPU (``kernels/td3.py``).

Axes: M remembered transitions, A action dimensions.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from cumulant.data.replay import Transitions
from cumulant.engine.compiled_towers import Towers, vectors
from cumulant.kernels import td3
from cumulant.kernels.critics import CRITIC, POLICY, VALUE
from cumulant.nn.actor import Actor
from cumulant.nn.flat import FlatAdam
from cumulant.nn.q_critic import QCritics


class CompiledTD3:
    """Learns as ``algos.td3`` does, in compiled calls.

    Args:
        actor: Its parameters are views of the vector of the first optimiser, and so on.
        critics: Two of them.
        slow: Parameters of the slower copies of actor and critics.
        optimizers: Adam of actor and critics, with its default averages and the same step size.
        polyak: How far the slower copies move per update of the policy.
        smoothing: Deviation of the noise on the next action of a target, and the largest such noise.
    """

    def __init__(
        self,
        actor: Actor,
        critics: QCritics,
        slow: tuple[nn.Parameter, nn.Parameter],
        optimizers: tuple[FlatAdam, FlatAdam],
        polyak: float,
        smoothing: tuple[float, float],
    ) -> None:
        self.towers, self.slow, self.optimizers = Towers(actor, critics), slow, optimizers
        self.polyak, self.smoothing = float(polyak), tuple(map(float, smoothing))
        self.room = (*self.towers.actor_blocks, *self.towers.critic_blocks(2))

    def learn(self, batch: Transitions, noise: torch.Tensor, moves: bool) -> tuple[np.ndarray, np.ndarray]:
        """Take an update, of the policy, too, if it moves.

        Returns:
            The critics' loss, the mean value and the policy's loss, 0 if it does not move; and how wrong each value was, ``[M]``.
        """
        (target, error), measured = np.empty((2, len(batch.slot)), np.float32), np.zeros(4)
        actor, critics = self.optimizers
        critics.steps += 1
        actor.steps += moves
        update: Any = td3.update  # so many arguments, some of them in tuples, are beyond the type checker
        update(
            *vectors(actor), *vectors(critics), *(slow.detach().numpy() for slow in self.slow), critics.steps, actor.steps,
            float(critics.learning_rate), float(critics.eps), self.polyak, moves, *self.smoothing, *self.towers.shapes,
            *self.towers.arrays(batch), noise.numpy(), *self.room, target, *self.towers.grads, error, measured,
        )  # fmt: skip
        return measured[[CRITIC, VALUE, POLICY]], error
