"""SAC, TD3 and TQC on Pendulum-v1 and DQN on CartPole-v1, acting, replay and updates: ours, Stable-Baselines3 and SBX.

The same hyper-parameters in all: networks, minibatches, updates per step, replay, exploration, target networks; DQN's are those
of rl-baselines3-zoo, 128 updates after every 256 steps. Each measurement is a process of its own, on one core, with one thread;
they take turns. The figure is environment steps per second of the process's CPU time, once the updates have begun; wall time is
beside it. Compilation and the steps before the updates are not counted.

Ours is the ordinary algorithm file under an ordinary run: metrics, TensorBoard events and checkpoints are written and counted.
Periodic evaluation, which the peers do not have here, is left to the last iteration, and that is not counted.

    python benchmarks/off_policy_speed.py
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from measure import (
    Spread,
    default_core,
    facts,
    facts_lines,
    one_thread,
    pin,
    run_json,
    run_json_together,
    table,
    write_section,
)

PAGE = ("off_policy_speed", "SAC, TD3, TQC and DQN, end to end")
OURS = "Cumulant"
PEERS = {"Stable-Baselines3": "stable_baselines3", "SBX": "sbx"}  # and what they are imported as
PEER_LISTS = {"Stable-Baselines3": "peers.txt", "SBX": "peers_sbx.txt"}
PEER_FILE = Path(__file__).parent / "peers" / "sb3_off_policy.py"
_PENDULUM: dict[str, Any] = {
    "env": "Pendulum-v1",
    "total_steps": 2500,
    "warmup_steps": 500,
    "learning_rate": 3e-4,
    "batch_size": 256,
    "updates_per_step": 1.0,
    "train_every": 1,
    "polyak": 0.005,
    "hidden": [256, 256],
}
TASKS: dict[str, dict[str, Any]] = {
    "sac": _PENDULUM,
    "td3": {**_PENDULUM, "learning_rate": 1e-3, "policy_every": 2, "exploration_noise": 0.1},
    "tqc": {**_PENDULUM, "num_critics": 2, "num_quantiles": 25, "drop": 2},
    "dqn": {
        "env": "CartPole-v1",
        "total_steps": 16_000,
        "warmup_steps": 1000,
        "learning_rate": 2.3e-3,
        "batch_size": 64,
        "updates_per_step": 0.5,
        "train_every": 256,
        "target_every": 5,
        "hidden": [256, 256],
        "exploration": 0.16,
        "epsilon": 1.0,
        "epsilon_end": 0.04,
    },
}
SHARED: dict[str, Any] = {"gamma": 0.99, "capacity": 100_000}


def time_ours(wanted: dict[str, Any]) -> dict[str, Any]:
    """Train once and time the iterations with updates, but for the first and the last."""
    from cumulant import __version__, api

    algo = wanted["algo"]
    horizon = 256 if algo == "dqn" else 250
    fields: dict[str, Any] = {
        "num_envs": 1,
        "horizon": horizon,
        "total_steps": wanted["total_steps"] + horizon,  # the last iteration evaluates and is not counted
        "eval_every_steps": 10**9,
        "eval_episodes": 1,
        "hidden": tuple(wanted["hidden"]),
        "replay": {"capacity": wanted["capacity"], "n_step": 1},  # whatever a preset says
    }
    shared = ("gamma", "warmup_steps", "learning_rate", "batch_size", "updates_per_step")
    own = {
        "sac": ("polyak",),
        "td3": ("polyak", "policy_every", "exploration_noise"),
        "tqc": ("polyak", "num_critics", "num_quantiles", "drop"),
        "dqn": ("train_every", "target_every", "exploration", "epsilon", "epsilon_end"),
    }
    fields |= {name: wanted[name] for name in (*shared, *own[algo])}
    if wanted["precision"] != "float32":
        fields["precision"] = wanted["precision"]
    if algo == "dqn":
        fields |= {"learning_rate_end": wanted["learning_rate"], "double": False}
    marks: list[tuple[int, float, float]] = []
    returns: list[float] = []

    def note(_: int, row: dict[str, float]) -> None:
        marks.append((int(row["steps"]), time.process_time(), time.perf_counter()))
        returns.extend([row["episode/return"]] if "episode/return" in row else [])

    with tempfile.TemporaryDirectory() as folder:
        spec = api.make_spec(algo, wanted["env"], wanted["seed"], **fields)
        api.train_one(spec, Path(folder) / "run", progress=note)
    import torch

    steps0, cpu0, wall0 = next(mark for mark in marks if mark[0] >= wanted["count_from"])
    steps, cpu, wall = marks[-2]
    return {
        "version": __version__,
        "runs_on": f"torch {torch.__version__}",
        "steps": steps - steps0,
        "cpu_seconds": cpu - cpu0,
        "wall_seconds": wall - wall0,
        "last_returns": sum(returns[-5:]) / max(len(returns[-5:]), 1),
    }


def compare(options: argparse.Namespace) -> None:
    """Time all in turn and print how they compare."""
    pythons = dict(zip(PEERS, (options.peers, options.peers_sbx)))
    skipped = [
        f"{peer}: skipped, there is no {python}. Make it with `python -m venv .{PEER_LISTS[peer].removesuffix('.txt')} && "
        f".{PEER_LISTS[peer].removesuffix('.txt')}/bin/pip install -r benchmarks/{PEER_LISTS[peer]}`, or name the Python of "
        f"another environment with --{PEER_LISTS[peer].removesuffix('.txt').replace('_', '-')}."
        for peer, python in pythons.items()
        if not python.exists()
    ]
    rows, summary = [], {}
    tasks = {algo: TASKS[algo] for algo in options.algos}
    for algo, task in tasks.items():
        wanted = {"algo": algo, "precision": options.precision, **SHARED, **task}
        if options.steps:
            wanted |= {"total_steps": options.steps, "warmup_steps": min(task["warmup_steps"], options.steps // 4)}
        wanted["count_from"] = wanted["warmup_steps"] + 250
        runs: dict[str, list[dict[str, Any]]] = {}
        for repeat in range(options.repeats):
            order = wanted | {"seed": repeat}
            contenders = {OURS: [sys.executable, __file__, "--time-ours", json.dumps(order)]}
            for peer, python in pythons.items():
                if python.exists():
                    contenders[peer] = [str(python), str(PEER_FILE), json.dumps(order | {"library": PEERS[peer]})]
            commands = list(contenders.values())
            done = run_json_together(commands) if options.together else map(run_json, commands)
            for name, run in zip(contenders, done):
                runs.setdefault(name, []).append(run)
                rate = run["steps"] / run["cpu_seconds"]
                print(f"{algo} {repeat + 1} of {options.repeats}, {name}: {rate:,.0f} per CPU-second", file=sys.stderr)
        ours = [run["steps"] / run["cpu_seconds"] for run in runs[OURS]]
        for name, each in runs.items():
            cpu = [run["steps"] / run["cpu_seconds"] for run in each]
            wall = [run["steps"] / run["wall_seconds"] for run in each]
            # within a turn: both saw the same machine
            ratio = Spread.of([mine / theirs for mine, theirs in zip(ours, cpu)])
            last = Spread.of([run["last_returns"] for run in each])
            summary[f"{algo}, {name}"] = {
                "version": each[0]["version"],
                "steps_per_cpu_second": Spread.of(cpu)._asdict(),
                "steps_per_second": Spread.of(wall)._asdict(),
                "ours_is_faster_by": ratio._asdict(),
            }
            label = f"{algo}, {task['env']}: {name} {each[0]['version']}, {each[0]['runs_on']}"
            rows.append(
                [label, f"{Spread.of(cpu):,.0f}", f"{Spread.of(wall):,.0f}", f"{ratio:.2f}x", f"{last.median:.0f}"]
            )
    known = facts(options.core, ("cumulant", "torch", "numpy", "numba", "gymnasium"))
    if options.json:
        print(json.dumps({"repeats": options.repeats, "runs": summary, "skipped": skipped, "facts": known}))
        return
    head = ["", "steps per CPU-second", "steps per second (wall)", "ours is faster by", "return at the end"]
    turns = "turns, all at the same time on one core" if options.together else "alternating runs"
    texts = [f"Median (range) of {options.repeats} {turns}."]
    texts += [f"Ours with --precision {options.precision}."] if options.precision != "float32" else []
    texts += [
        f"{algo}: {', '.join(f'{key} {value}' for key, value in {**SHARED, **task}.items())}."
        for algo, task in tasks.items()
    ]
    parts = ["\n".join(texts), table(head, rows), *skipped, "\n".join(f"- {line}" for line in facts_lines(known))]
    print("\n\n".join(parts))
    if options.write:
        coarse = f" with --precision {options.precision}" if options.precision != "float32" else ""
        print(f"\nwritten: {write_section(*PAGE, ', '.join(options.algos) + coarse, parts)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--peers", type=Path, default=Path(".peers/bin/python"), help="Python of the peers' environment"
    )
    parser.add_argument(
        "--peers-sbx", type=Path, default=Path(".peers_sbx/bin/python"), help="Python of SBX's environment"
    )
    parser.add_argument("--repeats", type=int, default=5, help="alternating runs of each")
    parser.add_argument("--algos", nargs="+", choices=TASKS, default=list(TASKS), help="which of them")
    parser.add_argument(
        "--precision", choices=("float32", "bfloat16"), default="float32", help="of our products; not of the peers'"
    )
    parser.add_argument("--steps", type=int, help="environment steps of a run (DQN 16,000, the others 2,500)")
    parser.add_argument("--core", type=int, default=default_core(), help="core to pin everything to; -1 for none")
    parser.add_argument(
        "--together",
        action="store_true",
        help="run all of a turn at the same time on the core: fairer on a busy machine",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument(
        "--write", action="store_true", help="write a section of benchmarks/results/off_policy_speed.md"
    )
    parser.add_argument("--time-ours", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.precision != "float32" and "dqn" in options.algos:
        parser.error("--precision bfloat16 changes nothing for dqn: name others, --algos sac td3 tqc")
    one_thread()
    pin(options.core)
    if options.time_ours:
        print(json.dumps(time_ours(json.loads(options.time_ours))))
    else:
        compare(options)


if __name__ == "__main__":
    main()
