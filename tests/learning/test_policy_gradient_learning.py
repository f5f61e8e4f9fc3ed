"""REINFORCE and A2C solve CartPole with their presets: 500 is the most there is, 475 counts as solved."""

import json

import pytest


def learned(run):
    """Mean return of the best policy over 100 held-out episodes."""
    evaluation = json.loads((run / "evaluation.json").read_text())
    assert evaluation["episodes"] == 100
    return evaluation["return_mean"]


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a2c_solves_cartpole(train_one, seed):
    assert learned(train_one("a2c", "CartPole-v1", seed)) >= 475  # seen: 499.5 or more on ten seeds


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_reinforce_with_a_learned_baseline_solves_cartpole(train_one, seed):
    assert learned(train_one("reinforce", "CartPole-v1", seed)) >= 400  # seen: 500.0 on ten seeds


@pytest.mark.slow
@pytest.mark.parametrize("baseline", ["none", "average"])
def test_reinforce_solves_cartpole_without_a_learned_baseline(train_one, baseline):
    assert learned(train_one("reinforce", "CartPole-v1", 0, baseline=baseline)) >= 400
