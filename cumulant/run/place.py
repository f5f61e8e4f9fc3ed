"""The directory of a run: whether it is free, whose it is, and what is left of it when nothing happened."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from cumulant.errors import Interrupted, RunError, RunInUse, StorageError
from cumulant.run.checkpoint import UNFINISHED, refused

FOLDERS = ("state", "policy", "model", "adapter", "tensorboard")


def lock(directory: Path) -> int:
    """Make a directory and lock it until the file descriptor that this returns is closed.

    Raises:
        StorageError: If it cannot be made.
        RunError: If its lock leads elsewhere.
        RunInUse: If another process holds it (message names the process).
    """
    path, made = directory / "LOCK", missing(directory)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
    except OSError as problem:
        remove_empty(made)
        if problem.errno == errno.ELOOP:
            raise _is_link(path) from problem
        raise StorageError(f"{directory} cannot be made: {problem.strerror}; choose another --out") from problem
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        holder = os.read(descriptor, 20).decode(errors="replace").strip() or "unknown"
        os.close(descriptor)
        raise RunInUse(f"{directory} is in use by process {holder}; wait for it, or choose another --out") from None
    try:
        os.ftruncate(descriptor, 0)
        os.write(descriptor, str(os.getpid()).encode())
    except OSError as problem:
        if made:
            path.unlink(missing_ok=True)
            remove_empty(made)
        os.close(descriptor)
        raise refused(path, problem) from problem
    return descriptor


@contextlib.contextmanager
def fresh(directory: Path, begun: str) -> Iterator[None]:
    """Make and lock a directory for something new that holds several runs; what fails before any began leaves nothing behind.

    Args:
        directory: Of it.
        begun: Pattern of what there is as soon as something was trained.

    Raises:
        RunError: If it is a file, or a directory with something in it.
        StorageError: If it cannot be made.
    """
    refuse_occupied(directory)
    made = missing(directory)
    held = lock(directory)
    try:
        refuse_occupied(directory)  # another one may have come and gone
        try:
            yield
        except BaseException as problem:
            if not any(directory.glob(begun)):
                for path in directory.iterdir():
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
                remove_empty(made)
                if isinstance(problem, Interrupted):
                    raise Interrupted("stopped before anything was trained; nothing is left behind") from None
            raise
    finally:
        os.close(held)


@contextlib.contextmanager
def next_free(stem: str) -> Iterator[Path]:
    """Make the next free directory under ``runs/``, such as ``runs/STEM-003``; one that stays empty is removed.

    Raises:
        StorageError: If it cannot be made.
    """
    taken = [int(end) for path in Path("runs").glob(f"{stem}-*") if (end := path.name[len(stem) + 1 :]).isdigit()]
    for number in range(max(taken, default=0) + 1, max(taken, default=0) + 1000):
        directory = Path("runs") / f"{stem}-{number:03d}"
        made = missing(directory)
        try:
            directory.mkdir(parents=True)  # two trainings that start together: one of them makes it
        except FileExistsError:
            continue
        except OSError as problem:
            raise StorageError(f"{directory} cannot be made: {problem.strerror}; choose another --out") from problem
        try:
            yield directory
        finally:
            remove_empty(made)
        return
    raise StorageError(f"no free directory runs/{stem}-N; choose another --out")


def tidy(directory: Path) -> None:
    """Remove what a kill left half-written in a locked directory.

    Raises:
        RunError: If a folder of the run leads elsewhere: nothing outside may be touched.
    """
    for folder in (directory, *(directory / name for name in FOLDERS)):
        if folder != directory and folder.is_symlink():
            raise _is_link(folder)
        for path in folder.glob(f"{UNFINISHED}*"):
            with contextlib.suppress(OSError):
                path.unlink()


def _is_link(path: Path) -> RunError:
    return RunError(f"{path} is a symbolic link, which no run makes: remove it, or choose another run")


def refuse_occupied(directory: Path) -> None:
    """Refuse a place for a new run that holds something; what a kill at the very beginning leaves does not count.

    Raises:
        RunError: If it is a file, or a directory with something in it.
    """
    if directory.exists() and not directory.is_dir():
        raise RunError(f"{directory} is a file: choose another --out")
    names = [path.name for path in directory.iterdir()] if directory.exists() else []
    if any(name != "LOCK" and not name.startswith(UNFINISHED) for name in names):
        raise RunError(f"{directory} is not empty: continue it with `cumulant resume`, or choose another --out")


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
