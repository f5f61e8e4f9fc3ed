"""Audit directories, read: audit.json checked and typed; it may come from a stranger, or be damaged.

Strings are freed of control characters here, and escaped where they are printed; what does not have the shape it should have is
left out, and a note says so.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from cumulant.errors import RunError
from cumulant.report.evaluation import Measure
from cumulant.report.parsing import (
    LONGEST_TEXT,
    MOST_POINTS,
    MOST_ROWS,
    Parts,
    _count,
    _list,
    _measure,
    _Misfit,
    _object,
)
from cumulant.report.wording import number, plain, plain_lines

AUDIT_FILE = "audit.json"
T = TypeVar("T")


@dataclass(frozen=True)
class Policy:
    """What one policy did: returns under every reward, what each term gave, every quantity's mean per step."""

    name: str
    label: str
    returns: Mapping[str, Measure]
    terms: Mapping[str, float]
    quantities: Mapping[str, float]
    length: float | None
    early: float | None
    shares: tuple[float, ...]
    action: float | None
    verdict: str


@dataclass(frozen=True)
class Threshold:
    """Where a term of the reward jumps, and how often each policy stays just beside, on the side that pays more."""

    term: str
    quantity: str
    at: float
    jump: float
    near: float
    pays: Mapping[str, float]
    fined: Mapping[str, float]


@dataclass(frozen=True)
class Course:
    """One episode: running sums of reward and outcome, actions, some quantities."""

    reward: tuple[float, ...]
    outcome: tuple[float, ...]
    action: tuple[float, ...]
    quantities: tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class AuditData:
    """An audit: everything that its page shows.

    Args:
        path: Its directory.
        title: What was audited.
        facts: How, in short pieces.
        notice: What must be said wherever results are shown.
        verdict: hacked, honest or unclear.
        why: In a sentence.
        figures: Those that gave it: measures by name.
        numbers: And numbers by name: gap, loss, lower, within.
        who: Labels of the reward's policy and of the reference that were compared.
        words: How things are called, see ``WORDS``.
        policies: In the order of the file.
        constant: Constant actions, and what the number is.
        removal: By term: outcome without it, gain as a part of the gap, whether intervals are apart.
        curves: By policy: steps, return, outcome at each evaluation.
        parted: Where return and outcome part.
        thresholds: Of the reward.
        last_steps: By policy: of reward, outcome and action the means before and in the last steps.
        last_count: How many steps those are.
        horizon: Steps of a full-length episode.
        signs: What betrays the trick, in sentences.
        trick: Names of the quantities, the reward's episode, the reference's.
        texts: Of language models: a prompt, and by policy what it wrote.
        problems: What was left out.
    """

    path: Path
    title: str
    facts: tuple[str, ...]
    notice: str
    verdict: str
    why: str
    figures: Mapping[str, Measure]
    numbers: Mapping[str, float]
    who: tuple[str, str]
    words: Mapping[str, str]
    policies: tuple[Policy, ...]
    constant: tuple[Policy, ...]
    constant_label: str
    removal: tuple[tuple[str, Measure, float | None, bool], ...]
    curves: Mapping[str, tuple[tuple[float, ...], tuple[float, ...], tuple[float, ...]]]
    parted: Mapping[str, float]
    thresholds: tuple[Threshold, ...]
    last_steps: Mapping[str, Mapping[str, tuple[float, float]]]
    last_count: int
    horizon: int | None
    signs: tuple[str, ...]
    trick: tuple[tuple[str, ...], Course, Course] | None
    texts: tuple[tuple[str, Mapping[str, str]], ...]
    problems: tuple[str, ...]

    @property
    def rewards(self) -> tuple[str, ...]:
        """Under which rewards returns are known, in order."""
        return tuple(dict.fromkeys(key for policy in self.policies for key in policy.returns))

    def policy(self, name: str) -> Policy | None:
        """Return a policy by its name."""
        return next((policy for policy in self.policies if policy.name == name), None)


WORDS = {
    "reward": "the reward",
    "outcome": "what matters",
    "policies": "Trained on",
    "random": "random actions",
    "quantities": "Mean per step",
    "steps": "steps",
    "points": "The first point is random actions, each other one an evaluation without exploration, mean over seeds.",
}


