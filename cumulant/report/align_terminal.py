"""An alignment in the terminal: its stages live while they run, and what came out.

rich is imported when something is shown.
"""

from __future__ import annotations

import textwrap
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any

from cumulant.report.align_data import AlignData, Model
from cumulant.report.align_wording import FigureName, figure_name
from cumulant.report.wording import MISSING, brief, clock, duration, fixed, metric_name, number, plain

if TYPE_CHECKING:
    from rich.console import Console, Group
    from rich.text import Text

_REDRAW_SECONDS, _PLAIN_SECONDS = 0.2, 30.0
_FIRST_COLUMN = 16


class _Work:
    """What is known of a stage that has begun."""

    def __init__(self, began: float) -> None:
        self.began, self.written = began, -1e9
        self.took: float | None = None
        self.values: dict[str, float] = {}

    @property
    def share(self) -> float | None:
        """How much of it is over, from 0 to 1; None where nobody knows."""
        total = self.values.get("total_steps", 0.0)
        return min(self.values.get("steps", 0.0) / total, 1.0) if total > 0 else None

    @property
    def measures(self) -> list[tuple[str, str]]:
        """Two metrics of its rows, as names and texts: reward and KL where it has them, else the first ones."""
        known = sorted((key for key in self.values if "/" in key), key=_place)
        return [(metric_name(key), brief(self.values[key])) for key in known[:2]]


def _place(key: str) -> int:
    return {"reward": 0, "kl": 1, "loss": 2}.get(key.partition("/")[0], 3)


class AlignProgress:
    """Show an alignment while it goes on; a context manager.

    In a terminal: a line for each stage that runs, and one for those that have ended. Elsewhere: a line at each
    end, and now and then one of a stage that runs.

    Args:
        title: What is aligned.
        stages: Names of all stages, where they are known: what is still to come is shown too.
        silent: Show nothing at all.
        console: A rich console; by default one on stderr.
        now: The clock, for tests.
    """

    def __init__(
        self,
        title: str,
        stages: tuple[str, ...] = (),
        silent: bool = False,
        console: Console | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.title, self.silent = plain(title, 80), silent
        self.stages = tuple(plain(name, 60) for name in stages)
        self._console, self._now = console, now
        self._began, self._drawn = now(), -1e9
        self._live: Any = None
        self._works: dict[str, _Work] = {}

    def __enter__(self) -> AlignProgress:
        self._began = self._now()
        if self.silent:
            return self
        if self._console is None:
            from rich.console import Console

            self._console = Console(stderr=True, highlight=False)
        if self._console.is_terminal:
            import sys

            from rich.live import Live

            self._live = Live(console=self._console, auto_refresh=False, redirect_stdout=sys.stdout.isatty())
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.update(self._display(), refresh=True)
            self._live.stop()
            self._live = None

    def update(self, name: str, row: Mapping[str, Any]) -> None:
        """Take a metrics row of a stage; the first one begins it.

        Args:
            name: Of the stage.
            row: The row, plus ``"total_steps"`` where that is known; keys may be absent, their last value stays.
        """
        if self.silent or self._console is None:
            return
        now = self._now()
        work = self._works.setdefault(plain(name, 60), _Work(now))
        work.took = None
        work.values.update((key, value) for key, raw in row.items() if (value := number(raw)) is not None)
        if self._live is not None:
            self._redraw(now)
        elif now - work.written >= _PLAIN_SECONDS:
            work.written = now
            share = "" if work.share is None else f"{100 * work.share:.0f} %"
            self._write(plain(name, 60), share, *(" ".join(measure) for measure in work.measures))

    def ended(self, name: str, seconds: float) -> None:
        """Take it that a stage has ended.

        Args:
            name: Of the stage.
            seconds: That it took.
        """
        if self.silent or self._console is None:
            return
        now = self._now()
        work = self._works.setdefault(plain(name, 60), _Work(now))
        work.took = number(seconds)
        if work.took is None:
            work.took = now - work.began
        if self._live is not None:
            self._redraw(now, True)
        else:
            self._write(plain(name, 60), f"took {duration(work.took)}")

    def _redraw(self, now: float, must: bool = False) -> None:
        if must or now - self._drawn >= _REDRAW_SECONDS:
            self._drawn = now
            self._live.update(self._display(), refresh=True)

    def _write(self, *parts: str) -> None:
        from rich.text import Text

        assert self._console is not None
        line = "  ".join(part for part in (self.title, *parts) if part)
        self._console.print(Text(f"{line}  ({clock(self._now() - self._began)})"), soft_wrap=True)

    def _display(self) -> Group:
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        assert self._console is not None
        now, width = self._now(), self._console.width
        table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, show_header=False)
        known = dict.fromkeys((*self.stages, *self._works))
        longest = max((len(name) for name in known), default=0)
        bar_width = max(6, min(24, width - longest - 48))
        for name in known:
            work = self._works.get(name)
            if work is None:
                table.add_row(Text("·", style="dim"), Text(name, style="dim"))
            elif work.took is not None:
                said = Text("  ".join(" ".join(measure) for measure in work.measures), style="dim")
                table.add_row(Text("✓", style="green"), Text(name), Text(duration(work.took)), Text(""), said)
            else:
                cells: list[Any] = [Text("▸", style="cyan"), Text(name, style="bold")]
                cells.append(Text(clock(now - work.began)))
                bar = ProgressBar(total=1.0, completed=work.share or 0.0, width=bar_width)
                cells.append(bar if work.share is not None else Text(""))
                cells.append(
                    Text("  ".join(" ".join(m) for m in work.measures), style="cyan", overflow="ellipsis", no_wrap=True)
                )
                table.add_row(*cells)
        ended = sum(work.took is not None for work in self._works.values())
        count = f"{ended} of {len(known)} stages" if self.stages else f"{ended} ended"
        head = Text(f"{self.title}  ", style="bold").append(f"{count}  {clock(now - self._began)}", style="dim")
        return Group(head, table)


