"""SAC, TD3 and TQC swing Pendulum up in a few thousand steps: about -150 is the best there is, -1200 is what chance gets."""

import json

import pytest

SETTING = {
    "hidden": (64, 64), "learning_rate": 3e-3, "gamma": 0.95, "polyak": 0.02, "warmup_steps": 500,
    "eval_every_steps": 500, "eval_episodes": 5,
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(
    ("algo", "fields"),
    [
        ("sac", {"total_steps": 3000}),
        ("td3", {"total_steps": 3000}),
        ("tqc", {"total_steps": 2500, "num_critics": 2, "num_quantiles": 15, "drop": 1}),
    ],
)
def test_pendulum_is_swung_up(train_one, algo, fields):
    evaluation = json.loads((train_one(algo, "Pendulum-v1", **SETTING, **fields) / "evaluation.json").read_text())
    assert evaluation["episodes"] == 100
    assert evaluation["return_mean"] >= -300.0  # seen: SAC -155; TD3 -156, and -158 with seed 1; TQC -155
