"""DQN's values and updates in compiled calls, for perceptrons on vectors on the CPU.

``kernels/dqn.py`` does the arithmetic, on the memory of the torch modules: a policy is saved, evaluated and resumed as ever, by
whichever engine it was trained. Exploration and minibatches are drawn from the same random numbers as with torch.

Axes: B parallel environments, M remembered transitions, D encoded observation, A actions.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from cumulant.data.replay import Transitions
from cumulant.kernels import dqn, perceptron
from cumulant.nn.flat import Flat, FlatAdam
from cumulant.nn.q_network import QNetwork


def obstacle(net: QNetwork) -> str:
    """Return what the compiled engine lacks for a network; "" for nothing."""
    device = net.support.device.type
    if device != "cpu":
        return f"code for {device}"
    if net.kind != "scalar":
        return f"distributions of returns ({net.kind})"
    if net.sigma_weight:
        return "noisy weights"
    if net.trunk.reads:
        return "layers but a perceptron's"
    return ""


class CompiledDQN:
    """Values and learns as ``algos.dqn`` does, in compiled calls.

    Nothing of it must be saved: what changes is in the networks, the optimiser and the replay buffer.

    Args:
        net: Its parameters are views of ``optimizer.flat``.
        slow: Parameters of its slower copy.
        optimizer: Adam with its default averages.
        double: Whether the network chooses the next action and its copy judges it.
        max_grad_norm: Gradients are scaled down to this norm.
    """

    def __init__(self, net: QNetwork, slow: Flat, optimizer: FlatAdam, double: bool, max_grad_norm: float) -> None:
        self.net, self.slow, self.optimizer = net, slow, optimizer
        self.double, self.max_grad_norm = double, float(max_grad_norm)
        linear = [layer for layer in net.layers if isinstance(layer, nn.Linear)]
        self.sizes = np.array([linear[0].in_features, *(layer.out_features for layer in linear)])
        self.block, self.delta = (np.zeros((int(self.sizes.sum()), perceptron.BLOCK), np.float32) for _ in range(2))
        self.grad = np.zeros(optimizer.mean.numel(), np.float32)
        self.all = np.zeros(0, np.float32)  # weights of transitions that count alike

    def values(self, obs: np.ndarray) -> np.ndarray:
        """Return the values of all actions, ``[B, A]``, of observations as the environments give them, ``[B, ...]``."""
        q = np.empty((len(obs), self.net.head.size), np.float32)
        vector = self.optimizer.flat.parameter.detach().numpy()
        dqn.values(
            vector, self.sizes, self.net.dueling, q.shape[1], self._encoded(torch.from_numpy(obs)), self.block, q
        )
        return q

    def learn(self, drawn: Transitions, batch_size: int) -> tuple[np.ndarray, np.ndarray]:
        """Take an update for every ``batch_size`` transitions; return the loss of each and how wrong each value was, ``[M]``."""
        optimizer, count = self.optimizer, len(drawn.slot)
        target, error = np.empty((2, count), np.float32)
        losses = np.empty(count // batch_size)
        optimizer.steps = dqn.update(
            optimizer.flat.parameter.detach().numpy(), self.slow.parameter.detach().numpy(), optimizer.mean.numpy(),
            optimizer.square.numpy(), optimizer.steps, float(optimizer.learning_rate), float(optimizer.eps), self.sizes,
            self.net.dueling, self.net.head.size, self.double, self.max_grad_norm, batch_size, self._encoded(drawn.obs),
            drawn.action.numpy(), drawn.reward.numpy(), self._encoded(drawn.next_obs), drawn.terminated.numpy(),
            drawn.discount.numpy(), self.all if drawn.weight is None else drawn.weight.numpy(), self.block, self.delta,
            self.grad, target, error, losses,
        )  # fmt: skip
        return losses, error

    def _encoded(self, obs: torch.Tensor) -> np.ndarray:
        """Return observations as networks read them, with which actions are allowed, ``[M, D + A]``, contiguous."""
        if obs.dtype == torch.float32 and obs.ndim == 2 and not self.net.mask_size:
            return obs.numpy()
        return np.ascontiguousarray(self.net.encode(obs).reshape(len(obs), -1).numpy())
