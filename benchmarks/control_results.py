"""What every algorithm reaches with its preset, over seeds, beside published figures: benchmarks/results/control.md.

    python benchmarks/control_results.py --write               every cell that has a preset; goes on where it stopped
    python benchmarks/control_results.py --only ppo/acrobot sac/pendulum
    python benchmarks/control_results.py --suite long --write  Hopper, Walker2d, walker-walk: an hour and more each

Each cell is an ordinary group of runs, ``cumulant train ALGO ENV --seeds 5`` with its preset, and its figure the return of the
best policy of each seed on 100 held-out episodes; the curves are in control.svg. What was reached is kept in control.json, so
that cells can be trained one at a time: ``--write`` replaces those that were asked for and leaves the others as they are.
Published figures are of a single run each, most with other settings and more steps, and none of them was measured here.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from measure import RESULTS, table

import cumulant
from cumulant.api import make_spec, read_spec
from cumulant.presets import PRESETS
from cumulant.report.progress import LiveProgress
from cumulant.stats import bootstrap_interval, iqm

ZOO = "rl-baselines3-zoo, benchmark.md (one run)"
PPO_ON_MINATAR = {  # README of gymnax and configs of gymnax-blines: its own copies of the games, 10 times our steps
    "asterix": "15 at 10M (gymnax)",
    "breakout": "28 at 10M (gymnax)",
    "freeway": "58 at 10M (gymnax)",
    "seaquest": "",
    "space-invaders": "131 at 10M (gymnax)",
}


NOTES = """## Where we are below, and what is missing

- Acrobot: below the published figures by 7 points with PPO (in half the steps) and with DQN, level with A2C.
- MountainCar: DQN is 5 points below in 100,000 of 120,000 steps.
- Pendulum: SAC ends at -290 on one of five seeds; REINFORCE learns it on three of five.
- MountainCarContinuous: REINFORCE finds the goal on three seeds of five and stands still on two; TQC is at 74 on one of five.
  Half of the steps of SAC, TD3 and TQC there, and two fifths of SAC's on MountainCar, are random actions that are kept up
  (`--warmup persistent`), which is how they find the goal.
- MinAtar: PPO is below what gymnax reports for ten times the steps on its own copies of the games: by four fifths on Asterix,
  by two thirds on Breakout, by half on Freeway, by a fifth on Space Invaders. Asterix is a matter of luck: 2.2, 2.1, 2.3, 6.6 and
  3.9 here, and 5.4, 2.6, 5.8 and 6.7 on another processor, whose last bits differ. Convolutions took it from 1.6, but Breakout
  from 10.5 to 6.5 (three seeds), and with them Freeway is a matter of luck (17, 21 and 60 on three seeds; 30 on each of five
  without). Seaquest is learned badly. Random play: Asterix 0.5, Breakout 0.5, Freeway 0.1, Seaquest 0.1, Space Invaders 2.7.
- MinAtar with the others: budgets of half a minute (A2C), of one to two minutes (SAC, DQN) and of one (REINFORCE) of one core a
  seed. Asterix and Seaquest are as good as not learned by any of the four. The source of the games (Young & Tian 2019) gives
  curves over 5 million frames and no numbers, so nothing stands beside these rows.
