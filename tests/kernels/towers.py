"""A policy with critics, transitions and noise, and what the compiled updates of SAC, TD3 and TQC are given of them."""

import numpy as np
import torch
from gymnasium import spaces

from cumulant.data.replay import Transitions
from cumulant.kernels.perceptron import BLOCK, RELU, TANH
from cumulant.maths.soft import temperature_loss
from cumulant.nn.actor import Actor, Temperature
from cumulant.nn.flat import Flat
from cumulant.nn.q_critic import QCritics

OBS, ACTIONS, COUNT = 5, 3, 150  # a block and a part
SPACES = spaces.Box(-1, 1, (OBS,)), spaces.Box(-2, 2, (ACTIONS,))
CLOSE = {"rtol": 1e-5, "atol": 2e-5}
PRICE = 0.3


class Case:
    """Networks with random weights, transitions and noise.

    Args:
        activation: Of all networks.
        weighted: Whether losses are.
        deterministic: Whether the policy is, as in TD3.
        num_critics: N.
        num_quantiles: K; 0 for critics that give values.
    """

    def __init__(self, activation="relu", weighted=False, deterministic=False, num_critics=2, num_quantiles=0):
        self.generator, rng = torch.Generator().manual_seed(3), np.random.default_rng(4)
        shape = {"hidden": (16, 8), "activation": activation, "generator": self.generator}
        self.kind = TANH if activation == "tanh" else RELU
        self.actor, self.slow_actor = (Actor(*SPACES, deterministic, **shape) for _ in range(2))
        self.temperature = Temperature(PRICE)
        self.critics, self.slow_critics = (QCritics(*SPACES, num_critics, num_quantiles, **shape) for _ in range(2))
        networks = self.actor, self.critics, self.slow_critics, self.temperature, self.slow_actor
        self.flats = [Flat(each) for each in networks]
        for k in (0, 1, 2, 4):
            flat = self.flats[k]
            flat.parameter.data += 0.3 * torch.randn(flat.parameter.shape, generator=self.generator)
        if not deterministic:
            # Some logarithms of deviations are clipped. None is far below 0: torch then rounds what was drawn to the mean.
            self.actor.layers[-1].bias.data[ACTIONS] += 1.5
        self.arrays = {
            "obs": 2.0 * rng.standard_normal((COUNT, OBS)).astype(np.float32),
            "action": rng.uniform(-1, 1, (COUNT, ACTIONS)).astype(np.float32),
            "reward": rng.standard_normal(COUNT).astype(np.float32),
            "next_obs": 2.0 * rng.standard_normal((COUNT, OBS)).astype(np.float32),
            "terminated": rng.random(COUNT) < 0.2,
            "discount": rng.uniform(0.8, 1.0, COUNT).astype(np.float32),
        }
        self.weight = rng.random(COUNT).astype(np.float32) if weighted else np.zeros(0, np.float32)
        self.next_noise, self.noise = rng.standard_normal((2, COUNT, ACTIONS)).astype(np.float32)
        self.batch = Transitions(
            **{name: torch.from_numpy(array) for name, array in self.arrays.items()},
            weight=torch.from_numpy(self.weight) if weighted else None,
            slot=np.arange(COUNT),
        )
        self.actor_sizes = np.array([OBS, 16, 8, ACTIONS if deterministic else 2 * ACTIONS])
        self.critic_sizes = np.array([OBS + ACTIONS, 16, 8, max(1, num_quantiles)])
        self.starts = np.arange(num_critics) * (self.flats[1].parameter.numel() // num_critics)
        self.shapes = self.starts, self.actor_sizes, self.critic_sizes, self.kind

    def following(self):
        """What targets are computed from."""
        return [self.arrays[name] for name in ("reward", "next_obs", "terminated", "discount")]

    def vectors(self):
        """Parameters of policy, critics, their slower copies, temperature and the policy's slower copy."""
        return [flat.parameter.detach().numpy() for flat in self.flats]

    def actor_block(self):
        return np.full((self.actor_sizes.sum(), BLOCK), np.nan, np.float32)

    def block(self):
        return np.full((self.critic_sizes.sum(), BLOCK), np.nan, np.float32)

    def soft_update(self, optimizers, critic_loss, policy_loss_of, learned):
        """Take an update as ``algos.sac`` and ``algos.tqc`` do: critics, policy, temperature if it is learned, slower copies."""
        self.flats[1].zero_grad()
        critic_loss.backward()
        optimizers[1].step()
        loss, entropy = policy_loss_of(self)
        self.flats[0].zero_grad()
        loss.mean().backward()
        optimizers[0].step()
        if learned:
            self.flats[3].zero_grad()
            temperature_loss(self.temperature.log, entropy, -2.0).mean().backward()
            optimizers[2].step()
        self.flats[2].parameter.data.lerp_(self.flats[1].parameter.data, 0.1)

    def mean_loss(self, loss):
        """The sum over critics of their mean losses ``[N, M]``, each counting what it should."""
        return (loss if self.batch.weight is None else loss * self.batch.weight).mean(1).sum()


def rows(count):
    return np.zeros((count, BLOCK), np.float32)


def assert_gradient(found, flat):
    """A vector that a kernel wrote is what autograd left at a ``Flat``, to 1e-5 of the largest number."""
    expected = flat.parameter.grad.numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())
