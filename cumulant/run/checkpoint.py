"""Atomic, hashed checkpoints that never unpickle code.

A checkpoint is one file: what ``torch.save`` writes, then its SHA-256. It is written beside its final name, flushed to the
disk and renamed, so a kill at any moment leaves either the old set or the new one. The last ``KEEP`` stay; a torn or damaged
one is passed over with a warning in favour of the one before.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import os
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cumulant.errors import CheckpointError, StorageError

KEEP = 2
UNFINISHED = ".unfinished-"  # how the names of files begin that are being written
_HASH_BYTES = 32
_NUMPY = "__numpy__"


def write_atomic(path: Path, payload: bytes) -> None:
    """Write a file so that a reader, or a crash, sees the old one or the new one and nothing between.

    Raises:
        StorageError: If the disk refuses (message names the file and the reason).
    """
    try:
        # a fresh name each time: under a constant one, a stranger's directory could hold a link to somewhere else
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=UNFINISHED)
        try:
            with open(descriptor, "wb") as file:
                os.fchmod(descriptor, 0o644)
                file.write(payload)
                file.flush()
                os.fsync(descriptor)
            os.replace(temporary, path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as problem:
        raise refused(path, problem) from problem


def refused(path: Path, problem: OSError) -> StorageError:
    """Return the error that says which file the disk refused to write, why, and what to do about it."""
    full = problem.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    remedy = "free some space" if full else "make it writable"
    return StorageError(f"{path} could not be written: {problem.strerror}; {remedy}")


def _pack(value: Any) -> Any:
    """Replace numpy arrays by tensors, which load without unpickling code."""
    if isinstance(value, np.ndarray):
        return {_NUMPY: torch.from_numpy(np.ascontiguousarray(value)).clone().reshape(value.shape)}
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, dict):
        return {key: _pack(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_pack(item) for item in value)
    return value


def _unpack(value: Any) -> Any:
    if isinstance(value, dict):
        return (
            value[_NUMPY].numpy() if value.keys() == {_NUMPY} else {key: _unpack(item) for key, item in value.items()}
        )
    if isinstance(value, list | tuple):
        return type(value)(_unpack(item) for item in value)
    return value


def save(folder: Path, iteration: int, state: dict[str, Any]) -> Path:
    """Write the checkpoint of an iteration and drop all but the last ``KEEP``.

    Args:
        folder: The run's ``state`` folder.
        iteration: Iterations completed.
        state: Tensors, arrays, numbers, strings, and dicts and lists of them.

    Raises:
        StorageError: If the disk refuses; older checkpoints are untouched.
    """
    try:
        folder.mkdir(exist_ok=True)
    except OSError as problem:
        raise refused(folder, problem) from problem
    buffer = io.BytesIO()
    torch.save(_pack(state), buffer)
    payload = buffer.getvalue()
    path = folder / f"{iteration:08d}.pt"
    write_atomic(path, payload + hashlib.sha256(payload).digest())
    for old in paths(folder)[:-KEEP]:
        with contextlib.suppress(OSError):
            old.unlink()
    return path


def paths(folder: Path) -> list[Path]:
    """Return the checkpoints of a ``state`` folder, oldest first."""
    return sorted(path for path in folder.glob("*.pt") if path.stem.isdecimal())


def restore(folder: Path) -> tuple[int, dict[str, Any]] | None:
    """Read the newest intact checkpoint; damaged ones after it are removed, so that the intact ones are those kept.

    Returns:
        Iterations completed and the state, or None if there has been no checkpoint.

    Raises:
        CheckpointError: If there are checkpoints and none is intact, or if torch cannot load it.
    """
    damaged: list[Path] = []
    for path in reversed(paths(folder)):
        try:
            payload = path.read_bytes()
        except OSError as problem:
            raise CheckpointError(f"{path} cannot be read: {problem.strerror}; make it readable") from problem
        payload, digest = payload[:-_HASH_BYTES], payload[-_HASH_BYTES:]
        if hashlib.sha256(payload).digest() != digest:
            warnings.warn(f"checkpoint {path} is torn or damaged; going back to the one before", stacklevel=2)
            damaged.append(path)
            continue
        try:
            state = _unpack(torch.load(io.BytesIO(payload), map_location="cpu", weights_only=True))
        except Exception as problem:  # torch.load raises of every kind
            reason = str(problem).partition("\n")[0]
            raise CheckpointError(
                f"{path} cannot be loaded ({type(problem).__name__}: {reason}): resume with the torch version that "
                "wrote it (manifest.json has it), or start the run anew with another --out"
            ) from problem
        for newer in damaged:
            with contextlib.suppress(OSError):
                newer.unlink()
        return int(path.stem), state
    if damaged:
        raise CheckpointError(
            f"no checkpoint in {folder} is intact ({len(damaged)} tried); start the run anew with another --out"
        )
    return None
