"""One trial of a sweep: its runs, its score, and what is to be said of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from cumulant import group
from cumulant.processes import Workers
from cumulant.study import RUNGS, Trial

Progress = Callable[[Mapping[str, Any]], None]
Judge = Callable[[int, int, float], bool]


def name_of(number: int) -> str:
    """Return what the directory of a trial is called.

    >>> name_of(7)
    'trial_0007'
    """
    return f"trial_{number:04d}"


class Watch:
    """Follows the rows of one run of a trial; true for a row after which the trial should end.

    Args:
        number: Of the trial.
        spec: Of the run.
        judge: ``judge(trial, twentieths of the training, best evaluation until then)``; None for a run that is not compared.
        progress: Told of every row.
    """

    def __init__(self, number: int, spec: Mapping[str, Any], judge: Judge | None, progress: Progress) -> None:
        self._number, self._seed, self._judge, self._progress = number, spec["seed"], judge, progress
        self._total = max(int(spec["config"]["total_steps"]), 1)
        self._best = float("-inf")

    def __call__(self, row: Mapping[str, Any]) -> bool:
        """Take a row that was just written."""
        row = {**row, "total_steps": self._total}
        self._progress({"kind": "row", "trial": self._number, "seed": self._seed, "row": row})
        return self.read(row)

    def read(self, row: Mapping[str, Any]) -> bool:
        """Take a row, perhaps once more."""
        value, steps = row.get("eval/return"), row.get("steps", 0)
        if self._judge is None or not isinstance(value, int | float):
            return False
        self._best = max(self._best, float(value))
        rung = min(RUNGS * int(steps) // self._total, RUNGS)
        return rung > 0 and self._judge(self._number, rung, self._best)


def train(
    directory: Path,
    number: int,
    specs: Sequence[Mapping[str, Any]],
    workers: Workers,
    judge: Judge,
    progress: Progress,
) -> float | None:
    """Train a trial's seeds, one after the other, from where they stand.

    It is compared with others while its first seed trains; the others are trained only if that was worth it.

    Args:
        directory: Of the trial.
        number: Of the trial.
        specs: One for each seed.
        workers: Give the processes.
        judge: Says after an evaluation whether the trial should end, see ``Watch``.
        progress: Told of every row.

    Returns:
        Its score, or None if it was ended early.

    Raises:
        CumulantError: What a training raised.
    """
    members = [directory]
    if len(specs) > 1:
        members = [directory / f"seed_{spec['seed']}" for spec in specs]
        directory.mkdir(exist_ok=True)
        group.note(directory, specs)
    for spec, member in zip(specs, members):
        watch = Watch(number, spec, judge if member == members[0] else None, progress)
        # what a killed sweep had not taken note of; rows that are written once more say the same once more
        if any(watch.read(row) for row in group.rows(member / "metrics.jsonl")):
            return None
        if not (member / "evaluation.json").exists():
            name = name_of(number) + (f", seed {spec['seed']}" if len(specs) > 1 else "")
            if not workers.train(member, spec, watch, name):
                return None
    if len(specs) > 1:
        group.merge_evaluations(directory)
    return sum(map(_score, members)) / len(members)


def entry(directory: Path, trial: Trial) -> dict[str, Any]:
    """Return what sweep.json holds of a trial.

    ``reached`` is the number of steps at which its score was reached, ``return_mean`` and ``return_interval`` are of the
    final evaluation, whose episodes had no part in the score.

    Args:
        directory: Of the trial.
        trial: What the history says.
    """
    members = sorted(directory.glob("seed_*")) or [directory]
    last = [group.last_row(member) for member in members]
    evaluation = {}
    if trial.state == "complete":
        try:
            evaluation = json.loads((directory / "evaluation.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):  # removed by hand, to save space
            evaluation = {}
    return {
        "number": trial.number,
        "state": trial.state,
        "reason": trial.reason,
        "fields": dict(trial.fields),
        "score": trial.score,
        "reached": sum(map(_reached, members)) / len(members),
        "curve": [[rung, value] for rung, value in trial.curve.items()],
        "directory": directory.name,
        "steps": int(sum(row.get("steps", 0) for row in last)),
        "seconds": round(sum(row.get("seconds", 0.0) for row in last), 3),
        "return_mean": evaluation.get("return_mean"),
        "return_interval": evaluation.get("return_interval"),
    }


def note(directory: Path, said: Mapping[str, Any]) -> None:
    """Write trial.json, which says in the trial's own directory how it ended."""
    from cumulant.run.checkpoint import write_atomic

    directory.mkdir(exist_ok=True)  # one that failed at once has none
    content = {key: said[key] for key in ("number", "state", "reason", "fields", "score")}
    write_atomic(directory / "trial.json", (json.dumps(content, indent=1) + "\n").encode())


def _score(member: Path) -> float:
    """Return a run's best periodic evaluation; its final one if it has no other."""
    score = group.score(member)
    if score > float("-inf"):
        return score
    return float(json.loads((member / "evaluation.json").read_text(encoding="utf-8"))["return_mean"])


def _reached(member: Path) -> float:
    """Return after how many steps a run's best periodic evaluation was reached."""
    evaluated = [row for row in group.rows(member / "metrics.jsonl") if isinstance(row.get("eval/return"), int | float)]
    best = max(evaluated, key=lambda row: row["eval/return"], default={})  # the first of equal ones
    return float(best.get("steps", 0))
