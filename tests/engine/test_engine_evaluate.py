import numpy as np
import pytest
import torch

from cumulant.engine import evaluate
from cumulant.engine.evaluate import episodes_of, play
from cumulant.engine.policy import Policy
from cumulant.engine.vector import make_vector
from cumulant.envs.spaces import mask_slice
from cumulant.errors import ConfigError

TOYS = f"{__file__.rpartition('/')[0]}/toys.py"


def right(obs):
    return np.ones(len(obs), np.int64)


def test_each_environment_plays_its_share_and_rows_are_ordered():
    envs = make_vector(f"{TOYS}:Corridor", 3, seed=0, options={"wind": 0.3})
    played = play(right, envs, 10)
    assert {name: len(values) for name, values in played.items()} == {"return": 10, "length": 10}
    again = play(right, make_vector(f"{TOYS}:Corridor", 3, seed=0, options={"wind": 0.3}), 10)
    for name in played:
        np.testing.assert_array_equal(played[name], again[name])
    # the first four rows are the first environment's, alone
    alone = play(right, make_vector(f"{TOYS}:Corridor", 1, seed=0, options={"wind": 0.3}), 4)
    np.testing.assert_array_equal(played["length"][:4], alone["length"])


def test_an_episode_that_never_ends_is_given_up_with_a_warning(monkeypatch):
    monkeypatch.setattr(evaluate, "ENDLESS", 50)
    with pytest.warns(UserWarning, match="did not end within 50 steps"):
        played = play(lambda obs: np.zeros(len(obs), np.int64), make_vector(f"{TOYS}:Endless", 2, 0), 4)
    assert played["length"].tolist() == [50.0] * 4


def test_a_time_limit_of_the_environments_own_is_believed(monkeypatch):
    monkeypatch.setattr(evaluate, "ENDLESS", 50)
    envs = make_vector("Taxi-v4", 1, 0)  # going south for ever
    assert play(lambda obs: np.zeros(1, np.int64), envs, 1)["length"].tolist() == [200.0]


class LastAllowed(torch.nn.Module):
    """Takes the last action that the mask allows."""

    def __init__(self, envs):
        super().__init__()
        self.observation_space, self.action_space = envs.observation_space, envs.action_space
        self.mask = mask_slice(envs.observation_space)
        self.register_buffer("weight", torch.ones(1))

    @property
    def head(self):
        return self

    def encode(self, obs):
        return obs

    def mode(self, encoded):
        mask = encoded[:, self.mask]
        return (mask * torch.arange(1, mask.shape[1] + 1)).argmax(1)

    def to_env(self, action):
        return action


def test_a_policy_that_reads_masks_gets_them_when_it_is_evaluated():
    env = f"{TOYS}:Gated"
    policy = Policy(LastAllowed(make_vector(env, 1, 0, masks="always")))
    played = episodes_of(policy, env, 6, 0, {"wind": 0.0})  # the environment refuses what the mask forbids
    assert played["return"].tolist() == [1.0] * 6
    with pytest.raises(ConfigError, match="Corridor' has no action masks"):
        episodes_of(policy, f"{TOYS}:Corridor", 2, 0, {})
    with pytest.raises(ConfigError, match=r"this policy has observations Dict.*and environment '.*Gated' has"):
        episodes_of(policy, env, 2, 0, {"length": 9})


def test_costs_are_summed_over_each_episode():
    envs = make_vector(f"{TOYS}:Rover", 2, 0, {"length": 4})
    fast = np.array([2, 0, 0, 0, 0], np.float32)
    played = play(lambda obs: np.tile(fast, (len(obs), 1)), envs, 4)
    assert played["cost"].tolist() == [2.0] * 4
