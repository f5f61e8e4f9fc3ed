"""What people prefer: pairs of responses, ratings by several raters, and how far people agree with each other.

Read from files (docs/language_models.md has the columns), from what ``cumulant rank`` writes, or from the embedded snippets,
whose raters come in two disjoint halves: A trains, B judges.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cumulant.data.chat import messages_of, pieces, render_prompt
from cumulant.data.rows import Row, Split, read_rows
from cumulant.data.snippets import Snippet, snippets
from cumulant.data.text import embedded_names
from cumulant.errors import DataError
from cumulant.stats import Interval, mean_interval

THRESHOLDS = (0.0, 0.5, 1.0, 2.0)


@dataclass(frozen=True)
class Pair:
    """Two responses to a prompt, and what people prefer.

    Args:
        prompt: What both respond to; "" where the texts stand for themselves.
        chosen: The response that more raters preferred (either one of a tie).
        rejected: The other one.
        margin: How much better it was rated, in units of the ratings; None where nobody said.
        share: Fraction of the raters for ``chosen``, a tie counting half: 1 is unanimous, 0.5 a tie.
        raters: How many compared them.
        where: File and line, for messages.
    """

    prompt: str
    chosen: str
    rejected: str
    margin: float | None = None
    share: float = 1.0
    raters: int = 1
    where: str = field(default="", compare=False)


@dataclass(frozen=True)
class Comparison:
    """What each rater says of one pair: above 0 for its first response, below 0 for its second, 0 for a tie."""

    prompt: str
    first: str
    second: str
    votes: tuple[float, ...]
    is_rating: bool = False
    where: str = field(default="", compare=False)

    def pair(self) -> Pair:
        """Return it with the response first that more raters prefer (by the mean where the raters are split evenly)."""
        share = float(np.mean([(vote > 0) + 0.5 * (vote == 0) for vote in self.votes]))
        mean = float(np.mean(self.votes))
        is_second = share < 0.5 or (share == 0.5 and mean < 0)
        chosen, rejected = (self.second, self.first) if is_second else (self.first, self.second)
        margin = (
            max(-mean if is_second else mean, 0.0) if self.is_rating else None
        )  # the mean may contradict the majority
        share = 1 - share if is_second else share
        return Pair(self.prompt, chosen, rejected, margin, share, len(self.votes), self.where)


@dataclass(frozen=True)
class Agreement:
    """How far people agree with each other on pairs that others find different by more than a threshold.

    Args:
        threshold: In units of the raters' votes: differences of ratings, or 1 for a plain preference.
        pairs: How many pairs that leaves.
        one_rater: Fraction of the votes in which one rater prefers what the mean of all others prefers, a tie counting half,
            with a 95 % interval over pairs. What a reward model's agreement with a panel can be compared with.
        half: The same for one half of the raters against the other half.
    """

    threshold: float
    pairs: int
    one_rater: Interval
    half: Interval


def load_pairs(
    data: Any, split: Split = "train", *, half: str | None = None, matchings: int = 4, tokenizer: Any = None
) -> list[Pair]:
    """Return pairs: prompt, chosen and rejected (margin, share, rater, tie), or prompt, responses and ratings.

    Rows by several raters on the same pair become one, with the share of raters. Rows that say skip are left out.

    Args:
        data: As of every loader.
        split: "train" or "held-out".
        half: Of the embedded snippets, whose votes count: "A", "B" or, for None, everybody's.
        matchings: Of the embedded snippets, in how many pairs each text is.
        tokenizer: Renders prompts and responses that are messages, by its chat template.

    Raises:
        DataError: If the data cannot be read, or have other columns (message names file, line and column).
        MaterialError: If an embedded set cannot be fetched.

    >>> said = [{"prompt": "p", "chosen": "x", "rejected": "y", "rater": rater} for rater in ("ann", "bob")]
    >>> said += [{"prompt": "p", "chosen": "y", "rejected": "x", "rater": "eve"}]
    >>> pair, = load_pairs({"train": said})
    >>> pair.chosen, round(pair.share, 3), pair.raters
    ('x', 0.667, 3)
    """
    if embedded_names(data, ("movie-snippets",), "preferences") is not None:
        return [comparison.pair() for comparison in _snippet_comparisons(split, half, matchings)]
    pairs: list[Pair] = []
    rated: dict[tuple[str, frozenset[str]], Comparison] = {}
    for row in read_rows(data, split):
        for item in _of_row(row, tokenizer):
            if isinstance(item, Pair):
                pairs.append(item)
            else:
                key = (item.prompt, frozenset((item.first, item.second)))
                rated[key] = _joined(rated[key], item) if key in rated else item
    return pairs + [comparison.pair() for comparison in rated.values()]


def load_comparisons(
    data: Any, split: Split = "held-out", *, half: str | None = None, tokenizer: Any = None
) -> list[Comparison]:
    """Return what each rater says of each pair that at least two raters compared; see `load_pairs`.

    Ratings of the embedded snippets are not by the same people for every text, so a rater of one text is set against a rater of
    the other, at random; no text is in two pairs.
    """
    if embedded_names(data, ("movie-snippets",), "preferences") is not None:
        return _snippet_comparisons(split, half, 1)
    rated: dict[tuple[str, frozenset[str]], Comparison] = {}
    for row in read_rows(data, split):
        for item in _of_row(row, tokenizer):
            if isinstance(item, Comparison):
                key = (item.prompt, frozenset((item.first, item.second)))
                rated[key] = _joined(rated[key], item) if key in rated else item
    return [comparison for comparison in rated.values() if len(comparison.votes) > 1]


def human_agreement(
    comparisons: Sequence[Comparison], generator: np.random.Generator, thresholds: Sequence[float] = THRESHOLDS
) -> list[Agreement]:
    """Return how far raters agree with each other, at several thresholds of how different the others find a pair.

        one rater: mean over raters k of all pairs with |m_k| > threshold of [sign(v_k) = sign(m_k)],
                   m_k = mean of the other votes on the pair

    A rater is never among those it is compared with, a pair counts for a rater by what the others say, and votes are averaged
    over all pairs at once: raters who vote at random agree half of the time. Votes on one pair are not independent, so the
    interval is that of a ratio of sums over pairs.

    Args:
        comparisons: From `load_comparisons`; those with one vote are left out.
        generator: Splits raters into halves.
        thresholds: At least 0.

    Returns:
        One figure for each threshold; intervals are NaN where fewer than two pairs are left.
    """
    votes = [np.asarray(comparison.votes, dtype=np.float64) for comparison in comparisons if len(comparison.votes) > 1]
    others = [(v.sum() - v) / (len(v) - 1) for v in votes]
    shuffled = [generator.permutation(v) for v in votes]
    halves = [np.array([v[: len(v) // 2].mean(), v[len(v) // 2 :].mean()]) for v in shuffled]
    found = []
    for threshold in thresholds:
        one = [_same(v, m, threshold) for v, m in zip(votes, others)]
        half = [_same(h[::-1], h, threshold) for h in halves]
        found.append(Agreement(threshold, sum(count > 0 for _, count in one), _ratio(one), _ratio(half)))
    return found


def _same(votes: np.ndarray, means: np.ndarray, threshold: float) -> tuple[float, int]:
    """Return how many votes have the sign of means beyond a threshold, ties counting half, and how many means are beyond."""
    beyond = np.abs(means) > threshold
    product = np.sign(votes[beyond]) * np.sign(means[beyond])
    return float((0.5 + 0.5 * product).sum()), int(beyond.sum())


def _ratio(counts: Sequence[tuple[float, int]]) -> Interval:
    """Return sum of the first over sum of the second, with the interval of a ratio estimate (linearised, over pairs)."""
    hits, all_ = np.array([count for count in counts if count[1]], dtype=np.float64).reshape(-1, 2).T
    if not len(all_):
        return Interval(float("nan"), float("nan"), float("nan"))
    ratio = float(hits.sum() / all_.sum())
    if len(all_) < 2:
        return Interval(ratio, float("nan"), float("nan"))
    _, low, high = mean_interval(ratio + (hits - ratio * all_) / all_.mean())
    return Interval(ratio, max(low, 0.0), min(high, 1.0))


def _snippet_comparisons(split: Split, half: str | None, matchings: int) -> list[Comparison]:
    """Match the texts at random, as often as asked for; the pairs are the same every time."""
    generator = np.random.default_rng(0)
    found, texts = [], snippets(split)
    for _ in range(matchings):
        shuffled = generator.permutation(len(texts))
        for first, second in shuffled[: len(texts) // 2 * 2].reshape(-1, 2):
            found.append(_set_against(texts[first], texts[second], half, generator))
    return found


def _set_against(first: Snippet, second: Snippet, half: str | None, generator: np.random.Generator) -> Comparison:
    left, right = (generator.permutation(snippet.half(half)) for snippet in (first, second))
    count = min(len(left), len(right))
    votes = tuple(float(vote) for vote in left[:count] - right[:count])
    return Comparison("", first.text, second.text, votes, is_rating=True)


# -- rows --------------------------------------------------------------------------------------------------------------


def _of_row(row: Row, tokenizer: Any) -> list[Pair | Comparison]:
    """Return what a row says: a pair, one rater's vote, or the ratings of all pairs of several responses."""
    shapes = (("prompt", "chosen", "rejected"), ("prompt", "responses", "ratings"), ("chosen", "rejected"))
    shape = row.shape("pairs", *shapes)
    if "responses" in shape:
        return _of_ratings(row)
    if row.flag("skip"):
        return []
    prompt, chosen, rejected = _texts(row, tokenizer)
    margin, share, tie = row.number("margin"), row.number("share"), row.flag("tie")
    if share is not None and not 0 <= share <= 1:
        raise row.wrong("share", "within 0 and 1")
    if row.values.get("rater") is not None:
        vote = 0.0 if tie else 1.0 if margin is None else margin
        return [Comparison(prompt, chosen, rejected, (vote,), margin is not None, row.where)]
    return [Pair(prompt, chosen, rejected, margin, 0.5 if tie else 1.0 if share is None else share, where=row.where)]


