"""Run: a directory, its iterations, what must survive a kill -9, and named generators.

An algorithm uses four things of it:

    run.track(net=net, optimizer=optimizer, envs=envs)     # objects with state_dict and load_state_dict
    noise = run.rng("act")                                 # a named torch.Generator, tracked too
    for iteration in run.iterations(n):                    # restores on entry, checkpoints on the way
        run.log(steps=..., **{"loss/policy": ...})         # one row of metrics.jsonl

A resumed run ends with the same bytes in its weights and metrics as an undisturbed one: rows after the last checkpoint are
cut off and written again. Times are not deterministic, so they live in a file of their own (timing.jsonl).
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import math
import os
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from cumulant.errors import CheckpointError, Interrupted, NumericsError, RunError, RunInUse, StorageError
from cumulant.run import board, checkpoint
from cumulant.run.manifest import differences, manifest

Row = dict[str, float]
ROW_FILES = ("metrics.jsonl", "timing.jsonl", board.FILE)
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
        self._files: dict[str, Any] = {}
        self._lock: Any = None
        self._made: list[Path] = []
        self._interrupted = False
        if not resume and self.directory.exists() and any(self.directory.iterdir()):
            raise RunError(
                f"{self.directory} is not empty: continue it with `cumulant resume`, or choose another --out"
            )
        if resume and not (self.directory / "config.json").exists():
            raise RunError(f"{self.directory} holds no run to resume: there is no config.json in it")

    # -- what algorithms use ---------------------------------------------------------------------------------------

    def track(self, **parts: Any) -> None:
        """Name the objects whose state must survive (each with ``state_dict`` and ``load_state_dict``)."""
        self._parts.update(parts)

    def rng(self, name: str, device: str | torch.device = "cpu") -> torch.Generator:
        """Return the named generator of this run; the same seed and name always give the same numbers."""
        key = f"rng:{name}"
        if key not in self._parts:
            generator = torch.Generator(device=device)
            generator.manual_seed(self.seed_for(name))
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

    def iterations(self, total: int) -> Iterator[int]:
        """Yield iteration numbers, from where the run stands to ``total``; saves, logs and heeds Ctrl-C between them.

        Raises:
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
                self.iteration, self._row = iteration, {}
                began = time.perf_counter()
                yield iteration
                self.seconds += time.perf_counter() - began
                self._write_row()
                last = iteration + 1 == total
                if last or self._interrupted or time.monotonic() - saved_at >= self.checkpoint_every_seconds:
                    self._checkpoint(iteration + 1)
                    saved_at = time.monotonic()
                if self._interrupted and not last:
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
        path.parent.mkdir(parents=True, exist_ok=True)
        checkpoint.write_atomic(path, (json.dumps(content, indent=1, allow_nan=False) + "\n").encode())
        return path

    def close(self) -> None:
        """Close the files and let others have the directory; without a single row, take it away."""
        for file in self._files.values():
            file.close()
        self._files = {}
        if self._lock is not None:
            self._remove_if_nothing_happened()
            self._lock.close()
            self._lock = None

    # -- its own business --------------------------------------------------------------------------------------------

    def _open(self) -> int:
        """Lock the directory, restore what is there, and return the iteration to go on with."""
        self._made = missing(self.directory)
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            self._lock = open(self.directory / "LOCK", "a+")  # noqa: SIM115  (held until close)
        except OSError as problem:
            raise StorageError(
                f"{self.directory} cannot be made: {problem.strerror}; choose another --out"
            ) from problem
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._lock.seek(0)
            holder = self._lock.read().strip() or "unknown"
            self._lock.close()
            self._lock = None
            raise RunInUse(
                f"{self.directory} is in use by process {holder}; wait for it, or choose another --out"
            ) from None
        self._lock.truncate(0)
        self._lock.write(str(os.getpid()))
        self._lock.flush()
        facts = manifest(self.seed)
        restored = checkpoint.restore(self.directory / "state") if self._resume else None
        if restored is None:
            self.write("config.json", self.spec)
            self.write("manifest.json", facts)
            start, offsets = 0, {}
        else:
            self._warn_if_moved(facts)
            start, state = restored
            self._load(state["parts"])
            self.seconds, offsets = state["seconds"], state["offsets"]
        for name in ROW_FILES:
            self._files[name] = self._cut(name, offsets.get(name, 0))
        return start

    def _cut(self, name: str, size: int) -> Any:
        """Open a file of rows for appending, without what came after the checkpoint."""
        (self.directory / name).parent.mkdir(exist_ok=True)
        file = open(self.directory / name, "ab")  # noqa: SIM115  (held until close)
        if file.tell() < size:
            raise CheckpointError(
                f"{self.directory / name} is shorter than its checkpoint says: rows were removed by hand"
            )
        file.truncate(size)
        if name == board.FILE and size == 0:
            file.write(board.first_record())
        return file

    def _has_checkpoint(self) -> bool:
        return any((self.directory / "state").glob("*.pt"))

    def _remove_if_nothing_happened(self) -> None:
        metrics = self.directory / ROW_FILES[0]
        if self._resume or (metrics.exists() and metrics.stat().st_size):
            return
        files = [path for path in self.directory.rglob("*") if not path.is_dir()]
        if {path.relative_to(self.directory).as_posix() for path in files} <= set(_FIRST_FILES):
            for file in files:
                file.unlink(missing_ok=True)
            remove_empty([(self.directory / board.FILE).parent])
            remove_empty(self._made)

    def _warn_if_moved(self, facts: dict[str, Any]) -> None:
        try:
            changed = differences(json.loads((self.directory / "manifest.json").read_text()), facts)
        except (OSError, ValueError):
            changed = ["manifest.json is missing or unreadable"]
        if changed:
            warnings.warn(
                f"resuming under other conditions ({'; '.join(changed)}): "
                "results stay valid but will not be bit-identical to an undisturbed run",
                stacklevel=3,
            )

    def _load(self, parts: dict[str, Any]) -> None:
        if parts.keys() != self._parts.keys():
            odd = ", ".join(sorted(parts.keys() ^ self._parts.keys()))
            raise CheckpointError(
                f"the checkpoint in {self.directory} does not fit this algorithm: {odd} on one side only"
            )
        for name, part in self._parts.items():
            if isinstance(part, torch.Generator):
                part.set_state(parts[name])
            else:
                part.load_state_dict(parts[name])

    def _checkpoint(self, iteration: int) -> None:
        offsets = {}
        for name, file in self._files.items():
            os.fsync(file.fileno())
            offsets[name] = file.tell()
        parts = {k: p.get_state() if isinstance(p, torch.Generator) else p.state_dict() for k, p in self._parts.items()}
        state = {"parts": parts, "seconds": self.seconds, "offsets": offsets}
        checkpoint.save(self.directory / "state", iteration, state)

    def _write_row(self) -> None:
        row = {"iteration": self.iteration, **self._row}
        timing = {"iteration": self.iteration, "seconds": round(self.seconds, 4)}
        try:
            lines = [json.dumps(content).encode() + b"\n" for content in (row, timing)]
            for name, line in zip(ROW_FILES, [*lines, board.record(row, int(row.get("steps", self.iteration)))]):
                self._files[name].write(line)
                self._files[name].flush()
        except OSError as problem:
            full = problem.errno in (errno.ENOSPC, errno.EDQUOT)
            raise StorageError(
                f"{self.directory} cannot be written: {problem.strerror}. "
                + ("Free some space" if full else "Make it writable")
                + f", then `cumulant resume {self.directory}`: it goes on from its last checkpoint"
            ) from problem
        if self.on_row is not None:
            self.on_row({**row, **timing})

    def _catch_signals(self) -> dict[int, Any]:
        """Turn the first Ctrl-C or SIGTERM into a flag; a second one acts at once."""
        if threading.current_thread() is not threading.main_thread():
            return {}

        def note(number: int, frame: Any) -> None:
            self._interrupted = True
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)

        return {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}


def missing(directory: Path) -> list[Path]:
    """Return the directories that must be made for this one to exist, itself first."""
    return [path for path in (directory, *directory.parents) if not path.exists()]


def remove_empty(directories: Sequence[Path]) -> None:
    """Remove directories, each inside the next, up to the first that holds something."""
    for directory in directories:
        try:
            directory.rmdir()
        except FileNotFoundError:
            continue
        except OSError:
            return
