"""Shared by all tests: one torch thread, as in training; no stale machine code; an empty current directory on request."""

from pathlib import Path

import pytest
import torch


def pytest_configure():
    """Drop compiled kernels that are older than the sources: numba notices a change in a kernel's own file only."""
    package = Path(__file__).parents[1] / "cumulant"
    cached = [path for ending in ("nbi", "nbc") for path in package.rglob(f"*.{ending}")]
    newest = max(path.stat().st_mtime for folder in ("envs", "kernels") for path in (package / folder).rglob("*.py"))
    if cached and min(path.stat().st_mtime for path in cached) < newest:
        for path in cached:
            path.unlink()


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    """An empty current directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path
