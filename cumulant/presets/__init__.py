"""Tuned settings per algorithm and environment, each with the result that it was seen to reach.

``cumulant train ALGO ENV`` starts from the preset if there is one, and says so; options on the command line win over it.
Results are means over seeds of the best policy on held-out episodes, by the command in ``how``.
"""

from cumulant.presets import boards, classic, dosing, minatar, robots
from cumulant.presets.preset import Preset

__all__ = ["PRESETS", "Preset"]

PRESETS: dict[tuple[str, str], Preset] = {
    **dosing.PRESETS,
    **classic.PRESETS,
    **minatar.PRESETS,
    **robots.PRESETS,
    **boards.PRESETS,
}
"""Presets by algorithm and short name of the environment."""
