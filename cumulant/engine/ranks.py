"""One training in several processes, as ``torchrun`` starts them: every process takes a part of each batch.

    torchrun --nproc-per-node 2 -m cumulant train pretrain texts.jsonl

All of them hold the same weights, draw the same batches and take the same steps; gradients are added up in between, over the
count of the whole batch, so that the losses are those of one process. The first process writes the run's directory, as ever. The
others follow in a directory of their own that is thrown away, which is how they too can be resumed.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

_STARTED_BY_TORCHRUN = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


def rank() -> int:
    """Return which of the processes this is, from 0."""
    return int(os.environ["RANK"]) if count() > 1 else 0


def count() -> int:
    """Return how many processes train together."""
    return int(os.environ["WORLD_SIZE"]) if all(os.environ.get(name) for name in _STARTED_BY_TORCHRUN) else 1


@contextmanager
def joined(device: str = "cpu") -> Iterator[None]:
    """Meet the other processes, and part from them at the end; for one process, nothing.

    Args:
        device: Where the model lives: decides how gradients travel.
    """
    if count() == 1:
        yield
        return
    from torch import cuda, distributed

    if device == "cuda":  # each process of a machine has a GPU of its own
        cuda.set_device(int(os.environ["LOCAL_RANK"]))
    distributed.init_process_group("nccl" if device.startswith("cuda") else "gloo")
    try:
        yield
    finally:
        distributed.destroy_process_group()


@contextmanager
def followed(run: Path | None) -> Iterator[Path]:
    """Return a directory in which a process that is not the first can keep its own account of a run, until the end.

    Args:
        run: The first process's directory if it is to be resumed.
    """
    with tempfile.TemporaryDirectory(prefix="cumulant-") as place:
        own = Path(place) / "run"
        if run is not None:
            shutil.copytree(run, own, ignore=shutil.ignore_patterns("LOCK", "model", "adapter"))
        yield own


def share(rows: int) -> slice:
    """Return which rows of a batch are this process's; together they are all of them, each once.

    >>> share(5)
    slice(0, 5, None)
    """
    at, total = rank(), count()
    return slice(rows * at // total, rows * (at + 1) // total)


def add_up(tensor: Tensor) -> Tensor:
    """Add what every process has, in place; for one process, nothing."""
    if count() > 1:
        from torch import distributed

        distributed.all_reduce(tensor)
    return tensor


def add_up_gradients(parameters: Sequence[Tensor]) -> None:
    """Add the gradients that every process has, in one message; a process whose share was empty has none, which counts 0."""
    if count() > 1:
        import torch

        for part in parameters:
            part.grad = torch.zeros_like(part) if part.grad is None else part.grad
        grads = [part.grad for part in parameters if part.grad is not None]
        total = add_up(torch.cat([grad.reshape(-1) for grad in grads]))
        for grad, piece in zip(grads, total.split([grad.numel() for grad in grads])):
            grad.copy_(piece.view_as(grad))
