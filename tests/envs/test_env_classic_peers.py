"""Pendulum, Acrobot and both mountain cars agree with Gymnasium's own step for step."""

import gymnasium
import numpy as np
import pytest

from cumulant.envs import lookup
from cumulant.envs.batched import Batch
from cumulant.errors import ConfigError


def swing(obs, generator):
    """Torque along the velocity, up to twice as much as the motor has."""
    return np.sign(obs[:, 2:]) * generator.uniform(0.0, 4.0, (len(obs), 1)).astype(np.float32)


def rock(obs, generator):
    """Push along the velocity, which reaches the flag."""
    return 1 + np.sign(obs[:, 1]).astype(np.int64)


def rock_continuous(obs, generator):
    return np.sign(obs[:, 1:]) * generator.uniform(0.0, 2.0, (len(obs), 1)).astype(np.float32)


def pump(obs, generator):
    """Torque along the velocity of the second link, which lifts the tip."""
    return 1 + np.sign(obs[:, 5]).astype(np.int64)


def random_push(obs, generator):
    return generator.integers(0, 3, len(obs))


def random_force(obs, generator):
    return generator.normal(0.0, 1.5, (len(obs), 1)).astype(np.float32)


# environment, controller, steps, episodes that must end by termination and by the time limit among 4 copies
PLAYS = [
    ("pendulum", swing, 450, 0, 8),
    ("pendulum", random_force, 450, 0, 8),
    ("mountain-car", rock, 450, 8, 0),
    ("mountain-car", random_push, 450, 0, 8),
    ("mountain-car-continuous", rock_continuous, 500, 8, 0),
    ("mountain-car-continuous", random_force, 1050, 0, 4),
    ("acrobot", pump, 450, 8, 0),
    ("acrobot", random_push, 1050, 0, 4),
]


@pytest.mark.parametrize(("name", "controller", "steps", "terminations", "truncations"), PLAYS)
def test_agrees_with_gymnasium(name, controller, steps, terminations, truncations):
    """Same start and same actions: the same observations to float32, rewards and flags, to the end of episodes."""
    num_envs, generator = 4, np.random.default_rng(0)
    batch = Batch(lookup.build(name, {}), num_envs, seed=3)
    peers = [gymnasium.make(lookup.listing()[name].replaces, disable_env_checker=True) for _ in range(num_envs)]
    single = name in ("mountain-car-continuous", "acrobot")  # Gymnasium's state is float32, at least at the start
    discrete = isinstance(batch.action_space, gymnasium.spaces.Discrete)
    seen = np.zeros((0, *batch.obs.shape[1:]), np.float32)

    def start(i):
        peers[i].reset()
        peers[i].unwrapped.state = batch.state[i].astype(np.float32 if single else np.float64)
        if single:
            np.testing.assert_array_equal(batch.state[i], peers[i].unwrapped.state)

    for i in range(num_envs):
        start(i)
    ends = {"terminated": 0, "truncated": 0}
    for _ in range(steps):
        action = controller(batch.obs, generator)
        batch.step(action)
        seen = np.concatenate([seen, batch.next_obs])
        for i, peer in enumerate(peers):
            obs, reward, terminated, truncated, _ = peer.step(int(action[i]) if discrete else action[i])
            np.testing.assert_allclose(batch.next_obs[i], obs, rtol=3e-7, atol=1e-7)
            np.testing.assert_allclose(batch.reward[i], reward, rtol=3e-7, atol=1e-7)
            assert (batch.terminated[i], batch.truncated[i]) == (terminated, truncated)
            ends["terminated"] += terminated
            ends["truncated"] += truncated
            if terminated or truncated:
                start(i)
    assert ends["terminated"] >= terminations
    assert ends["truncated"] >= truncations
    space = batch.observation_space
    assert (seen >= space.low).all()
    assert (seen <= space.high).all()
    for peer in peers:
        peer.close()


@pytest.mark.parametrize("name", ["pendulum", "mountain-car", "mountain-car-continuous", "acrobot"])
def test_takes_the_place_of_gymnasiums(name):
    ours, listed = lookup.build(name, {}), lookup.listing()[name]
    assert lookup.find(listed.replaces) is listed
    theirs = gymnasium.make(listed.replaces)
    assert ours.action_space == theirs.action_space
    assert ours.observation_space == theirs.observation_space
    assert ours.max_steps == theirs.spec.max_episode_steps
    theirs.close()
    with pytest.raises(ConfigError, match=f"'{name}': max_steps = 0"):
        lookup.build(name, {"max_steps": 0})


# state columns, lowest and highest start
STARTS = [
    ("pendulum", [-np.pi, -1.0], [np.pi, 1.0]),
    ("mountain-car", [-0.6, 0.0], [-0.4, 0.0]),
    ("mountain-car-continuous", [-0.6, 0.0], [-0.4, 0.0]),
    ("acrobot", [-0.1] * 4, [0.1] * 4),
]


@pytest.mark.parametrize(("name", "low", "high"), STARTS)
def test_starts_are_uniform(name, low, high):
    """Mean and variance of a uniform number, within four standard errors, in every column by itself."""
    state, low, high = Batch(lookup.build(name, {}), 20_000, seed=1).state, np.array(low), np.array(high)
    assert (state >= np.float32(low)).all()
    assert (state <= np.float32(high)).all()
    free = high > low
    spread = (high - low)[free]
    assert np.abs((state.mean(axis=0)[free] - (low + high)[free] / 2) / spread).max() < 4 * np.sqrt(1 / 12 / 20_000)
    assert np.abs(state.var(axis=0)[free] / (spread**2 / 12) - 1).max() < 4 * np.sqrt(0.8 / 20_000)
    if free.sum() > 1:
        assert np.abs(np.corrcoef(state[:, free].T) - np.eye(free.sum())).max() < 4 / np.sqrt(20_000)


def place(name, state):
    """A batch of this environment with one copy per row of state."""
    batch = Batch(lookup.build(name, {}), len(state), autoreset=False)
    batch.state[:] = state
    return batch


def test_an_action_beyond_the_range_does_what_the_nearest_inside_does():
    batch = place("pendulum", [[1.0, 0.5]] * 2)
    batch.step(np.array([[2.0], [9.0]], np.float32))
    np.testing.assert_array_equal(batch.next_obs[0], batch.next_obs[1])
    assert batch.reward[0] == batch.reward[1]
    batch = place("mountain-car-continuous", [[-0.5, 0.01]] * 2)
    batch.step(np.array([[-1.0], [-3.0]], np.float32))
    np.testing.assert_allclose(batch.next_obs[0], batch.next_obs[1], rtol=1e-6)
    np.testing.assert_allclose(
        batch.reward, [-0.1, -0.9], rtol=1e-6
    )  # as in Gymnasium, which charges what was asked for


def test_cars_stop_at_the_left_wall():
    for name, action in (("mountain-car", np.zeros(1, np.int64)), ("mountain-car-continuous", -np.ones((1, 1), "f4"))):
        batch = place(name, [[-1.19, -0.05]])
        batch.step(action)
        np.testing.assert_array_equal(batch.next_obs, np.array([[-1.2, 0.0]], np.float32))


def test_pendulum_refuses_no_gravity():
    with pytest.raises(ConfigError, match="gravity = 0"):
        lookup.build("pendulum", {"gravity": 0.0})