- Atari: no game was trained to a result. At 740 steps per CPU second (`ppo_pong.md`) a million steps of Pong are 23 minutes.
- walker-walk (SAC) is two seeds, FetchReach two, Hopper and Walker2d three.
- The seconds are of a machine that was busy with other work, up to eight processes to a core.
"""


@dataclass(frozen=True)
class Cell:
    """An algorithm on an environment, and what others published."""

    algo: str
    env: str
    published: str = ""

    @property
    def name(self) -> str:
        """Such as ppo/acrobot."""
        return f"{self.algo}/{self.env.replace('/', '-').replace(':', '-')}"


SUITES: dict[str, tuple[Cell, ...]] = {
    "classic": (
        Cell("ppo", "cartpole", "500 at 100k"),
        Cell("a2c", "cartpole", "500 at 500k"),
        Cell("reinforce", "cartpole"),
        Cell("dqn", "cartpole", "500 at 50k"),
        Cell("sac", "cartpole"),
        Cell("ppo", "acrobot", "-73.5 at 1M"),
        Cell("a2c", "acrobot", "-83.4 at 500k"),
        Cell("dqn", "acrobot", "-76.6 at 100k"),
        Cell("reinforce", "acrobot"),
        Cell("sac", "acrobot"),
        Cell("ppo", "mountain-car", "-110.4 at 1M"),
        Cell("dqn", "mountain-car", "-100.8 at 120k"),
        Cell("a2c", "mountain-car", "-111.3 at 1M"),
        Cell("reinforce", "mountain-car"),
        Cell("sac", "mountain-car"),
        Cell("ppo", "mountain-car-continuous", "88.3 at 20k"),
        Cell("a2c", "mountain-car-continuous", "91.2 at 100k"),
        Cell("reinforce", "mountain-car-continuous"),
        Cell("sac", "mountain-car-continuous", "94.7 at 50k"),
        Cell("td3", "mountain-car-continuous", "93.5 at 300k"),
        Cell("tqc", "mountain-car-continuous", "63.6 at 50k"),
        Cell("ppo", "pendulum", "-172.2 at 100k"),
        Cell("a2c", "pendulum", "-163.0 at 1M"),
        Cell("sac", "pendulum", "-157.0 at 20k"),
        Cell("reinforce", "pendulum"),
        Cell("td3", "pendulum", "-151.9 at 20k"),
        Cell("tqc", "pendulum"),
    ),
    "minatar": tuple(
        Cell(algo, f"minatar-{game}", published if algo == "ppo" else "")
        for algo in ("ppo", "a2c", "reinforce", "dqn", "sac")
        for game, published in PPO_ON_MINATAR.items()
        if (algo, f"minatar-{game}") in PRESETS
    ),
    "long": (
        Cell("ppo", "Hopper-v5", "2410 at 1M (Hopper-v3)"),
        Cell("ppo", "Walker2d-v5", "3479 at 1M (Walker2d-v3)"),
        Cell("sac", "FetchReach-v4", "-1.66 at 20k (TQC and HER, FetchReach-v1)"),
        Cell("sac", "dm_control/walker-walk", "783 at 100k frames (SimBa repository, 10 seeds)"),
    ),
}


def train(cell: Cell, folder: Path, seeds: int, wanted_steps: int | None) -> dict[str, Any]:
    """Train a cell, or go on with it, and return its settings and the mean return of each seed's best policy."""
    out = folder / cell.name
    fields = {} if wanted_steps is None else {"total_steps": wanted_steps}
    spec = make_spec(cell.algo, cell.env, **fields)
    with LiveProgress(cell.name) as live:
        steps = spec["config"]["total_steps"]
        progress = lambda seed, row: live.update(seed, {**row, "total_steps": steps})  # noqa: E731
        if not (out / "evaluation.json").exists() and out.exists():
            cumulant.resume(out, progress=progress)
        elif not out.exists():
            cumulant.train(cell.algo, cell.env, seeds=max(2, seeds), out=out, progress=progress, **fields)
    evaluation = json.loads((out / "evaluation.json").read_text(encoding="utf-8"))
    runs = [out / f"seed_{seed['seed']}" for seed in evaluation["agent_seeds"]]  # not those that were begun only
    return {
        "steps": read_spec(out)["config"]["total_steps"],  # the preset may be another one by now
        "returns": [seed["return_mean"] for seed in evaluation["agent_seeds"]],
        "seconds": float(np.median([rows_of(run / "timing.jsonl")[-1]["seconds"] for run in runs])),
        "curves": [[row for row in rows_of(run / "metrics.jsonl") if "eval/return" in row] for run in runs],
    }


