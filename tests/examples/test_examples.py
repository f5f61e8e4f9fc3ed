"""Every example runs, and the figures that it prints are what its text says."""

import importlib.util
from pathlib import Path

import pytest

import cumulant

EXAMPLES = Path(__file__).parents[2] / "examples"


def load(name):
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_example_is_tested():
    assert {path.stem for path in EXAMPLES.glob("*.py")} == {
        "bad_reward",
        "short_sighted",
        "thermostat",
        "gentle_reward",
        "find_the_hack",
    }


@pytest.mark.slow
def test_a_short_sighted_agent_is_worse(monkeypatch, tmp_path, capsys):
    example = load("short_sighted")
    monkeypatch.chdir(tmp_path)
    example.main()
    printed = [line.split() for line in capsys.readouterr().out.splitlines()[1:]]
    result = {float(gamma): (float(ret), float(ttr), float(above)) for gamma, ret, ttr, above in printed}
    returns = [result[gamma][0] for gamma in (0.0, 0.5, 0.9, 0.99)]
    # seen: 15.7, 19.0, 21.7, 21.9 and 67, 74, 80, 80.5 % of the time in range
    assert returns[0] < returns[1] - 1.5 < returns[2] - 3.0
    assert returns[3] > 21.0
    assert result[0.0][1] < 72.0 < 78.0 < result[0.99][1]
    assert result[0.0][2] > 3 * result[0.99][2]


def test_survival_asks_for_nothing_until_strokes_are_counted(capsys):
    load("bad_reward").main()
    rows = [[float(word) for word in line.split()] for line in capsys.readouterr().out.splitlines()[1:]]
    dose, returned, _, bleeds, both = zip(*rows)
    assert list(bleeds) == sorted(bleeds, reverse=True)  # the less the better ...
    assert bleeds[0] - bleeds[dose.index(5.0)] < 0.03  # ... by less than a tenth of a percent of thirty days
    assert 2.0 <= dose[both.index(max(both))] <= 5.0  # half the harm was left out
    assert dose[returned.index(max(returned))] == 5.0


def test_an_environment_of_your_own_is_learned_by_both(workspace):
    env = f"{EXAMPLES / 'thermostat.py'}:Thermostat"
    table = cumulant.train("q_learning", env, total_steps=150_000, out="table")
    # the best there is: 20 degrees or a little off for a day, after a way of at most 10 degrees
    assert table.evaluation["return_mean"] > -110
    network = cumulant.train("ppo", env, total_steps=60_000, out="network")
    assert network.evaluation["return_mean"] > -140
    assert [table.policy.act(degrees - 10) for degrees in (12, 16, 24, 28)] == [1, 1, 0, 0]


def test_a_reward_of_your_own_is_logged_term_by_term(workspace):
    options = {"reward": f"{EXAMPLES / 'gentle_reward.py'}:gentle"}
    result = cumulant.train("ppo", "warfarin", env_options=options, total_steps=92_160, out="run")
    rows = (workspace / "run" / "metrics.jsonl").read_text()
    for term in ("in_range", "below", "between_3_and_4", "above_4", "major_bleed", "restless"):
        assert f'"reward/{term}"' in rows
    assert "ttr" in result.evaluation["outcomes"]


def test_the_audit_finds_the_hack_and_leaves_its_twin_in_peace(capsys):
    load("find_the_hack").main()
    lines = capsys.readouterr().out.splitlines()
    rows = [line.split() for line in lines[1:] if not line.startswith(" ")]
    assert [row[:2] for row in rows] == [["naive", "hacked"], ["mended", "honest"]]
    returned, reference, matters, possible, floor = map(float, rows[0][2:])
    assert returned > reference + 5.0  # it pays ...
    assert matters < floor < possible - 5.0  # ... and does worse than random actions
    shown = (EXAMPLES.parent / "docs/audit.md").read_text()
    for line in lines:  # what the tutorial shows is what is printed
        assert line.strip() in shown, line
