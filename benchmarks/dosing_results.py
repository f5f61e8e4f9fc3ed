"""Train the dosing assistant in several ways and write what it reached: benchmarks/results/dosing.md.

    python benchmarks/dosing_results.py --write    half an hour on two quiet cores; a second call goes on
    python benchmarks/dosing_results.py --episodes 500 --total-steps 100000 --out runs/quick

Each study is an ordinary group of runs (``cumulant train ppo warfarin --seeds N ...``), evaluated with the clinical pack
(``cumulant evaluate RUN --pack clinical``) on the same held-out patients.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cumulant
from cumulant.clinical import evaluate_pack
from cumulant.report.clinical import measured, percent, readable_tables, tables, tree_lines

RESULTS = Path(__file__).parent / "results" / "dosing.md"


@dataclass(frozen=True)
class Study:
    """One way to train the assistant."""

    name: str
    title: str
    options: dict[str, Any]
    seeds: int
    fields: dict[str, Any] = field(default_factory=dict)
    is_ceiling: bool = False


DOSE = {"actions": "dose", "belief": True}
SHORT = {"gamma": 1.0, "total_steps": 2_000_000}
LONG = {"gamma": 1.0, "total_steps": 4_000_000}
STUDIES = (
    Study("clairvoyant", "clairvoyant, 1 mg steps", {"observe": "all"}, 3, LONG, True),
    Study("clairvoyant_dose", "clairvoyant, any dose", {"observe": "all", "actions": "dose"}, 3, SHORT, True),
    Study("dose", "PPO, any dose, filter; INR every day", DOSE, 5, SHORT),
    Study("dose_clinic", "PPO, any dose, filter; INR on the clinic's days", {**DOSE, "schedule": "clinic"}, 5, SHORT),
    Study("dose_shield", "PPO, any dose, filter, behind the shield; INR every day", {**DOSE, "shield": "standard"}, 3, SHORT),
    Study("daily", "PPO, 1 mg steps; INR every day", {}, 3, LONG),
    Study("clinic", "PPO, 1 mg steps; INR on the clinic's days", {"schedule": "clinic"}, 3, LONG),
)  # fmt: skip
GOALS = {"A": 0.75, "B": 0.90}


def pack_of(study: Study, folder: Path, total_steps: int | None, episodes: int) -> dict[str, Any]:
    """Train a study, or go on with it, and return its clinical pack; a ceiling has none."""
    out = folder / study.name
    fields = study.fields if total_steps is None else {"total_steps": total_steps}
    if not (out / "evaluation.json").exists():
        print(f"training {study.name}", flush=True)
        if out.exists():
            cumulant.resume(out)
        else:
            cumulant.train("ppo", "warfarin", seeds=study.seeds, out=out, env_options=study.options, **fields)
    if study.is_ceiling:
        return {}
    if not (out / "clinical.json").exists():
        print(f"evaluating {study.name}", flush=True)
        return evaluate_pack(out, "clinical", episodes, ceilings=[folder / s.name for s in STUDIES if s.is_ceiling])
    return json.loads((out / "clinical.json").read_text(encoding="utf-8"))


def own_table(pack: Mapping[str, Any]) -> dict[str, Any]:
    """Return the comparison on the policy's own test days."""
    return next(each for each in pack["comparisons"] if each["key"] == pack["schedule"])


