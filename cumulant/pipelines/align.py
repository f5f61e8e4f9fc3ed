"""Align a language model: its stages in a row, each an ordinary run, then every model judged on the same prompts.

    ALIGN/align.json        what is made, in which order, with which settings, and how long it took
    ALIGN/sft/ ...          a run for each stage
    ALIGN/answers/          what each model answers to the held-out prompts, measured
    ALIGN/judgement.json    win rates by two independent judges under one rule, KL, fluency, diversity
    ALIGN/report.html       all of it to look at

A stage begins when those that it needs have ended, two at a time on two cores, each in a process of its own:

    (pretrain ->) sft           -> rlhf at each beta -> answers of each model -> judgement
                  reward_model  -> dpo

Whatever is finished is not made again: after a kill the same call goes on, each stage from its own checkpoint.
"""

from __future__ import annotations

import dataclasses
import json
import os
import time
from collections.abc import Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any, Protocol

from cumulant.errors import Interrupted, RunError
from cumulant.pipelines import judgement
from cumulant.pipelines.recipes import Recipe, Stage, from_json, to_json
from cumulant.processes import Workers, cores
from cumulant.spec import check_trust, code_in, make_spec

PLAN_FILE = "align.json"
Row = Mapping[str, float]


class Watcher(Protocol):
    """What is told while an alignment runs, such as a display."""

    def update(self, name: str, row: Row) -> None:
        """Take a row of metrics of a stage."""

    def ended(self, name: str, seconds: float) -> None:
        """Take note that a stage, or the answers of a model, are finished."""


class _Nobody:
    """A watcher that does nothing."""

    def update(self, name: str, row: Row) -> None:
        pass

    def ended(self, name: str, seconds: float) -> None:
        pass


class _Seed:
    """Tells a watcher which seed a stage is of."""

    def __init__(self, watcher: Watcher, seed: int) -> None:
        self.watcher, self.seed = watcher, seed

    def update(self, name: str, row: Row) -> None:
        self.watcher.update(f"seed {self.seed}: {name}", row)

    def ended(self, name: str, seconds: float) -> None:
        self.watcher.ended(f"seed {self.seed}: {name}", seconds)


def is_alignment(directory: Path) -> bool:
    """Return whether a directory is one of an alignment."""
    return (directory / PLAN_FILE).is_file()


def start(directory: Path, recipe: Recipe, watcher: Watcher | None = None) -> dict[str, Any]:
    """Carry out a recipe in a new directory and return the judgement.

    Raises:
        RunError: If the directory is not empty.
        CumulantError: What a stage raised; what the others did is kept.
    """
    from cumulant.run.place import fresh

    for stage in recipe.stages:
        _spec(directory, recipe, stage)  # refuses a bad field before anything is trained
    with fresh(directory, "**/metrics.jsonl"):
        _write_plan(directory, recipe, {})
        return _carry_out(directory, recipe, watcher or _Nobody())


def resume(directory: Path, watcher: Watcher | None = None, trust: bool = False) -> dict[str, Any]:
    """Go on with an alignment: with its unfinished stages from their checkpoints, then with those that had not begun.

    Args:
        directory: Of the alignment.
        watcher: Is told of rows and of finished stages.
        trust: Whether to import code that the recipe names although another machine wrote it.

    Raises:
        RunError: If align.json is damaged, the directory is in use, or it names foreign code and is not trusted.
    """
    from cumulant.run.place import lock

    recipe = read(directory)
    host = json.loads((directory / PLAN_FILE).read_text(encoding="utf-8")).get("host")
    named = [name for each in recipe.stages for name in (each.algo, *code_in({"data": each.data, **each.fields}))]
    check_trust([*code_in({"data": recipe.data}), *named], host, directory, trust)
    held = lock(directory)
    try:
        return _carry_out(directory, recipe, watcher or _Nobody())
    finally:
        os.close(held)


