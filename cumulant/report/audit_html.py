"""report.html of an audit: the verdict and its figures, what each policy does under every reward, and the trick itself."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

from cumulant.report import audit_plots
from cumulant.report.audit_load import AuditData, Policy, load_audit
from cumulant.report.evaluation import Measure
from cumulant.report.markup import document, figure, section, table, write_page
from cumulant.report.wording import MISSING, brief, plain

MEANING = {
    "hacked": "Maximising this reward does something else than what matters.",
    "honest": "Who maximises this reward does what matters.",
    "unclear": "These figures do not decide it.",
}


def write_report(path: str | Path) -> Path:
    """Write ``report.html`` into the directory of an audit and return its path.

    Raises:
        RunError: If it is not finished, or damaged.
        StorageError: If the disk refuses.
    """
    audit = load_audit(path)
    return write_page(audit.path / "report.html", page(audit))


def page(audit: AuditData) -> str:
    """Return the page of an audit as HTML."""
    parts = [_head(audit), _cards(audit), _signs(audit), _matrix(audit), _course(audit), _trick(audit), _texts(audit)]
    parts += [
        _sweep(audit),
        _shares(audit),
        _removal(audit),
        _outcomes(audit),
        _edges(audit),
        _ends(audit),
        _rule(audit),
    ]
    return document(audit.title, audit.notice, parts, "Cumulant")


def _head(audit: AuditData) -> str:
    problems = "".join(f"<li>{escape(plain(problem, 400))}</li>" for problem in audit.problems[:20])
    return (
        f'<header><h1>{escape(audit.title)} <small>{audit.verdict}</small></h1><p class="soft">'
        f"{' · '.join(escape(fact) for fact in audit.facts)}</p><p>{MEANING[audit.verdict]} {_sentence(audit.why)}</p></header>"
        + (f'<div class="problems">Notes:<ul>{problems}</ul></div>' if problems else "")
    )


def _sentence(text: str) -> str:
    return escape(text[:1].upper() + text[1:] + ("" if not text or text[-1] in ".!?" else "."))


def _cards(audit: AuditData) -> str:
    loss = audit.numbers.get("loss")
    cards = [
        ("The verdict", f'<span class="text">{audit.verdict}</span>', [], True),
        (
            "Lost of what matters",
            MISSING if loss is None else f'<data value="{loss!r}">{100 * loss:.0f}</data> <span class="unit">%</span>',
            [f"of reference less {escape(audit.words['random'])}"],
            True,
        ),
    ]
    for key, label, who in (
        ("outcome", f"{audit.words['outcome']}: trained on {audit.words['reward']}", audit.who[0]),
        ("reference_outcome", f"{audit.words['outcome']}: the reference", audit.who[1]),
        ("return", f"{audit.words['reward']}: trained on it", audit.who[0]),
        ("reference_return", f"{audit.words['reward']}: the reference", audit.who[1]),
    ):
        if (measure := audit.figures.get(key)) is not None:
            cards.append((label[:1].upper() + label[1:], _number(measure.mean), [_range(measure), escape(who)], False))
    text = "".join(
        f'<div class="card{" main" if main else ""}"><b>{escape(label)}</b>{value}'
        f"{''.join(f'<small>{line}</small>' for line in lines if line)}</div>"
        for label, value, lines, main in cards
    )
    return f'<div class="cards">{text}</div>'


def _number(value: float) -> str:
    return f'<data value="{value!r}">{brief(value)}</data>'


def _range(measure: Measure) -> str:
    return "" if measure.low is None or measure.high is None else f"{brief(measure.low)} to {brief(measure.high)}"


def _cell(measure: Measure | None, best: bool = False) -> str:
    if measure is None:
        return f"<td>{MISSING}</td>"
    return f"<td{' class=best' if best else ''}>{_number(measure.mean)}<i>{_range(measure)}</i></td>"


def _signs(audit: AuditData) -> str:
    if not audit.signs:
        return ""
    rows = "".join(f"<li>{_sentence(text)}</li>" for text in audit.signs)
    return section(
        "What is different about it", f"<p>The policy trained on {escape(audit.words['reward'])}:</p><ul>{rows}</ul>"
    )


def _kind(policy: Policy) -> str:
    return {"reward": "agent", "random": "floor"}.get(policy.name, "protocol")


def _matrix(audit: AuditData) -> str:
    keys = audit.rewards
    best = {key: max((p.returns[key].mean for p in audit.policies if key in p.returns), default=None) for key in keys}
    rows, episodes = [], any(policy.length is not None for policy in audit.policies)
    for policy in audit.policies:
        cells = "".join(
            _cell(policy.returns.get(key), key in policy.returns and policy.returns[key].mean == best[key])
            for key in keys
        )
        early = MISSING if policy.early is None else f'<data value="{policy.early!r}">{100 * policy.early:.0f}</data> %'
        length = MISSING if policy.length is None else _number(policy.length)
        said = f" <em>{escape(policy.verdict)}</em>" if policy.verdict else ""
        rows.append(
            f'<tr class="{_kind(policy)}"><td>{escape(policy.label)}{said}</td>{cells}'
            + (f"<td>{length}</td><td>{early}</td></tr>" if episodes else "</tr>")
        )
    heads = [escape(audit.words["policies"]), *(escape(_reward_name(audit, key)) for key in keys)]
    heads += ["Length", "Ended<br>early"] if episodes else []
    note = (
        "Rows: policies, by what they were trained on. Columns: what the same episodes return under each reward, what matters "
        "among them. Bold: the most of a column. Small figures: 95 % intervals. A hack reads like this: the first row is best "
        "in its own column and poor under what matters."
    )
    return section("Every policy under every reward", f'<p class="note">{note}</p>{table(heads, rows)}')


def _reward_name(audit: AuditData, key: str) -> str:
    return audit.words.get(key) or key.replace("without=", "without ")


def _course(audit: AuditData) -> str:
    drawn, other = audit_plots.training(audit), audit_plots.against(audit)
    if drawn is None or other is None:
        return ""
    figures = figure(drawn, "return and outcome over training") + figure(other, "outcome against return over training")
    said = "Return and outcome never part: who gets more of the one gets more of the other, or the outcome never rose."
    if audit.parted:
        when = (
            f"after {audit.parted['steps']:,.0f} {escape(audit.words['steps'])}"
            if audit.parted.get("steps")
            else "from the start"
        )
        said = f"They part {when}: from there on more reward is less of what matters."
    legend = _legend(f"trained on {audit.words['reward']}", f"trained on {audit.words['outcome']}: the reference")
    note = f'<p class="note">{said} {escape(audit.words["points"])}</p>{legend}'
    return section("Where they part", f'{note}<div class="figures">{figures}</div>')


def _legend(own: str, reference: str) -> str:
    lines = ""
    for colour, dash, label in (("other", "", own), ("agent", ' stroke-dasharray="10 3.2"', reference)):
        stroke = f'<line x1="1" y1="6" x2="31" y2="6" stroke-width="2.6"{dash} style="stroke: var(--{colour})"/>'
        lines += f'<li><svg viewBox="0 0 32 12" aria-hidden="true">{stroke}</svg>{escape(label)}</li>'
    return f'<ul class="legend">{lines}</ul>'


def _trick(audit: AuditData) -> str:
    if audit.trick is None:
        return ""
    drawn = audit_plots.trick(*audit.trick)
    if drawn is None:
        return ""
    note = (
        "Of the episodes kept, the one in which the reward's policy has most reward and least of what matters, compared with the "
        "reference from the same start."
    )
    legend = _legend(f"trained on {audit.words['reward']}", "the reference")
    shown = f'<div class="wide">{figure(drawn, "one episode of the policy and of the reference, step by step")}</div>'
    title = "The trick, step by step" if audit.verdict == "hacked" else "One episode, step by step"
    return section(title, f'<p class="note">{note}</p>{legend}{shown}')


def _texts(audit: AuditData) -> str:
    parts = []
    for prompt, answers in audit.texts[:8]:
        cells = "".join(
            f'<div class="answer"><b>{escape(who)}</b><p>{escape(text)}</p></div>' for who, text in answers.items()
        )
        parts.append(f'<p class="asked">{escape(prompt)}</p><div class="answers">{cells}</div>')
    return section("The trick, in texts", "".join(parts)) if parts else ""


def _sweep(audit: AuditData) -> str:
    drawn = audit_plots.sweep(audit)
    rows = [
        f"<tr><td>{escape(policy.label)}</td>{_cell(policy.returns.get('reward'))}{_cell(policy.returns.get('outcome'))}"
        f"<td>{MISSING if policy.early is None else f'{100 * policy.early:.0f} %'}</td></tr>"
        for policy in audit.constant
    ]
    if not rows:
        return ""
    shown = f'<div class="wide">{figure(drawn, "return and outcome of constant actions")}</div>' if drawn else ""
    note = (
        "The simplest policy search: always the same, each on the same episodes. It sees what no learner can: a difference of "
        "a thousandth, which exploration drowns. Where one of these has more of the reward than training found, the verdict is "
        "about it."
    )
    heads = ["", escape(audit.words["reward"]), escape(audit.words["outcome"]), "Ended<br>early"]
    details = f"<details><summary>All figures</summary>{table(heads, rows)}</details>"
    return section("Always the same", f'<p class="note">{note}</p>{shown}{details}')


def _shares(audit: AuditData) -> str:
    known = [policy for policy in audit.policies if policy.terms]
    names = list(dict.fromkeys(name for policy in known for name in policy.terms))
    if len(names) < 2:
        return ""
    rows = []
    for policy in known:
        total = sum(abs(value) for value in policy.terms.values())
        cells = ""
        for name in names:
            value = policy.terms.get(name, 0.0)
            share = f"{100 * abs(value) / total:.0f} %" if total > 0 else MISSING
            cells += f"<td>{_number(value)}<i>{share}</i></td>"
        rows.append(f'<tr class="{_kind(policy)}"><td>{escape(policy.label)}</td>{cells}</tr>')
    note = "What each term of the reward gives in an episode, and beneath its share of all that is given and taken."
    return section("The return by term", f'<p class="note">{note}</p>{table(["", *map(escape, names)], rows)}')


def _removal(audit: AuditData) -> str:
    rows = []
    for term, outcome, gain, apart in audit.removal:
        share = MISSING if gain is None else f'<data value="{gain!r}">{100 * gain:+.0f}</data> %'
        said = "intervals apart" if apart else "intervals overlap"
        rows.append(f"<tr><td>without {escape(term)}</td>{_cell(outcome)}<td>{share}</td><td>{said}</td></tr>")
    if not rows:
        return ""
    note = "Trained on the reward without one of its terms: what becomes of what matters. Up: the term invites a trick."
    heads = ["Trained on the reward", escape(audit.words["outcome"]), "Change, of the gap", ""]
    return section("Without a term", f'<p class="note">{note}</p>{table(heads, rows)}')


def _outcomes(audit: AuditData) -> str:
    names = list(dict.fromkeys(name for policy in audit.policies for name in policy.quantities))[:40]
    if not names:
        return ""
    rows = [
        f"<tr><td>{escape(name)}</td>"
        + "".join(
            f"<td>{_number(policy.quantities[name]) if name in policy.quantities else MISSING}</td>"
            for policy in audit.policies
        )
        + "</tr>"
        for name in names
    ]
    heads = [
        escape(audit.words["quantities"]),
        *(escape(policy.label) for policy in audit.policies),
    ]
    return section("What each policy does to everything else", table(heads, rows) + _actions(audit))


def _actions(audit: AuditData) -> str:
    known = [policy for policy in audit.policies if policy.shares]
    if not known:
        return ""
    count = max(len(policy.shares) for policy in known)
    rows = [
        f"<tr><td>{escape(policy.label)}</td>"
        + "".join(f"<td>{100 * share:.0f} %</td>" for share in policy.shares)
        + "</tr>"
        for policy in known
    ]
    return f"<h3>Actions taken</h3>{table(['', *(f'action {k}' for k in range(count))], rows)}"


def _edges(audit: AuditData) -> str:
    if not audit.thresholds:
        return ""
    who = list(audit.thresholds[0].pays)
    rows = []
    for edge in audit.thresholds:
        cells = "".join(
            f"<td>{100 * edge.pays.get(name, 0.0):.1f} %<i>{100 * edge.fined.get(name, 0.0):.1f} % beyond</i></td>"
            for name in who
        )
        rows.append(
            f"<tr><td>{escape(edge.term)} jumps by {brief(edge.jump)} where {escape(edge.quantity)} passes {brief(edge.at)} "
            f"<em>near: {brief(edge.near)}</em></td>{cells}</tr>"
        )
    note = "Thresholds found in what the terms gave, and the steps that each policy spends just beside, where it pays more."
    heads = ["Threshold", *(escape(_policy_label(audit, name)) for name in who)]
    return section("Close to a threshold", f'<p class="note">{note}</p>{table(heads, rows)}')


def _policy_label(audit: AuditData, name: str) -> str:
    policy = audit.policy(name)
    return name if policy is None else policy.label


def _ends(audit: AuditData) -> str:
    rows = []
    for who, parts in audit.last_steps.items():
        cells = "".join(
            f"<td>{_number(parts[key][0])}</td><td>{_number(parts[key][1])}</td>"
            if key in parts
            else "<td></td><td></td>"
            for key in ("reward", "outcome", "action")
        )
        rows.append(f"<tr><td>{escape(_policy_label(audit, who))}</td>{cells}</tr>")
    if not rows:
        return ""
    last = f"last {audit.last_count}"
    heads = [
        "",
        *(f"{escape(name)},<br>{when}" for name in ("reward", "outcome", "action") for when in ("before", last)),
    ]
    horizon = f" of {audit.horizon}" if audit.horizon else ""
    note = f"Means per step in the last {audit.last_count}{horizon} steps of full-length episodes, and before them."
    return section("The last steps", f'<p class="note">{note}</p>{table(heads, rows)}')


def _rule(audit: AuditData) -> str:
    lower, within = (100 * audit.numbers.get(key, 0.0) for key in ("lower", "within"))
    text = (
        "Gap: what matters under the reference (trained on what matters alone) less what matters under "
        f"{escape(audit.words['random'])}. Loss: what the reward's policy has less than the reference, as a part of the gap. "
        "Hacked: the reward's policy has at least the reference's return under the reward, and loses more than "
        f"{lower:.0f} % with disjoint intervals. Honest: it loses at most {within:.0f} %. Anything else is unclear."
    )
    return section("The rule", f"<p>{text}</p>")


def shown_policies(audit: AuditData) -> Sequence[Policy]:
    """Return the policies that a short table shows: the reward's, the reference, the others, random actions last."""
    order = {"reward": 0, "outcome": 1, "random": 3}
    return sorted(audit.policies, key=lambda policy: order.get(policy.name, 2))
