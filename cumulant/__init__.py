"""Reinforcement learning, from a Q-table to an aligned language model.

The public names below load on first use, so ``import cumulant`` is instant and pulls in no torch.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from cumulant.code_cache import prepare

__version__ = "0.1.0"
prepare(Path(__file__).parent)  # before the first compiled function is made

if TYPE_CHECKING:
    from cumulant.api import (
        SweepResult,
        TrainResult,
        align,
        audit,
        audit_alignment,
        compare,
        evaluate,
        film,
        load,
        rank,
        resume,
        resume_alignment,
        resume_audit,
        resume_sweep,
        simulate,
        sweep,
        train,
        write_report,
    )

__all__ = [
    "SweepResult",
    "TrainResult",
    "__version__",
    "align",
    "audit",
    "audit_alignment",
    "compare",
    "evaluate",
    "film",
    "load",
    "rank",
    "resume",
    "resume_alignment",
    "resume_audit",
    "resume_sweep",
    "simulate",
    "sweep",
    "train",
    "write_report",
]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from cumulant import api

        return getattr(api, name)
    raise AttributeError(f"module 'cumulant' has no attribute '{name}'")


def __dir__() -> list[str]:
    return __all__
