"""What was played, over the seeds: one entry for each policy."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cumulant import group
from cumulant.envs.views import REWARD
from cumulant.errors import RunError

PLAYED, TRACE = "played.json", "trace.npz"


def read(directory: Path) -> dict[str, Any]:
    """Read what a policy's episodes showed.

    Raises:
        RunError: If it is missing or damaged.
    """
    path = directory / PLAYED
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        found["returns"], found["lengths"], found["terms"], found["quantities"]
    except (OSError, ValueError, KeyError, TypeError) as problem:
        raise RunError(
            f"{path} cannot be read ({problem!r}): remove it, and `cumulant resume` plays again"
        ) from problem
    return found


def read_trace(directory: Path) -> dict[str, np.ndarray]:
    """Read episodes step by step; nothing if they are not there."""
    try:
        with np.load(directory / TRACE, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (OSError, ValueError, KeyError):
        return {}


def entry(name: str, label: str, plays: Mapping[int, Mapping[str, Any]], horizon: int) -> dict[str, Any]:
    """Merge what one policy's seeds played.

    Intervals hold both what another seed would have learned and what other episodes would have shown, as in ``group.merge``.

    Args:
        name: Of the policy, such as "reward" or "without=buoy".
        label: What people call it.
        plays: By seed.
        horizon: Steps of the longest episode of all.

    Returns:
        ``returns`` under every reward, ``terms`` and ``quantities``, ``length``, ``early`` (the share of episodes that ended
        before the horizon), ``actions``, and ``seeds``: each seed's own return and outcome.
    """
    every = list(plays.values())
    return {
        "name": name,
        "label": label,
        "episodes": sum(each["episodes"] for each in every),
        "returns": {key: merged([each["returns"][key] for each in every]) for key in shared(every, "returns")},
        "terms": means(every, "terms"),
        "quantities": means(every, "quantities"),
        "length": float(np.mean([each["length"] for each in every])),
        "early": float(np.mean([early(each, horizon) for each in every])),
        "actions": {
            key: np.mean([each["actions"][key] for each in every], axis=0).tolist() for key in every[0]["actions"]
        },
        "seeds": [
            {"seed": seed, **{key: each["returns"][key]["mean"] for key in (REWARD, "outcome")}}
            for seed, each in plays.items()
        ],
    }


def merged(measures: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the mean of measures with its interval; one measure is itself."""
    return dict(measures[0]) if len(measures) == 1 else group.merge_measure(measures)


def shared(every: Sequence[Mapping[str, Any]], part: str) -> list[str]:
    """Return the keys of a part that every seed has, in order."""
    return [key for key in every[0][part] if all(key in each[part] for each in every)]


def means(every: Sequence[Mapping[str, Any]], part: str) -> dict[str, float]:
    """Return the means of a part's figures over seeds; what a seed does not name is 0 there."""
    names = list(dict.fromkeys(key for each in every for key in each[part]))
    return {key: float(np.mean([each[part].get(key, 0.0) for each in every])) for key in names}


def early(played: Mapping[str, Any], horizon: int) -> float:
    """Return the share of episodes that ended before the horizon."""
    total = sum(count for _, count in played["lengths"])
    return sum(count for length, count in played["lengths"] if length < horizon) / max(total, 1)


def longest(plays: Sequence[Mapping[str, Any]]) -> int:
    """Return the length of the longest episode of all."""
    return max((length for each in plays for length, _ in each["lengths"]), default=0)


def curve(runs: Sequence[Path]) -> dict[str, list[float]]:
    """Return the periodic evaluations of a policy's seeds: steps, and means of return and outcome over the seeds."""
    columns = []
    for run in runs:
        rows = [row for row in group.rows(run / "metrics.jsonl") if isinstance(row.get("eval/return"), int | float)]
        columns.append({int(row["steps"]): (row["eval/return"], row.get("eval/outcome", np.nan)) for row in rows})
    steps = [step for step in columns[0] if all(step in column for column in columns)] if columns else []
    values = np.array([[column[step] for step in steps] for column in columns]).reshape(len(columns), len(steps), 2)
    mean = values.mean(axis=0) if steps else np.zeros((0, 2))
    return {"steps": [float(step) for step in steps], "return": mean[:, 0].tolist(), "outcome": mean[:, 1].tolist()}


def read_rows(directory: Path) -> dict[str, Any]:
    """Read what constant actions showed: a label, and rows like those of ``read`` with their ``action``.

    Raises:
        RunError: If it is missing or damaged.
    """
    path = directory / PLAYED
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        for row in found["rows"]:
            row["returns"], row["lengths"], row["terms"], row["quantities"], float(row["action"])
        str(found["label"])
    except (OSError, ValueError, KeyError, TypeError) as problem:
        raise RunError(
            f"{path} cannot be read ({problem!r}): remove it, and `cumulant resume` plays again"
        ) from problem
    return found