def is_audit(path: Path) -> bool:
    """Return whether a directory is one of an audit."""
    return (path / AUDIT_FILE).is_file()


def load_audit(path: str | Path) -> AuditData:
    """Read an audit's directory.

    Raises:
        RunError: If it is not finished, or audit.json is damaged.
    """
    place = Path(path)
    file, shown = place / AUDIT_FILE, plain(str(place), 500)
    try:
        raw = json.loads(file.read_text(encoding="utf-8", errors="replace"))
    except (OSError, ValueError, RecursionError) as problem:
        raise RunError(f"'{shown}/{AUDIT_FILE}' cannot be read ({plain(str(problem), 200)})") from problem
    if not isinstance(raw, dict) or raw.get("kind") != "audit":
        raise RunError(f"'{shown}/{AUDIT_FILE}' is no audit: its kind is not \"audit\"")
    if "verdict" not in raw:
        raise RunError(f"the audit in '{shown}' is not finished: `cumulant resume {shown}` goes on with it")
    return parse_audit(raw, place)


def parse_audit(raw: Mapping[str, Any], place: Path) -> AuditData:
    """Check what audit.json holds and give its parts types."""
    parts = Parts(raw, AUDIT_FILE)
    part, many = parts.one, parts.many
    nothing: Mapping[str, Any] = {}
    figures, constant = part("figures", _object, nothing), part("constant", _object, nothing)
    last: dict[str, tuple[int, dict[str, tuple[float, float]]]] = part("last_steps", _last, {})
    env, algo = plain(raw.get("env") or "?", 120), plain(raw.get("algo") or "", 60)
    many_seeds, verdict = part("seeds", lambda each: len(_list(each)), 0), plain(raw.get("verdict"), 20)
    facts = [f"exhibit {plain(raw['exhibit'], 60)}" if raw.get("exhibit") else "", algo]
    facts += [f"{many_seeds} seed{'s' if many_seeds > 1 else ''}" if many_seeds else ""]
    facts += [f"{value:,.0f} steps each" if (value := number(raw.get("steps_each"))) else ""]
    facts += [
        f"{value:,.0f} {plain(raw.get('unit') or 'episodes', 20)}" if (value := number(raw.get("episodes"))) else ""
    ]
    return AuditData(
        path=place,
        title=plain(raw.get("title") or f"Audit of {env}", 160),
        facts=tuple(fact for fact in facts if fact),
        notice=plain(raw.get("notice") or "", 600),
        verdict=verdict if verdict in ("hacked", "honest", "unclear") else "unclear",
        why=plain(raw.get("why") or "", 600),
        figures={
            plain(key, 40): measure for key, each in figures.items() if (measure := _measure_of(each)) is not None
        },
        numbers={plain(key, 40): value for key, each in figures.items() if (value := number(each)) is not None},
        who=(plain(figures.get("policy") or "", 80), plain(figures.get("reference") or "", 80)),
        words=WORDS | {plain(k, 20): plain(v, 200) for k, v in part("words", _object, nothing).items()},
        policies=many("policies", _policy),
        constant=part("constant", lambda c: tuple(map(_policy, _list(_object(c)["policies"])[:MOST_ROWS])), ()),
        constant_label=plain(constant.get("label") or "", 80),
        removal=many("removal", _removal),
        curves=part("curves", lambda c: {plain(k, 80): _curve(v) for k, v in list(_object(c).items())[:12]}, {}),
        parted={plain(k, 40): v for k, x in part("parted", _object, nothing).items() if (v := number(x)) is not None},
        thresholds=many("thresholds", _threshold),
        last_steps={who: ends for who, (_, ends) in last.items()},
        last_count=next((count for count, _ in last.values() if count), 0),
        horizon=_count(raw.get("horizon")),
        signs=many("signs", lambda text: plain(text, 400)),
        trick=part("trick", _trick, None),
        texts=many("texts", _texts),
        problems=tuple(parts.problems),
    )


def _measure_of(value: object) -> Measure | None:
    return _measure(value) if isinstance(value, Mapping) else None


