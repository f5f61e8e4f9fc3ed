"""Judges of completions that had no part in training them, and the rule by which a degenerate completion cannot win.

A policy that was trained against a learned reward is good at that reward: only somebody else can say whether it became
better. Two judges do so here, of other kinds and from other evidence than the reward model:

- ``bag_of_words``: words and word pairs, weighted and summed by ridge regression, fitted to ratings that no reward
  model saw (of training texts, of which the reward model saw some with other ratings);
- ``lexicon``: VADER, 7,500 words that people rated one by one, and rules for negation and emphasis.

Both read words and hardly their order, so both like a salad of praise. Therefore no win counts by the judge alone: a
completion that is less fluent, or repeats more of itself or of the model's other answers, than 99 of 100 human texts loses
against any that does not (``Rule``).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from cumulant.loading import text_package
from cumulant.stats import bootstrap_interval

Judge = Callable[[Sequence[str]], np.ndarray]  # texts -> one number each, higher is better
GAP = 1.0  # two texts are a pair that people agree on where their mean ratings differ by more


@dataclass(frozen=True)
class Expert:
    """A judge, what it is, and how far it agrees with people.

    Args:
        name: In judgement.json.
        label: For people.
        what: What it goes by, one line.
        score: The judge.
        accuracy: Share of held-out pairs on which it agrees with the raters, with its interval.
    """

    name: str
    label: str
    what: str
    score: Judge
    accuracy: Mapping[str, float]


def bag_of_words(texts: Sequence[str], ratings: np.ndarray) -> Judge:
    """Fit a judge to rated texts: tf-idf of words and word pairs, ridge regression.

    Args:
        texts: N texts.
        ratings: Mean rating of each, ``[N]``.

    Raises:
        MissingPackage: If scikit-learn is not installed.
    """
    text_package("sklearn")
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import Ridge
    from sklearn.pipeline import make_pipeline

    words = TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True, token_pattern=r"(?u)\b\w[\w']*\b|[!?]")
    model = make_pipeline(words, Ridge(alpha=1.0, solver="sparse_cg", tol=1e-6)).fit(list(texts), ratings)
    return lambda texts: np.asarray(model.predict(list(texts)), dtype=np.float64)


def lexicon() -> Judge:
    """Return VADER's compound score, from -1 to 1.

    Raises:
        MissingPackage: If vaderSentiment is not installed.

    Source: Hutto & Gilbert 2014, "VADER: A parsimonious rule-based model for sentiment analysis of social media text".
    """
    analyser = text_package("vaderSentiment.vaderSentiment").SentimentIntensityAnalyzer()
    return lambda texts: np.array([analyser.polarity_scores(text)["compound"] for text in texts])


@dataclass(frozen=True)
class Traits:
    """What the rule looks at, of B completions.

    Args:
        fluency: Log-probability per token under the untouched base model, ``[B]`` nats.
        own_repeats: Share of longer words that occurred before in the same text, ``[B]``.
        shared_pairs: Share of word pairs that occur in another completion of the same model too, ``[B]``.
    """

    fluency: np.ndarray
    own_repeats: np.ndarray
    shared_pairs: np.ndarray

    @classmethod
    def of(cls, completions: Sequence[str], fluency: np.ndarray) -> Traits:
        """Measure completions of one model to different prompts."""
        return cls(np.asarray(fluency, dtype=np.float64), own_repeats(completions), shared_pairs(completions))


@dataclass(frozen=True)
class Rule:
    """What a completion must satisfy to win, from human texts to the same prompts.

    Args:
        fluency: Least log-probability per token, nats.
        own_repeats: Largest share of words that repeat themselves.
        shared_pairs: Largest share of word pairs that other answers have too.
    """

    fluency: float
    own_repeats: float
    shared_pairs: float

    @classmethod
    def from_humans(
        cls, completions: Sequence[str], fluency: np.ndarray, size: int | None = None, share: float = 0.01
    ) -> Rule:
        """Put each threshold where this share of the human texts fails it.

        Args:
            completions: Human texts to the same prompts, B.
            fluency: Log-probability per token of each, ``[B]`` nats.
            size: How many answers of a model are looked at together: the more, the more pairs of words they share. All B if not
                given.
            share: Of the human texts.
        """
        size = size or len(completions)
        parts = [completions[first : first + size] for first in range(0, len(completions), size)]
        whole = [part for part in parts if len(part) == size] or parts  # a short last part would share less
        return cls(
            float(np.quantile(fluency, share)),
            float(np.quantile(own_repeats(completions), 1.0 - share)),
            float(np.quantile(np.concatenate([shared_pairs(part) for part in whole]), 1.0 - share)),
        )

    def accepts(self, traits: Traits) -> np.ndarray:
        """Return which completions may win, ``[B]`` bool."""
        fluent = traits.fluency >= self.fluency
        return fluent & (traits.own_repeats <= self.own_repeats) & (traits.shared_pairs <= self.shared_pairs)

    def __str__(self) -> str:
        return (
            f"a completion cannot win if its log-probability per token under the untouched model is below {self.fluency:.2f}, "
            f"if more than {self.own_repeats:.0%} of its longer words repeat themselves, or if more than "
            f"{self.shared_pairs:.0%} of its word pairs are in other answers of the same model too "
            "(one human text in a hundred fails each)"
        )


def words_of(text: str) -> list[str]:
    """Return the words of a text, in lower case.

    >>> words_of("A film that's fun -- and FUN!")
    ['a', 'film', "that's", 'fun', 'and', 'fun']
    """
    return re.findall(r"[^\W_]+(?:'[^\W_]+)?", text.lower())


def own_repeats(texts: Sequence[str]) -> np.ndarray:
    """Return for each text the share of its words of four letters or more that repeat an earlier one, ``[B]``.

    Words are the same if their first six letters are, so that "inspiring" repeats "inspiringly".

    >>> own_repeats(["truly inspiring and inspiringly true", "a film"]).tolist()
    [0.25, 0.0]
    """
    shares = []
    for text in texts:
        stems = [word[:6] for word in words_of(text) if len(word) >= 4]
        shares.append(1.0 - len(set(stems)) / len(stems) if stems else 0.0)
    return np.array(shares)


def shared_pairs(texts: Sequence[str]) -> np.ndarray:
    """Return for each text the share of its word pairs that occur in another text of the list too, ``[B]``.

    >>> shared_pairs(["a truly great film", "truly great fun", "dull"]).tolist()
    [0.3333333333333333, 0.5, 0.0]
    """
    pairs = [set(zip(words := words_of(text), words[1:])) for text in texts]
    holders = Counter(pair for each in pairs for pair in each)
    return np.array([sum(holders[pair] > 1 for pair in each) / len(each) if each else 0.0 for each in pairs])


def distinct(texts: Sequence[str], n: int = 2) -> float:
    """Return the share of the word n-grams of all texts together that are different ones (distinct-n).

    >>> distinct(["a fine film", "a fine day"])
    0.75

    Source: Li et al. 2016, "A diversity-promoting objective function for neural conversation models".
    """
    grams = [tuple(words[i : i + n]) for words in map(words_of, texts) for i in range(len(words) - n + 1)]
    return len(set(grams)) / len(grams) if grams else 0.0


def wins(
    score: np.ndarray, other: np.ndarray, accepted: np.ndarray | None = None, other_accepted: np.ndarray | None = None
) -> np.ndarray:
    """Return who wins on each prompt: 1, 0, or 0.5 for a tie, ``[B]``.

    Args:
        score: A judge's scores of one model, ``[B]``.
        other: Its scores of the other, ``[B]``.
        accepted: Which completions may win; all by default.
        other_accepted: The same of the other.

    >>> wins(np.array([3.0, 1.0, 2.0]), np.array([1.0, 1.0, 1.0]), np.array([True, True, False]), np.full(3, True)).tolist()
    [1.0, 0.5, 0.0]
    """
    plain = np.where(score > other, 1.0, np.where(score < other, 0.0, 0.5))
    if accepted is None or other_accepted is None:
        return plain
    return np.where(accepted == other_accepted, np.where(accepted, plain, 0.5), accepted.astype(float))


def panel(data: str) -> list[Expert]:
    """Return the judges of a data set, the first the one that the reports go by; none where nobody rated it.

    Both are asked about held-out texts whose mean ratings differ by more than ``GAP`` in the half that no reward
    model learns from.
    """
    if data != "movie-snippets":
        return []
    from cumulant.data.snippets import snippets

    train, held_out = snippets("train"), snippets("held-out")
    ratings = np.array([np.mean(snippet.half("B")) for snippet in train])
    texts, truth = (
        [snippet.text for snippet in held_out],
        np.array([np.mean(snippet.half("B")) for snippet in held_out]),
    )
    better, worse = _pairs(truth, np.random.default_rng(0))
    found = []
    for name, label, what, judge in (
        (
            "bag_of_words",
            "words",
            f"ridge regression on the words of {len(train):,} texts, fitted to ratings that the reward model never saw",
            bag_of_words([snippet.text for snippet in train], ratings),
        ),
        ("lexicon", "lexicon", "VADER: 7,500 words rated one by one, rules for negation and emphasis", lexicon()),
    ):
        score = judge(texts)
        found.append(Expert(name, label, what, judge, agreement(score, better, worse)))
    return found


def ceiling(data: str) -> Mapping[str, float] | None:
    """Return on which share of the panel's pairs the other half of the ratings agrees with them; None where nobody rated."""
    if data != "movie-snippets":
        return None
    from cumulant.data.snippets import snippets

    held_out = snippets("held-out")
    truth, other = (np.array([np.mean(snippet.half(half)) for snippet in held_out]) for half in ("B", "A"))
    better, worse = _pairs(truth, np.random.default_rng(0))
    return agreement(other, better, worse)


