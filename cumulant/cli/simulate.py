"""cumulant simulate warfarin: patients under a fixed dose or a protocol, with no learning at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from cumulant import api
from cumulant.cli.parsing import Parser, add_json
from cumulant.cli.train import parse_option
from cumulant.report.wording import plain

_ROWS = 14  # of the drawing


def run(words: list[str]) -> Any:
    """Run the verb and return what ``--json`` prints."""
    parser = Parser("simulate", "Let simulated patients live under a fixed dose or a protocol; nothing is learned.")
    parser.add_argument("env", help="an environment with patients: warfarin")
    parser.add_argument("--patients", type=int, default=1000, help="how many (default 1000)")
    parser.add_argument("--dose", type=float, help="mg a day, the same for everybody")
    parser.add_argument("--protocol", help="a protocol instead, on its own test days (`cumulant list protocols`)")
    parser.add_argument("--cohort", help="aurora, iwpc, iwpc-white, ..., uniform, '*1/*3 A/A', or your own PATH.csv")
    parser.add_argument("--model", help="hamberg2010 (default) or hamberg2007")
    parser.add_argument("--days", type=int, help="how long (default 30)")
    parser.add_argument("--start", help="naive (default) or maintenance: settled on a dose that suits them")
    parser.add_argument("--adherence", type=float, help="mean share of doses that are taken (default 1)")
    parser.add_argument(
        "--env-option", action="append", default=[], metavar="KEY=VALUE", help="any other option of the patients"
    )
    parser.add_argument("--seed", type=int, default=0, help="which patients (default 0)")
    parser.add_argument("--out", type=Path, help="directory (default: the next free runs/simulate-warfarin-NNN)")
    add_json(parser)
    known = parser.parse_args(words)
    named = {name: getattr(known, name) for name in ("cohort", "model", "days", "start", "adherence")}
    options = dict(parse_option(option) for option in known.env_option)
    options |= {name: value for name, value in named.items() if value is not None}
    result = api.simulate(
        known.env,
        patients=known.patients,
        dose=known.dose,
        protocol=known.protocol,
        seed=known.seed,
        out=known.out,
        env_options=options,
    )
    if not known.json:
        show(result, Console(highlight=False))
    return result


def show(result: dict[str, Any], screen: Console) -> None:
    """Print the course of the INR, the table of groups, and where the files are."""
    options = result["options"]
    screen.print(Text(f"{result['patients']:,} simulated patients, {result['policy']}, {result['days']} days", "bold"))
    what = ("model", "cohort", "variability", "start")
    screen.print(Text("  ".join(f"{name} {plain(options[name])}" for name in what), "dim"))
    screen.print()
    screen.print(drawing(result["curve"], min(screen.width - 8, 76)))
    names = list(result["groups"][0]["measures"])
    fitting = max(2, min(len(names), (screen.width - 30) // 11))
    screen.print(table(result, names[:fitting]))
    if names[fitting:]:
        missing = ", ".join(result["measures"][name]["label"] for name in names[fitting:])
        screen.print(Text(f"no room for: {missing}; --json has them", "dim"))
    for name, path in result["files"].items():
        screen.print(Text(f"{name:<13}{plain(path, 400)}", "dim"))
    screen.print(Panel(Text(result["notice"], "bold"), border_style="yellow", padding=(0, 1), expand=False))


def drawing(curve: dict[str, list[float]], width: int) -> Text:
    """Draw median and bands of the INR over the days with blocks.

    Args:
        curve: As ``simulate`` returns it.
        width: Characters to use.
    """
    days = len(curve["day"])
    wide = max(1, width // days)
    at = [round(k * (days - 1) / max(min(days, width) - 1, 1)) for k in range(min(days, width))]
    top = max(4.5, max(curve["q95"]))
    step = (top - 0.75) / _ROWS
    text = Text("  INR  ", "dim").append("█ median  ", "cyan").append("▒ half of the patients  ░ 90 %", "cyan dim")
    text.append("   the range is 2 to 3\n", "green")
    for row in range(_ROWS):
        high, low = top - row * step, top - (row + 1) * step
        middle = (high + low) / 2
        within = 2.0 <= middle <= 3.0
        text.append(f"{middle:5.1f} ", "green" if within else "dim").append(
            "┃" if within else "│", "green" if within else "dim"
        )
        for k in at:
            if low <= curve["q50"][k] < high:
                text.append("█" * wide, "cyan")
            elif curve["q25"][k] < high and curve["q75"][k] >= low:
                text.append("▒" * wide, "cyan")
            elif curve["q5"][k] < high and curve["q95"][k] >= low:
                text.append("░" * wide, "cyan dim")
            else:
                text.append(" " * wide)
        text.append("\n")
    last = f"day {curve['day'][-1]}"
    return text.append(f"      └ day 1{last:>{max(wide * len(at) - 6, len(last) + 1)}}\n", "dim")


def table(result: dict[str, Any], names: list[str]) -> Table:
    """Return these measures of every group, with the half-widths of their 95 % intervals."""
    about = result["measures"]
    made = Table(box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False, show_edge=False, header_style="dim")
    made.add_column(Text("\nPatients"))
    made.add_column(Text("\nn"), justify="right")
    for name in names:
        made.add_column(Text(f"{about[name]['label']}\n{about[name]['unit']}"), justify="right")
    title = ""
    for group in result["groups"]:
        if group["title"] != title and title:
            made.add_section()
        title = group["title"]
        cells = []
        for name in names:
            measure, digits = group["measures"][name], about[name]["digits"]
            half = (measure["interval"][1] - measure["interval"][0]) / 2
            cell = Text(f"{measure['mean']:.{digits}f}", "bold" if title == "Everybody" else "")
            cells.append(cell.append(f"\n±{half:.{digits}f}", "dim"))
        made.add_row(Text(group["label"]), Text(f"{group['patients']:,}", "dim"), *cells)
    return made
