"""One piece of an audit's work after the other: a training with the episodes of what it learned, or episodes alone."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cumulant.audits.measures import PLAYED, TRACE
from cumulant.audits.playing import Act, Played, constant_action, play, random_actions
from cumulant.engine.masks import Masks
from cumulant.training import threads, train_one

Send = Callable[[dict[str, Any]], None]
ENDED = "audit/ended"  # in a row: this piece of work is finished


def carry_out(jobs: Sequence[Mapping[str, Any]], send: Send) -> None:
    """Do what is not finished yet.

    Args:
        jobs: Each says its ``kind`` (train, random, constant), ``name`` and ``directory``, the ``env`` and ``options`` that its
            episodes are of, how many ``episodes``, and what its kind needs: ``spec``; ``actions`` and ``label``.
        send: Is given rows, with the ``name`` of the job.

    Raises:
        CumulantError: What a training or an environment raised.
    """
    from cumulant.engine.faults import limiting_faults

    for job in jobs:
        directory = Path(job["directory"])
        if job["kind"] == "train":
            _train(job, directory, send)
        if not (directory / PLAYED).exists():
            with threads(1), limiting_faults(int(job.get("max_faults", 10)), float(job.get("env_timeout", 60.0))):
                _play(job, directory)
        send({"name": job["name"], ENDED: 1.0})


def _train(job: Mapping[str, Any], directory: Path, send: Send) -> None:
    if (directory / "evaluation.json").exists():
        return
    spec = job["spec"]
    total = float(spec["config"].get("total_steps", 0))
    resume = (directory / "config.json").exists()

    def report(_: int, row: Mapping[str, float]) -> None:
        send({"name": job["name"], **row, "total_steps": total})

    train_one(spec, directory, resume=resume, progress=report)


def _play(job: Mapping[str, Any], directory: Path) -> None:
    terms = {"env": job["env"], "options": job["options"], "episodes": job["episodes"], "seed": 0}
    if job["kind"] == "train":
        found = play(**_agent(directory), **terms)
    elif job["kind"] == "random":
        found = play(random_actions(job["seed"]), **terms, masks=_masks(job))
    else:
        rows = [
            play(constant_action(value), **terms, trace=False).figures | {"action": value} for value in job["actions"]
        ]
        found = Played({"schema": 1, "label": job["label"], "rows": rows}, {})
    _write(directory, found)


def _masks(job: Mapping[str, Any]) -> Masks:
    return "offered" if job.get("discrete") else "never"


def _agent(directory: Path) -> dict[str, Any]:
    """Return how the best policy of a run acts: greedily, with nothing remembered."""
    from cumulant.engine.evaluate import Greedy
    from cumulant.engine.policy import Policy
    from cumulant.envs.spaces import mask_slice

    policy = Policy.load(directory / "policy", "best", trust=True)  # it was trained here, or trusted
    greedy = Greedy(policy)
    act: Act = lambda envs: greedy(envs.obs)  # noqa: E731
    masked = mask_slice(policy.observation_space) is not None
    return {"act": act, "forget": greedy.forget, "masks": "always" if masked else "never"}


def _write(directory: Path, found: Played) -> None:
    from cumulant.run.checkpoint import write_atomic

    directory.mkdir(parents=True, exist_ok=True)
    if found.trace:
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **found.trace)  # type: ignore[arg-type]
        write_atomic(directory / TRACE, buffer.getvalue())
    write_atomic(directory / PLAYED, (json.dumps(found.figures) + "\n").encode())  # last: it says that both are there
