"""How the figures of aligned models are called, in which unit they are shown, and what each of them says."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from cumulant.report.evaluation import Column, Measure
from cumulant.report.wording import fixed, plain, spread


class FigureName(NamedTuple):
    """How one figure of a model is shown.

    Args:
        key: Its name in the file.
        label: For people.
        unit: "" or a unit.
        better: "higher", "lower" or "".
        digits: Decimals.
        factor: From the recorded number to the unit.
        meaning: One sentence for somebody who never saw it.
    """

    key: str
    label: str
    unit: str
    better: str
    digits: int
    factor: float
    meaning: str

    @property
    def column(self) -> Column:
        """The same as a column of a comparison."""
        return Column(self.key, self.label, self.unit, self.better, self.digits)

    def shown(self, measure: Measure) -> Measure:
        """Return a measure in the unit that is shown."""
        ends = [None if end is None else self.factor * end for end in (measure.low, measure.high)]
        return Measure(self.factor * measure.mean, *ends)

    def interval(self, measure: Measure) -> str:
        """Write the interval in the unit that is shown: half its width, or both ends; "" where there is none.

        >>> figure_name("accepted").interval(Measure(1.0, 0.97, 1.0))
        '97…100'
        """
        value = self.shown(measure)
        if value.low is None or value.high is None or value.low == value.high:
            return ""
        half = spread(value.mean, value.low, value.high, self.digits)
        low, high = fixed(value.low, self.digits), fixed(value.high, self.digits)
        if "…" not in half:
            return half
        return f"{low}…{high}" if low != high else f"±{fixed((value.high - value.low) / 2, self.digits + 1)}"

    def text(self, measure: Measure | None) -> str:
        """Write a measure with its unit, and with its interval where it has one.

        >>> figure_name("accepted").text(Measure(0.5, 0.45, 0.55))
        '50 % ±5'
        """
        if measure is None:
            return fixed(None)
        words = (fixed(self.shown(measure).mean, self.digits), self.unit, self.interval(measure))
        return " ".join(word for word in words if word)


_REWARD = (
    FigureName(
        "reward", "reward", "s.d. of SFT", "", 2, 1.0,
        "What the reward model gives: the number that PPO raises, in standard deviations of SFT's rewards.",
    ),
    FigureName(
        "win_reward", "preferred by the reward model", "%", "", 0, 100.0,
        "How often its answer has the higher reward than SFT's. No evidence of quality: this is what it was trained for.",
    ),
)  # fmt: skip
_TEXT = (
    FigureName(
        "accepted", "answers within the rule", "%", "higher", 0, 100.0,
        "Share of answers that are fluent enough and do not repeat themselves; human texts stand at about 99 %.",
    ),
    FigureName(
        "distinct_2", "distinct word pairs", "", "higher", 2, 1.0,
        "Distinct-2: different word pairs over all word pairs. 1 is no pair twice; near 0 everything sounds the same.",
    ),
    FigureName(
        "distinct_texts", "distinct answers", "%", "higher", 0, 100.0, "Share of answers that no other prompt got as well."
    ),
    FigureName(
        "fluency", "fluency", "nats a token", "higher", 2, 1.0,
        "How likely the untouched base model finds the text, token by token. Dull and repeated words score well too.",
    ),
    FigureName("length", "length", "tokens", "", 1, 1.0, "Mean length of an answer."),
    FigureName("stopped", "ended by itself", "%", "", 0, 100.0, "Share that ended before the longest length allowed."),
)  # fmt: skip
_KL = FigureName(
    "kl_nats", "distance from SFT (KL)", "nats an answer", "", 1, 1.0,
    "How much more likely the model finds its own answers than SFT does. The more, the further it has moved.",
)  # fmt: skip
_NAMES = {name.key: name for name in (*_REWARD, *_TEXT, _KL)}


def figure_name(key: str, judge: str = "") -> FigureName:
    """Return how a figure is shown.

    Args:
        key: Its name in the file, such as ``"kl_nats"`` or ``"win_lexicon"``.
        judge: What the judge is called of whom a ``win_`` or ``raw_`` is.

    >>> figure_name("kl_nats").label, figure_name("win_lexicon", "lexicon").label
    ('distance from SFT (KL)', 'preferred by lexicon')
    """
    if key in _NAMES:
        return _NAMES[key]
    if key.startswith("win_"):
        who = judge or key[4:].replace("_", " ")
        meaning = "How often this judge prefers its answer to SFT's; one that breaks the rule cannot win. 50 % is as good as SFT."
        return FigureName(key, f"preferred by {who}", "%", "higher", 0, 100.0, meaning)
    if key.startswith("raw_"):
        who = judge or key[4:].replace("_", " ")
        meaning = "The same judge without the rule: it also counts answers that are no sentences any more."
        return FigureName(key, f"{who}, without the rule", "%", "", 0, 100.0, meaning)
    if key == "accuracy":
        return FigureName(key, "accuracy", "%", "higher", 1, 100.0, "")
    return FigureName(key, plain(key, 60).replace("_", " "), "", "", 2, 1.0, "")


def grouped(keys: Iterable[str], judges: Sequence[tuple[str, str]]) -> list[tuple[str, list[FigureName]]]:
    """Return the figures in the order in which they are read, under the question that they answer.

    Args:
        keys: Those that there are.
        judges: Name and label of each independent judge.

    >>> [title for title, _ in grouped(["kl_nats", "reward"], [])]
    ['What it was trained for', 'How far it went']
    """
    known = list(dict.fromkeys(keys))
    labels = dict(judges)
    parts = [
        ("Do others prefer it to SFT?", [figure_name(f"win_{name}", label) for name, label in judges]),
        ("What it was trained for", list(_REWARD)),
        ("How far it went", [_KL]),
        ("What the texts are like", list(_TEXT)),
        ("The judges without the rule", [figure_name(f"raw_{name}", label) for name, label in judges]),
    ]
    listed = {name.key for _, names in parts for name in names}
    rest = [figure_name(key, labels.get(key[4:], "")) for key in known if key not in listed]
    parts.append(("Other figures", rest))
    kept = [(title, [name for name in names if name.key in known]) for title, names in parts]
    return [(title, names) for title, names in kept if names]
