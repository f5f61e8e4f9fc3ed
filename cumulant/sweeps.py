"""A sweep: many trainings of one algorithm on one environment, each with other values of some config fields.

SWEEP/sweep.json      what is searched, and every trial with its result: all that a report needs
SWEEP/journal.jsonl   the history, as Optuna keeps it: what a resumed sweep goes on from
SWEEP/trial_0007/     an ordinary run, or a group of seeds; trial.json in it says how the trial ended
SWEEP/report.html     what came out

A trial's score is its best periodic evaluation, the mean over its seeds. Trials share their seeds, so that they differ by
their fields only; the final evaluation of each is on other episodes, and is kept for reporting.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections import deque
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cumulant import catalogue, search, trial
from cumulant.envs import lookup
from cumulant.errors import ConfigError, CumulantError, Interrupted, NumericsError, RunError
from cumulant.processes import Workers, cores
from cumulant.spec import check_spec, check_trust, make_spec, train_command, whole
from cumulant.study import PRUNERS, Study, Trial, require_optuna
from cumulant.trial import Progress

_HOPELESS = 3  # so many failed trials and no other: it is not their values


@dataclass(frozen=True)
class SweepResult:
    """What a sweep found.

    Args:
        run: Its directory.
        algo: Algorithm.
        env: Environment.
        trials: Each trial: ``number, state, fields, score, reason, directory, steps, seconds, return_mean``, ....
        best: The complete trial with the best score; None if there is none.
        importances: By field, how much its values distinguish the best trials; adds up to 1.
        command: The command that trains the best trial once more.
        seconds: From start to end of this call.
    """

    run: Path
    algo: str
    env: str
    trials: tuple[Mapping[str, Any], ...] = field(repr=False)
    best: Mapping[str, Any] | None
    importances: Mapping[str, float]
    command: str
    seconds: float

    def summary(self) -> dict[str, Any]:
        """Return plain JSON values: what ``cumulant sweep --json`` ends with."""
        states = [trial["state"] for trial in self.trials]
        return {
            "run": str(self.run),
            "algo": self.algo,
            "env": self.env,
            "seconds": round(self.seconds, 3),
            **{state: states.count(state) for state in ("complete", "pruned", "failed")},
            "best": None if self.best is None else {key: self.best[key] for key in self.best if key != "curve"},
            "importances": dict(self.importances),
            "command": self.command,
            "trials": [{key: trial[key] for key in trial if key != "curve"} for trial in self.trials],
        }


def make_plan(
    algo: str,
    env: str,
    terms: Mapping[str, Any],
    fields: Mapping[str, Any],
    wanted: Any,
    trials: int,
    seeds: int,
    processes: int | None,
    pruner: str,
) -> dict[str, Any]:
    """Return everything that a sweep follows from; see ``api.sweep``.

    Args:
        algo: Algorithm.
        env: Environment.
        terms: What ``make_spec`` takes besides fields.
        fields: Fields of the Config that do not vary.
        wanted: What is searched, see ``search.space``.
        trials: How many.
        seeds: Of each trial.
        processes: Trainings at a time; None for one a core.
        pruner: Which trials end early, see ``Study``.

    Raises:
        ConfigError: If a field, a range, a number or the pruner is refused.
        MissingPackage: If Optuna is not installed.
    """
    from cumulant.run.manifest import host

    spec = make_spec(algo, env, **terms, **fields)
    if catalogue.is_text(catalogue.load_algorithm(algo)):
        raise ConfigError(f"a sweep compares the returns of episodes: '{algo}' learns from text and has none")
    flat = {name for key, value in fields.items() for name in (value if isinstance(value, Mapping) else [key])}
    space = search.space(_config_of(spec), wanted, flat)
    require_optuna()
    processes = max(1, cores() // spec["threads"]) if processes is None else processes
    counts = {"trials": trials, "seeds": seeds, "processes": processes}
    for name, value in counts.items():
        if whole(name, value) < 1:
            raise ConfigError(f"{name} = {value}: there must be at least one")
    if pruner not in PRUNERS:
        raise ConfigError(f"pruner = {pruner!r}: it must be one of {', '.join(PRUNERS)}")
    return {"spec": spec, "search": search.to_json(space), **counts, "pruner": pruner, "host": host()}


def _config_of(spec: Mapping[str, Any]) -> Any:
    """Return the Config that a specification holds as plain values."""
    from cumulant.run.config import from_dict

    terms = {"env": spec["env"], "env_options": spec["env_options"]}
    return from_dict(catalogue.load_algorithm(spec["algo"]).Config, {**spec["config"], **terms}, where=spec["algo"])


def is_sweep(directory: Path) -> bool:
    """Return whether a directory is one of a sweep."""
    return (directory / "sweep.json").is_file()


def start(directory: Path, plan: Mapping[str, Any], progress: Progress | None = None) -> SweepResult:
    """Run a sweep in a new directory.

    Raises:
        RunError: If the directory is not empty.
        CumulantError: What no other values of the fields would mend.
    """
    from cumulant.run.place import fresh

    with fresh(directory, "trial_*/*"):
        return _Sweep(directory, plan, progress).run()


def resume(
    directory: Path,
    trials: int | None = None,
    processes: int | None = None,
    trust: bool = False,
    progress: Progress | None = None,
) -> SweepResult:
    """Go on with a sweep: with its unfinished trials from their checkpoints, then with new ones.

    Args:
        directory: Of the sweep.
        trials: How many there shall be in the end; as many as planned if None.
        processes: Trainings at a time; as planned if None.
        trust: Whether to import code that the sweep names although another machine wrote it.
        progress: As in ``start``.

    Raises:
        RunError: If sweep.json or the journal is damaged, or the sweep is in use.
    """
    from cumulant.run.place import lock, tidy

    plan = read_plan(directory)
    spec = plan["spec"]
    names = [spec["algo"], spec["env"], *spec["env_options"].values()]
    network, tried = spec["config"].get("network"), search.from_json(plan["search"]).get("net")
    names += [network.get("net")] if isinstance(network, Mapping) else []
    names += tried.values if isinstance(tried, search.Choice) else []
    check_trust(names, plan.get("host"), directory, trust)
    for name, value in (("trials", trials), ("processes", processes)):
        if value is not None and whole(name, value) < 1:
            raise ConfigError(f"{name} = {value}: there must be at least one")
        plan[name] = plan[name] if value is None else value
    held = lock(directory)
    try:
        tidy(directory)
        return _Sweep(directory, plan, progress).run()
    finally:
        os.close(held)


def read_plan(directory: Path) -> dict[str, Any]:
    """Read what a sweep follows from.

    Raises:
        RunError: If it is damaged (message names the part).
    """
    path = directory / "sweep.json"
    try:
        plan = dict(json.loads(path.read_text(encoding="utf-8"))["plan"])
        search.from_json(plan["search"])
        for name in ("trials", "seeds", "processes"):
            plan[name] = whole(name, plan[name])
        if plan["pruner"] not in PRUNERS:
            raise ValueError(f"pruner {plan['pruner']!r}")
        check_spec(plan["spec"], path)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as problem:
        raise RunError(f"{path} is damaged: {problem!r}") from problem
    return plan


def best_trial(directory: Path) -> Path:
    """Return the directory of a sweep's best complete trial.

    Raises:
        RunError: If there is none yet.
    """
    try:
        best = json.loads((directory / "sweep.json").read_text(encoding="utf-8"))["best"]
        if best is not None:
            return directory / trial.name_of(whole("best", best))
    except (OSError, ValueError, KeyError, TypeError) as problem:
        raise RunError(f"{directory / 'sweep.json'} is damaged: {problem!r}") from problem
    raise RunError(f"no trial of {directory} is complete yet: `cumulant resume {directory}` goes on with it")


class _Sweep:
    """A sweep that runs, in a directory that is locked."""

    def __init__(self, directory: Path, plan: Mapping[str, Any], progress: Progress | None) -> None:
        self.directory, self.plan, self.spec = directory, plan, plan["spec"]
        self._progress = progress
        self._config = _config_of(self.spec)
        space, known = search.from_json(plan["search"]), search.fields_of(self._config)
        for name in space:
            if name not in known:
                raise RunError(f"{directory} searches '{name}', a field that {self.spec['algo']} does not have")
        usual = {name: known[name].value for name in space}
        seed, file = self.spec["seed"], directory / "journal.jsonl"
        self._study = Study(file, space, seed, plan["pruner"], usual)
        self._lock = threading.RLock()  # over the study, the files of the sweep, and progress
        self._entries: dict[int, dict[str, Any]] = {}
        self._waiting: deque[Trial] = deque()

    def run(self) -> SweepResult:
        """Train what is left; return the whole."""
        began = time.perf_counter()
        for found in self._study.trials():
            if found.state == "running":
                self._waiting.append(found)
            else:
                self._note(found)
        self._write()
        with Workers() as workers:
            with ThreadPoolExecutor(self.plan["processes"]) as pool:
                slots = [pool.submit(self._slot, workers) for _ in range(self.plan["processes"])]
            problems = [problem for slot in slots if (problem := slot.exception()) is not None]
        content = self._write()
        for problem in problems:
            if not isinstance(problem, Interrupted):
                raise problem
        if problems or workers.stopped.is_set():
            raise Interrupted(f"stopped; everything is saved: `cumulant resume {self.directory}` goes on")
        trials = tuple(content["trials"])
        return SweepResult(
            run=self.directory,
            algo=self.spec["algo"],
            env=self.spec["env"],
            trials=trials,
            best=None if content["best"] is None else trials[content["best"]],
            importances=content["importances"],
            command=content["command"],
            seconds=time.perf_counter() - began,
        )

    def _slot(self, workers: Workers) -> None:
        """Train one trial after the other until none is left; what goes wrong beyond a trial ends all of them."""
        try:
            while (found := self._take(workers)) is not None:
                self._run(found, workers)
        except BaseException:
            workers.stop()
            raise

    def _take(self, workers: Workers) -> Trial | None:
        with self._lock:
            if workers.stopped.is_set():
                raise Interrupted("stopped")
            if self._waiting:
                found = self._waiting.popleft()
            elif len(self._study.trials()) < self.plan["trials"]:
                found = self._study.next()
            else:
                return None
            self._tell({"kind": "trial", **self._entry(found)})
            self._write()
            return found

    def _run(self, found: Trial, workers: Workers) -> None:
        """Train one trial and note how it ended."""
        problem: CumulantError | None = None
        score: float | None = None
        try:
            directory = self.directory / trial.name_of(found.number)
            score = trial.train(directory, found.number, self._specs(found), workers, self._judge, self._tell)
        except CumulantError as error:
            # a value that is refused, training that diverges, a process that the system killed: the trial's own fault
            if not isinstance(error, ConfigError | NumericsError) and type(error) is not CumulantError:
                raise
            problem = error
        with self._lock:
            if problem is not None:
                self._study.fail(found.number, str(problem))
            elif score is None:
                self._study.prune(found.number)
            else:
                self._study.complete(found.number, score)
            trials = self._study.trials()
            entry = self._note(trials[found.number])
            self._write()
            self._tell({"kind": "trial", **entry})
            finished = [each.state for each in trials if each.state != "running"]
            if problem is not None and len(finished) >= _HOPELESS and set(finished) == {"failed"}:
                workers.stop()  # before another slot takes the next trial
                raise problem

    def _specs(self, found: Trial) -> list[dict[str, Any]]:
        """Return what the trial trains, one for each seed."""
        config = search.with_fields(self._config, found.fields)
        made = make_spec(self.spec["algo"], self.spec["env"], env_options=self.spec["env_options"], config=config)
        first = self.spec["seed"]
        return [{**self.spec, "config": made["config"], "seed": first + k} for k in range(self.plan["seeds"])]

    def _judge(self, number: int, rung: int, best: float) -> bool:
        with self._lock:
            return self._study.report(number, rung, best)

    def _tell(self, event: Mapping[str, Any]) -> None:
        with self._lock:
            if self._progress is not None:
                self._progress(event)

    def _note(self, found: Trial) -> dict[str, Any]:
        """Keep what there is to say of a trial that has ended, and write it into its directory."""
        directory = self.directory / trial.name_of(found.number)
        self._entries[found.number] = trial.entry(directory, found)
        trial.note(directory, self._entries[found.number])
        return self._entries[found.number]

    def _entry(self, found: Trial) -> dict[str, Any]:
        return trial.entry(self.directory / trial.name_of(found.number), found)

    def _write(self) -> dict[str, Any]:
        """Write sweep.json and return what it holds."""
        from cumulant.run.checkpoint import write_atomic

        with self._lock:
            trials = [self._entries.get(found.number) or self._entry(found) for found in self._study.trials()]
            complete = [each for each in trials if each["state"] == "complete"]
            # of equal scores the one that was reached with fewer steps
            best = min(complete, key=lambda t: (-t["score"], t["reached"], t["number"]), default=None)
            command = ""
            if best is not None:
                config = search.with_fields(self._config, best["fields"])
                command = train_command(self.spec, config, self.plan["seeds"])
            content = {
                "schema": 1,
                "algo": self.spec["algo"],
                "env": self.spec["env"],
                "notice": lookup.notice(self.spec["env"]),
                "plan": dict(self.plan),
                "best": None if best is None else best["number"],
                "command": command,
                "importances": self._study.importances(),
                "trials": trials,
            }
            write_atomic(self.directory / "sweep.json", (json.dumps(content, indent=1) + "\n").encode())
            return content
