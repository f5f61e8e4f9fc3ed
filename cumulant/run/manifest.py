"""What ran where: versions, hardware, commit, seed. Enough to repeat a run, or to see why it differs."""

from __future__ import annotations

import datetime
import hashlib
import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import torch

PACKAGES = ("cumulant", "torch", "numpy", "numba", "gymnasium")
# Bit-exact resume is promised while these stay the same; a difference warns.
MUST_MATCH = ("versions", "machine", "threads")


def manifest(seed: int) -> dict[str, Any]:
    """Return the facts of this process.

    Args:
        seed: The run's seed.
    """
    versions = {"python": platform.python_version()} | {name: _version(name) for name in PACKAGES}
    return {
        "versions": versions,
        "machine": {"system": platform.system(), "architecture": platform.machine(), "processor": _processor()},
        "host": host(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "commit": _commit(),
        "seed": seed,
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def host() -> str:
    """Return a fingerprint of this machine's name; the name itself is nobody's business."""
    return hashlib.sha256(platform.node().encode()).hexdigest()[:12]


def differences(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """Return what changed between two manifests of those facts on which bit-exactness rests."""
    changed = []
    for key in MUST_MATCH:
        before, after = old.get(key), new.get(key)
        if isinstance(before, dict) and isinstance(after, dict):
            changed += [
                f"{name} {before.get(name)} -> {after[name]}" for name in after if before.get(name) != after[name]
            ]
        elif before != after:
            changed.append(f"{key} {before} -> {after}")
    return changed


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:  # a working copy that was never installed
        return "unknown"


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor()


def _commit() -> str | None:
    """Commit of the working copy that the package lies in; None when it is installed without one."""
    folder = Path(__file__).parents[2]
    if not (folder / ".git").exists():
        return None
    try:
        run = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=folder, capture_output=True, text=True, timeout=5, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return run.stdout.strip() or None
