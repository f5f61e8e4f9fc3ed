"""Run directories, read: nothing that a directory names is imported, and nothing in it is trusted.

A run that was killed has a torn last line, one that has just begun has no evaluation, one from a stranger may hold
anything. Only a directory that is no run at all is an error; the rest becomes a note in ``problems``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from cumulant.errors import RunError
from cumulant.report.curves import Curve, merge, with_spread
from cumulant.report.evaluation import Column, Evaluation, Measure, default_column
from cumulant.report.parsing import parse_evaluation
from cumulant.report.wording import first_outcome, magnitude, number, outcome_name, plain
from cumulant.stats import mean_interval


@dataclass(frozen=True)
class RunData:
    """One run: one seed.

    Args:
        path: Its directory.
        config: ``config.json``.
        manifest: ``manifest.json``, empty when it is missing.
        rows: ``metrics.jsonl``.
        timing: ``timing.jsonl``: cumulative seconds of training.
        evaluation: ``evaluation.json``, None when there is none yet.
        problems: What was missing, left out or went wrong, one line each.
    """

    path: Path
    config: Mapping[str, Any]
    manifest: Mapping[str, Any]
    rows: tuple[Mapping[str, Any], ...]
    timing: tuple[Mapping[str, Any], ...]
    evaluation: Evaluation | None
    problems: tuple[str, ...] = ()

    @property
    def algo(self) -> str:
        """Name of the algorithm."""
        return plain(self.config.get("algo", "?"), 80)

    @property
    def env(self) -> str:
        """Name of the environment."""
        return plain(self.config.get("env", "?"), 120)

    @property
    def seed(self) -> int | None:
        """The run's seed."""
        seed = number(self.config.get("seed", self.manifest.get("seed")))
        return None if seed is None else int(seed)

    @property
    def options(self) -> dict[str, Any]:
        """Options of the environment it was trained on."""
        options = self.config.get("env_options")
        return {plain(key, 60): value for key, value in options.items()} if isinstance(options, Mapping) else {}

    @property
    def settings(self) -> Mapping[str, Any]:
        """Configuration of the algorithm."""
        settings = self.config.get("config")
        return settings if isinstance(settings, Mapping) else {}

    @property
    def steps(self) -> float | None:
        """Environment steps trained."""
        return _last(self.rows, "steps")

    @property
    def seconds(self) -> float | None:
        """Seconds of training, over all resumes."""
        return _last(self.timing, "seconds")

    def column(self, key: str) -> tuple[np.ndarray, np.ndarray]:
        """Return a metric over time, from the rows that have it.

        Args:
            key: For example ``"episode/return"``.

        Returns:
            Environment steps ``[N]``, increasing, and values ``[N]``.
        """
        pairs = [(number(row.get("steps")), number(row.get(key))) for row in self.rows]
        kept = np.array([pair for pair in pairs if None not in pair], dtype=np.float64).reshape(-1, 2)
        increasing = np.concatenate([[True], np.diff(kept[:, 0]) > 0]) if len(kept) else np.zeros(0, dtype=bool)
        return kept[increasing, 0], kept[increasing, 1]

    def keys(self, group: str) -> list[str]:
        """Return the metrics of a group, such as ``"outcome"``, without the group's name, in order of appearance."""
        found: dict[str, None] = {}
        for row in self.rows:
            found.update(dict.fromkeys(key for key in row if key.startswith(group + "/")))
        return [key[len(group) + 1 :] for key in found]


@dataclass(frozen=True)
class Result:
    """What a run or a group reached.

    Args:
        measures: "return" and the outcomes, or the figures of a language model, in the units that ``columns`` name.
        columns: How each is shown.
        source: Where the figures come from, in words.
    """

    measures: Mapping[str, Measure]
    columns: Mapping[str, Column]
    source: str

    @property
    def outcome(self) -> Column | None:
        """The outcome that is shown beside the return; None when there is none."""
        key = first_outcome([key for key in self.columns if key in self.measures])
        return None if key is None else self.columns[key]


