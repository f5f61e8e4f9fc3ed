"""What all benchmarks share: one core, CPU time, alternating runs, medians with their range, and the facts of the machine."""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import platform
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

OURS = "Cumulant"
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


def one_thread(threads: int = 1) -> None:
    """Let numerical libraries, here before they are imported and in children, use so many threads, and Python keep bytecode.

    Modules that are compiled anew in every process would count against whoever runs from a working copy.
    """
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, str(threads)))
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


def run_json(command: Sequence[str]) -> dict[str, Any]:
    """Run a command whose last line of output is a JSON object and return that; exits with its error output if it fails."""
    finished = subprocess.run(command, capture_output=True, text=True)
    if finished.returncode != 0:
        sys.exit(f"{shlex.join(command)} failed:\n{finished.stderr[-3000:]}")
    return json.loads(finished.stdout.splitlines()[-1])


def run_json_together(commands: Sequence[Sequence[str]]) -> list[dict[str, Any]]:
    """Run commands as ``run_json`` does, all at the same time."""
    with ThreadPoolExecutor(len(commands)) as pool:
        return list(pool.map(run_json, commands))


def facts(core: int, packages: Iterable[str]) -> dict[str, Any]:
    """Return what figures depend on: processor, system, versions, how busy the machine was, the command."""
    words = [  # a place on this machine says nothing to others
        "PYTHON" if before.startswith("--peers") else word for before, word in itertools.pairwise(["", *sys.argv[1:]])
    ]
    return {
        "processor": processor(),
        "cores": os.cpu_count(),
        "pinned_to": core if core >= 0 else None,
        "system": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        "versions": {name: version(name) for name in packages},
        "load_average": round(os.getloadavg()[0], 2),
        "command": shlex.join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *words]),
        "date": time.strftime("%Y-%m-%d"),
    }


