"""Several seeds of one training: a directory of runs, trained in parallel, one process a core.

GROUP/seeds.json   which seeds
GROUP/seed_0/      an ordinary run
GROUP/evaluation.json, report.html   over all of them
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from cumulant.errors import Interrupted, RunError, StorageError
from cumulant.processes import Workers, cores
from cumulant.seeds import merged_interval
from cumulant.stats import Interval

Progress = Callable[[int, dict[str, float]], None]
_BOTH = "from the lowest to the highest end of both seeds' own 95 % intervals"


def start(directory: Path, specs: Sequence[Mapping[str, Any]], progress: Progress | None = None) -> None:
    """Train several seeds and merge their evaluations.

    Args:
        directory: Of the group; its seeds get ``seed_N`` in it.
        specs: What ``api.make_spec`` returned, one for each seed.
        progress: Called as ``progress(seed, row)``.

    Raises:
        RunError: If the directory is a file or not empty.
        StorageError: If it cannot be made.
        CumulantError: The first that a seed raised; the others are finished before.
    """
    from cumulant.run.place import missing, refuse_occupied, remove_empty

    refuse_occupied(directory)
    made = missing(directory)
    try:
        try:
            directory.mkdir(parents=True, exist_ok=True)
        except OSError as problem:
            raise StorageError(f"{directory} cannot be made: {problem.strerror}; choose another --out") from problem
        note(directory, specs)
        _train(directory, {spec["seed"]: spec for spec in specs}, progress)
    except BaseException as problem:
        if not any(directory.glob("seed_*")):  # what could not start leaves nothing behind
            (directory / "seeds.json").unlink(missing_ok=True)
            remove_empty(made)
            if isinstance(problem, Interrupted):
                raise Interrupted("stopped before anything was trained; nothing is left behind") from None
        raise
    merge_evaluations(directory)


def note(directory: Path, specs: Sequence[Mapping[str, Any]]) -> None:
    """Write seeds.json, before any seed begins: so a group can be resumed whenever it was killed."""
    from cumulant.run.checkpoint import write_atomic
    from cumulant.run.manifest import host

    content = {"seeds": [spec["seed"] for spec in specs], "spec": dict(specs[0]), "host": host()}
    write_atomic(directory / "seeds.json", (json.dumps(content, indent=1) + "\n").encode())


def resume(directory: Path, progress: Progress | None = None) -> None:
    """Continue every seed of a group that is not finished, and begin those that had not begun."""
    _train(directory, specs(directory), progress)
    merge_evaluations(directory)


def specs(directory: Path) -> dict[int, dict[str, Any]]:
    """Return by seed what ``resume`` would train: nothing of seeds that are finished.

    A seed's own config.json comes first; one that had not begun follows from seeds.json.

    Raises:
        RunError: If one of these files is damaged.
    """
    shared = read_spec(directory)
    return {
        seed: read_spec(member) if (member / "config.json").exists() else shared | {"seed": seed}
        for seed, member in members(directory).items()
        if not (member / "evaluation.json").exists()
    }


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
    returns = [row.get("eval/return") for row in rows(member / "metrics.jsonl")]
    return max((value for value in returns if isinstance(value, int | float)), default=float("-inf"))


def last_row(member: Path) -> dict[str, float]:
    """Return the last row of metrics, with its ``seconds``; empty if there is none."""
    row: dict[str, float] = {}
    for name in ("metrics.jsonl", "timing.jsonl"):
        row |= next(reversed(rows(member / name)), {})
    return row


def rows(path: Path) -> list[dict[str, Any]]:
    """Read the rows of a file, without those that a kill tore."""
    found = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else []:
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict):
            found.append(row)
    return found


def merge_evaluations(directory: Path) -> None:
    """Write the group's evaluation.json from those of its seeds.

    Raises:
        RunError: If one of those is missing or damaged.
    """
    from cumulant.run.checkpoint import write_atomic

    evaluations = {}
    for seed in seeds_of(directory):
        path = directory / f"seed_{seed}/evaluation.json"
        try:
            evaluations[seed] = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as problem:
            raise RunError(f"{path} cannot be read ({problem}): remove it, then `cumulant resume`") from problem
    write_atomic(directory / "evaluation.json", (json.dumps(merge(evaluations), indent=1) + "\n").encode())


def merge(evaluations: Mapping[int, Mapping[str, Any]]) -> dict[str, Any]:
    """Return one evaluation that speaks for several seeds.

    The agent's figures become means over seeds; their intervals are those of ``seeds.merged_interval``. Everything that
    is not the agent's (protocols on the same patients) is the same in all of them. Trajectories and the policy map are
    those of the first seed, and say so.

    Args:
        evaluations: Of each seed, all of the same environment and options.
    """
    every = list(evaluations.values())
    first_seed, first = next(iter(evaluations.items()))
    if first.get("kind") == "text":
        return _merge_text(evaluations)
    merged = dict(first)
    merged["intervals"] = _BOTH if len(every) == 2 else "95 %, over seeds and episodes"
    returned = merge_measure([{"mean": e["return_mean"], "interval": e["return_interval"]} for e in every])
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


def _merge_text(evaluations: Mapping[int, Mapping[str, Any]]) -> dict[str, Any]:
    """Return one evaluation of several language models: means of their figures; samples and tables are the first seed's."""
    every = list(evaluations.values())
    first_seed, first = next(iter(evaluations.items()))
    figures = {}
    for name, figure in first["figures"].items():
        if all(name in each["figures"] for each in every):
            own = [each["figures"][name] for each in every]
            merged = merge_measure(
                [{"mean": f["value"], "interval": [f.get("low", f["value"]), f.get("high", f["value"])]} for f in own]
            )
            figures[name] = figure | dict(zip(("value", "low", "high"), (merged["mean"], *merged["interval"])))
    return {
        **first,
        "figures": figures,
        "intervals": _BOTH if len(every) == 2 else "95 %, over seeds and held-out texts",
        "agent_seeds": [{"seed": seed, "figures": each["figures"]} for seed, each in evaluations.items()],
        "samples": [{**sample, "seed": first_seed} for sample in first.get("samples", [])],
        "tables": [{**table, "title": f"{table['title']} (seed {first_seed})"} for table in first.get("tables", [])],
    }


