"""What `cumulant align` reaches: benchmarks/results/align.md.

    python benchmarks/align_results.py --preset demo --write     a quarter of an hour on two cores
    python benchmarks/align_results.py --preset full --page align_full --write     three betas, three seeds: hours; goes on
    python benchmarks/align_results.py --seeds 2 --stages sft reward_model rlhf --page align_seeds --write     some stages only

The figures are those of the report; samples are the first ones, not picked.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from measure import RESULTS, table

import cumulant
from cumulant.pipelines import align
from cumulant.pipelines.recipes import make_recipe
from cumulant.report.align_terminal import AlignProgress

FIGURES = {
    "win_bag_of_words": ("wins, words %", 100.0, 0),
    "win_lexicon": ("wins, lexicon %", 100.0, 0),
    "raw_bag_of_words": ("words, no rule %", 100.0, 0),
    "reward": ("reward, s.d.", 1.0, 2),
    "kl_nats": ("KL, nats", 1.0, 1),
    "distinct_2": ("distinct-2", 1.0, 2),
    "accepted": ("within the rule %", 100.0, 0),
    "fluency": ("nats a token", 1.0, 2),
}
GOALS = """## Goals

| goal | asked | here |
|---|---|---|
"""


def made(preset: str, out: Path, seeds: int | None = None, stages: Sequence[str] = ()) -> dict[str, Any]:
    """Carry a preset out, or go on with it, and return its judgement."""
    recipe = make_recipe(preset, None, None, 0, seeds)
    if stages:
        recipe = dataclasses.replace(recipe, stages=tuple(recipe.stage(name) for name in stages))
    with AlignProgress(f"align, {preset}") as watcher:
        if (out / "judgement.json").exists():
            return json.loads((out / "judgement.json").read_text(encoding="utf-8"))
        if out.exists():
            return cumulant.resume_alignment(out, watcher=watcher)
        align.start(out, recipe, watcher)
        return cumulant.resume_alignment(out)  # nothing is left to do but the report


def shown(figure: dict[str, float] | None, scale: float, digits: int) -> str:
    """Return a figure with its interval."""
    if figure is None:
        return ""
    text = f"{scale * figure['value']:.{digits}f}"
    if "low" in figure and figure["low"] != figure["high"]:
        text += f" ({scale * figure['low']:.{digits}f} to {scale * figure['high']:.{digits}f})"
    return text


def goals(found: dict[str, Any]) -> str:
    """Return the goals of the demo beside what was measured."""
    models = {model["name"]: model["figures"] for model in found["models"]}
    scorer = next(stage for stage in found["stages"] if stage["algo"] == "reward_model")["figures"]["accuracy"]
    free = models.get("rlhf_beta_0")
    rows = [
        ("reward model on held-out human pairs, more than 1 apart", ">= 85 %", shown(scorer, 100, 1) + " %"),
        *(
            (f"PPO beats SFT, by {name}", ">= 80 %", shown(models["rlhf"][f"win_{key}"], 100, 0) + " %")
            for key, name in (("bag_of_words", "words"), ("lexicon", "lexicon"))
        ),
        ("its KL", "3 to 5 nats", shown(models["rlhf"]["kl_nats"], 1, 1)),
        (
            "its distinct-2, of SFT's",
            ">= 0.9",
            f"{models['rlhf']['distinct_2']['value'] / models['sft']['distinct_2']['value']:.2f}",
        ),
    ]
    if "dpo" in models:
        rows.append(("DPO beats SFT, by words", ">= 65 %", shown(models["dpo"]["win_bag_of_words"], 100, 0) + " %"))
    if free is not None:
        ratio = free["kl_nats"]["value"] / models["rlhf"]["kl_nats"]["value"]
        diversity = free["distinct_2"]["value"] / models["sft"]["distinct_2"]["value"]
        rows += [
            ("beta 0: KL, of PPO's", ">= 5", f"{ratio:.1f}"),
            ("beta 0: distinct-2, of SFT's", "< 0.5", f"{diversity:.2f}"),
        ]
    return GOALS + "\n".join(f"| {' | '.join(row)} |" for row in rows)


def page(found: dict[str, Any], command: str) -> str:
    """Return the page."""
    heads = ["model", *(head for head, _, _ in FIGURES.values())]
    rows = [
        [model["label"], *(shown(model["figures"].get(key), scale, n) for key, (_, scale, n) in FIGURES.items())]
        for model in found["models"]
    ]
    seeds = found.get("seeds", [found["seed"]])
    timed = [f"{stage['name']} {stage['seconds']:.0f} s" for stage in found["stages"] if stage["seconds"] is not None]
    parts = [
        f"# What `cumulant align --preset {found['preset']}` reaches",
        "",
        f"Written by `python benchmarks/align_results.py {command}`. "
        f"{found['prompts']} held-out prompts, "
        f"{'seeds ' if len(seeds) > 1 else 'seed '}{', '.join(map(str, seeds))}; intervals over "
        f"{'seeds' if len(seeds) > 1 else 'prompts'}. {found['notice']}",
        "",
        table(heads, rows),
        "",
        f"The rule: {found['rule']['text']}."
        + (f" Seconds, two processes side by side: {', '.join(timed)}." if timed else ""),
        "",
        goals(found),
        "",
        "## The same prompts",
        "",
    ]
    labels = {model["name"]: model["label"] for model in found["models"]}
    for sample in found["samples"][:6]:
        parts += [f"**{sample['prompt']}** ...", "", f"- human: {_line(sample['human'])}"]
        parts += [
            f"- {labels[name]}{'' if answer['accepted'] else ' (breaks the rule)'}: {_line(answer['text'])}"
            for name, answer in sample["answers"].items()
            if name != "sft_again"
        ]
        parts.append("")
    return "\n".join(parts)


def _line(text: str) -> str:
    """Return a sample as one line that Markdown leaves alone."""
    return "`" + " ".join(text.split()).replace("`", "'") + "`"


def main() -> None:
    """Make the alignment and print or write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="demo")
    parser.add_argument("--seeds", type=int, help="how many (default: the preset's)")
    parser.add_argument("--stages", nargs="+", default=[], help="only these (default: all)")
    parser.add_argument("--out", type=Path, help="directory of the alignment (default: runs/align_results/PAGE_PRESET)")
    parser.add_argument("--page", default="align", help="name of the page")
    parser.add_argument("--write", action="store_true", help="write the page")
    args = parser.parse_args()
    command = f"--preset {args.preset}" + (f" --seeds {args.seeds}" if args.seeds else "")
    command += (f" --stages {' '.join(args.stages)}" if args.stages else "") + f" --page {args.page} --write"
    out = args.out or Path("runs/align_results") / f"{args.page}_{args.preset}"
    text = page(made(args.preset, out, args.seeds, args.stages), command)
    print(text)
    if args.write:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / f"{args.page}.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
