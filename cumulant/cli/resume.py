"""cumulant resume RUN."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cumulant import api
from cumulant.cli.parsing import Parser, add_json, add_trust
from cumulant.cli.show import (
    align_progress,
    audit_resume_progress,
    resume_progress,
    show_align,
    show_audit,
    show_result,
    show_sweep,
    sweep_progress,
)
from cumulant.errors import UsageError


def run(words: list[str]) -> Any:
    """Run the verb and return what ``--json`` prints."""
    parser = Parser(
        "resume",
        "Continue a run, the unfinished seeds of a group, a sweep, an alignment or an audit, from its checkpoints.",
    )
    parser.add_argument("run", type=Path, help="directory of the run, group, sweep, alignment or audit")
    parser.add_argument("--trials", type=int, help="of a sweep: go on to so many (default: as many as planned)")
    parser.add_argument("--processes", type=int, help="of a sweep: trainings at a time (default: as planned)")
    parser.add_argument("--quiet", action="store_true", help="no live progress")
    add_json(parser)
    add_trust(parser)
    known = parser.parse_args(words)
    if api.is_sweep(known.run):
        return _resume_sweep(known)
    if api.is_audit(known.run):
        return _resume_audit(known)
    if api.is_alignment(known.run):
        return _resume_alignment(known)
    if known.trials is not None or known.processes is not None:
        raise UsageError(f"{known.run} is no sweep: --trials and --processes are of sweeps")
    with resume_progress(known) as progress:
        result = api.resume(known.run, trust=known.trust, progress=progress)
    if not known.json:
        show_result(result)
    return result.summary()


def _resume_alignment(known: Any) -> Any:
    with align_progress(f"align, {known.run.name}, resumed", (), known.quiet) as watcher:
        result = api.resume_alignment(known.run, trust=known.trust, watcher=watcher)
    if not known.json:
        show_align(known.run)
    return result


def _resume_audit(known: Any) -> Any:
    with audit_resume_progress(known) as progress:
        found = api.resume_audit(known.run, trust=known.trust, progress=progress)
    if not known.json:
        show_audit(known.run)
    return found


def _resume_sweep(known: Any) -> Any:
    plan = api.read_plan(known.run)
    spec = plan["spec"]
    with sweep_progress(spec["algo"], spec["env"], known.trials or plan["trials"], known.quiet) as progress:
        result = api.resume_sweep(
            known.run, trials=known.trials, processes=known.processes, trust=known.trust, progress=progress
        )
    if not known.json:
        show_sweep(result.run)
    return result.summary()
