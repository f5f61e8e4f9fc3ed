"""How long a process takes to learn CartPole-v1, from its start to a mean return of 475 over the last 100 training episodes.

Everything counts: the interpreter, the imports, loading compiled code (each contender's cache is warm: a run before the first
is thrown away) and training at the same hyper-parameters, stopped at the first iteration that is good enough (ours and
Stable-Baselines3 look after each, JAX after every tenth, because looking leaves the compiled code). CPU time of the whole process
is the main figure. A seed that is not there after 400,000 steps counts with what it took until then, and is named.

    python benchmarks/time_to_475.py
"""

from __future__ import annotations

import contextlib
import json
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from measure import (
    OURS,
    Spread,
    contenders,
    facts,
    facts_lines,
    one_thread,
    pin,
    race_options,
    run_json,
    table,
    write_results,
)
from ppo_cartpole import SETTINGS

GOAL = 475.0
PEERS = {"Stable-Baselines3": "sb3_ppo.py"}
JAX_PEERS = {"single-file script, JAX": "jax_ppo.py"}


class _Enough(Exception):
    pass


def time_ours(wanted: dict[str, Any]) -> dict[str, Any]:
    """Train until it is good enough, as a run on the command line does, but for the periodic evaluations."""
    import cumulant.cli.main  # noqa: F401 (a process of the command line: see loading.unsearched)
    from cumulant import api

    shared = {name: tuple(value) if isinstance(value, list) else value for name, value in wanted.items()}
    seed, until = shared.pop("seed"), shared.pop("until")
    shared.pop("cache")
    spec = api.make_spec(
        "ppo", "CartPole-v1", seed, eval_every_steps=10**9, learning_rate_end=shared["learning_rate"], value_coef=1.0,
        entropy_coef=0.0, activation="tanh", **shared,
    )  # fmt: skip
    rows: list[dict[str, float]] = []

    def last(episodes: int = 100) -> float:
        total = count = 0.0
        for row in reversed(rows):
            total, count = total + row["episode/count"] * row.get("episode/return", 0.0), count + row["episode/count"]
            if count >= episodes:
                return total / count
        return 0.0

    def note(_: int, row: dict[str, float]) -> None:
        rows.append(row)
        if last() >= until:
            raise _Enough

    with tempfile.TemporaryDirectory() as folder, contextlib.suppress(_Enough):
        api.train_one(spec, Path(folder) / "run", progress=note)
    return {"steps": rows[-1]["steps"], "last_returns": last(), "version": api.__name__.partition(".")[0]}


def main() -> None:
    parser = race_options(__doc__, "400,000 at most")
    parser.add_argument("--peers-jax", type=Path, default=Path(".peers_jax/bin/python"), help="Python of JAX's peers")
    options = parser.parse_args()
    one_thread()
    pin(options.core)
    if options.time_ours:
        print(json.dumps(time_ours(json.loads(options.time_ours))))
        return
    commands = contenders(options, __file__, PEERS, peers_jax=JAX_PEERS)
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in commands}
    with tempfile.TemporaryDirectory() as cache:
        wanted = SETTINGS | {"total_steps": options.steps or 400_000, "until": GOAL, "cache": cache}
        for command in commands.values():
            run_json([*command, json.dumps({**wanted, "until": -1.0, "seed": 0})])  # warms caches
        for repeat in range(options.repeats):
            for name, command in commands.items():
                before, wall = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
                run = run_json([*command, json.dumps({**wanted, "seed": repeat})])
                after = resource.getrusage(resource.RUSAGE_CHILDREN)
                run["wall"] = time.perf_counter() - wall
                run["cpu"] = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
                found[name].append(run)
                print(f"{repeat + 1} of {options.repeats}, {name}: {run['cpu']:.2f} CPU-seconds", file=sys.stderr)
    known = facts(options.core, ("cumulant", "torch", "numpy", "numba", "gymnasium"))
    if options.json:
        print(json.dumps({"runs": found, "facts": known}))
        return
    rows = []
    for name, runs in found.items():
        ratio = Spread.of([run["cpu"] / mine["cpu"] for run, mine in zip(runs, found[OURS])])
        there = sum(run["last_returns"] >= GOAL for run in runs)
        cpu, wall = (Spread.of([run[kind] for run in runs]) for kind in ("cpu", "wall"))
        steps = Spread.of([run["steps"] for run in runs])
        rows.append([name, f"{cpu:.2f}", f"{wall:.2f}", f"{steps:,.0f}", f"{there} of {len(runs)}", f"{ratio:.1f}x"])
    head = ["CartPole-v1 to 475", "CPU-seconds", "seconds (wall)", "steps", "got there", "ours is faster by"]
    how = "process start included, caches warm, ours as on the command line"
    settings = ", ".join(f"{key} {value}" for key, value in SETTINGS.items())
    text = f"Median (range) over {options.repeats} seeds, {how}. {settings}"
    parts = [text + ".", table(head, rows), "\n".join(f"- {line}" for line in facts_lines(known))]
    print("\n\n".join(parts))
    if options.write:
        print(f"\nwritten: {write_results('time_to_475', 'CartPole-v1 to 475, from the start of the process', parts)}")


if __name__ == "__main__":
    main()
