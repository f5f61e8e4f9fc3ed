"""What the verbs print: live progress on stderr, results on stdout, through cumulant.report."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cumulant import api, catalogue

if TYPE_CHECKING:
    from cumulant.report.progress import LiveProgress

Progress = Callable[[int, dict[str, float]], None]


@contextmanager
def training_progress(known: argparse.Namespace, config: Any, text: bool) -> Iterator[Progress]:
    """Show a training live; say beforehand which preset it uses, and what must be said of the environment or the text."""
    from cumulant.engine.ranks import rank

    console = Console(stderr=True, quiet=known.quiet or rank() > 0)
    notice, preset = api.notice(known.target), api.preset_for(known.algo, known.target)
    if notice:
        console.print(escape(notice), style="bold")
    if preset is not None:
        console.print(escape(f"preset for {known.algo} on {known.target}: {preset.seen}"), style="dim")
    with _live(f"{known.algo} on {known.target}", config.total_steps, known.quiet, text) as progress:
        yield progress


@contextmanager
def resume_progress(known: argparse.Namespace) -> Iterator[Progress]:
    """Show a resumed training live."""
    spec = api.read_spec(known.run)
    total = int(spec["config"].get("total_steps", 0))
    text = catalogue.listed_as_text(spec["algo"]) or catalogue.listed_as_game(spec["algo"])
    with _live(f"{spec['algo']} on {spec['env']}, resumed", total, known.quiet, text) as progress:
        yield progress


@contextmanager
def _live(title: str, total_steps: int, silent: bool, text: bool) -> Iterator[Progress]:
    from cumulant.engine.ranks import rank
    from cumulant.report.progress import LiveProgress

    with LiveProgress(title, silent=silent or rank() > 0, text=text) as live:
        yield _Shown(live, total_steps)


class _Shown:
    """What a training tells about its progress, on its way to the display."""

    def __init__(self, live: LiveProgress, total_steps: int) -> None:
        self.live, self.total_steps, self.say = live, total_steps, live.say

    def __call__(self, seed: int, row: Mapping[str, Any]) -> None:
        self.live.update(seed, {**row, "total_steps": self.total_steps})


@contextmanager
def sweep_progress(algo: str, target: str, trials: int, quiet: bool) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """Show a sweep live; say beforehand what must be said of the environment."""
    from cumulant.report.sweep_terminal import SweepProgress

    notice = api.notice(target)
    if notice:
        Console(stderr=True, quiet=quiet).print(escape(notice), style="bold")
    with SweepProgress(f"{algo} on {target}", trials, silent=quiet) as progress:
        yield progress


def show_sweep(directory: Path) -> None:
    """Print what a sweep found, and where its report is."""
    from cumulant.report.sweep_terminal import show_sweep as show
    from cumulant.report.trials import load_sweep

    console = Console(highlight=False)
    show(load_sweep(directory), console)
    console.print(f"\nreport: [bold]{escape(str(directory / 'report.html'))}[/bold]")


@contextmanager
def align_progress(title: str, stages: tuple[str, ...], quiet: bool) -> Iterator[Any]:
    """Show the stages of an alignment live: what this gives has ``update(name, row)`` and ``ended(name, seconds)``."""
    from cumulant.report.align_terminal import AlignProgress

    with AlignProgress(title, stages, silent=quiet) as progress:
        yield progress


def show_align(directory: Path) -> None:
    """Print what an alignment made, and where its report is."""
    from cumulant.report.align_load import load_align
    from cumulant.report.align_terminal import show_align as show

    console = Console(highlight=False)
    show(load_align(directory), console)
    console.print(f"\nreport: [bold]{escape(str(directory / 'report.html'))}[/bold]")


def show_result(result: api.TrainResult) -> None:
    """Print what a training left behind."""
    show_run(result.run, result.run / "report.html")


def show_run(run: Path, report: Path) -> None:
    """Print a run or group: header, curve, evaluation, and where its report is."""
    from cumulant.report import terminal
    from cumulant.report.load import load

    console = Console()
    group = load(run)
    terminal.show_run(group, console)
    if group.evaluation is not None and group.evaluation.comparisons:
        terminal.show_evaluation(group.evaluation, console)
    console.print(f"\nreport: [bold]{escape(str(report))}[/bold]")


def show_evaluation(evaluation: Mapping[str, Any]) -> None:
    """Print an evaluation's tables."""
    from cumulant.report import terminal

    terminal.show_evaluation(evaluation, Console())


