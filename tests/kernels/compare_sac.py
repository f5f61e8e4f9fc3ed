"""The compiled SAC against ``algos/sac.py`` and what it calls, for ``test_twins.py``."""

import numpy as np
import torch
from towers import ACTIONS, COUNT, OBS, PRICE, Case, assert_gradient, rows

from cumulant.algos import sac as original_sac
from cumulant.kernels.critics import ENTROPY, POLICY
from cumulant.maths.value import value_loss
from cumulant.nn.backward import frozen
from cumulant.nn.flat import FlatAdam


class NoCosts:
    active = False


def targets_of(case):
    noise = torch.from_numpy(case.next_noise)
    return original_sac.targets(case.actor, case.slow_critics, case.temperature, case.batch, noise)[0]


def policy_loss_of(case):
    noise = torch.from_numpy(case.noise)
    with frozen(case.critics):
        return original_sac.policy_loss(case.actor, case.critics, case.temperature, NoCosts, case.batch.obs, noise)


def room(case):
    """What ``policy_gradient`` and ``update`` are given to write in."""
    blocks = case.actor_block(), case.actor_block(), np.stack([case.block(), case.block()]), case.block()
    return (*blocks, rows(OBS + ACTIONS), rows(1)[0])


def compare_targets(kernel):
    for activation in ("relu", "tanh"):
        case, found = Case(activation), np.zeros(COUNT, np.float32)
        actor, _, slow, *_ = case.vectors()
        kernel(
            actor, slow, *case.shapes, PRICE, *case.following(), case.next_noise, case.actor_block(), case.block(),
            rows(1)[0], found,
        )  # fmt: skip
        np.testing.assert_allclose(found, targets_of(case), rtol=1e-5, atol=1e-5)


def compare_policy_gradient(kernel):
    for activation in ("relu", "tanh"):
        case = Case(activation)
        loss, entropy = policy_loss_of(case)
        loss.mean().backward()
        actor, critics, *_ = case.vectors()
        grad, measured = np.full_like(actor, np.nan), np.zeros(4)
        kernel(actor, critics, *case.shapes, PRICE, case.arrays["obs"], case.noise, *room(case), grad, measured)
        assert_gradient(grad, case.flats[0])
        wanted = [loss.mean().item(), entropy.mean().item()]
        np.testing.assert_allclose(measured[[POLICY, ENTROPY]], wanted, rtol=1e-5)


def compare_update(kernel):
    """Two updates of ``algos.sac``, with a temperature that is learned and one that is not."""
    for learned in (True, False):
        case, theirs = Case(weighted=True), Case(weighted=True)
        optimizers = [FlatAdam(theirs.flats[k], 1e-3) for k in (0, 1, 3)]
        mine = [np.zeros((2, flat.parameter.numel()), np.float32) for flat in case.flats]
        actor, critics, slow, price, _ = case.vectors()
        target, error = np.zeros(COUNT, np.float32), np.zeros(COUNT, np.float32)
        measured, grads = np.zeros(4), (np.zeros_like(actor), np.zeros_like(critics))
        for steps in (1, 2):
            kernel(
                actor, *mine[0], critics, *mine[1], slow, price.reshape(1), *mine[3], steps, 1e-3, 1e-8, 0.1, learned, -2.0,
                *case.shapes, *case.arrays.values(), case.weight, case.next_noise, case.noise, *room(case), target, *grads,
                error, measured,
            )  # fmt: skip
            q = theirs.critics(theirs.batch.obs, theirs.batch.action)
            loss = theirs.mean_loss(value_loss(q, targets_of(theirs).expand(2, -1)))
            theirs.soft_update(optimizers, loss, policy_loss_of, learned)
        for mine_, other in zip(case.vectors(), theirs.vectors()):
            np.testing.assert_allclose(mine_, other, rtol=1e-3, atol=5e-5)
        assert (price == np.float32(np.log(np.float32(PRICE)))).all() == (not learned)


LOOPS = {
    "cumulant.kernels.sac.targets": compare_targets,
    "cumulant.kernels.sac.policy_gradient": compare_policy_gradient,
    "cumulant.kernels.sac.update": compare_update,
}
