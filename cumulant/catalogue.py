"""What there is to choose from: algorithms and protocols, found by file name and read from the source text.

Nothing is imported to make a list, so that it is instant.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import importlib
import re
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from cumulant.data.materials import MATERIALS
from cumulant.envs import lookup
from cumulant.envs.games import lookup as games
from cumulant.envs.lookup import literal
from cumulant.errors import StorageError, UsageError, did_you_mean
from cumulant.loading import is_path, load_module, unsearched
from cumulant.presets import PRESETS, Preset

_PACKAGE = Path(__file__).parent
TEXT = "language model"  # CATEGORY of the algorithms that learn from text instead of acting in an environment
GAME = "board games"  # CATEGORY of those that learn a game by playing against themselves
_TEXT_FILES = (".jsonl", ".json", ".parquet", ".txt", ".csv")


@dataclass(frozen=True)
class Listed:
    """What the source text says of an algorithm.

    Args:
        name: What the command line calls it.
        summary: First line of its docstring.
        category: Its family.
        use: When to choose it.
    """

    name: str
    summary: str
    category: str = ""
    use: str = ""

    @property
    def is_text(self) -> bool:
        """Whether it learns from text instead of acting in an environment."""
        return self.category == TEXT

    @property
    def is_game(self) -> bool:
        """Whether it learns a board game by playing against itself."""
        return self.category == GAME


class ListedProtocol(NamedTuple):
    """What the source text says of a clinical protocol.

    Args:
        name: What the command line calls it.
        summary: First line of its docstring.
        kind: protocol, ceiling or floor.
        knows: What it needs to know: nothing, INR, clinic (age, size, race, drugs), genotype or truth.
        source: Where its rules come from.
    """

    name: str
    summary: str
    kind: str
    knows: str
    source: str


@functools.cache
def _files() -> Mapping[str, Path]:
    """Return the file of every algorithm by name."""
    return {path.stem: path for path in sorted((_PACKAGE / "algos").glob("[!_]*.py"))}


@functools.cache
def _read(path: Path) -> Listed:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    summary = (ast.get_docstring(tree) or "").partition("\n")[0]
    return Listed(path.stem, summary, literal(tree.body, "CATEGORY") or "", literal(tree.body, "USE") or "")


@functools.cache
def algorithms() -> Mapping[str, Listed]:
    """Return every algorithm by name."""
    return {name: _read(path) for name, path in _files().items()}


@functools.cache
def protocols() -> Mapping[str, ListedProtocol]:
    """Return every clinical protocol by name."""
    folder = _PACKAGE / "envs" / "warfarin" / "protocols"
    trees = {path.stem: ast.parse(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.py"))}
    classes = {
        f"{stem}.{node.name}": node
        for stem, tree in trees.items()
        for node in tree.body
        if isinstance(node, ast.ClassDef)
    }

    def stated(node: ast.ClassDef, name: str) -> str | None:
        """Return what a class, or else the one in the same place that it derives from, says of itself."""
        found = literal(node.body, name)
        parents = (f"{stem}.{base.id}" for base in node.bases if isinstance(base, ast.Name) for stem in trees)
        return found or next((stated(classes[parent], name) for parent in parents if parent in classes), None)

    return {
        name: ListedProtocol(
            name,
            (ast.get_docstring(classes[where]) or "").partition("\n")[0],
            *(stated(classes[where], attribute) or "" for attribute in ("kind", "knows", "source")),
        )
        for name, where in literal(trees["__init__"].body, "PROTOCOLS").items()
    }


def source_of(algo: str) -> Path:
    """Return the file of an algorithm of ours.

    Raises:
        UsageError: If there is none of that name (message names the closest).
    """
    if algo not in _files():
        raise UsageError(f"no algorithm '{algo}': {did_you_mean(algo, _files())}")
    return _files()[algo]


def short_name(algo: str) -> str:
    """Return what directories and tables call an algorithm.

    >>> short_name("ppo"), short_name("my/ppo.py"), short_name("lab.algos.foo")
    ('ppo', 'ppo', 'foo')
    """
    return Path(algo).stem if algo.endswith(".py") else algo.rpartition(".")[2]


def is_text(module: Any) -> bool:
    """Return whether an algorithm learns from text instead of acting in an environment."""
    return getattr(module, "CATEGORY", "") == TEXT


def is_game(module: Any) -> bool:
    """Return whether an algorithm learns a board game by playing against itself."""
    return getattr(module, "CATEGORY", "") == GAME


def listed_as_text(algo: str) -> bool:
    """Return whether an algorithm of ours learns from text; false for anybody's own file, which is not imported."""
    return algo in _files() and _read(_files()[algo]).is_text


def listed_as_game(algo: str) -> bool:
    """Return whether an algorithm of ours learns a board game; false for anybody's own file, which is not imported."""
    return algo in _files() and _read(_files()[algo]).is_game


def check_target(module: Any, algo: str, target: str) -> None:
    """Refuse an environment for an algorithm that learns from text, and text for one that acts.

    Args:
        module: The algorithm.
        algo: What it is called.
        target: What it shall be trained on.

    Raises:
        UsageError: Naming what fits.
    """
    from cumulant.data.materials import MATERIALS

    sets = [name for name, material in MATERIALS.items() if material.kind.startswith("text")]
    is_set = all(name in sets for name in target.split("+"))
    if is_game(module):
        if target not in games.listing():
            raise UsageError(
                f"'{algo}' learns board games, and '{target}' is none: {did_you_mean(target, games.listing())}"
            )
    elif not is_text(module):
        if lookup.find(target) is None and target in games.listing():
            players = ", ".join(name for name, listed in algorithms().items() if listed.is_game)
            raise UsageError(
                f"'{algo}' acts in an environment, and '{target}' is a board game (what learns those: {players})"
            )
        if is_set or target.endswith(_TEXT_FILES):
            stages = ", ".join(name for name, listed in algorithms().items() if listed.is_text)
            raise UsageError(f"'{algo}' acts in an environment, and '{target}' is text (what reads text: {stages})")
    elif not is_set and not Path(target).expanduser().exists():
        if lookup.find(target) or re.search(r"-v\d+$|:\w+$", target):
            raise UsageError(
                f"'{algo}' learns from text, and '{target}' is an environment: give a file (JSONL, Parquet, text) "
                f"or one of {', '.join(sets)}"
            )
        raise UsageError(f"there is no text '{target}': no such file, and no such set: {did_you_mean(target, sets)}")


