"""SAC's updates in compiled calls, for perceptrons on vectors with continuous actions on the CPU.

``kernels/sac.py`` does the arithmetic, on the memory of the torch modules: a policy is saved, evaluated and resumed as ever, by
whichever engine it was trained. Minibatches and noise are drawn from the same random numbers as with torch.

Axes: M remembered transitions, A action dimensions.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from cumulant.data.replay import Transitions
from cumulant.kernels import perceptron, sac
from cumulant.nn.actor import Actor
from cumulant.nn.flat import FlatAdam
from cumulant.nn.q_critic import QCritics
from cumulant.nn.squashed import SquashedGaussian

_KINDS: dict[type[nn.Module], int] = {nn.ReLU: perceptron.RELU, nn.Tanh: perceptron.TANH}


def obstacle(actor: Actor, critics: QCritics, weight_decay: float) -> str:
    """Return what the compiled engine lacks for networks; "" for nothing."""
    device = next(actor.parameters()).device.type
    if device != "cpu":
        return f"code for {device}"
    if not isinstance(actor.head, SquashedGaussian):
        return "discrete actions"
    if len(critics.members) != 2:
        return "critic of costs"
    if weight_decay > 0.0:
        return "weight decay"
    towers = [actor.layers, *critics.members]
    kinds = {type(layer) for tower in towers for layer in tower} - {nn.Linear}
    if actor.trunk.reads or not (len(kinds) == 1 and kinds <= _KINDS.keys()):
        return "layers but a perceptron's with tanh or ReLU"
    return ""


class CompiledSAC:
    """Learns as ``algos.sac`` does, in compiled calls.

    Nothing of it must be saved: what changes is in the networks and the optimisers.

    Args:
        actor: Its parameters are views of the vector of ``actor_optimizer``, and so on.
        critics: Two of them.
        slow: Parameters of their slower copies.
        optimizers: Adam of actor, critics and temperature, with its default averages and the same step size.
        polyak: How far the slower copies move towards the critics per update.
        entropy_wanted: What the temperature aims at, in nats; None where it is fixed.
    """

    def __init__(
        self,
        actor: Actor,
        critics: QCritics,
        slow: nn.Parameter,
        optimizers: tuple[FlatAdam, FlatAdam, FlatAdam],
        polyak: float,
        entropy_wanted: float | None,
    ) -> None:
        self.actor, self.slow, self.optimizers = actor, slow, optimizers
        self.polyak, self.entropy_wanted = float(polyak), entropy_wanted
        self.kind = _KINDS[type(actor.layers[1])]
        self.actor_sizes, self.critic_sizes = _sizes(actor.layers), _sizes(critics.members[0])
        self.starts = np.array([0, optimizers[1].mean.numel() // 2])
        units, critic_units = int(self.actor_sizes.sum()), int(self.critic_sizes.sum())
        self.room = (
            *(perceptron.block_of(units, perceptron.BLOCK) for _ in range(2)),
            perceptron.block_of(2 * critic_units, perceptron.BLOCK).reshape(2, critic_units, perceptron.BLOCK),
            perceptron.block_of(critic_units, perceptron.BLOCK),
            perceptron.block_of(int(self.critic_sizes[0]), perceptron.BLOCK),
            np.zeros(perceptron.BLOCK, np.float32),
        )
        self.grads = tuple(np.zeros(optimizer.mean.numel(), np.float32) for optimizer in optimizers[:2])
        self.all = np.zeros(0, np.float32)  # weights of transitions that count alike

    def learn(self, batch: Transitions, next_noise: torch.Tensor, noise: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
        """Take an update; return the critics' and the policy's loss, entropy and mean value, and how wrong each was, ``[M]``."""
        count = len(batch.slot)
        target, error, measured = np.empty(count, np.float32), np.empty(count, np.float32), np.zeros(4)
        vectors = []
        for optimizer in self.optimizers:
            vector = optimizer.flat.parameter.detach().numpy()
            vectors.append((vector, optimizer.mean.numpy(), optimizer.square.numpy()))
            optimizer.steps += 1
        if self.entropy_wanted is None:
            self.optimizers[2].steps = 0
        optimizer = self.optimizers[0]
        update: Any = sac.update  # so many arguments, some of them in tuples, are beyond the type checker
        update(
            *vectors[0], *vectors[1], self.slow.detach().numpy(), *vectors[2], optimizer.steps,
            float(optimizer.learning_rate), float(optimizer.eps), self.polyak, self.entropy_wanted is not None,
            float(self.entropy_wanted or 0.0), self.starts, self.actor_sizes, self.critic_sizes, self.kind,
            self._encoded(batch.obs), batch.action.numpy(), batch.reward.numpy(), self._encoded(batch.next_obs),
            batch.terminated.numpy(), batch.discount.numpy(), self.all if batch.weight is None else batch.weight.numpy(),
            next_noise.numpy(), noise.numpy(), *self.room, target, *self.grads, error, measured,
        )  # fmt: skip
        return measured, error

    def _encoded(self, obs: torch.Tensor) -> np.ndarray:
        return np.ascontiguousarray(self.actor.encode(obs).reshape(len(obs), -1).numpy())


def _sizes(tower: nn.Module) -> np.ndarray:
    """Return the sizes of a perceptron's input and layers."""
    linear = [layer for layer in tower.children() if isinstance(layer, nn.Linear)]
    return np.array([linear[0].in_features, *(layer.out_features for layer in linear)])
