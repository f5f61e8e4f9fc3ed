"""Every compiled function is registered, and every registered one agrees with what it restates.

A new twin needs a function in ``TWINS`` below that compares it with its original on random inputs; a new loop one in
``LOOPS`` that compares it with plain Python. Without one, ``test_every_compiled_function_is_compared`` fails.
"""

import importlib
import pkgutil
import subprocess
import sys
import types

import compare_coarse
import compare_critics
import compare_dqn
import compare_passes
import compare_ppo
import compare_products
import compare_rollout
import compare_sac
import compare_soft
import compare_td3
import compare_tqc
import compare_tree
import numpy as np
import pytest
import torch
from numba import njit
from numba.core.dispatcher import Dispatcher

import cumulant.kernels
from cumulant.envs import lookup
from cumulant.envs.batched import Batch
from cumulant.envs.counter_rng import uniform
from cumulant.kernels import tabular
from cumulant.kernels.tabular import EXPECTED_SARSA, Q_LEARNING, SARSA
from cumulant.kernels.twins import Compiled, registered
from cumulant.maths.exploration import epsilon_greedy
from cumulant.maths.value import expected_sarsa_target, q_learning_target, sarsa_target

ROWS, ACTIONS = 200, 5
EXACT = {"rtol": 1e-13, "atol": 1e-13}


def random_values(seed: int):
    """Rewards, next action values (with ties), next actions, probabilities and flags, as numpy arrays."""
    rng = np.random.default_rng(seed)
    q = rng.standard_normal((ROWS, ACTIONS)) * 3
    q[::4] = np.round(q[::4])  # ties
    q[1] = 0.0
    probability = rng.dirichlet(np.ones(ACTIONS), ROWS) * (rng.random((ROWS, ACTIONS)) < 0.7)
    return rng.standard_normal(ROWS), q, rng.integers(0, ACTIONS, ROWS), probability, rng.random(ROWS) < 0.3


def tensors(*arrays):
    return [torch.from_numpy(array) for array in arrays]


def compare_q_learning_target(kernel, original):
    reward, q, _, _, terminated = random_values(1)
    ours = [kernel(reward[i], q[i], terminated[i], 0.9) for i in range(ROWS)]
    np.testing.assert_allclose(ours, original(*tensors(reward, q, terminated), 0.9), **EXACT)


def compare_sarsa_target(kernel, original):
    reward, q, action, _, terminated = random_values(2)
    ours = [kernel(reward[i], q[i], action[i], terminated[i], 0.9) for i in range(ROWS)]
    np.testing.assert_allclose(ours, original(*tensors(reward, q, action, terminated), 0.9), **EXACT)


def compare_expected_sarsa_target(kernel, original):
    reward, q, _, probability, terminated = random_values(3)
    q[probability == 0] = -np.inf  # an action that is never taken may be worth anything
    ours = [kernel(reward[i], q[i], probability[i], terminated[i], 0.9) for i in range(ROWS)]
    np.testing.assert_allclose(ours, original(*tensors(reward, q, probability, terminated), 0.9), **EXACT)


def compare_epsilon_greedy(kernel, original):
    q = random_values(4)[1]
    q[2::5, 1] = q[2::5, 3] = -np.inf  # not allowed
    for epsilon in (0.0, 0.3, 1.0):
        ours = np.full_like(q, np.nan)
        for i in range(ROWS):
            kernel(q[i], epsilon, ours[i])
        np.testing.assert_allclose(ours, original(torch.from_numpy(q), epsilon), **EXACT)


TWINS = {
    "cumulant.kernels.tabular.q_learning_target": compare_q_learning_target,
    "cumulant.kernels.tabular.sarsa_target": compare_sarsa_target,
    "cumulant.kernels.tabular.expected_sarsa_target": compare_expected_sarsa_target,
    "cumulant.kernels.tabular.epsilon_greedy": compare_epsilon_greedy,
    **compare_dqn.TWINS,
    **compare_ppo.TWINS,
    **compare_rollout.TWINS,
    **compare_products.TWINS,
    **compare_coarse.TWINS,
    **compare_critics.TWINS,
    **compare_soft.TWINS,
    **compare_td3.TWINS,
    **compare_tqc.TWINS,
    **compare_tree.TWINS,
}


