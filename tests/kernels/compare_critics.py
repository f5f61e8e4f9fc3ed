"""What the compiled updates of critics share against ``maths`` and torch, for ``test_twins.py``."""

import numpy as np
import torch
from towers import ACTIONS, CLOSE, COUNT, OBS, Case, assert_gradient

from cumulant.kernels.critics import CRITIC, VALUE
from cumulant.kernels.perceptron import BLOCK, forward
from cumulant.maths.value import value_loss


def compare_one_step_target(kernel, original):
    case, value = Case(), np.random.default_rng(3).standard_normal(COUNT).astype(np.float32)
    reward, _, terminated, discount = case.following()
    ours = [kernel(reward[i], value[i], terminated[i], discount[i]) for i in range(COUNT)]
    arrays = (torch.from_numpy(array) for array in (reward, value, terminated, discount))
    np.testing.assert_allclose(ours, original(*arrays), rtol=1e-5, atol=1e-6)


def compare_value_loss(kernel, original):
    error = np.linspace(-3, 3, 41, dtype=np.float32)
    ours = [kernel(each) for each in error]
    np.testing.assert_allclose(ours, original(torch.from_numpy(error), torch.zeros(41)), rtol=1e-6)


def compare_follow(kernel, original):
    slow, fast = np.random.default_rng(5).standard_normal((2, 100)).astype(np.float32)
    expected = original(torch.from_numpy(slow), torch.from_numpy(fast), 0.1).numpy()
    kernel(slow, fast, 0.1)
    np.testing.assert_allclose(slow, expected, rtol=1e-5, atol=1e-6)


TWINS = {
    "cumulant.kernels.critics.one_step_target": compare_one_step_target,
    "cumulant.kernels.critics.value_loss": compare_value_loss,
    "cumulant.kernels.critics.follow": compare_follow,
}


def compare_fill(kernel):
    rows, block = np.random.default_rng(5).random((9, 4)).astype(np.float32), np.zeros((6, BLOCK), np.float32)
    kernel(rows, 2, 5, 1, block)
    np.testing.assert_array_equal(block[1:5, :5], rows[2:7].T)
    assert not block[[0, 5]].any()


def filled(case, first, m):
    """A critic's block with observations and actions."""
    block = case.block()
    seen = np.concatenate([case.arrays["obs"], case.arrays["action"]], 1)[first : first + m]
    block[: OBS + ACTIONS, :m] = seen.T
    return block


def compare_smallest(kernel):
    for count in (1, 2, 3):
        case, found = Case(num_critics=count), np.full(COUNT, np.nan, np.float32)
        kernel(case.vectors()[1], case.starts, case.critic_sizes, case.kind, 20, 100, filled(case, 20, 100), found)
        q = case.critics(case.batch.obs, case.batch.action).amin(0).detach()
        np.testing.assert_allclose(found[20:120], q[20:120], **CLOSE)
        assert np.isnan(found[:20]).all()
        assert np.isnan(found[120:]).all()


def compare_add_worth(kernel):
    """The gradient of the second critic's mean value by the actions, added to what is there."""
    case, block = Case(), filled(Case(), 0, 100)
    action = case.batch.action[:100].clone().requires_grad_()
    case.critics(case.batch.obs[:100], action)[1].mean().backward()
    critics, worth, delta, m = case.vectors()[1], np.ones((OBS + ACTIONS, BLOCK), np.float32), case.block(), 100
    forward(critics, case.starts[1], case.critic_sizes, case.kind, m, block)
    delta[-1] = 0.01
    kernel(critics, case.starts[1], case.critic_sizes, case.kind, m, block, delta, np.zeros(0, np.float32), worth, OBS)
    np.testing.assert_allclose(worth[OBS:, :m].T - 1.0, action.grad, rtol=1e-4, atol=1e-6)
    assert (worth[:OBS] == 1.0).all()


def compare_value_gradient(kernel):
    for activation, weighted, count in [("relu", False, 2), ("tanh", True, 2), ("relu", True, 3)]:
        case, target = Case(activation, weighted, num_critics=count), Case().batch.reward
        q = case.critics(case.batch.obs, case.batch.action)
        loss = case.mean_loss(value_loss(q, target.expand(count, -1)))
        loss.backward()
        vector = case.vectors()[1]
        grad, error, measured = np.full_like(vector, np.nan), np.full(COUNT, np.nan, np.float32), np.zeros(4)
        kernel(
            vector, case.starts, case.critic_sizes, case.kind, case.arrays["obs"], case.arrays["action"], target.numpy(),
            case.weight, case.block(), case.block(), grad, error, measured,
        )  # fmt: skip
        assert_gradient(grad, case.flats[1])
        np.testing.assert_allclose(error, (q - target).abs().mean(0).detach(), **CLOSE)
        np.testing.assert_allclose(measured[[CRITIC, VALUE]], [loss.item(), q.mean().item()], rtol=1e-5)


LOOPS = {
    "cumulant.kernels.critics.fill": compare_fill,
    "cumulant.kernels.critics.smallest": compare_smallest,
    "cumulant.kernels.critics.add_worth": compare_add_worth,
    "cumulant.kernels.critics.value_gradient": compare_value_gradient,
}
