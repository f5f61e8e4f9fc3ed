"""Several seeds of one training: a directory of runs, trained in parallel, one process a core.

GROUP/seeds.json   which seeds
GROUP/seed_0/      an ordinary run
GROUP/evaluation.json, report.html   over all of them
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from cumulant import errors
from cumulant.errors import CumulantError, Interrupted, RunError
from cumulant.stats import mean_interval

Progress = Callable[[int, dict[str, float]], None]


def start(directory: Path, specs: Sequence[Mapping[str, Any]], progress: Progress | None = None) -> None:
    """Train several seeds and merge their evaluations.

    Args:
        directory: Of the group; its seeds get ``seed_N`` in it.
        specs: What ``api.make_spec`` returned, one for each seed.
        progress: Called as ``progress(seed, row)``.

    Raises:
        RunError: If the directory is not empty.
        CumulantError: The first that a seed raised; the others are finished before.
    """
    if directory.exists() and any(directory.iterdir()):
        raise RunError(f"{directory} is not empty: continue it with `cumulant resume`, or choose another --out")
    from cumulant.run.run import missing, remove_empty

    made = missing(directory)
    try:
        _train(directory, specs, progress)
    finally:
        remove_empty(made)  # which they are only if no seed could start


def resume(directory: Path, progress: Progress | None = None) -> None:
    """Continue every seed of a group that is not finished."""
    listed = json.loads((directory / "seeds.json").read_text(encoding="utf-8"))
    specs = [listed["spec"] | {"seed": seed} for seed in listed["seeds"]]
    _train(
        directory,
        [spec for spec in specs if not (directory / f"seed_{spec['seed']}/evaluation.json").exists()],
        progress,
    )
    merge_evaluations(directory)


def seeds_of(directory: Path) -> list[int]:
    """Return the seeds of a group; none if the directory is not one."""
    try:
        return [int(seed) for seed in json.loads((directory / "seeds.json").read_text(encoding="utf-8"))["seeds"]]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, KeyError, TypeError) as problem:
        raise RunError(f"{directory / 'seeds.json'} cannot be read: {problem}") from problem


def members(directory: Path) -> dict[int, Path]:
    """Return the runs of a directory by seed: those of a group, or the one that it is.

    Raises:
        RunError: If it is no run at all.
    """
    seeds = seeds_of(directory)
    if seeds:
        return {seed: directory / f"seed_{seed}" for seed in seeds}
    if not directory.is_dir():
        raise RunError(f"there is no directory {directory}: `ls runs/` shows what there is")
    is_policy = (directory / "card.json").exists()
    return {0 if is_policy else int(read_spec(directory)["seed"]): directory}


def read_spec(directory: Path) -> dict[str, Any]:
    """Read config.json of a run, or what the seeds of a group have in common.

    Raises:
        RunError: If it is missing or damaged.
    """
    is_group = (directory / "seeds.json").exists()
    path = directory / ("seeds.json" if is_group else "config.json")
    try:
        spec = json.loads(path.read_text(encoding="utf-8"))
        spec = spec["spec"] if is_group else spec
    except FileNotFoundError:
        raise RunError(f"{directory} holds no run: there is no config.json in it") from None
    except (ValueError, KeyError, TypeError) as problem:
        raise RunError(f"{path} is damaged: {problem!r}") from problem
    missing = [key for key in ("algo", "env", "env_options", "seed", "config") if key not in spec]
    if missing:
        raise RunError(f"{path} lacks {', '.join(missing)}")
    return spec


def score(member: Path) -> float:
    """Return a seed's best periodic evaluation; minus infinity if it has none yet.

    Seeds are chosen by this and not by the final evaluation, whose episodes are kept for reporting.
    """
    path = member / "metrics.jsonl"
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []
    return max((row["eval/return"] for row in rows if "eval/return" in row), default=float("-inf"))


def last_row(member: Path) -> dict[str, float]:
    """Return the last row of metrics, with its ``seconds``; empty if there is none."""
    row: dict[str, float] = {}
    for name in ("metrics.jsonl", "timing.jsonl"):
        path = member / name
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        row |= json.loads(lines[-1]) if lines else {}
    return row


def merge_evaluations(directory: Path) -> None:
    """Write the group's evaluation.json from those of its seeds."""
    from cumulant.run.checkpoint import write_atomic

    evaluations = {
        seed: json.loads((directory / f"seed_{seed}/evaluation.json").read_text(encoding="utf-8"))
        for seed in seeds_of(directory)
    }
    write_atomic(directory / "evaluation.json", (json.dumps(merge(evaluations), indent=1) + "\n").encode())


