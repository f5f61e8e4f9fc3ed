"""What a preset says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Preset:
    """Settings and what they reached.

    Args:
        config: Fields of the algorithm's Config.
        seen: What was reached, over how many seeds.
        how: The command that repeats it.
    """

    config: Mapping[str, Any]
    seen: str
    how: str