@dataclass(frozen=True)
class RunGroup:
    """A run, or several seeds of one: everything that reports on runs takes a group.

    Args:
        path: Directory of the run, or of the group.
        runs: One per seed.
        evaluation: The merged evaluation (of a single run, its own).
        problems: What was missing or left out, including each run's.
    """

    path: Path
    runs: tuple[RunData, ...]
    evaluation: Evaluation | None
    problems: tuple[str, ...] = ()

    @property
    def first(self) -> RunData:
        """The first seed's run; algorithm, environment and options are the same for all."""
        return self.runs[0]

    @property
    def seeds(self) -> list[int | None]:
        """Seeds, in order."""
        return [run.seed for run in self.runs]

    @property
    def seconds(self) -> float | None:
        """Seconds of training, summed over seeds."""
        known = [run.seconds for run in self.runs if run.seconds is not None]
        return sum(known) if known else None

    @property
    def steps(self) -> float | None:
        """Environment steps of one seed (the mean, should they differ)."""
        known = [run.steps for run in self.runs if run.steps is not None]
        return sum(known) / len(known) if known else None

    @property
    def steps_per_second(self) -> float | None:
        """Steps over seconds, of the runs that have both."""
        both = [(run.steps, run.seconds) for run in self.runs if run.steps and run.seconds]
        return sum(steps for steps, _ in both if steps) / sum(s for _, s in both if s) if both else None

    @property
    def speed(self) -> str:
        """How fast it trained, for people: steps a second, or tokens where text was read; "" when it is not known."""
        both = [(_last(run.rows, "data/tokens"), run.seconds) for run in self.runs]
        tokens = sum(count for count, seconds in both if count and seconds)
        if tokens:
            return f"{magnitude(tokens / sum(seconds for count, seconds in both if count and seconds))} tokens/s"
        return f"{magnitude(self.steps_per_second)} steps/s" if self.steps_per_second else ""

    def keys(self, group: str) -> list[str]:
        """Return the metrics of a group over all seeds, see `RunData.keys`."""
        return list(dict.fromkeys(key for run in self.runs for key in run.keys(group)))

    @property
    def metrics(self) -> list[str]:
        """Every metric over all seeds, in order of appearance, without those that count."""
        return list(dict.fromkeys(key for run in self.runs for row in run.rows for key in row if "/" in key))

    def curve(self, key: str) -> Curve | None:
        """Return a metric such as ``"episode/return"`` merged over seeds, see `curves.merge`; None when not logged.

        A single seed's curve has the band of ``<key>_std``, where that was logged.
        """
        curve = merge([run.column(key) for run in self.runs])
        return curve and with_spread(curve, merge([run.column(key + "_std") for run in self.runs]))

    def result(self) -> Result:
        """Return what was reached, from the best source there is.

        In order: the evaluation; the mean of the seeds' own evaluations; the last periodic evaluation; the last rows.
        """
        if self.evaluation is not None and self.evaluation.has_result:
            return Result(self.evaluation.measures, _columns(self.evaluation), "evaluation")
        own = [run.evaluation for run in self.runs if run.evaluation and run.evaluation.has_result]
        if own:
            means = {key: [e.measures[key].mean for e in own if key in e.measures] for key in own[0].measures}
            merged = {key: _over_seeds(values) for key, values in means.items()}
            return Result(merged, _columns(own[0]), "mean of the seeds' own evaluations")
        for source, total, group in (
            ("last periodic evaluation", "eval/return", "eval"),
            ("last episodes of training", "episode/return", "outcome"),
        ):
            outcome = first_outcome(self.keys(group))
            measures, columns = {}, {}
            for key, metric in (("return", total), (outcome, f"{group}/{outcome}")):
                last = [values[-1] for _, values in (run.column(metric) for run in self.runs) if len(values)]
                if key and last:
                    measures[key] = _over_seeds([outcome_name(key).factor * value for value in last])
                    columns[key] = default_column(key)
            if "return" in measures:
                return Result(measures, columns, source)
        return Result({}, {}, "no result yet")


def load_run(path: str | Path) -> RunData:
    """Read one run directory.

    Args:
        path: Directory with a ``config.json``.

    Raises:
        RunError: If it is no run (message says what is there instead and what to give).
    """
    place = _directory(path)
    config = _read_object(place / "config.json")
    if config is None:
        inside = sorted(child.parent.name for child in place.glob("*/config.json"))[:5]
        hint = (
            f"it holds {', '.join(plain(name, 60) for name in inside)}: give one of these"
            if inside
            else ("give the directory that 'cumulant train' printed")
        )
        raise RunError(f"'{_shown(place)}' is no run: it has no config.json that is a JSON object; {hint}")
    problems: list[str] = []
    manifest = _read_object(place / "manifest.json")
    if manifest is None:
        problems.append("manifest.json is missing or torn: versions and hardware are not known")
    rows = _read_lines(place / "metrics.jsonl", problems)
    timing = _read_lines(place / "timing.jsonl", problems)
    trial = _read_object(place / "trial.json") or {}
    if trial.get("state") in ("pruned", "failed"):
        how = "ended early" if trial["state"] == "pruned" else "failed"
        problems.append(f"this trial of a sweep {how}: {plain(trial.get('reason', ''), 400)}")
    evaluation = _evaluation(place, problems)
    faults = _last(rows, "env/faults")
    if faults:
        problems.append(
            f"an environment failed {faults:.0f} {'time' if faults == 1 else 'times'} in training and was made anew: the "
            "warnings of the training say which and why; these episodes are not counted"
        )
    faults = _last(rows, "selfplay/faults")
    if faults:
        problems.append(
            f"a self-play process died {faults:.0f} {'time' if faults == 1 else 'times'} and was started again where it was: no "
            "move is missing or counted twice"
        )
    return RunData(place, config, manifest or {}, rows, timing, evaluation, tuple(problems))


