"""Whether the compiled engine learns what the torch engine learns: the same algorithm, options and seeds, by both.

Runs differ seed by seed: most draw other random numbers, and those of SAC, TD3 and TQC, by the same ones, part after a while by
rounding. What must agree is their distribution. At four times of training the mean return of the training episodes is shown over
seeds with its 95 % interval, and the interval of the difference (Welch), which should hold 0. One such interval in twenty may
miss it by chance.

    python benchmarks/engines.py --write
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from measure import default_core, facts, facts_lines, one_thread, pin, table, write_section

TASKS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "PPO, CartPole-v1": ("ppo", "CartPole-v1", {"total_steps": 100_000}),
    "PPO, Pendulum-v1": ("ppo", "Pendulum-v1", {"total_steps": 150_000}),
    "A2C, CartPole-v1": ("a2c", "CartPole-v1", {"total_steps": 60_000}),
    "SAC, Pendulum-v1": ("sac", "Pendulum-v1", {"total_steps": 5_000, "hidden": (64, 64), "batch_size": 64}),
    "TD3, Pendulum-v1": ("td3", "Pendulum-v1", {"total_steps": 5_000, "hidden": (64, 64), "batch_size": 64}),
    "TQC, Pendulum-v1": ("tqc", "Pendulum-v1", {"total_steps": 5_000, "hidden": (64, 64), "batch_size": 64}),
}
ENGINES = ("compiled", "torch")
TIMES = 4


def curve(task: str, engine: str, seed: int, folder: Path, steps: int | None) -> np.ndarray:
    """Train, and return the mean return of the training episodes in each of ``TIMES`` equal parts of the run."""
    from cumulant import api

    algo, env, fields = TASKS[task]
    rows: list[dict[str, float]] = []
    if steps:
        fields = fields | {"total_steps": steps}
    spec = api.make_spec(algo, env, seed, engine=engine, eval_episodes=2, eval_every_steps=10**9, **fields)
    api.train_one(spec, folder / f"{engine}_{seed}", progress=lambda _, row: rows.append(row))
    parts = np.array_split(np.arange(len(rows)), TIMES)
    means = []
    for part in parts:
        played = [rows[k] for k in part if rows[k]["episode/count"] > 0]
        counts = [row["episode/count"] for row in played]
        means.append(np.average([row["episode/return"] for row in played], weights=counts))
    return np.array(means)


def difference(one: np.ndarray, other: np.ndarray) -> tuple[float, float, float]:
    """Return the difference of two means over seeds and its 95 % interval (Welch)."""
    from cumulant.stats import student_t_quantile

    shares = [x.var(ddof=1) / len(x) for x in (one, other)]
    df = sum(shares) ** 2 / sum(share**2 / (len(x) - 1) for share, x in zip(shares, (one, other)))
    middle, half = one.mean() - other.mean(), student_t_quantile(0.975, df) * sum(shares) ** 0.5
    return middle, middle - half, middle + half


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=10, help="how many seeds of each")
    parser.add_argument("--steps", type=int, help="environment steps of a run, instead of each task's own")
    parser.add_argument("--only", nargs="+", choices=TASKS, default=list(TASKS), help="which tasks")
    parser.add_argument("--core", type=int, default=default_core(), help="core to pin everything to; -1 for none")
    parser.add_argument("--write", action="store_true", help="write benchmarks/results/engines.md, too")
    options = parser.parse_args()
    one_thread()
    pin(options.core)
    for task in options.only:
        parts = compare(task, options)
        print("\n\n".join(parts))
        if options.write:
            written = write_section("engines", "Learning curves by the compiled engine and by torch", task, parts)
            print(f"\nwritten: {written}")


def compare(task: str, options: argparse.Namespace) -> list[str]:
    """Train a task by both engines over seeds, and return what came out as text."""
    from cumulant.stats import mean_interval

    curves, seconds = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        for engine in ENGINES:
            began = time.process_time()
            curves[engine] = np.array(
                [curve(task, engine, seed, Path(folder), options.steps) for seed in range(options.seeds)]
            )
            seconds[engine] = (time.process_time() - began) / options.seeds
    rows = []
    for k in range(TIMES):
        cells = []
        for engine in ENGINES:
            found = mean_interval(curves[engine][:, k])
            cells.append(f"{found.mean:.1f} [{found.low:.1f}, {found.high:.1f}]")
        middle, low, high = difference(*(curves[engine][:, k] for engine in ENGINES))
        agrees = "yes" if low <= 0.0 <= high else "no"
        rows.append([f"{k + 1} of {TIMES}", *cells, f"{middle:.1f} [{low:.1f}, {high:.1f}]", agrees])
    head = ["part of the run", *(f"{engine}: return" for engine in ENGINES), "difference", "holds 0"]
    fields = TASKS[task][2] | ({"total_steps": options.steps} if options.steps else {})
    settings = ", ".join(f"{key} {value}" for key, value in fields.items())
    text = (
        f"Mean return of the training episodes over {options.seeds} seeds with 95 % intervals, at our defaults "
        f"but for {settings}. CPU-seconds a seed: "
        + ", ".join(f"{engine} {each:.1f}" for engine, each in seconds.items())
        + "."
    )
    known = facts(options.core, ("cumulant", "torch", "numpy", "numba"))
    return [text, table(head, rows), "\n".join(f"- {line}" for line in facts_lines(known))]


if __name__ == "__main__":
    main()
