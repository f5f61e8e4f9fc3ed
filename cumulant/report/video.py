"""The filmed episode of a run, as a section of its report."""

from __future__ import annotations

import base64
import json
import os
from html import escape
from pathlib import Path
from typing import Any

from cumulant.report.wording import magnitude, number

_MAX_BYTES = 4_000_000  # a report is passed on by mail


def section(run: Path) -> str:
    """Return ``episode.webp`` of a run directory as HTML; "" when there is none, or none that is what it says.

    The picture is inside the page, and nothing that the directory links to is followed.
    """
    picture = _read(run / "episode.webp")
    if picture is None or picture[:4] != b"RIFF" or picture[8:12] != b"WEBP":
        return ""
    caption = _caption(_read(run / "episode.json"))
    source = f"data:image/webp;base64,{base64.b64encode(picture).decode()}"
    image = f'<img src="{source}" alt="an episode of the policy, animated" style="max-width: 100%; height: auto">'
    note = f'<p class="note">{escape(caption)}</p>'
    return f"<section><h2>An episode</h2><figure>{image}</figure>{note}</section>"


def _caption(text: bytes | None) -> str:
    """Say what is to be seen."""
    said = "One evaluation episode of the policy without exploration"
    try:
        facts: Any = json.loads(text or b"{}")
    except (ValueError, RecursionError):
        facts = {}
    if not isinstance(facts, dict):
        facts = {}
    steps, total = number(facts.get("steps")), number(facts.get("return"))
    if steps is not None and total is not None:
        said += f": {magnitude(steps)} steps, return {total:.4g}"
    return said + ("; its beginning is shown." if facts.get("cut") is True else ".")


def _read(path: Path) -> bytes | None:
    try:
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NOFOLLOW | os.O_NONBLOCK)) as file:
            content = file.read(_MAX_BYTES + 1)
    except OSError:
        return None
    return content if len(content) <= _MAX_BYTES else None
