"""What the terminal shows of a run on text: tables, and what the model wrote. Text of others is printed without markup."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from cumulant.report.evaluation import Evaluation, TextTable

if TYPE_CHECKING:
    from rich.console import Console

FEW = 6  # samples; the report has all


def chosen_metrics(metrics: Sequence[str]) -> list[str]:
    """Return the metrics that are drawn: the first loss, and the first of what else there is of loss, text and reward.

    >>> chosen_metrics(["loss/train", "rate/tokens", "text/bits_per_char", "loss/held_out"])
    ['loss/train', 'text/bits_per_char']
    """
    losses = [key for key in metrics if key.startswith("loss/")]
    others = [key for key in metrics if key.startswith(("text/", "reward/", "eval/"))]
    return [*losses[:1], *(others or losses[1:])[:1]]


def show(known: Evaluation, screen: Console) -> None:
    """Print tables and samples of an evaluation on text; nothing of any other."""
    from rich.text import Text

    for table in known.tables:
        if table.rows:
            screen.print()
            screen.print(Text(table.title, "bold"))
            _show_table(table, screen)
    if known.samples:
        screen.print()
        screen.print(Text("Samples, held-out prompts", "bold"))
    for sample in known.samples[:FEW]:
        facts = "  ".join(f"{name} {value}" for name, value in sample.facts.items())
        text = Text("  ").append(sample.prompt, "dim").append(sample.completion)
        screen.print(text.append(f"   {facts}" if facts else "", "dim"))


def _show_table(table: TextTable, screen: Console) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    shown = Table(box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False, show_edge=False, header_style="dim")
    for index, title in enumerate(table.columns):
        numbers = all(not isinstance(row[index], str) for row in table.rows)
        shown.add_column(Text(title), justify="right" if numbers else "left", overflow="fold")
    for row in table.texts:
        shown.add_row(*map(Text, row))
    screen.print(shown)
