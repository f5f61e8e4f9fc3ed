"""PPO solves what it is shipped for: CartPole by its preset, and dosing in a seventh of the preset's steps."""

import json

import pytest

from cumulant import api


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_cartpole_is_solved_by_the_preset(train_one, seed):
    run = train_one("ppo", "CartPole-v1", seed)
    evaluation = json.loads((run / "evaluation.json").read_text())
    assert evaluation["episodes"] == 100
    assert evaluation["return_mean"] >= 475.0  # seeds 0 to 4: 500, 493, 500, 500, 500


@pytest.fixture(scope="module")
def dosing(tmp_path_factory):
    """A run on the simulated patients, short."""
    directory = tmp_path_factory.mktemp("dosing") / "run"
    fields = {"total_steps": 1_200_000, "num_envs": 256, "eval_episodes": 500}
    api.train_one(api.make_spec("ppo", "warfarin", 0, **fields), directory)
    return directory


@pytest.mark.slow
def test_dosing_beats_every_protocol_on_the_same_patients(dosing):
    evaluation = json.loads((dosing / "evaluation.json").read_text())
    assert evaluation["episodes"] == 5000
    (daily,) = [comparison for comparison in evaluation["comparisons"] if comparison["key"] == "B"]
    (agent,) = [row["metrics"] for row in daily["rows"] if row["kind"] == "agent"]
    highest = {
        row["name"]: row["metrics"]["return"]["interval"][1] for row in daily["rows"] if row["kind"] == "protocol"
    }
    # seeds 0 to 4 after 1.0 and 1.5 M steps: 22.94 to 23.01 (half of that ends within noise of the bound, with either engine);
    # UW's 5 mg table has 19.5, its 10 mg table, the best of all, 21.2
    plain = [highest[name] for name in ("fixed5", "threshold", "uw", "uw_initiation", "aurora")]
    assert agent["return"]["interval"][0] > max(plain) + 3.0
    assert agent["return"]["interval"][0] > max(highest.values()) + 1.0
    assert len(highest) >= 9
    assert agent["ttr"]["mean"] > 80.0
    assert agent["above_4"]["mean"] < 0.5
    assert agent["return"]["mean"] == evaluation["return_mean"]


@pytest.mark.slow
def test_learning_curve_and_terms_are_logged(dosing):
    rows = [json.loads(line) for line in (dosing / "metrics.jsonl").read_text().splitlines()]
    first, last = rows[0], rows[-1]
    assert last["episode/return"] > first["episode/return"] + 10.0
    assert last["outcome/in_range"] > 0.75
    terms = [last[f"reward/{name}"] for name in ("in_range", "below", "above_4", "major_bleed")]
    assert sum(terms) == pytest.approx(last["episode/return"], rel=1e-4)
    assert len([row for row in rows if "eval/return" in row]) >= 15


@pytest.mark.slow
def test_the_notice_is_wherever_the_figures_are(dosing):
    for name in ("evaluation.json", "policy/card.json"):
        assert "not a medical device" in json.loads((dosing / name).read_text())["notice"].lower()