def about(data: str) -> Mapping[str, str]:
    """Return what a report must say of the data: name, licence and citation."""
    from cumulant.data.materials import MATERIALS

    found = MATERIALS.get(data)
    if found is None:
        return {"name": data}
    task = "after the first 4 to 6 words of a film review, write the rest so that people find it positive"
    return {"name": data, "licence": found.licence, "citation": found.citation, "task": task}


def _pairs(truth: np.ndarray, rng: np.random.Generator, count: int = 2000) -> tuple[np.ndarray, np.ndarray]:
    """Draw pairs that people agree on: indices of the better and of the worse text."""
    one, two = rng.integers(len(truth), size=(2, 20 * count))
    wide = np.flatnonzero(truth[one] - truth[two] > GAP)[:count]
    return one[wide], two[wide]


def agreement(score: np.ndarray, better: np.ndarray, worse: np.ndarray) -> Mapping[str, float]:
    """Return on which share of pairs a score agrees, with an interval over texts: one text is in several pairs.

    Args:
        score: Of each text, ``[N]``.
        better: Index of each pair's better text, ``[P]``.
        worse: Of its worse one, ``[P]``.
    """
    from cumulant.engine.preference_report import bootstrap_mean

    pairs = np.stack([better, worse], 1)
    mean, low, high = bootstrap_mean(wins(score[better], score[worse]), pairs, np.random.default_rng(0))
    return {"value": float(mean), "low": float(low), "high": float(high)}


def plain(x: np.ndarray) -> Mapping[str, float]:
    """Return a mean and its bootstrap interval as plain values."""
    mean, low, high = bootstrap_interval(np.asarray(x, dtype=np.float64), np.random.default_rng(0))
    return {"value": float(mean), "low": float(low), "high": float(high)}
