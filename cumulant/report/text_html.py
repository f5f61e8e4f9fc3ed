"""What a report shows of a run on text: every metric over training, figures, tables, and what the model wrote."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

from cumulant.report import plots
from cumulant.report.calibration import MEANING, calibration, reliability
from cumulant.report.evaluation import Column, Evaluation, Measure, Sample, TextTable
from cumulant.report.load import RunGroup
from cumulant.report.markup import figure, section
from cumulant.report.wording import fixed, metric_name

MOST_CURVES = 24


def curves(group: RunGroup) -> str:
    """Return every metric over training, loss first."""
    known = sorted(group.metrics, key=lambda key: not key.startswith("loss/"))[:MOST_CURVES]
    drawn = [(key, group.curve(key)) for key in known]
    figures = "".join(
        figure(plots.reward_term(curve, metric_name(key)), f"{metric_name(key)} over training")
        for key, curve in drawn
        if curve is not None
    )
    if not figures:
        return section("Learning", '<p class="note">No metrics have been written yet.</p>')
    note = "By optimiser step; the last value stands beside each name."
    note += " Thin lines: single seeds." if len(group.runs) > 1 else ""
    return section("Learning", f'<p class="note">{note}</p><div class="figures small">{figures}</div>')


def evaluation(known: Evaluation | None) -> str:
    """Return the sections of an evaluation on text: all figures, tables, samples; "" for any other."""
    if known is None or not known.is_text:
        return ""
    parts = [_figures(known.measures, known.columns)] if known.measures else []
    parts += [_table(table) for table in known.tables if table.rows]
    bins = reliability(known.tables)
    if bins:
        drawn = figure(calibration(bins), "how sure the reward model was, and how often people chose the same")
        note = f'<p class="note">{MEANING}</p>'
        parts.append(section("Calibration", f'{note}<div class="figures">{drawn}</div>'))
    if known.samples:
        text = "Written after held-out prompts, as they came; not picked."
        parts.append(section("Samples", f'<p class="note">{text}</p>' + "".join(map(_sample, known.samples))))
    return "".join(parts)


def _figures(measures: Mapping[str, Measure], columns: tuple[Column, ...]) -> str:
    rows = []
    for column in columns:
        measure = measures.get(column.key)
        if measure is None:
            continue
        ends = ""
        if measure.low is not None and measure.low != measure.high:
            ends = f"{fixed(measure.low, column.digits)} to {fixed(measure.high, column.digits)}"
        better = f"{column.better} is better" if column.better else ""
        value = f'<data value="{measure.mean!r}">{fixed(measure.mean, column.digits)}</data> {escape(column.unit)}'
        cells = "".join(f"<td>{cell}</td>" for cell in (escape(column.label), value, ends, better))
        rows.append(f"<tr>{cells}</tr>")
    head = "<tr><th>Figure</th><th>Value</th><th>95 % interval</th><th></th></tr>"
    return section(
        "Figures", f'<div class="wide"><table><thead>{head}</thead><tbody>{"".join(rows)}</tbody></table></div>'
    )


def _table(table: TextTable) -> str:
    head = "".join(f"<th>{escape(title)}</th>" for title in table.columns)
    rows = "".join("<tr>" + "".join(f"<td>{escape(text)}</td>" for text in row) + "</tr>" for row in table.texts)
    body = f'<div class="wide"><table class="text"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'
    return section(table.title, body)


def _sample(sample: Sample) -> str:
    facts = " · ".join(f"{escape(name)} {escape(value)}" for name, value in sample.facts.items())
    below = f'<p class="note">{facts}</p>' if facts else ""
    prompt = f'<span class="prompt">{escape(sample.prompt)}</span>'
    return f'<div class="sample"><pre>{prompt}{escape(sample.completion)}</pre>{below}</div>'
