"""What every native environment promises, present and future: found by listing, tested alike."""

import dataclasses
import re
import warnings

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from cumulant.envs import lookup, register
from cumulant.envs.batched import Batch, Kernel
from cumulant.envs.spaces import array_space, flatten, unflatten
from cumulant.errors import ConfigError, UsageError

NAMES = sorted(lookup.listing())
STEPS = 60


@pytest.fixture(autouse=True, scope="module")
def _registered():
    if any(env.gym_id not in gymnasium.registry for env in lookup.listing().values()):
        register()


def kernel_of(name: str) -> Kernel:
    return lookup.build(name, {})


def actions_for(space, num_envs: int, steps: int, seed: int = 0):
    """Random actions [steps, B, ...], in the form that kernels take."""
    rng = np.random.default_rng(seed)
    if isinstance(space, gymnasium.spaces.Discrete):
        return rng.integers(0, space.n, (steps, num_envs))
    return rng.uniform(space.low, space.high, (steps, num_envs, *space.shape)).astype(np.float32)


def play(batch: Batch, actions) -> list[np.ndarray]:
    """Everything that a batch shows while it takes these actions."""
    shown = []
    for action in actions:
        batch.step(action)
        arrays = (
            batch.next_obs,
            batch.obs,
            batch.reward,
            batch.terminated,
            batch.truncated,
            batch.ended,
            batch.outcomes,
        )
        shown.append(np.concatenate([np.ravel(array).astype(np.float64) for array in arrays]))
    return shown