def show_align(align: AlignData, console: Console) -> None:
    """Print what an alignment made: every model on a line, the verdict, one prompt under each model.

    Args:
        align: From `align_load.load_align`.
        console: Where to.
    """
    from rich.panel import Panel
    from rich.text import Text

    facts = [f"preset {align.preset}" if align.preset else "", f"{align.prompts:,} prompts" if align.prompts else ""]
    facts += [
        f"seed{'s' if len(align.seeds) > 1 else ''} {', '.join(map(str, align.seeds[:12]))}" if align.seeds else ""
    ]
    facts += [duration(align.seconds) if align.seconds is not None else ""]
    console.print(Text(align.title, style="bold"))
    console.print(Text(" · ".join(fact for fact in facts if fact), style="dim"))
    if align.accuracy is not None:
        line = Text("reward model right on human pairs ").append(
            figure_name("accuracy").text(align.accuracy), "bold cyan"
        )
        if align.ceiling is not None:
            share = fixed(figure_name("accuracy").shown(align.ceiling).mean, 1)
            line.append(f"   people among themselves {share} %", "dim")
        console.print(line)
    _show_models(align, console)
    _show_samples(align, console)
    for problem in align.problems:
        console.print(Text(f"note: {plain(problem, 400)}", "yellow"))
    if align.notice:
        console.print()
        console.print(Panel(Text(align.notice, style="bold"), border_style="yellow", padding=(0, 1), expand=False))


def _heads(align: AlignData) -> list[tuple[FigureName, str]]:
    """The columns of the table, the most telling first, with their heads."""
    heads = [
        (figure_name(f"win_{judge.name}"), "preferred\nby " + "\n".join(textwrap.wrap(judge.label, 12)) + "\n%")
        for judge in align.judges
    ]
    for key, head in (
        ("reward", "reward\ns.d."), ("kl_nats", "KL\nnats"), ("distinct_2", "distinct-2"), ("accepted", "within\nthe rule\n%"),
        ("fluency", "fluency\nnats"), ("length", "tokens"), ("stopped", "ended\n%"),
    ):  # fmt: skip
        heads.append((figure_name(key), head))
    return [(name, head) for name, head in heads if any(name.key in model.figures for model in align.models)]


def _show_models(align: AlignData, console: Console) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    heads = _heads(align)
    if not align.models or not heads:
        return
    label = max(_FIRST_COLUMN, *(len(model.label) + 2 for model in align.models))
    label = min(label, console.width // 3)
    widths = [
        max(*(len(line) for line in head.split("\n")), *(len(_cell(name, m)) for m in align.models))
        for name, head in heads
    ]
    fitting = len(heads)
    while fitting > 1 and label + sum(width + 3 for width in widths[:fitting]) > console.width:
        fitting -= 1
    tall = max(head.count("\n") for _, head in heads[:fitting])
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False, show_edge=False, header_style="dim")
    table.add_column(Text(""), width=label, overflow="fold")
    for _, head in heads[:fitting]:
        table.add_column(Text("\n" * (tall - head.count("\n")) + head), justify="right", no_wrap=True)
    for model in align.models:
        own = model is align.best
        name = Text(("▸ " if own else "  ") + model.label, style="bold cyan" if own else "")
        cells = [Text(_cell(head, model), style="bold cyan" if own else "") for head, _ in heads[:fitting]]
        table.add_row(name, *cells, style="dim" if model.name in ("sft_again", "human") else "")
    console.print()
    console.print(table)
    if fitting < len(heads):
        left_out = ", ".join(head.split("\n")[0] for _, head in heads[fitting:])
        console.print(Text(f"not shown at this width: {left_out}", style="dim"))
    last = align.loosest
    if last is not None and align.over_optimised:
        text = f"{last.label} has the higher reward and pleases the judges less: over-optimised."
        console.print(Text(text, style="yellow"))


def _cell(name: FigureName, model: Model) -> str:
    measure = model.figures.get(name.key)
    if measure is None:
        return MISSING
    return f"{fixed(name.shown(measure).mean, name.digits)} {name.interval(measure)}".strip()


def _show_samples(align: AlignData, console: Console) -> None:
    from rich.table import Table
    from rich.text import Text

    if not align.samples:
        return
    prompt = align.samples[0]
    console.print()
    console.print(Text(plain(prompt.text, 300), style="dim"), Text("…", style="dim"))
    table = Table(box=None, padding=(0, 2, 0, 2), pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for model in align.models:
        answer = prompt.answers.get(model.name)
        if answer is not None and model.name not in ("human", "sft_again"):
            text = _sample(answer.text, answer.accepted is False)
            table.add_row(Text(model.label, style="bold cyan" if model is align.best else ""), text)
    console.print(table)


def _sample(text: str, broken: bool) -> Text:
    from rich.text import Text

    shown = Text(plain(text.strip(), 400) or "(nothing)")
    return shown.append("  breaks the rule", style="yellow") if broken else shown
