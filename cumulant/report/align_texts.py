"""What the models wrote: the same prompts side by side, and the texts along the over-optimisation curve."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from cumulant.report import align_plots
from cumulant.report.align_data import AlignData, Answer, BetaCurve, Prompt
from cumulant.report.align_wording import figure_name
from cumulant.report.markup import figure, section
from cumulant.report.wording import MISSING, fixed

OPEN_PROMPTS = 3  # the others are folded


def beta_legend(curves: Sequence[BetaCurve]) -> str:
    """Return the legend of the lines by beta."""
    items = ""
    for label, look in align_plots.beta_looks(curves).items():
        dashes = "" if look.dash == "-" else f' stroke-dasharray="{" ".join(str(2 * part) for part in look.dash[1])}"'
        stroke = f'<line x1="1" y1="6" x2="31" y2="6" stroke-width="2.6"{dashes} style="stroke: var(--{look.colour})"/>'
        text = escape(align_plots.legend_label(label))
        items += f'<li><svg viewBox="0 0 32 12" aria-hidden="true">{stroke}</svg>{text}</li>'
    return f'<ul class="legend">{items}</ul>'


def same_prompts(align: AlignData) -> str:
    """Return what every model wrote after the same prompts; "" without samples."""
    if not align.samples:
        return ""
    labels = {model.name: model.label for model in align.models}
    shown = "".join(_prompt(prompt, labels) for prompt in align.samples[:OPEN_PROMPTS])
    rest = "".join(_prompt(prompt, labels) for prompt in align.samples[OPEN_PROMPTS:])
    count = len(align.samples) - OPEN_PROMPTS
    folded = (
        f"<details><summary>{count} more prompt{'s' if count > 1 else ''}</summary>{rest}</details>" if rest else ""
    )
    note = "Held-out prompts and what came after them; not picked. Marked answers break the rule, and so cannot win."
    return section("The same prompts under each model", f'<p class="note">{note}</p>{shown}{folded}')


def _prompt(prompt: Prompt, labels: dict[str, str]) -> str:
    human = _answer("Human", Answer(prompt.human, None, None)) if prompt.human else ""
    known = [name for name in labels if name in prompt.answers] + [
        name for name in prompt.answers if name not in labels
    ]
    cells = "".join(_answer(labels.get(name) or name, prompt.answers[name]) for name in known if name != "human")
    return f'<h3 class="asked">{escape(prompt.text)} …</h3><div class="answers">{human}{cells}</div>'


def _answer(label: str, answer: Answer) -> str:
    facts = (
        [] if answer.reward is None else [f'reward <data value="{answer.reward!r}">{fixed(answer.reward, 2)}</data>']
    )
    broken = answer.accepted is False
    facts += ["<strong>breaks the rule</strong>"] if broken else []
    below = f"<small>{' · '.join(facts)}</small>" if facts else ""
    text = f"<p>{escape(answer.text.strip()) or '<em>nothing</em>'}</p>"
    return f'<div class="answer{" broken" if broken else ""}"><b>{escape(label)}</b>{text}{below}</div>'


def over_optimisation(align: AlignData) -> str:
    """Return the over-optimisation curve, how to read it, and the texts that show why; "" where nothing was judged."""
    drawn = align_plots.over_optimisation(align)
    if drawn is None:
        return ""
    note = (
        "Each point is a policy at some update. Above, what PPO raises: the reward, which is a model of what people like and no "
        "more than that. Beneath, what is wanted: the share of answers that a judge with no part in training likes better than "
        "SFT's median, among those within the rule. As long as both rise, the policy learns what people like. Where the reward "
        "rises and good answers fall, it learns what the reward model mistakes for it: that is over-optimisation, or reward "
        "hacking. A larger beta ends the walk before that point."
    )
    picture = figure(drawn, "reward, and share of good answers, against the distance from SFT, for each beta")
    beside = f"<div>{beta_legend(align.curves)}<p>{note}</p></div>"
    first = {curve.label: curve for curve in reversed(align.curves) if curve.moments}  # of several seeds the first
    walks = [first[label] for label in align_plots.beta_looks(align.curves) if label in first]
    texts = "".join(_walk(curve, i == 0) for i, curve in enumerate(reversed(walks)))
    texts = f"<h3>The texts along the way</h3>{texts}" if texts else ""
    return section("Does more reward make better text?", f'<div class="beside">{picture}{beside}</div>{texts}')


def _walk(curve: BetaCurve, unfolded: bool) -> str:
    """One training, moment by moment."""
    rows = ""
    for moment in curve.moments:
        cells = []
        for key, value in (("reward", moment.reward), ("kl_nats", moment.kl)):
            digits = figure_name(key).digits
            cells.append(MISSING if value is None else f'<data value="{value!r}">{fixed(value, digits)}</data>')
        good, within = (
            MISSING if each is None else f'<data value="{each.mean!r}">{fixed(100 * each.mean, 0)}</data> %'
            for each in (moment.good, moment.accepted)
        )
        text = f'<span class="prompt">{escape(moment.prompt)}</span>{escape(moment.completion)}'
        at = f'<data value="{moment.update!r}">{fixed(moment.update, 0)}</data>'
        rows += "<tr>" + "".join(f"<td>{cell}</td>" for cell in (at, *cells, good, within, text)) + "</tr>"
    head = "".join(
        f"<th>{title}</th>" for title in ("Update", "Reward", "KL", "Good<br>answers", "Within<br>the rule", "A sample")
    )
    table = f'<div class="wide"><table class="walk"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'
    title = escape(align_plots.legend_label(curve.label))
    return f"<details{' open' if unfolded else ''}><summary>PPO, {title}</summary>{table}</details>"
