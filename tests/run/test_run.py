import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch

from cumulant.errors import CheckpointError, Interrupted, NumericsError, RunError, RunInUse, StorageError
from cumulant.run import checkpoint
from cumulant.run.run import Run

SPEC = {"algo": "walk", "seed": 3}


class Walk:
    """A random walk: the smallest thing that has a state."""

    def __init__(self):
        self.place = np.zeros(2)

    def state_dict(self):
        return {"place": self.place.copy(), "note": ["a", None, 1.5]}

    def load_state_dict(self, state):
        assert state["note"] == ["a", None, 1.5]
        self.place[:] = state["place"]


def walk(run, total, stop_at=None):
    walker = Walk()
    rng = run.rng("walk")
    run.track(walker=walker)
    for iteration in run.iterations(total):
        walker.place += torch.randn(2, generator=rng).numpy()
        run.log(steps=iteration + 1, **{"walk/x": walker.place[0]})
        if iteration == stop_at:
            raise KeyboardInterrupt
    run.close()
    return walker.place


def test_a_resumed_run_is_the_undisturbed_one(tmp_path):
    whole = walk(Run(tmp_path / "whole", SPEC), 20)
    torn = Run(tmp_path / "torn", SPEC, checkpoint_every_seconds=0.0)
    with pytest.raises(KeyboardInterrupt):
        walk(torn, 20, stop_at=7)
    torn.close()
    with open(tmp_path / "torn" / "metrics.jsonl", "ab") as rows:
        rows.write(b'{"iteration": 7, "half a r')  # what a kill leaves after the checkpoint
    resumed = walk(Run(tmp_path / "torn", SPEC, resume=True), 20)
    np.testing.assert_array_equal(resumed, whole)
    for name in ("metrics.jsonl", "config.json"):
        assert (tmp_path / "torn" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert len((tmp_path / "torn" / "timing.jsonl").read_text().splitlines()) == 20


def test_tensorboard_reads_every_row_once(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    torn = Run(tmp_path / "run", SPEC, checkpoint_every_seconds=0.0)
    with pytest.raises(KeyboardInterrupt):
        walk(torn, 6, stop_at=3)
    torn.close()
    walk(Run(tmp_path / "run", SPEC, resume=True), 6)
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard")).Reload().Scalars("walk/x")
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [event.step for event in events] == [1, 2, 3, 4, 5, 6]
    np.testing.assert_allclose([event.value for event in events], [row["walk/x"] for row in rows], rtol=1e-6)


def test_nothing_is_written_before_the_first_iteration(tmp_path):
    run = Run(tmp_path / "runs" / "new", SPEC)
    run.track(walker=Walk())
    run.rng("walk")
    assert not (tmp_path / "runs").exists()


def test_generators_depend_on_seed_and_name_only(tmp_path):
    first, second = Run(tmp_path / "a", SPEC), Run(tmp_path / "b", SPEC)
    second.rng("other")
    draw = torch.rand(3, generator=first.rng("act"))
    assert torch.equal(draw, torch.rand(3, generator=second.rng("act")))
    assert not torch.equal(draw, torch.rand(3, generator=first.rng("shuffle")))
    assert not torch.equal(draw, torch.rand(3, generator=Run(tmp_path / "c", {**SPEC, "seed": 4}).rng("act")))


def test_a_damaged_checkpoint_falls_back_to_the_one_before(tmp_path):
    walk(Run(tmp_path / "run", SPEC, checkpoint_every_seconds=0.0), 6)
    newest = sorted((tmp_path / "run" / "state").glob("*.pt"))[-1]
    newest.write_bytes(newest.read_bytes()[:-100])
    with pytest.warns(UserWarning, match=r"00000006.pt is torn or damaged; going back to the one before"):
        resumed = walk(Run(tmp_path / "run", SPEC, resume=True), 6)
    np.testing.assert_array_equal(resumed, walk(Run(tmp_path / "again", SPEC), 6))


def test_no_intact_checkpoint_is_an_error_that_says_so(tmp_path):
    walk(Run(tmp_path / "run", SPEC), 2)
    for path in (tmp_path / "run" / "state").glob("*.pt"):
        path.write_bytes(b"nonsense")
    with (
        pytest.warns(UserWarning, match="torn"),
        pytest.raises(CheckpointError, match=r"no checkpoint in .* is intact"),
    ):
        walk(Run(tmp_path / "run", SPEC, resume=True), 2)


def test_only_the_last_checkpoints_are_kept(tmp_path):
    walk(Run(tmp_path / "run", SPEC, checkpoint_every_seconds=0.0), 9)
    assert [p.name for p in sorted((tmp_path / "run" / "state").iterdir())] == ["00000008.pt", "00000009.pt"]


def test_a_directory_with_something_in_it_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(RunError, match="is not empty"):
        Run(tmp_path, SPEC)
    with pytest.raises(RunError, match=r"no config.json"):
        Run(tmp_path, SPEC, resume=True)


def test_two_processes_cannot_write_one_run(tmp_path):
    run = Run(tmp_path / "run", SPEC)
    run.track(walker=Walk())
    run.rng("walk")
    next(run.iterations(3))
    with pytest.raises(RunInUse, match=f"in use by process {os.getpid()}"):
        next(Run(tmp_path / "run", SPEC, resume=True).iterations(3))
    run.close()


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path):
    run = Run(tmp_path / "run", SPEC)
    for _ in run.iterations(1):
        run.log(**{"episode/return": float("nan")})  # no episode ended: left out
        with pytest.raises(NumericsError, match=r"loss/policy became nan in iteration 0"):
            run.log(**{"loss/policy": float("nan")})
    run.close()
    assert json.loads((tmp_path / "run" / "metrics.jsonl").read_text()) == {"iteration": 0}


def test_another_algorithm_cannot_resume_it(tmp_path):
    walk(Run(tmp_path / "run", SPEC), 2)
    run = Run(tmp_path / "run", SPEC, resume=True)
    run.track(net=torch.nn.Linear(1, 1))
    with pytest.raises(CheckpointError, match="does not fit this algorithm"):
        next(run.iterations(3))
    run.close()


def test_ctrl_c_saves_and_says_so(tmp_path):
    run = Run(tmp_path / "run", SPEC)
    walker = Walk()
    run.track(walker=walker)

    def go_on():
        for iteration in run.iterations(10):
            walker.place += 1
            if iteration == 3:
                os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Interrupted, match=r"stopped after iteration 4 of 10; everything is saved: `cumulant resume"):
        go_on()
    run.close()
    assert checkpoint.restore(tmp_path / "run" / "state")[0] == 4
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_full_disk_is_one_clear_error_and_loses_nothing(tmp_path):
    """A real full disk: the process may not write files beyond a size, as with a quota."""
    script = f"""
import resource, sys, torch
from cumulant.errors import StorageError
from cumulant.run.run import Run
class Big:
    data = torch.zeros(1000)
    def state_dict(self): return {{"data": self.data}}
    def load_state_dict(self, state): pass
import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
run = Run({str(tmp_path / "run")!r}, {{"seed": 0}}, checkpoint_every_seconds=0.0)
big = Big(); run.track(big=big)
try:
    for i in run.iterations(5):
        if i == 2:
            big.data = torch.zeros(1_000_000)
            resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
except StorageError as problem:
    print("STORAGE", problem); sys.exit(7)
"""
    process = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert process.returncode == 7, process.stderr
    assert "could not be written" in process.stdout
    assert "free some space" in process.stdout
    names = [path.name for path in sorted((tmp_path / "run" / "state").iterdir())]
    assert names == ["00000001.pt", "00000002.pt"]  # no .tmp left, the older ones intact
    assert checkpoint.restore(tmp_path / "run" / "state")[0] == 2


def test_what_cannot_be_a_directory_is_a_storage_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot be made"):
        next(Run(tmp_path / "file" / "run", SPEC).iterations(1))


def test_a_change_of_machine_is_noted(tmp_path):
    walk(Run(tmp_path / "run", SPEC, checkpoint_every_seconds=0.0), 2)
    path = tmp_path / "run" / "manifest.json"
    facts = json.loads(path.read_text())
    facts["versions"]["torch"] = "1.0"
    path.write_text(json.dumps(facts))
    with pytest.warns(UserWarning, match=r"torch 1\.0 -> .*will not be bit-identical"):
        walk(Run(tmp_path / "run", SPEC, resume=True), 4)
