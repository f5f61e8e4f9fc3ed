"""What a training left behind: its policy, and an episode of it on film."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from cumulant import group, sweeps
from cumulant.group import members
from cumulant.spec import check_trust, read_spec

if TYPE_CHECKING:
    from cumulant.engine.policy import Policy


def load(run: Path | str, which: str = "best", *, trust: bool = False) -> Policy:
    """Load the policy of a run.

    Args:
        run: Directory of a run, of a group of seeds (then the seed with the best evaluation), or of a sweep (then its best
            trial).
        which: "best" by periodic evaluation, or "last".
        trust: Whether to import a network of somebody's own although another machine wrote the run; nothing else that the
            run names is imported.

    Raises:
        RunError: If there is no policy, or if it names foreign code and is not trusted.
    """
    from cumulant.engine.policy import Policy, code_named_in

    directory = member(Path(run))
    if group.seeds_of(directory):
        directory = max(members(directory).values(), key=group.score)
    if (directory / "policy").is_dir():
        directory = directory / "policy"
    check_trust(*code_named_in(directory), directory, trust)
    return Policy.load(directory, which, trust=True)


def film(run: Path | str, seed: int = 0, *, trust: bool = False) -> Path:
    """Film an episode of a run's policy, put it into the report, and return the animated picture's path.

    Args:
        run: Directory of a run, of a group of seeds (then the seed with the best evaluation), or of a sweep
            (then its best trial).
        seed: Of the evaluation whose first episode it is.
        trust: As in ``evaluate``.

    Raises:
        RunError: If there is no run or no policy, or if it names foreign code and is not trusted.
        EnvironmentFault: If the environment cannot be drawn here (message says why).
    """
    from cumulant.engine import video
    from cumulant.report.html import write_report

    directory = member(Path(run))
    spec = read_spec(directory)
    policy = load(directory, trust=trust)
    check_trust([spec["env"], *spec["env_options"].values()], policy.card.get("host"), directory, trust)
    video.film(policy, spec["env"], spec["env_options"], seed, directory)
    write_report(directory)
    return directory / video.PICTURE


def member(directory: Path) -> Path:
    """Return the run or group that a directory stands for: of a sweep, its best trial."""
    return sweeps.best_trial(directory) if sweeps.is_sweep(directory) else directory
