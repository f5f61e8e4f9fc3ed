"""cumulant train ALGO TARGET [--field value ...]: TARGET is an environment, or text for algorithms that learn from text."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import io
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import tyro

from cumulant import api, catalogue, search
from cumulant.cli.parsing import Parser, add_json
from cumulant.cli.show import show_result, training_progress
from cumulant.envs import lookup
from cumulant.errors import ConfigError, UsageError, did_you_mean


def run(words: list[str]) -> Any:
    """Run the verb and return what ``--json`` prints."""
    what = "Train an algorithm on an environment or on text, evaluate it, write a report."
    parser = Parser("train", what, add_help=False)
    parser.add_argument("algo", nargs="?", help="algorithm: a name, my/ppo.py, or mylab.algos.foo")
    parser.add_argument(
        "target",
        nargs="?",
        help="environment: a name, a Gymnasium id, or package.module:EnvClass; or text: a data set or a file of it",
    )
    parser.add_argument("--out", type=Path, help="directory of the run (default: the next free one under runs/)")
    parser.add_argument("--seed", type=int, default=0, help="first seed (default 0)")
    parser.add_argument("--seeds", type=int, default=1, help="number of seeds, trained in parallel (default 1)")
    add_training(parser)
    parser.add_argument("-h", "--help", action="store_true", help="this help; after ALGO TARGET, all their fields too")
    known, rest = parser.parse_known_args(words)
    if known.help and (known.algo is None or known.target is None):
        parser.print_help()
        print("\n`cumulant train ALGO TARGET --help` lists the fields of that algorithm and environment.")
        return None
    refuse_options_first(words, rest, known.target)
    if known.algo is None or known.target is None:
        parser.error("name an algorithm and an environment, as in `cumulant train ppo warfarin`")

    module = catalogue.load_algorithm(known.algo)
    catalogue.check_target(module, known.algo, known.target)
    if known.help:  # what is the same for all of them; their fields follow
        print(f"{parser.format_help()}\nAnd of {known.algo} on {known.target}:\n")
    config, env_options = parse_fields(module, known.algo, known.target, rest, known.help)
    env_options = env_options_of(known, env_options)
    config = with_device(config, known.device)
    with training_progress(known, config, catalogue.is_text(module) or catalogue.is_game(module)) as progress:
        result = api.train(
            known.algo,
            known.target,
            seed=known.seed,
            seeds=known.seeds,
            out=known.out,
            env_options=env_options,
            config=config,
            threads=known.threads,
            checkpoint_seconds=known.checkpoint_seconds,
            max_faults=known.max_faults,
            env_timeout=known.env_timeout,
            progress=progress,
        )
    if not known.json:
        show_result(result)
    return result.summary()


def add_training(parser: Parser) -> None:
    """Add what every verb that trains has."""
    parser.add_argument("--threads", type=int, default=1, help="torch threads per process (default 1)")
    parser.add_argument("--checkpoint-seconds", type=float, default=20.0, help="time between checkpoints (default 20)")
    parser.add_argument(
        "--max-faults", type=int, default=10, help="times an environment may fail and be made anew (default 10)"
    )
    parser.add_argument(
        "--env-timeout", type=float, default=60.0, help="seconds a call of an environment may take (default 60; 0: any)"
    )
    parser.add_argument(
        "--device",
        choices=["auto", "cpu", "cuda", "mps"],
        default="auto",
        help="where networks live (auto: the algorithm's own choice, the CPU for small networks)",
    )
    parser.add_argument(
        "--env-option",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="keyword of a Gymnasium environment, or of a board game, such as size=7",
    )
    parser.add_argument("--quiet", action="store_true", help="no live progress")
    add_json(parser)


def env_options_of(known: argparse.Namespace, options: dict[str, Any]) -> dict[str, Any]:
    """Return the options of an environment: flags of a native one, ``--env-option`` of any other and of a game to be learned.

    Raises:
        UsageError: If ``--env-option`` was given for a native one.
    """
    if not known.env_option:
        return options
    algo = getattr(known, "algo", None)
    is_game = algo is not None and catalogue.is_game(catalogue.load_algorithm(algo))
    if lookup.find(known.target) is not None and not is_game:
        raise UsageError(f"options of '{known.target}' are flags of their own: `cumulant train ALGO TARGET --help`")
    return dict(parse_option(option) for option in known.env_option)


def parse_fields(
    module: Any, algo: str, target: str, words: list[str], help_wanted: bool, verb: str = "train"
) -> tuple[Any, dict[str, Any]]:
    """Turn ``--field value`` words into the algorithm's Config and the environment's options.

    Both dataclasses make the command line, without prefixes; the preset gives the defaults.
    """
    preset = api.preset_for(algo, target)
    defaults = api.default_config(module, algo, target)
    native = None if catalogue.is_text(module) or catalogue.is_game(module) else lookup.find(target)
    parts: list[tuple[str, Any, Any]] = [("config", module.Config, defaults)]
    if native is not None:
        options_class = lookup.options_class(target)
        parts.append(("environment", options_class, options_class()))
    flags = dataclasses.make_dataclass(
        "Fields", [(name, cls, dataclasses.field(default=default)) for name, cls, default in parts], frozen=True
    )
    prog, said = f"cumulant {verb} {algo} {target}", io.StringIO()
    fields = {name: field for _, _, default in parts for name, field in search.fields_of(default).items()}
    refuse_unknown(words, list(fields), prog)
    try:
        with contextlib.redirect_stderr(said):
            made: Any = tyro.cli(
                flags,
                args=["--help"] if help_wanted else with_none(words, fields),
                prog=prog,
                description=f"{algo} on {target}" + (f". Preset: {preset.seen}" if preset and preset.seen else ""),
                config=(tyro.conf.OmitArgPrefixes,),
            )
    except SystemExit as leaving:
        if not leaving.code:  # it printed the help
            raise
        raise UsageError(f"{message_of(said.getvalue())}; see `{prog} --help`") from None
    options: dict[str, Any] = {}
    if native is not None:
        options = {field.name: getattr(made.environment, field.name) for field in dataclasses.fields(options_class)}
    return dataclasses.replace(made.config, env=target, env_options=options), options


def refuse_options_first(
    words: Sequence[str], rest: Sequence[str], target: str | None, example: str = "train ppo warfarin"
) -> None:
    """Refuse ``--gamma 0.9 ALGO TARGET``: whether 0.9 belongs to --gamma is known only when the algorithm is.

    Raises:
        UsageError: Naming the option.
    """
    first = next((word for word in rest if word.startswith("-")), None)
    if first and "=" not in first and (target is None or words.index(first) < words.index(target)):
        raise UsageError(f"ALGO and TARGET come first, as in `cumulant {example} {first} ...`")


def with_none(words: Sequence[str], fields: Mapping[str, search.Field]) -> list[str]:
    """Return the words with "none", as the help writes it, as tyro reads it, where a field may be that."""
    optional = {f"--{name.replace('_', '-')}" for name, field in fields.items() if type(None) in get_args(field.hint)}
    read, before = [], ""
    for word in words:
        flag, equals, value = word.partition("=")
        flag = flag.replace("_", "-")
        if equals and flag in optional and value == "none":
            word = f"{flag}=None"
        elif word == "none" and before in optional:
            word = "None"
        read.append(word)
        before = flag
    return read


def refuse_unknown(words: Sequence[str], fields: Sequence[str], prog: str) -> None:
    """Refuse a ``--name`` that no field has.

    Raises:
        UsageError: Naming the closest.
    """
    known = [f"--{name.replace('_', '-')}" for name in fields if name not in ("env", "env_options")]
    for word in words:
        flag = word.partition("=")[0].replace("_", "-")
        if flag.startswith("--") and flag not in known and flag.replace("--no-", "--", 1) not in known:
            raise UsageError(f"no option '{flag}': {did_you_mean(flag, known)} (`{prog} --help` lists them)")


def message_of(box: str) -> str:
    r"""Return what tyro's error box says, without colours, title, frame and hints, as one line.

    >>> message_of("╭─ \x1b[31mValue error ────╮\n│ Error parsing --x:  │\n│ no float │\n│ ─────── │\n│ a hint │")
    'Error parsing --x: no float'
    """
    parts: list[list[str]] = [[]]
    for line in (line.strip(" │") for line in re.sub(r"\x1b\[[0-9;]*m", "", box).splitlines()):
        if line.startswith(("╭", "╰")) or (line and not line.strip("─-")):
            parts.append([])
        elif line:
            parts[-1].append(line)
    said = " ".join(" ".join((parts[1:] or parts)[0]).split())
    return re.sub(r"^Error parsing (config|environment)(\.\w+)*: ", "", said)  # fields go by their own names


def parse_option(word: str) -> tuple[str, Any]:
    """Split ``key=value``; the value is read as JSON where it is JSON, else as text.

    >>> parse_option("is_slippery=false"), parse_option("map_name=8x8")
    (('is_slippery', False), ('map_name', '8x8'))
    """
    key, equals, value = word.partition("=")
    if not equals or not key:
        raise UsageError(f"--env-option {word}: write it as key=value")
    try:
        return key, json.loads(value)
    except ValueError:
        return key, value


def with_device(config: Any, device: str) -> Any:
    """Return the config with the device that was asked for; auto leaves the algorithm its own."""
    if device == "auto":
        return config
    if hasattr(config, "device"):
        return dataclasses.replace(config, device=device)
    for field in dataclasses.fields(config):
        group = getattr(config, field.name)
        if dataclasses.is_dataclass(group) and not isinstance(group, type) and hasattr(group, "device"):
            return dataclasses.replace(config, **{field.name: dataclasses.replace(group, device=device)})
    if device != "cpu":
        raise ConfigError(f"--device {device}: this algorithm runs in compiled code on the CPU")
    return config
