"""The clinical pack in the terminal: what was found first, then the tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from cumulant.report import clinical
from cumulant.report.clinical import TextTable
from cumulant.report.terminal import show_evaluation
from cumulant.report.wording import plain

if TYPE_CHECKING:
    from rich.console import Console

_MARKS = {True: ("✓", "green"), False: ("✗", "red"), None: ("·", "dim")}


def show(pack: Mapping[str, Any], screen: Console) -> None:
    """Print a pack.

    Args:
        pack: What ``clinical.json`` holds.
        screen: Where to.
    """
    from rich.text import Text

    show_evaluation({**pack, "subgroups": [], "trajectories": None}, screen)
    for each in [*clinical.tables(pack), *clinical.readable_tables(pack)]:
        _show_table(each, screen)
    screen.print(Text("\nAs a decision tree", "bold"))
    for line in clinical.tree_lines(pack["readable"]["tree"]["rules"]):
        screen.print(Text(plain(line, 300)))
    screen.print(Text("\nFound", "bold"))
    for found in pack["findings"]:
        mark, colour = _MARKS[found["good"]]
        screen.print(Text.assemble((f"{mark} ", colour), plain(found["text"], 600)))


def _show_table(each: TextTable, screen: Console) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    screen.print(Text(f"\n{plain(each.title, 200)}", "bold"))
    if each.note:
        screen.print(Text(plain(each.note, 600), "dim"))
    shown = Table(box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False, show_edge=False, header_style="dim")
    for k, head in enumerate(each.heads):
        shown.add_column(Text(plain(head, 120)), justify="left" if k == 0 else "right")
    for row in each.rows:
        shown.add_row(*(Text(plain(cell, 200)) for cell in row))
    screen.print(shown)
