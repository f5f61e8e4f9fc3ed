"""report.html of an alignment: what each model is worth, where more reward makes worse text, and whom to believe.

No scripts; every text of the file is escaped, every number is a ``<data>`` element with its recorded value.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

from cumulant.report import align_plots, calibration
from cumulant.report.align_data import AlignData, Model
from cumulant.report.align_load import load_align
from cumulant.report.align_texts import beta_legend, over_optimisation, same_prompts
from cumulant.report.align_wording import FigureName, figure_name, grouped
from cumulant.report.evaluation import Measure
from cumulant.report.markup import document, figure, section, write_page
from cumulant.report.wording import MISSING, algo_name, duration, fixed, glued, plain


def write_report(path: str | Path) -> Path:
    """Write ``report.html`` into an align directory and return its path.

    Raises:
        RunError: If it has no judgement yet, or a damaged one.
        StorageError: If the disk refuses.
    """
    align = load_align(path)
    return write_page(align.path / "report.html", page(align))


def page(align: AlignData) -> str:
    """Return the report of an alignment as HTML."""
    parts = [_head(align), _cards(align), _models(align), same_prompts(align), over_optimisation(align)]
    parts += [_training(align), _contrast(align), _trust(align), _stages(align), _sources(align)]
    return document(align.title, align.notice, parts, "Cumulant")


def _head(align: AlignData) -> str:
    facts = [f"preset {escape(align.preset)}" if align.preset else ""]
    seeds = ", ".join(map(str, align.seeds[:12]))
    facts += [f"seed{'s' if len(align.seeds) > 1 else ''} {seeds}" if align.seeds else ""]
    facts += [f"{align.prompts:,} held-out prompts" if align.prompts else ""]
    facts += [duration(align.seconds) if align.seconds is not None else ""]
    task = f"<p>The task: {escape(align.data['task'])}.</p>" if align.data.get("task") else ""
    problems = "".join(f"<li>{escape(plain(problem, 400))}</li>" for problem in align.problems[:20])
    return (
        f'<header><h1>{escape(align.title)}</h1><p class="soft">{" · ".join(fact for fact in facts if fact)}</p>'
        f"{task}<p>{_verdict(align)}</p></header>"
        + (f'<div class="problems">Notes:<ul>{problems}</ul></div>' if problems else "")
    )


def _verdict(align: AlignData) -> str:
    """What came out, in two sentences."""
    best, last = align.best, align.loosest
    if best is None:
        return ""
    judged = [(judge.label, best.figures.get(f"win_{judge.name}")) for judge in align.judges]
    if not any(share for _, share in judged):
        return "No independent judge: whether these texts are better than SFT's is for people to say."
    shares = " and ".join(
        f"{_short('accepted', share)} ({escape(label)})" for label, share in judged if share is not None
    )
    text = f"{escape(best.label)} is preferred to SFT in {shares} of the prompts"
    text += f", {_short('kl_nats', best.figures['kl_nats'])} nats away from it." if "kl_nats" in best.figures else "."
    if last is not None and align.over_optimised and "accepted" in last.figures:
        reward, within = _short("reward", last.figures["reward"]), _short("accepted", last.figures["accepted"])
        text += (
            f" {escape(last.label)} gets more reward, {reward}, and only {within} of its answers are within the rule."
        )
    return text


def _cards(align: AlignData) -> str:
    """The stages in their order, each with its main figure and with what it is: the whole in one minute."""
    cards = []
    sft, reward_model = align.stage("sft"), align.stage("reward_model")
    if sft is not None:
        value = _data(sft.labels, 0) if sft.labels is not None else duration(sft.seconds)
        parts = [] if sft.labels is None else ["texts by people", *([duration(sft.seconds)] if sft.seconds else [])]
        unit, lines = "", [" · ".join(parts)] if parts else []
        text = "Imitates texts that people wrote, token by token. All others start from it and are measured against it."
        cards.append(_card("SFT", value, unit, lines, text))
    if reward_model is not None and align.accuracy is not None:
        lines = [f"people among themselves {_short('accuracy', align.ceiling)}"] if align.ceiling else []
        text = "Learns from people's comparisons which of two texts they prefer; then gives any text one number."
        cards.append(_card("Reward model", *_big("accuracy", align.accuracy), ["right on human pairs", *lines], text))
    best, loosest, dpo = align.best, align.loosest, align.model("dpo")
    if best is not None:
        held = "beta times KL holds it near SFT" if best.beta else "nothing holds it near SFT"
        text = f"Writes, is scored by the reward model, and moves to what scores well; {held}."
        cards.append(_model_card(align, best, text, True))
    if loosest is not None:
        text = "Over-optimised: with less hold the reward rises further, and the texts that people want are gone."
        cards.append(_model_card(align, loosest, text if align.over_optimised else "The same with less hold."))
    if dpo is not None:
        text = "Learns from ranked pairs directly: no reward model in the loop, nothing to generate meanwhile."
        cards.append(_model_card(align, dpo, text))
    return f'<div class="cards steps">{"".join(cards)}</div>' if cards else ""


def _model_card(align: AlignData, model: Model, text: str, main: bool = False) -> str:
    judged = [(judge.label, model.figures.get(f"win_{judge.name}")) for judge in align.judges]
    judged += [("reward model", model.figures.get("win_reward"))] if not align.judges else []
    known = [(label, measure) for label, measure in judged if measure is not None]
    if not known:
        return ""
    lines = [f"preferred to SFT by {escape(known[0][0])}"]
    lines += [f"by {escape(label)} {_short('accepted', measure)}" for label, measure in known[1:]]
    extra = [f"{text} {_short(key, model.figures[key])}" for key, text in _BRIEF.items() if key in model.figures]
    return _card(model.label, *_big("accepted", known[0][1]), [*lines, " · ".join(extra)], text, main)


_BRIEF = {"reward": "reward", "kl_nats": "KL", "distinct_2": "distinct-2"}


def _big(key: str, measure: Measure | None) -> tuple[str, str]:
    name = figure_name(key)
    return (MISSING, "") if measure is None else (_recorded(name, measure), name.unit)


def _short(key: str, measure: Measure | None) -> str:
    name = figure_name(key)
    unit = " %" if name.unit == "%" else ""
    return MISSING if measure is None else _recorded(name, measure) + unit


def _card(label: str, value: str, unit: str, lines: Sequence[str], text: str, main: bool = False) -> str:
    unit = f' <span class="unit">{escape(unit)}</span>' if unit else ""
    rest = "".join(f"<small>{line}</small>" for line in lines if line)
    kind = "card main" if main else "card"
    return f'<div class="{kind}"><b>{escape(label)}</b>{value}{unit}{rest}<p class="note">{escape(text)}</p></div>'


def _models(align: AlignData) -> str:
    if not align.models:
        return ""
    drawn = align_plots.wins(align)
    dots = ""
    if drawn is not None:
        marks = {"o": '<circle cx="16" cy="6" r="5"', "D": '<path d="M16 0L22 6L16 12L10 6Z"'}
        legend = ""
        for label, colour, marker in align_plots.judge_looks(align).values():
            shape = marks.get(marker, '<rect x="11" y="1" width="10" height="10"') + f' style="fill: var(--{colour})"/>'
            legend += f'<li><svg viewBox="0 0 32 12" aria-hidden="true">{shape}</svg>{escape(label)}</li>'
        note = "How often a judge that had no part in training prefers a model's answer to SFT's. 50 %: as good as SFT."
        again = align.model("sft_again")
        if again is not None:
            note += f" {again.label}: SFT itself once more, and so what chance can do."
        note += (
            " Under the rule, a text that hardly reads as one any more cannot win (see: whom to believe)."
            if align.rule
            else ""
        )
        dots = f'<p class="note">{escape(note)}</p><ul class="legend">{legend}</ul>'
        dots += (
            f'<div class="wide">{figure(drawn, "share of answers preferred to those of SFT, by model and judge")}</div>'
        )
    return section("What came out", dots + _model_table(align))


def _model_table(align: AlignData) -> str:
    keys = [key for model in align.models for key in model.figures]
    best, rows = align.best, []
    names = []
    for title, group in grouped(keys, [(judge.name, judge.label) for judge in align.judges]):
        rows.append(
            f'<tr class="group"><th colspan="{len(align.models) + 1}" scope="rowgroup">{escape(title)}</th></tr>'
        )
        for name in group:
            cells = "".join(_cell(name, model.figures.get(name.key), model is best) for model in align.models)
            unit = f" <em>{escape(name.unit)}</em>" if name.unit else ""
            rows.append(f"<tr><td>{escape(name.label)}{unit}</td>{cells}</tr>")
            names.append(name)
    heads = "".join(f"<th{' class=own' if model is best else ''}>{escape(model.label)}</th>" for model in align.models)
    body = f"<table><thead><tr><th></th>{heads}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
    known = [name for name in names if name.meaning]
    said = "".join(f"<tr><td>{escape(name.label)}</td><td>{escape(name.meaning)}</td></tr>" for name in known)
    ends = "over seeds" if len(align.seeds) > 1 else "over prompts"
    foot = f'<p class="note">Small figures: 95 % intervals {ends}.</p>'
    meaning = f"<details><summary>What each figure says</summary><table>{said}</table></details>" if said else ""
    return f'<div class="wide models">{body}</div>{foot}{meaning}'


def _cell(name: FigureName, measure: Measure | None, own: bool) -> str:
    kind = " class=own" if own else ""
    if measure is None:
        return f"<td{kind}>{MISSING}</td>"
    half = name.interval(measure)
    return f"<td{kind}>{_recorded(name, measure)}{f'<i>{half}</i>' if half else ''}</td>"


def _recorded(name: FigureName, measure: Measure) -> str:
    return f'<data value="{measure.mean!r}">{fixed(name.shown(measure).mean, name.digits)}</data>'


def _data(value: float, digits: int) -> str:
    return f'<data value="{value!r}">{fixed(value, digits)}</data>'


def _training(align: AlignData) -> str:
    figures = ""
    for key, (title, _, meaning) in align_plots.CURVES.items():
        drawn = align_plots.training(align, key)
        if drawn is not None:
            shown = figure(drawn, f"{title} over the updates of PPO, for each beta")
            figures += f'<div>{shown}<p class="note">{escape(meaning)}</p></div>'
    if not figures:
        return ""
    note = "PPO, update by update, on the prompts that it trains on. "
    note += "Thin lines: further seeds." if len(align.seeds) > 1 else ""
    return section(
        "How training went",
        f'<p class="note">{note}</p>{beta_legend(align.curves)}<div class="figures three">{figures}</div>',
    )


def _contrast(align: AlignData) -> str:
    if not align.contrast:
        return ""
    rows = "".join(
        f"<tr><td>{escape(title[:1].upper() + title[1:])}</td><td>{escape(sft)}</td><td>{escape(rlhf)}</td></tr>"
        for title, sft, rlhf in align.contrast
    )
    head = "<tr><th></th><th>SFT</th><th>RLHF</th></tr>"
    table = f'<div class="wide"><table class="contrast"><thead>{head}</thead><tbody>{rows}</tbody></table></div>'
    return section("SFT and RLHF, what each needs and risks", table)


def _trust(align: AlignData) -> str:
    figures, drawn = "", align_plots.accuracies(align)
    if drawn is not None:
        figures += figure(drawn, "agreement of the reward model and of each judge with people, on held-out pairs")
    bins = calibration.reliability(align.reward_model.tables) if align.reward_model else []
    if bins:
        figures += figure(
            calibration.calibration(bins), "how sure the reward model was, and how often people chose the same"
        )
    rows = "".join(
        f"<tr><td>{escape(judge.label)}</td><td>{escape(judge.what)}</td>"
        f"<td>{_short('accuracy', judge.accuracy)}</td></tr>"
        for judge in align.judges
    )
    head = "<tr><th>Judge</th><th>What it is</th><th>Agrees with people</th></tr>"
    table = (
        f'<div class="wide"><table class="contrast"><thead>{head}</thead><tbody>{rows}</tbody></table></div>'
        if rows
        else ""
    )
    limits = " · ".join(f"{escape(key.replace('_', ' '))} {_data(value, 3)}" for key, value in align.limits.items())
    rule = f"<h3>The rule</h3><p>{escape(align.rule)}</p>" if align.rule else ""
    rule += f'<p class="note">Thresholds: {limits}</p>' if limits else ""
    if not figures and not rows and not rule:
        return ""
    note = (
        "Agreement: of two texts that people rated clearly apart, how often the one that they liked better got the higher "
        "number. People themselves do not always agree: that is the most that can be reached."
    )
    note += f" Calibration: {calibration.MEANING[:1].lower()}{calibration.MEANING[1:]}" if bins else ""
    return section("Whom to believe", f'<p class="note">{note}</p><div class="figures">{figures}</div>{table}{rule}')


def _stages(align: AlignData) -> str:
    if not align.stages:
        return ""
    rows = ""
    for stage in align.stages:
        labels = MISSING if stage.labels is None else _data(stage.labels, 0)
        reached = ", ".join(
            f"{escape(glued(column.label.lower()))} {_data(measure.mean, column.digits)} {escape(column.unit)}".strip()
            for measure, column in list(stage.figures.values())[:3]
        )
        seconds = (
            MISSING if stage.seconds is None else f'<data value="{stage.seconds!r}">{duration(stage.seconds)}</data>'
        )
        rows += (
            f"<tr><td>{escape(stage.name)} <em>{escape(algo_name(stage.algo))}</em></td><td>{escape(stage.what)}</td>"
        )
        rows += f"<td>{labels}</td><td>{reached or MISSING}</td><td>{seconds}</td></tr>"
    head = "<tr><th>Stage</th><th>What it does</th><th>Human labels or texts</th><th>Reached</th><th>Time</th></tr>"
    total = sum(stage.seconds or 0.0 for stage in align.stages)
    note = f"Each is a run of its own in this directory, with its own report; {duration(total)} of stages together"
    note += f", {duration(align.seconds)} from start to end." if align.seconds is not None else "."
    table = f'<div class="wide"><table class="contrast"><thead>{head}</thead><tbody>{rows}</tbody></table></div>'
    return section("Stages", f'<p class="note">{note}</p>{table}')


def _sources(align: AlignData) -> str:
    rows = "".join(
        f"<tr><td>{title}</td><td>{escape(align.data[key])}</td></tr>"
        for key, title in (("name", "Data"), ("task", "Task"), ("licence", "Licence"), ("citation", "Please cite"))
        if align.data.get(key)
    )
    rows += f"<tr><td>Base model</td><td>{escape(align.base)}</td></tr>"
    return section("Data and model", f'<div class="wide"><table class="sources"><tbody>{rows}</tbody></table></div>')
