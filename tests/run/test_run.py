import hashlib
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


FILES_ARE_FULL = """
import resource, signal
def fill():
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
"""


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
    before = signal.getsignal(signal.SIGINT)

    def go_on():
        for iteration in run.iterations(10):
            walker.place += 1
            if iteration == 3:
                os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Interrupted, match=r"stopped after iteration 4 of 10; everything is saved: `cumulant resume"):
        go_on()
    run.close()
    assert checkpoint.restore(tmp_path / "run" / "state")[0] == 4
    assert signal.getsignal(signal.SIGINT) is before


def test_ctrl_c_between_iterations_saves_the_next_one(tmp_path):
    def press(row):
        if row["iteration"] == 3:
            os.kill(os.getpid(), signal.SIGINT)

    run = Run(tmp_path / "run", SPEC, on_row=press)
    with pytest.raises(Interrupted, match="stopped after iteration 5 of 10"):
        walk(run, 10)
    run.close()
    assert checkpoint.restore(tmp_path / "run" / "state")[0] == 5


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
    assert f"free some space, then `cumulant resume {tmp_path / 'run'}`" in process.stdout
    names = [path.name for path in sorted((tmp_path / "run" / "state").iterdir())]
    assert names == ["00000001.pt", "00000002.pt"]  # nothing half-written is left, the older ones intact
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


def test_of_two_runs_that_start_together_one_is_refused(tmp_path):
    first, second = Run(tmp_path / "run", SPEC), Run(tmp_path / "run", SPEC)  # both see a free place
    walk(first, 3)
    rows = (tmp_path / "run" / "metrics.jsonl").read_bytes()
    with pytest.raises(RunError, match="is not empty: continue it"):
        walk(second, 5)
    assert (tmp_path / "run" / "metrics.jsonl").read_bytes() == rows


def test_what_a_kill_at_the_very_beginning_leaves_is_no_obstacle(tmp_path):
    (tmp_path / "LOCK").write_text("123456")
    (tmp_path / f"{checkpoint.UNFINISHED}abc").write_text("{")
    walk(Run(tmp_path, SPEC), 2)
    assert not list(tmp_path.glob(f"{checkpoint.UNFINISHED}*"))


def test_a_file_is_no_place_for_a_run(tmp_path):
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(RunError, match=r"thesis.tex is a file: choose another --out"):
        Run(tmp_path / "thesis.tex", SPEC)


def test_a_full_disk_gives_the_lock_back(tmp_path):
    """Closing a file writes what is left in its buffer, and is refused again."""
    script = f"""{FILES_ARE_FULL}
from cumulant.errors import StorageError
from cumulant.run.run import Run
run = Run({str(tmp_path / "run")!r}, {{"seed": 0}}, checkpoint_every_seconds=1000.0)
try:
    for i in run.iterations(5):
        fill()
except StorageError as problem:
    print(problem)
run.close()
print("CLOSED", run._lock)
"""
    process = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr
    assert "CLOSED None" in process.stdout
    assert "free some space, then start it again: nothing was saved yet" in process.stdout
    assert "resume" not in process.stdout
    assert not (tmp_path / "run").exists()


def test_a_full_disk_from_the_start_does_not_speak_of_resuming(tmp_path):
    script = f"""{FILES_ARE_FULL}
from cumulant.run.run import Run
fill()
try: next(Run({str(tmp_path / "run")!r}, {{"seed": 0}}).iterations(5))
except Exception as problem: print(type(problem).__name__, problem)
"""
    process = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert process.stdout.startswith("StorageError"), process.stderr
    assert "free some space" in process.stdout
    assert "resume" not in process.stdout
    assert not (tmp_path / "run").exists()


def late_walk(run, total, stop_at=None):
    """Ask for a generator inside the loop."""
    place = []
    for iteration in run.iterations(total):
        if iteration == stop_at:
            raise KeyboardInterrupt
        if iteration >= 2:
            place.append(torch.rand(1, generator=run.rng("late")).item())
            run.log(x=place[-1])
    run.close()


def test_a_generator_that_is_first_asked_for_inside_the_loop_is_restored(tmp_path):
    late_walk(Run(tmp_path / "whole", SPEC), 8)
    for stops in ([5], [1, 5], [5, 5]):
        path = tmp_path / f"torn{stops}"
        for attempt, stop in enumerate(stops):
            run = Run(path, SPEC, resume=attempt > 0, checkpoint_every_seconds=0.0)
            with pytest.raises(KeyboardInterrupt):
                late_walk(run, 8, stop_at=stop)
            run.close()
        late_walk(Run(path, SPEC, resume=True), 8)
        assert (path / "metrics.jsonl").read_bytes() == (tmp_path / "whole" / "metrics.jsonl").read_bytes()


def test_a_part_that_does_not_fit_is_named(tmp_path):
    for net, resume in ((torch.nn.Linear(2, 2), False), (torch.nn.Linear(3, 2), True)):
        run = Run(tmp_path / "run", SPEC, resume=resume)
        run.track(net=net)
        if resume:
            with pytest.raises(CheckpointError, match=r"does not fit 'net' \(RuntimeError.*start the run anew"):
                next(run.iterations(3))
        else:
            for _ in run.iterations(2):
                pass
        run.close()


