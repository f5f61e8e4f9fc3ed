"""A reward is a list of named, weighted terms, each a vectorised function of outcome columns.

An environment reports *what happened* as outcome columns ``[B, K]``; a reward says *what that is worth*.
Because the two are apart, one simulation can be trained under several rewards, every term is logged by itself,
and an audit can ask what an agent earned without reaching the goal.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from cumulant.errors import ConfigError, CumulantError, NumericsError, did_you_mean
from cumulant.loading import load_attribute

Outcomes = Mapping[str, np.ndarray]
TermFunction = Callable[[Outcomes], np.ndarray]


@dataclass(frozen=True, init=False)
class Product:
    """A term function that compiled code can compute: the product of some outcome columns.

    Args:
        *columns: Names of the columns, at least one.

    >>> Product("in_range", "tested")({"in_range": np.array([1.0, 1.0]), "tested": np.array([0.0, 1.0])})
    array([0., 1.])
    """

    columns: tuple[str, ...]

    def __init__(self, *columns: str) -> None:
        if not columns:
            raise ConfigError("a Product of no outcome columns: name at least one")
        object.__setattr__(self, "columns", columns)

    def __call__(self, outcomes: Outcomes) -> np.ndarray:
        """Return the product, ``[B]``."""
        first, *others = (outcomes[name] for name in self.columns)
        for each in others:
            first = first * each
        return first


@dataclass(frozen=True)
class Term:
    """One reason to be rewarded.

    Args:
        name: What the logs and reports call it.
        weight: Reward per unit of the term.
        function: Maps outcome columns (name -> ``[B]``) to a number or flag per environment, ``[B]``.
    """

    name: str
    weight: float
    function: TermFunction


@dataclass(frozen=True)
class Reward:
    """A named list of terms; the reward is their weighted sum.

    Args:
        name: What the command line calls it.
        terms: The terms, in the order in which they are reported.

    >>> calm = Reward("calm", (Term("in_range", 1.0, lambda o: (o["inr"] >= 2) & (o["inr"] <= 3)),))
    >>> calm.split({"inr": np.array([1.5, 2.5])})
    array([[0.],
           [1.]])
    """

    name: str
    terms: tuple[Term, ...]

    @property
    def term_names(self) -> tuple[str, ...]:
        """Names of the terms, in order."""
        return tuple(term.name for term in self.terms)

    def products(self, names: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray] | None:
        """Return the weights ``[L]``, and which outcome columns each term is a product of, ``[L, ...]`` filled up with -1.

        Args:
            names: Of the outcome columns, in their order.

        Returns:
            None unless every term is a ``Product`` of such columns.
        """
        found = [term.function.columns for term in self.terms if isinstance(term.function, Product)]
        if not found or len(found) < len(self.terms) or not set().union(*found) <= set(names):
            return None
        columns = np.full((len(found), max(map(len, found))), -1)
        for row, each in zip(columns, found):
            row[: len(each)] = [names.index(name) for name in each]
        return np.array([float(term.weight) for term in self.terms]), columns

    def split(self, outcomes: Outcomes, unit: str = "environment") -> np.ndarray:
        """Return each term's weighted share of the reward.

        Args:
            outcomes: Outcome columns, name -> ``[B]``.
            unit: What a row is called in messages.

        Returns:
            Weighted terms, ``[B, len(terms)]`` float64; the reward is the sum over the last axis.

        Raises:
            ConfigError: If a term needs a column that the environment does not report, raises, or has another shape than the
                columns (message names the term).
            NumericsError: If a term is not finite (message names it).
        """
        columns = []
        size = next(iter(outcomes.values())).shape if outcomes else None
        for term in self.terms:
            try:
                column = term.weight * np.asarray(term.function(outcomes), dtype=np.float64)
            except KeyError as missing:
                raise ConfigError(
                    f"reward '{self.name}', term '{term.name}': there is no outcome column {missing}; "
                    f"the {unit} reports {', '.join(outcomes)}"
                ) from None
            except CumulantError:
                raise
            except Exception as problem:  # it is the user's own function
                raise ConfigError(
                    f"reward '{self.name}', term '{term.name}' raised {type(problem).__name__}: {problem}"
                ) from problem
            if column.shape != size:
                raise ConfigError(
                    f"reward '{self.name}', term '{term.name}' has shape {column.shape}: "
                    f"it must give one number per {unit}, {size}"
                )
            columns.append(column)
        terms = np.stack(columns, axis=-1)
        if not np.isfinite(terms).all():
            b, k = np.argwhere(~np.isfinite(terms))[0]
            raise NumericsError(
                f"reward '{self.name}', term '{self.terms[k].name}' became {terms[b, k]} in {unit} {b}: "
                "a term must be a finite number for every outcome"
            )
        return terms


def resolve(name: str, built_in: Mapping[str, Reward]) -> Reward:
    """Find a reward by its built-in name, or by ``module:function`` or ``file.py:function``.

    The function may be a ``Reward``, a function without arguments that returns one, or a plain term function
    ``outcomes -> [B]``, which becomes a reward of one term.

    Args:
        name: Built-in name, or ``package.module:attribute``.
        built_in: Rewards that the environment brings.

    Raises:
        UsageError: If there is no such reward (message names the closest), or it is nothing of the kind.
    """
    if name in built_in:
        return built_in[name]
    if ":" not in name:
        raise ConfigError(f"no reward '{name}': {did_you_mean(name, built_in)} (or give your own as module:function)")
    found = load_attribute(name)
    if isinstance(found, Reward):
        return found
    if not callable(found):
        raise ConfigError(f"reward '{name}' is a {type(found).__name__}; it must be a Reward or a function")
    needed = [p for p in inspect.signature(found).parameters.values() if p.default is p.empty]
    if needed:  # it takes the outcome columns: a term function
        return Reward(name, (Term(name.rpartition(":")[2], 1.0, found),))
    made = found()
    if not isinstance(made, Reward):
        raise ConfigError(
            f"reward '{name}' returned a {type(made).__name__}; without arguments it must return a Reward"
        )
    return made
