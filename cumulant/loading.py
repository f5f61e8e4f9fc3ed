"""Load the user's own code by its path: ``package.module:name``, ``folder/file.py:name``, a file or a module."""

from __future__ import annotations

import gc
import hashlib
import importlib
import importlib.util
import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cumulant.errors import MissingPackage, UsageError, did_you_mean


def is_path(name: str) -> bool:
    """Return whether a name is a path of the user's own code.

    >>> [is_path(name) for name in ("lab.envs:Env", "my/ppo.py", "lab.algos.mine", "ppo", "CartPole-v1", "ALE/Pong-v5")]
    [True, True, True, False, False, False]
    """
    return ":" in name or name.endswith(".py") or ("." in name and "/" not in name and "-v" not in name)


@contextmanager
def unsearched() -> Iterator[None]:
    """Import torch and numba without a search for garbage among their objects while they are made.

    None of them is garbage before the process ends, and there are so many that Python would spend a third of a short training's
    time on looking through them. On the command line they are left alone ever after, and so is what else there is by then: in
    a process of somebody else's that might be a lot.
    """
    if "torch" in sys.modules or not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        if "cumulant.cli.main" in sys.modules:
            gc.freeze()
        gc.enable()


def text_package(name: str) -> Any:
    """Import an optional package that work on text needs: transformers, tokenizers, jinja2, pyarrow, peft, gguf.

    Raises:
        MissingPackage: If it is not installed (message names the extra).
    """
    try:
        return importlib.import_module(name)
    except ImportError as problem:
        missing = problem.name or name
        raise MissingPackage(
            f"training on text needs the package '{missing}': pip install 'cumulant[text]'"
        ) from problem


def load_attribute(path: str) -> Any:
    """Import ``package.module:name`` or ``folder/file.py:name``; the current folder counts as importable.

    Raises:
        UsageError: If there is no such file, module or name.
    """
    module_name, _, attribute = path.rpartition(":")
    module = load_module(module_name)
    if not hasattr(module, attribute):
        names = [name for name in vars(module) if not name.startswith("_")]
        raise UsageError(f"'{path}': the module has no '{attribute}': {did_you_mean(attribute, names)}")
    return getattr(module, attribute)


def load_module(name: str) -> Any:
    """Import ``folder/file.py`` or a dotted module; the current folder counts as importable.

    Raises:
        UsageError: If there is no such file or module, or if it does not import (message says why).
    """
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    if name.endswith(".py"):
        return load_file(Path(name))
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as problem:
        if problem.name and (name == problem.name or name.startswith(problem.name + ".")):
            raise UsageError(f"there is no module '{problem.name}' here") from problem
        raise UsageError(f"module '{name}' needs '{problem.name}', which is not installed") from problem
    except (Exception, SystemExit) as problem:
        raise _not_importable(name, problem) from problem


def load_file(path: Path) -> Any:
    """Import a Python file by its path.

    Raises:
        UsageError: If there is no such file, or if it does not import (message says why).
    """
    if not path.is_file():
        raise UsageError(f"there is no file {path}")
    # dataclasses and numba look a module up by its name, so it must be registered; the hash keeps two files of a name apart
    name = f"{path.stem}_{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:8]}"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        try:
            spec.loader.exec_module(module)
        except (Exception, SystemExit) as problem:
            del sys.modules[name]
            raise _not_importable(str(path), problem) from problem
    return sys.modules[name]


def _not_importable(what: str, problem: BaseException) -> UsageError:
    """Say which line of the user's code stopped the import."""
    frames = traceback.extract_tb(problem.__traceback__)
    said = "it exits" if isinstance(problem, SystemExit) else f"{type(problem).__name__}: {problem}"
    text = f"{what} does not import: {said}"
    if isinstance(problem, SyntaxError) or not frames:  # its message has the line already
        return UsageError(text)
    return UsageError(f"{text} ({Path(frames[-1].filename).name}, line {frames[-1].lineno})")