def compare_choose(kernel):
    """Inverse-transform sampling of the probabilities of ``maths``, with the documented random number."""
    q, obs = random_values(5)[1], np.arange(ROWS)
    q[2::5, 1] = -np.inf
    rng = np.random.default_rng(6)
    for epsilon in (0.0, 0.3, 1.0):
        action = np.full(ROWS, -1)
        step = int(rng.integers(0, 1000))
        kernel(q, obs, epsilon, 77, step, action)
        cumulative = epsilon_greedy(torch.from_numpy(q), epsilon).cumsum(-1).numpy()
        u = np.array([uniform(np.uint64(77), step, i) for i in range(ROWS)])
        np.testing.assert_array_equal(action, (u[:, None] >= cumulative).sum(axis=1).clip(max=ACTIONS - 1))


def compare_choose_by(kernel):
    """The largest of log-probability and noise, in float64 throughout."""
    q = random_values(5)[1]
    q[2::5, 1] = -np.inf
    noise = np.random.default_rng(6).gumbel(size=(ROWS, ACTIONS)).astype(np.float32)
    for epsilon in (0.0, 0.3, 1.0):
        action = np.full(ROWS, -1)
        kernel(q, epsilon, noise, action)
        logits = epsilon_greedy(torch.from_numpy(q), epsilon).log() + torch.from_numpy(noise).double()
        np.testing.assert_array_equal(action, logits.argmax(-1).numpy())


def compare_td_update(kernel):
    """Plain Python with the targets of ``maths``, row after row, on few states so that rows meet."""
    rng = np.random.default_rng(7)
    for rule, power in [(Q_LEARNING, 0.0), (Q_LEARNING, 0.7), (SARSA, 0.5), (EXPECTED_SARSA, 1.0)]:
        q, visits = rng.standard_normal((3, ACTIONS)), rng.integers(0, 5, (3, ACTIONS))
        obs, next_obs = rng.integers(0, 3, (2, ROWS))
        action, next_action = rng.integers(0, ACTIONS, (2, ROWS))
        reward, terminated = rng.standard_normal(ROWS).astype(np.float32), rng.random(ROWS) < 0.3
        expected, counted = q.copy(), visits.copy()
        for i in range(ROWS):
            following = torch.from_numpy(expected[next_obs[i]])
            arguments = [torch.tensor(float(reward[i]), dtype=torch.float64), following]
            flag = torch.tensor(bool(terminated[i]))
            if rule == Q_LEARNING:
                target = q_learning_target(*arguments, flag, 0.9)
            elif rule == SARSA:
                target = sarsa_target(*arguments, torch.tensor(next_action[i]), flag, 0.9)
            else:
                target = expected_sarsa_target(*arguments, epsilon_greedy(following, 0.2), flag, 0.9)
            where = obs[i], action[i]
            expected[where] += 0.5 * (1 + counted[where]) ** -power * (float(target) - expected[where])
            counted[where] += 1
        kernel(q, visits, obs, action, reward, next_obs, next_action, terminated, rule, 0.9, 0.2, 0.5, power)
        np.testing.assert_allclose(q, expected, rtol=1e-10, atol=1e-12)
        np.testing.assert_array_equal(visits, counted)


def compare_train_on_table(kernel):
    """The same steps one by one through ``Batch.step``: everything equal to the last bit, for each rule."""
    cases = {"garnet": Q_LEARNING, "cliff-walking": SARSA, "slippery-lake": SARSA, "four-rooms": EXPECTED_SARSA}
    for name, rule in cases.items():
        make = lookup.build(name, {"max_steps": 30})
        whole, single = Batch(make, 7, seed=3), Batch(make, 7, seed=3)
        setting = {"rule": rule, "gamma": 0.9, "epsilon": 0.3, "step_size": 1.0, "step_power": 0.6}
        learned = [start(whole), start(single)]
        tabular.train_on_table(whole, *learned[0], steps=400, first_step=0, key=5, **setting)
        one_by_one(single, *learned[1], steps=400, first_step=0, key=5, **setting)
        for compiled, plain in zip(learned[0], learned[1]):
            np.testing.assert_array_equal(compiled, plain)
        assert_same_batch(whole, single)
        assert np.ptp(learned[0][0]) > 0


def start(batch: Batch):
    """A table of zeros, its visits and the first actions."""
    q = np.zeros((int(batch.observation_space.n), int(batch.action_space.n)))
    action = np.zeros(batch.num_envs, np.int64)
    tabular.choose(q, batch.obs, 0.3, 5, -1, action)
    return q, np.zeros(q.shape, np.int64), action


