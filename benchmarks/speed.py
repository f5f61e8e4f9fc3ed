"""The table of ratios: every race of speed of this folder, one after the other, beside what was aimed at.

Each race is a script of its own (see ``README.md``), which can be run by itself with more repeats. A missed goal is a finding.

    python benchmarks/speed.py                       a quarter of an hour
    python benchmarks/speed.py --only ppo dqn --repeats 1
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
from pathlib import Path
from typing import Any, NamedTuple

from measure import OURS, default_core, facts, facts_lines, one_thread, run_json, table, write_results

FOLDER = Path(__file__).parent


class Row(NamedTuple):
    """A race: its script and the words for it, whose figures it takes, and the goals by peer."""

    task: str
    words: tuple[str, ...]
    prefix: str
    goals: dict[str, float]


RACES = {
    "ppo": Row(
        "PPO on CartPole, 8 x 128",
        ("ppo_cartpole.py",),
        "",
        {"Stable-Baselines3": 25.0, "single-file script, JAX": 1.5, "rejax": 1.5},
    ),
    "many": Row(
        "PPO on CartPole, 512 x 128",
        ("ppo_cartpole.py", "--num-envs", "512", "--fast-only"),
        "",
        {"single-file script, JAX": 1.8, "rejax": 1.8},
    ),
    "warfarin": Row("PPO on warfarin, 8 x 128", ("ppo_warfarin.py",), "", {"Stable-Baselines3": 15.0}),
    "gymnasium": Row("PPO on Gymnasium's CartPole", ("ppo_gymnasium.py",), "", {"Stable-Baselines3": 1.5}),
    "sac": Row(
        "SAC on Pendulum, 256 x 256",
        ("off_policy_speed.py", "--algos", "sac"),
        "sac, ",
        {"Stable-Baselines3": 2.0, "SBX": 1.2},
    ),
    "coarse": Row(
        "SAC, --precision bfloat16",
        ("off_policy_speed.py", "--algos", "sac", "--precision", "bfloat16"),
        "sac, ",
        {"SBX": 1.5},
    ),
    "td3": Row("TD3 on Pendulum, 256 x 256", ("off_policy_speed.py", "--algos", "td3"), "td3, ", {}),
    "tqc": Row("TQC on Pendulum, 256 x 256", ("off_policy_speed.py", "--algos", "tqc"), "tqc, ", {}),
    "dqn": Row(
        "DQN on CartPole, 256 x 256",
        ("off_policy_speed.py", "--algos", "dqn"),
        "dqn, ",
        {"Stable-Baselines3": 4.0, "SBX": 1.5},
    ),
    "pong": Row(
        "PPO on Pong, convolutions",
        ("ppo_pong.py",),
        "",
        {"Stable-Baselines3": 1.2, "single-file script, gymnasium": 1.05},
    ),
}


def run(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """Run one race and return its figures by contender."""
    words = [*RACES[name].words, "--json", "--repeats", str(options.repeats), "--core", str(options.core)]
    if words[0] == "ppo_cartpole.py":
        words += ["--peers-jax", str(options.peers_jax), "--peers-tianshou", str(options.peers_tianshou)]
    if words[0] == "off_policy_speed.py":
        words += ["--peers-sbx", str(options.peers_sbx)]
    if options.steps:
        words += ["--steps", str(options.steps)]
    print(f"{name} ...", file=sys.stderr)
    found = run_json([sys.executable, str(FOLDER / words[0]), *words[1:], "--peers", str(options.peers)])
    return {who.removeprefix(RACES[name].prefix): figures for who, figures in found["runs"].items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    peers = Path(".peers/bin/python")
    parser.add_argument("--peers", type=Path, default=peers, help="Python of the peers' environment")
    for other in ("jax", "tianshou", "sbx"):
        where = Path(f".peers_{other}/bin/python")
        parser.add_argument(
            f"--peers-{other}", type=Path, default=where, help=f"Python of the environment of {other}'s peers"
        )
    parser.add_argument("--only", nargs="+", choices=RACES, default=list(RACES), help="which races")
    parser.add_argument("--repeats", type=int, default=3, help="alternating runs of each contender")
    parser.add_argument("--steps", type=int, help="environment steps of every run, instead of each race's own")
    parser.add_argument("--core", type=int, default=default_core(), help="core to pin everything to; -1 for none")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--write", action="store_true", help="write benchmarks/results/speed.md, too")
    options = parser.parse_args()
    one_thread()
    left_out = []
    if "pong" in options.only and importlib.util.find_spec("ale_py") is None:
        left_out = ["pong: left out, ale-py is not installed: `pip install 'cumulant[atari]'`"]
        options.only = [name for name in options.only if name != "pong"]
    figures = {name: run(name, options) for name in options.only}
    known = facts(options.core, ("cumulant", "torch", "numpy", "numba", "gymnasium"))
    if options.json:
        print(json.dumps({"races": figures, "left_out": left_out, "facts": known}))
        return
    rows = []
    for name, each in figures.items():
        ours = each[OURS]["steps_per_cpu_second"]["median"]
        for who, theirs in each.items():
            if who == OURS and len(each) > 1:
                continue
            ratio, goal = theirs["ours_is_faster_by"], RACES[name].goals.get(who)
            rows.append(
                [
                    RACES[name].task,
                    f"{ours:,.0f}",
                    f"{who} {theirs['version']}".strip() + f": {theirs['steps_per_cpu_second']['median']:,.0f}",
                    f"{ratio['median']:.2f} ({ratio['low']:.2f} to {ratio['high']:.2f})",
                    f"{goal:g}" if goal else "",
                ]
            )
    head = ["steps per CPU-second, one core", "ours", "beside", "ours is faster by", "goal"]
    text = f"Median (range) of {options.repeats} alternating runs; how each is measured: benchmarks/README.md."
    parts = [text, table(head, rows), *left_out, "\n".join(f"- {line}" for line in facts_lines(known))]
    print("\n\n".join(parts))
    if options.write:
        print(f"\nwritten: {write_results('speed', 'Ratios of speed', parts)}")


if __name__ == "__main__":
    main()