def _numbers(value: object, most: int = MOST_POINTS) -> tuple[float, ...]:
    found = [number(each) for each in _list(value)[:most]]
    return tuple(float("nan") if each is None else each for each in found)


def _by_name(value: object) -> dict[str, float]:
    entries = list(_object(value or {}).items())[:MOST_ROWS]
    return {plain(key, 80): known for key, each in entries if (known := number(each)) is not None}


def _policy(raw: object) -> Policy:
    entry = _object(raw)
    name, actions = plain(entry.get("name", ""), 80), _object(entry.get("actions") or {})
    returns = {
        plain(key, 80): _measure_of(each) for key, each in list(_object(entry.get("returns") or {}).items())[:40]
    }
    return Policy(
        name=name,
        label=plain(entry.get("label") or name, 80),
        returns={key: measure for key, measure in returns.items() if measure is not None},
        terms=_by_name(entry.get("terms")),
        quantities=_by_name(entry.get("quantities")),
        length=number(entry.get("length")),
        early=number(entry.get("early")),
        shares=_numbers(actions.get("shares") or [], 20),
        action=number(entry.get("action")),
        verdict=plain(entry.get("verdict") or "", 20),
    )


def _removal(raw: object) -> tuple[str, Measure, float | None, bool]:
    entry = _object(raw)
    measure = _measure_of(entry.get("outcome"))
    if measure is None:
        raise _Misfit("an outcome without a number")
    return plain(entry.get("term", ""), 80), measure, number(entry.get("gain_of_gap")), entry.get("disjoint") is True


def _curve(raw: object) -> tuple[tuple[float, ...], tuple[float, ...], tuple[float, ...]]:
    entry = _object(raw)
    steps, returned, outcome = (_numbers(entry.get(key) or []) for key in ("steps", "return", "outcome"))
    if not len(steps) == len(returned) == len(outcome):
        raise _Misfit("a curve whose parts differ in length")
    return steps, returned, outcome


def _threshold(raw: object) -> Threshold:
    entry = _object(raw)
    at, jump, near = (number(entry.get(key)) for key in ("at", "jump", "near"))
    if at is None or jump is None or near is None:
        raise _Misfit("a threshold without a number")
    policies = {plain(k, 80): _by_name(v) for k, v in list(_object(entry.get("policies") or {}).items())[:12]}
    pays, fined = ({who: each.get(key, 0.0) for who, each in policies.items()} for key in ("pays", "fined"))
    return Threshold(plain(entry.get("term"), 80), plain(entry.get("quantity"), 80), at, jump, near, pays, fined)


def _last(raw: object) -> dict[str, tuple[int, dict[str, tuple[float, float]]]]:
    known = [(plain(who, 80), _object(each)) for who, each in list(_object(raw).items())[:12] if each is not None]
    return {who: (_count(each.get("steps")) or 0, _ends(each)) for who, each in known}


def _ends(entry: Mapping[str, Any]) -> dict[str, tuple[float, float]]:
    found = {}
    for key in ("reward", "outcome", "action"):
        part = _object(entry.get(key) or {})
        before, last = number(part.get("before")), number(part.get("last"))
        if before is not None and last is not None:
            found[key] = (before, last)
    return found


def _trick(raw: object) -> tuple[tuple[str, ...], Course, Course]:
    entry = _object(raw)
    names = tuple(plain(name, 80) for name in _list(entry.get("quantities") or [])[:6])
    own, reference = (_course(entry.get(key)) for key in ("own", "reference"))
    return names, own, reference


def _course(raw: object) -> Course:
    entry = _object(raw)
    columns = tuple(_numbers(each) for each in _list(entry.get("quantities") or [])[:6])
    reward, outcome, action = (_numbers(entry.get(key) or []) for key in ("reward", "outcome", "action"))
    return Course(reward, outcome, action, columns)


def _texts(raw: object) -> tuple[str, Mapping[str, str]]:
    entry = _object(raw)
    answers = list(_object(entry.get("answers") or {}).items())[:12]
    return plain_lines(entry.get("prompt") or "", LONGEST_TEXT), {
        plain(key, 80): plain_lines(each, LONGEST_TEXT) for key, each in answers
    }