def test_an_intact_file_that_torch_cannot_load_is_named(tmp_path):
    walk(Run(tmp_path / "run", SPEC), 2)
    (path,) = (tmp_path / "run" / "state").glob("*.pt")
    path.write_bytes(b"nonsense" + hashlib.sha256(b"nonsense").digest())
    with pytest.raises(CheckpointError, match=r"00000002.pt cannot be loaded"):
        walk(Run(tmp_path / "run", SPEC, resume=True), 2)


def test_after_going_back_two_intact_checkpoints_are_kept(tmp_path):
    walk(Run(tmp_path / "run", SPEC, checkpoint_every_seconds=0.0), 6)
    (tmp_path / "run" / "state" / "00000009.pt").write_bytes(b"torn")
    with pytest.warns(UserWarning, match="torn"):
        walk(Run(tmp_path / "run", SPEC, resume=True, checkpoint_every_seconds=0.0), 8)
    assert [p.name for p in sorted((tmp_path / "run" / "state").iterdir())] == ["00000007.pt", "00000008.pt"]


@pytest.mark.parametrize("name", ["timing.jsonl", "tensorboard/events.out.tfevents.0"])
@pytest.mark.parametrize("gone", [True, False], ids=["gone", "shortened"])
def test_only_metrics_are_essential(tmp_path, name, gone):
    walk(Run(tmp_path / "run", SPEC), 3)
    path = tmp_path / "run" / name
    path.unlink() if gone else path.write_bytes(path.read_bytes()[:5])
    with pytest.warns(UserWarning, match=f"{name} is shorter than its checkpoint says.*begun anew"):
        walk(Run(tmp_path / "run", SPEC, resume=True), 5)
    assert path.stat().st_size
    (tmp_path / "run" / "metrics.jsonl").unlink()
    with pytest.raises(CheckpointError, match=r"metrics.jsonl is shorter"):
        walk(Run(tmp_path / "run", SPEC, resume=True), 5)


@pytest.mark.parametrize("name", ["LOCK", "metrics.jsonl", "timing.jsonl", "state"])
def test_no_link_is_followed_out_of_a_strangers_directory(tmp_path, name):
    walk(Run(tmp_path / "run", SPEC), 3)
    precious = tmp_path / "precious"
    path = tmp_path / "run" / name
    path.rename(precious)
    if precious.is_file():
        precious.write_bytes(precious.read_bytes() + b"my own words" * 100)
    path.symlink_to(precious)
    before = precious.read_bytes() if precious.is_file() else sorted(precious.iterdir())
    run = Run(tmp_path / "run", SPEC, resume=True)
    with pytest.raises((RunError, StorageError), match=name):
        walk(run, 5)
    run.close()
    assert (precious.read_bytes() if precious.is_file() else sorted(precious.iterdir())) == before


def test_an_atomic_write_follows_no_link_and_leaves_ordinary_rights(tmp_path):
    (tmp_path / "precious").write_text("mine")
    (tmp_path / "x.json.tmp").symlink_to(tmp_path / "precious")
    (tmp_path / "x.json").symlink_to(tmp_path / "precious")
    checkpoint.write_atomic(tmp_path / "x.json", b"new")
    assert (tmp_path / "precious").read_text() == "mine"
    assert (tmp_path / "x.json").read_bytes() == b"new"
    assert (tmp_path / "x.json").stat().st_mode & 0o777 == 0o644
    assert len(list(tmp_path.iterdir())) == 3


def speak(run, total, stop_at=None):
    rng = run.rng("speak")
    for iteration in run.iterations(total):
        run.log(steps=iteration + 1)
        if iteration % 2:
            run.log_samples({"text": f"é\n{number}"} for number in torch.randint(99, (2,), generator=rng).tolist())
        if iteration == stop_at:
            raise KeyboardInterrupt
    run.close()


def test_samples_are_cut_with_the_rows_of_a_resumed_run(tmp_path):
    speak(Run(tmp_path / "whole", SPEC), 10)
    torn = Run(tmp_path / "torn", SPEC, checkpoint_every_seconds=1e9)
    with pytest.raises(KeyboardInterrupt):  # killed before its first checkpoint, with samples written
        speak(torn, 10, stop_at=6)
    torn.close()
    assert (tmp_path / "torn" / "samples.jsonl").stat().st_size > 0
    torn = Run(tmp_path / "torn", SPEC, resume=True, checkpoint_every_seconds=0.0)
    with pytest.raises(KeyboardInterrupt):
        speak(torn, 10, stop_at=8)
    torn.close()
    with open(tmp_path / "torn" / "samples.jsonl", "ab") as rows:
        rows.write(b"{torn")
    speak(Run(tmp_path / "torn", SPEC, resume=True), 10)
    written = (tmp_path / "whole" / "samples.jsonl").read_bytes()
    assert (tmp_path / "torn" / "samples.jsonl").read_bytes() == written
    rows = [json.loads(line) for line in written.splitlines()]
    assert [row["iteration"] for row in rows] == [1, 1, 3, 3, 5, 5, 7, 7, 9, 9]


def test_a_run_without_samples_has_no_file_of_them(tmp_path):
    walk(Run(tmp_path / "run", SPEC), 3)
    assert not (tmp_path / "run" / "samples.jsonl").exists()
