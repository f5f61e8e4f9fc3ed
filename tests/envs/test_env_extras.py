"""Environments of optional packages: what is said without them, and dm_control where it is installed."""

import sys

import gymnasium
import numpy as np
import pytest

from cumulant.engine.gym_vector import episode_seed
from cumulant.engine.vector import make_vector
from cumulant.envs import extras
from cumulant.errors import ConfigError, EnvironmentFault, MissingPackage, UsageError


@pytest.mark.parametrize(
    ("env", "package", "extra"),
    [
        ("Hopper-v5", "mujoco", "mujoco"),
        ("Swimmer-v5", "mujoco", "mujoco"),
        ("FetchReach-v4", "gymnasium_robotics", "robotics"),
        ("dm_control/walker-walk", "dm_control", "robotics"),
        ("ALE/Pong-v5", "ale_py", "atari"),
    ],
)
def test_a_missing_package_names_its_extra(monkeypatch, env, package, extra):
    for module in [name for name in sys.modules if name.partition(".")[0] == package]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, package, None)  # as if it were not installed
    if package != "mujoco":
        monkeypatch.delitem(gymnasium.registry, env, raising=False)
    with pytest.raises(MissingPackage, match=rf"environment '{env}' needs .*: pip install 'cumulant\[{extra}\]'"):
        make_vector(env, 1, 0)


def test_a_namespace_that_nobody_brings():
    with pytest.raises(MissingPackage, match=r"brings environments called 'Nowhere/\.\.\.'"):
        make_vector("Nowhere/Thing-v0", 1, 0)


@pytest.fixture
def walker():
    pytest.importorskip("dm_control", reason="needs an extra: pip install 'cumulant[robotics]'")
    extras.optional("dm_control.suite", "robotics", "")  # hides its warning that there is no display
    return lambda num_envs=2, seed=0, **options: make_vector("dm_control/walker-walk", num_envs, seed, options)


def test_walker_walk_is_the_suites_own(walker):
    from dm_control import suite

    envs = walker(1, seed=4, action_repeat=2)
    single = suite.load("walker", "walk")
    single.task.random.seed(episode_seed(4, 0, 0))
    step = single.reset()
    rng = np.random.default_rng(0)
    assert envs.obs.dtype == np.float32
    for _ in range(30):
        flat = np.concatenate([np.ravel(step.observation[name]) for name in ("orientations", "height", "velocity")])
        np.testing.assert_array_equal(envs.obs[0], flat.astype(np.float32))
        action = rng.uniform(-1, 1, (1, 6)).astype(np.float32)
        envs.step(action)
        rewards = []
        for _ in range(2):
            step = single.step(action[0])
            rewards.append(step.reward)
        np.testing.assert_allclose(envs.reward[0], sum(rewards), rtol=1e-6)


@pytest.mark.parametrize(("repeat", "steps"), [(2, 500), (3, 334)])
def test_the_suites_time_limit_truncates(walker, repeat, steps):
    envs = walker(1, action_repeat=repeat)
    for _ in range(steps):
        assert not envs.ended.any()
        envs.step(np.zeros((1, 6), np.float32))
    assert envs.truncated.all()
    assert not envs.terminated.any()
    assert envs.episodes.drain()["length"].tolist() == [steps]


def test_a_restored_walker_goes_on_exactly(walker):
    envs, rng = walker(), np.random.default_rng(1)
    taken = rng.uniform(-1, 1, (60, 2, 6)).astype(np.float32)
    for action in taken[:40]:
        envs.step(action)
    restored = walker(seed=9)
    restored.load_state_dict(envs.state_dict())
    for action in taken[40:]:
        envs.step(action)
        restored.step(action)
    np.testing.assert_array_equal(envs.obs, restored.obs)


def test_what_dm_control_refuses(walker):
    with pytest.raises(UsageError, match="dm_control has no task 'walker-wlk': did you mean 'walker-walk'"):
        make_vector("dm_control/walker-wlk", 1, 0)
    with pytest.raises((ConfigError, EnvironmentFault), match="action_repeat = 0; it must be at least 1"):
        walker(action_repeat=0)
