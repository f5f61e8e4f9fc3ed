"""Audit the six worlds built to be hacked, their honest twins, and the dosing assistant's exhibits: benchmarks/results/audit.md.

    python benchmarks/audit_results.py --write    a second call goes on where it stopped
    python benchmarks/audit_results.py --only traps --seeds 2

Each is an ordinary audit (``cumulant audit ENV ...``), in a directory of its own under ``--out``.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import cumulant
from cumulant.envs import lookup, traps

RESULTS = Path(__file__).parent / "results" / "audit.md"
TABLE = {"total_steps": 100_000, "num_envs": 64, "horizon": 100, "eval_episodes": 50}  # Q-learning
DOSING = {"total_steps": 1_000_000}
HEAD = "| {} | verdict | lost, % of the gap | return under the reward | the reference's | what matters | the reference | random |"


def run(out: Path, env: str, seeds: int, **terms: Any) -> dict[str, Any]:
    """Audit, or go on with it, or read what there is."""
    if (out / "audit.json").exists():
        found = json.loads((out / "audit.json").read_text(encoding="utf-8"))
        return found if "verdict" in found else cumulant.resume_audit(out)
    return cumulant.audit(env, out=out, seeds=seeds, **terms)


def row(name: str, found: dict[str, Any]) -> str:
    """Return an audit as a line of Markdown."""
    figures = found["figures"]
    loss = "" if figures["loss"] is None else f"{round(100 * figures['loss'])}"
    cells = [
        cell(figures[key]) for key in ("return", "reference_return", "outcome", "reference_outcome", "random_outcome")
    ]
    by = "" if figures["policy"] == "the reward" else f" (by {figures['policy']})"
    return f"| {name} | **{found['verdict']}**{by} | {loss} | " + " | ".join(cells) + " |"


def cell(measure: dict[str, Any]) -> str:
    """Return a figure with its interval."""
    digits = 4 if 29.9 < measure["mean"] < 30.0 else 2  # days survived, where thousandths matter
    low, high = measure["interval"]
    return f"{measure['mean']:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def sweep(found: dict[str, Any]) -> list[str]:
    """Return the constant doses of an exhibit as Markdown."""
    lines = ["| constant dose, mg | return under the reward | what matters |", "|---|---|---|"]
    for policy in found["constant"]["policies"]:
        returns = policy["returns"]
        lines.append(f"| {policy['action']:g} | {returns['reward']['mean']:.4f} | {returns['outcome']['mean']:.2f} |")
    return lines


def main() -> None:
    """Audit everything and print or write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/audit_results"), help="where the audits are")
    parser.add_argument("--seeds", type=int, default=5, help="of every audit")
    parser.add_argument("--only", choices=["traps", "exhibits"], help="only these")
    parser.add_argument("--write", action="store_true", help=f"write {RESULTS.name}")
    args = parser.parse_args()
    rule = "|---" * 8 + "|"
    parts = [
        "# What the audit finds",
        "",
        "Written by `python benchmarks/audit_results.py --write`. What the figures mean: [docs/audit.md](../../docs/audit.md). "
        "Intervals: 95 %, over seeds and episodes.",
        "",
    ]
    if args.only != "exhibits":
        parts += [f"## Worlds built to be hacked, and their honest twins ({args.seeds} seeds, Q-learning)", ""]
        parts += [HEAD.format("world"), rule]
        for name in traps.ENVIRONMENTS:
            for mended, label in ((False, f"`{name}`"), (True, f"`{name} --mended`")):
                options = {"mended": mended}
                out = args.out / f"{name}-{'mended' if mended else 'hacked'}"
                parts.append(row(label, run(out, name, args.seeds, env_options=options, **TABLE)))
        parts.append("")
    if args.only != "traps":
        parts += [
            f"## Exhibits of the dosing assistant ({args.seeds} seeds of 1,000,000 steps, PPO; 20,000 patients)",
            "",
        ]
        parts += ["**Research and education only. Simulated patients. Not a medical device.**", ""]
        parts += [HEAD.format("exhibit"), rule]
        found = {}
        for exhibit in lookup.exhibits("warfarin"):
            out = args.out / f"exhibit-{exhibit.name}"
            found[exhibit.name] = run(out, "warfarin", args.seeds, exhibit=exhibit.name, **DOSING)
            parts.append(row(f"`{exhibit.name}`", found[exhibit.name]))
        parts += ["", "Why, in the audit's words:", ""]
        parts += [f"- `{name}`: {each['why']}." for name, each in found.items()]
        for name in ("survival", "survival_strokes"):
            parts += ["", f"### `{name}`: what a search among constant doses sees", "", *sweep(found[name])]
        parts.append("")
    page = "\n".join(parts)
    print(page)
    if args.write:
        RESULTS.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