def markdown(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> list[str]:
    """Return a table as lines."""
    heads = list(heads)
    return [
        "| " + " | ".join(heads) + " |",
        "|---" * len(heads) + "|",
        *("| " + " | ".join(row) + " |" for row in rows),
        "",
    ]


def targets(packs: Mapping[str, Mapping[str, Any]]) -> list[list[str]]:
    """Return the goals, and how far each policy is from them."""
    rows = []
    for name, pack in packs.items():
        judged = [row for group in pack["subgroups"] for row in group["rows"] if row["non_inferior"] is not None]
        worst = min(judged, key=lambda row: row["bound_on_uw"], default=None)
        inferior = [row["label"] for row in judged if not row["non_inferior"]]
        table = own_table(pack)
        gain = table["rows"][0]["metrics"]["return_gain"]
        other = next((row for row in pack["robustness"] if row["world"] == "Hamberg 2007"), None)
        cells = [f"{TITLES[name]} ({pack['schedule']})", measured(table["rows"][0]["metrics"]["return"])]
        if worst is None:
            cells.append("-")
        else:
            counted = f"{len(judged) - len(inferior)} of {len(judged)}"
            cells.append(f"{verdict(not inferior)}, {counted}; least bound {worst['bound_on_uw']:+.2f}")
        cells.append(f"{verdict(gain['interval'][0] > 0)}, by {measured(gain)}")
        for each in pack["gaps"]:
            goal = GOALS[pack["schedule"]]
            cells.append(f"{verdict(each['share']['interval'][0] >= goal)}, {percent(each['share'])}")
        if other is not None:
            cells.append(f"{verdict(other['gain_on_best']['interval'][0] > 0)}, by {measured(other['gain_on_best'])}")
        rows.append(cells)
    return rows


def verdict(reached: bool) -> str:
    """Return a word for it."""
    return "**yes**" if reached else "**no**"


TITLES = {study.name: study.title for study in STUDIES}


def summary(packs: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return the first section: what was wanted, and what came."""
    lines = ["## Goals, and what came", ""]
    lines += [
        "Not inferior to UW: the one-sided 95 % bound of the paired gain on the better of UW's rules is above -0.5 in every "
        "subgroup named beforehand with 500 patients or more. Every protocol: all of `cumulant list protocols`, those that know "
        "the genotype included, on the same test days. Share of the gap: (policy - best protocol) / (clairvoyant - best "
        "protocol); the goal is 90 % on schedule B and 75 % on A, stated for the clairvoyant that is bound to 1 mg steps.",
        "",
    ]
    heads = ["policy (schedule)", "return", "not inferior to UW", "beats every protocol", "gap, clairvoyant of 1 mg steps",
             "gap, clairvoyant of any dose", "beats every protocol on Hamberg 2007"]  # fmt: skip
    return [*lines, *markdown(heads, targets(packs))]


def everybody(packs: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return one table a schedule: all policies, then the protocols, ceilings and floors."""
    lines = []
    for key, title in (("B", "INR every day"), ("A", "INR on days 1, 3, 5, 7, 10, 14, 21, 28")):
        own = {name: pack for name, pack in packs.items() if pack["schedule"] == key}
        if not own:
            continue
        rows = [(f"**{TITLES[name]}**", own_table(pack)["rows"][0]["metrics"]) for name, pack in own.items()]
        first = own_table(next(iter(own.values())))
        rows += [(row["label"] + (f" ({row['kind']})" if row["kind"] in ("ceiling", "floor") else ""), row["metrics"])
                 for row in first["rows"][1:]]  # fmt: skip
        columns = next(iter(packs.values()))["columns"]
        shown = ("return", "ttr", "ttr_rosendaal", "below_2", "above_4", "bleeds", "dose_changes")
        heads = [
            "policy",
            *(columns[c]["label"] + (f", {columns[c]['unit']}" if columns[c]["unit"] else "") for c in shown),
        ]
        cells = [[label, *(measured(m[c], columns[c]["digits"]) if c in m else "" for c in shown)] for label, m in rows]
        lines += [f"## Schedule {key}: {title}", "", *markdown(heads, cells)]
    return lines


def details(name: str, pack: Mapping[str, Any]) -> list[str]:
    """Return everything else of one policy."""
    lines = [f"## {TITLES[name]}: where it might fail", ""]
    lines += [f"- {each['text']}" for each in pack["findings"]] + [""]
    for each in [*tables(pack), *readable_tables(pack)]:
        lines += [f"**{each.title}.** {each.note}", "", *markdown(each.heads, each.rows)]
    rules = "\n".join(tree_lines(pack["readable"]["tree"]["rules"]))
    return [
        *lines,
        f"**As a decision tree of {pack['readable']['tree']['leaves']} leaves**",
        "",
        "```",
        rules,
        "```",
        "",
    ]


def main() -> None:
    """Train every study and print or write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/dosing_results"), help="where the runs are")
    parser.add_argument("--total-steps", type=int, help="instead of each study's own number")
    parser.add_argument("--episodes", type=int, default=5000, help="held-out patients (default 5000)")
    parser.add_argument("--write", action="store_true", help=f"write {RESULTS.name}")
    args = parser.parse_args()
    packs = {study.name: pack_of(study, args.out, args.total_steps, args.episodes) for study in STUDIES}
    packs = {name: pack for name, pack in packs.items() if pack}
    page = "\n".join(
        [
            "# The dosing assistant: what was reached",
            "",
            f"Written by `python benchmarks/dosing_results.py --write`. {args.episodes:,} held-out simulated patients, the "
            "same for every policy; 95 % intervals in brackets, over patients and seeds: five of the any-dose policies "
            "without a shield, three of the others. What the columns mean: [docs/dosing.md](../../docs/dosing.md).",
            "",
            "**Research and education only. Simulated patients. Not a medical device.**",
            "",
            *summary(packs),
            *everybody(packs),
            *(line for name in packs for line in details(name, packs[name])),
        ]
    )
    print(page)
    if args.write:
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
