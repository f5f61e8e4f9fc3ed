"""An append-only log of rows in checksummed files, for state that is too large to be written at every checkpoint.

A shard holds consecutive rows and is never changed once it is written. Its SHA-256 goes into the checkpoint that names it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays

from cumulant.errors import CheckpointError
from cumulant.run.checkpoint import write_atomic

_ENDING = ".safetensors"


class Shards:
    """The shards in a folder, in the order of their rows.

    Args:
        folder: Where they are; made with the first one. It belongs to this object alone.

    Attributes:
        records: What a checkpoint must remember: ``first`` row, number of ``rows`` and ``sha256`` of each shard.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.records: list[dict[str, Any]] = []

    def _path(self, first: int) -> Path:
        return self.folder / f"{first:012d}{_ENDING}"

    def append(self, first: int, arrays: Mapping[str, np.ndarray]) -> None:
        """Write rows as a new shard.

        Args:
            first: Number of the first row; a shard of that name, which a kill left behind, is replaced.
            arrays: Columns, ``[rows, ...]`` each.

        Raises:
            StorageError: If the disk refuses.
        """
        payload = save_arrays({name: np.ascontiguousarray(array) for name, array in arrays.items()})
        self.folder.mkdir(parents=True, exist_ok=True)
        write_atomic(self._path(first), payload)
        rows = len(next(iter(arrays.values())))
        self.records.append({"first": first, "rows": rows, "sha256": hashlib.sha256(payload).hexdigest()})

    def drop(self, before: int) -> None:
        """Delete the shards whose rows all come before a row."""
        for record in [record for record in self.records if record["first"] + record["rows"] <= before]:
            self._path(record["first"]).unlink(missing_ok=True)
            self.records.remove(record)

    def restore(self, records: Sequence[Mapping[str, Any]], start: int) -> Iterator[tuple[int, dict[str, np.ndarray]]]:
        """Yield the rows of a checkpoint and forget what was written after it.

        Args:
            records: What ``records`` was.
            start: Rows before this one are not needed; shards that hold only such may be gone.

        Yields:
            First row and columns of each shard.

        Raises:
            CheckpointError: If a shard is missing or is not what was written (message names it).
        """
        self.records = [dict(record) for record in records if record["first"] + record["rows"] > start]
        known = {self._path(record["first"]) for record in self.records}
        end = max((record["first"] + record["rows"] for record in records), default=0)
        for path in self.folder.glob(f"*{_ENDING}"):
            if path not in known and path.name[: -len(_ENDING)].isdigit() and int(path.stem) >= end:
                path.unlink()  # of a checkpoint that was never finished
        for record in self.records:
            path = self._path(record["first"])
            try:
                payload = path.read_bytes()
                if hashlib.sha256(payload).hexdigest() != record["sha256"]:
                    raise CheckpointError(f"{path} is damaged: start the run anew with another --out")
                yield record["first"], load_arrays(payload)
            except (OSError, SafetensorError) as problem:
                raise CheckpointError(
                    f"{path}, which belongs to the checkpoint, cannot be read ({problem}): "
                    "put it back, or start the run anew with another --out"
                ) from problem
