"""The compiled DQN against ``algos/dqn.py`` and what it calls, for ``test_twins.py``."""

import numpy as np
import torch
from gymnasium import spaces

from cumulant.algos import dqn as original_dqn
from cumulant.data.replay import Transitions
from cumulant.kernels.perceptron import BLOCK
from cumulant.nn.flat import Flat, FlatAdam
from cumulant.nn.q_network import QNetwork

CLOSE = {"rtol": 1e-5, "atol": 1e-5}
ACTIONS, BATCH, COUNT = 3, 150, 450  # a minibatch is more than a block
PLAIN = spaces.Box(-1, 1, (5,))
MASKED = spaces.Dict(observation=PLAIN, action_mask=spaces.MultiBinary(ACTIONS))
CASES = [(dueling, double, weighted, space) for dueling in (False, True) for double, weighted, space in (
    (False, False, PLAIN), (True, True, PLAIN), (True, False, MASKED), (False, True, MASKED),
)]  # fmt: skip


def compare_double_q_target(kernel, original):
    rng = np.random.default_rng(1)
    online, slow = rng.standard_normal((2, 100, ACTIONS)).astype(np.float32)
    online[::3, 1] = slow[::3, 1] = -np.inf
    online[::5] = 0.0  # ties
    reward, terminated = rng.standard_normal(100).astype(np.float32), rng.random(100) < 0.3
    discount = rng.random(100).astype(np.float32)
    found = [kernel(reward[i], online[i], slow[i], terminated[i], discount[i]) for i in range(100)]
    arrays = (torch.from_numpy(each) for each in (reward, online, slow, terminated, discount))
    np.testing.assert_allclose(found, original(*arrays), rtol=1e-6, atol=1e-6)


