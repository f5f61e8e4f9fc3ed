"""The weights of a network that learns, in memory that other processes see."""

from __future__ import annotations

import mmap
import os
import tempfile
import time
from pathlib import Path
from typing import IO

import numpy as np
import torch
from torch import nn


class SharedWeights:
    """The weights of a network in memory that several processes see: one writes, the others read the newest whole ones.

    Args:
        net: The network; in the process that writes, the one to be written.
        descriptor: Of the memory, in a process that reads; None to make it.
    """

    def __init__(self, net: nn.Module, descriptor: int | None = None) -> None:
        self._tensors = [each for each in net.state_dict().values() if each.is_floating_point()]
        count = sum(each.numel() for each in self._tensors)
        self._file = None
        if descriptor is None:
            self._file = _memory(8 + 8 * count)
            descriptor = self._file.fileno()
        self.descriptor = descriptor
        memory = mmap.mmap(descriptor, 8 + 8 * count)
        self._version = np.frombuffer(memory, np.int64, 1)
        self._slots = np.frombuffer(memory, np.float32, 2 * count, 8).reshape(2, count)

    def write(self) -> None:
        """Let the others see the weights as they are now; they go on seeing the ones before until all are written."""
        torch.cat([each.reshape(-1).float().cpu() for each in self._tensors], out=self._slot(1))
        self._version += 1

    def read(self) -> int:
        """Take the newest weights; return how often there were new ones."""
        while True:
            before = int(self._version[0])
            found = self._slot(0).clone()
            if int(self._version[0]) == before:  # else the slot may have been written to meanwhile
                break
            time.sleep(0)
        for tensor, part in zip(self._tensors, found.split([each.numel() for each in self._tensors])):
            tensor.copy_(part.view_as(tensor))
        return before

    def close(self) -> None:
        """Close what was made; the processes that see it keep it."""
        if self._file is not None:
            self._file.close()

    def _slot(self, ahead: int) -> torch.Tensor:
        return torch.from_numpy(self._slots[(int(self._version[0]) + ahead) % 2])


def _memory(size: int) -> IO[bytes]:
    """Return a file of zeros: in memory if there is room, which containers give little of, or else among the temporary files."""
    if Path("/dev/shm").is_dir():
        file = tempfile.TemporaryFile(dir="/dev/shm")  # noqa: SIM115
        try:
            os.posix_fallocate(
                file.fileno(), 0, size
            )  # merely made longer, it would end the process at the first write
            return file
        except OSError:
            file.close()
    file = tempfile.TemporaryFile()  # noqa: SIM115
    file.truncate(size)
    return file
