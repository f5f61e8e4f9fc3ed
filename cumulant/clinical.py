"""Evaluate a run with the clinical pack of its environment, and keep what was found beside it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cumulant.envs import lookup
from cumulant.errors import ConfigError, RunError, UsageError
from cumulant.group import members
from cumulant.spec import check_trust, read_spec
from cumulant.trained import load, member
from cumulant.training import threads

PACKS = ("clinical",)


def evaluate_pack(
    run: Path | str,
    pack: str = "clinical",
    episodes: int | None = None,
    seed: int = 0,
    *,
    ceilings: Sequence[Path | str] = (),
    trust: bool = False,
) -> dict[str, Any]:
    """Evaluate a run, or all seeds of a group as one policy, with a pack; write ``PACK.json`` and ``PACK.html`` into it.

    Args:
        run: Directory of a run, of a group of seeds, or of a sweep (then its best trial).
        pack: "clinical".
        episodes: How many; by default as many as every other evaluation takes.
        seed: Of the evaluation.
        ceilings: Runs of clairvoyants, whose environment shows what no policy can know: the share of the way to each is said.
        trust: Whether to import what a run names although another machine wrote it.

    Returns:
        Plain JSON values.

    Raises:
        UsageError: If there is no such pack, or the environment has none.
        RunError: If there is no policy, or if it names foreign code and is not trusted.
    """
    from cumulant.engine.evaluate import default_episodes
    from cumulant.report.clinical_html import write_report
    from cumulant.run.checkpoint import write_atomic

    if pack not in PACKS:
        raise UsageError(f"no pack '{pack}': there is {', '.join(PACKS)}")
    directory = member(Path(run))
    agents, options, env = _agents(directory, trust)
    if not hasattr(options, pack):
        raise UsageError(f"{env} has no {pack} pack: it is for dosing environments, such as warfarin")
    episodes = default_episodes(env) if episodes is None else episodes
    if episodes < 100:
        raise ConfigError(f"episodes = {episodes}: the worst tenth and ten groups of patients need at least 100")
    known = {}
    for other in map(Path, ceilings):
        top, its_options, its_env = _agents(member(other), trust)
        if its_env != env:
            raise UsageError(f"{other} is of {its_env}, and {directory} of {env}: it is no ceiling of it")
        known[other.name] = (next(iter(top.values())), its_options)
    label = read_spec(directory)["algo"] + (f", mean of {len(agents)} seeds" if len(agents) > 1 else "")
    with threads(1):
        found = getattr(options, pack)(agents, episodes, seed, label, known)
    write_atomic(directory / f"{pack}.json", (json.dumps(found, indent=1, allow_nan=False) + "\n").encode())
    write_report(directory, found)
    return found


def _agents(directory: Path, trust: bool) -> tuple[dict[int, Any], Any, str]:
    """Return the policy of every seed, the options of the environment, and its short name."""
    from cumulant.engine.evaluate import Greedy, expectation
    from cumulant.envs.warfarin.field import Agent

    agents, spec = {}, read_spec(directory)
    listed = lookup.find(spec["env"])
    if listed is None:
        raise UsageError(f"{spec['env']} has no clinical pack: it is for dosing environments, such as warfarin")
    for seed, run in members(directory).items():
        policy = load(run, trust=trust)
        if not isinstance(policy.card.get("env_options", {}), dict):
            raise RunError(f"{run}: card.json is damaged: env_options must be an object")
        check_trust([*policy.card.get("env_options", {}).values()], policy.card.get("host"), run, trust)
        agents[seed] = Agent(Greedy(policy), *expectation(policy))
    options = lookup.options_class(spec["env"])(**lookup.resolved(spec["env"], spec["env_options"]))
    return agents, options, listed.name
