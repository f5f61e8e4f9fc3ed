"""What the compiled updates of SAC, TD3 and TQC share: when they can be taken, shapes of networks, and room to work in.

The kernels work on the memory of the torch modules: a policy is saved, evaluated and resumed as ever, by whichever engine it was
trained. Minibatches and noise are drawn from the same random numbers as with torch.

Axes: M remembered transitions.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import nn

from cumulant.data.replay import Transitions
from cumulant.kernels import coarse, perceptron
from cumulant.nn.actor import Actor
from cumulant.nn.flat import FlatAdam
from cumulant.nn.heads import Categorical
from cumulant.nn.q_critic import QCritics

_KINDS: dict[type[nn.Module], int] = {nn.ReLU: perceptron.RELU, nn.Tanh: perceptron.TANH}


def obstacle(actor: Actor, critics: QCritics, weight_decay: float) -> str:
    """Return what the compiled engines lack for networks; "" for nothing."""
    device = next(actor.parameters()).device.type
    if device != "cpu":
        return f"code for {device}"
    if isinstance(actor.head, Categorical):
        return "discrete actions"
    if weight_decay > 0.0:
        return "weight decay"
    towers = [actor.layers, *critics.members]
    kinds = {type(layer) for tower in towers for layer in tower} - {nn.Linear}
    if actor.trunk.reads or not (len(kinds) == 1 and kinds <= _KINDS.keys()):
        return "layers but a perceptron's with tanh or ReLU"
    if actor.coarse and not coarse.HERE:
        return "products in bfloat16 for this processor"
    weights = [layer.weight for tower in towers for layer in tower if isinstance(layer, nn.Linear)]
    if actor.coarse and not any(math.gcd(*weight.shape) % coarse.SIDE == 0 for weight in weights):
        return f"products in bfloat16 but between layers of multiples of {coarse.SIDE} units"
    return ""


class Towers:
    """A policy and its critics as the kernels take them.

    Nothing of it must be saved: what changes is in the networks and the optimisers.

    Args:
        actor: Its parameters are views of one vector.
        critics: Theirs are views of another one.

    Attributes:
        shapes: ``starts``, ``actor_sizes``, ``critic_sizes`` and ``kind`` of the kernels.
        actor_blocks: Room for the policy's activations and their gradients.
        grads: Room for the gradients of policy and critics.
    """

    def __init__(self, actor: Actor, critics: QCritics) -> None:
        self._actor = actor
        self._actor_sizes, self._critic_sizes = _sizes(actor.layers), _sizes(critics.members[0])
        counts = [sum(map(torch.numel, part.parameters())) for part in (actor, critics)]
        starts = np.arange(len(critics.members)) * (counts[1] // len(critics.members))
        kind = _KINDS[type(actor.layers[1])] + (perceptron.COARSE if actor.coarse else 0)
        self.shapes = starts, self._actor_sizes, self._critic_sizes, kind
        self.actor_blocks = tuple(room(int(self._actor_sizes.sum())) for _ in range(2))
        self.grads = tuple(np.zeros(count, np.float32) for count in counts)
        self._all = np.zeros(0, np.float32)  # weights of transitions that count alike

    def critic_blocks(self, count: int) -> np.ndarray:
        """Return room for so many times a critic's activations, ``[count, units, BLOCK]``."""
        units = int(self._critic_sizes.sum())
        return room(count * units).reshape(count, units, perceptron.BLOCK)

    def arrays(self, batch: Transitions) -> tuple[np.ndarray, ...]:
        """Return what the kernels take of transitions, from ``obs`` to ``weight``."""
        return (
            self._encoded(batch.obs), batch.action.numpy(), batch.reward.numpy(), self._encoded(batch.next_obs),
            batch.terminated.numpy(), batch.discount.numpy(), self._all if batch.weight is None else batch.weight.numpy(),
        )  # fmt: skip

    def _encoded(self, obs: torch.Tensor) -> np.ndarray:
        return np.ascontiguousarray(self._actor.encode(obs).reshape(len(obs), -1).numpy())


def room(rows: int) -> np.ndarray:
    """Return room for so many numbers of every sample of a block, ``[rows, BLOCK]``."""
    return perceptron.block_of(rows, perceptron.BLOCK)


def vectors(optimizer: FlatAdam) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return parameters, mean and square of Adam, ``[P]`` each: the same memory."""
    return optimizer.flat.parameter.detach().numpy(), optimizer.mean.numpy(), optimizer.square.numpy()


def _sizes(tower: nn.Module) -> np.ndarray:
    """Return the sizes of a perceptron's input and layers."""
    linear = [layer for layer in tower.children() if isinstance(layer, nn.Linear)]
    return np.array([linear[0].in_features, *(layer.out_features for layer in linear)])
