"""The live display of a training: one line per seed, on stderr.

Drawn only when a row arrives and at most five times a second, by the training's own thread: nothing runs beside it,
and stdout stays free for ``--json``. Where stderr is no terminal a plain line is written now and then instead.

rich is imported when the display starts.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any

from cumulant.report.wording import (
    MISSING,
    brief,
    clock,
    duration,
    first_outcome,
    fixed,
    magnitude,
    metric_name,
    number,
    outcome_name,
    plain,
)

if TYPE_CHECKING:
    from rich.console import Console, Group

_REDRAW_SECONDS = 0.2
_WINDOW = 24  # rows over which the speed is measured


class _Seed:
    """What is known of one seed's training."""

    def __init__(self) -> None:
        self.steps = 0.0
        self.total = 0.0
        self.seconds = 0.0
        self.values: dict[str, float] = {}
        self.printed_at = -1.0  # steps at the last plain line
        self._marks: deque[tuple[float, float]] = deque(maxlen=_WINDOW)

    def add(self, row: Mapping[str, Any]) -> None:
        self.values.update((key, value) for key, raw in row.items() if (value := number(raw)) is not None)
        self.steps, self.total = self.values.get("steps", 0.0), self.values.get("total_steps", 0.0)
        self.seconds = self.values.get("seconds", 0.0)
        if self._marks and (self.steps < self._marks[-1][1] or self.seconds < self._marks[-1][0]):
            self._marks.clear()  # resumed from an earlier checkpoint
        self._marks.append((self.seconds, self.steps))

    @property
    def speed(self) -> float | None:
        """Steps a second over the last rows; over the whole training at first."""
        (since, before), (now, steps) = self._marks[0], self._marks[-1]
        if now > since:
            return (steps - before) / (now - since)
        return self.steps / self.seconds if self.seconds > 0 else None

    @property
    def share(self) -> float:
        return min(self.steps / self.total, 1.0) if self.total > 0 else 0.0

    @property
    def left(self) -> float | None:
        return (self.total - self.steps) / self.speed if self.speed and self.total > 0 else None

    @property
    def finished(self) -> bool:
        return self.total > 0 and self.steps >= self.total

    def pair(self, group: str, with_std: bool = False) -> str:
        """The return of a group, with its spread where it has one."""
        mean, std = self.values.get(f"{group}/return"), self.values.get(f"{group}/return_std")
        digits = 1 if mean is not None and abs(mean) < 1000 else 0
        return fixed(mean, digits) + (f" ± {fixed(std, digits)}" if with_std and std is not None else "")

    def measure(self) -> tuple[str, str] | None:
        """What stands for the return where there are no episodes: the strength, or the first number that has a name."""
        named = [key for key in self.values if "/" in key]
        strength = (key for head in ("eval/value_kept", "eval/elo") for key in named if key.startswith(head))
        key = next(strength, named[0] if named else None)
        return None if key is None else (metric_name(key), brief(self.values[key]))

    def outcome(self, group: str) -> tuple[str, str] | None:
        """The first outcome of a group: its name, and its value with the unit."""
        key = first_outcome([name[len(group) + 1 :] for name in self.values if name.startswith(group + "/")])
        if key is None:
            return None
        name = outcome_name(key)
        value = name.factor * self.values[f"{group}/{key}"]
        digits = 1 if name.unit == "%" or abs(value) >= 10 else 2
        return name.label, fixed(value, digits) + (f" {name.unit}" if name.unit else "")


