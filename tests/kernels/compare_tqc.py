"""The compiled TQC against ``algos/tqc.py`` and what it calls, for ``test_twins.py``."""

import numpy as np
import torch
from towers import ACTIONS, COUNT, OBS, PRICE, Case, assert_gradient, rows

from cumulant.algos import tqc as original_tqc
from cumulant.kernels.critics import CRITIC, ENTROPY, POLICY, VALUE
from cumulant.kernels.perceptron import BLOCK
from cumulant.maths.distributional import quantile_huber_loss
from cumulant.maths.soft import sac_policy_loss
from cumulant.nn.backward import frozen
from cumulant.nn.flat import FlatAdam

SHAPES = [(1, 1, 0), (1, 4, 0), (2, 5, 2), (3, 7, 1)]  # critics, quantiles, how many of them are dropped


def case_of(shape, **fields):
    return Case(num_critics=shape[0], num_quantiles=shape[1], **fields)


def targets_of(case, drop):
    config, noise = original_tqc.Config(drop=drop), torch.from_numpy(case.next_noise)
    return original_tqc.targets(config, case.actor, case.slow_critics, case.temperature, case.batch, noise)


def critic_loss_of(case, drop):
    """The loss, what it is of, and how wrong each was, as in ``algos.tqc``."""
    q, target = case.critics(case.batch.obs, case.batch.action), targets_of(case, drop)
    loss = quantile_huber_loss(q, target.expand(len(q), -1, -1)) / q.shape[-1]
    return case.mean_loss(loss), q, (q.detach().mean((0, 2)) - target.mean(-1)).abs()


def policy_loss_of(case):
    action, logp = case.actor.head.sample_logp(case.actor(case.batch.obs), torch.from_numpy(case.noise))
    with frozen(case.critics):
        q = case.critics(case.batch.obs, action).mean((0, 2))
    return sac_policy_loss(q, logp, case.temperature()), -logp.detach()


def mixture_of(shape):
    return np.full((shape[0] * shape[1], BLOCK), np.nan, np.float32)