def preset_for(algo: str, env: str) -> Preset | None:
    """Return the tuned settings of an algorithm of ours on an environment, if there are any.

    A user's own file has none, whatever it is called: its Config may have other fields.
    """
    listed = lookup.find(env)
    return PRESETS.get((algo, listed.name if listed else env))


def load_algorithm(algo: str) -> Any:
    """Import an algorithm: a name of ours, a file (``my/ppo.py``), or a dotted module (``mylab.algos.foo``).

    Raises:
        UsageError: If there is none, or if it has no ``train``, no ``evaluate`` where it learns from text, or no ``Config``
            with the fields that every algorithm has.
    """
    module: Any
    if algo not in _files() and not is_path(algo):
        raise UsageError(f"no algorithm '{algo}': {did_you_mean(algo, _files())}")
    with unsearched():
        module = importlib.import_module(f"cumulant.algos.{algo}") if algo in _files() else load_module(algo)
    text = is_text(module)
    for name in ("Config", "train", *(["evaluate"] if text else [])):
        if not hasattr(module, name):
            needs = (
                "Config, train(config, run) and evaluate(config, directory)"
                if text
                else "Config and train(config, run)"
            )
            raise UsageError(f"algorithm '{algo}' has no '{name}': an algorithm file needs {needs}")
    fields = (
        {field.name for field in dataclasses.fields(module.Config)}
        if dataclasses.is_dataclass(module.Config)
        else set()
    )
    lacking = [name for name in ("env", "env_options", "total_steps") if name not in fields]
    if lacking:
        raise UsageError(f"algorithm '{algo}': its Config must be a dataclass with {', '.join(lacking)}")
    return module


def default_config(module: Any, algo: str, env: str, fields: Mapping[str, Any] | None = None) -> Any:
    """Return the Config of an algorithm for an environment: its defaults, the preset over them, ``fields`` over both.

    Args:
        module: The algorithm.
        algo: What it is called.
        env: Environment.
        fields: Fields of the Config. A group of fields, such as ``replay``, may be given in part, and a field of a group by its
            own name, as on the command line.

    Raises:
        ConfigError: If a field does not exist or is refused.
    """
    from cumulant.run.config import from_dict, to_dict

    preset = preset_for(algo, env)
    group_of = _groups_of_fields(module.Config)
    values: dict[str, Any] = {}
    for given in (preset.config if preset else {}, fields or {}, {"env": env}):
        for key, value in given.items():
            if key in group_of:
                key, value = group_of[key], {key: value}
            if isinstance(value, Mapping):
                before: Any = values.get(key, {})
                before = to_dict(before) if dataclasses.is_dataclass(before) else before
                value = {**before, **value} if isinstance(before, Mapping) else value
            values[key] = value
    return from_dict(module.Config, values, where=algo)


def _groups_of_fields(config: Any) -> dict[str, str]:
    """Return in which group each field is that is in one."""
    hints = typing.get_type_hints(config)
    groups = {field.name: hints[field.name] for field in dataclasses.fields(config)}
    return {
        inner.name: name
        for name, hint in groups.items()
        if dataclasses.is_dataclass(hint)
        for inner in dataclasses.fields(hint)
        if inner.name not in groups
    }


def listing() -> dict[str, dict[str, dict[str, str]]]:
    """Return algorithms, environments, games, exhibits, protocols and embedded data by name, with what to say of each."""
    return {
        "algos": {
            name: {"category": a.category, "summary": a.summary, "use": a.use} for name, a in algorithms().items()
        },
        "envs": {
            name: {"gym_id": e.gym_id, "replaces": e.replaces, "summary": e.summary}
            for name, e in lookup.listing().items()
        },
        "games": {
            name: {"summary": summary, "options": games.options_of(name)} for name, summary in games.listing().items()
        },
        "exhibits": {
            each.name: {"env": name, "summary": each.summary}
            for name in lookup.listing()
            for each in lookup.exhibits(name)
        },
        "protocols": {name: {k: v for k, v in p._asdict().items() if k != "name"} for name, p in protocols().items()},
        "data": {
            name: {"kind": m.kind, "summary": m.summary, "licence": m.licence, "citation": m.citation}
            for name, m in MATERIALS.items()
        },
    }


def copy(algo: str, file: Path | str) -> Path:
    """Write an editable copy of an algorithm, which ``train`` runs by its path.

    Raises:
        UsageError: If there is no such algorithm, or the file exists.
        StorageError: If the disk refuses.
    """
    from cumulant.run.checkpoint import write_atomic

    source, target = source_of(algo), Path(file)
    if target.suffix != ".py":
        raise UsageError(f"{target}: give the copy a name that ends in .py")
    try:
        if target.exists():
            raise UsageError(f"{target} exists: choose another name, or remove it first")
        target.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(target, source.read_bytes())
    except OSError as problem:
        raise StorageError(f"{target} cannot be written: {problem.strerror}; choose another place") from problem
    return target
