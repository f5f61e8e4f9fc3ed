"""The native MuJoCo batch against Gymnasium's own environments; skipped where the extra is not installed."""

import numpy as np
import pytest
import torch

from cumulant.engine.faults import limiting_faults
from cumulant.engine.gym_vector import GymVector
from cumulant.engine.mujoco import TASKS, MujocoVector
from cumulant.engine.single import make_single
from cumulant.engine.vector import make_vector
from cumulant.errors import EnvironmentFault

pytest.importorskip("mujoco", reason="needs an extra: pip install 'cumulant[mujoco]'")

OTHERWISE = {
    "Hopper-v5": {"healthy_z_range": (1.2, 5.0), "exclude_current_positions_from_observation": False},
    "Walker2d-v5": {"terminate_when_unhealthy": False, "ctrl_cost_weight": 0.02, "frame_skip": 3},
    "HalfCheetah-v5": {"forward_reward_weight": 2.0, "reset_noise_scale": 0.3, "max_episode_steps": 33},
    "Ant-v5": {"main_body": 2, "include_cfrc_ext_in_observation": False, "contact_force_range": (-3.0, 0.5)},
    "Humanoid-v5": {"include_cvel_in_observation": False, "contact_cost_range": (0.1, 0.2), "healthy_reward": 2.0},
}
SEEN = ("next_obs", "obs", "reward", "terminated", "truncated", "ended")


def gym_vector(env, num_envs, seed, options):
    """Gymnasium's own environment, one by one."""
    return GymVector(env, num_envs, seed, lambda: make_single(env, options))


def actions(envs, steps, seed=0):
    low, high = envs.action_space.low, envs.action_space.high
    return np.random.default_rng(seed).uniform(low, high, (steps, envs.num_envs, *low.shape)).astype(np.float32)


def roll(envs, taken):
    seen = []
    for action in taken:
        envs.step(action)
        seen.append([getattr(envs, name).copy() for name in SEEN])
    return seen


def assert_same(one, two, rounding=0.0):
    for step, (ours, theirs) in enumerate(zip(one, two, strict=True)):
        for name, a, b in zip(SEEN, ours, theirs, strict=True):
            np.testing.assert_allclose(a, b, rtol=rounding, atol=rounding, err_msg=f"{name} at step {step}")


@pytest.mark.parametrize("options", ["default", "otherwise"])
@pytest.mark.parametrize("env", TASKS)
def test_every_task_agrees_with_gymnasium_step_for_step(env, options):
    given = OTHERWISE[env] if options == "otherwise" else {}
    ours, theirs = make_vector(env, 3, 7, given), gym_vector(env, 3, 7, given)
    assert isinstance(ours, MujocoVector)
    for name in ("observation_space", "action_space", "max_steps"):
        assert getattr(ours, name) == getattr(theirs, name)
    np.testing.assert_array_equal(ours.obs, theirs.obs)
    taken = actions(ours, 150)
    # 1e-10 after thousands of chaotic simulation steps is agreement to the last bits; here it is exact
    assert_same(roll(ours, taken), roll(theirs, taken), rounding=1e-10)
    logs = ours.episodes.drain(), theirs.episodes.drain()
    for name in ("return", "length"):
        np.testing.assert_allclose(logs[0][name], logs[1][name], rtol=1e-6)
    never = env == "Walker2d-v5" and options == "otherwise"
    assert (len(logs[0]["return"]) == 0) == (never or (env, options) == ("HalfCheetah-v5", "default"))
    assert ours.cost.tolist() == [0.0] * 3


def test_the_time_limit_truncates_and_keeps_the_final_observation():
    envs = make_vector("HalfCheetah-v5", 2, 0, {"max_episode_steps": 5})
    taken = actions(envs, 5)
    roll(envs, taken)
    assert envs.truncated.all()
    assert not envs.terminated.any()
    assert not np.allclose(envs.next_obs, envs.obs)
    assert envs.episodes.drain()["length"].tolist() == [5.0, 5.0]
    single = gym_vector("HalfCheetah-v5", 2, 0, {})
    roll(single, taken)
    np.testing.assert_array_equal(envs.next_obs, single.next_obs)


