"""cumulant evaluate RUN."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from cumulant import api
from cumulant.cli.parsing import Parser, add_json, add_trust
from cumulant.cli.show import show_evaluation, show_pack
from cumulant.cli.train import parse_option
from cumulant.errors import EnvironmentFault, UsageError


def run(words: list[str]) -> Any:
    """Run the verb and return what ``--json`` prints."""
    parser = Parser(
        "evaluate", "Evaluate a run's policy greedily on held-out episodes, or its language model on held-out text."
    )
    parser.add_argument("run", type=Path, help="directory of a run, group or policy")
    parser.add_argument("--env", help="another environment than the one it was trained on")
    parser.add_argument(
        "--env-option", action="append", metavar="KEY=VALUE", help="instead of the options of the training"
    )
    parser.add_argument(
        "--episodes", type=int, help="how many (default: 5000 simulated patients, 20 Atari games, 100 elsewhere)"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the evaluation (default 0)")
    parser.add_argument("--pack", help="more than returns: clinical (of a dosing run; all seeds of a group together)")
    parser.add_argument(
        "--ceiling", type=Path, action="append", metavar="RUN", help="with --pack: a clairvoyant to measure the gap to"
    )
    parser.add_argument("--video", action="store_true", help="film an episode and put it into the run's report")
    add_json(parser)
    add_trust(parser)
    known = parser.parse_args(words)
    if known.video and (known.env or known.env_option):
        raise UsageError("--video films the environment of the training: leave --env and --env-option out")
    if known.pack is not None:
        return packed(known)
    if known.ceiling:
        raise UsageError("--ceiling is for --pack")
    options = None if known.env_option is None else dict(parse_option(option) for option in known.env_option)
    evaluation = api.evaluate(known.run, known.env, known.episodes, known.seed, env_options=options, trust=known.trust)
    if not known.json:
        if "policy" in evaluation:  # one of a group
            print(f"{evaluation['policy']}\n")
        show_evaluation(evaluation)
    return evaluation | filmed(known) if known.video else evaluation


def packed(known: argparse.Namespace) -> dict[str, Any]:
    """Evaluate with a pack, show it, and say where its page is."""
    if known.env or known.env_option or known.video:
        raise UsageError(
            "--pack tests the environment of the training and others beside it: leave --env and --video out"
        )
    found = api.evaluate_pack(
        known.run, known.pack, known.episodes, known.seed, ceilings=known.ceiling or (), trust=known.trust
    )
    if not known.json:
        show_pack(found, known.run / f"{known.pack}.html")
    return found


def filmed(known: argparse.Namespace) -> dict[str, Any]:
    """Film an episode; what cannot be drawn is told, and is no failure of the evaluation."""
    try:
        video: Path | None = api.film(known.run, known.seed, trust=known.trust)
        said = f"video: {video}, also in {known.run / 'report.html'}"
    except EnvironmentFault as problem:
        video, said = None, str(problem)
    if known.json:
        return {"video": None if video is None else str(video), **({"video_problem": said} if video is None else {})}
    print(f"\n{said}")
    return {}