def _texts(row: Row, tokenizer: Any) -> tuple[str, str, str]:
    """Return prompt, chosen and rejected as texts; messages are rendered."""
    if all(isinstance(row.values[column], str) for column in ("chosen", "rejected")):
        prompt = row.values.get("prompt")
        if prompt is None or isinstance(prompt, str):
            return prompt or "", row.text("chosen"), row.text("rejected")
    if tokenizer is None:
        raise DataError(f"{row.where}: holds messages, which need a tokenizer with a chat template")
    column = "prompt" if row.values.get("prompt") is not None else "chosen"
    if isinstance(row.values[column], str):
        asked: tuple[Mapping[str, str], ...] = ({"role": "user", "content": row.text(column)},)
    else:
        asked = messages_of(row, column) if column == "prompt" else messages_of(row, column, last="assistant")[:-1]
    replies = []
    for name in ("chosen", "rejected"):
        if isinstance(row.values[name], str):
            reply: tuple[Mapping[str, str], ...] = ({"role": "assistant", "content": row.text(name)},)
        else:
            reply = messages_of(row, name, last="assistant")[0 if column == "prompt" else -1 :]
        said = [text for text, is_reply in pieces([*asked, *reply], tokenizer, row.where) if is_reply]
        replies.append(said[-1].removesuffix(tokenizer.eos_token or "\0"))
    return render_prompt(asked, tokenizer, row.where), replies[0], replies[1]