def facts_lines(known: dict[str, Any]) -> list[str]:
    """Return the facts as lines of text."""
    pinned = "not pinned" if known["pinned_to"] is None else f"pinned to core {known['pinned_to']}"
    versions = ", ".join(f"{name} {number}" for name, number in known["versions"].items())
    count = os.environ.get(THREAD_VARIABLES[0], "1")
    threads = "one thread" if count == "1" else f"{count} threads"
    return [
        f"{known['processor']}, {known['cores']} cores; {pinned}, {threads}; load average {known['load_average']} at the end",
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


def write_section(name: str, title: str, heading: str, parts: Sequence[str]) -> Path:
    """Write one section of ``benchmarks/results/NAME.md``, leave its others as they are, and return its path."""
    path = RESULTS / f"{name}.md"
    before = path.read_text(encoding="utf-8").split("\n## ")[1:] if path.exists() else []
    sections = {kept.partition("\n")[0]: kept.partition("\n")[2].strip() for kept in before}
    sections[heading] = "\n\n".join(parts)
    return write_results(name, title, [f"## {each}\n\n{text}" for each, text in sections.items()])


class _Enough(Exception):
    """All that is timed is over; what follows in a run, evaluation, is not."""


def time_training(algo: str, env: str, wanted: Mapping[str, Any], **fields: Any) -> dict[str, Any]:
    """Train as any run does, with metrics, event files and checkpoints, and time all iterations but the first (warm-up).

    Args:
        algo: Short name.
        env: Id.
        wanted: Fields of the config and the seed, as the contenders share them.
        **fields: Further fields.
    """
    import torch

    from cumulant import __version__, api

    shared = {name: tuple(value) if isinstance(value, list) else value for name, value in wanted.items()}
    seed, last = shared.pop("seed"), shared.pop("total_steps")
    # Planned a little longer, so that the evaluation at the end is never met.
    total_steps = last + wanted["num_envs"] * wanted["horizon"]
    spec = api.make_spec(algo, env, seed, total_steps=total_steps, eval_every_steps=10**9, **shared, **fields)
    marks: list[tuple[int, float, float]] = []
    returns = 0.0

    def note(_: int, row: dict[str, float]) -> None:
        nonlocal returns
        marks.append((int(row["steps"]), time.process_time(), time.perf_counter()))
        returns = row.get("episode/return", 0.0)
        if row["steps"] >= last:
            raise _Enough

    with tempfile.TemporaryDirectory() as folder, contextlib.suppress(_Enough):
        api.train_one(spec, Path(folder) / "run", progress=note)
    (steps0, cpu0, wall0), (steps, cpu, wall) = marks[0], marks[-1]
    return {
        "version": __version__,
        "torch": torch.__version__,
        "steps": steps - steps0,
        "cpu_seconds": cpu - cpu0,
        "wall_seconds": wall - wall0,
        "last_returns": returns,
    }


class Race(NamedTuple):
    """Contenders that took turns at the same work; ours is the first."""

    task: str
    runs: dict[str, list[dict[str, Any]]]

    @classmethod
    def run(
        cls,
        task: str,
        commands: Mapping[str, Sequence[str]],
        wanted: Mapping[str, Any],
        repeats: int,
        special: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> Race:
        """Run the command of each contender in turn.

        Args:
            task: What they do.
            commands: By contender.
            wanted: Each gets this and a seed as JSON in its last argument.
            repeats: Turns.
            special: What a contender is told besides.
        """
        runs: dict[str, list[dict[str, Any]]] = {}
        for repeat in range(repeats):
            for name, command in commands.items():
                done = run_json([*command, json.dumps({**wanted, **(special or {}).get(name, {}), "seed": repeat})])
                runs.setdefault(name, []).append(done)
                rate = done["steps"] / done["cpu_seconds"]
                print(f"{repeat + 1} of {repeats}, {name}: {rate:,.0f} steps per CPU-second", file=sys.stderr)
        return cls(task, runs)

    def _rates(self, each: list[dict[str, Any]], seconds: str) -> list[float]:
        return [run["steps"] / run[seconds] for run in each]

    def _ratio(self, each: list[dict[str, Any]]) -> Spread:
        """By how much ours is faster, within a turn: both saw the same machine."""
        ours = self._rates(next(iter(self.runs.values())), "cpu_seconds")
        return Spread.of([mine / theirs for mine, theirs in zip(ours, self._rates(each, "cpu_seconds"))])

    def summary(self) -> dict[str, dict[str, Any]]:
        """Return the figures of each contender."""
        return {
            name: {
                "version": each[0]["version"],
                "steps_per_cpu_second": Spread.of(self._rates(each, "cpu_seconds"))._asdict(),
                "steps_per_second": Spread.of(self._rates(each, "wall_seconds"))._asdict(),
                "ours_is_faster_by": self._ratio(each)._asdict(),
            }
            for name, each in self.runs.items()
        }

    def table(self) -> str:
        """Return the figures as a table."""
        head = [self.task, "steps per CPU-second", "steps per second (wall)", "ours is faster by", "return at the end"]
        rows = [
            [
                f"{name} {each[0]['version']}".strip() + f", {_on(each[0])}",
                f"{Spread.of(self._rates(each, 'cpu_seconds')):,.0f}",
                f"{Spread.of(self._rates(each, 'wall_seconds')):,.0f}",
                f"{self._ratio(each):.2f}x",
                _returns(each),
            ]
            for name, each in self.runs.items()
        ]
        return table(head, rows)

    def report(
        self, options: argparse.Namespace, wanted: Mapping[str, Any], name: str, packages: Iterable[str]
    ) -> None:
        """Print the figures with what they depend on, and write them if asked to."""
        peers = [name for name in self.runs if not name.startswith(OURS)]
        missing = [] if peers else [_MISSING.format(options.peers)]
        known = facts(options.core, ("cumulant", "torch", "numpy", "gymnasium", *packages))
        if options.json:
            found = {"settings": wanted, "repeats": options.repeats, "runs": self.summary(), "skipped": missing}
            print(json.dumps({**found, "facts": known}))
            return
        settings = ", ".join(f"{key} {value}" for key, value in wanted.items())
        text = f"Median (range) of {options.repeats} alternating runs. {settings}."
        parts = [text, self.table(), *missing, "\n".join(f"- {line}" for line in facts_lines(known))]
        print("\n\n".join(parts))
        if options.write:
            print(f"\nwritten: {write_results(name, f'{self.task}, end to end', parts)}")


def _on(run: Mapping[str, Any]) -> str:
    """Return what a contender computes with."""
    return run["on"] if "on" in run else f"torch {run['torch']}"


def _returns(runs: Sequence[Mapping[str, Any]]) -> str:
    """Return the median return at the end of several runs, where they say it."""
    known = [run["last_returns"] for run in runs if run["last_returns"] is not None]
    return f"{Spread.of(known).median:.0f}" if known else ""


_MISSING = (
    "Peers such as Stable-Baselines3: skipped, there is no {}. Make it with `python -m venv .peers && "
    ".peers/bin/pip install -r benchmarks/peers.txt`, or name the Python of another environment with --peers."
)


def contenders(
    options: argparse.Namespace, script: str, peers: Mapping[str, str], **others: Mapping[str, str]
) -> dict[str, list[str]]:
    """Return the command of each contender that is there: ours is ``script``, the others are files in ``peers/``.

    Args:
        options: The command line.
        script: Ours.
        peers: File by name, of those in the environment ``--peers``.
        **others: The same for the environments of other options, by their names.
    """
    commands, folder = {OURS: [sys.executable, script, "--time-ours"]}, Path(__file__).parent / "peers"
    for option, files in {"peers": peers, **others}.items():
        python = getattr(options, option)
        if python.exists():
            commands |= {name: [str(python), str(folder / file)] for name, file in files.items()}
    return commands


def race_options(description: str | None, steps: str) -> argparse.ArgumentParser:
    """Return the command line that races share."""
    parser = argparse.ArgumentParser(description=(description or "").partition("\n")[0])
    peers = Path(".peers/bin/python")
    parser.add_argument("--peers", type=Path, default=peers, help="Python of the peers' environment")
    parser.add_argument("--repeats", type=int, default=5, help="alternating runs of each")
    parser.add_argument("--steps", type=int, help=f"environment steps of a run ({steps})")
    parser.add_argument("--core", type=int, default=default_core(), help="core to pin everything to; -1 for none")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--write", action="store_true", help="write benchmarks/results/*.md, too")
    parser.add_argument("--time-ours", help=argparse.SUPPRESS)
    return parser
