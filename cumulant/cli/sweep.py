"""cumulant sweep ALGO TARGET [--search FIELD=LOW..HIGH,...] [--field value ...]."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cumulant import api, catalogue, search
from cumulant.cli.parsing import Parser
from cumulant.cli.show import show_sweep, sweep_progress
from cumulant.cli.train import add_training, env_options_of, parse_fields, refuse_options_first, with_device
from cumulant.study import PRUNERS


def run(words: list[str]) -> Any:
    """Run the verb and return what ``--json`` prints."""
    parser = Parser(
        "sweep", "Search an algorithm's fields for those that do best on an environment (with Optuna).", add_help=False
    )
    parser.add_argument("algo", nargs="?", help="algorithm: a name, my/ppo.py, or mylab.algos.foo")
    parser.add_argument("target", nargs="?", help="environment: a name, a Gymnasium id, or package.module:EnvClass")
    parser.add_argument("--trials", type=int, default=20, help="how many values are tried (default 20)")
    parser.add_argument("--processes", type=int, help="trainings at a time (default: one a core)")
    parser.add_argument(
        "--search",
        action="append",
        metavar="FIELD=RANGE,...",
        help="what varies: learning_rate=1e-4..1e-2:log, gamma=0.9..0.999, horizon=64|128 (default: the usual fields)",
    )
    parser.add_argument(
        "--pruner",
        choices=PRUNERS,
        default="median",
        help="which trials end early: below the median of the others, all but the best third, none (default median)",
    )
    parser.add_argument("--out", type=Path, help="directory of the sweep (default: the next free one under runs/)")
    parser.add_argument("--seed", type=int, default=0, help="of the search, and first seed of each trial (default 0)")
    parser.add_argument("--seeds", type=int, default=1, help="seeds of each trial, whose mean is its score (default 1)")
    add_training(parser)
    parser.add_argument("-h", "--help", action="store_true", help="this help; after ALGO TARGET, what they search too")
    known, rest = parser.parse_known_args(words)
    named = known.algo is not None and known.target is not None
    if known.help:
        parser.print_help()
        print("\nAny field of the algorithm, such as --total-steps 50000, is then the same in every trial.")
        if named:
            _show_search(known.algo, known.target)
        else:
            print("`cumulant sweep ALGO TARGET --help` says what is searched by default.")
        return None
    refuse_options_first(words, rest, known.target, "sweep ppo CartPole-v1")
    if not named:
        parser.error("name an algorithm and an environment, as in `cumulant sweep ppo CartPole-v1`")
    module = catalogue.load_algorithm(known.algo)
    config, env_options = parse_fields(module, known.algo, known.target, rest, False, "sweep")
    config = with_device(config, known.device)
    named_fields = [*rest, "--device"] if known.device != "auto" else rest
    wanted = ",".join(known.search) if known.search else None
    with sweep_progress(known.algo, known.target, known.trials, known.quiet) as progress:
        result = api.sweep(
            known.algo,
            known.target,
            trials=known.trials,
            processes=known.processes,
            search=wanted,
            pruner=known.pruner,
            seed=known.seed,
            seeds=known.seeds,
            out=known.out,
            env_options=env_options_of(known, env_options),
            threads=known.threads,
            checkpoint_seconds=known.checkpoint_seconds,
            max_faults=known.max_faults,
            env_timeout=known.env_timeout,
            progress=progress,
            **_given(config, named_fields),
        )
    if not known.json:
        show_sweep(result.run)
    return result.summary()


def _given(config: Any, words: list[str]) -> dict[str, Any]:
    """Return the fields that the user has set, be it to what they are by themselves; those of a group inside it."""
    known = search.fields_of(config)
    given: dict[str, Any] = {}
    for word in words:
        name = word.partition("=")[0].removeprefix("--").replace("-", "_")
        name = name if name in known else name.removeprefix("no_")
        if word.startswith("--") and name in known:
            *groups, last = known[name].path
            place = given
            for group in groups:
                place = place.setdefault(group, {})
            place[last] = known[name].value
    return given


def _show_search(algo: str, target: str) -> None:
    config = api.default_config(catalogue.load_algorithm(algo), algo, target)
    print(f"\n{algo} on {target} searches, unless --search says otherwise:\n")
    for name, one in search.space(config).items():
        print(f"  {name:<18} {one}")
    print(f"\n`cumulant train {algo} {target} --help` lists all fields.")
