"""Alignments side by side: every model of each is a row, the same model of all of them next to each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cumulant.report.align_data import AlignData, Model
from cumulant.report.align_wording import FigureName, grouped
from cumulant.report.evaluation import Measure


def tables(members: Sequence[tuple[AlignData, str]]) -> tuple[list[dict[str, Any]], list[str]]:
    """Return tables as `compare.compare` makes them, and warnings.

    Alignments share a table when they have the same base model and the same data. Columns are the figures that all of
    them have.

    Args:
        members: Each with its label.
    """
    apart: dict[tuple[str, str], list[tuple[AlignData, str]]] = {}
    for align, label in members:
        apart.setdefault((align.base, align.data.get("name", "?")), []).append((align, label))
    warnings = [f"{label}: {problem}" for align, label in members for problem in align.problems]
    if len(apart) > 1:
        warnings.append("these alignments differ in base model or data: each table is a comparison of its own")
    for (base, data), group in apart.items():
        for what, said in (
            ("rule", {(align.rule, *sorted(align.limits.items())) for align, _ in group}),
            ("set of judges", {tuple(judge.name for judge in align.judges) for align, _ in group}),
            ("number of prompts", {align.prompts for align, _ in group}),
        ):
            if len(said) > 1:
                warnings.append(f"{base} on {data}: the {what} differs: shares of wins are not of one kind")
    return [_table(kind, group) for kind, group in apart.items()], warnings


def _table(kind: tuple[str, str], group: Sequence[tuple[AlignData, str]]) -> dict[str, Any]:
    known = [{key for model in align.models for key in model.figures} for align, _ in group]
    common = set.intersection(*known)
    listed = dict.fromkeys(
        key for align, _ in group for model in align.models for key in model.figures if key in common
    )
    judges = [(judge.name, judge.label) for judge in group[0][0].judges]
    columns = [name for _, names in grouped(listed, judges) for name in names]
    order = dict.fromkeys(model.name for align, _ in group for model in align.models)
    rows = [
        _row(align, label, model, columns)
        for name in order
        for align, label in group
        if (model := align.model(name)) is not None
    ]
    return {"title": " on ".join(kind), "columns": [vars(name.column) for name in columns], "runs": rows}


def _row(align: AlignData, label: str, model: Model, columns: Sequence[FigureName]) -> dict[str, Any]:
    measures = {name.key: name.shown(model.figures[name.key]) for name in columns if name.key in model.figures}
    return {
        "path": str(align.path),
        "label": label,
        "model": model.label,
        "algo": "align",
        "env": align.data.get("name", "?"),
        "options": {},
        "seeds": list(align.seeds),
        "steps": None,
        "seconds": align.seconds,
        "steps_per_second": None,
        "source": "judgement",
        "episodes": align.prompts,
        "measures": {key: _measure(measure) for key, measure in measures.items()},
    }


def _measure(measure: Measure) -> dict[str, Any]:
    return {"mean": measure.mean, "interval": None if measure.low is None else [measure.low, measure.high]}