def merge(evaluations: Mapping[int, Mapping[str, Any]]) -> dict[str, Any]:
    """Return one evaluation that speaks for several seeds.

    The agent's figures become means over seeds. Their intervals hold both what another seed would have learned (Student t
    over the seeds' means) and what other episodes would have shown (the episodes' own interval), added in quadrature; the
    seeds share their evaluation episodes, so the second part does not shrink with their number. Two seeds say too little
    for that (t would be 12.7): there the interval goes from the lowest to the highest end of their own intervals.
    Everything that is not the agent's (protocols on the same patients) is the same in all of them. Trajectories and the
    policy map are those of the first seed, and say so.

    Args:
        evaluations: Of each seed, all of the same environment and options.
    """
    every = list(evaluations.values())
    first_seed, first = next(iter(evaluations.items()))
    merged = dict(first)
    merged["intervals"] = (
        "from the lowest to the highest end of both seeds' own 95 % intervals"
        if len(every) == 2
        else "95 %, over seeds and episodes"
    )
    returned = _merge_measure([{"mean": e["return_mean"], "interval": e["return_interval"]} for e in every])
    merged["return_mean"], merged["return_interval"] = returned["mean"], returned["interval"]
    merged["outcomes"] = _merge_measures([e["outcomes"] for e in every])
    merged["comparisons"] = [
        comparison
        | {
            "rows": [
                row
                if row["name"] != "agent"
                else row
                | {
                    "label": f"{row['label']}, mean of {len(every)} seeds",
                    "metrics": _merge_measures([e["comparisons"][i]["rows"][j]["metrics"] for e in every]),
                }
                for j, row in enumerate(comparison["rows"])
            ]
        }
        for i, comparison in enumerate(first.get("comparisons", []))
    ]
    merged["subgroups"] = [
        subgroup
        | {
            "rows": [
                row | {"agent": _merge_measures([e["subgroups"][i]["rows"][j]["agent"] for e in every])}
                for j, row in enumerate(subgroup["rows"])
            ]
        }
        for i, subgroup in enumerate(first.get("subgroups", []))
    ]
    merged["agent_seeds"] = [
        {key: e[key] for key in ("return_mean", "return_interval", "outcomes")} | {"seed": seed}
        for seed, e in evaluations.items()
    ]
    if "policy_map" in first:
        merged["policy_map"] = first["policy_map"] | {"title": f"{first['policy_map']['title']} (seed {first_seed})"}
    if "trajectories" in first:
        merged["trajectories"] = first["trajectories"] | {"seed": first_seed}
    return {key: value for key, value in merged.items() if value != []}


def _merge_measures(measures: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    merged = {name: _merge_measure([each[name] for each in measures]) for name in measures[0]}
    for name, measure in merged.items():
        if not name.startswith("return") and all(each[name]["interval"][0] >= 0.0 for each in measures):
            measure["interval"][0] = max(measure["interval"][0], 0.0)  # rates and shares stay what they are
    return merged


def _merge_measure(measures: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    lows, highs = ([each["interval"][end] for each in measures] for end in (0, 1))
    over_seeds = mean_interval([each["mean"] for each in measures])
    mean = over_seeds.mean
    if len(measures) < 3:
        return {"mean": mean, "interval": [min(lows), max(highs)]}
    between = over_seeds.high - mean
    low = mean - math.hypot(between, float(np.mean([each["mean"] - each["interval"][0] for each in measures])))
    high = mean + math.hypot(between, float(np.mean([each["interval"][1] - each["mean"] for each in measures])))
    return {"mean": mean, "interval": [low, high]}


def _train(directory: Path, specs: Sequence[Mapping[str, Any]], progress: Progress | None) -> None:
    workers = max(1, min(len(specs), (os.cpu_count() or 1) // max(1, int(specs[0].get("threads", 1))))) if specs else 1
    lock = threading.Lock()
    processes: list[subprocess.Popen[str]] = []
    stopped = threading.Event()

    def report(seed: int, row: dict[str, float]) -> None:
        with lock:
            _note_seeds(directory, specs)
            if progress is not None:
                progress(seed, row)

    def run(spec: Mapping[str, Any]) -> None:
        if not stopped.is_set():
            _run_worker(directory / f"seed_{spec['seed']}", spec, report, processes)

    with ThreadPoolExecutor(workers) as pool:
        futures = [pool.submit(run, spec) for spec in specs]
        try:
            problems = [future.exception() for future in futures]
        except KeyboardInterrupt:
            # Ctrl-C reached the workers too (one process group): they save, and say so by Interrupted
            stopped.set()
            problems = [future.exception() for future in futures]
            problems.append(Interrupted("stopped"))
    failures = [problem for problem in problems if problem is not None]
    for problem in failures:
        if not isinstance(problem, Interrupted):
            raise problem
    if failures:
        raise Interrupted(f"stopped; everything is saved: `cumulant resume {directory}` goes on with every seed")
    merge_evaluations(directory)


def _note_seeds(directory: Path, specs: Sequence[Mapping[str, Any]]) -> None:
    """Write seeds.json with the first row of any seed: a group that could not start leaves nothing behind."""
    path = directory / "seeds.json"
    if not path.exists():
        from cumulant.run.checkpoint import write_atomic

        content = {"seeds": [spec["seed"] for spec in specs], "spec": dict(specs[0])}
        write_atomic(path, (json.dumps(content, indent=1) + "\n").encode())


def _run_worker(directory: Path, spec: Mapping[str, Any], report: Progress, processes: list[Any]) -> None:
    """Train one seed in a process of its own; raise what it raised."""
    resume = (directory / "config.json").exists()
    order = json.dumps({"spec": dict(spec), "directory": str(directory), "resume": resume})
    process = subprocess.Popen(
        [sys.executable, "-m", "cumulant.worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    processes.append(process)
    assert process.stdin is not None
    assert process.stdout is not None
    failure = None
    with process:
        process.stdin.write(order + "\n")
        process.stdin.flush()  # stays open: the worker ends when it closes, so that a killed parent leaves no orphans
        for line in process.stdout:
            message = json.loads(line)
            if "row" in message:
                report(int(spec["seed"]), message["row"])
            else:
                failure = message
        code = process.wait()
    if failure is not None:
        kind = getattr(errors, failure["error"], CumulantError)
        raise kind(f"seed {spec['seed']}: {failure['message']}")
    if code != 0:
        raise CumulantError(
            f"seed {spec['seed']}: its process ended with code {code}; `cumulant resume` goes on with it"
        )
