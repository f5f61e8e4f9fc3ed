"""PPO on CartPole-v1, end to end (rollout and update): ours, Stable-Baselines3, and a plain single-file script.

The same hyper-parameters everywhere. Each measurement is a process of its own, on one core, with one thread; the three take
turns. The figure is environment steps per second of the process's CPU time, which other people's work on the machine disturbs
least; wall time is beside it. The first iteration (compilation, caches) is not counted.

Ours is the ordinary algorithm file under an ordinary run: metrics, TensorBoard events and checkpoints are written and counted.
Periodic evaluation, which the others do not have here, is switched off until the last iteration, and that is not counted.

    python benchmarks/ppo_cartpole.py            the comparison
    python benchmarks/ppo_cartpole.py --solve    whether and how fast CartPole-v1 is solved, over seeds
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from measure import Spread, default_core, facts, facts_lines, one_thread, pin, run_json, table, write_results

PEERS = {"Stable-Baselines3": "sb3_ppo.py", "single-file script, gymnasium": "single_file_ppo.py"}
PEER_FILES = Path(__file__).parent / "peers"
SETTINGS: dict[str, Any] = {
    "num_envs": 8,
    "horizon": 128,
    "epochs": 4,
    "minibatches": 4,
    "learning_rate": 1e-3,
    "gamma": 0.99,
    "lam": 0.95,
    "clip": 0.2,
    "max_grad_norm": 0.5,
    "hidden": [64, 64],
}
SOLVED = 475.0
OURS = "Cumulant"


def time_ours(wanted: dict[str, Any]) -> dict[str, Any]:
    """Train once and time all iterations but the first and the last."""
    from cumulant import __version__, api

    values = {**wanted, "hidden": tuple(wanted["hidden"])}
    seed, total_steps = values.pop("seed"), values.pop("total_steps")
    batch_size = wanted["num_envs"] * wanted["horizon"]
    spec = api.make_spec(
        "ppo",
        "CartPole-v1",
        seed,
        **values,
        learning_rate_end=wanted["learning_rate"],
        value_coef=1.0,  # of half the squared error
        entropy_coef=0.0,
        activation="tanh",
        total_steps=total_steps + batch_size,  # the last iteration evaluates and is not counted
        eval_every_steps=10**9,
        eval_episodes=1,
    )
    marks: list[tuple[int, float, float]] = []
    returns: list[float] = []

    def note(_: int, row: dict[str, float]) -> None:
        marks.append((int(row["steps"]), time.process_time(), time.perf_counter()))
        returns.append(row.get("episode/return", 0.0))

    with tempfile.TemporaryDirectory() as folder:
        api.train_one(spec, Path(folder) / "run", progress=note)
    import torch

    (steps0, cpu0, wall0), (steps, cpu, wall) = marks[0], marks[-2]
    return {
        "version": __version__,
        "torch": torch.__version__,
        "steps": steps - steps0,
        "cpu_seconds": cpu - cpu0,
        "wall_seconds": wall - wall0,
        "last_returns": returns[-2],
    }


def commands(peers: Path, wanted: dict[str, Any]) -> dict[str, list[str]]:
    """Return the command of each contender that is there; ours is the first."""
    order = json.dumps(wanted)
    found = {OURS: [sys.executable, __file__, "--time-ours", order]}
    if peers.exists():
        found |= {name: [str(peers), str(PEER_FILES / file), order] for name, file in PEERS.items()}
    return found


def compare(options: argparse.Namespace) -> None:
    """Time the contenders in turn and print how they compare."""
    wanted = SETTINGS | {"total_steps": options.steps or 40 * 1024}
    runs: dict[str, list[dict[str, Any]]] = {}
    for repeat in range(options.repeats):
        for name, command in commands(options.peers, wanted | {"seed": repeat}).items():
            run = run_json(command)
            runs.setdefault(name, []).append(run)
            rate = run["steps"] / run["cpu_seconds"]
            print(f"{repeat + 1} of {options.repeats}, {name}: {rate:,.0f} steps per CPU-second", file=sys.stderr)
    skipped = []
    if len(runs) == 1:
        skipped = [
            f"{' and '.join(PEERS)}: skipped, there is no {options.peers}. Make it with `python -m venv .peers && "
            ".peers/bin/pip install -r benchmarks/peers.txt`, or name the Python of another environment with --peers."
        ]

    rows, summary = [], {}
    ours = [run["steps"] / run["cpu_seconds"] for run in runs[OURS]]
    for name, each in runs.items():
        cpu = [run["steps"] / run["cpu_seconds"] for run in each]
        wall = [run["steps"] / run["wall_seconds"] for run in each]
        ratio = Spread.of(
            [mine / theirs for mine, theirs in zip(ours, cpu)]
        )  # within a turn: both saw the same machine
        summary[name] = {
            "version": each[0]["version"],
            "steps_per_cpu_second": Spread.of(cpu)._asdict(),
            "steps_per_second": Spread.of(wall)._asdict(),
            "ours_is_faster_by": ratio._asdict(),
        }
        label = f"{name} {each[0]['version']}, torch {each[0]['torch']}"
        last = Spread.of([run["last_returns"] for run in each])
        rows.append([label, f"{Spread.of(cpu):,.0f}", f"{Spread.of(wall):,.0f}", f"{ratio:.2f}x", f"{last.median:.0f}"])
    known = facts(options.core, ("cumulant", "torch", "numpy", "numba", "gymnasium"))
    if options.json:
        print(
            json.dumps(
                {"settings": wanted, "repeats": options.repeats, "runs": summary, "skipped": skipped, "facts": known}
            )
        )
        return
    head = [
        "PPO, CartPole-v1",
        "steps per CPU-second",
        "steps per second (wall)",
        "ours is faster by",
        "return at the end",
    ]
    settings = ", ".join(f"{key} {value}" for key, value in wanted.items())
    text = f"Median (range) of {options.repeats} alternating runs. {settings}."
    parts = [text, table(head, rows), *skipped, "\n".join(f"- {line}" for line in facts_lines(known))]
    print("\n\n".join(parts))
    if options.write:
        print(f"\nwritten: {write_results('ppo_cartpole', 'PPO on CartPole-v1, end to end', parts)}")


def solve(options: argparse.Namespace) -> None:
    """Train each seed at the command line's defaults and judge its best policy on held-out episodes."""
    from cumulant import api

    fields = {"total_steps": options.steps} if options.steps else {}
    results = []
    with tempfile.TemporaryDirectory() as folder:
        warm_up = api.make_spec("ppo", "CartPole-v1", total_steps=1, eval_episodes=2)
        api.train_one(warm_up, Path(folder) / "warm_up")  # compiles
        for seed in range(options.seeds):
            learned: list[dict[str, float]] = []
            spec = api.make_spec("ppo", "CartPole-v1", seed, **fields)
            cpu = time.process_time()
            evaluation = api.train_one(
                spec, Path(folder) / str(seed), progress=lambda _, row, kept=learned: kept.append(row)
            )
            cpu = time.process_time() - cpu
            first = next((row for row in learned if row.get("eval/return", 0.0) >= SOLVED), None)
            results.append(
                {
                    "seed": seed,
                    "return_mean": evaluation["return_mean"],
                    "return_interval": evaluation["return_interval"],
                    "episodes": evaluation["episodes"],
                    "solved": evaluation["return_mean"] >= SOLVED,
                    "first_at_steps": first and first["steps"],
                    "first_at_seconds": first and first["seconds"],
                    "steps": learned[-1]["steps"],
                    "seconds": learned[-1]["seconds"],
                    "cpu_seconds": cpu,
                }
            )
    solved = sum(result["solved"] for result in results)
    known = facts(options.core, ("cumulant", "torch", "numpy", "numba", "gymnasium"))
    if options.json:
        print(json.dumps({"solved": solved, "seeds": results, "facts": known}))
        return
    rows = [
        [
            str(result["seed"]),
            "{:.1f} [{:.1f}, {:.1f}]".format(result["return_mean"], *result["return_interval"]),
            "yes" if result["solved"] else "no",
            "{first_at_steps:,} / {first_at_seconds:.1f} s".format(**result) if result["first_at_steps"] else "never",
            "{steps:,} / {seconds:.1f} s".format(**result),
            f"{result['cpu_seconds']:.1f} s",
        ]
        for result in results
    ]
    head = [
        "seed",
        "mean return [95 %]",
        f">= {SOLVED:.0f}",
        "first periodic evaluation there",
        "all of training",
        "CPU",
    ]
    text = (
        f"CartPole-v1 solved on {solved} of {len(results)} seeds: mean return of the best policy over "
        f"{results[0]['episodes']} held-out episodes, at the defaults of `cumulant train ppo CartPole-v1`. Seconds of training "
        "are wall time and hold the periodic evaluations; CPU holds the final evaluation, too. Compilation is not counted."
    )
    parts = [text, table(head, rows), "\n".join(f"- {line}" for line in facts_lines(known))]
    print("\n\n".join(parts))
    if options.write:
        print(f"\nwritten: {write_results('ppo_cartpole_solve', 'CartPole-v1 solved by PPO', parts)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--peers", type=Path, default=Path(".peers/bin/python"), help="Python of the peers' environment"
    )
    parser.add_argument("--repeats", type=int, default=5, help="alternating runs of each")
    parser.add_argument(
        "--steps", type=int, help="environment steps of a run (40,960; with --solve the default of training)"
    )
    parser.add_argument("--core", type=int, default=default_core(), help="core to pin everything to; -1 for none")
    parser.add_argument(
        "--solve", action="store_true", help="train to the end on several seeds instead of comparing speed"
    )
    parser.add_argument("--seeds", type=int, default=5, help="how many seeds --solve trains")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--write", action="store_true", help="write benchmarks/results/ppo_cartpole*.md, too")
    parser.add_argument("--time-ours", help=argparse.SUPPRESS)
    options = parser.parse_args()
    one_thread()
    pin(options.core)
    if options.time_ours:
        print(json.dumps(time_ours(json.loads(options.time_ours))))
    elif options.solve:
        solve(options)
    else:
        compare(options)


if __name__ == "__main__":
    main()