def compare_huber_loss(kernel, original):
    error = np.concatenate([np.linspace(-3, 3, 61), [1.0, -1.0, 0.0]]).astype(np.float32)
    value = torch.from_numpy(error).requires_grad_()
    loss = original(value, torch.zeros_like(value))
    loss.sum().backward()
    found = np.array([kernel(each) for each in error])
    np.testing.assert_allclose(found[:, 0], loss.detach(), rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(found[:, 1], value.grad, rtol=1e-6, atol=1e-7)


class Case:
    """A network and its slower copy with random weights, transitions, and what the compiled code is given of them."""

    def __init__(self, dueling, double, weighted, space, make=QNetwork):
        generator, rng = torch.Generator().manual_seed(3), np.random.default_rng(4)
        self.config = original_dqn.Config(double=double, batch_size=BATCH, max_grad_norm=0.5)
        self.net, self.slow_net = (
            make(space, spaces.Discrete(ACTIONS), (16, 8), dueling, generator=generator) for _ in range(2)
        )
        self.flat, self.slow = Flat(self.net), Flat(self.slow_net)
        for flat in (self.flat, self.slow):  # the last layer starts near zero
            flat.parameter.data += 0.3 * torch.randn(flat.parameter.shape, generator=generator)
        obs, next_obs = 2.0 * rng.standard_normal((2, COUNT, 5)).astype(np.float32)
        self.slots = np.arange(COUNT)
        if space is MASKED:
            allowed = rng.random((2, COUNT, ACTIONS)) < 0.6
            allowed[..., 0] = True
            obs, next_obs = (
                np.concatenate([x, mask], 1, dtype=np.float32) for x, mask in zip((obs, next_obs), allowed)
            )
        self.arrays = {
            "obs": obs,
            "action": rng.integers(0, ACTIONS, COUNT),
            "reward": 3.0 * rng.standard_normal(COUNT).astype(np.float32),
            "next_obs": next_obs,
            "terminated": rng.random(COUNT) < 0.2,
            "discount": rng.uniform(0.8, 1.0, COUNT).astype(np.float32),
        }
        self.weight = rng.random(COUNT).astype(np.float32) if weighted else np.zeros(0, np.float32)
        tensors = {name: torch.from_numpy(array) for name, array in self.arrays.items()}
        if space is MASKED:  # as the environment shows them
            for name in ("obs", "next_obs"):
                columns = {"observation": tensors[name][:, :5], "action_mask": tensors[name][:, 5:]}
                tensors[name] = torch.cat([columns[each] for each in MASKED.spaces], 1)
        self.drawn = Transitions(**tensors, weight=torch.from_numpy(self.weight) if weighted else None, slot=self.slots)
        self.sizes = np.array([5, 16, 8, ACTIONS + dueling])
        self.network = (self.sizes, dueling, ACTIONS)

    def vectors(self):
        return self.flat.parameter.detach().numpy(), self.slow.parameter.detach().numpy()

    def targets(self):
        return original_dqn.targets(self.config, self.net, self.slow_net, self.drawn, torch.Generator())

    def block(self):
        return np.full((self.sizes.sum(), BLOCK), np.nan, np.float32)


def compare_values(kernel, original):
    for dueling in (False, True):
        for space in (PLAIN, MASKED):
            case, q = Case(dueling, False, False, space, original), np.zeros((COUNT, ACTIONS), np.float32)
            kernel(case.vectors()[0], *case.network, case.arrays["obs"], case.block(), q)
            expected = case.net.q(case.net.encode(case.drawn.obs)).detach()
            assert torch.isinf(expected).any() == (space is MASKED)
            np.testing.assert_allclose(q, expected, **CLOSE)


TWINS = {
    "cumulant.kernels.dqn.double_q_target": compare_double_q_target,
    "cumulant.kernels.dqn.huber_loss": compare_huber_loss,
    "cumulant.kernels.dqn.values": compare_values,
}


def compare_fill(kernel):
    obs, block = np.random.default_rng(5).random((9, 4)).astype(np.float32), np.zeros((6, BLOCK), np.float32)
    kernel(obs, 2, 5, 3, block)
    np.testing.assert_array_equal(block[:3, :5], obs[2:7, :3].T)
    assert not block[3:].any()
    assert not block[:, 5:].any()


def compare_targets(kernel):
    for setting in CASES:
        case, found = Case(*setting), np.zeros(COUNT, np.float32)
        following = [case.arrays[name] for name in ("reward", "next_obs", "terminated", "discount")]
        kernel(*case.vectors(), *case.network, case.config.double, *following, case.block(), found)
        np.testing.assert_allclose(found, case.targets(), **CLOSE)


def compare_minibatch_gradient(kernel):
    """Autograd's gradient of the loss of ``algos.dqn.fit``, of transitions in the middle."""
    for setting in CASES:
        case, target = Case(*setting), Case(*setting).targets()
        rows = slice(100, 350)
        out = case.net(case.net.encode(case.drawn.obs[rows]))
        out = original_dqn.of_action(out, case.drawn.action[rows])
        loss, wrong = original_dqn.fit(case.config, out, target[rows])
        loss = (loss * torch.from_numpy(case.weight[rows]) if len(case.weight) else loss).mean()
        loss.backward()
        grad, error = np.full_like(case.vectors()[0], np.nan), np.full(COUNT, np.nan, np.float32)
        found = kernel(
            case.vectors()[0], *case.network, case.arrays["obs"], case.arrays["action"], target.numpy(), case.weight,
            100, 350, case.block(), case.block(), grad, error,
        )  # fmt: skip
        expected = case.flat.parameter.grad.numpy()
        np.testing.assert_allclose(grad, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())
        np.testing.assert_allclose(found, loss.detach(), rtol=1e-5)
        np.testing.assert_allclose(error[rows], wrong, **CLOSE)
        assert np.isnan(error[:100]).all()
        assert np.isnan(error[350:]).all()
        assert 0.05 < (error[rows] > 1.0).mean() < 0.95  # both pieces of the loss


def compare_update(kernel):
    """Three updates of ``algos.dqn``, one after the other, with targets from before all of them."""
    for setting in CASES:
        case, theirs = Case(*setting), Case(*setting)
        optimizer = FlatAdam(theirs.flat, 1e-2, eps=1e-5)
        losses, errors = original_dqn.learn(
            theirs.config, theirs.net, theirs.slow_net, theirs.flat, optimizer, theirs.drawn, torch.Generator()
        )
        vector, slow = case.vectors()
        mean, square, grad = np.zeros((3, len(vector)), np.float32)
        target, error, found = np.zeros(COUNT, np.float32), np.zeros(COUNT, np.float32), np.zeros(3)
        steps = kernel(
            vector, slow, mean, square, 0, 1e-2, 1e-5, *case.network, case.config.double, 0.5, BATCH,
            *case.arrays.values(), case.weight, case.block(), case.block(), grad, target, error, found,
        )  # fmt: skip
        assert steps == optimizer.steps == 3
        np.testing.assert_allclose(found, losses, rtol=1e-5)
        np.testing.assert_allclose(error, errors, rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(vector, theirs.vectors()[0], rtol=1e-3, atol=1e-4)
        np.testing.assert_array_equal(slow, theirs.vectors()[1])


LOOPS = {
    "cumulant.kernels.dqn.fill": compare_fill,
    "cumulant.kernels.dqn.targets": compare_targets,
    "cumulant.kernels.dqn.minibatch_gradient": compare_minibatch_gradient,
    "cumulant.kernels.dqn.update": compare_update,
}
