"""Sweep directories, read: sweep.json checked and typed, like everything that a directory holds from a stranger's hand."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cumulant.errors import RunError
from cumulant.report.wording import algo_name, brief, number, plain

STATES = ("complete", "pruned", "failed", "running")
_MOST = 5000  # trials that are read


@dataclass(frozen=True)
class TrialData:
    """One trial.

    Args:
        number: From 0.
        state: One of ``STATES``.
        values: By field what it tried: numbers as they are, everything else as text.
        score: Best periodic evaluation; of a pruned trial, until then.
        curve: Twentieths of the training, and the best evaluation until each, ``[N, 2]``.
        steps: Environment steps.
        seconds: Of training.
        evaluated: Mean return of the final evaluation.
        interval: Its 95 % interval.
        reason: Why it was pruned or failed.
        directory: Its name.
    """

    number: int
    state: str
    values: Mapping[str, float | str]
    score: float | None
    curve: np.ndarray
    steps: float | None
    seconds: float | None
    evaluated: float | None
    interval: tuple[float | None, float | None]
    reason: str
    directory: str

    def text(self, field: str) -> str:
        """Return a field's value as people read it."""
        value = self.values.get(field, "")
        return value if isinstance(value, str) else f"{value:g}" if abs(value) < 1e6 else brief(value)


@dataclass(frozen=True)
class SweepData:
    """A sweep.

    Args:
        path: Its directory.
        algo: Algorithm.
        env: Environment.
        trials: By number.
        best: The best complete trial; None if there is none.
        fields: What is searched: by field its range or choices, as text.
        logarithmic: The fields that are drawn on a logarithmic scale.
        importances: By field, largest first; empty where it is too early to tell.
        planned: Trials that there shall be.
        seeds: Seeds of each trial.
        command: What trains the best trial once more.
        notice: What must be said wherever results are shown.
    """

    path: Path
    algo: str
    env: str
    trials: tuple[TrialData, ...]
    best: TrialData | None
    fields: Mapping[str, str]
    logarithmic: frozenset[str]
    importances: Mapping[str, float]
    planned: int
    seeds: int
    command: str
    notice: str

    @property
    def title(self) -> str:
        """What it is."""
        return f"Sweep: {algo_name(self.algo)} on {self.env}"

    @property
    def seconds(self) -> float:
        """Seconds of training, all trials together."""
        return sum(trial.seconds or 0.0 for trial in self.trials)

    def ranked(self) -> list[TrialData]:
        """Return the trials, the best first; complete ones before those that were pruned, running, or failed."""
        order = {state: place for place, state in enumerate(("complete", "pruned", "running", "failed"))}
        worst = float("-inf")
        return sorted(
            self.trials,
            key=lambda t: (t is not self.best, order[t.state], -(worst if t.score is None else t.score), t.number),
        )

    def count(self, state: str) -> int:
        """Return how many trials are in a state."""
        return sum(trial.state == state for trial in self.trials)


def load_sweep(path: str | Path) -> SweepData:
    """Read a sweep.

    Args:
        path: Its directory.

    Raises:
        RunError: If sweep.json is missing or damaged.
    """
    place = Path(path)
    try:
        content = json.loads((place / "sweep.json").read_text(encoding="utf-8", errors="replace"))
        plan, entries = content["plan"], content["trials"]
        trials = tuple(_trial(entry) for entry in entries[:_MOST])
        searched = {plain(name, 60): one for name, one in plan["search"].items()}
        best = number(content.get("best"))
        importances = {
            plain(k, 60): value for k, v in content["importances"].items() if (value := number(v)) is not None
        }
        return SweepData(
            path=place,
            algo=plain(content.get("algo", "?"), 80),
            env=plain(content.get("env", "?"), 120),
            trials=trials,
            best=next((t for t in trials if t.number == best and t.state == "complete" and t.score is not None), None),
            fields={name: _searched(one) for name, one in searched.items()},
            logarithmic=frozenset(name for name, one in searched.items() if one.get("log") is True),
            importances=dict(sorted(importances.items(), key=lambda pair: -pair[1])),
            planned=int(number(plan.get("trials")) or len(trials)),
            seeds=int(number(plan.get("seeds")) or 1),
            command=plain(content.get("command", ""), 4000),
            notice=plain(content.get("notice", ""), 600),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as problem:
        shown = plain(str(place / "sweep.json"), 500)
        raise RunError(
            f"'{shown}' is damaged ({plain(repr(problem), 200)}): `cumulant resume` writes it anew"
        ) from problem


def _trial(entry: Mapping[str, Any]) -> TrialData:
    state = entry["state"]
    if state not in STATES:
        raise ValueError(f"state {plain(state, 40)!r}")
    pairs = [(number(rung), number(value)) for rung, value in entry.get("curve", [])]
    low, high = (entry.get("return_interval") or [None, None])[:2]
    values: dict[str, float | str] = {}
    for name, raw in entry["fields"].items():
        value = number(raw)
        values[plain(name, 60)] = _word(raw) if value is None else value
    return TrialData(
        number=int(entry["number"]),
        state=state,
        values=values,
        score=number(entry.get("score")),
        curve=np.array([pair for pair in pairs if None not in pair], dtype=np.float64).reshape(-1, 2),
        steps=number(entry.get("steps")),
        seconds=number(entry.get("seconds")),
        evaluated=number(entry.get("return_mean")),
        interval=(number(low), number(high)),
        reason=plain(entry.get("reason", ""), 400),
        directory=plain(entry.get("directory", ""), 60),
    )


def _word(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return str(value).lower()
    return ",".join(map(_word, value[:8])) if isinstance(value, list) else plain(value, 40)


def _searched(one: Mapping[str, Any]) -> str:
    if "values" in one:
        return "|".join(map(_word, one["values"][:20]))
    low, high = number(one.get("low")), number(one.get("high"))
    return f"{low:g}..{high:g}" + (":log" if one.get("log") is True else "")