def remarks(env: gymnasium.Env) -> set[str]:
    """What Gymnasium's checker warns of."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        check_env(env, skip_render_check=True)
    return {str(warning.message) for warning in caught}


@pytest.mark.parametrize("name", NAMES)
def test_gymnasium_checker_has_nothing_to_say(name, capsys):
    """Nothing, at least, that it does not say of the original too where there is one."""
    listed = lookup.listing()[name]
    env = gymnasium.make(listed.gym_id)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        if listed.replaces:
            original = gymnasium.make(listed.replaces)
            for message in remarks(original.unwrapped):
                warnings.filterwarnings("ignore", message=re.escape(message))
            original.close()
        check_env(env.unwrapped)
        env.reset(seed=1)  # through the wrappers of make too
        env.step(env.action_space.sample())
    env.close()
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("name", NAMES)
def test_same_seed_same_trajectory(name):
    kernel = kernel_of(name)
    actions = actions_for(kernel.action_space, 5, STEPS)
    first, again = (play(Batch(kernel, 5, seed=11), actions) for _ in range(2))
    np.testing.assert_array_equal(first, again)


@pytest.mark.parametrize("name", NAMES)
def test_other_seed_other_trajectory(name):
    if name in ("probe-value", "probe-discount", "probe-action", "probe-truncation", "probe-mask", "cliff-walking"):
        pytest.skip("nothing in it is random")
    kernel = kernel_of(name)
    actions = actions_for(kernel.action_space, 5, STEPS)
    first, other = (play(Batch(kernel, 5, seed=seed), actions) for seed in (11, 12))
    assert any((a != b).any() for a, b in zip(first, other))


@pytest.mark.parametrize("name", NAMES)
def test_a_row_does_not_depend_on_the_batch(name):
    """Row i of a batch is what the kernel does alone with the same episode key."""
    kernel = kernel_of(name)
    actions = actions_for(kernel.action_space, 4, STEPS)
    batch = Batch(kernel, 4, seed=2, autoreset=False)
    alone = [Batch(kernel, 1, autoreset=False) for _ in range(4)]
    for i, single in enumerate(alone):
        single.key[:] = batch.key[i]
        kernel.reset(np.ones(1, bool), single.key, kernel.params, single.state, single.obs)
        np.testing.assert_array_equal(single.obs[0], batch.obs[i])
    going = np.ones(4, bool)
    for action in actions:
        batch.step(action)
        for i, single in enumerate(alone):
            single.step(action[i : i + 1])
            if going[i]:
                for attribute in ("next_obs", "state", "reward", "terminated", "truncated", "outcomes"):
                    np.testing.assert_array_equal(getattr(single, attribute)[0], getattr(batch, attribute)[i])
        going &= ~batch.ended


@pytest.mark.parametrize("name", NAMES)
def test_observations_and_rewards_are_as_declared(name):
    """Every observation is inside the space, first and last ones of an episode too; numbers are finite."""
    kernel = kernel_of(name)
    batch = Batch(kernel, 16, seed=4)
    space = kernel.observation_space
    assert batch.obs.dtype == array_space(space).dtype
    ended = 0
    for action in actions_for(kernel.action_space, 16, 3 * STEPS):
        batch.step(action)
        for obs in (*batch.next_obs, *batch.obs):
            assert space.contains(unflatten(space, obs)), obs
        assert np.isfinite(batch.reward).all()
        assert np.isfinite(batch.outcomes).all()
        assert not (batch.terminated & batch.truncated).any()
        np.testing.assert_array_equal(batch.ended, batch.terminated | batch.truncated)
        np.testing.assert_array_equal(batch.obs[~batch.ended], batch.next_obs[~batch.ended])
        ended += batch.ended.sum()
    assert len(batch.episodes.drain()["return"]) == ended
    assert kernel.outcome in ("", *kernel.outcome_names)


@pytest.mark.parametrize("name", NAMES)
def test_state_dict_continues_identically(name):
    kernel = kernel_of(name)
    actions = actions_for(kernel.action_space, 6, 2 * STEPS)
    batch = Batch(kernel, 6, seed=8)
    play(batch, actions[:STEPS])
    saved = batch.state_dict()
    expected, expected_log = play(batch, actions[STEPS:]), batch.episodes.drain()
    resumed = Batch(kernel, 6, seed=999)
    play(resumed, actions_for(kernel.action_space, 6, 7, seed=5))
    resumed.load_state_dict(saved)
    np.testing.assert_array_equal(play(resumed, actions[STEPS:]), expected)
    log = resumed.episodes.drain()
    for column, values in expected_log.items():
        np.testing.assert_array_equal(log[column], values)


@pytest.mark.parametrize("name", NAMES)
def test_unknown_option_is_refused_with_a_hint(name):
    with pytest.raises(ConfigError, match="no option 'nonsense'"):
        lookup.build(name, {"nonsense": 1})


@pytest.mark.parametrize("name", NAMES)
def test_nonsense_values_are_refused(name):
    """No count may be -1, and no choice an unknown word."""
    fields = dataclasses.fields(lookup.options_class(name))
    for field in fields:
        if isinstance(field.default, bool) or not isinstance(field.default, int | str):
            continue
        with pytest.raises(UsageError):
            lookup.build(name, {field.name: -1 if isinstance(field.default, int) else "no such word"})


@pytest.mark.parametrize("name", NAMES)
def test_make_vec_is_the_batch(name):
    """Through Gymnasium: the same numbers as the batch, with the last observation of an episode beside the new one."""
    envs = gymnasium.make_vec(lookup.listing()[name].gym_id, num_envs=4, vectorization_mode="vector_entry_point")
    batch = Batch(kernel_of(name), 4, seed=21)
    space = batch.observation_space
    obs, _ = envs.reset(seed=21)
    np.testing.assert_array_equal(flatten(space, obs), batch.obs)
    for action in actions_for(batch.action_space, 4, STEPS):
        obs, reward, terminated, truncated, info = envs.step(action)
        batch.step(action)
        assert envs.observation_space.contains(obs)
        obs = flatten(space, obs)
        for shown, expected in zip((obs, reward, terminated, truncated), (batch.obs, batch.reward, *flags(batch))):
            np.testing.assert_array_equal(shown, expected)
        assert ("final_obs" in info) == batch.ended.any()
        for i in np.flatnonzero(batch.ended):
            np.testing.assert_array_equal(flatten(space, info["final_obs"][i]), batch.next_obs[i])
        for column in batch.outcome_names:
            np.testing.assert_array_equal(info[column], batch.outcomes[:, batch.outcome_names.index(column)])
    envs.close()


def flags(batch: Batch):
    return batch.terminated, batch.truncated


@pytest.mark.parametrize("name", NAMES)
def test_make_gives_the_first_row_of_the_batch(name):
    """gymnasium.make, episode after episode: row 0 of the batch with the same seed."""
    env = gymnasium.make(lookup.listing()[name].gym_id)
    batch = Batch(kernel_of(name), 1, seed=31)
    space = batch.observation_space
    obs, _ = env.reset(seed=31)
    for action in actions_for(batch.action_space, 1, STEPS):
        np.testing.assert_array_equal(flatten(space, obs), batch.obs[0])
        obs, reward, terminated, truncated, info = env.step(action[0])
        batch.step(action)
        np.testing.assert_array_equal(flatten(space, obs), batch.next_obs[0])
        assert (reward, terminated, truncated) == (batch.reward[0], batch.terminated[0], batch.truncated[0])
        assert set(batch.outcome_names) <= set(info)
        if terminated or truncated:
            obs, _ = env.reset()
    env.close()


@pytest.mark.parametrize("name", NAMES)
def test_actions_from_outside_are_checked(name):
    env = gymnasium.make(lookup.listing()[name].gym_id, disable_env_checker=True).unwrapped
    env.reset(seed=0)
    discrete = isinstance(env.action_space, gymnasium.spaces.Discrete)
    wrong = [env.action_space.n, -1, [0, 0]] if discrete else [np.full(env.action_space.shape, np.nan), np.zeros(99)]
    for action in [*wrong, "left", None]:
        with pytest.raises(UsageError, match="action"):
            env.step(action)


@pytest.mark.parametrize("name", NAMES)
def test_the_listing_says_what_it_is(name):
    listed = lookup.listing()[name]
    assert listed.summary.endswith(".")
    assert lookup.find(listed.gym_id) is listed
    assert listed.gym_id.startswith("cumulant/")
