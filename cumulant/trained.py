"""What a training left behind: its policy and an episode of it on film, or its language model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cumulant import catalogue, group, sweeps
from cumulant.errors import RunError, UsageError
from cumulant.group import members
from cumulant.spec import check_spec, check_trust, code_in, read_spec, written_by
from cumulant.training import checked


def load(run: Path | str, which: str = "best", *, trust: bool = False) -> Any:
    """Load the policy of a run, or the language model of one on text.

    Args:
        run: Directory of a run, of a group of seeds (then the seed with the best evaluation; on text the first one), of a
            sweep (then its best trial), or of an adapter in PEFT's format, such as ``RUN/adapter``, which names its model.
        which: "best" by periodic evaluation, or "last"; of AlphaZero also the moves after which it was measured, such as
            "112640". On text there is one model.
        trust: Whether to import a network of somebody's own although another machine wrote the run; nothing else that the
            run names is imported.

    Returns:
        A ``Policy`` with ``act(obs)``, a ``BoardPolicy`` with ``search(states)``, or a ``LanguageModel`` with
        ``generate(prompts)``.

    Raises:
        RunError: If there is no policy, or if it names foreign code and is not trusted.
    """
    from cumulant.engine.policy import Policy, code_named_in

    if (Path(run) / "adapter_config.json").is_file():
        from cumulant.engine.language_model import LanguageModel

        return LanguageModel.load(run)
    directory = member(Path(run))
    if is_text_run(directory):
        return _language_model(next(iter(members(directory).values())))
    if group.seeds_of(directory):
        directory = max(members(directory).values(), key=group.score)
    if (directory / "policy").is_dir():
        directory = directory / "policy"
    check_trust(*code_named_in(directory), directory, trust)
    policy = Policy.load(directory, which, trust=True)
    if policy.net.spec["kind"] == "board":
        from cumulant.engine.board_policy import BoardPolicy

        return BoardPolicy.of(policy, directory)
    return policy


def is_board_policy(policy: Any) -> bool:
    """Return whether a policy is one that plays a board game by searching."""
    return getattr(getattr(policy, "net", None), "spec", {}).get("kind") == "board" and hasattr(policy, "search")


def evaluate_board(policy: Any, game: str | None, games: int | None, seed: int) -> dict[str, Any]:
    """Evaluate a policy that plays a board game; see ``engine.strength.evaluation``.

    Args:
        policy: A ``BoardPolicy``.
        game: What it was asked to play; None for its own game.
        games: How many against a player who moves at random, an even number; by default 100.
        seed: Of those.

    Raises:
        UsageError: If it is asked to play another game, or an odd number of games.
    """
    from cumulant.engine.strength import evaluation

    if game is not None and game != policy.game.name:
        raise UsageError(f"this policy plays {policy.game.name}, not {game}")
    if games is not None and (games < 2 or games % 2):
        raise UsageError(f"episodes = {games}: games are played in pairs, with colours swapped; give an even number")
    simulations = policy.card.get("config", {}).get("eval_simulations", policy.search_config.simulations)
    return evaluation(policy, simulations, games or 100, seed)


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
    if is_text_run(directory):
        raise UsageError(f"{directory} was trained on text: there is no episode to film; its report shows samples")
    if catalogue.listed_as_game(spec["algo"]):
        raise UsageError(f"{directory} plays {spec['env']}: there is no film of a board game")
    policy = load(directory, trust=trust)
    check_trust([spec["env"], *spec["env_options"].values()], policy.card.get("host"), directory, trust)
    video.film(policy, spec["env"], spec["env_options"], seed, directory)
    write_report(directory)
    return directory / video.PICTURE


def is_text_run(directory: Path) -> bool:
    """Return whether a directory is of a run, or a group of seeds, of an algorithm that learns from text."""
    try:
        runs = list(members(directory).values())
        return (runs[0] / "model").is_dir() or catalogue.listed_as_text(group.read_spec(directory)["algo"])
    except (RunError, OSError, TypeError, AttributeError):  # a policy folder, something damaged, or nothing at all
        return False


def evaluate_text(directory: Path, trust: bool) -> dict[str, Any]:
    """Evaluate the model of a run on text once more.

    An algorithm whose evaluation takes little beside its training has a function ``evaluate(config, directory)`` for this.

    Raises:
        RunError: If the run is not finished, or names foreign code and is not trusted.
    """
    from cumulant.run.config import from_dict

    run = next(iter(members(directory).values()))
    spec = check_spec(group.read_spec(run), run)
    check_trust([spec["algo"], *code_in(spec["config"])], written_by(run), run, trust)
    module = catalogue.load_algorithm(spec["algo"])
    _refuse_unfinished(run)
    config = from_dict(module.Config, {**spec["config"], "env": spec["env"], "env_options": {}}, where=spec["algo"])
    return checked(module.evaluate(config, run), spec["algo"])


def _language_model(run: Path) -> Any:
    from cumulant.engine.language_model import LanguageModel

    _refuse_unfinished(run)
    return LanguageModel.load(run)


def _refuse_unfinished(run: Path) -> None:
    if not (run / "model").is_dir():
        raise RunError(f"{run} has no model yet: `cumulant resume {run}` finishes it")


def member(directory: Path) -> Path:
    """Return the run or group that a directory stands for: of a sweep, its best trial."""
    return sweeps.best_trial(directory) if sweeps.is_sweep(directory) else directory
