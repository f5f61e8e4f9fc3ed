"""Alignments as functions: a recipe found, carried out or gone on with, and its report written."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

from cumulant.pipelines import align as pipeline
from cumulant.pipelines.align import Watcher
from cumulant.pipelines.recipes import make_recipe
from cumulant.spec import whole


def align(
    preset: str = "demo",
    *,
    data: str | None = None,
    model: str | None = None,
    seed: int = 0,
    seeds: int | None = None,
    out: Path | str | None = None,
    watcher: Watcher | None = None,
) -> dict[str, Any]:
    """Align a language model: its stages in a row, each an ordinary run, then every model judged on the same prompts.

    Args:
        preset: "demo" (real weights), "scratch" (all from nothing), "ci" (its small form) or "full" (demo, three seeds).
        data: Data set or path; by default the preset's.
        model: What to start from, a name or a directory; by default the preset's.
        seed: First seed.
        seeds: How many, one after the other; by default the preset's.
        out: Directory; by default the next free one under ``runs/``.
        watcher: Is told of rows and of finished stages.

    Returns:
        What judgement.json holds, and ``run``, the directory.

    Raises:
        CumulantError: With a message that says what was wrong, where, and what to do.
    """
    from cumulant.run.place import next_free

    recipe = make_recipe(preset, data, model, whole("seed", seed), None if seeds is None else whole("seeds", seeds))
    with next_free(f"align-{preset}") if out is None else nullcontext(Path(out)) as directory:
        return _reported(directory, pipeline.start(directory, recipe, watcher))


def resume_alignment(run: Path | str, *, trust: bool = False, watcher: Watcher | None = None) -> dict[str, Any]:
    """Go on with an alignment: with its unfinished stages from their checkpoints, then with those that had not begun.

    Args:
        run: Its directory.
        trust: As in ``resume``.
        watcher: As in ``align``.

    Raises:
        CumulantError: With a message that says what was wrong, where, and what to do.
    """
    return _reported(Path(run), pipeline.resume(Path(run), watcher, trust))


def _reported(directory: Path, judgement: dict[str, Any]) -> dict[str, Any]:
    from cumulant.report.align_html import write_report

    write_report(directory)
    return {"run": str(directory), **judgement}
