"""Which engine an algorithm computes with, and how that is said."""

from __future__ import annotations

from cumulant.errors import ConfigError


def choose_engine(engine: str, why_not: str, module: str) -> tuple[bool, str]:
    """Decide whether the compiled engine of an algorithm is taken, and say why.

    Args:
        engine: What was asked for: "auto", "torch" or "compiled".
        why_not: What it lacks for these networks; "" for nothing.
        module: Name of the module that asks. Compiled code does what our own algorithm says, whatever a copy of it says.

    Returns:
        Whether it is, and a line for people.

    Raises:
        ConfigError: If "compiled" was asked for and cannot be (message says why not).

    >>> choose_engine("auto", "memory", "cumulant.algos.ppo")
    (False, 'engine: torch, because the compiled one has no memory')
    """
    if engine == "torch":
        return False, "engine: torch, as asked for"
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
