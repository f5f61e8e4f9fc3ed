"""The compiled squashed Gaussian and the price of its entropy against ``maths/soft.py``, for ``test_twins.py``."""

import numpy as np
import torch
from towers import ACTIONS, CLOSE, COUNT, OBS, PRICE, Case, rows

from cumulant.kernels import soft
from cumulant.kernels.perceptron import BLOCK
from cumulant.nn.actor import Temperature
from cumulant.nn.flat import Flat, FlatAdam


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


def compare_sac_target(kernel, original):
    case, (value, logp) = Case(), np.random.default_rng(3).standard_normal((2, COUNT)).astype(np.float32)
    reward, _, terminated, discount = case.following()
    price = np.float32(PRICE)
    ours = [kernel(reward[i], value[i], logp[i], terminated[i], discount[i], price) for i in range(COUNT)]
    arrays = (torch.from_numpy(array) for array in (reward, value, logp, terminated, discount))
    np.testing.assert_allclose(ours, original(*arrays, PRICE), rtol=1e-5, atol=1e-6)


def compare_policy_loss(kernel, original):
    q, logp = np.random.default_rng(3).standard_normal((2, COUNT)).astype(np.float32)
    ours = [kernel(q[i], logp[i], np.float32(PRICE)) for i in range(COUNT)]
    np.testing.assert_allclose(ours, original(torch.from_numpy(q), torch.from_numpy(logp), PRICE), rtol=1e-5, atol=1e-6)


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
    squashed, worth = rows(8), rows(8)
    soft.squash(head, case.noise, 30, 100, squashed, 5, rows(1)[0])
    worth[5:, :100] = 0.01 * (2.0 * factor * action).detach().numpy().T
    found = np.full_like(head, np.nan)
    kernel(head, case.noise, 30, 100, squashed, worth, 5, PRICE, 0.01, found)
    np.testing.assert_allclose(found[:, :100].T, outputs.grad, rtol=1e-5, atol=1e-6)


def compare_reprice(kernel, original):
    """Two steps of Adam along autograd's gradient, with entropies on either side of what is wanted."""
    temperature, price = Temperature(PRICE), np.log(np.array([PRICE], np.float32))
    flat, (mean, square) = Flat(temperature), np.zeros((2, 1), np.float32)
    optimizer = FlatAdam(flat, 1e-2)
    for steps, entropy in ((1, torch.tensor([-1.0, 4.0])), (2, torch.tensor([-6.0, -3.5]))):
        flat.zero_grad()
        original(temperature.log, entropy, -2.0).mean().backward()
        optimizer.step()
        kernel(price, mean, square, steps, 1e-2, 1e-8, float(entropy.mean()), -2.0)
        np.testing.assert_allclose(price, flat.parameter.detach(), rtol=1e-5)
    assert abs(price[0] - np.log(PRICE)) > 1e-3


TWINS = {
    "cumulant.kernels.soft.squash": compare_squash,
    "cumulant.kernels.soft.sac_target": compare_sac_target,
    "cumulant.kernels.soft.policy_loss": compare_policy_loss,
    "cumulant.kernels.soft.slopes": compare_slopes,
    "cumulant.kernels.soft.reprice": compare_reprice,
}


def compare_propose(kernel):
    for activation in ("relu", "tanh"):
        case, logp = Case(activation), rows(1)[0]
        first, m, block = 20, 100, case.block()
        obs, noise = case.arrays["obs"], case.noise
        kernel(case.vectors()[0], case.actor_sizes, case.kind, obs, noise, first, m, case.actor_block(), block, logp)
        seen, drawn = case.batch.obs[first : first + m], torch.from_numpy(noise[first : first + m])
        with torch.no_grad():
            action, expected = case.actor.head.sample_logp(case.actor(seen), drawn)
        np.testing.assert_array_equal(block[:OBS, :m].T, seen)
        np.testing.assert_allclose(block[OBS : OBS + ACTIONS, :m].T, action, **CLOSE)
        np.testing.assert_allclose(logp[:m], expected, rtol=1e-4, atol=1e-4)


LOOPS = {"cumulant.kernels.soft.propose": compare_propose}
