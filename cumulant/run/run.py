"""Run: a directory, its iterations, what must survive a kill -9, and named generators.

An algorithm uses four things of it:

    run.track(net=net, optimizer=optimizer, envs=envs)     # objects with state_dict and load_state_dict
    noise = run.rng("act")                                 # a named torch.Generator, tracked too
    for iteration in run.iterations(n):                    # restores on entry, checkpoints on the way
        run.log(steps=..., **{"loss/policy": ...})         # one row of metrics.jsonl
        run.log_samples([{"prompt": ..., "completion": ...}])  # texts of this iteration, for samples.jsonl

A resumed run ends with the same bytes in its weights and metrics as an undisturbed one: rows after the last checkpoint are
cut off and written again. Times are not deterministic, so they live in a file of their own (timing.jsonl).
"""

from __future__ import annotations

import contextlib
import gc
import hashlib
import json
import math
import os
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from cumulant.errors import CheckpointError, Interrupted, NumericsError, RunError, StorageError
from cumulant.run import board, checkpoint
from cumulant.run.manifest import differences, manifest
from cumulant.run.place import lock, missing, refuse_occupied, remove_empty, tidy

Row = dict[str, float]
ROW_FILES = ("metrics.jsonl", "timing.jsonl", board.FILE)
SAMPLES_FILE = "samples.jsonl"  # only of runs that log any
_FIRST_FILES = ("LOCK", "config.json", "manifest.json", *ROW_FILES)  # what there is before the first row