def rows_of(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a file of JSON lines."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def draw(found: Mapping[str, dict[str, Any]], path: Path) -> None:
    """Draw the periodic evaluations of every cell: a line a seed, and the published figure dashed."""
    import matplotlib as mpl
    from matplotlib.figure import Figure
    from matplotlib.ticker import EngFormatter

    cells = [cell for suite in SUITES.values() for cell in suite if cell.name in found]
    rows, columns = -(-len(cells) // 5), 5
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "control", "font.size": 8.0}):
        figure = Figure(figsize=(2.4 * columns, 1.7 * rows), layout="constrained", facecolor="white")
        for place, cell in enumerate(cells, 1):
            axes = figure.add_subplot(rows, columns, place)
            for steps, returns in found[cell.name]["curves"]:
                axes.plot(steps, returns, linewidth=0.9)
            if cell.published:
                axes.axhline(float(cell.published.split()[0]), color="0.4", linewidth=0.8, linestyle="--")
            axes.set_title(cell.name, fontsize=8.0)
            axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        figure.savefig(path, format="svg", metadata={"Date": None})


def record(found: dict[str, Any]) -> dict[str, Any]:
    """Return what is kept of a cell: its figures as the table shows them, and its curves."""
    returns = found["returns"]
    centre, low, high = bootstrap_interval(returns, np.random.default_rng(0), iqm)
    steps, digits = found["steps"], 2 if abs(centre) < 10 else 1
    curves = [
        [[row["steps"] for row in curve], [float(f"{row['eval/return']:.4g}") for row in curve]]
        for curve in found["curves"]
    ]
    return {
        "row": [
            f"{centre:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})",
            f"{min(returns):.{digits}f}",
            f"{len(returns)}",
            f"{steps / 1e6:g}M" if steps >= 1e6 else f"{steps / 1e3:g}k" if steps >= 1e3 else f"{steps}",
            f"{found['seconds']:.0f} s",
        ],
        "curves": curves,
    }


def main() -> None:
    """Train every cell and print or write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/control_results"), help="where the runs are")
    parser.add_argument("--suite", choices=SUITES, nargs="*", default=["classic", "minatar"])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, help="instead of the preset's")
    parser.add_argument("--only", nargs="*", default=[], help="only these cells, such as ppo/acrobot")
    parser.add_argument("--trained", action="store_true", help="only cells that were trained before")
    parser.add_argument("--write", action="store_true", help="write the page")
    args = parser.parse_args()
    unknown = set(args.only) - {cell.name for suite in args.suite for cell in SUITES[suite]}
    if unknown:
        parser.error(f"no such cell in {', '.join(args.suite)}: {', '.join(sorted(unknown))}")
    kept = RESULTS / "control.json"
    found = json.loads(kept.read_text(encoding="utf-8"))
    for cell in (cell for suite in args.suite for cell in SUITES[suite]):
        known = (args.out / cell.name / "evaluation.json").exists()
        if (not args.only or cell.name in args.only) and (known or not args.trained):
            found[cell.name] = record(train(cell, args.out, args.seeds, args.steps))
    head = ["environment, algorithm", "return: IQM (95 %)", "worst seed", "seeds", "steps", "a seed takes", "published"]
    parts = []
    for suite, cells in SUITES.items():
        rows = [
            [f"{cell.env}, {cell.algo}", *found[cell.name]["row"], cell.published]
            for cell in cells
            if cell.name in found
        ]
        parts += [f"## {suite}", "", table(head, rows), ""]
    page = "\n".join(
        [
            "# What the algorithms reach",
            "",
            "Written by `python benchmarks/control_results.py --write`. The best policy of each seed by periodic evaluation, "
            "acting greedily on 100 episodes that no training saw; interquartile mean over seeds and its bootstrap interval. "
            "Seconds are wall time with a second seed beside it on two cores, evaluations included. "
            f"Published: {ZOO}, unless it says otherwise; not measured here, and with other settings.",
            "",
            *parts,
            "## Curves",
            "",
            "Periodic evaluations in training, of fewer episodes than the tables: a line a seed, the published figure dashed.",
            "",
            "![Returns of periodic evaluations over steps, for every row of the tables](control.svg)",
            "",
            NOTES,
        ]
    )
    print(page)
    if args.write:
        (RESULTS / "control.md").write_text(page, encoding="utf-8")
        lines = [f"{json.dumps(name)}: {json.dumps(cell)}" for name, cell in sorted(found.items())]  # a line a cell
        kept.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
        draw(found, RESULTS / "control.svg")


if __name__ == "__main__":
    main()
