"""Audits as functions: is a reward what it should be, or can it be hacked?"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from cumulant.audits.verdict import UNCLEAR, Rule
from cumulant.envs import lookup
from cumulant.errors import NoOutcome

Progress = Callable[[Mapping[str, Any]], None]


def is_audit(run: Path | str) -> bool:
    """Return whether a directory is one of an audit."""
    from cumulant.report.audit_load import is_audit as holds_one

    return holds_one(Path(run))


def audit_algorithm(env: str, options: Mapping[str, Any]) -> str:
    """Return what an environment is audited with: Q-learning where a table holds it, PPO elsewhere."""
    from cumulant.audits.plan import choose_algorithm

    return choose_algorithm(env, options)


def audit(
    env: str,
    *,
    algo: str = "auto",
    seed: int = 0,
    seeds: int = 5,
    episodes: int | None = None,
    lower: float = Rule.lower,
    within: float = Rule.within,
    remove: bool = True,
    processes: int | None = None,
    out: Path | str | None = None,
    env_options: Mapping[str, Any] | None = None,
    exhibit: str = "",
    config: Any = None,
    threads: int = 1,
    checkpoint_seconds: float = 20.0,
    max_faults: int = 10,
    env_timeout: float = 60.0,
    progress: Progress | None = None,
    **fields: Any,
) -> dict[str, Any]:
    """Train on an environment's reward, on parts of it and on what really matters, and say whether the reward was hacked.

    Args:
        env: As in ``train``; it says what really matters through ``info["outcome"]`` (a native one by ``Kernel.outcome``) and, if
            it likes, of what its reward consists through ``info["reward_terms"]``.
        algo: Algorithm; "auto" takes Q-learning where a table holds the environment, PPO elsewhere.
        seed: First seed.
        seeds: How many.
        episodes: That every policy is played for; by default 1000 of a native environment, 100 of any other.
        lower: A loss of the outcome beyond this part of (reference - random) can be hacked.
        within: A loss up to this part is honest.
        remove: Whether to train without each term of the reward, too.
        processes: Trainings at a time, by default one a core; 0 for all of them in this process.
        out: Directory; by default the next free one under ``runs/``.
        env_options: Options of the environment.
        exhibit: Name of an exhibit of the environment, which sets some of those options.
        config: A Config of the algorithm; instead of ``fields``.
        threads: As in ``train``.
        checkpoint_seconds: As in ``train``.
        max_faults: As in ``train``.
        env_timeout: As in ``train``.
        progress: Called with rows of metrics, each with the ``name`` of its training.
        fields: Fields of the algorithm's Config.

    Returns:
        What audit.json holds, and ``run``, the directory; ``verdict``, ``why`` and ``figures`` are last. Where the environment
        does not say what really matters, nothing is trained, and there is only the verdict.

    Raises:
        CumulantError: With a message that says what was wrong, where, and what to do.
    """
    from cumulant.audits import carry_out
    from cumulant.audits.plan import make_plan
    from cumulant.run.place import next_free

    terms = {"seed": seed, "env_options": env_options, "threads": threads, "checkpoint_seconds": checkpoint_seconds}
    terms |= {"max_faults": max_faults, "env_timeout": env_timeout}
    listed = lookup.find(env)
    if exhibit:
        terms["env_options"] = {**lookup.exhibit(env, exhibit).options, **(env_options or {})}
    target = listed.name if listed else env.rpartition(":")[2].rpartition("/")[2]
    try:
        plan = make_plan(
            env, algo, terms, fields, config=config, seeds=seeds, episodes=episodes, rule=Rule(lower, within),
            remove=remove, processes=processes, exhibit=exhibit,
        )  # fmt: skip
        with next_free(f"audit-{target}") if out is None else nullcontext(Path(out)) as directory:
            return _reported(directory, carry_out.start(directory, plan, progress))
    except NoOutcome as problem:
        return {"env": env, "verdict": UNCLEAR, "why": str(problem), "figures": {}}


def resume_audit(run: Path | str, *, trust: bool = False, progress: Progress | None = None) -> dict[str, Any]:
    """Go on with an audit: with its unfinished trainings from their checkpoints, then with those that had not begun.

    Args:
        run: Its directory.
        trust: As in ``resume``.
        progress: As in ``audit``.

    Raises:
        CumulantError: With a message that says what was wrong, where, and what to do.
    """
    from cumulant.audits import carry_out

    return _reported(Path(run), carry_out.resume(Path(run), trust, progress))


def audit_alignment(
    run: Path | str, *, lower: float = Rule.lower, within: float = Rule.within, out: Path | str | None = None
) -> dict[str, Any]:
    """Say of an alignment whether its reward model was hacked: more reward, and worse texts by independent judges.

    Args:
        run: Directory of the alignment, which is only read.
        lower: As in ``audit``.
        within: As in ``audit``.
        out: Directory of the audit; by default the next free one under ``runs/``.

    Raises:
        RunError: If the alignment is not judged yet, or the directory is not empty.
    """
    from cumulant.audits import models
    from cumulant.run.place import fresh, next_free

    found = models.audit_models(Path(run), Rule(lower, within))
    name = Path(run).resolve().name
    with (
        next_free(f"audit-{name}") if out is None else nullcontext(Path(out)) as directory,
        fresh(directory, "audit.json"),
    ):
        models.write(directory, found)
        return _reported(directory, found)


def _reported(directory: Path, found: dict[str, Any]) -> dict[str, Any]:
    from cumulant.report.audit_html import write_report

    write_report(directory)
    return {"run": str(directory), **found}