class LiveProgress:
    """Show a training while it goes on; a context manager.

    Args:
        title: What is trained, for example ``"ppo on warfarin"``.
        silent: Show nothing at all.
        console: A rich console; by default one on stderr.
        plain_seconds: Where there is no terminal: seconds between two lines of a seed.
        now: The clock, for tests.
        text: Whether there are no episodes: then the first metric of the rows stands in the place of the return.

    Use it as ``with LiveProgress("ppo on warfarin") as progress: progress.update(0, row)``, where a row is a metrics
    row plus ``"seconds"`` (of training so far) and ``"total_steps"``.
    """

    def __init__(
        self,
        title: str = "",
        silent: bool = False,
        console: Console | None = None,
        plain_seconds: float = 10.0,
        now: Callable[[], float] = time.monotonic,
        text: bool = False,
    ) -> None:
        self.text = text
        self.title = plain(title, 80)
        self.silent = silent
        self.plain_seconds = plain_seconds
        self._now = now
        self._console = console
        self._live: Any = None
        self._seeds: dict[int, _Seed] = {}
        self._said: set[str] = set()
        self._drawn = -1e9
        self._written: dict[int, float] = {}

    def __enter__(self) -> LiveProgress:
        if self.silent:
            return self
        if self._console is None:
            from rich.console import Console

            self._console = Console(stderr=True, highlight=False)
        if self._console.is_terminal:
            import sys

            from rich.live import Live

            # What is printed meanwhile goes above the display; stdout is left alone unless it is the same terminal.
            self._live = Live(
                console=self._console, auto_refresh=False, redirect_stdout=sys.stdout.isatty(), transient=False
            )
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._draw()
            self._live.stop()
            self._live = None
        elif not self.silent and self._console is not None:
            for seed, state in self._seeds.items():
                if state.steps != state.printed_at:
                    self._write(seed, state)

    def update(self, seed: int, row: Mapping[str, Any]) -> None:
        """Take one metrics row of one seed.

        Args:
            seed: Whose row it is.
            row: The row, plus ``"seconds"`` and ``"total_steps"``; keys may be absent, their last value stays. A ``"note"`` is
                a line for people, written once.
        """
        if self.silent or self._console is None:
            return
        self.say(str(row.get("note", "")))
        row = {name: value for name, value in row.items() if name != "note"}
        state = self._seeds.setdefault(seed, _Seed())
        state.add(row)
        now = self._now()
        if self._live is not None:
            if state.finished or now - self._drawn >= _REDRAW_SECONDS:
                self._drawn = now
                self._draw()
        elif state.finished or now - self._written.get(seed, -1e9) >= self.plain_seconds:
            self._written[seed] = now
            self._write(seed, state)

    def say(self, line: str) -> None:
        """Write a line for people, the same one only once: by the first of several seeds."""
        if line and line not in self._said and not self.silent and self._console is not None:
            self._said.add(line)
            self._console.print(plain(line, 200), style="dim", markup=False)

    def _write(self, seed: int, state: _Seed) -> None:
        """One plain line: for logs, where a display that redraws itself would be a mess."""
        from rich.text import Text

        assert self._console is not None
        state.printed_at = state.steps
        parts = [self.title, f"seed {seed}", f"{magnitude(state.steps)} of {magnitude(state.total)} steps"]
        parts += [f"{100 * state.share:.0f} %", f"{magnitude(state.speed)} steps/s"]
        parts.append(f"took {duration(state.seconds)}" if state.finished else f"{clock(state.left)} left")
        if "episode/return" in state.values:
            parts.append(f"return {state.pair('episode', True)}")
        measure = state.measure() if self.text else None
        parts += [" ".join(measure)] if measure else []
        outcome = state.outcome("outcome")
        parts += [" ".join(outcome)] if outcome else []
        self._console.print(Text("  ".join(part for part in parts if part)), soft_wrap=True)

    def _draw(self) -> None:
        self._live.update(self._display(), refresh=True)

    def _display(self) -> Group:
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        assert self._console is not None
        states = list(self._seeds.values())
        measure = next((found[0] for state in states if (found := state.measure())), None) if self.text else "return"
        outcome = next((found[0] for state in states if (found := state.outcome("outcome"))), None)
        evaluated = self._console.width >= 90 and any("eval/return" in state.values for state in states)
        taken = 50 + (len(outcome) + 2 if outcome else 0) + (16 if evaluated else 0)
        bar_width = max(6, min(32, self._console.width - taken))
        table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
        for head in ("", "", "", "steps/s", "left", measure or ""):
            table.add_column(Text(head), justify="right", no_wrap=True)
        if outcome is not None:
            table.add_column(Text(outcome), justify="right", no_wrap=True)
        if evaluated:
            table.add_column("evaluated", justify="right", no_wrap=True)
        for seed, state in self._seeds.items():
            bar = ProgressBar(total=max(state.total, 1.0), completed=state.steps, width=bar_width)
            left = "✓ " + clock(state.seconds) if state.finished else clock(state.left)
            cells: list[Any] = [f"seed {seed}", bar, f"{100 * state.share:.0f} %", magnitude(state.speed), left]
            shown = (state.measure() or ("", MISSING))[1] if self.text else state.pair("episode", True)
            cells.append(Text(shown, style="bold cyan"))
            if outcome is not None:
                cells.append(Text((state.outcome("outcome") or ("", MISSING))[1], style="bold cyan"))
            if evaluated:
                own = state.outcome("eval")
                cells.append(state.pair("eval") + (f"  {own[1]}" if own else ""))
            table.add_row(*cells)
        return Group(Text(self.title, style="bold"), table)
