"""What all benchmarks share: one core, CPU time, alternating runs, medians with their range, and the facts of the machine."""

from __future__ import annotations

import json
import os
import platform
import shlex
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

RESULTS = Path(__file__).parent / "results"
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")


class Spread(NamedTuple):
    """Repeated measurements: median and range."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Sum measurements up."""
        return cls(statistics.median(values), min(values), max(values))

    def __format__(self, spec: str) -> str:
        """Write the median, and the range where there is one."""
        text = format(self.median, spec)
        return text if self.low == self.high else f"{text} ({self.low:{spec}} to {self.high:{spec}})"


def default_core() -> int:
    """Return the last core that this process may use; -1 where cores cannot be chosen."""
    return max(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else -1


def pin(core: int) -> None:
    """Keep this process and its children on one core, where the system can do that."""
    if core >= 0 and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {core})


def one_thread() -> None:
    """Tell numerical libraries, here before they are imported and in children, to use one thread."""
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, "1"))


def run_json(command: Sequence[str]) -> dict[str, Any]:
    """Run a command whose last line of output is a JSON object and return that; exits with its error output if it fails."""
    finished = subprocess.run(command, capture_output=True, text=True)
    if finished.returncode != 0:
        sys.exit(f"{shlex.join(command)} failed:\n{finished.stderr[-3000:]}")
    return json.loads(finished.stdout.splitlines()[-1])


def facts(core: int, packages: Iterable[str]) -> dict[str, Any]:
    """Return what figures depend on: processor, system, versions, how busy the machine was, the command."""
    return {
        "processor": processor(),
        "cores": os.cpu_count(),
        "pinned_to": core if core >= 0 else None,
        "system": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        "versions": {name: version(name) for name in packages},
        "load_average": round(os.getloadavg()[0], 2),
        "command": shlex.join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *sys.argv[1:]]),
        "date": time.strftime("%Y-%m-%d"),
    }


def facts_lines(known: dict[str, Any]) -> list[str]:
    """Return the facts as lines of text."""
    pinned = "not pinned" if known["pinned_to"] is None else f"pinned to core {known['pinned_to']}"
    versions = ", ".join(f"{name} {number}" for name, number in known["versions"].items())
    return [
        f"{known['processor']}, {known['cores']} cores; {pinned}, one thread; load average {known['load_average']} at the end",
        f"{known['system']}; {versions}",
        f"`{known['command']}`, {known['date']}",
    ]


def version(package: str) -> str:
    """Return the version of a package here."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "working copy"


def processor() -> str:
    """Return the processor's name."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or "unknown processor"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return an aligned Markdown table, readable in a terminal as it is; every column but the first is aligned right."""
    widths = [max(len(row[k]) for row in (head, *rows)) for k in range(len(head))]

    def line(cells: Sequence[str]) -> str:
        padded = [cell.rjust(width) if k else cell.ljust(width) for k, (cell, width) in enumerate(zip(cells, widths))]
        return "| " + " | ".join(padded) + " |"

    rule = "|" + "|".join("-" * (width + 1) + (":" if k else "-") for k, width in enumerate(widths)) + "|"
    return "\n".join([line(head), rule, *(line(row) for row in rows)])


def write_results(name: str, title: str, parts: Sequence[str]) -> Path:
    """Write ``benchmarks/results/NAME.md`` and return its path."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.md"
    path.write_text("\n\n".join([f"# {title}", *parts]) + "\n", encoding="utf-8")
    return path
