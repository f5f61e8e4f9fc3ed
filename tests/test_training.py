"""What a process does with the memory that it has freed."""

import platform
import sys
from pathlib import Path

import numpy as np
import pytest

from cumulant.training import hand_back_memory


def resident() -> int:
    """Return the bytes of this process that are in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


@pytest.mark.skipif(
    sys.platform != "linux" or platform.libc_ver()[0] != "glibc", reason="only glibc keeps it like that"
)
def test_what_was_freed_between_what_is_kept_goes_back_to_the_system():
    rows = [np.ones(20_000) for _ in range(1000)]  # 160 kB each
    kept = [rows[i] if i % 50 == 0 else np.ones(1) for i in range(len(rows))]
    small = [bytearray(60_000) for _ in range(2000)]  # too small to be handed back one by one
    corks = small[::100]
    del rows, small
    before = resident()
    hand_back_memory()
    assert before - resident() > 60e6
    assert all(row.all() for row in kept)
    assert not any(map(any, corks))