def one_by_one(batch, q, visits, action, *, steps, first_step, key, rule, gamma, epsilon, step_size, step_power):
    """The loop in the docstring of ``train_on_table``."""
    next_action = np.zeros_like(action)
    for step in range(first_step, first_step + steps):
        obs = batch.obs.copy()
        batch.step(action)
        if rule == SARSA:
            tabular.choose(q, batch.next_obs, epsilon, key, 2 * step, next_action)
        tabular.td_update(
            q, visits, obs, action, batch.reward, batch.next_obs, next_action, batch.terminated,
            rule, gamma, epsilon, step_size, step_power,
        )  # fmt: skip
        tabular.choose(q, batch.obs, epsilon, key, 2 * step + 1, action)
        if rule == SARSA:
            action[~batch.ended] = next_action[~batch.ended]


def assert_same_batch(one: Batch, other: Batch):
    for name in ("obs", "next_obs", "state", "key", "episode", "clock", "reward", "terminated", "truncated", "ended"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)
    logs = one.episodes.drain(), other.episodes.drain()
    assert len(logs[0]["return"]) > 7
    for column in logs[0]:
        np.testing.assert_array_equal(logs[0][column], logs[1][column])


LOOPS = {
    **compare_coarse.LOOPS,
    "cumulant.kernels.tabular.choose": compare_choose,
    "cumulant.kernels.tabular.choose_by": compare_choose_by,
    "cumulant.kernels.tabular.td_update": compare_td_update,
    "cumulant.kernels.tabular._train_on_table": compare_train_on_table,
    **compare_dqn.LOOPS,
    **compare_passes.LOOPS,
    **compare_ppo.LOOPS,
    **compare_rollout.LOOPS,
    **compare_critics.LOOPS,
    **compare_sac.LOOPS,
    **compare_soft.LOOPS,
    **compare_td3.LOOPS,
    **compare_tqc.LOOPS,
    **compare_tree.LOOPS,
}


def compiled_in(module: types.ModuleType) -> dict[str, Dispatcher]:
    """Every compiled function that a module defines."""
    return {
        f"{module.__name__}.{name}": found
        for name, found in vars(module).items()
        if isinstance(found, Dispatcher) and found.py_func.__module__ == module.__name__
    }


def kernel_modules():
    for found in pkgutil.walk_packages(cumulant.kernels.__path__, "cumulant.kernels."):
        yield importlib.import_module(found.name)


def missing(modules, register: dict[str, Compiled]) -> set[str]:
    """Compiled functions that are not registered."""
    return {name for module in modules for name in compiled_in(module)} - set(register)


def test_every_compiled_function_is_registered():
    assert missing(kernel_modules(), registered()) == set()


def test_an_unregistered_function_would_be_found():
    """The search itself works: a module with a bare compiled function is reported."""
    module = types.ModuleType("cumulant.kernels.rogue")

    def update(q):
        return q + 1

    update.__module__ = module.__name__
    module.update = njit(update)
    assert missing([module], registered()) == {"cumulant.kernels.rogue.update"}


def test_every_compiled_function_is_compared():
    twins = {name for name, entry in registered().items() if entry.of}
    assert twins == set(TWINS)
    assert set(registered()) - twins == set(LOOPS)


@pytest.mark.parametrize("name", sorted(TWINS))
def test_twin_equals_its_original(name):
    entry = registered()[name]
    module, _, function = entry.of.rpartition(".")
    assert module.startswith(("cumulant.maths.", "cumulant.nn.", "cumulant.algos.", "torch"))
    TWINS[name](entry.function, getattr(importlib.import_module(module), function))


@pytest.mark.parametrize("name", sorted(LOOPS))
def test_loop_equals_plain_python(name):
    LOOPS[name](registered()[name].function)


def test_loops_are_put_together_from_what_is_known():
    """A part is a registered function or one of an environment."""
    known = {entry.function for entry in registered().values()}
    for entry in registered().values():
        assert not (entry.of and entry.parts), entry.name
        for part in entry.parts:
            assert part in known or part.py_func.__module__.startswith("cumulant.envs."), entry.name


def test_kernels_do_not_import_torch():
    code = "import sys; from cumulant.kernels.twins import registered; registered(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
