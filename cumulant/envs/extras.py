"""Environments of optional packages: which extra an id needs, and how it becomes known to Gymnasium.

Nothing is imported before an environment that needs it is asked for.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import warnings
from typing import Any

import gymnasium

from cumulant.errors import MissingPackage, UsageError, did_you_mean

DM_CONTROL = "dm_control/"
ATARI = "ALE/"
_ROBOTICS = ("Fetch", "HandReach", "HandManipulate", "AdroitHand", "AntMaze", "PointMaze", "FrankaKitchen")
_MUJOCO = "gymnasium.envs.mujoco."


def optional(package: str, extra: str, env: str) -> Any:
    """Import an optional package.

    Raises:
        MissingPackage: If it is not installed (message names the extra).
    """
    try:
        # Such as that there is no display, or news that a package prints about environments nobody asked for.
        with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            return importlib.import_module(package)
    except ImportError as problem:
        missing = problem.name or package
        raise MissingPackage(
            f"environment '{env}' needs the package '{missing}': pip install 'cumulant[{extra}]'"
        ) from problem


def announce(env: str) -> None:
    """Make an id of an optional package known to Gymnasium; does nothing for any other id.

    Args:
        env: ``ALE/Pong-v5``, ``FetchReach-v4``, ``dm_control/walker-walk``, ``Hopper-v5``, ...

    Raises:
        MissingPackage: If the package is not installed (message names the extra).
        UsageError: If dm_control has no such task (message names the closest).
    """
    if env.startswith(DM_CONTROL):
        tasks = ["-".join(pair) for pair in optional("dm_control.suite", "robotics", env).ALL_TASKS]
        task = env.removeprefix(DM_CONTROL)
        if task not in tasks:
            raise UsageError(f"no environment '{env}': dm_control has no task '{task}': {did_you_mean(task, tasks)}")
        if env not in gymnasium.registry:
            entry = "cumulant.envs.dm_control:DmControl"
            gymnasium.register(id=env, entry_point=entry, kwargs={"task": task}, disable_env_checker=True)
    elif env.startswith(ATARI):
        gymnasium.register_envs(optional("ale_py", "atari", env))
    elif env in gymnasium.registry:
        if str(gymnasium.registry[env].entry_point).startswith(_MUJOCO):
            optional("mujoco", "mujoco", env)
    elif env.startswith(_ROBOTICS):
        gymnasium.register_envs(optional("gymnasium_robotics", "robotics", env))