class Run:
    """One training run and its directory.

    Nothing is written before the first iteration, and a run that fails before its first row takes its directory away again:
    what could not start leaves nothing behind.

    Args:
        directory: Where the run lives.
        spec: What config.json holds: algorithm, environment, configuration, seed.
        resume: Whether the directory must already hold this run.
        checkpoint_every_seconds: Time between checkpoints; the last iteration is always saved.
        on_row: Called with every row, timing included (for live progress).

    Raises:
        RunError: If the directory holds something else, or no run to resume.
    """

    def __init__(
        self,
        directory: Path | str,
        spec: Mapping[str, Any],
        *,
        resume: bool = False,
        checkpoint_every_seconds: float = 20.0,
        on_row: Callable[[Row], None] | None = None,
    ) -> None:
        self.directory = Path(directory)
        self.spec = dict(spec)
        self.seed = int(spec["seed"])
        self.on_row = on_row
        self.checkpoint_every_seconds = checkpoint_every_seconds
        self.iteration = 0
        self.seconds = 0.0
        self._resume = resume
        self._parts: dict[str, Any] = {}
        self._row: Row = {}
        self._note = ""
        self._facts: dict[str, Any] = {}
        self._samples: list[dict[str, Any]] = []
        self._files: dict[str, Any] = {}
        self._lock: int | None = None
        self._is_ours = False  # whether what the directory holds was written by this run
        self._unclaimed: dict[str, Any] = {}  # restored generators that were not asked for yet
        self._made: list[Path] = []
        self._interrupted = False
        if not resume:
            refuse_occupied(self.directory)
        if resume and not (self.directory / "config.json").exists():
            raise RunError(f"{self.directory} holds no run to resume: there is no config.json in it")

    # -- what algorithms use ---------------------------------------------------------------------------------------

    def track(self, **parts: Any) -> None:
        """Name the objects whose state must survive (each with ``state_dict`` and ``load_state_dict``)."""
        self._parts.update(parts)

    def forget(self) -> None:
        """Let go of what is tracked, once the last iteration is over: what is judged next may need the memory."""
        self._parts.clear()
        gc.collect()  # modules hold one another

    def rng(self, name: str, device: str | torch.device = "cpu") -> torch.Generator:
        """Return the named generator of this run; the same seed and name always give the same numbers."""
        key = f"rng:{name}"
        if key not in self._parts:
            generator = torch.Generator(device=device)
            generator.manual_seed(self.seed_for(name))
            if key in self._unclaimed:  # an algorithm may ask for it inside the loop, after the others were restored
                self._restore(key, generator, self._unclaimed.pop(key))
            self._parts[key] = generator
        return self._parts[key]

    def seed_for(self, name: str) -> int:
        """Return the integer seed that belongs to this run's seed and a name, below 2**63."""
        digest = hashlib.sha256(f"{self.seed}/{name}".encode()).digest()
        return int.from_bytes(digest[:8], "big") >> 1

    def log(self, **row: float) -> None:
        """Set numbers of this iteration's row (``group/name`` keys by ``**{...}``); several calls add up.

        Raises:
            NumericsError: If a ``loss/`` number is not finite (message names it and says whether there is a checkpoint).
        """
        for key, value in row.items():
            value = float(value)
            if not math.isfinite(value):
                if key.startswith("loss/"):
                    saved = (
                        "the checkpoint before it is intact" if self._has_checkpoint() else "nothing was saved before"
                    )
                    raise NumericsError(
                        f"{key} became {value} in iteration {self.iteration} of {self.directory} ({saved}): "
                        "a lower --learning-rate, a smaller --max-grad-norm or normalised observations usually help"
                    )
                continue  # a mean over no episodes: absent says it better than NaN
            self._row[key] = int(value) if value.is_integer() and key in ("iteration", "steps") else value

    def note(self, line: str) -> None:
        """Say something once to whoever watches: it goes with the next row, as ``note``, and into no file."""
        self._note = line

    def record(self, **facts: Any) -> None:
        """Add facts to the manifest of a new run, before its first iteration: plain JSON values."""
        self._facts.update(facts)

    def recorded(self, name: str) -> Any:
        """Return a fact from the manifest of a run that is resumed; None if it is a new one, or does not have it."""
        try:
            return json.loads((self.directory / "manifest.json").read_text()).get(name) if self._resume else None
        except (OSError, ValueError, AttributeError):
            return None

    def log_samples(self, samples: Iterable[Mapping[str, Any]]) -> None:
        """Keep what was made in this iteration, such as texts: a line of samples.jsonl each, cut on resume like the metrics.

        Args:
            samples: Plain JSON values by name; the number of the iteration is added.
        """
        self._samples += [{"iteration": self.iteration, **sample} for sample in samples]

    def iterations(self, total: int) -> Iterator[int]:
        """Yield iteration numbers, from where the run stands to ``total``; saves, logs and heeds Ctrl-C between them.

        An iteration counts once the next one is asked for. Leaving the loop early, by ``break`` or an exception, is like a
        kill: that iteration's row is not written, and a resumed run goes on from the last checkpoint.

        Raises:
            RunError: If the directory holds something else by now.
            RunInUse: If another process holds the run.
            CheckpointError: If the run is to be resumed and no checkpoint is intact.
            StorageError: If the disk refuses to write.
            Interrupted: After Ctrl-C or SIGTERM, with everything saved.
        """
        try:
            start = self._open()
        except BaseException:
            self.close()
            raise
        handlers = self._catch_signals()
        try:
            saved_at = time.monotonic()
            for iteration in range(start, total):
                self.iteration, self._row, self._samples = iteration, {}, []
                began = time.perf_counter()
                yield iteration
                self.seconds += time.perf_counter() - began
                last, stop = iteration + 1 == total, self._interrupted  # looked at once: a later signal saves first too
                with self._storing():
                    self._write_row()
                    if last or stop or time.monotonic() - saved_at >= self.checkpoint_every_seconds:
                        self._checkpoint(iteration + 1)
                        saved_at = time.monotonic()
                if self.on_row is not None:
                    said: dict[str, Any] = {"note": self._note} if self._note else {}
                    self._note = ""
                    self.on_row({"iteration": iteration, **self._row, "seconds": round(self.seconds, 4), **said})
                if stop and not last:
                    raise Interrupted(
                        f"stopped after iteration {iteration + 1} of {total}; everything is saved: "
                        f"`cumulant resume {self.directory}` goes on"
                    )
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)

    def write(self, name: str, content: Mapping[str, Any]) -> Path:
        """Write a JSON file of the run, atomically.

        Raises:
            StorageError: If the disk refuses.
        """
        path = self.directory / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as problem:
            raise checkpoint.refused(path, problem) from problem
        checkpoint.write_atomic(path, (json.dumps(content, indent=1, allow_nan=False) + "\n").encode())
        return path

    def close(self) -> None:
        """Close the files and let others have the directory; without a single row, take it away."""
        files, self._files = self._files, {}
        held, self._lock = self._lock, None
        try:
            for file in files.values():
                with contextlib.suppress(OSError):  # on a full disk, of what could not be written: that was told before
                    file.close()
            if held is not None and self._is_ours:
                self._remove_if_nothing_happened()
        finally:
            if held is not None:
                os.close(held)

    # -- its own business --------------------------------------------------------------------------------------------

    def _open(self) -> int:
        """Lock the directory, restore what is there, and return the iteration to go on with."""
        facts = manifest(self.seed)
        self._made = missing(self.directory)
        self._lock = lock(self.directory)
        if not self._resume:
            refuse_occupied(self.directory)  # another run may have come and gone since this one was made
        self._is_ours = True
        tidy(self.directory)
        restored = checkpoint.restore(self.directory / "state") if self._resume else None
        if restored is None:
            self.write("config.json", self.spec)
            self.write("manifest.json", facts | self._facts)
            start, offsets = 0, {}
        else:
            self._warn_if_moved(facts)
            start, state = restored
            try:
                parts, self.seconds, offsets = state["parts"], float(state["seconds"]), dict(state["offsets"])
            except (KeyError, TypeError, ValueError) as problem:
                raise CheckpointError(
                    f"the checkpoint in {self.directory} is not one of a run: {problem!r}"
                ) from problem
            self._load(parts)
        for name in (*ROW_FILES, *([SAMPLES_FILE] if (self.directory / SAMPLES_FILE).exists() else [])):
            try:
                self._files[name] = self._cut(name, offsets.get(name, 0))
            except OSError as problem:
                raise checkpoint.refused(self.directory / name, problem) from problem
        return start

    def _cut(self, name: str, size: int) -> Any:
        """Open a file of rows for appending, without what came after the checkpoint."""
        (self.directory / name).parent.mkdir(exist_ok=True)
        # nothing is followed out of the directory, which may come from a stranger
        file = open(self.directory / name, "ab", opener=lambda p, flags: os.open(p, flags | os.O_NOFOLLOW, 0o644))  # noqa: SIM115
        if file.tell() < size:
            short = f"{self.directory / name} is shorter than its checkpoint says: rows were removed by hand"
            if name == ROW_FILES[0]:
                file.close()
                raise CheckpointError(f"{short}; put them back, or start the run anew with another --out")
            warnings.warn(f"{short}; it is begun anew", stacklevel=4)  # a run does not depend on it
            size = 0
        file.truncate(size)
        if name == board.FILE and size == 0:
            file.write(board.first_record())
        return file

    def _has_checkpoint(self) -> bool:
        return bool(checkpoint.paths(self.directory / "state"))

    def _remove_if_nothing_happened(self) -> None:
        metrics = self.directory / ROW_FILES[0]
        if self._resume or (metrics.exists() and metrics.stat().st_size):
            return
        files = [path for path in self.directory.rglob("*") if not path.is_dir()]
        if {path.relative_to(self.directory).as_posix() for path in files} <= set(_FIRST_FILES):
            for file in files:
                with contextlib.suppress(OSError):
                    file.unlink()
            remove_empty([(self.directory / board.FILE).parent])
            remove_empty(self._made)

    def _warn_if_moved(self, facts: dict[str, Any]) -> None:
        try:
            changed = differences(json.loads((self.directory / "manifest.json").read_text()), facts)
        except (OSError, ValueError, AttributeError):
            changed = ["manifest.json is missing or unreadable"]
        if changed:
            warnings.warn(
                f"resuming under other conditions ({'; '.join(changed)}): "
                "results stay valid but will not be bit-identical to an undisturbed run",
                stacklevel=3,
            )

    def _load(self, parts: dict[str, Any]) -> None:
        odd = ", ".join(sorted(name for name in parts.keys() ^ self._parts.keys() if not name.startswith("rng:")))
        if odd:
            raise CheckpointError(
                f"the checkpoint in {self.directory} does not fit this algorithm: {odd} on one side only"
            )
        for name, part in self._parts.items():
            if name in parts:
                self._restore(name, part, parts[name])
        self._unclaimed = {name: state for name, state in parts.items() if name not in self._parts}

    def _restore(self, name: str, part: Any, state: Any) -> None:
        try:
            if isinstance(part, torch.Generator):
                part.set_state(state)
            else:
                part.load_state_dict(state)
        except (RuntimeError, KeyError, ValueError, TypeError, IndexError, AttributeError) as problem:
            reason = f"{type(problem).__name__}: {' '.join(str(problem).split())}"
            raise CheckpointError(
                f"the checkpoint in {self.directory} does not fit '{name}' ({reason}): resume "
                "with the code and the configuration that wrote it, or start the run anew with another --out"
            ) from problem

    def _checkpoint(self, iteration: int) -> None:
        offsets = {}
        for name, file in self._files.items():
            os.fsync(file.fileno())
            offsets[name] = file.tell()
        parts = {k: p.get_state() if isinstance(p, torch.Generator) else p.state_dict() for k, p in self._parts.items()}
        parts |= self._unclaimed
        state = {"parts": parts, "seconds": self.seconds, "offsets": offsets}
        checkpoint.save(self.directory / "state", iteration, state)

    def _write_row(self) -> None:
        row = {"iteration": self.iteration, **self._row}
        timing = {"iteration": self.iteration, "seconds": round(self.seconds, 4)}
        lines = [json.dumps(content).encode() + b"\n" for content in (row, timing)]
        for name, line in zip(ROW_FILES, [*lines, board.record(row, int(row.get("steps", self.iteration)))]):
            self._files[name].write(line)
            self._files[name].flush()
        if self._samples:
            if SAMPLES_FILE not in self._files:
                self._files[SAMPLES_FILE] = self._cut(SAMPLES_FILE, 0)
            self._files[SAMPLES_FILE].write(b"".join(json.dumps(sample).encode() + b"\n" for sample in self._samples))
            self._files[SAMPLES_FILE].flush()

    @contextlib.contextmanager
    def _storing(self) -> Iterator[None]:
        """Turn a refusal of the disk into one error that says what was kept and how to go on."""
        try:
            yield
        except (OSError, StorageError) as problem:
            said = checkpoint.refused(self.directory, problem) if isinstance(problem, OSError) else problem
            metrics = self.directory / ROW_FILES[0]
            if self._has_checkpoint():
                then = f"then `cumulant resume {self.directory}`: it goes on from its last checkpoint"
            elif metrics.exists() and metrics.stat().st_size:
                then = f"then `cumulant resume {self.directory}`: it begins again, nothing was saved yet"
            else:
                then = "then start it again: nothing was saved yet"
            raise StorageError(f"{said}, {then}") from problem

    def _catch_signals(self) -> dict[int, Any]:
        """Turn the first Ctrl-C or SIGTERM into a flag; a second one acts at once."""
        if threading.current_thread() is not threading.main_thread():
            return {}

        def note(number: int, frame: Any) -> None:
            self._interrupted = True
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)

        return {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
