"""Trainings in processes of their own: start them, follow their rows, end them all together.

A process is ``cumulant.worker``: it gets its order on stdin, gives rows on stdout, and ends when its parent does.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from cumulant import errors
from cumulant.errors import CumulantError, Interrupted

Row = dict[str, float]
# cumulant itself may be importable through the parent's sys.path only, so that is set before anything of it is imported
_WORKER = "import sys; sys.path[:], sys.argv[1:] = sys.argv[1:], []; from cumulant.worker import main; sys.exit(main())"


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Workers:
    """Processes that train and end together; a context manager.

    Inside it Ctrl-C and SIGTERM make all of them save and end, if this is the main thread; ``stopped`` says that it was so.
    """

    def __init__(self) -> None:
        self.stopped = threading.Event()
        self._live: list[subprocess.Popen[str]] = []
        self._handlers: dict[int, Any] = {}

    def __enter__(self) -> Workers:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._handlers[number] = signal.signal(number, lambda *_: self.stop())
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def stop(self) -> None:
        """Make all of them save and end, and start no more."""
        self.stopped.set()
        for process in list(self._live):
            process.terminate()

    def train(
        self, directory: Path, spec: Mapping[str, Any], on_row: Callable[[Row], bool | None], name: str = ""
    ) -> bool:
        """Train a run in a process of its own, or go on with it if it has begun.

        Args:
            directory: Of the run.
            spec: What ``make_spec`` returned.
            on_row: Called with every row; true ends the training, with everything saved.
            name: What messages call the run.

        Returns:
            Whether it was trained to its end; False if ``on_row`` ended it.

        Raises:
            Interrupted: If ``stop`` was called.
            CumulantError: What the training raised.
        """
        resume = (directory / "config.json").exists()
        order = {"spec": dict(spec), "directory": str(directory), "resume": resume}
        return self.order(order, on_row, name or f"seed {spec['seed']}")

    def order(self, order: Mapping[str, Any], on_row: Callable[[Row], bool | None], name: str) -> bool:
        """Have a process of its own carry out an order (see ``cumulant.worker``); otherwise like ``train``."""
        if self.stopped.is_set():
            raise Interrupted(f"{name} was not started")
        with self._worker() as process:
            if self.stopped.is_set():  # while it was being started
                process.terminate()
            return _follow(process, order, on_row, name)

    @contextlib.contextmanager
    def _worker(self) -> Iterator[subprocess.Popen[str]]:
        """Start a worker, which imports what this process could import, and list it as long as it lives.

        It gets a session of its own, so that Ctrl-C reaches it once, from here, and not from the terminal too: a run that is
        interrupted twice ends without saving.
        """
        paths = [os.path.abspath(path) for path in sys.path if isinstance(path, str)]
        process = subprocess.Popen(
            [sys.executable, "-P", "-c", _WORKER, *paths],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._live.append(process)
        try:
            with process:
                yield process
        finally:
            self._live.remove(process)


def _follow(
    process: subprocess.Popen[str],
    order: Mapping[str, Any],
    on_row: Callable[[Row], bool | None],
    name: str,
) -> bool:
    """Give a worker its order and report its rows; raise what it raised."""
    assert process.stdin is not None
    assert process.stdout is not None
    failure, enough = None, False
    try:
        process.stdin.write(json.dumps(order) + "\n")
        process.stdin.flush()  # stays open: the worker ends when it closes, so that a killed parent leaves no orphans
    except BrokenPipeError:  # it ended before it read that; its exit code says why
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
    for line in process.stdout:
        try:
            message = json.loads(line)
        except ValueError:  # torn, by a kill
            continue
        if "row" not in message:
            failure = message
        elif not enough and on_row(message["row"]):
            enough = True
            process.terminate()
    code = process.wait()
    ended = failure["error"] == "Interrupted" if failure else code in (0, 130, -signal.SIGINT, -signal.SIGTERM)
    if enough and ended:  # what it says of the end that it was asked for
        return False
    if failure is not None:
        kind = getattr(errors, failure["error"], CumulantError)
        raise kind(f"{name}: {failure['message']}")
    if code in (Interrupted.exit_code, -signal.SIGINT, -signal.SIGTERM):
        raise Interrupted(f"{name} was stopped")
    if code != 0:
        raise CumulantError(f"{name}: its process ended with code {code}; `cumulant resume` goes on with it")
    return True
