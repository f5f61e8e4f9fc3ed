"""One environment, from a Gymnasium id or the path of a class or function."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium

from cumulant.engine.parallel import is_parallel
from cumulant.envs import extras, lookup, register
from cumulant.errors import CumulantError, EnvironmentFault, MissingPackage, UsageError, did_you_mean
from cumulant.loading import load_attribute


def make_single(env: str, options: Mapping[str, Any]) -> Any:
    """Make one environment from a Gymnasium id, or the path of a class or function that makes one.

    Returns:
        A ``gymnasium.Env``, or a parallel environment of several agents.

    Raises:
        UsageError: If there is no such environment.
        MissingPackage: If a package is missing.
        EnvironmentFault: If its constructor raises.
    """
    try:
        if ":" in env:
            made = load_attribute(env)(**options)
        else:
            if not any(known.startswith("cumulant/") for known in gymnasium.registry):
                register()  # an uninstalled working copy has no entry point
            extras.announce(env)
            made = gymnasium.make(env, **options)
    except CumulantError:
        raise
    except gymnasium.error.DependencyNotInstalled as problem:
        raise MissingPackage(f"environment '{env}' needs a package that is not installed: {problem}") from problem
    except gymnasium.error.NamespaceNotFound as problem:
        raise MissingPackage(
            f"environment '{env}': no installed package brings environments called '{env.rpartition('/')[0]}/...'"
        ) from problem
    except (gymnasium.error.UnregisteredEnv, gymnasium.error.DeprecatedEnv) as problem:
        known = [*lookup.listing(), *(name for name in gymnasium.registry if "/" not in name)]
        hint = did_you_mean(env, known)
        if hint.startswith("known"):  # dozens of them
            hint = "`cumulant list envs` shows ours; any Gymnasium id and module:EnvClass works too"
        raise UsageError(f"no environment '{env}': {hint}") from problem
    except ImportError as problem:
        raise MissingPackage(f"environment '{env}' needs the package '{problem.name}': {problem}") from problem
    except Exception as problem:
        raise EnvironmentFault(f"environment '{env}' cannot be made: {type(problem).__name__}: {problem}") from problem
    if not isinstance(made, gymnasium.Env) and not is_parallel(made):
        raise UsageError(
            f"'{env}' is a {type(made).__name__}, not a gymnasium.Env and not a parallel environment of PettingZoo"
        )
    return made
