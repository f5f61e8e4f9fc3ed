"""The library as functions: train, sweep, resume, load, evaluate, report, compare. The command line calls nothing else."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cumulant import group, sweeps
from cumulant.alignment import align as align
from cumulant.alignment import resume_alignment as resume_alignment
from cumulant.auditing import audit as audit
from cumulant.auditing import audit_algorithm as audit_algorithm
from cumulant.auditing import audit_alignment as audit_alignment
from cumulant.auditing import is_audit as is_audit
from cumulant.auditing import resume_audit as resume_audit
from cumulant.boards import analyse as analyse
from cumulant.boards import find_game as find_game
from cumulant.boards import find_player as find_player
from cumulant.catalogue import copy as copy
from cumulant.catalogue import default_config as default_config
from cumulant.catalogue import listed_as_text, short_name
from cumulant.catalogue import listing as listing
from cumulant.catalogue import preset_for as preset_for
from cumulant.clinical import evaluate_pack as evaluate_pack
from cumulant.envs import lookup
from cumulant.errors import ConfigError, RunError, UsageError
from cumulant.group import members
from cumulant.ranking import rank as rank
from cumulant.simulation import simulate as simulate
from cumulant.spec import check_spec, check_trust, code_in, make_spec, read_spec, same_environment, whole, written_by
from cumulant.sweeps import SweepResult as SweepResult
from cumulant.sweeps import read_plan as read_plan
from cumulant.tournament import arena as arena
from cumulant.trained import evaluate_board, evaluate_text, is_board_policy, is_text_run, member
from cumulant.trained import film as film
from cumulant.trained import load as load
from cumulant.training import refuse_or_follow, threads
from cumulant.training import train_one as train_one

if TYPE_CHECKING:
    from cumulant.engine.policy import Policy

_FIGURES = ("episodes", "return_mean", "return_interval", "outcomes", "figures")  # of an evaluation, in a summary
Row = dict[str, float]
Progress = Callable[[int, Row], None]


@dataclass(frozen=True)
class TrainResult:
    """What a training left behind.

    Args:
        run: Its directory (of one run, or of a group of seeds).
        algo: Algorithm.
        env: Environment.
        seeds: Seeds that were trained.
        steps: Environment steps, all seeds together.
        seconds: Seconds from start to end, compilation and evaluation included.
        training_seconds: Seconds inside training iterations, all seeds together.
        evaluation: The final evaluation of the best policy; of several seeds, their merged one.
        tokens: Tokens of text that were read, all seeds together.
    """

    run: Path
    algo: str
    env: str
    seeds: tuple[int, ...]
    steps: int
    seconds: float
    training_seconds: float
    evaluation: Mapping[str, Any] = field(repr=False)
    tokens: int = 0

    @property
    def policy(self) -> Any:
        """The best policy (of the seed with the best evaluation), or the language model: what ``load`` returns."""
        return load(self.run)

    def summary(self) -> dict[str, Any]:
        """Return plain JSON values: what ``cumulant train --json`` ends with."""
        return {
            "run": str(self.run),
            "algo": self.algo,
            "env": self.env,
            "seed": self.seeds[0],
            "seeds": list(self.seeds),
            "steps": self.steps,
            "seconds": round(self.seconds, 3),
            "training_seconds": round(self.training_seconds, 3),
            "steps_per_second": round(self.steps / max(self.training_seconds, 1e-9), 1),
            **({"tokens_per_second": round(self.tokens / max(self.training_seconds, 1e-9), 1)} if self.tokens else {}),
            **{key: self.evaluation[key] for key in _FIGURES if key in self.evaluation},
            **({"notice": self.evaluation["notice"]} if "notice" in self.evaluation else {}),
        }


def notice(env: str) -> str:
    """Return what must be said wherever results of an environment, or an embedded text, are shown; "" for nothing."""
    from cumulant.data.materials import MATERIALS, attribution

    return lookup.notice(env) or "\n".join(attribution(name) for name in env.split("+") if name in MATERIALS)


def train(
    algo: str,
    env: str,
    *,
    seed: int = 0,
    seeds: int = 1,
    out: Path | str | None = None,
    env_options: Mapping[str, Any] | None = None,
    config: Any = None,
    threads: int = 1,
    checkpoint_seconds: float = 20.0,
    max_faults: int = 10,
    env_timeout: float = 60.0,
    progress: Progress | None = None,
    **fields: Any,
) -> TrainResult:
    """Train an algorithm on an environment or on text, evaluate what it learned, and write a report.

    Args:
        algo: Name ("ppo"), file ("my/ppo.py") or dotted module.
        env: Short name ("warfarin"), Gymnasium id ("CartPole-v1"), or path of a class ("package.module:EnvClass"). For what
            learns from text: a data set ("movie-snippets"), or a file of JSONL, Parquet or text.
        seed: First seed.
        seeds: How many seeds; several run in parallel, one process a core.
        out: Directory of the run; by default the next free one under ``runs/``.
        env_options: Options of the environment.
        config: A Config of the algorithm; instead of ``fields``.
        threads: Torch threads per process.
        checkpoint_seconds: Time between checkpoints.
        max_faults: How many times an environment may raise, hang or give what is no number before the run ends.
        env_timeout: Seconds that one call of an environment may take; 0 for any time.
        progress: Called as ``progress(seed, row)`` with every row of metrics.
        fields: Fields of the algorithm's Config, such as ``total_steps``.

    Raises:
        CumulantError: With a message that says what was wrong, where, and what to do.

    Example:
        ``cumulant.train("ppo", env="CartPole-v1", seed=0, total_steps=100_000).policy.act(obs)``
    """
    seeds = whole("seeds", seeds)
    if seeds < 1:
        raise ConfigError(f"seeds = {seeds}: there must be at least one")
    spec = make_spec(
        algo, env, seed, env_options, config, threads, checkpoint_seconds, max_faults, env_timeout, **fields
    )
    began = time.perf_counter()
    refuse_or_follow(spec, seeds, Path(out) if out else None)
    with _place(out, algo, env) as directory:
        if seeds == 1:
            train_one(spec, directory, progress=progress)
        else:
            group.start(directory, [spec | {"seed": spec["seed"] + k} for k in range(seeds)], progress)
    return _finish(directory, began)


def sweep(
    algo: str,
    env: str,
    *,
    trials: int = 20,
    processes: int | None = None,
    search: Mapping[str, Any] | str | None = None,
    pruner: str = "median",
    seed: int = 0,
    seeds: int = 1,
    out: Path | str | None = None,
    env_options: Mapping[str, Any] | None = None,
    threads: int = 1,
    checkpoint_seconds: float = 20.0,
    max_faults: int = 10,
    env_timeout: float = 60.0,
    progress: Callable[[Mapping[str, Any]], None] | None = None,
    **fields: Any,
) -> SweepResult:
    """Search the fields of an algorithm's Config for those that do best on an environment.

    Args:
        algo: As in ``train``.
        env: As in ``train``.
        trials: How many values of the fields are tried; the first is what ``train`` would take.
        processes: Trainings at a time; by default one a core. With one, the same seed gives the same sweep.
        search: What varies: ``{"learning_rate": "1e-4..1e-2:log", "horizon": [64, 128]}`` or the same as one text,
            ``"learning_rate=1e-4..1e-2:log,horizon=64|128"``. By default the usual fields of the algorithm.
        pruner: Which trials end early: "median" (below the median of the others), "halving", "none".
        seed: Of the search, and the first seed of every trial.
        seeds: Of each trial, trained one after the other; the score is their mean.
        out: Directory of the sweep; by default the next free one under ``runs/``.
        env_options: As in ``train``.
        threads: As in ``train``.
        checkpoint_seconds: As in ``train``.
        max_faults: As in ``train``.
        env_timeout: As in ``train``.
        progress: Called with ``{"kind": "trial", "number", "state", "score", ...}`` when a trial begins or ends, and with
            ``{"kind": "row", "trial", "seed", "row"}`` for every row of metrics.
        fields: Fields that are the same in every trial, such as ``total_steps``.

    Raises:
        MissingPackage: If Optuna is not installed.
        CumulantError: With a message that says what was wrong, where, and what to do.
    """
    terms = {"seed": seed, "env_options": env_options, "threads": threads, "checkpoint_seconds": checkpoint_seconds}
    terms |= {"max_faults": max_faults, "env_timeout": env_timeout}
    plan = sweeps.make_plan(algo, env, terms, fields, search, trials, seeds, processes, pruner)
    with _place(out, algo, env, "sweep-") as directory:
        result = sweeps.start(directory, plan, progress)
    write_report(directory)
    return result


def resume_sweep(
    run: Path | str,
    *,
    trials: int | None = None,
    processes: int | None = None,
    trust: bool = False,
    progress: Callable[[Mapping[str, Any]], None] | None = None,
) -> SweepResult:
    """Go on with a sweep: with its unfinished trials from their checkpoints, then with new ones.

    Args:
        run: Directory of the sweep.
        trials: How many there shall be in the end; by default as many as planned.
        processes: Trainings at a time; by default as planned.
        trust: As in ``resume``.
        progress: As in ``sweep``.
    """
    result = sweeps.resume(Path(run), trials, processes, trust, progress)
    write_report(run)
    return result


def resume(run: Path | str, *, trust: bool = False, progress: Progress | None = None) -> TrainResult:
    """Continue a run, or every unfinished seed of a group, where its last checkpoint left it.

    Args:
        run: Directory.
        trust: Whether to import code that the run names although another machine wrote it.
        progress: As in ``train``.

    Raises:
        UsageError: If it is a sweep or an audit: those are ``resume_sweep`` and ``resume_audit``.
        RunError: If there is nothing to resume, if it is in use, or if it names foreign code and is not trusted.
    """
    directory = Path(run)
    if is_sweep(directory):
        raise UsageError(f"{directory} is a sweep: resume_sweep goes on with it")
    if is_audit(directory):
        raise UsageError(f"{directory} is an audit: resume_audit goes on with it")
    began = time.perf_counter()
    read_spec(directory)
    runs = members(directory)
    is_group = bool(group.seeds_of(directory))
    specs = group.specs(directory) if is_group else dict.fromkeys(runs, read_spec(directory))
    for seed, spec in specs.items():
        check_spec(spec, directory)
        names = [spec["algo"], *code_in(spec["config"]), *spec["env_options"].values()]
        if not listed_as_text(spec["algo"]):  # there it is a data set, which is read and never imported
            names.append(spec["env"])
        check_trust(names, written_by(runs.get(seed, directory / f"seed_{seed}")), directory, trust)
    refuse_or_follow(read_spec(directory), len(runs), directory, resume=True)
    if is_group:
        group.resume(directory, progress)
    else:
        train_one(read_spec(directory), directory, resume=True, progress=progress)
    return _finish(directory, began)


def evaluate(
    policy: Policy | Path | str,
    env: str | None = None,
    episodes: int | None = None,
    seed: int = 0,
    *,
    env_options: Mapping[str, Any] | None = None,
    trust: bool = False,
) -> dict[str, Any]:
    """Evaluate a policy greedily on held-out episodes, or a trained language model on held-out text.

    Args:
        policy: A policy, or the directory of a run.
        env: Environment; by default the one that it was trained on.
        episodes: How many; by default 5000 simulated patients, 20 Atari games, 100 episodes elsewhere.
        seed: Of the evaluation.
        env_options: Options of the environment; by default those of the training.
        trust: Whether to import an environment that the run names although another machine wrote it.

    Returns:
        Plain JSON values: ``episodes``, ``return_mean``, ``return_interval`` (95 %), ``outcomes``, and what else the
        environment's own evaluation brings; of a run on text its ``figures``.
    """
    from cumulant.engine.evaluate import default_episodes
    from cumulant.engine.evaluate import evaluate as run_evaluation

    if isinstance(policy, str | Path) and is_text_run(Path(policy)):
        if env is not None or episodes is not None or env_options:
            raise UsageError(
                f"{policy} was trained on text: it is evaluated on all of its held-out text, without options"
            )
        return evaluate_text(Path(policy), trust)
    where = "the policy" if not isinstance(policy, str | Path) else member(Path(policy))
    if isinstance(where, Path) and (where / "config.json").exists():  # a policy folder on its own has none
        read_spec(where)
    seeds = len(members(where)) if isinstance(where, Path) else 1
    policy = load(policy, trust=trust) if isinstance(policy, str | Path) else policy
    if is_board_policy(policy):
        return evaluate_board(policy, env, episodes, seed)
    card = policy.card
    if not isinstance(card.get("env", ""), str) or not isinstance(card.get("env_options", {}), dict):
        raise RunError(f"{where}: card.json is damaged: env must be a text, and env_options an object")
    of_card = []  # what is about to be imported because the card says so
    if env is None:
        if not card.get("env"):
            raise UsageError("this policy does not say which environment it is for: name one")
        env = str(card["env"])
        of_card.append(env)
    options = {} if env_options is None else dict(env_options)
    if env_options is None and same_environment(env, card.get("env", "")):
        options = card.get("env_options", {})
        of_card += options.values()
    check_trust(of_card, card.get("host"), where, trust)
    if lookup.find(env) is not None:
        options = lookup.resolved(env, options)
    episodes = default_episodes(env) if episodes is None else episodes
    if episodes < 2:
        raise ConfigError(f"episodes = {episodes}: an interval needs at least 2")
    label = short_name(str(card.get("algo", "policy")))
    if seeds > 1:
        label = f"{label}, seed {card.get('seed')}, the best of {seeds}"
    with threads(1):
        evaluation = run_evaluation(policy, env, episodes, seed, options, label=label)
    return evaluation if seeds == 1 else evaluation | {"policy": label}


def is_sweep(run: Path | str) -> bool:
    """Return whether a directory is one of a sweep."""
    return sweeps.is_sweep(Path(run))


def is_alignment(run: Path | str) -> bool:
    """Return whether a directory is one of an alignment."""
    from cumulant.report.align_load import is_align

    return is_align(Path(run))


def write_report(run: Path | str) -> Path:
    """Write ``report.html`` of a run, a group, a sweep, an alignment or an audit and return its path."""
    from cumulant.report import align_html, audit_html, html, sweep_html

    if is_audit(Path(run)):
        return audit_html.write_report(Path(run))
    return (align_html if is_alignment(run) else sweep_html if is_sweep(run) else html).write_report(Path(run))


def compare(runs: Sequence[Path | str]) -> dict[str, Any]:
    """Compare runs or groups by their evaluations, alignments model by model; see ``cumulant.report.compare``."""
    from cumulant.report.compare import compare as compare_runs

    return compare_runs([Path(run) for run in runs])


def _finish(directory: Path, began: float) -> TrainResult:
    """Write the report and sum the run up."""
    runs = members(directory)
    write_report(directory)
    spec = read_spec(directory)
    rows = [group.last_row(member) for member in runs.values()]
    return TrainResult(
        run=directory,
        algo=spec["algo"],
        env=spec["env"],
        seeds=tuple(runs),
        steps=int(sum(row.get("steps", 0) for row in rows)),
        seconds=time.perf_counter() - began,
        training_seconds=sum(row.get("seconds", 0.0) for row in rows),
        evaluation=json.loads((directory / "evaluation.json").read_text(encoding="utf-8")),
        tokens=int(sum(row.get("data/tokens", 0) for row in rows)),
    )


def _place(out: Path | str | None, algo: str, env: str, before: str = "") -> AbstractContextManager[Path]:
    """Return the directory of a new run: the one asked for, or such as ``runs/ppo-warfarin-003``."""
    from cumulant.run.place import next_free

    listed = lookup.find(env)
    target = listed.name if listed else env.rpartition(":")[2].rpartition("/")[2]
    return next_free(f"{before}{short_name(algo)}-{target}") if out is None else nullcontext(Path(out))
