"""cumulant audit ENV [--exhibit NAME] [--field value ...], or the directory of an alignment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cumulant import api, catalogue
from cumulant.cli.parsing import Parser
from cumulant.cli.show import audit_progress, show_audit, show_verdict
from cumulant.cli.train import (
    add_training,
    env_options_of,
    parse_fields,
    parse_option,
    refuse_options_first,
    with_device,
)
from cumulant.envs import lookup


def run(words: list[str]) -> Any:
    """Run the verb and return what ``--json`` prints."""
    what = "Say whether a reward can be hacked: train on it, on parts of it and on what really matters, and compare."
    parser = Parser("audit", what, add_help=False)
    parser.add_argument(
        "target",
        nargs="?",
        help="environment that says what really matters through info['outcome'], or the directory of an alignment",
    )
    parser.add_argument(
        "--algo", default="auto", help="algorithm (default: q_learning where a table is enough, else ppo)"
    )
    parser.add_argument("--exhibit", default="", help="a reward of the environment by name: `cumulant list exhibits`")
    parser.add_argument("--seed", type=int, default=0, help="first seed (default 0)")
    parser.add_argument("--seeds", type=int, default=5, help="seeds of every training (default 5)")
    parser.add_argument("--episodes", type=int, help="that every policy is played for (default 1000 native, 100 other)")
    parser.add_argument("--lower", type=float, default=0.2, help="hacked: more than this part is lost (default 0.2)")
    parser.add_argument("--within", type=float, default=0.1, help="honest: at most this part is lost (default 0.1)")
    parser.add_argument("--keep-terms", action="store_true", help="do not train without each term of the reward")
    parser.add_argument(
        "--processes", type=int, help="trainings at a time (default: one a core; 0: all in this process)"
    )
    parser.add_argument("--out", type=Path, help="directory of the audit (default: the next free one under runs/)")
    add_training(parser)
    parser.add_argument("-h", "--help", action="store_true", help="this help; after ENV, fields of the training too")
    known, rest = parser.parse_known_args(words)
    if known.help and known.target is None:
        parser.print_help()
        print("\n`cumulant audit ENV --help` lists the options of that environment and the fields of its training.")
        return None
    refuse_options_first(words, rest, known.target, "audit warfarin --exhibit survival")
    if known.target is None:
        parser.error("name an environment, or the directory of an alignment")
    if api.is_alignment(known.target):
        return _alignment(known)
    native = lookup.find(known.target) is not None
    own = {} if native else dict(parse_option(option) for option in known.env_option)
    if known.algo == "auto":
        known.algo = api.audit_algorithm(known.target, own)
    module = catalogue.load_algorithm(known.algo)
    catalogue.check_target(module, known.algo, known.target)
    if known.help:
        print(f"{parser.format_help()}\nAnd of {known.algo} on {known.target}:\n")
    config, options = parse_fields(module, known.algo, known.target, rest, known.help, "audit")
    options = _given(known, env_options_of(known, options), rest)
    with audit_progress(known) as progress:
        found = api.audit(
            known.target,
            algo=known.algo,
            seed=known.seed,
            seeds=known.seeds,
            episodes=known.episodes,
            lower=known.lower,
            within=known.within,
            remove=not known.keep_terms,
            processes=known.processes,
            out=known.out,
            env_options=options,
            exhibit=known.exhibit,
            config=with_device(config, known.device),
            threads=known.threads,
            checkpoint_seconds=known.checkpoint_seconds,
            max_faults=known.max_faults,
            env_timeout=known.env_timeout,
            progress=progress,
        )
    if not known.json:
        show_audit(Path(found["run"])) if "run" in found else show_verdict(found)
    return found


def _given(known: Any, options: dict[str, Any], words: list[str]) -> dict[str, Any]:
    """Return the options that the user has set; those of an exhibit are under them."""
    if not known.exhibit:
        return options
    said = {word.partition("=")[0].removeprefix("--").replace("-", "_") for word in words if word.startswith("--")}
    said |= {name.removeprefix("no_") for name in said}
    return {name: value for name, value in options.items() if name in said}


def _alignment(known: Any) -> Any:
    found = api.audit_alignment(known.target, lower=known.lower, within=known.within, out=known.out)
    if not known.json:
        show_audit(Path(found["run"]))
    return found