def _of_ratings(row: Row) -> list[Pair | Comparison]:
    """Return a comparison of every two responses; raters who rated only one of them say nothing of the two."""
    responses, ratings = row.texts("responses"), row.values["ratings"]
    expected = (
        f"for each of the {len(responses)} responses a list of ratings, or for each rater a list of {len(responses)} "
        "(null for none)"
    )
    try:
        if isinstance(ratings, Mapping):  # rater: ratings of the responses
            table = np.array([list(given) for given in ratings.values() if given is not None], dtype=np.float64).T
        else:  # of each response, the ratings by the raters, in the same order
            table = np.array([list(given) for given in ratings], dtype=np.float64)
    except (TypeError, ValueError):
        raise row.wrong("ratings", expected) from None
    if table.ndim != 2 or len(table) != len(responses) or np.isinf(table).any():
        raise row.wrong("ratings", expected)
    found: list[Pair | Comparison] = []
    for first in range(len(responses)):
        for second in range(first + 1, len(responses)):
            votes = table[first] - table[second]
            votes = votes[~np.isnan(votes)]
            if len(votes):
                both = responses[first], responses[second]
                found.append(Comparison(row.text("prompt"), *both, tuple(map(float, votes)), True, row.where))
    return found


def _joined(one: Comparison, other: Comparison) -> Comparison:
    """Return two raters' words on the same pair as one."""
    votes = other.votes if other.first == one.first else tuple(-vote for vote in other.votes)
    is_rating = one.is_rating and other.is_rating
    return Comparison(one.prompt, one.first, one.second, one.votes + votes, is_rating, one.where)
