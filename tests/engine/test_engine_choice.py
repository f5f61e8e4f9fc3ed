"""A run is computed by one engine from its beginning to its end, whatever another version would choose."""

import json

import pytest

from cumulant import api
from cumulant.errors import RunError

PLACE = {"dqn": "cumulant.algos.dqn.obstacle", "sac": "cumulant.algos.sac.obstacle"}  # of what compiled code lacks
SMALL = {
    "ppo": ("CartPole-v1", {"total_steps": 4096}),
    "a2c": ("CartPole-v1", {"total_steps": 4096}),
    "reinforce": ("CartPole-v1", {"total_steps": 12_000}),
    "dqn": ("CartPole-v1", {"total_steps": 2048, "warmup_steps": 500}),
    "sac": ("Pendulum-v1", {"total_steps": 400, "warmup_steps": 200, "horizon": 100, "hidden": (8,)}),
}


class Killed(Exception):
    pass


def begin(algo, folder, engine="auto", until=1):
    """Train a few iterations, and leave the run as a kill would; with None to the end."""
    env, fields = SMALL[algo]
    spec = api.make_spec(algo, env, 0, engine=engine, eval_episodes=2, checkpoint_seconds=0.0, **fields)

    def watch(_, row):
        if until is not None and row["iteration"] >= until:
            raise Killed

    if until is None:
        api.train_one(spec, folder, progress=watch)
        return
    with pytest.raises(Killed):
        api.train_one(spec, folder, progress=watch)


def manifest(folder):
    return json.loads((folder / "manifest.json").read_text())["engine"]


def lacking(algo, monkeypatch):
    """Be a version whose compiled engine cannot do what this one can."""
    monkeypatch.setattr(PLACE.get(algo, "cumulant.engine.compiled._obstacle"), lambda *_: "such thing")


@pytest.mark.parametrize("algo", ["ppo", "dqn"])
def test_a_run_that_torch_began_goes_on_with_torch_where_compiled_code_could(algo, tmp_path, monkeypatch):
    with monkeypatch.context() as older:
        lacking(algo, older)
        begin(algo, tmp_path / "run")
    assert manifest(tmp_path / "run") == {"taken": "torch", "why": "because the compiled one has no such thing"}
    notes = []
    api.resume(tmp_path / "run", progress=lambda _, row: notes.append(row.get("note")))
    assert notes[0] == "engine: torch, which began this run"
    assert manifest(tmp_path / "run")["taken"] == "torch"
    begin(algo, tmp_path / "whole", engine="torch", until=None)
    assert (tmp_path / "run" / "metrics.jsonl").read_text() == (tmp_path / "whole" / "metrics.jsonl").read_text()


@pytest.mark.parametrize("algo", SMALL)
def test_a_run_that_compiled_code_began_is_not_finished_by_torch(algo, tmp_path, monkeypatch):
    begin(algo, tmp_path / "run")
    assert manifest(tmp_path / "run")["taken"] == "compiled"
    assert manifest(tmp_path / "run")["why"].startswith("for ")
    before = (tmp_path / "run" / "metrics.jsonl").read_text()
    with monkeypatch.context() as other:
        lacking(algo, other)
        with pytest.raises(
            RunError, match=r"compiled engine began this run, and here it has no such thing: resume it with the ver"
        ):
            api.resume(tmp_path / "run")
    assert (tmp_path / "run" / "metrics.jsonl").read_text() == before
    notes = []
    api.resume(tmp_path / "run", progress=lambda _, row: notes.append(row.get("note")))
    assert notes[0].startswith("engine: compiled, which began this run")


@pytest.mark.parametrize("text", ["", "[1]", '{"engine": "compiled"}', '{"engine": {"taken": "quantum"}}'])
@pytest.mark.filterwarnings("ignore:resuming under other conditions")
def test_a_manifest_that_names_no_engine_leaves_the_choice_open(text, tmp_path):
    begin("ppo", tmp_path / "run")
    (tmp_path / "run" / "manifest.json").write_text(text)
    notes = []
    api.resume(tmp_path / "run", progress=lambda _, row: notes.append(row.get("note")))
    assert notes[0].startswith("engine: compiled, for perceptrons")
