"""cumulant align [--preset demo|scratch|ci|full]."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from cumulant import api
from cumulant.cli.parsing import Parser, add_json
from cumulant.cli.show import align_progress, show_align
from cumulant.pipelines.recipes import PRESETS


def run(words: list[str]) -> Any:
    """Run the verb and return what ``--json`` prints."""
    parser = Parser("align", "Align a language model: fine-tuning, reward model, PPO and DPO, judged side by side.")
    parser.add_argument(
        "--preset",
        choices=list(PRESETS),
        default="demo",
        help="; ".join(f"{name}: {what}" for name, (what, _) in PRESETS.items()) + " (default demo)",
    )
    parser.add_argument("--data", help="an embedded set, or a file of prompts with completions and rankings")
    parser.add_argument("--model", help="a Hugging Face directory or a run to start from, instead of the preset's")
    parser.add_argument("--seed", type=int, default=0, help="seed of every stage (default 0)")
    parser.add_argument("--seeds", type=int, help="how many seeds, one after the other (default: the preset's)")
    parser.add_argument("--out", type=Path, help="directory (default: the next free one under runs/)")
    parser.add_argument("--quiet", action="store_true", help="no live progress")
    add_json(parser)
    known = parser.parse_args(words)
    recipe, console = PRESETS[known.preset][1], Console(stderr=True, quiet=known.quiet, highlight=False)
    if recipe.notice and known.data is None:
        console.print(escape(recipe.notice), style="bold")
    for name in dict.fromkeys((known.data or recipe.data, known.model or recipe.base)):
        if said := api.notice(name):  # whose texts and weights these are
            console.print(escape(said), style="dim")
    stages = tuple(stage.name for stage in recipe.stages)
    with align_progress(f"align, {known.preset}", stages, known.quiet) as watcher:
        result = api.align(
            known.preset,
            data=known.data,
            model=known.model,
            seed=known.seed,
            seeds=known.seeds,
            out=known.out,
            watcher=watcher,
        )
    if not known.json:
        show_align(Path(result["run"]))
    return result