def load(path: str | Path) -> RunGroup:
    """Read a run, a group of seeds, or the best trial of a sweep, which stands for it.

    Args:
        path: A run directory, or a directory with ``seeds.json`` and one ``seed_N`` per seed, or with ``sweep.json``.

    Returns:
        A group; of one run when ``path`` is a run.

    Raises:
        RunError: If it is neither, or if no seed of the group can be read.
    """
    place = _directory(path)
    if (place / "sweep.json").is_file():
        best = number((_read_object(place / "sweep.json") or {}).get("best"))
        if best is None:
            raise RunError(f"'{_shown(place)}' is a sweep without a complete trial; 'cumulant resume' goes on with it")
        group = load(place / f"trial_{int(best):04d}")
        return replace(group, problems=(f"of a sweep, this is trial {int(best)}, its best", *group.problems))
    if not (place / "seeds.json").is_file():
        run = load_run(place)
        return RunGroup(place, (run,), run.evaluation, run.problems)
    listed = (_read_object(place / "seeds.json") or {}).get("seeds")
    seeds = [int(seed) for seed in map(number, listed) if seed is not None] if isinstance(listed, list) else []
    runs, problems = [], []
    for seed in dict.fromkeys(seeds):
        try:
            runs.append(load_run(place / f"seed_{seed}"))
        except RunError as problem:
            problems.append(f"seed {seed} is left out: {problem}")
    if not runs:
        reason = problems[0] if problems else "seeds.json names no seed"
        raise RunError(f"'{_shown(place)}' is a group of seeds without a run that can be read: {reason}")
    for run in runs:
        problems += [f"seed {run.seed}: {problem}" for problem in run.problems]
    if len({(run.algo, run.env) for run in runs}) > 1:
        problems.append("the seeds are not of one algorithm and environment: their mean means nothing")
    return RunGroup(place, tuple(runs), _evaluation(place, problems), tuple(problems))


def _directory(path: str | Path) -> Path:
    place = Path(path)
    if not place.exists():
        raise RunError(f"there is no run '{_shown(place)}'; give the directory that 'cumulant train' printed")
    if not place.is_dir():
        raise RunError(f"'{_shown(place)}' is a file; give the run's directory, '{_shown(place.parent)}'")
    return place


def _shown(path: Path) -> str:
    return plain(str(path), 500)


def _read_object(path: Path) -> dict[str, Any] | None:
    """A JSON object from a file; None when there is none."""
    try:
        value = json.loads(path.read_text(encoding="utf-8", errors="replace"))
    except (OSError, ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _evaluation(place: Path, problems: list[str]) -> Evaluation | None:
    if not (place / "evaluation.json").is_file():
        return None
    raw = _read_object(place / "evaluation.json")
    if raw is None:
        problems.append("evaluation.json is torn and left out; 'cumulant evaluate' writes it anew")
        return None
    evaluation = parse_evaluation(raw)
    problems += evaluation.problems
    return evaluation


def _read_lines(path: Path, problems: list[str]) -> tuple[Mapping[str, Any], ...]:
    """Rows of a JSON-lines file; a run that is killed, or still going, may have a torn last one."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    except OSError:
        problems.append(f"{path.name} is missing")
        return ()
    rows, torn = [], []
    for index, line in enumerate(lines):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            row = None
        if isinstance(row, dict):
            rows.append(row)
        else:
            torn.append(index + 1)
    if torn and torn[-1] == len(lines):  # no newline after it
        problems.append(f"{path.name}: the last line is torn and left out")
        torn.pop()
    if torn:
        problems.append(
            f"{path.name}: {len(torn)} line(s) that are no JSON object are left out, the first is {torn[0]}"
        )
    return tuple(rows)


def _last(rows: tuple[Mapping[str, Any], ...], key: str) -> float | None:
    return next((value for row in reversed(rows) if (value := number(row.get(key))) is not None), None)


def _columns(evaluation: Evaluation) -> dict[str, Column]:
    return {column.key: column for column in evaluation.columns}


def _over_seeds(values: list[float]) -> Measure:
    mean, low, high = mean_interval(values)
    return Measure(mean, low, high) if len(values) > 1 else Measure(mean)
