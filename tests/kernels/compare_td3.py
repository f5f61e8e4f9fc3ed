"""The compiled TD3 against ``algos/td3.py`` and what it calls, for ``test_twins.py``."""

import numpy as np
import torch
from towers import ACTIONS, CLOSE, COUNT, OBS, Case, assert_gradient

from cumulant.algos import td3 as original_td3
from cumulant.kernels.critics import CRITIC, POLICY, VALUE
from cumulant.maths.value import value_loss
from cumulant.nn.backward import frozen
from cumulant.nn.flat import FlatAdam

CONFIG = original_td3.Config(smoothing_noise=0.4, smoothing_clip=0.5)  # about a fifth of the noise is clipped
SMOOTHING = CONFIG.smoothing_noise, CONFIG.smoothing_clip


def targets_of(case):
    noise = torch.from_numpy(case.next_noise)
    return original_td3.targets(CONFIG, case.actor, case.slow_actor, case.slow_critics, case.batch, noise)


def policy_loss_of(case):
    with frozen(case.critics):
        return -case.critics(case.batch.obs, case.actor.mode(case.batch.obs), members=1).mean()


def compare_smoothed_action(kernel, original):
    rng = np.random.default_rng(5)
    action, noise = (array.astype(np.float32) for array in (rng.uniform(-1, 1, 400), rng.standard_normal(400)))
    spread, clip = map(np.float32, SMOOTHING)
    ours = [kernel(action[i], noise[i], spread, clip) for i in range(400)]
    expected = original(torch.from_numpy(action), torch.from_numpy(noise), *SMOOTHING)
    np.testing.assert_allclose(ours, expected, rtol=1e-6)
    assert (np.abs(ours) == 1.0).any()


TWINS = {"cumulant.kernels.td3.smoothed_action": compare_smoothed_action}


def compare_act(kernel):
    for activation in ("relu", "tanh"):
        case, (first, m) = Case(activation, deterministic=True), (20, 100)
        block, obs = case.block(), case.arrays["obs"]
        kernel(case.vectors()[0], case.actor_sizes, case.kind, obs, first, m, case.actor_block(), block)
        np.testing.assert_array_equal(block[:OBS, :m].T, obs[first : first + m])
        expected = case.actor.mode(case.batch.obs).detach()[first : first + m]
        np.testing.assert_allclose(block[OBS : OBS + ACTIONS, :m].T, expected, **CLOSE)


def compare_targets(kernel):
    for activation in ("relu", "tanh"):
        case, found = Case(activation, deterministic=True), np.zeros(COUNT, np.float32)
        _, _, slow, _, slow_actor = case.vectors()
        kernel(
            slow_actor, slow, *case.shapes, *SMOOTHING, *case.following(), case.next_noise, case.actor_block(), case.block(),
            found,
        )  # fmt: skip
        np.testing.assert_allclose(found, targets_of(case)[0], rtol=1e-5, atol=1e-5)


def compare_policy_gradient(kernel):
    for activation in ("relu", "tanh"):
        case = Case(activation, deterministic=True)
        loss = policy_loss_of(case)
        loss.backward()
        actor, critics, *_ = case.vectors()
        grad, measured = np.full_like(actor, np.nan), np.zeros(4)
        kernel(
            actor, critics, *case.shapes[1:], case.arrays["obs"], case.actor_block(), case.actor_block(), case.block(),
            case.block(), grad, measured,
        )  # fmt: skip
        assert_gradient(grad, case.flats[0])
        np.testing.assert_allclose(measured[POLICY], loss.item(), rtol=1e-5)


def compare_update(kernel):
    """Three updates of ``algos.td3``, of which the second one moves the policy, too."""
    case, theirs = (Case(weighted=True, deterministic=True) for _ in range(2))
    policy_optimizer, critics_optimizer = (FlatAdam(theirs.flats[k], 1e-3) for k in (0, 1))
    mine = [np.zeros((2, flat.parameter.numel()), np.float32) for flat in case.flats]
    actor, critics, slow, _, slow_actor = case.vectors()
    before = actor.copy(), slow_actor.copy(), slow.copy()
    target, error = np.zeros(COUNT, np.float32), np.zeros(COUNT, np.float32)
    for steps, moves in ((1, False), (2, True), (3, False)):
        measured, grads = np.zeros(4), (np.zeros_like(actor), np.zeros_like(critics))
        room = case.actor_block(), case.actor_block(), case.block(), case.block()
        kernel(
            actor, *mine[0], critics, *mine[1], slow_actor, slow, steps, steps // 2, 1e-3, 1e-8, 0.1, moves, *SMOOTHING,
            *case.shapes, *case.arrays.values(), case.weight, case.next_noise, *room, target, *grads, error, measured,
        )  # fmt: skip
        q, wanted = theirs.critics(theirs.batch.obs, theirs.batch.action), targets_of(theirs)
        loss = theirs.mean_loss(value_loss(q, wanted))
        theirs.flats[1].zero_grad()
        loss.backward()
        critics_optimizer.step()
        np.testing.assert_allclose(error, (q - wanted).abs().mean(0).detach(), rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(measured[[CRITIC, VALUE]], [loss.item(), q.mean().item()], rtol=1e-4, atol=1e-5)
        if moves:
            policy_loss = policy_loss_of(theirs)
            theirs.flats[0].zero_grad()
            policy_loss.backward()
            policy_optimizer.step()
            for slower, fast in ((2, 1), (4, 0)):
                theirs.flats[slower].parameter.data.lerp_(theirs.flats[fast].parameter.data, 0.1)
            np.testing.assert_allclose(measured[POLICY], policy_loss.item(), rtol=1e-4)
        assert [np.array_equal(*pair) for pair in zip(before, (actor, slow_actor, slow))] == [steps == 1] * 3
        for mine_, other in zip(case.vectors(), theirs.vectors()):
            np.testing.assert_allclose(mine_, other, rtol=1e-3, atol=5e-5)


LOOPS = {
    "cumulant.kernels.td3.act": compare_act,
    "cumulant.kernels.td3.targets": compare_targets,
    "cumulant.kernels.td3.policy_gradient": compare_policy_gradient,
    "cumulant.kernels.td3.update": compare_update,
}
