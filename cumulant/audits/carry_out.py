"""Carry an audit out, or go on with it: whatever is finished is not made again."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from cumulant import group
from cumulant.audits import measures, result
from cumulant.audits import plan as plans
from cumulant.audits.jobs import carry_out as work
from cumulant.audits.plan import Plan
from cumulant.envs.views import OUTCOME, REWARD, WITHOUT
from cumulant.errors import Interrupted
from cumulant.processes import Workers
from cumulant.spec import check_trust, code_in

Progress = Callable[[Mapping[str, Any]], None]
_BEGUN = "**/metrics.jsonl"


def start(directory: Path, plan: Plan, progress: Progress | None = None) -> dict[str, Any]:
    """Carry an audit out in a new directory and return what audit.json holds.

    Raises:
        RunError: If the directory is not empty.
        NoOutcome: If the environment does not say what really matters; nothing is left behind.
        CumulantError: What a training raised; what the others did is kept.
    """
    from cumulant.run.place import fresh

    with fresh(directory, _BEGUN):
        plans.write(directory, plan)
        return _carry_out(directory, plan, progress)


def resume(directory: Path, trust: bool = False, progress: Progress | None = None) -> dict[str, Any]:
    """Go on with an audit: with its unfinished trainings from their checkpoints, then with those that had not begun.

    Raises:
        RunError: If audit.json is damaged, the directory is in use, or it names foreign code and is not trusted.
    """
    from cumulant.run.place import lock, tidy

    plan = plans.read(directory)
    spec = plan.spec
    names = [spec["algo"], plan.env, *code_in(spec["config"]), *spec["env_options"].values()]
    check_trust(names, plan.host, directory, trust)
    held = lock(directory)
    try:
        tidy(directory)
        return _carry_out(directory, plan, progress)
    finally:
        os.close(held)


def folder(view: str) -> str:
    """Return what the directory of a view is called, whatever a term's name holds.

    >>> folder("reward"), folder("without=in_range"), folder("without=../x y")
    ('reward', 'without_in_range', 'without_x_y-46c7')
    """
    term = view.removeprefix(WITHOUT)
    if term == view:
        return view
    safe = re.sub(r"[^A-Za-z0-9_-]+", "_", term).strip("_")[:40]
    if safe == term:
        return f"without_{safe}"
    return f"without_{safe}-{_digest(term)}"  # two names may become one


def _digest(text: str) -> str:
    import hashlib

    return hashlib.sha256(text.encode()).hexdigest()[:4]


def _carry_out(directory: Path, plan: Plan, progress: Progress | None) -> dict[str, Any]:
    spec = plan.spec
    common = {"env": plan.env, "options": spec["env_options"], "episodes": plan.episodes}
    common |= {key: spec[key] for key in ("max_faults", "env_timeout") if key in spec}
    floor = {"kind": "random", "name": result.RANDOM, "directory": str(directory / result.RANDOM), **common}
    _do([[floor | {"seed": spec["seed"], "discrete": plan.discrete}]], plan, progress)  # says what terms there are
    terms = measures.read(directory / result.RANDOM)["names"]["terms"]
    views = [REWARD, *(f"{WITHOUT}{term}" for term in terms if plan.remove and len(terms) > 1), OUTCOME]
    arms = {view: directory / folder(view) for view in views}
    jobs: list[dict[str, Any]] = []
    for seed in range(spec["seed"], spec["seed"] + plan.seeds):
        for view, place in arms.items():
            own = {**spec, "env": f"{plan.env}@{view}", "seed": seed}
            job = {"kind": "train", "name": f"{view}, seed {seed}", "directory": str(place / f"seed_{seed}")}
            jobs.append({**job, "spec": own, **common})
    for view, place in arms.items():
        if not (place / "seeds.json").exists():
            place.mkdir(exist_ok=True)
            seeds = range(spec["seed"], spec["seed"] + plan.seeds)
            group.note(place, [{**spec, "env": f"{plan.env}@{view}", "seed": seed} for seed in seeds])
    if plan.constant is not None:
        constant = {
            "kind": "constant",
            "name": result.CONSTANT,
            "directory": str(directory / result.CONSTANT),
            **common,
        }
        constant["options"] = {**spec["env_options"], **plan.constant["options"]}
        jobs.append(constant | {"actions": list(plan.constant["actions"]), "label": plan.constant["label"]})
    slots = max(plan.processes, 1)
    _do([jobs[k::slots] for k in range(slots)], plan, progress)
    for place in arms.values():
        group.merge_evaluations(place)
    return plans.write(directory, plan, result.make(plan, directory, arms))


def _do(lots: list[list[dict[str, Any]]], plan: Plan, progress: Progress | None) -> None:
    """Have each lot of jobs done, by processes side by side or in this one; Ctrl-C makes all of them save and end."""
    tell = progress or (lambda row: None)
    lots = [left for lot in lots if (left := [job for job in lot if not _ended(job)])]
    if plan.processes == 0:
        for lot in lots:
            work(lot, tell)
        return

    def one(lot: list[dict[str, Any]]) -> None:
        def told(row: Mapping[str, Any]) -> None:
            tell(row)

        try:
            workers.order({"audit": lot}, told, "audit")
        except BaseException as problem:
            if not isinstance(problem, Interrupted):
                workers.stop()  # the others would train for nothing; they save and end
            raise

    with Workers() as workers, ThreadPoolExecutor(max(len(lots), 1)) as pool:
        problems = [future.exception() for future in [pool.submit(one, lot) for lot in lots]]
    failures = [problem for problem in problems if problem is not None]
    for problem in failures:
        if not isinstance(problem, Interrupted):
            raise problem
    if failures or workers.stopped.is_set():
        raise Interrupted("stopped; what is trained is saved: `cumulant resume` of the audit's directory goes on")


def _ended(job: Mapping[str, Any]) -> bool:
    place = Path(job["directory"])
    return (place / measures.PLAYED).exists() and (job["kind"] != "train" or (place / "evaluation.json").exists())
