"""Strict configuration: a frozen dataclass, and the JSON that it came from or goes to.

An unknown key, a wrong type or a refused value is an error that names the field; nothing is ignored silently.
"""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from cumulant.errors import ConfigError, did_you_mean

T = TypeVar("T")


def to_dict(config: Any) -> dict[str, Any]:
    """Return a config as plain JSON values (tuples become lists).

    Args:
        config: A dataclass instance.

    Raises:
        ConfigError: If a number is not finite, which JSON cannot hold (message names the field).
    """
    return {field.name: _plain(getattr(config, field.name), field.name) for field in dataclasses.fields(config)}


def _plain(value: Any, where: str) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return to_dict(value)
    if isinstance(value, list | tuple):
        return [_plain(item, where) for item in value]
    if isinstance(value, Mapping):
        return {key: _plain(item, f"{where}.{key}") for key, item in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(f"{where} = {value}: it must be a finite number")
    return value


def from_dict(cls: type[T], values: Mapping[str, Any], where: str = "config") -> T:
    """Build a config from plain values, refusing whatever does not fit.

    Args:
        cls: The dataclass.
        values: Field values; missing ones keep their defaults, also those of a group of fields that is given in part.
        where: What to call this config in error messages.

    Raises:
        ConfigError: For an unknown key (message names the closest), a wrong type, or a value that the class refuses.

    >>> @dataclasses.dataclass(frozen=True)
    ... class Config:
    ...     gamma: float = 0.99
    >>> from_dict(Config, {"gama": 0.9})
    Traceback (most recent call last):
    cumulant.errors.ConfigError: config: there is no field 'gama': did you mean 'gamma'?
    """
    hints = typing.get_type_hints(cls)
    known = {field.name: field for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    resolved = {}
    for key, value in values.items():
        if key not in known:
            raise ConfigError(f"{where}: there is no field '{key}': {did_you_mean(key, list(known))}")
        make = known[key].default_factory
        if isinstance(value, Mapping) and dataclasses.is_dataclass(hints[key]) and make is not dataclasses.MISSING:
            value = {
                **vars(make()),
                **value,
            }  # a group in part keeps this class's defaults, not those of the group's own
        resolved[key] = _coerce(hints[key], value, f"{where}: {key}")
    return cls(**resolved)


def _coerce(hint: Any, value: Any, where: str) -> Any:
    """Return the value as the annotated type, or raise ConfigError."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return value
    if origin is typing.Annotated:
        return _coerce(args[0], value, where)
    if dataclasses.is_dataclass(hint):
        return value if isinstance(value, hint) else from_dict(hint, value, where)  # type: ignore[arg-type]
    if origin is typing.Literal:
        if value not in args:
            raise ConfigError(f"{where} = {value!r}: it must be one of {', '.join(map(repr, args))}")
        return value
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in args:
            return None
        (rest,) = [arg for arg in args if arg is not type(None)]
        return _coerce(rest, value, where)
    if origin is tuple and isinstance(value, list | tuple):
        return tuple(_coerce(args[0], item, where) for item in value)
    if hint is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if hint is int and isinstance(value, float) and value.is_integer():
        return int(value)
    expected = origin or hint
    if not isinstance(value, expected) or (isinstance(value, bool) and expected is not bool):
        name = getattr(expected, "__name__", str(expected))
        raise ConfigError(f"{where} = {value!r}: it must be {name}, not {type(value).__name__}")
    return value


def require(config: Any, field: str, ok: bool, rule: str) -> None:
    """Refuse a config whose field breaks a rule; for use in ``__post_init__``.

    Args:
        config: The config, for its value and class name.
        field: Which field.
        ok: Whether the rule holds.
        rule: What must hold, such as "in [0, 1]".

    Raises:
        ConfigError: If it does not hold (message names field, value and rule).
    """
    if not ok:
        raise ConfigError(f"{field} = {getattr(config, field)!r}: it must be {rule}")


def device_of(values: Mapping[str, Any]) -> str:
    """Return the device that a Config names, itself or in a group of its fields; the CPU if it names none.

    >>> device_of({"compute": {"device": "cuda"}}), device_of({"clip": 0.2})
    ('cuda', 'cpu')
    """
    groups = [values, *(group for group in values.values() if isinstance(group, Mapping))]
    return next((str(group["device"]) for group in groups if "device" in group), "cpu")


def check_device(values: Mapping[str, Any]) -> None:
    """Refuse a Config, as plain values, whose device torch does not see here.

    Raises:
        ConfigError: Naming those that are.
    """
    device = device_of(values)
    if device == "cpu":
        return
    import torch

    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not there.get(device.partition(":")[0]):
        sees = ", ".join(name for name in there if there[name])
        raise ConfigError(f"device = {device}: there is none here; torch sees {sees}")
