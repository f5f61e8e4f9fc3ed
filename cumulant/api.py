"""The library as functions: train, resume, load, evaluate, report, compare. The command line calls these and nothing else."""

from __future__ import annotations

import json
import os
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cumulant import catalogue, group
from cumulant.catalogue import copy as copy
from cumulant.catalogue import listing as listing
from cumulant.envs import lookup
from cumulant.errors import ConfigError, RunError, UsageError
from cumulant.group import members, read_spec
from cumulant.loading import is_path
from cumulant.presets import PRESETS, Preset

if TYPE_CHECKING:
    from cumulant.engine.policy import Policy

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
    """

    run: Path
    algo: str
    env: str
    seeds: tuple[int, ...]
    steps: int
    seconds: float
    training_seconds: float
    evaluation: Mapping[str, Any] = field(repr=False)

    @property
    def policy(self) -> Policy:
        """The best policy (of the seed with the best evaluation)."""
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
            **{key: self.evaluation.get(key) for key in ("episodes", "return_mean", "return_interval", "outcomes")},
            **({"notice": self.evaluation["notice"]} if "notice" in self.evaluation else {}),
        }


def preset_for(algo: str, env: str) -> Preset | None:
    """Return the tuned settings of an algorithm on an environment, if there are any."""
    listed = lookup.find(env)
    return PRESETS.get((Path(algo).stem, listed.name if listed else env))


def notice(env: str) -> str:
    """Return what must be said wherever results of an environment are shown; "" for nothing."""
    return lookup.notice(env)


def make_spec(
    algo: str,
    env: str,
    seed: int = 0,
    env_options: Mapping[str, Any] | None = None,
    config: Any = None,
    threads: int = 1,
    checkpoint_seconds: float = 20.0,
    **fields: Any,
) -> dict[str, Any]:
    """Return what config.json of a run holds: everything that it follows from.

    Args:
        algo: Name, file or dotted module.
        env: Short name, Gymnasium id, or path of a class.
        seed: Seed.
        env_options: Options of the environment.
        config: A finished Config of the algorithm; otherwise it is made of the preset and ``fields``.
        threads: Torch threads; 1 is fastest on small networks.
        checkpoint_seconds: Time between checkpoints.
        fields: Fields of the algorithm's Config.

    Raises:
        UsageError: If the algorithm or the environment does not exist.
        ConfigError: If a field or an option does not exist or is refused.
    """
    from cumulant.run.config import check_device, from_dict, to_dict

    if seed < 0 or seed >= 2**63:
        raise ConfigError(f"seed = {seed}: it must be from 0 to 2**63 - 1")
    if threads < 1:
        raise ConfigError(f"threads = {threads}: there must be at least one")
    if not checkpoint_seconds >= 0.0:
        raise ConfigError(f"checkpoint_seconds = {checkpoint_seconds}: it must be at least 0")
    module = catalogue.load_algorithm(algo)
    options = dict(env_options or {})
    listed = lookup.find(env)
    if listed is not None:
        lookup.build(env, options)  # refuses options now rather than in a worker
    if config is None:
        preset = preset_for(algo, env)
        values = {**(preset.config if preset else {}), **fields}
        config = from_dict(module.Config, {**values, "env": env, "env_options": options}, where=algo)
    plain = to_dict(config)
    check_device(plain.get("device", "cpu"))
    del plain["env"], plain["env_options"]
    return {
        "algo": algo,
        "env": env,
        "env_options": options,
        "seed": seed,
        "threads": threads,
        "checkpoint_seconds": checkpoint_seconds,
        "config": plain,
    }


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
    progress: Progress | None = None,
    **fields: Any,
) -> TrainResult:
    """Train an algorithm on an environment, evaluate the best policy, and write a report.

    Args:
        algo: Name ("ppo"), file ("my/ppo.py") or dotted module.
        env: Short name ("warfarin"), Gymnasium id ("CartPole-v1"), or path of a class ("package.module:EnvClass").
        seed: First seed.
        seeds: How many seeds; several run in parallel, one process a core.
        out: Directory of the run; by default the next free one under ``runs/``.
        env_options: Options of the environment.
        config: A Config of the algorithm; instead of ``fields``.
        threads: Torch threads per process.
        checkpoint_seconds: Time between checkpoints.
        progress: Called as ``progress(seed, row)`` with every row of metrics.
        fields: Fields of the algorithm's Config, such as ``total_steps``.

    Raises:
        CumulantError: With a message that says what was wrong, where, and what to do.

    Example:
        ``cumulant.train("ppo", env="CartPole-v1", seed=0, total_steps=100_000).policy.act(obs)``
    """
    if seeds < 1:
        raise ConfigError(f"seeds = {seeds}: there must be at least one")
    spec = make_spec(algo, env, seed, env_options, config, threads, checkpoint_seconds, **fields)
    directory = Path(out) if out is not None else next_directory(algo, env)
    began = time.perf_counter()
    if seeds == 1:
        train_one(spec, directory, progress=progress)
    else:
        group.start(directory, [spec | {"seed": seed + k} for k in range(seeds)], progress)
    return _finish(directory, began)


def resume(run: Path | str, *, trust: bool = False, progress: Progress | None = None) -> TrainResult:
    """Continue a run, or every unfinished seed of a group, where its last checkpoint left it.

    Args:
        run: Directory.
        trust: Whether to import code that the run names although another machine wrote it.
        progress: As in ``train``.

    Raises:
        RunError: If there is nothing to resume, if it is in use, or if it names foreign code and is not trusted.
    """
    directory = Path(run)
    began = time.perf_counter()
    for member in members(directory).values():
        if (member / "config.json").exists():  # a seed that had not begun has none
            check_trust(member, trust)
    if group.seeds_of(directory):
        group.resume(directory, progress)
    else:
        train_one(read_spec(directory), directory, resume=True, progress=progress)
    return _finish(directory, began)


def load(run: Path | str, which: str = "best", *, trust: bool = False) -> Policy:
    """Load the policy of a run.

    Args:
        run: Directory of a run, or of a group of seeds (then the seed with the best evaluation).
        which: "best" by periodic evaluation, or "last".
        trust: Reserved for policies whose network is the user's own code; nothing is imported otherwise.

    Raises:
        RunError: If there is no policy.
    """
    from cumulant.engine.policy import Policy

    directory = Path(run)
    if group.seeds_of(directory):
        directory = max(members(directory).values(), key=group.score)
    if (directory / "policy").is_dir():
        directory = directory / "policy"
    return Policy.load(directory, which)


def evaluate(
    policy: Policy | Path | str,
    env: str | None = None,
    episodes: int | None = None,
    seed: int = 0,
    *,
    env_options: Mapping[str, Any] | None = None,
    trust: bool = False,
) -> dict[str, Any]:
    """Evaluate a policy greedily on held-out episodes.

    Args:
        policy: A policy, or the directory of a run.
        env: Environment; by default the one that it was trained on.
        episodes: How many; by default 5000 simulated patients, 100 episodes elsewhere.
        seed: Of the evaluation.
        env_options: Options of the environment; by default those of the training.
        trust: Whether to import an environment that the run names although another machine wrote it.

    Returns:
        Plain JSON values: ``episodes``, ``return_mean``, ``return_interval`` (95 %), ``outcomes``, and what else the
        environment's own evaluation brings.
    """
    from cumulant.engine.evaluate import default_episodes
    from cumulant.engine.evaluate import evaluate as run_evaluation

    if isinstance(policy, str | Path):
        if env is None:
            first = next(iter(members(Path(policy)).values()))
            if (first / "config.json").exists():  # a policy folder on its own has none
                check_trust(first, trust)
        policy = load(policy)
    same_env = env is None or env == policy.card.get("env")
    env = env if env is not None else policy.card.get("env")
    if env is None:
        raise UsageError("this policy does not say which environment it is for: name one")
    options = env_options if env_options is not None else policy.card.get("env_options", {}) if same_env else {}
    episodes = default_episodes(env) if episodes is None else episodes
    if episodes < 2:
        raise ConfigError(f"episodes = {episodes}: an interval needs at least 2")
    return run_evaluation(policy, env, episodes, seed, options, label=policy.card.get("algo", "policy"))


def report(run: Path | str) -> Path:
    """Write ``report.html`` of a run or a group and return its path."""
    from cumulant.report.html import write_report

    return write_report(Path(run))


def compare(runs: Sequence[Path | str]) -> dict[str, Any]:
    """Compare runs or groups by their evaluations; see ``cumulant.report.compare``."""
    from cumulant.report.compare import compare as compare_runs

    return compare_runs([Path(run) for run in runs])


# -- one run, start to end -----------------------------------------------------------------------------------------------


def train_one(
    spec: Mapping[str, Any], directory: Path, *, resume: bool = False, progress: Progress | None = None
) -> dict[str, Any]:
    """Train one seed, evaluate its best policy, and write ``evaluation.json``; return the evaluation.

    Args:
        spec: What ``make_spec`` returned.
        directory: Of the run.
        resume: Whether the directory already holds it.
        progress: As in ``train``.
    """
    import torch

    from cumulant.engine.evaluate import default_episodes
    from cumulant.engine.evaluate import evaluate as run_evaluation
    from cumulant.run.config import check_device, from_dict
    from cumulant.run.run import Run

    module = catalogue.load_algorithm(spec["algo"])
    check_device(spec["config"].get("device", "cpu"))
    seed, env, options = spec["seed"], spec["env"], spec["env_options"]
    config = from_dict(module.Config, {**spec["config"], "env": env, "env_options": options}, where=spec["algo"])
    on_row = None if progress is None else lambda row: progress(seed, row)
    with _threads(torch, int(spec.get("threads", 1))):
        every = float(spec.get("checkpoint_seconds", 20.0))
        run = Run(directory, spec, resume=resume, checkpoint_every_seconds=every, on_row=on_row)
        try:
            policy = module.train(config, run)
            episodes = default_episodes(env)
            evaluation = run_evaluation(policy, env, episodes, 0, options, label=Path(spec["algo"]).stem)
            run.write("evaluation.json", evaluation)
            policy.card["evaluation"] = {
                key: evaluation[key] for key in ("episodes", "seed", "return_mean", "return_interval", "outcomes")
            }
            policy.save(directory / "policy", "best")
        finally:
            run.close()
    return evaluation


@contextmanager
def _threads(torch: Any, count: int) -> Iterator[None]:
    """Set torch's threads for a while; small networks are slower with two than with one."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _finish(directory: Path, began: float) -> TrainResult:
    """Write the report and sum the run up."""
    runs = members(directory)
    report(directory)
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
    )