def read(directory: Path) -> Recipe:
    """Read what an alignment follows from.

    Raises:
        RunError: If align.json is missing or damaged.
    """
    path = directory / PLAN_FILE
    try:
        return from_json(json.loads(path.read_text(encoding="utf-8"))["recipe"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as problem:
        raise RunError(f"{path} is damaged: {problem!r}") from problem


def _write_plan(directory: Path, recipe: Recipe, seconds: Mapping[str, float]) -> None:
    from cumulant.run.checkpoint import write_atomic
    from cumulant.run.manifest import host

    content = {"recipe": to_json(recipe), "seconds": dict(seconds), "host": host()}
    write_atomic(directory / PLAN_FILE, (json.dumps(content, indent=1) + "\n").encode())


def _spec(directory: Path, recipe: Recipe, stage: Stage) -> dict[str, Any]:
    """Return what the run of a stage follows from; ``@sft`` in a field is the directory of that stage."""
    fields: dict[str, Any] = {
        name: str(directory / value[1:]) if isinstance(value, str) and value.startswith("@") else value
        for name, value in stage.fields.items()
    }
    return make_spec(stage.algo, stage.data or recipe.data, recipe.seed, threads=recipe.threads, **fields)


def _carry_out(directory: Path, recipe: Recipe, watcher: Watcher) -> dict[str, Any]:
    """Make every seed that is not made yet, and judge."""
    if recipe.seeds == 1:
        return _carry_out_one(directory, recipe, watcher)
    found = []
    for seed in range(recipe.seed, recipe.seed + recipe.seeds):
        place = directory / f"seed_{seed}"
        if not is_alignment(place):
            place.mkdir(exist_ok=True)
            _write_plan(place, dataclasses.replace(recipe, seed=seed, seeds=1), {})
        found.append(_carry_out_one(place, read(place), _Seed(watcher, seed)))
    return judgement.write(directory, judgement.merged(found))


def _carry_out_one(directory: Path, recipe: Recipe, watcher: Watcher) -> dict[str, Any]:
    """Make what is not made yet, as many things at a time as there are cores, then judge."""
    seconds: dict[str, float] = json.loads((directory / PLAN_FILE).read_text(encoding="utf-8"))["seconds"]
    orders = judgement.orders(directory, recipe)
    after = {stage.name: stage.after for stage in recipe.stages} | {name: order.after for name, order in orders.items()}
    ended = {stage.name for stage in recipe.stages if (directory / stage.name / "evaluation.json").exists()}
    ended |= {name for name, order in orders.items() if order.is_ended}
    stages = {stage.name: stage for stage in recipe.stages}
    slots = max(1, cores() // recipe.threads)

    def make(name: str) -> float:
        began = time.perf_counter()
        if name in stages:
            spec = _spec(directory, recipe, stages[name])
            total = {"total_steps": spec["config"]["total_steps"]}
            workers.train(directory / name, spec, lambda row: watcher.update(name, {**row, **total}), name)
        else:
            workers.order({"answers": orders[name].parts}, lambda row: watcher.update(name, row), name)
        return time.perf_counter() - began

    running: dict[Future[float], str] = {}
    problem: BaseException | None = None
    with Workers() as workers, ThreadPoolExecutor(slots) as pool:
        while True:
            waiting = [name for name in after if name not in ended and name not in running.values()]
            ready = [name for name in waiting if ended.issuperset(after[name])]
            if problem is None:
                for name in ready[: slots - len(running)]:
                    running[pool.submit(make, name)] = name
            if not running:
                break
            ended_now, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in ended_now:
                name = running.pop(future)
                if future.exception() is not None:  # what runs beside it is finished, nothing new begins
                    problem = problem or future.exception()
                    continue
                ended.add(name)
                seconds[name] = seconds.get(name, 0.0) + future.result()
                _write_plan(directory, recipe, seconds)
                watcher.ended(name, seconds[name])
    if isinstance(problem, Interrupted):
        raise Interrupted(f"stopped; everything is saved: `cumulant resume {directory}` goes on") from None
    if problem is not None:
        raise problem
    return judgement.write(directory, judgement.judge(directory, recipe, seconds))
