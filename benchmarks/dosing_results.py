"""Train the dosing assistant several times over and write what it reached: benchmarks/results/dosing.md.

    python benchmarks/dosing_results.py --write    about twenty minutes on two quiet cores; a second call goes on where it stopped
    python benchmarks/dosing_results.py --seeds 1 --total-steps 300000 --out runs/quick

Each study is an ordinary group of runs (``cumulant train ppo warfarin --seeds N ...``), evaluated on the same 5,000 held-out
patients.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cumulant
from cumulant.presets import PRESETS
from cumulant.report.progress import LiveProgress

RESULTS = Path(__file__).parent / "results" / "dosing.md"


@dataclass(frozen=True)
class Study:
    """One way to train the assistant."""

    name: str
    title: str
    options: dict[str, Any]
    seeds: int
    fields: dict[str, Any] = field(default_factory=dict)


STUDIES = (
    Study("daily", "INR every day (comparison B)", {}, 5),
    Study("clinic", "INR on the clinic's days (comparison A)", {"schedule": "clinic"}, 5),
    Study("clairvoyant", "INR every day, every true parameter observed: a ceiling, no agent", {"observe": "all"}, 1),
    Study("survival", "A bad reward: +1 for each day survived", {"reward": "survival"}, 2, {"total_steps": 3_000_000}),
)
SHOWN = ("return", "return_gain", "ttr", "ttr_rosendaal", "below_2", "above_4", "bleeds", "tests", "dose_changes")


def train(study: Study, folder: Path, seeds: int | None, total_steps: int | None) -> dict[str, Any]:
    """Train a study, or go on with it, and return its merged evaluation."""
    out, seeds = folder / study.name, seeds or study.seeds
    fields = study.fields if total_steps is None else {"total_steps": total_steps}
    with LiveProgress(f"ppo on warfarin, {study.name}") as live:
        preset = PRESETS["ppo", "warfarin"].config
        steps = {**preset, **fields}["total_steps"]
        progress = lambda seed, row: live.update(seed, {**row, "total_steps": steps})  # noqa: E731
        if (out / "evaluation.json").exists():
            pass
        elif out.exists():
            cumulant.resume(out, progress=progress)
        else:
            options = study.options
            cumulant.train("ppo", "warfarin", seeds=seeds, out=out, env_options=options, progress=progress, **fields)
    return json.loads((out / "evaluation.json").read_text(encoding="utf-8"))


def table(study: Study, evaluation: dict[str, Any]) -> str:
    """Return a study as Markdown: the agent's row and everybody's on the same patients."""
    columns = evaluation["columns"]
    shown = [key for key in SHOWN if key in columns]
    units = {key: f", {columns[key]['unit']}" if columns[key]["unit"] else "" for key in shown}
    lines = [f"## {study.title}", ""]
    seeds = evaluation.get("agent_seeds", [])
    if seeds:
        values = ", ".join(f"{seed['return_mean']:.2f} / {seed['outcomes']['ttr']['mean']:.1f}" for seed in seeds)
        lines += [f"Each seed, return / true TTR %: {values}.", ""]
    for comparison in evaluation["comparisons"]:
        lines += [f"**{comparison['title']}**", ""]
        lines += ["| policy | " + " | ".join(columns[key]["label"] + units[key] for key in shown) + " |"]
        lines += ["|---" * (len(shown) + 1) + "|"]
        for row in comparison["rows"]:
            cells = []
            for key in shown:
                measure, digits = row["metrics"].get(key), columns[key]["digits"]
                if measure is None:
                    cells.append("")
                    continue
                low, high = measure["interval"]
                cells.append(f"{measure['mean']:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})")
            label = f"**{row['label']}**" if row["kind"] == "agent" else row["label"]
            kind = f" ({row['kind']})" if row["kind"] in ("ceiling", "floor") else ""
            lines.append(f"| {label}{kind} | " + " | ".join(cells) + " |")
        lines.append("")
    return "\n".join(lines)


def main() -> None:
    """Train every study and print or write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/dosing_results"), help="where the runs are")
    parser.add_argument("--seeds", type=int, help="instead of each study's own number")
    parser.add_argument("--total-steps", type=int, help="instead of the preset's")
    parser.add_argument("--only", nargs="*", choices=[study.name for study in STUDIES], help="only these studies")
    parser.add_argument("--write", action="store_true", help=f"write {RESULTS.name}")
    args = parser.parse_args()
    studies = [study for study in STUDIES if not args.only or study.name in args.only]
    parts = []
    for study in studies:
        evaluation = train(study, args.out, args.seeds, args.total_steps)
        parts.append(table(study, evaluation))
    page = "\n".join(
        [
            "# The dosing assistant: what was reached",
            "",
            "Written by `python benchmarks/dosing_results.py --write`. 5,000 held-out simulated patients, the same for every "
            "policy; "
            "95 % intervals in brackets: of the agent over seeds and patients, of the others over patients. "
            "What the columns mean: [docs/dosing.md](../../docs/dosing.md).",
            "",
            "**Research and education only. Simulated patients. Not a medical device.**",
            "",
            *parts,
        ]
    )
    print(page)
    if args.write:
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
