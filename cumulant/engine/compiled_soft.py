"""Updates of SAC with continuous actions and of TQC in compiled calls, for perceptrons on vectors on the CPU.

``kernels/sac.py`` and ``kernels/tqc.py`` do the arithmetic; see ``engine/compiled_towers.py``.

Axes: M remembered transitions, A action dimensions, N critics, K quantiles.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from cumulant.data.replay import Transitions
from cumulant.engine import compiled_towers
from cumulant.engine.compiled_towers import Towers, room, vectors
from cumulant.kernels import sac, tqc
from cumulant.nn.actor import Actor
from cumulant.nn.flat import FlatAdam
from cumulant.nn.q_critic import QCritics


def obstacle(actor: Actor, critics: QCritics, weight_decay: float) -> str:
    """Return what the compiled engine of SAC lacks for networks; "" for nothing."""
    costs = "" if len(critics.members) == 2 else "critic of costs"
    return compiled_towers.obstacle(actor, critics, weight_decay) or costs


class _Soft:
    """Critics, policy, temperature and slower copies, moved by one compiled call; see ``CompiledSAC``."""

    update: Any  # of the kernels; so many arguments, some of them in tuples, are beyond the type checker
    own: tuple[int, ...] = ()  # what it is told of the algorithm's own options
    room: tuple[np.ndarray, ...]  # to write in, whatever the number of transitions
    targets = 0  # how many more arrays with a number for every transition

    def __init__(
        self,
        actor: Actor,
        critics: QCritics,
        slow: nn.Parameter,
        optimizers: tuple[FlatAdam, FlatAdam, FlatAdam],
        polyak: float,
        entropy_wanted: float | None,
    ) -> None:
        self.towers, self.slow, self.optimizers = Towers(actor, critics), slow, optimizers
        self.polyak, self.entropy_wanted = float(polyak), entropy_wanted

    def learn(self, batch: Transitions, next_noise: torch.Tensor, noise: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
        """Take an update; return the critics' and the policy's loss, entropy and mean value, and how wrong each was, ``[M]``."""
        count, (actor, critics, price) = len(batch.slot), self.optimizers
        error, measured, learned = np.empty(count, np.float32), np.zeros(4), self.entropy_wanted is not None
        for optimizer in (actor, critics, price) if learned else (actor, critics):
            optimizer.steps += 1
        self.update(
            *vectors(actor), *vectors(critics), self.slow.detach().numpy(), *vectors(price), actor.steps,
            float(actor.learning_rate), float(actor.eps), self.polyak, learned, float(self.entropy_wanted or 0.0), *self.own,
            *self.towers.shapes, *self.towers.arrays(batch), next_noise.numpy(), noise.numpy(), *self.towers.actor_blocks,
            *self.room, *np.empty((self.targets, count), np.float32), *self.towers.grads, error, measured,
        )  # fmt: skip
        return measured, error


class CompiledSAC(_Soft):
    """Learns as ``algos.sac`` does, in compiled calls.

    Args:
        actor: Its parameters are views of the vector of the first optimiser, and so on.
        critics: Two of them.
        slow: Parameters of their slower copies.
        optimizers: Adam of actor, critics and temperature, with its default averages and the same step size.
        polyak: How far the slower copies move towards the critics per update.
        entropy_wanted: What the temperature aims at, in nats; None where it is fixed.
    """

    update = staticmethod(sac.update)
    targets = 1

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        blocks, worth = self.towers.critic_blocks(3), room(int(self.towers.shapes[2][0]))
        self.room = blocks[:2], blocks[2], worth, room(1)[0]


class CompiledTQC(_Soft):
    """Learns as ``algos.tqc`` does, in compiled calls.

    Args:
        drop: Largest quantiles that a target leaves out, per critic.
        args: See ``CompiledSAC``; of the critics there are N.
    """

    update = staticmethod(tqc.update)

    def __init__(self, drop: int, *args: Any) -> None:
        super().__init__(*args)
        starts, _, sizes, _ = self.towers.shapes
        num_critics, num_inputs, num_quantiles = len(starts), int(sizes[0]), int(sizes[-1])
        self.own = (num_critics * (num_quantiles - drop),)
        self.room = *self.towers.critic_blocks(2), room(num_inputs), *room(3), room(num_critics * num_quantiles)