def show_pack(pack: Mapping[str, Any], report: Path) -> None:
    """Print what a pack found, and where its page is."""
    from cumulant.report import clinical_terminal

    console = Console(highlight=False)
    clinical_terminal.show(pack, console)
    console.print(f"\nreport: [bold]{escape(str(report))}[/bold]")


def show_comparison(comparison: Mapping[str, Any]) -> None:
    """Print runs side by side."""
    from cumulant.report import terminal

    terminal.show_compare(comparison, Console())


@contextmanager
def audit_progress(known: argparse.Namespace) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """Show an audit live; say beforehand what must be said of the environment."""
    if said := api.notice(known.target):
        Console(stderr=True, quiet=known.quiet).print(escape(said), style="bold")
    with _audit_live(f"audit of {known.target}, {known.algo}", known.quiet) as progress:
        yield progress


@contextmanager
def audit_resume_progress(known: argparse.Namespace) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """Show a resumed audit live."""
    with _audit_live(f"audit, {known.run.name}, resumed", known.quiet) as progress:
        yield progress


@contextmanager
def _audit_live(title: str, quiet: bool) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    from cumulant.report.align_terminal import AlignProgress

    with AlignProgress(title, silent=quiet) as live:

        def tell(row: Mapping[str, Any]) -> None:
            if "audit/ended" in row:
                live.ended(str(row["name"]), float("nan"))  # it knows when that began
            else:
                live.update(str(row["name"]), row)

        yield tell


def show_audit(directory: Path) -> None:
    """Print what an audit found, and where its page is."""
    from cumulant.report.audit_load import load_audit
    from cumulant.report.audit_terminal import show_audit as show

    console = Console(highlight=False)
    show(load_audit(directory), console)
    console.print(f"\npage: [bold]{escape(str(directory / 'report.html'))}[/bold]")


def show_verdict(found: Mapping[str, Any]) -> None:
    """Print the verdict on an environment that cannot be audited."""
    console = Console(highlight=False)
    console.print(f"[bold yellow]{found['verdict'].upper()}[/bold yellow]  {escape(found['why'])}")


def show_listing(listing: Mapping[str, Mapping[str, Mapping[str, str]]]) -> None:
    """Print algorithms, environments, protocols and embedded data as tables."""
    console = Console()
    columns = {
        "algos": ("Algorithms", ("category", "summary", "use")),
        "envs": ("Environments (any Gymnasium id or module:EnvClass works too)", ("gym_id", "summary")),
        "games": (
            "Board games (`make_game(NAME)`; openspiel:NAME is any that fits of OpenSpiel)",
            ("summary", "options"),
        ),
        "exhibits": ("Exhibits of `cumulant audit ENV --exhibit NAME`", ("env", "summary")),
        "protocols": (
            "Clinical protocols (our re-codings; research and education only)",
            ("knows", "source", "summary"),
        ),
        "data": ("Embedded texts and models (fetched by pip when first used)", ("kind", "summary", "licence")),
    }
    for what, entries in listing.items():
        title, fields = columns[what]
        table = Table(title=title, title_justify="left", box=None, padding=(0, 2, 0, 0), title_style="bold")
        table.add_column("name", style="bold", no_wrap=True)
        for field in fields:
            table.add_column(field.replace("_", " "))
        for name, entry in entries.items():
            table.add_row(escape(name), *(escape(entry[field]) for field in fields))
        console.print(table)
        console.print()
