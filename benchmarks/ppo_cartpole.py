"""PPO on CartPole-v1, end to end (rollout and update): ours, Stable-Baselines3, Tianshou, rejax, and plain single-file scripts.

The same hyper-parameters everywhere. Each measurement is a process of its own, on one core, with one thread; all take
turns. The figure is environment steps per second of the process's CPU time, which other people's work on the machine disturbs
least; wall time is beside it. The first iteration (compilation, caches) is not counted.

Ours is the ordinary algorithm file under an ordinary run: metrics, TensorBoard events and checkpoints are written and counted.
Periodic evaluation, which the others do not have here, is switched off.

    python benchmarks/ppo_cartpole.py            the comparison
    python benchmarks/ppo_cartpole.py --solve    whether and how fast CartPole-v1 is solved, over seeds
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from measure import (
    OURS,
    Race,
    contenders,
    facts,
    facts_lines,
    one_thread,
    pin,
    race_options,
    table,
    time_training,
    write_results,
)

PEERS = {"Stable-Baselines3": "sb3_ppo.py", "single-file script, gymnasium": "single_file_ppo.py"}
JAX_PEERS = {"single-file script, JAX": "jax_ppo.py", "rejax": "rejax_ppo.py"}
TIANSHOU_PEERS = {"Tianshou": "tianshou_ppo.py"}
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


def time_ours(wanted: dict[str, Any], env: str = "CartPole-v1", **fields: Any) -> dict[str, Any]:
    """Time ours with what the peers do: a constant step size, tanh, nothing normalised."""
    return time_training(
        "ppo",
        env,
        wanted,
        learning_rate_end=wanted["learning_rate"],
        value_coef=1.0,  # of half the squared error
        entropy_coef=0.0,
        activation="tanh",
        **fields,
    )


def compare(options: argparse.Namespace) -> None:
    """Time the contenders in turn and print how they compare."""
    wanted = SETTINGS | {"num_envs": options.num_envs}
    wanted["total_steps"] = options.steps or 40 * options.num_envs * SETTINGS["horizon"]
    everyone = contenders(options, __file__, PEERS, peers_jax=JAX_PEERS, peers_tianshou=TIANSHOU_PEERS)
    everyone[f"{OURS}, engine torch"] = [sys.executable, __file__, "--engine", "torch", "--time-ours"]
    if options.fast_only:
        everyone = {name: command for name, command in everyone.items() if name in (OURS, *JAX_PEERS)}
    name, page = "PPO on CartPole-v1", "ppo_cartpole"
    if options.num_envs != SETTINGS["num_envs"]:
        name, page = f"{name}, {options.num_envs} environments", f"{page}_{options.num_envs}"
    if options.threads > 1:
        name, page = f"{name}, {options.threads} threads", f"{page}_{options.threads}_threads"
    Race.run(name, everyone, wanted, options.repeats).report(options, wanted, page, ("numba",))


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
    parser = race_options(__doc__, "40 iterations; with --solve the default of training")
    for name in ("jax", "tianshou"):
        where = Path(f".peers_{name}/bin/python")
        parser.add_argument(
            f"--peers-{name}", type=Path, default=where, help=f"Python of the environment of {name}'s peers"
        )
    parser.add_argument("--num-envs", type=int, default=SETTINGS["num_envs"], help="environments in lock-step")
    parser.add_argument("--fast-only", action="store_true", help="only the contenders that are compiled as a whole")
    parser.add_argument(
        "--solve", action="store_true", help="train to the end on several seeds instead of comparing speed"
    )
    parser.add_argument("--threads", type=int, default=1, help="of everybody; with --core -1 on as many cores")
    parser.add_argument("--engine", default="auto", help=argparse.SUPPRESS)
    parser.add_argument("--seeds", type=int, default=5, help="how many seeds --solve trains")
    options = parser.parse_args()
    if not options.time_ours:  # a child has been told
        one_thread(options.threads)
    pin(options.core)
    if options.time_ours:
        threads = int(os.environ.get("OMP_NUM_THREADS", "1"))
        print(json.dumps(time_ours(json.loads(options.time_ours), engine=options.engine, threads=threads)))
    elif options.solve:
        solve(options)
    else:
        compare(options)


if __name__ == "__main__":
    main()