@pytest.mark.parametrize("env", ["Hopper-v5", "Ant-v5", "Humanoid-v5"])
def test_a_restored_batch_goes_on_exactly_where_it_was(env):
    envs = make_vector(env, 3, 5)
    taken = actions(envs, 130)
    roll(envs, taken[:70])
    state = envs.state_dict()
    after = roll(envs, taken[70:])
    restored = make_vector(env, 3, 99)
    roll(restored, taken[:11])
    restored.load_state_dict(state)
    assert_same(roll(restored, taken[70:]), after)
    ended = envs.episodes.drain()
    assert len(ended["return"])
    for name, values in restored.episodes.drain().items():
        np.testing.assert_array_equal(values, ended[name])


def test_threads_change_nothing():
    one = make_vector("Walker2d-v5", 5, 3)
    torch.set_num_threads(2)
    two = make_vector("Walker2d-v5", 5, 3)
    taken = actions(one, 80)
    assert_same(roll(one, taken), roll(two, taken))
    two.close()


def test_restart_gives_an_episode_up():
    envs, other = make_vector("Hopper-v5", 2, 0), gym_vector("Hopper-v5", 2, 0, {})
    taken = actions(envs, 9)
    for batch in (envs, other):
        roll(batch, taken)
        batch.restart(np.array([False, True]))
    np.testing.assert_array_equal(envs.obs, other.obs)
    assert_same(roll(envs, taken), roll(other, taken), rounding=1e-10)
    assert envs.episodes.open[:, 1].tolist() == other.episodes.open[:, 1].tolist()


def test_an_option_that_gymnasium_refuses():
    with pytest.raises(EnvironmentFault, match="environment 'Hopper-v5' cannot be made"):
        make_vector("Hopper-v5", 1, 0, {"healthy_zrange": 1})


def test_an_unstable_simulation_is_borne_counted_and_started_anew():
    undisturbed = make_vector("Hopper-v5", 3, 0)
    taken = actions(undisturbed, 6)
    with limiting_faults(1, 0.0):
        envs = make_vector("Hopper-v5", 3, 0)
    for batch in (envs, undisturbed):
        roll(batch, taken[:3])
    last_good = envs.obs[1].copy()
    envs._position[1] = np.nan
    with pytest.warns(
        UserWarning, match=r"number 1, episode 0, step 4.* unstable; .* given up \(fault 1, 1 are borne\)"
    ):
        envs.step(taken[3])
    undisturbed.step(taken[3])
    assert envs.faulted.tolist() == envs.ended.tolist() == envs.truncated.tolist() == [False, True, False]
    np.testing.assert_array_equal(envs.next_obs[1], last_good)
    assert (envs.reward[1], envs.terminated[1], envs.episode[1], envs.faults) == (0.0, False, 1, 1)
    assert not len(envs.episodes.drain()["return"])  # an episode at fault is not counted
    np.testing.assert_array_equal(envs.reward[[0, 2]], undisturbed.reward[[0, 2]])

    state = envs.state_dict()
    envs.step(taken[4])
    assert not envs.faulted.any()
    assert np.isfinite(envs.reward).all()
    envs.load_state_dict(state)
    envs._position[2] = np.nan
    with pytest.raises(EnvironmentFault, match="it is fault 2 of this run, and max_faults = 1"):
        envs.step(taken[4])


def test_a_simulation_that_never_worked_ends_the_run():
    envs = make_vector("Hopper-v5", 1, 0)
    envs._position[0] = np.nan
    with pytest.raises(EnvironmentFault, match="it is unstable"):
        envs.step(actions(envs, 1)[0])
