"""Atomic, hashed checkpoints that never unpickle code.

A checkpoint is one file: what ``torch.save`` writes, then its SHA-256. It is written beside its final name, flushed to the
disk and renamed, so a kill at any moment leaves either the old set or the new one. The last ``KEEP`` stay; a torn or damaged
one is passed over with a warning in favour of the one before.
"""

from __future__ import annotations

import hashlib
import io
import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cumulant.errors import CheckpointError, StorageError

KEEP = 2
_HASH_BYTES = 32
_NUMPY = "__numpy__"


def write_atomic(path: Path, payload: bytes) -> None:
    """Write a file so that a reader, or a crash, sees the old one or the new one and nothing between.

    Raises:
        StorageError: If the disk refuses (message names the file and the reason).
    """
    temporary = path.with_name(path.name + ".tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(payload)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as problem:
        temporary.unlink(missing_ok=True)
        raise StorageError(
            f"{path} could not be written: {problem.strerror}. Nothing before it is lost: free some space, then resume"
        ) from problem


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
    folder.mkdir(exist_ok=True)
    buffer = io.BytesIO()
    torch.save(_pack(state), buffer)
    payload = buffer.getvalue()
    path = folder / f"{iteration:08d}.pt"
    write_atomic(path, payload + hashlib.sha256(payload).digest())
    for old in sorted(folder.glob("*.pt"))[:-KEEP]:
        old.unlink(missing_ok=True)
    return path


def restore(folder: Path) -> tuple[int, dict[str, Any]] | None:
    """Read the newest intact checkpoint.

    Returns:
        Iterations completed and the state, or None if there has been no checkpoint.

    Raises:
        CheckpointError: If there are checkpoints and none is intact.
    """
    paths = sorted(folder.glob("*.pt"), reverse=True)
    for path in paths:
        payload = path.read_bytes()
        payload, digest = payload[:-_HASH_BYTES], payload[-_HASH_BYTES:]
        if hashlib.sha256(payload).digest() != digest:
            warnings.warn(f"checkpoint {path} is torn or damaged; going back to the one before", stacklevel=2)
            continue
        return int(path.stem), _unpack(torch.load(io.BytesIO(payload), weights_only=True))
    if paths:
        raise CheckpointError(
            f"no checkpoint in {folder} is intact ({len(paths)} tried); start the run anew with another --out"
        )
    return None
