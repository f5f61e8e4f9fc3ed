"""Find native environments by name, without importing them.

An environment file says what it offers in one literal, which is read from the source text:

    ENVIRONMENTS = {"cartpole": "CartPole-v1"}   # short name -> class and version; the Gymnasium id is cumulant/CartPole-v1

``CartPole`` is then a frozen dataclass of options in that file, with a method ``kernel() -> Kernel``; the first line of its
docstring is what ``cumulant list envs`` prints. A class attribute ``replaces = "CartPole-v1"`` says that it is the batch form of
an environment of Gymnasium itself, and agrees with it step for step.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import importlib
import numbers
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cumulant.envs.views import Exhibit, seen, split_view
from cumulant.errors import ConfigError, UsageError, did_you_mean

if TYPE_CHECKING:
    from cumulant.envs.batched import Kernel


@dataclass(frozen=True)
class Listed:
    """What the source text says of an environment.

    Args:
        name: Short name, such as "warfarin".
        gym_id: Gymnasium id, such as "cumulant/Warfarin-v0".
        module: Where it is.
        class_name: Its options class.
        summary: First line of the class's docstring.
        replaces: Id of the Gymnasium environment that it agrees with, or "".
    """

    name: str
    gym_id: str
    module: str
    class_name: str
    summary: str
    replaces: str


@functools.cache
def listing() -> Mapping[str, Listed]:
    """Return every native environment by its short name, from the source text alone."""
    found: dict[str, Listed] = {}
    root = Path(__file__).parent
    for path in sorted([*root.glob("*.py"), *root.glob("*/env.py")]):
        text = path.read_text(encoding="utf-8")
        if "ENVIRONMENTS" not in text:
            continue
        tree = ast.parse(text)
        names = literal(tree.body, "ENVIRONMENTS")
        if names is None:
            continue
        module = ".".join(("cumulant", "envs", *path.relative_to(root).with_suffix("").parts))
        classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
        for name, versioned in names.items():
            node = classes[versioned.split("-")[0]]
            summary = (ast.get_docstring(node) or "").partition("\n")[0]
            replaces = literal(node.body, "replaces") or ""
            found[name] = Listed(name, f"cumulant/{versioned}", module, node.name, summary, replaces)
    return found


def literal(body: list[ast.stmt], name: str) -> Any:
    """Return the literal that is assigned to a name in this block, or None."""
    for node in body:
        target: ast.expr | None = None
        if isinstance(node, ast.AnnAssign):
            target = node.target
        elif isinstance(node, ast.Assign):
            target = node.targets[0]
        if isinstance(target, ast.Name) and target.id == name:
            assert isinstance(node, ast.AnnAssign | ast.Assign)
            return None if node.value is None else ast.literal_eval(node.value)
    return None


def find(name: str) -> Listed | None:
    """Return the native environment of this short name, native id, or Gymnasium id that it replaces; None if there is none.

    However it is seen (``cumulant.envs.views``), it is the same environment.
    """
    known, name = listing(), split_view(name)[0]
    if name in known:
        return known[name]
    return next((env for env in known.values() if name in (env.gym_id, env.replaces)), None)


def options_class(name: str) -> type:
    """Return the options class of a native environment.

    Raises:
        UsageError: If there is no such environment (message names the closest).
    """
    listed = find(name)
    if listed is None:
        raise UsageError(f"no native environment '{name}': {did_you_mean(name, listing())}")
    return getattr(importlib.import_module(listed.module), listed.class_name)


def notice(name: str) -> str:
    """Return what must be said wherever results of an environment are shown; "" for nothing."""
    return getattr(options_class(name), "notice", "") if find(name) is not None else ""


def exhibits(name: str) -> tuple[Exhibit, ...]:
    """Return the exhibits of an environment: ``EXHIBITS`` of the module ``exhibits`` beside a native one; none of any other."""
    listed = find(name)
    package = "" if listed is None else listed.module.removesuffix(".env").removeprefix("cumulant.envs.")
    if (
        not package or not (Path(__file__).parent / package / "exhibits.py").is_file()
    ):  # nothing is imported to see that
        return ()
    return importlib.import_module(f"cumulant.envs.{package}.exhibits").EXHIBITS


def exhibit(name: str, wanted: str) -> Exhibit:
    """Return an exhibit of an environment.

    Raises:
        UsageError: If it has none of that name (message names the closest).
    """
    found = {each.name: each for each in exhibits(name)}
    if wanted not in found:
        raise UsageError(f"'{name}' has no exhibit '{wanted}': {did_you_mean(wanted, found)}")
    return found[wanted]


def with_options(name: str, options: Mapping[str, Any]) -> Any:
    """Make the options object of a native environment; nothing that the options name is imported.

    Args:
        name: Short name or Gymnasium id.
        options: Fields of its options class.

    Raises:
        ConfigError: If a field does not exist or a value is refused (message names it).
    """
    cls = options_class(name)
    fields = [f.name for f in dataclasses.fields(cls)]
    for key in options:
        if key not in fields:
            raise ConfigError(f"environment '{name}' has no option '{key}': {did_you_mean(key, fields)}")
    hints = typing.get_type_hints(cls)
    values = {key: _coerced(hints[key], value, f"environment '{name}': {key}") for key, value in options.items()}
    try:
        return cls(**values)
    except TypeError as problem:
        raise ConfigError(f"environment '{name}' refuses {dict(options)}: {problem}") from problem


def resolved(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return every option of a native environment, those that were not given with their defaults.

    Raises:
        ConfigError: As ``with_options``.

    >>> resolved("CartPole-v1", {})
    {'max_steps': 500}
    """
    made = with_options(name, options)
    return {field.name: getattr(made, field.name) for field in dataclasses.fields(made)}


def build(name: str, options: Mapping[str, Any]) -> Kernel:
    """Make the kernel of a native environment.

    Args:
        name: Short name or Gymnasium id.
        options: Fields of its options class.

    Raises:
        ConfigError: If a field does not exist or a value is refused (message names it).
    """
    return seen(with_options(name, options).kernel(), name)


def _coerced(hint: Any, value: Any, where: str) -> Any:
    """Return an option's value as the annotated type: numbers, texts, flags, choices, and tuples of them.

    ``run.config.from_dict`` has the same rules; environments stand beside ``run`` and cannot use it.
    """
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Literal:
        if value not in args:
            raise ConfigError(f"{where} = {value!r}; it must be one of {', '.join(map(repr, args))}")
        return value
    if origin is tuple and isinstance(value, list | tuple):
        return tuple(_coerced(args[0], item, where) for item in value)
    flag = isinstance(value, bool)
    whole = isinstance(value, numbers.Integral) or (isinstance(value, float) and value.is_integer())
    if hint is int and whole and not flag:
        return int(value)
    if hint is float and isinstance(value, numbers.Real) and not flag:
        return float(value)
    expected = origin or hint
    if isinstance(expected, type) and (not isinstance(value, expected) or (flag and expected is not bool)):
        raise ConfigError(f"{where} = {value!r}; it must be {expected.__name__}, not {type(value).__name__}")
    return value
