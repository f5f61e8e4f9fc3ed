"""The register of compiled functions: each restates one formula of ``maths``, or puts such restatements together.

A formula exists once. Compiled code cannot call torch, so it may restate one, but only in the open: a test finds
everything that is registered here and compares it with the original, and it fails for a compiled function of this
package that is not registered.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class Compiled:
    """A registered function.

    Args:
        name: Where it is, such as "cumulant.kernels.tabular.q_learning_target".
        function: The compiled function.
        of: The function of ``maths`` that it restates, such as "cumulant.maths.value.q_learning_target"; "" for a loop.
        parts: What a loop is put together from: registered functions, and those of environments.
    """

    name: str
    function: Callable[..., Any]
    of: str
    parts: tuple[Callable[..., Any], ...]


_REGISTER: dict[str, Compiled] = {}


def twin(of: str) -> Callable[[F], F]:
    """Register a compiled function as the restatement of a formula; use it above ``njit``.

    Args:
        of: Dotted name of the formula.
    """
    return lambda function: _add(function, of, ())


def loop(*parts: Callable[..., Any]) -> Callable[[F], F]:
    """Register a compiled function that states no formula of its own; use it above ``njit``.

    Args:
        *parts: The compiled functions that it calls for every formula; none where there is no formula in it at all.
    """
    return lambda function: _add(function, "", parts)


def _add(function: F, of: str, parts: tuple[Callable[..., Any], ...]) -> F:
    name = f"{function.__module__}.{function.__name__}"
    _REGISTER[name] = Compiled(name, function, of, parts)
    return function


def registered() -> dict[str, Compiled]:
    """Return every registered function by its name; imports all modules of this package."""
    package = importlib.import_module(__package__ or "cumulant.kernels")
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        importlib.import_module(module.name)
    return dict(_REGISTER)
