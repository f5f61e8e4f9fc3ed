"""DQN solves what it is shipped for: CartPole by its preset."""

import json

import pytest


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_cartpole_is_solved_by_the_preset(train_one, seed):
    run = train_one("dqn", "CartPole-v1", seed)
    evaluation = json.loads((run / "evaluation.json").read_text())
    assert evaluation["episodes"] == 100
    assert evaluation["return_mean"] >= 475.0  # seeds 0 to 4: 500, 500, 500, 480, 494
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    evaluations = [row["eval/return"] for row in rows if "eval/return" in row]
    assert sum(value >= 475.0 for value in evaluations[-5:]) >= 4  # it stays there
