"""A sweep in the terminal: live while it runs, and what came out.

rich is imported when something is shown.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any

from cumulant.report.trials import SweepData, TrialData
from cumulant.report.wording import MISSING, brief, clock, duration, number, plain, spread

if TYPE_CHECKING:
    from rich.console import Console, Group

_REDRAW_SECONDS = 0.2
_TABLE = 10  # trials that are shown at the end


class SweepProgress:
    """Show a sweep while it goes on; a context manager, and what ``api.sweep`` takes as ``progress``.

    In a terminal: a line for the sweep, and one for each trial that runs. Elsewhere: a line for each trial that ends.

    Args:
        title: What is swept.
        trials: How many there shall be.
        silent: Show nothing at all.
        console: A rich console; by default one on stderr.
        now: The clock, for tests.
    """

    def __init__(
        self,
        title: str,
        trials: int,
        silent: bool = False,
        console: Console | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.title, self.trials, self.silent = plain(title, 80), trials, silent
        self._console, self._now = console, now
        self._began, self._drawn = now(), -1e9
        self._live: Any = None
        self._running: dict[int, Mapping[str, Any]] = {}
        self._rows: dict[int, dict[str, float]] = {}
        self._ended: dict[int, str] = {}
        self._best: tuple[float, int] | None = None

    def __enter__(self) -> SweepProgress:
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

    def __call__(self, event: Mapping[str, Any]) -> None:
        """Take what the sweep reports."""
        if self.silent or self._console is None:
            return
        ended = False
        if event["kind"] == "row":
            known = self._rows.setdefault(event["trial"], {})
            known.update((key, value) for key, raw in event["row"].items() if (value := number(raw)) is not None)
        elif event["state"] == "running":
            self._running[event["number"]] = event
        else:
            ended = True
            self._running.pop(event["number"], None)
            self._rows.pop(event["number"], None)
            self._ended[event["number"]] = event["state"]
            score = number(event["score"])
            if event["state"] == "complete" and score is not None and (self._best is None or score > self._best[0]):
                self._best = (score, event["number"])
            if self._live is None:
                self._write(event)
        if self._live is not None and (ended or self._now() - self._drawn >= _REDRAW_SECONDS):
            self._drawn = self._now()
            self._live.update(self._display(), refresh=True)

    def _state(self) -> str:
        counts = [f"{len(self._ended)} of {self.trials} trials"]
        for state in ("pruned", "failed"):
            count = sum(each == state for each in self._ended.values())
            counts += [f"{count} {state}"] if count else []
        counts += [f"best {brief(self._best[0])} (trial {self._best[1]})"] if self._best else []
        return "  ".join([*counts, clock(self._now() - self._began)])

    def _write(self, event: Mapping[str, Any]) -> None:
        from rich.text import Text

        assert self._console is not None
        fields = " ".join(f"{plain(key, 40)}={_short(value)}" for key, value in event["fields"].items())
        line = (
            f"{self.title}  trial {event['number']} {event['state']}  score {brief(number(event['score']))}  {fields}"
        )
        if event["state"] == "failed":
            line += f"  {plain(event['reason'], 300)}"
        self._console.print(Text(f"{line}  ({self._state()})"), soft_wrap=True)

    def _display(self) -> Group:
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        assert self._console is not None
        table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, show_header=False)
        width = max(6, min(24, self._console.width - 70))
        for key in sorted(self._running):
            row = self._rows.get(key, {})
            share = min(row.get("steps", 0.0) / max(row.get("total_steps", 1.0), 1.0), 1.0)
            bar = ProgressBar(total=1.0, completed=share, width=width)
            fields = " ".join(
                f"{plain(name, 40)}={_short(value)}" for name, value in self._running[key]["fields"].items()
            )
            cells: list[Any] = [f"trial {key}", bar, f"{100 * share:.0f} %"]
            cells.append(Text(brief(row.get("eval/return")), style="bold cyan"))
            table.add_row(*cells, Text(fields, style="dim", overflow="ellipsis", no_wrap=True))
        return Group(Text(f"{self.title}  {self._state()}", style="bold"), table)


def show_sweep(sweep: SweepData, console: Console) -> None:
    """Print a sweep: the best trials, which fields mattered, and the command of the best.

    Args:
        sweep: From `trials.load_sweep`.
        console: Where to.
    """
    from rich.panel import Panel
    from rich.table import Table
    from rich.text import Text

    facts = [f"{len(sweep.trials)} of {sweep.planned} trials"]
    facts += [f"{count} {state}" for state in ("pruned", "failed", "running") if (count := sweep.count(state))]
    facts += [f"{duration(sweep.seconds)} of training"]
    console.print(Text(sweep.title, style="bold"))
    console.print(Text(" · ".join(facts), style="dim"))
    ranked = sweep.ranked()
    names = _fitting(sweep, ranked[:_TABLE], console.width)
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", pad_edge=False)
    for head in ("trial", "score", "other episodes", *names):
        table.add_column(Text(plain(head, 30)), justify="right", no_wrap=True)
    for trial in ranked[:_TABLE]:
        evaluated = MISSING
        if trial.evaluated is not None:
            half = spread(trial.evaluated, *trial.interval) if trial.interval[0] != trial.interval[1] else ""
            evaluated = f"{brief(trial.evaluated)} {half}".strip()
        label = str(trial.number) if trial.state == "complete" else f"{trial.number} {trial.state}"
        style = "bold cyan" if trial is sweep.best else "" if trial.state == "complete" else "dim"
        cells = [label, brief(trial.score), evaluated, *(trial.text(name) for name in names)]
        table.add_row(*(Text(cell) for cell in cells), style=style)
    console.print()
    console.print(table)
    if len(names) < len(sweep.fields):
        console.print(Text(f"not shown at this width: {', '.join(list(sweep.fields)[len(names) :])}", style="dim"))
    for trial in ranked:
        if trial.state == "failed":
            console.print(Text(f"trial {trial.number} failed: {trial.reason}", style="yellow"))
    if sweep.importances:
        console.print()
        console.print(Text("What told the best quarter of the trials from the rest", style="dim"))
        widest = max(len(name) for name in sweep.importances)
        for name, share in sweep.importances.items():
            console.print(
                Text(f"{name:<{widest}}  {100 * share:3.0f} %  ").append("█" * round(30 * share), style="cyan")
            )
    if sweep.command:
        console.print()
        console.print(Text("The best trial once more:", style="dim"))
        console.print(Text(sweep.command, style="bold"), soft_wrap=True)
    if sweep.notice:
        console.print()
        console.print(Panel(Text(sweep.notice, style="bold"), border_style="yellow", padding=(0, 1), expand=False))


def _fitting(sweep: SweepData, trials: list[TrialData], width: int) -> list[str]:
    """Return the fields for which there is room."""
    used, names = 40, []
    for name in sweep.fields:
        used += 2 + max(len(name), *(len(trial.text(name)) for trial in trials)) if trials else 0
        if used > width:
            break
        names.append(name)
    return names


def _short(value: Any) -> str:
    known = number(value)
    return f"{known:g}" if known is not None else plain(value, 40).replace(" ", "")
