"""The colours of figures and page, in light and dark.

Figures are drawn in the light colours. In a page each of those becomes a CSS variable, so one SVG serves both themes
and print. Blue and vermilion stay apart for the common kinds of colour blindness, and dashes, markers and labels say
the same again. Text has a contrast of at least 4.5 : 1 with what is behind it.
"""

from __future__ import annotations

import re
from pathlib import Path

# name: (light, dark). The light ones are all different, because they are how a figure's colours are found again.
COLOURS = {
    "paper": ("#ffffff", "#11151b"),
    "panel": ("#f5f7f9", "#1a2028"),
    "rule": ("#dce1e8", "#323b47"),
    "grid": ("#e8ecf1", "#262e38"),
    "ink": ("#17202b", "#e8ecf1"),
    "soft": ("#5a6675", "#9ca8b7"),
    "agent": ("#0a5fb0", "#6cb6ff"),
    "other": ("#c2480c", "#ff9f68"),
    "third": ("#0b7f60", "#4fd1a8"),
    "fourth": ("#8544ad", "#cf9ff0"),
    "fifth": ("#7d6608", "#e3c65b"),
    "ceiling": ("#8a94a2", "#7a8695"),
    "band": ("#0b8060", "#4fd1a7"),
    "less": ("#4a90d0", "#3f82c4"),
    "same": ("#e3e7ec", "#3a4450"),
    "more": ("#e08a3c", "#cf7a2e"),
}
LIGHT = {name: light for name, (light, _) in COLOURS.items()}
LINES = ("agent", "other", "third", "fourth", "fifth")
DASHES = ("-", (0, (5, 1.6)), (0, (1.4, 1.2)), (0, (6, 1.5, 1.4, 1.5)), (0, (9, 2)))

_NAME_OF = {light: name for name, light in LIGHT.items()}
_HEX = re.compile(r"(?<=: )#[0-9a-f]{6}(?=[;\"])")
_FONT = re.compile(r"(font: [^;\"']*?[0-9.]+px|font-family:) [^;\"]*")


def themed(svg: str) -> str:
    """Return a figure whose colours and font are the page's.

    Args:
        svg: From `plots.svg`: colours and fonts stand in ``style`` attributes, where CSS variables may be used.

    >>> themed('<path style="fill: none; stroke: #0a5fb0; stroke-width: 2"/>')
    '<path style="fill: none; stroke: var(--agent); stroke-width: 2"/>'
    """
    svg = _HEX.sub(lambda found: f"var(--{_NAME_OF[found[0]]})" if found[0] in _NAME_OF else found[0], svg)
    return _FONT.sub(r"\1 var(--sans)", svg)


def _variables(which: int) -> str:
    return " ".join(f"--{name}: {pair[which]};" for name, pair in COLOURS.items())


def style_sheet() -> str:
    """Return the page's CSS: the colours, and ``page.css``."""
    rules = Path(__file__).with_name("page.css").read_text(encoding="utf-8")
    dark = f"@media screen and (prefers-color-scheme: dark) {{ :root {{ {_variables(1)} }} }}"
    return f":root {{ {_variables(0)} }}\n{dark}\n{rules}"
