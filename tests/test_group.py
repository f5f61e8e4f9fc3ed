import json
import os
import subprocess
import sys

import numpy as np
import pytest

from cumulant import api, group, processes
from cumulant.errors import CumulantError, Interrupted, RunError
from cumulant.group import merge
from cumulant.stats import student_t_quantile


def evaluation(mean, half, low_outcome=0.0):
    def measure(m):
        return {"mean": m, "interval": [m - half, m + half]}

    rows = [
        {"name": "agent", "label": "ppo", "kind": "agent", "metrics": {"return": measure(mean)}},
        {"name": "uw", "label": "UW", "kind": "protocol", "metrics": {"return": measure(1.0)}},
    ]
    return {
        "return_mean": mean,
        "return_interval": [mean - half, mean + half],
        "outcomes": {"bleeds": {"mean": mean / 10, "interval": [low_outcome, mean / 5]}},
        "comparisons": [{"key": "B", "rows": rows}],
        "subgroups": [
            {"title": "age", "rows": [{"label": "old", "agent": {"return": measure(mean)}, "reference": {}}]}
        ],
        "trajectories": {"of": mean},
    }


def test_several_seeds_hold_the_spread_of_seeds_and_of_episodes():
    merged = merge({0: evaluation(1.0, 0.3), 1: evaluation(2.0, 0.3), 5: evaluation(6.0, 0.3)})
    half = np.hypot(student_t_quantile(0.975, 2) * np.std([1, 2, 6], ddof=1) / np.sqrt(3), 0.3)
    assert merged["return_mean"] == pytest.approx(3.0)
    np.testing.assert_allclose(merged["return_interval"], [3.0 - half, 3.0 + half])
    agent, protocol = merged["comparisons"][0]["rows"]
    assert agent["metrics"]["return"]["mean"] == pytest.approx(3.0)
    assert agent["label"] == "ppo, mean of 3 seeds"
    assert protocol["metrics"]["return"]["mean"] == 1.0
    assert merged["subgroups"][0]["rows"][0]["agent"]["return"]["mean"] == pytest.approx(3.0)
    assert merged["trajectories"] == {"of": 1.0, "seed": 0}  # of the first seed, and says so
    assert merged["intervals"] == "95 %, over seeds and episodes"
    assert [seed["seed"] for seed in merged["agent_seeds"]] == [0, 1, 5]
    assert merged["outcomes"]["bleeds"]["interval"][0] == 0.0  # a rate does not fall below nothing


def test_two_seeds_show_the_range_of_their_intervals():
    merged = merge({0: evaluation(1.0, 0.3), 1: evaluation(2.0, 0.5)})
    assert merged["return_interval"] == [0.7, 2.5]
    assert merged["intervals"].startswith("from the lowest to the highest")


def test_one_seed_is_itself():
    merged = merge({0: evaluation(1.0, 0.3)})
    assert merged["return_interval"] == [0.7, 1.3]


SPEC = {"algo": "ppo", "env": "CartPole-v1", "env_options": {}, "seed": 0, "config": {}}


def test_torn_rows_are_passed_over(tmp_path):
    assert group.last_row(tmp_path) == {}
    (tmp_path / "metrics.jsonl").write_bytes(b'{"steps": 5, "eval/return": 2.0}\n[]\n{"steps": 9, "eval/ret\xff')
    (tmp_path / "timing.jsonl").write_text('{"seconds": 1.5}\n{"sec')
    assert group.last_row(tmp_path) == {"steps": 5, "eval/return": 2.0, "seconds": 1.5}
    assert group.score(tmp_path) == 2.0


def test_what_a_resumed_group_would_train(tmp_path):
    (tmp_path / "seeds.json").write_text(json.dumps({"seeds": [0, 1, 2], "spec": SPEC}))
    own = SPEC | {"seed": 1, "env": "theirs.py:Env"}
    for seed, name, content in ((0, "evaluation.json", {}), (1, "config.json", own), (2, "LOCK", None)):
        (tmp_path / f"seed_{seed}").mkdir()
        (tmp_path / f"seed_{seed}" / name).write_text(json.dumps(content))
    assert group.specs(tmp_path) == {1: own, 2: SPEC | {"seed": 2}}  # what is trusted is what is trained


def test_a_group_needs_a_free_place(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="is a file: choose another --out"):
        group.start(tmp_path / "file", [SPEC])


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ("import sys; sys.exit(130)", Interrupted),
        ("import os, signal; signal.signal(2, signal.SIG_DFL); os.kill(os.getpid(), 2)", Interrupted),
        ("import os; os.kill(os.getpid(), 15)", Interrupted),
        ("import os; os._exit(3)", CumulantError),
        ("""print('{"error": "RunInUse", "message": "taken"}'); print('{"torn')""", RunError),
    ],
)
def test_how_a_worker_ended_is_how_the_group_ends(tmp_path, monkeypatch, body, error):
    monkeypatch.setattr(processes, "_WORKER", body)
    with pytest.raises(CumulantError) as caught:
        group.start(tmp_path / "runs" / "group", [SPEC, SPEC | {"seed": 1}])
    assert isinstance(caught.value, error)
    assert error is not CumulantError or "its process ended with code 3" in str(caught.value)
    assert not (tmp_path / "runs").exists()


def test_a_worker_stopped_before_it_begins_says_nothing():
    paths = [path or os.getcwd() for path in sys.path]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-P", "-c", processes._WORKER, *paths], **pipes) as process:
        process.terminate()
        assert process.communicate(timeout=60) == (b"", b"")
        assert process.returncode in (130, -15)


def test_seeds_import_what_their_parent_can_and_may_write_to_stdout(tmp_path, monkeypatch):
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    (folder / "loud_toy.py").write_text(
        """
import os
import gymnasium
from gymnasium import spaces

class Loud(gymnasium.Env):
    observation_space, action_space = spaces.Discrete(2), spaces.Discrete(2)
    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.left = 5
        os.write(1, b"{ no message }\\n")
        return 0, {}
    def step(self, action):
        self.left -= 1
        return self.left % 2, float(action), self.left == 0, False, {}
"""
    )
    monkeypatch.syspath_prepend(folder)
    monkeypatch.chdir(tmp_path)
    merges = []
    merge_evaluations = group.merge_evaluations
    monkeypatch.setattr(group, "merge_evaluations", lambda path: merges.append(path) or merge_evaluations(path))
    fields = {"total_steps": 1500, "horizon": 250, "eval_episodes": 2}
    spec = api.make_spec("q_learning", "loud_toy:Loud", 0, **fields)
    run = tmp_path / "group"
    group.start(run, [spec, spec | {"seed": 1}])
    assert len(merges) == 1
    whole = {path: path.read_bytes() for path in run.glob("seed_*/metrics.jsonl")}
    assert len(whole) == 2
    for path in sorted((run / "seed_1").rglob("*"), reverse=True):  # as if killed before this seed began
        path.rmdir() if path.is_dir() else path.unlink()
    group.resume(run)
    assert len(merges) == 2
    assert {path: path.read_bytes() for path in whole} == whole
