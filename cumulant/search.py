"""What a sweep varies: ranges and choices of config fields, as a user writes them or as the table below proposes.

``learning_rate=1e-4..1e-2:log``   a range, here drawn on a logarithmic scale; of whole numbers where the field is one
``horizon=64|128|256``             choices; also of words, ``true|false``, ``none``, and sizes such as ``hidden=64,64|256``

Fields are called what the command line calls them: those of a group (``replay.n_step``) by their own name (``n_step``).
"""

from __future__ import annotations

import dataclasses
import math
import re
import types
import typing
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cumulant.errors import ConfigError, did_you_mean
from cumulant.run.config import from_dict, to_dict

# What is searched unless the user says otherwise, by field name. Names mean the same in every algorithm, a user's own
# included, so this is one table and not a literal in each file; `horizon` does not (here a rollout, there a block of
# compiled steps), so it is not in it. "x" is the value that `cumulant train` would use: a preset moves its own range. Few
# fields, wide ranges: a sweep of thirty trials cannot tell apart what twenty fields do.
FIELDS: Mapping[str, str] = {
    "learning_rate": "x/10..x*10:log",
    "gamma": "0.9|0.95|0.98|0.99|0.995|0.999",
    "lam": "0.8|0.9|0.95|0.98|1.0",
    "clip": "0.1..0.3",
    "entropy_coef": "0.0|0.001|0.003|0.01|0.03",
    "epochs": "2|4|8|16",
    "num_steps": "x/2|x|x*2|x*4",
    "batch_size": "x/2|x|x*2",
    "updates_per_step": "x/2|x|x*2",
    "target_every": "x/4..x*4:log",
    "polyak": "x/5..x*5:log",
    "n_step": "1|3|5",
    "exploration": "0.1..0.8",
    "step_size": "0.1..1.0",
    "step_power": "0.5..1.0",
    "epsilon": "0.05|0.1|0.3|0.9",
    "confidence": "x/5..x*5:log",
    "reward_std": "x/5..x*5:log",
}
_OWN = ("env", "env_options", "device", "total_steps", "eval_every_steps", "eval_episodes")  # the terms of a comparison
_NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"


@dataclass(frozen=True)
class Range:
    """Numbers from low to high, both included.

    Args:
        low: Lowest.
        high: Highest.
        log: Whether each factor of ten gets as many trials as the next.
        whole: Whether only whole numbers.
    """

    low: float
    high: float
    log: bool = False
    whole: bool = False

    def __contains__(self, value: object) -> bool:
        return isinstance(value, int | float) and not isinstance(value, bool) and self.low <= value <= self.high

    def __str__(self) -> str:
        return f"{self.low:g}..{self.high:g}" + (":log" if self.log else "")


@dataclass(frozen=True)
class Choice:
    """A few values.

    Args:
        values: Plain JSON values.
    """

    values: tuple[Any, ...]

    def __contains__(self, value: object) -> bool:
        return word(value) in self.words

    def __str__(self) -> str:
        return "|".join(self.words)

    @property
    def words(self) -> list[str]:
        """How each is written."""
        return [word(value) for value in self.values]


Space = dict[str, Range | Choice]


@dataclass(frozen=True)
class Field:
    """A field of a config, be it inside a group.

    Args:
        path: Names of the groups that it is in, and its own.
        hint: Its type.
        value: What it is set to.
    """

    path: tuple[str, ...]
    hint: Any
    value: Any


def word(value: Any) -> str:
    """Write a value as ``--search`` reads it.

    >>> word(True), word(None), word([64, 64]), word(0.5)
    ('true', 'none', '64,64', '0.5')
    """
    if value is None or isinstance(value, bool):
        return str(value).lower()
    return ",".join(map(word, value)) if isinstance(value, list | tuple) else str(value)


def fields_of(config: Any) -> dict[str, Field]:
    """Return the fields of a config and of its groups, by their own names."""
    found: dict[str, Field] = {}
    hints = typing.get_type_hints(type(config))
    for item in dataclasses.fields(config):
        value = getattr(config, item.name)
        if dataclasses.is_dataclass(value):
            for name, inner in fields_of(value).items():
                found.setdefault(name, dataclasses.replace(inner, path=(item.name, *inner.path)))
        else:
            found[item.name] = Field((item.name,), hints[item.name], value)
    return found


