import numpy as np
import pytest

from cumulant.engine import evaluate
from cumulant.engine.evaluate import play
from cumulant.engine.vector import make_vector

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
    envs = make_vector("Pendulum-v1", 1, 0)
    assert play(lambda obs: np.zeros((1, 1), np.float32), envs, 1)["length"].tolist() == [200.0]
