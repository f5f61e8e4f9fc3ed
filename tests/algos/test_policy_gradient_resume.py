"""REINFORCE, A2C and the bandits: stopped after any iteration and resumed, the same bytes as undisturbed."""

import json
from pathlib import Path

import pytest

from cumulant import api

TOYS = Path(__file__).parents[1] / "engine" / "toys.py"
SMALL = {"num_envs": 3, "hidden": (16,), "eval_every_steps": 240, "eval_episodes": 4}
ALL = {"normalize_obs": True, "normalize_advantage": True, "entropy_coef": 0.01}
FEW = {"total_steps": 200, "horizon": 10, "eval_episodes": 4}
CASES = {
    # iterations of 8 steps and episodes of 10 to 60: most iterations end with episodes that are still being collected
    "reinforce, native": ("reinforce", "CartPole-v1", {**SMALL, "horizon": 8, "total_steps": 480}),
    "reinforce, everything": ("reinforce", "CartPole-v1", {**SMALL, **ALL, "horizon": 8, "total_steps": 480}),
    "reinforce, average, Gymnasium": (
        "reinforce", f"{TOYS}:Corridor", {**SMALL, "horizon": 4, "total_steps": 240, "baseline": "average"},
    ),
    "reinforce, cut": (
        "reinforce", "CartPole-v1", {**SMALL, "horizon": 4, "total_steps": 240, "cut_after": 11, "baseline": "none"},
    ),
    "a2c, native": ("a2c", "CartPole-v1", {**SMALL, "horizon": 16, "total_steps": 960}),
    "a2c, everything, continuous": (
        "a2c", f"{TOYS}:Reach", {**SMALL, **ALL, "normalize_reward": True, "horizon": 8, "total_steps": 480},
    ),
    "thompson": ("bandit", "bandit-linear", FEW),
    "epsilon-greedy": ("bandit", f"{TOYS}:Corridor", {**FEW, "strategy": "epsilon_greedy"}),
    "thompson, bernoulli": ("bandit", "bandit-bernoulli", {**FEW, "strategy": "thompson_bernoulli"}),
}  # fmt: skip
FILES = ("metrics.jsonl", "policy/best.safetensors", "policy/last.safetensors", "evaluation.json")


@pytest.mark.parametrize("stop_at", [3, 12])
@pytest.mark.parametrize("case", CASES)
def test_stopped_and_resumed_is_undisturbed(case, stop_at, train_one):
    algo, env, fields = CASES[case]

    def stop(seed, row):
        if row["iteration"] == stop_at:
            raise KeyboardInterrupt

    whole = train_one(algo, env, 3, **fields, name="whole")
    torn = whole.with_name("torn")
    with pytest.raises(KeyboardInterrupt):
        train_one(algo, env, 3, **fields, checkpoint_seconds=0.0, name="torn", progress=stop)
    (torn / "state" / f"{stop_at + 1:08d}.pt").unlink()  # as when it stopped between its row and its checkpoint
    again = []
    api.train_one(api.read_spec(torn), torn, resume=True, progress=lambda _, row: again.append(row["iteration"]))
    assert again == list(range(stop_at, 20))
    for name in FILES:
        assert (torn / name).read_bytes() == (whole / name).read_bytes(), name


def test_the_cases_stop_while_episodes_are_collected(train_one):
    """Otherwise the tests above would not see that unfinished episodes are saved."""
    algo, env, fields = CASES["reinforce, native"]
    rows = [json.loads(line) for line in (train_one(algo, env, 3, **fields) / "metrics.jsonl").read_text().splitlines()]
    assert "loss/policy" not in rows[2]  # the last row before the checkpoint that is resumed
    assert "loss/policy" not in rows[11]
    assert sum("loss/policy" in row for row in rows) >= 3
