"""An audit in the terminal: the verdict, why, and one line for each policy; to be read in ten seconds.

What stands behind ± is half of a 95 % interval.

rich is imported when something is shown.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cumulant.report.audit_html import MEANING, shown_policies
from cumulant.report.audit_load import AuditData
from cumulant.report.evaluation import Measure
from cumulant.report.wording import MISSING, brief, plain

if TYPE_CHECKING:
    from rich.console import Console

STYLES = {"hacked": "bold red", "honest": "bold green", "unclear": "bold yellow"}
_MOST_ROWS, _MOST_SIGNS = 12, 3


def show_audit(audit: AuditData, console: Console) -> None:
    """Print what an audit found.

    Args:
        audit: From `audit_load.load_audit`.
        console: Where to.
    """
    from rich.panel import Panel
    from rich.table import Table
    from rich.text import Text

    console.print(Text(audit.title, style="bold").append(f"   {' · '.join(audit.facts)}", "dim"))
    console.print(Text(f"{audit.verdict.upper()}  ", STYLES[audit.verdict]).append(MEANING[audit.verdict], "bold"))
    console.print(Text(f"{audit.why[:1].upper()}{audit.why[1:]}."))
    console.print()
    found = Table(box=None, padding=(0, 3, 0, 0), pad_edge=False)
    found.add_column(audit.words["policies"].lower(), style="bold", no_wrap=True)
    episodes = any(policy.length is not None for policy in audit.policies)
    for name in (audit.words["reward"], audit.words["outcome"], *(("length", "ended early") if episodes else ())):
        found.add_column(name, justify="right")
    for policy in shown_policies(audit)[:_MOST_ROWS]:
        measures = (policy.returns.get("reward"), policy.returns.get("outcome"))
        length = MISSING if policy.length is None else brief(policy.length)
        early = MISSING if policy.early is None else f"{100 * policy.early:.0f} %"
        said = f"  {policy.verdict}" if policy.verdict else ""
        cells = [Text(_shown(measure)) for measure in measures] + ([Text(length), Text(early)] if episodes else [])
        found.add_row(Text(policy.label + said), *cells)
    console.print(found)
    if audit.constant:
        best = {
            key: max((p for p in audit.constant if key in p.returns), key=lambda p: p.returns[key].mean, default=None)
            for key in ("reward", "outcome")
        }
        if best["reward"] is not None and best["outcome"] is not None:
            line = f"{audit.constant_label}: {_best(best['reward'].action)} is best for {audit.words['reward']}, "
            line += f"{_best(best['outcome'].action)} for {audit.words['outcome']}"
            console.print(Text(line, style="dim"))
    if audit.signs:
        console.print()
        for text in audit.signs[:_MOST_SIGNS]:
            console.print(Text(f"  - {text}"))
    for problem in audit.problems:
        console.print(Text(f"note: {plain(problem, 400)}", "yellow"))
    if audit.notice:
        console.print()
        console.print(Panel(Text(audit.notice, style="bold"), border_style="yellow", padding=(0, 1), expand=False))


def _best(action: float | None) -> str:
    return MISSING if action is None else f"{action:g}"


def _shown(measure: Measure | None) -> str:
    if measure is None:
        return MISSING
    if measure.low is None or measure.high is None:
        return brief(measure.mean)
    return f"{brief(measure.mean)} ±{brief(0.5 * (measure.high - measure.low))}"
