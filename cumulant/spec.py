"""What a run follows from, checked before anything of it is used: its specification, and whose code it names."""

from __future__ import annotations

import dataclasses
import json
import operator
import os
import re
import shlex
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from cumulant import catalogue, group, search
from cumulant.envs import lookup
from cumulant.envs.games.lookup import make_game
from cumulant.errors import ConfigError, RunError
from cumulant.loading import is_path

_KINDS = {"algo": str, "env": str, "env_options": dict, "seed": int, "config": dict}


def make_spec(
    algo: str,
    env: str,
    seed: int = 0,
    env_options: Mapping[str, Any] | None = None,
    config: Any = None,
    threads: int = 1,
    checkpoint_seconds: float = 20.0,
    max_faults: int = 10,
    env_timeout: float = 60.0,
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
        max_faults: How many times an environment may raise, hang or give what is no number before the run ends.
        env_timeout: Seconds that one call of an environment may take; 0 for any time.
        fields: Fields of the algorithm's Config.

    Raises:
        UsageError: If the algorithm or the environment does not exist.
        ConfigError: If a field or an option does not exist or is refused.
    """
    from cumulant.engine.faults import FaultLimits
    from cumulant.run.config import check_device, from_dict, to_dict

    seed, threads = whole("seed", seed), whole("threads", threads)
    if seed < 0 or seed >= 2**63:
        raise ConfigError(f"seed = {seed}: it must be from 0 to 2**63 - 1")
    if threads < 1:
        raise ConfigError(f"threads = {threads}: there must be at least one")
    if not checkpoint_seconds >= 0.0:
        raise ConfigError(f"checkpoint_seconds = {checkpoint_seconds}: it must be at least 0")
    FaultLimits(max_faults := whole("max_faults", max_faults), env_timeout)  # refuses what cannot be
    module = catalogue.load_algorithm(algo)
    env = os.fspath(env)
    catalogue.check_target(module, algo, env)
    if config is None:
        values = to_dict(catalogue.default_config(module, algo, env, fields))
    else:
        values = _values_of(config, env, fields)
        env_options = values["env_options"] if env_options is None else env_options
    options = dict(env_options or {})
    if catalogue.is_text(module):
        if options:
            raise ConfigError(f"env_options = {options}: a text has none")
    elif catalogue.is_game(module):
        make_game(env, **options)  # refuses options
    elif lookup.find(env) is not None:
        options = lookup.resolved(env, options)
        lookup.build(env, options)  # refuses what it would import now rather than in a worker
    try:  # as it will be read again: numpy's numbers as numbers, tuples as lists
        options = json.loads(json.dumps(options, allow_nan=False, default=lambda value: value.tolist()))
    except (TypeError, ValueError, AttributeError, RecursionError) as problem:
        raise ConfigError(
            f"env_options = {options}: only plain values can be saved with a run ({problem})"
        ) from problem
    plain = to_dict(from_dict(module.Config, {**values, "env": env, "env_options": options}, where=algo))
    del plain["env"], plain["env_options"]
    check_device(plain)
    return {
        "algo": algo,
        "env": env,
        "env_options": options,
        "seed": seed,
        "threads": threads,
        "checkpoint_seconds": checkpoint_seconds,
        "max_faults": max_faults,
        "env_timeout": env_timeout,
        "config": plain,
    }


def whole(name: str, value: Any) -> int:
    """Return a whole number, of Python or numpy, as an int; refuse 1.5 and "1" by a ConfigError."""
    try:
        return operator.index(value)
    except TypeError:
        raise ConfigError(f"{name} = {value!r}: it must be a whole number") from None


def _values_of(config: Any, env: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a finished Config, refusing what contradicts the other arguments."""
    from cumulant.run.config import to_dict

    if fields:
        raise ConfigError(f"config and {', '.join(fields)}: give a finished Config or single fields, not both")
    if not dataclasses.is_dataclass(config) or isinstance(config, type):
        raise ConfigError(f"config = {config!r}: it must be a Config of the algorithm")
    values = {"env": env, "env_options": {}} | to_dict(config)
    default = next((each.default for each in dataclasses.fields(config) if each.name == "env"), env)
    if values["env"] != default and not same_environment(values["env"], env):
        raise ConfigError(f"config is for the environment '{values['env']}', and env = '{env}'")
    return values


def same_environment(one: str, other: str) -> bool:
    """Return whether two names mean the same environment.

    >>> same_environment("cartpole", "CartPole-v1"), same_environment("warfarin", "CartPole-v1")
    (True, False)
    """
    return one == other or (lookup.find(one) is not None and lookup.find(one) == lookup.find(other))


def check_spec(spec: Any, where: Path | str) -> dict[str, Any]:
    """Return a specification that was read from a file if every part of it is of the right kind.

    Raises:
        RunError: Naming the part that is not.
    """
    if not isinstance(spec, dict):
        raise RunError(f"{where} is damaged: its specification is no JSON object")
    for key, kind in _KINDS.items():
        value = spec.get(key)
        if not isinstance(value, kind) or isinstance(value, bool):
            raise RunError(f"{where} is damaged: {key} is a {type(value).__name__}, not a {kind.__name__}")
    for key in ("threads", "checkpoint_seconds", "max_faults", "env_timeout"):
        if isinstance(spec.get(key, 1), bool) or not isinstance(spec.get(key, 1), int | float):
            raise RunError(f"{where} is damaged: {key} is no number")
    return spec


def read_spec(directory: Path) -> dict[str, Any]:
    """Read what a run, or the seeds of a group have in common, follows from.

    Raises:
        RunError: If it is missing or damaged (message names the part).
    """
    try:
        spec = group.read_spec(directory)
    except (OSError, TypeError, AttributeError) as problem:
        raise RunError(f"{directory} is damaged: {problem!r}") from problem
    return check_spec(spec, directory)


def written_by(run: Path) -> Any:
    """Return which machine wrote a run; None if nothing says it. A seed that has not begun was written by its group."""
    path = run / "manifest.json" if (run / "config.json").exists() else run.parent / "seeds.json"
    try:
        return json.loads(path.read_text(encoding="utf-8")).get("host")
    except (OSError, ValueError, AttributeError):
        return None


def code_in(config: Mapping[str, Any]) -> list[str]:
    """Return what in the fields of an algorithm looks like a path of somebody's own code: ``module:function``, ``file.py``.

    >>> code_in({"network": {"net": "nets.py:Wide"}, "reward": "lab.rewards:polite", "model": "runs/sft-001", "beta": 0.1})
    ['nets.py:Wide', 'lab.rewards:polite']
    >>> code_in({"reward": "runs/rm,distinct_2=0.5,mine.py:score=0.1"})  # a sum of terms
    ['mine.py:score']
    """
    found: list[str] = []
    for value in config.values():
        for each in value if isinstance(value, list | tuple) else [value]:
            if isinstance(each, Mapping):
                found += code_in(each)
            elif isinstance(each, str):
                words = [each, *(term.partition("=")[0].strip() for term in each.split(","))]
                found += [
                    word for word in dict.fromkeys(words) if re.fullmatch(r"(?s)[^,=]+(:[A-Za-z_]\w*|\.py)", word)
                ]
    return found


def check_trust(names: Iterable[Any], host: Any, where: Path | str, trust: bool) -> None:
    """Say which foreign code would be imported, and refuse it if another machine, or nobody knows which, named it.

    Args:
        names: Names that are about to be imported; only paths of somebody's own code matter.
        host: Fingerprint of the machine that wrote them.
        where: What names them, for the message.
        trust: Whether to import them all the same.

    Raises:
        RunError: If it is not this machine, and is not trusted.
    """
    from cumulant.run.manifest import host as this_machine

    foreign = ", ".join(dict.fromkeys(name for name in names if isinstance(name, str) and is_path(name)))
    if not foreign:
        return
    if host != this_machine() and not trust:
        raise RunError(
            f"{where} would import {foreign}, and another machine wrote it: "
            "read that code, then add --trust if you believe it"
        )
    warnings.warn(f"{where} imports {foreign} from {os.getcwd()}", stacklevel=3)


def train_command(spec: Mapping[str, Any], config: Any, seeds: int = 1) -> str:
    """Return the command that trains a config: every field in which it is not what the algorithm would take by itself.

    Args:
        spec: Of the training; its ``config`` does not matter.
        config: The Config, of this algorithm and environment.
        seeds: How many.
    """
    algo, env, options = spec["algo"], spec["env"], spec["env_options"]
    usual = search.fields_of(catalogue.default_config(catalogue.load_algorithm(algo), algo, env))
    words = ["cumulant", "train", algo, env]
    for name, field in search.fields_of(config).items():
        if name not in ("env", "env_options") and field.value != usual[name].value:
            words += _flag(name, field.value)
    if lookup.find(env) is not None:
        made = lookup.options_class(env)()
        for name, value in options.items():
            usually = getattr(made, name)
            if (tuple(value) if isinstance(value, list) else value) != usually:
                words += _flag(name, value)
    else:
        words += [word for key, value in options.items() for word in ("--env-option", f"{key}={json.dumps(value)}")]
    words += ["--seed", str(spec["seed"])] if spec["seed"] else []
    words += ["--seeds", str(seeds)] if seeds > 1 else []
    words += ["--threads", str(spec["threads"])] if spec.get("threads", 1) != 1 else []
    return shlex.join(words)


def _flag(name: str, value: Any) -> list[str]:
    flag = name.replace("_", "-")
    if isinstance(value, bool):
        return [f"--{flag}" if value else f"--no-{flag}"]
    return [f"--{flag}", *(map(str, value) if isinstance(value, list | tuple) else [str(value)])]