def split(text: str) -> dict[str, str]:
    """Take ``--search`` apart.

    >>> split("learning-rate=1e-4..1e-2:log,hidden=64,64|256,gamma=0.9|0.99")
    {'learning_rate': '1e-4..1e-2:log', 'hidden': '64,64|256', 'gamma': '0.9|0.99'}

    Raises:
        ConfigError: For a part that is not ``field=...``, or a field that is named twice.
    """
    found: dict[str, str] = {}
    for part in re.split(r",(?=\s*[A-Za-z_][\w-]*\s*=)", text):
        name, equals, values = part.partition("=")
        name = name.strip().replace("-", "_")
        if not equals or not name or not values.strip():
            raise ConfigError(
                f"search {part.strip()!r}: write it as field=low..high, field=low..high:log or field=a|b|c"
            )
        if name in found:
            raise ConfigError(f"search {name}: it is named twice")
        found[name] = values.strip()
    return found


def space(config: Any, given: Mapping[str, Any] | str | None = None, fixed: Collection[str] = ()) -> Space:
    """Return what a sweep varies.

    Args:
        config: Of the algorithm, with the values that do not vary.
        given: By field what the user asks for, as text or as a list of choices; or all of it as one text. None for the
            fields of the table that the algorithm has.
        fixed: Fields that the user has set, which are not varied.

    Raises:
        ConfigError: If a field does not exist, is of another kind, or has nothing to vary (message names it).
    """
    known = fields_of(config)
    if given is None:
        found = {
            name: _proposed(text, known[name], name)
            for name, text in FIELDS.items()
            if name in known and name not in fixed and known[name].value is not None
        }
        if not found:
            raise ConfigError(
                "no field of this algorithm has a range of its own: name some, as in --search gamma=0.9..0.99"
            )
        return found
    given = split(given) if isinstance(given, str) else {key.replace("-", "_"): value for key, value in given.items()}
    for name in given:
        if name not in known:
            raise ConfigError(f"search: there is no field '{name}': {did_you_mean(name, known.keys() - set(_OWN))}")
        if name in _OWN:
            raise ConfigError(f"search {name}: it is the same in every trial, or they could not be compared; fix it")
        if name in fixed:
            raise ConfigError(f"search {name}: it is both searched and set to {known[name].value!r}; choose one")
    if not given:
        raise ConfigError("search: it names no field, as in gamma=0.9..0.99")
    found = {name: _read(values, known[name], name) for name, values in given.items()}
    for name, one in found.items():
        try:
            if isinstance(one, Choice):  # as the config has them: 0 becomes 0.0 where the field is no whole number
                made = [fields_of(with_fields(config, {name: value}))[name].value for value in one.values]
                found[name] = Choice(tuple(list(value) if isinstance(value, tuple) else value for value in made))
            else:
                for end in (one.low, one.high):
                    with_fields(config, {name: int(end) if one.whole else end})
        except ConfigError as problem:
            raise ConfigError(f"search {name}={one}: {problem}") from None
    return found


def with_fields(config: Any, values: Mapping[str, Any]) -> Any:
    """Return a config with other values of some fields, each by its own name.

    Raises:
        ConfigError: If they are refused.
    """
    known, plain = fields_of(config), to_dict(config)
    for name, value in values.items():
        target = plain
        for key in known[name].path[:-1]:
            target = target[key]
        target[known[name].path[-1]] = value
    return from_dict(type(config), plain, where="a trial")


def to_json(found: Space) -> dict[str, Any]:
    """Return a space as plain JSON values."""
    return {name: dataclasses.asdict(one) for name, one in found.items()}


def from_json(values: Mapping[str, Any]) -> Space:
    """Undo ``to_json``.

    Raises:
        TypeError, KeyError, ValueError: If it is not what that returned.
    """
    return {
        str(name): Choice(tuple(one["values"])) if "values" in one else Range(**one) for name, one in values.items()
    }


