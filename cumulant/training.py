"""One run from start to end: train, evaluate what was learned on other episodes or texts, write down what came out."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from cumulant import catalogue
from cumulant.catalogue import short_name
from cumulant.code_cache import saying
from cumulant.errors import NumericsError, UsageError

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # as malloc.h numbers them
Progress = Callable[[int, dict[str, float]], None]


def train_one(
    spec: Mapping[str, Any], directory: Path, *, resume: bool = False, progress: Progress | None = None
) -> dict[str, Any]:
    """Train one seed, evaluate what it learned, and write ``evaluation.json``; return the evaluation.

    Args:
        spec: What ``make_spec`` returned.
        directory: Of the run.
        resume: Whether the directory already holds it.
        progress: As in ``train``; if it has a ``say``, that is called with lines about what is compiled.
    """
    from cumulant.engine.evaluate import default_episodes
    from cumulant.engine.evaluate import evaluate as run_evaluation
    from cumulant.engine.faults import limiting_faults
    from cumulant.engine.ranks import joined
    from cumulant.run.config import check_device, device_of, from_dict
    from cumulant.run.run import Run

    module = catalogue.load_algorithm(spec["algo"])
    check_device(spec["config"])
    seed, env, options = spec["seed"], spec["env"], spec["env_options"]
    config = from_dict(module.Config, {**spec["config"], "env": env, "env_options": options}, where=spec["algo"])
    (spare_memory if catalogue.is_text(module) else keep_freed_memory)()

    def on_row(row: dict[str, float]) -> None:
        compiled()
        if progress is not None:
            progress(seed, row)

    borne = int(spec.get("max_faults", 10)), float(spec.get("env_timeout", 60.0))
    with (
        threads(int(spec.get("threads", 1))),
        limiting_faults(*borne),
        joined(device_of(spec["config"])),
        saying(getattr(progress, "say", None)) as compiled,
    ):
        every = float(spec.get("checkpoint_seconds", 20.0))
        run = Run(directory, spec, resume=resume, checkpoint_every_seconds=every, on_row=on_row)
        try:
            learned = module.train(config, run)
            if catalogue.is_text(module):  # it has saved its model, which is judged as befits its stage
                run.forget()
                hand_back_memory()
                evaluation = checked(module.evaluate(config, directory), spec["algo"])
            else:
                if catalogue.is_game(module):
                    evaluation = module.evaluate(learned, config)
                else:
                    episodes = default_episodes(env)
                    evaluation = run_evaluation(learned, env, episodes, 0, options, label=short_name(spec["algo"]))
                learned.card["evaluation"] = {
                    key: evaluation[key] for key in ("episodes", "seed", "return_mean", "return_interval", "outcomes")
                }
                learned.save(directory / "policy", "best")
            run.write("evaluation.json", evaluation)  # last: it marks the seed as finished
        finally:
            run.close()
    return evaluation


def refuse_or_follow(spec: Mapping[str, Any], seeds: int, run: Path | None, resume: bool = False) -> None:
    """Do the part of a process that is not the first of several that train together, and end it; for the first, nothing.

    Args:
        spec: As for ``train_one``.
        seeds: How many seeds were asked for.
        run: Directory of the run; None for a new one that the first process will choose.
        resume: Whether it already holds the run.

    Raises:
        UsageError: If several processes were started for what trains in one.
        SystemExit: At the end of a process that is not the first.
    """
    from cumulant.engine.ranks import count, followed, rank

    if count() == 1:
        return
    if seeds > 1 or not getattr(catalogue.load_algorithm(spec["algo"]), "IN_PARALLEL", False):
        what = "several seeds train" if seeds > 1 else f"'{spec['algo']}' trains"
        raise UsageError(f"{what} without torchrun, which started {count()} processes")
    if rank() > 0:
        with followed(run if resume else None) as own:
            train_one(spec, own, resume=resume)
        raise SystemExit(0)


def checked(evaluation: Any, algo: str) -> dict[str, Any]:
    """Return the evaluation of an algorithm that learns from text if it can be shown and compared.

    Raises:
        UsageError: If it is not of the form ``{"kind": "text", "figures": {name: {"value": 1.0, ...}}, ...}``.
        NumericsError: If a figure is no finite number (message names it).
    """
    if not isinstance(evaluation, dict) or evaluation.get("kind") != "text" or "figures" not in evaluation:
        raise UsageError(f'algorithm \'{algo}\': evaluate must return an object with "kind": "text" and "figures"')
    for name, figure in evaluation["figures"].items():
        for part in ("value", "low", "high"):
            if part in figure and not math.isfinite(figure[part]):
                raise NumericsError(
                    f"evaluation of '{algo}': {name} has the {part} {figure[part]}; its weights are saved"
                )
    return evaluation


def keep_freed_memory() -> None:
    """Let this process reuse memory that it freed, up to 32 MiB apiece, instead of handing it back and asking for it again.

    A minibatch of images makes and frees tensors of some 30 MB many times a second, and the system zeroes every page of each.
    Does nothing where the C library has no such setting (it is glibc's).
    """
    import ctypes

    with suppress(AttributeError, OSError, TypeError):
        library = ctypes.CDLL(None)
        library.mallopt(_MMAP_THRESHOLD, 32 << 20)  # the largest that it takes; above, tensors come and go as before
        library.mallopt(_TRIM_THRESHOLD, 2**31 - 1)


def spare_memory() -> None:
    """Let the library of matrix products keep code and room for few shapes, unless the user has said for how many.

    Texts have hundreds of shapes, and each may keep megabytes. Otherwise PPO of the demo has a quarter of a gigabyte more after
    four updates, and more with each, for 3 % less time. It is read at the first product of the process, and holds for all that
    follows in it.
    """
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "20")


def hand_back_memory() -> None:
    """Give what this process has freed back to the system, of which it keeps much in pieces; with glibc only."""
    import ctypes

    with suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Set torch's threads for a while; small networks are slower with two than with one."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
