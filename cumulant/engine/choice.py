"""Which engine an algorithm computes with, and how that is said."""

from __future__ import annotations

from collections.abc import Mapping

from cumulant.errors import ConfigError, RunError
from cumulant.run.run import Run

ENGINES = ("torch", "compiled")


def choose_engine(engine: str, why_not: str, module: str, began: str = "") -> tuple[bool, str]:
    """Decide whether the compiled engine of an algorithm is taken, and say why.

    Args:
        engine: What was asked for: "auto", "torch" or "compiled".
        why_not: What it lacks for these networks; "" for nothing.
        module: Name of the module that asks. Compiled code does what our own algorithm says, whatever a copy of it says.
        began: Engine that began the run, which "auto" keeps; "" for a new one.

    Returns:
        Whether it is, and a line for people.

    Raises:
        ConfigError: If "compiled" was asked for and cannot be (message says why not).
        RunError: If it began the run and cannot be now.

    >>> choose_engine("auto", "memory", "cumulant.algos.ppo")
    (False, 'engine: torch, because the compiled one has no memory')
    """
    if engine == "torch":
        return False, "engine: torch, as asked for"
    if engine == "auto" and began == "torch":
        return False, "engine: torch, which began this run"
    if engine == "auto" and began == "compiled":
        if why_not:
            raise RunError(
                f"the compiled engine began this run, and here it has no {why_not}: resume it with the versions, and on a "
                "processor, that its manifest.json names, or train anew"
            )
        return True, "engine: compiled, which began this run"
    if engine == "auto" and not module.startswith("cumulant.algos."):
        return (
            False,
            "engine: torch, because this is a copy of an algorithm, and compiled code would not follow its edits",
        )
    if why_not and engine == "compiled":
        raise ConfigError(f"engine = compiled: it has no {why_not}; leave it to auto, which takes torch")
    if why_not:
        return False, f"engine: torch, because the compiled one has no {why_not}"
    return True, "engine: compiled, for perceptrons on vectors on the CPU"


def began_by(run: Run) -> str:
    """Return the engine that began a run which is resumed; "" for a new one, and for one that does not say."""
    recorded = run.recorded("engine")
    taken = recorded.get("taken") if isinstance(recorded, Mapping) else None
    return taken if taken in ENGINES else ""


def record_engine(run: Run, possible: bool, why: str) -> None:
    """Say what ``choose_engine`` chose, and write it into the manifest of a new run."""
    run.note(why)
    run.record(engine={"taken": ENGINES[possible], "why": why.partition(", ")[2]})
