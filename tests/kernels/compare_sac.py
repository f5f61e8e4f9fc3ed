"""The compiled SAC against ``algos/sac.py`` and what it calls, for ``test_twins.py``."""

import numpy as np
import torch
from gymnasium import spaces

from cumulant.algos import sac as original_sac
from cumulant.data.replay import Transitions
from cumulant.kernels import sac
from cumulant.kernels.perceptron import BLOCK, RELU, TANH
from cumulant.maths.soft import temperature_loss
from cumulant.maths.value import value_loss
from cumulant.nn.actor import Actor, Temperature
from cumulant.nn.backward import frozen
from cumulant.nn.flat import Flat, FlatAdam
from cumulant.nn.q_critic import QCritics

OBS, ACTIONS, COUNT = 5, 3, 150  # a block and a part
SPACES = spaces.Box(-1, 1, (OBS,)), spaces.Box(-2, 2, (ACTIONS,))
CLOSE = {"rtol": 1e-5, "atol": 2e-5}
PRICE = 0.3


class NoCosts:
    active = False


class Case:
    """Networks with random weights, transitions and noise, and what the compiled code is given of them."""

    def __init__(self, activation="relu", weighted=False):
        self.generator, rng = torch.Generator().manual_seed(3), np.random.default_rng(4)
        shape = {"hidden": (16, 8), "activation": activation, "generator": self.generator}
        self.kind = TANH if activation == "tanh" else RELU
        self.actor, self.temperature = Actor(*SPACES, **shape), Temperature(PRICE)
        self.critics, self.slow_critics = (QCritics(*SPACES, **shape) for _ in range(2))
        self.flats = [Flat(each) for each in (self.actor, self.critics, self.slow_critics, self.temperature)]
        for flat in self.flats[:3]:
            flat.parameter.data += 0.3 * torch.randn(flat.parameter.shape, generator=self.generator)
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
        self.actor_sizes, self.critic_sizes = np.array([OBS, 16, 8, 2 * ACTIONS]), np.array([OBS + ACTIONS, 16, 8, 1])
        self.starts = np.array([0, self.flats[1].parameter.numel() // 2])

    def vectors(self):
        return [flat.parameter.detach().numpy() for flat in self.flats]

    def block(self, sizes):
        return np.full((sizes.sum(), BLOCK), np.nan, np.float32)

    def room(self):
        """What ``policy_gradient`` and ``update`` are given to write in."""
        two = np.full((2, self.critic_sizes.sum(), BLOCK), np.nan, np.float32)
        blocks = (self.block(self.actor_sizes), self.block(self.actor_sizes), two, self.block(self.critic_sizes))
        return (*blocks, np.zeros((OBS + ACTIONS, BLOCK), np.float32), np.zeros(BLOCK, np.float32))

    def targets(self):
        return original_sac.targets(
            self.actor, self.slow_critics, self.temperature, self.batch, torch.from_numpy(self.next_noise)
        )[0]

    def policy_loss(self):
        with frozen(self.critics):
            return original_sac.policy_loss(
                self.actor, self.critics, self.temperature, NoCosts, self.batch.obs, torch.from_numpy(self.noise)
            )


def compare_squash(kernel, original):
    rng = np.random.default_rng(5)
    for deviation in (1.0, 8.0):
        head, noise = (deviation * rng.standard_normal(shape).astype(np.float32) for shape in ((6, BLOCK), (200, 3)))
        head[3:] = rng.uniform(-4.0, 3.0, (3, BLOCK))
        action, logp = np.zeros((9, BLOCK), np.float32), np.zeros(BLOCK, np.float32)
        kernel(head, noise, 40, 100, action, 4, logp)
        mean, log_std = (torch.from_numpy(part[:, :100].T.copy()) for part in (head[:3], head[3:].clip(-20.0, 2.0)))
        raw = mean + log_std.exp() * torch.from_numpy(noise[40:140])
        np.testing.assert_allclose(action[4:7, :100].T, raw.tanh(), **CLOSE)
        np.testing.assert_allclose(logp[:100], original(raw, mean, log_std), rtol=1e-4, atol=1e-4)
        assert not action[:4].any()
        assert not action[7:].any()


def compare_slopes(kernel, original):
    """Autograd's gradient of the losses, with values that are some function of the actions."""
    case = Case()
    rng = np.random.default_rng(6)
    head = 2.0 * rng.standard_normal((2 * ACTIONS, BLOCK)).astype(np.float32)
    head[ACTIONS:] -= 1.0
    head[ACTIONS, :9], head[ACTIONS, 9:18] = 3.0, -21.0  # clipped
    factor = torch.from_numpy(rng.standard_normal((100, ACTIONS)).astype(np.float32))
    outputs = torch.from_numpy(head[:, :100].T.copy()).requires_grad_()
    action, logp = case.actor.head.sample_logp(outputs, torch.from_numpy(case.noise[30:130]))
    original((factor * action.square()).sum(-1), logp, PRICE).mul(0.01).sum().backward()
    squashed, worth = np.zeros((8, BLOCK), np.float32), np.zeros((8, BLOCK), np.float32)
    sac.squash(head, case.noise, 30, 100, squashed, 5, np.zeros(BLOCK, np.float32))
    worth[5:, :100] = 0.01 * (2.0 * factor * action).detach().numpy().T
    found = np.full_like(head, np.nan)
    kernel(head, case.noise, 30, 100, squashed, worth, 5, PRICE, 0.01, found)
    np.testing.assert_allclose(found[:, :100].T, outputs.grad, rtol=1e-5, atol=1e-6)


TWINS = {
    "cumulant.kernels.sac.squash": compare_squash,
    "cumulant.kernels.sac.slopes": compare_slopes,
}


def compare_fill(kernel):
    rows, block = np.random.default_rng(5).random((9, 4)).astype(np.float32), np.zeros((6, BLOCK), np.float32)
    kernel(rows, 2, 5, 1, block)
    np.testing.assert_array_equal(block[1:5, :5], rows[2:7].T)
    assert not block[[0, 5]].any()


def compare_targets(kernel):
    for activation in ("relu", "tanh"):
        case, found = Case(activation), np.zeros(COUNT, np.float32)
        actor, _, slow, _ = case.vectors()
        following = [case.arrays[name] for name in ("reward", "next_obs", "terminated", "discount")]
        kernel(
            actor, slow, case.starts, case.actor_sizes, case.critic_sizes, case.kind, PRICE, *following, case.next_noise,
            case.block(case.actor_sizes), case.block(case.critic_sizes), np.zeros(BLOCK, np.float32), found,
        )  # fmt: skip
        np.testing.assert_allclose(found, case.targets(), rtol=1e-5, atol=1e-5)


def compare_critic_gradient(kernel):
    for activation, weighted in [("relu", False), ("tanh", True)]:
        case, target = Case(activation, weighted), Case(activation).targets()
        q = case.critics(case.batch.obs, case.batch.action)
        loss = value_loss(q, target.expand(2, -1))
        loss = (loss * case.batch.weight if weighted else loss).mean(1).sum()
        loss.backward()
        vector, expected = case.vectors()[1], case.flats[1].parameter.grad.numpy()
        grad, error, measured = np.full_like(vector, np.nan), np.full(COUNT, np.nan, np.float32), np.zeros(4)
        kernel(
            vector, case.starts, case.critic_sizes, case.kind, case.arrays["obs"], case.arrays["action"], target.numpy(),
            case.weight, case.block(case.critic_sizes), case.block(case.critic_sizes), grad, error, measured,
        )  # fmt: skip
        np.testing.assert_allclose(grad, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())
        np.testing.assert_allclose(error, (q - target).abs().mean(0).detach(), **CLOSE)
        wanted = [loss.item(), q.mean().item()]
        np.testing.assert_allclose(measured[[sac.CRITIC, sac.VALUE]], wanted, rtol=1e-5)


def compare_policy_gradient(kernel):
    for activation in ("relu", "tanh"):
        case = Case(activation)
        loss, entropy = case.policy_loss()
        loss.mean().backward()
        actor, critics, _, _ = case.vectors()
        expected, grad, measured = case.flats[0].parameter.grad.numpy(), np.full_like(actor, np.nan), np.zeros(4)
        kernel(
            actor, critics, case.starts, case.actor_sizes, case.critic_sizes, case.kind, PRICE, case.arrays["obs"],
            case.noise, *case.room(), grad, measured,
        )  # fmt: skip
        np.testing.assert_allclose(grad, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())
        wanted = [loss.mean().item(), entropy.mean().item()]
        np.testing.assert_allclose(measured[[sac.POLICY, sac.ENTROPY]], wanted, rtol=1e-5)


def compare_update(kernel):
    """Two updates of ``algos.sac``, with a temperature that is learned and one that is not."""
    for learned in (True, False):
        case, theirs = Case(weighted=True), Case(weighted=True)
        optimizers = [FlatAdam(theirs.flats[k], 1e-3) for k in (0, 1, 3)]
        mine = [np.zeros((2, flat.parameter.numel()), np.float32) for flat in case.flats]
        actor, critics, slow, price = case.vectors()
        target, error = np.zeros(COUNT, np.float32), np.zeros(COUNT, np.float32)
        measured, grads = np.zeros(4), (np.zeros_like(actor), np.zeros_like(critics))
        for steps in (1, 2):
            kernel(
                actor, *mine[0], critics, *mine[1], slow, price.reshape(1), *mine[3], steps, 1e-3, 1e-8, 0.1, learned, -2.0,
                case.starts, case.actor_sizes, case.critic_sizes, case.kind, *case.arrays.values(), case.weight,
                case.next_noise, case.noise, *case.room(), target, *grads, error, measured,
            )  # fmt: skip
            wanted = theirs.targets().expand(2, -1)
            loss = value_loss(theirs.critics(theirs.batch.obs, theirs.batch.action), wanted) * theirs.batch.weight
            theirs.flats[1].zero_grad()
            loss.mean(1).sum().backward()
            optimizers[1].step()
            loss, entropy = theirs.policy_loss()
            theirs.flats[0].zero_grad()
            loss.mean().backward()
            optimizers[0].step()
            if learned:
                theirs.flats[3].zero_grad()
                temperature_loss(theirs.temperature.log, entropy, -2.0).mean().backward()
                optimizers[2].step()
            theirs.flats[2].parameter.data.lerp_(theirs.flats[1].parameter.data, 0.1)
        for mine_, other in zip(case.vectors(), theirs.vectors()):
            np.testing.assert_allclose(mine_, other, rtol=1e-3, atol=5e-5)
        assert (price == np.float32(np.log(np.float32(PRICE)))).all() == (not learned)


LOOPS = {
    "cumulant.kernels.sac.fill": compare_fill,
    "cumulant.kernels.sac.targets": compare_targets,
    "cumulant.kernels.sac.critic_gradient": compare_critic_gradient,
    "cumulant.kernels.sac.policy_gradient": compare_policy_gradient,
    "cumulant.kernels.sac.update": compare_update,
}