def _merge_measures(measures: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    merged = {name: merge_measure([each[name] for each in measures]) for name in measures[0]}
    for name, measure in merged.items():
        if not name.startswith("return") and all(each[name]["interval"][0] >= 0.0 for each in measures):
            measure["interval"][0] = max(measure["interval"][0], 0.0)  # rates and shares stay what they are
    return merged


def merge_measure(measures: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the mean of a figure over seeds, ``{"mean", "interval"}``, with the interval that ``merge`` describes."""
    merged = merged_interval([Interval(each["mean"], *each["interval"]) for each in measures])
    return {"mean": merged.mean, "interval": [merged.low, merged.high]}


def _train(directory: Path, specs: Mapping[int, Mapping[str, Any]], progress: Progress | None) -> None:
    """Train seeds, each in a process of its own; Ctrl-C or SIGTERM makes all of them save and end."""
    if not specs:
        return
    threads = max(1, *(int(spec.get("threads", 1)) for spec in specs.values()))
    slots = max(1, min(len(specs), cores() // threads))
    printing = threading.Lock()

    def run(seed: int) -> None:
        def report(row: dict[str, float]) -> None:
            with printing:
                if progress is not None:
                    progress(seed, row)

        workers.train(directory / f"seed_{seed}", specs[seed], report)

    with Workers() as workers:
        with ThreadPoolExecutor(slots) as pool:
            problems = [future.exception() for future in [pool.submit(run, seed) for seed in specs]]
    failures = [problem for problem in problems if problem is not None]
    for problem in failures:
        if not isinstance(problem, Interrupted):
            raise problem
    if failures or workers.stopped.is_set():
        raise Interrupted(f"stopped; everything is saved: `cumulant resume {directory}` goes on with every seed")