def next_directory(algo: str, env: str) -> Path:
    """Return the next free directory under ``runs/``, such as ``runs/ppo-warfarin-003``."""
    listed = lookup.find(env)
    short = listed.name if listed else env.rpartition(":")[2].rpartition("/")[2]
    stem = f"{Path(algo).stem.rpartition('.')[2] if not algo.endswith('.py') else Path(algo).stem}-{short}"
    root = Path("runs")
    taken = [int(path.name[len(stem) + 1 :]) for path in root.glob(f"{stem}-*") if path.name[len(stem) + 1 :].isdigit()]
    return root / f"{stem}-{max(taken, default=0) + 1:03d}"


def check_trust(directory: Path, trust: bool) -> None:
    """Say which foreign code a run would import, and refuse it if another machine wrote the run.

    Raises:
        RunError: If the run names code of its own, comes from another machine, and is not trusted.
    """
    from cumulant.run.manifest import host

    spec = read_spec(directory)
    named = [spec["algo"], spec["env"], str(spec["env_options"].get("reward", ""))]
    foreign = [name for name in named if is_path(name)]
    if not foreign:
        return
    try:
        written_by = json.loads((directory / "manifest.json").read_text(encoding="utf-8")).get("host")
    except (OSError, ValueError):
        written_by = None
    if written_by != host() and not trust:
        raise RunError(
            f"{directory} would import {', '.join(foreign)}, and another machine wrote it: "
            "read that code, then add --trust if you believe it"
        )
    warnings.warn(f"{directory} imports {', '.join(foreign)} from {os.getcwd()}", stacklevel=3)
