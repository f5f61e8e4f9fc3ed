"""How the compiled parts of a rollout compare with what they restate; more in ``tests/engine/test_engine_compiled.py``."""

import numpy as np
import torch
from gymnasium import spaces
from numba import njit

from cumulant.algos.ppo import Config
from cumulant.engine.compiled import CompiledPPO
from cumulant.engine.vector import make_vector
from cumulant.nn.actor_critic import ActorCritic
from cumulant.nn.flat import Flat, FlatAdam


def compare_normalise(kernel, original):
    """Bit for bit, with and without the columns of a mask, and as it is without statistics."""
    generator = np.random.default_rng(0)
    flat = (generator.standard_normal((40, 6)) * 50).astype(np.float32)
    norm = original(5)
    norm.update(torch.from_numpy(generator.standard_normal((100, 5)).astype(np.float32)))
    seen = np.full((40, 5), np.nan, np.float32)
    kernel(flat, norm.mean.numpy(), norm.scale.numpy(), np.float32(10.0), seen)
    np.testing.assert_array_equal(seen, norm(torch.from_numpy(flat))[:, :5].numpy())
    assert (np.abs(seen) == 10.0).any()
    nothing = np.zeros(0, np.float32)
    kernel(flat, nothing, nothing, np.float32(10.0), seen)
    np.testing.assert_array_equal(seen, flat[:, :5])


def compare_to_env(kernel, original):
    head = original(spaces.Box(np.float32([-2.0, 0.0, -np.inf]), np.float32([2.0, 0.3, np.inf])))
    numbers = (np.random.default_rng(1).standard_normal((50, 3)) * 2).astype(np.float32)
    action = np.full_like(numbers, np.nan)
    kernel(numbers, np.stack([head.middle, head.half_width, head.low, head.high]), action)
    np.testing.assert_array_equal(action, head.to_env(numbers))


TWINS = {
    "cumulant.kernels.rollout.normalise": compare_normalise,
    "cumulant.kernels.rollout.to_env": compare_to_env,
}


def compare_encode(kernel):
    obs = np.random.default_rng(2).random((9, 5))
    order, flat, allowed = np.array([0, 3, 4, 1, 2]), np.zeros((9, 5), np.float32), np.zeros((9, 2), bool)
    kernel(obs, order, 2, flat, allowed)
    np.testing.assert_array_equal(flat, obs[:, order].astype(np.float32))
    np.testing.assert_array_equal(allowed, obs[:, 1:3] > 0.5)


@njit
def _told(key, clock, action, params, state, obs, reward, terminated, outcomes):
    """Stands for an environment's step: writes its action as the reward."""
    for i in range(action.shape[0]):
        reward[i] = action.reshape(-1)[i]


def compare_take_choices(kernel):
    choice, numbers, reward = np.array([2, 0, 1]), np.zeros((3, 0), np.float32), np.zeros(3, np.float32)
    kernel(_told, *(choice,) * 3, numbers, numbers, numbers, choice, numbers, numbers, reward, choice, numbers)
    np.testing.assert_array_equal(reward, choice)


def compare_take_numbers(kernel):
    choice, numbers, reward = (
        np.zeros(3, np.int64),
        np.array([[0.5], [2.0], [-3.0]], np.float32),
        np.zeros(3, np.float32),
    )
    scaling = np.array([[1.0], [2.0], [0.0], [4.0]], np.float32)
    action = np.zeros_like(numbers)
    kernel(_told, *(choice,) * 3, numbers, scaling, action, choice, numbers, numbers, reward, choice, numbers)
    np.testing.assert_array_equal(reward, [2.0, 4.0, 0.0])


def compare_rollout(kernel):
    """Through the engine: the same as its steps one by one, which read as plain Python does; many cases are beside it."""
    collected = []
    for in_one_call in (True, False):
        envs = make_vector("cartpole", 3, 0, {"max_steps": 9})
        net = ActorCritic(envs.observation_space, envs.action_space, (8,), generator=torch.Generator().manual_seed(0))
        engine = CompiledPPO(net, FlatAdam(Flat(net), 1e-3, eps=Config.learning_rate), envs, 40, 1, 2)
        if not in_one_call:
            engine.native = None
        engine.collect(0)
        collected.append((engine.flat, engine.choice, engine.logp, engine.ended, *envs.episodes.drain().values()))
    for one, other in zip(*collected):
        np.testing.assert_array_equal(one, other)


LOOPS = {
    "cumulant.kernels.rollout.encode": compare_encode,
    "cumulant.kernels.rollout.take_choices": compare_take_choices,
    "cumulant.kernels.rollout.take_numbers": compare_take_numbers,
    "cumulant.kernels.rollout.rollout": compare_rollout,
}
