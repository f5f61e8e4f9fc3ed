"""The page that every report is: one HTML file without scripts, with nothing from the net, and what it is made of."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import Any

from cumulant.errors import StorageError
from cumulant.report import plots
from cumulant.report.theme import style_sheet, themed
from cumulant.report.wording import plain

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"


def document(title: str, notice: str, parts: Iterable[str], made: str) -> str:
    """Return a whole page.

    Args:
        title: Of the page; escaped here.
        notice: What must be said at its head and foot; "" for nothing; escaped here.
        parts: Its sections, as HTML.
        made: Its last line, as HTML.
    """
    banner = f'<p class="notice" role="note">{escape(notice)}</p>' if notice else ""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title>\n<style>\n{style_sheet()}</style></head>\n<body>\n{banner}\n"
        + "\n".join(part for part in parts if part)
        + f"\n<footer>{banner}<p>{made}</p></footer>\n</body></html>\n"
    )


def section(title: str, content: str) -> str:
    """Return a section with its heading."""
    return f"<section><h2>{escape(title)}</h2>{content}</section>"


def figure(drawn: Any, label: str, caption: str = "") -> str:
    """Return a figure in the page's colours.

    Args:
        drawn: From a function of `plots`.
        label: What it shows, for those who cannot see it.
        caption: Above it.
    """
    text = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    return f"<figure>{text}{themed(plots.svg(drawn, label))}</figure>"


def table(heads: Sequence[str], rows: Sequence[str]) -> str:
    """Return a table of heads and rows, which are HTML."""
    head = "".join(f"<th>{text}</th>" for text in heads)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'


def write_page(target: Path, text: str) -> Path:
    """Write a page aside and rename it: complete or absent, and a link left in its place is not followed.

    Raises:
        StorageError: If the disk refuses.
    """
    try:
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=".report", suffix=".html")
        try:
            with open(handle, "w", encoding="utf-8") as file:
                file.write(text)
            os.chmod(name, 0o644)  # mkstemp makes it private; a report is there to be shown
            os.replace(name, target)
        except BaseException:
            os.unlink(name)
            raise
    except OSError as problem:
        raise StorageError(
            f"cannot write '{plain(str(target), 500)}': {problem.strerror}; free the disk, or report a copy of the run "
            "in a directory where you may write"
        ) from problem
    return target
