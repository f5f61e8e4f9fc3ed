"""CartPole agrees with Gymnasium's CartPole-v1 step for step."""

import gymnasium
import numpy as np
import pytest

from cumulant.envs import lookup
from cumulant.envs.batched import Batch
from cumulant.envs.classic import MAX_ANGLE_RAD, CartPole
from cumulant.errors import ConfigError


def balance(obs: np.ndarray) -> np.ndarray:
    """A hand-written controller that keeps the pole up for 500 steps from most starts."""
    return (obs @ np.array([0.02, 0.2, 3.0, 1.0]) > 0).astype(np.int64)


def random_actions(generator: np.random.Generator, num_envs: int):
    return lambda obs: generator.integers(0, 2, num_envs)


@pytest.mark.parametrize("controller", ["balance", "random"])
def test_cartpole_agrees_with_gymnasium(controller):
    """Same start and same actions: the same observations to float32, rewards and flags, to the end of episodes."""
    num_envs, steps = 8, 1100 if controller == "balance" else 300
    act = balance if controller == "balance" else random_actions(np.random.default_rng(0), num_envs)
    batch = Batch(CartPole().kernel(), num_envs, seed=3)
    peers = [gymnasium.make("CartPole-v1") for _ in range(num_envs)]

    def start(i):
        peers[i].reset()
        peers[i].unwrapped.state = batch.state[i].copy()

    for i in range(num_envs):
        start(i)
    ends = {"terminated": 0, "truncated": 0}
    for _ in range(steps):
        action = act(batch.obs)
        batch.step(action)
        for i, peer in enumerate(peers):
            obs, reward, terminated, truncated, _ = peer.step(int(action[i]))
            np.testing.assert_allclose(batch.next_obs[i], obs, rtol=3e-7, atol=3e-8)
            assert batch.reward[i] == reward
            assert (batch.terminated[i], batch.truncated[i]) == (terminated, truncated)
            ends["terminated"] += terminated
            ends["truncated"] += truncated
            if terminated or truncated:
                start(i)
    assert ends["truncated"] >= 8 if controller == "balance" else ends["terminated"] > 50
    for peer in peers:
        peer.close()


def test_cartpole_replaces_the_gymnasium_id():
    assert lookup.find("CartPole-v1") is lookup.find("cartpole")
    assert lookup.find("CartPole-v1").replaces == "CartPole-v1"
    theirs = gymnasium.make("CartPole-v1")
    ours = CartPole().kernel()
    assert ours.action_space == theirs.action_space
    assert ours.observation_space.shape == theirs.observation_space.shape
    assert ours.max_steps == theirs.spec.max_episode_steps
    theirs.close()


def test_cartpole_starts_are_uniform():
    """The mean and the variance of a uniform number on (-0.05, 0.05), within four standard errors."""
    obs = Batch(CartPole().kernel(), 20_000, seed=1).obs.astype(np.float64)
    assert np.abs(obs).max() < 0.05
    variance = 0.1**2 / 12
    assert np.abs(obs.mean(axis=0)).max() < 4 * np.sqrt(variance / 20_000)
    assert np.abs(obs.var(axis=0) / variance - 1).max() < 4 * np.sqrt(0.8 / 20_000)
    assert np.abs(np.corrcoef(obs.T) - np.eye(4)).max() < 4 / np.sqrt(20_000)


def test_cartpole_hand_computed_step():
    """From rest, a push of 10 N: the textbook equations by hand give the accelerations."""
    batch = Batch(CartPole().kernel(), 1)
    batch.state[:] = 0.0
    batch.step(np.array([1]))
    angle_acc = -(10 / 1.1) / (0.5 * (4 / 3 - 0.1 / 1.1))
    np.testing.assert_allclose(batch.state[0], [0, 0.02 * (10 / 1.1 - 0.05 * angle_acc / 1.1), 0, 0.02 * angle_acc])


@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_cartpole_terminates_at_the_angle_limit(sign):
    batch = Batch(CartPole().kernel(), 2, autoreset=False)
    batch.state[:] = 0.0
    batch.state[:, 2] = sign * MAX_ANGLE_RAD * np.array([1 - 1e-9, 1 + 1e-9])
    batch.step(np.zeros(2, np.int64))
    assert batch.terminated.tolist() == [False, True]


def test_cartpole_refuses_no_time_limit():
    with pytest.raises(ConfigError, match="max_steps = 0"):
        CartPole(max_steps=0)
