"""How long `cumulant align` takes and how much memory all of its processes use together: benchmarks/results/align_time.md.

    python benchmarks/align_time.py --write     a quarter of an hour on a machine that does nothing else

Ordinary command lines, each timed from its start to its end with two processes side by side, as everybody gets them. What is
downloaded on first use is part of it. Memory is the largest sum over the processes of the shares that each has in its pages (PSS:
a page that n processes share counts 1/n for each), looked at twice a second; Linux only.
"""

from __future__ import annotations

import argparse
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from measure import facts, table, write_results

GOALS = {"ci": ("120", ""), "scratch": ("600", ""), "demo": ("900, goal 720", "3.5")}
"""Seconds and GB that the presets were to need at most."""


def parents() -> dict[int, int]:
    """Return the parent of every process."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            found[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError, IndexError):  # it has ended
            continue
    return found


def family_memory(root: int) -> float:
    """Return what a process and all that it has started use together, in GB."""
    above, total = parents(), 0.0
    for pid in above:
        ancestor = pid
        while ancestor not in (root, 0):
            ancestor = above.get(ancestor, 0)
        if ancestor != root:
            continue
        try:
            rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
        except OSError:
            continue
        found = re.search(r"^Pss:\s+(\d+) kB", rollup, re.MULTILINE)
        total += int(found[1]) * 1024 / 1e9 if found else 0.0
    return total


def timed(preset: str, folder: Path) -> dict[str, Any]:
    """Carry a preset out by its command line; return seconds, CPU-seconds, GB."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began, most = time.perf_counter(), 0.0
    command = [sys.executable, "-m", "cumulant.cli.main", "align", "--preset", preset, "--out", str(folder / preset)]
    process = subprocess.Popen(command)
    while process.poll() is None:
        most = max(most, family_memory(process.pid))
        time.sleep(0.5)
    if process.returncode:
        raise SystemExit(f"align --preset {preset} ended with {process.returncode}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"seconds": time.perf_counter() - began, "cpu_seconds": used, "gigabytes": most}


def main() -> None:
    """Time the presets."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--presets", nargs="*", default=["ci", "scratch", "demo"])
    parser.add_argument("--write", action="store_true", help="write benchmarks/results/align_time.md")
    options = parser.parse_args()
    rows = []
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        for preset in options.presets:
            found = timed(preset, Path(folder))
            seconds, gigabytes = GOALS.get(preset, ("", ""))
            wall, used, most = (found[name] for name in ("seconds", "cpu_seconds", "gigabytes"))
            rows.append([preset, f"{wall:.0f}", seconds, f"{used:.0f}", f"{most:.1f}", gigabytes])
            print(rows[-1], flush=True)
    heads = ["preset", "seconds", "asked, at most", "CPU-seconds", "GB, all processes", "asked, at most"]
    known = facts(-1, ("torch", "transformers"))
    versions = ", ".join(f"{name} {number}" for name, number in known["versions"].items())
    lines = [
        f"- {known['processor']}, {known['cores']} cores; load average {load:.2f} when it began",
        f"- {known['system']}; {versions}",
        f"- `{known['command']}`, {known['date']}",
    ]
    parts = [table(heads, rows), "\n".join(lines)]
    print("\n\n".join(parts))
    if options.write:
        print(write_results("align_time", "What `cumulant align` takes on a machine of two cores", parts))


if __name__ == "__main__":
    main()