def _proposed(text: str, field: Field, name: str) -> Range | Choice:
    """Return what the table says of a field, widened so that it holds the field's own value."""
    whole, x = _kind(field.hint) is int, field.value

    def number(term: str) -> float:
        term, sign, factor = re.match(r"([^*/]+)([*/]?)(.*)", term).groups()  # type: ignore[union-attr]
        value = x if term == "x" else float(term)
        value = value * float(factor) if sign == "*" else value / float(factor) if sign else value
        return max(1, round(value)) if whole else float(f"{value:.6g}")

    terms, _, log = text.partition(":")
    if ".." in terms:
        low, high = (number(term) for term in terms.split(".."))
        if not log or x > 0:
            low, high = min(low, x), max(high, x)
            return Range(low, high, log == "log", whole)
        raise ConfigError(f"search: {name} = {x} has no logarithmic range of its own: name the fields to search")
    return Choice(tuple(sorted({*map(number, terms.split("|")), x})))


def _read(values: Any, field: Field, name: str) -> Range | Choice:
    """Return what a user wrote of a field."""
    if isinstance(values, Range | Choice):
        return values
    where = f"search {name}={values}"
    if isinstance(values, str):
        span = re.fullmatch(rf"({_NUMBER})\.\.({_NUMBER})(?::(\w+))?", values)
        if span:
            return _range(span, field, where)
        if ".." in values:
            raise ConfigError(f"{where}: write it as low..high or low..high:log, with two numbers")
        values = [_value(each.strip(), field.hint, where) for each in values.split("|")]
    if not isinstance(values, Sequence):
        raise ConfigError(f"{where}: it must be a text such as '0.9..0.99', or a list of choices")
    plain = [list(each) if isinstance(each, tuple) else each for each in values]
    words = [word(each) for each in plain]
    if len(set(words)) < len(words):
        raise ConfigError(f"{where}: a choice is named twice")
    if len(plain) < 2:
        raise ConfigError(f"{where}: one value is nothing to search; fix it by a flag, or give a second one")
    return Choice(tuple(plain))


def _range(span: re.Match[str], field: Field, where: str) -> Range:
    kind = _kind(field.hint)
    low, high = float(span[1]), float(span[2])
    if kind not in (int, float):
        raise ConfigError(f"{where}: the field is no number; give choices, {_example(field.hint)}")
    if span[3] not in (None, "log"):
        raise ConfigError(f"{where}: after the range stands ':log' or nothing, not ':{span[3]}'")
    if not low < high or not math.isfinite(high - low):
        raise ConfigError(f"{where}: the range is empty; the lower end comes first")
    if span[3] and low <= 0.0:
        raise ConfigError(f"{where}: a logarithmic range begins above 0")
    if kind is int and not (low.is_integer() and high.is_integer()):
        raise ConfigError(f"{where}: the field is a whole number, and so must both ends be")
    return Range(int(low), int(high), bool(span[3]), True) if kind is int else Range(low, high, bool(span[3]))


def _kind(hint: Any) -> Any:
    """Return the type of a field without ``None``; its origin, such as tuple or Literal, where it has one."""
    if typing.get_origin(hint) is typing.Annotated:
        return _kind(typing.get_args(hint)[0])
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return _kind(next(arg for arg in typing.get_args(hint) if arg is not type(None)))
    return typing.get_origin(hint) or hint


def _example(hint: Any) -> str:
    if _kind(hint) is typing.Literal:
        return "|".join(map(word, typing.get_args(hint)))
    return {bool: "true|false", tuple: "64,64|256,256"}.get(_kind(hint), "a|b|c")


def _value(text: str, hint: Any, where: str) -> Any:
    """Read one choice as its field's type."""
    kind = _kind(hint)
    if text == "none" and type(None) in typing.get_args(hint):
        return None
    if kind is tuple:
        return [_value(part, typing.get_args(hint)[0], where) for part in _parts(text)]
    if kind is bool:
        if text not in ("true", "false"):
            raise ConfigError(f"{where}: '{text}' must be true or false")
        return text == "true"
    if kind in (int, float):
        if not re.fullmatch(_NUMBER, text):
            raise ConfigError(f"{where}: '{text}' is no number")
        number = float(text)
        if kind is int and not number.is_integer():
            raise ConfigError(f"{where}: '{text}' is no whole number")
        return int(number) if kind is int else number
    return text  # the config says whether it is one of its words


def _parts(text: str) -> Iterable[str]:
    return [part.strip() for part in text.split(",") if part.strip()]