def compare_mix(kernel, original):
    """Every number of rows up to where three rounds of merging are needed; with what is equal, and infinite."""
    rng = np.random.default_rng(5)
    for count in (*range(1, 20), 50, 125):
        numbers = rng.standard_normal((count, BLOCK)).astype(np.float32)
        numbers[: count // 2] = np.round(numbers[: count // 2])
        numbers[rng.random((count, BLOCK)) < 0.05] = -np.inf
        found = numbers.copy()
        kernel(found, 100)
        for drop in {0, count // 3}:
            kept = original(torch.from_numpy(numbers[:, :100].T.copy()).unsqueeze(-2), drop)
            np.testing.assert_array_equal(found[: count - drop, :100].T, kept)
        np.testing.assert_array_equal(found[:, 100:], numbers[:, 100:])


def compare_quantile_huber_loss(kernel, original):
    rng = np.random.default_rng(6)
    for num_quantiles, num_targets in ((1, 1), (5, 8), (25, 46)):
        quantiles, target = (
            rng.standard_normal((n, BLOCK)).astype(np.float32) * 2 for n in (num_quantiles, num_targets)
        )
        target[0, ::3] = quantiles[0, ::3]  # no error at all
        ours, theirs = (torch.from_numpy(array[:, :100].T.copy()) for array in (quantiles, target))
        expected = original(ours.requires_grad_(), theirs)
        expected.sum().backward()
        loss, slope = rows(1)[0], np.full_like(quantiles, np.nan)
        kernel(quantiles, target, 100, loss, slope)
        np.testing.assert_allclose(loss[:100], expected.detach(), rtol=1e-5)
        np.testing.assert_allclose(slope[:, :100].T, ours.grad, rtol=1e-5, atol=1e-6)


TWINS = {
    "cumulant.kernels.quantiles.mix": compare_mix,
    "cumulant.kernels.quantiles.quantile_huber_loss": compare_quantile_huber_loss,
}


def compare_targets(kernel):
    for shape in SHAPES:
        case, mixture, kept = case_of(shape), mixture_of(shape), shape[0] * (shape[1] - shape[2])
        actor, _, slow, *_ = case.vectors()
        kernel(
            actor, slow, *case.shapes, PRICE, kept, *case.following(), case.next_noise, 20, 100, case.actor_block(),
            case.block(), rows(1)[0], mixture,
        )  # fmt: skip
        np.testing.assert_allclose(mixture[:kept, :100].T, targets_of(case, shape[2])[20:120], rtol=1e-5, atol=1e-5)


def compare_critic_gradient(kernel):
    for shape, activation, weighted in [
        (SHAPES[0], "relu", False),
        (SHAPES[2], "tanh", True),
        (SHAPES[3], "relu", True),
    ]:
        case, kept = case_of(shape, activation=activation, weighted=weighted), shape[0] * (shape[1] - shape[2])
        loss, q, wrong = critic_loss_of(case, shape[2])
        loss.backward()
        actor, critics, slow, *_ = case.vectors()
        grad, error, measured = np.full_like(critics, np.nan), np.full(COUNT, np.nan, np.float32), np.zeros(4)
        reward, next_obs, terminated, discount = case.following()
        kernel(
            actor, critics, slow, *case.shapes, PRICE, kept, case.arrays["obs"], case.arrays["action"], reward, next_obs,
            terminated, discount, case.weight, case.next_noise, case.actor_block(), case.block(), case.block(), *rows(3),
            mixture_of(shape), grad, error, measured,
        )  # fmt: skip
        assert_gradient(grad, case.flats[1])
        np.testing.assert_allclose(error, wrong, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(measured[[CRITIC, VALUE]], [loss.item(), q.mean().item()], rtol=1e-5)


def compare_policy_gradient(kernel):
    for shape, activation in [(SHAPES[0], "relu"), (SHAPES[3], "tanh")]:
        case = case_of(shape, activation=activation)
        loss, entropy = policy_loss_of(case)
        loss.mean().backward()
        actor, critics, *_ = case.vectors()
        grad, measured = np.full_like(actor, np.nan), np.zeros(4)
        kernel(
            actor, critics, *case.shapes, PRICE, case.arrays["obs"], case.noise, case.actor_block(), case.actor_block(),
            case.block(), case.block(), rows(OBS + ACTIONS), *rows(2), grad, measured,
        )  # fmt: skip
        assert_gradient(grad, case.flats[0])
        wanted = [loss.mean().item(), entropy.mean().item()]
        np.testing.assert_allclose(measured[[POLICY, ENTROPY]], wanted, rtol=1e-5)


def compare_update(kernel):
    """Two updates of ``algos.tqc``, with a temperature that is learned and one that is not."""
    shape = SHAPES[2]
    for learned in (True, False):
        case, theirs = case_of(shape, weighted=True), case_of(shape, weighted=True)
        optimizers = [FlatAdam(theirs.flats[k], 1e-3) for k in (0, 1, 3)]
        mine = [np.zeros((2, flat.parameter.numel()), np.float32) for flat in case.flats]
        actor, critics, slow, price, _ = case.vectors()
        error, measured, grads = (
            np.zeros(COUNT, np.float32),
            np.zeros(4),
            (np.zeros_like(actor), np.zeros_like(critics)),
        )
        for steps in (1, 2):
            kernel(
                actor, *mine[0], critics, *mine[1], slow, price.reshape(1), *mine[3], steps, 1e-3, 1e-8, 0.1, learned, -2.0,
                6, *case.shapes, *case.arrays.values(), case.weight, case.next_noise, case.noise, case.actor_block(),
                case.actor_block(), case.block(), case.block(), rows(OBS + ACTIONS), *rows(3), mixture_of(shape), *grads,
                error, measured,
            )  # fmt: skip
            loss, _, wrong = critic_loss_of(theirs, shape[2])
            np.testing.assert_allclose(error, wrong, rtol=1e-4, atol=1e-4)
            theirs.soft_update(optimizers, loss, policy_loss_of, learned)
        for mine_, other in zip(case.vectors(), theirs.vectors()):
            np.testing.assert_allclose(mine_, other, rtol=1e-3, atol=5e-5)
        assert (price == np.float32(np.log(np.float32(PRICE)))).all() == (not learned)


LOOPS = {
    "cumulant.kernels.tqc.targets": compare_targets,
    "cumulant.kernels.tqc.critic_gradient": compare_critic_gradient,
    "cumulant.kernels.tqc.policy_gradient": compare_policy_gradient,
    "cumulant.kernels.tqc.update": compare_update,
}
