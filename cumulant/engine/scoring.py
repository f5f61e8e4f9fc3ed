"""What scores a completion: a function of the user, a trained reward model, or named and weighted terms.

A reward is written as terms with commas between them, each ``SOURCE`` or ``SOURCE=WEIGHT`` (the weight is 1 if not given):

    my/judge.py:score                     a function (prompts, completions) -> one number each
    runs/my_reward_model                  the run, or the model directory, of a trained reward model
    length=-0.01                          a column (below) times its weight
    my/judge.py:REWARD                    a ``cumulant.reward.Reward`` over the columns, as the dosing environment's rewards
    runs/my_reward_model,distinct_2=0.5   a sum of terms; each is logged by itself

Columns of a completion, ``[B]`` each: ``length`` (tokens, the end mark included), ``words``, ``stopped`` (1 if it ended by
itself, 0 if it was cut off), ``distinct_2`` (share of its word pairs that are different ones), ``sentiment`` (by a lexicon),
``fragment`` (1 if it has fewer than three words: a lone full stop, say).
Axes: B samples, K terms.
"""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np

from cumulant.errors import ConfigError, CumulantError, NumericsError, did_you_mean
from cumulant.loading import load_attribute
from cumulant.reward import Reward, Term, resolve
from cumulant.run.config import require

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class ScoringConfig:
    """What scores completions, and how a score becomes the reward that is trained on."""

    reward: str = "sentiment"
    """What scores a completion: module:function, the run of a reward model, or columns, as in distinct_2=0.5,length=-0.01."""
    standardise: bool = True
    """Measure rewards in standard deviations of the reference model's own, so that they do not depend on the scorer's unit."""
    truncated: Literal["score", "penalty", "skip"] = "score"
    """A completion that was cut off: scored as it is, given a fixed reward below 0, or not learned from."""
    truncated_penalty: float = 1.0
    """How far below 0 that fixed reward is, in the unit that is trained on."""
    reward_limit: float | None = None
    """Rewards are cut off at plus and minus this, in the unit that is trained on; none for no limit."""

    def __post_init__(self) -> None:
        require(self, "reward", bool(self.reward.strip(" ,")), "a function, a reward model or a column")
        parse_terms(self.reward)
        require(self, "truncated_penalty", 0.0 <= self.truncated_penalty < math.inf, "at least 0")
        limit = self.reward_limit
        require(self, "reward_limit", limit is None or 0.0 < limit < math.inf, "above 0, or none")


@dataclass(frozen=True)
class Samples:
    """Completions as a scorer sees them.

    Args:
        prompts: What was asked, B texts.
        completions: What was answered, B texts, without the end mark.
        length: Tokens of each completion, the end mark included, ``[B]`` int.
        stopped: Whether it ended by itself, ``[B]`` bool.
    """

    prompts: Sequence[str]
    completions: Sequence[str]
    length: np.ndarray
    stopped: np.ndarray


class RewardModel(Protocol):
    """What a trained reward model must offer here."""

    def score(self, prompts: Sequence[str], completions: Sequence[str]) -> np.ndarray:
        """Return one number for each completion, ``[B]``."""


def open_reward_model(path: str, device: str | torch.device = "cpu") -> RewardModel:
    """Open the run or directory of a trained reward model, on a device.

    Raises:
        UsageError: If there is none.
    """
    from cumulant.engine.text_reward import TextReward

    return TextReward.load(path, device=device)


class Columns(Mapping[str, np.ndarray]):
    """Outcome columns of completions, each computed when a term first asks for it."""

    def __init__(self, samples: Samples) -> None:
        self.samples = samples
        self._known: dict[str, np.ndarray] = {}

    def __getitem__(self, name: str) -> np.ndarray:
        if name not in self._known:
            self._known[name] = np.asarray(COLUMNS[name](self.samples), dtype=np.float64)
        return self._known[name]

    def __iter__(self) -> Iterator[str]:
        return iter(COLUMNS)

    def __len__(self) -> int:
        return len(COLUMNS)


COLUMNS: dict[str, Callable[[Samples], Any]] = {
    "length": lambda samples: samples.length,
    "words": lambda samples: [len(text.split()) for text in samples.completions],
    "fragment": lambda samples: [len(text.split()) < 3 for text in samples.completions],
    "stopped": lambda samples: samples.stopped,
    "distinct_2": lambda samples: [distinct(text) for text in samples.completions],
    "sentiment": lambda samples: [sentiment(text) for text in samples.completions],
}


class Scorer:
    """A reward, ready to score.

    Args:
        config: What to score by.
        device: Where a reward model computes.

    Raises:
        UsageError: If there is no such function, model or column (message names the closest).
    """

    def __init__(self, config: ScoringConfig, device: str | torch.device = "cpu") -> None:
        self.config, self.device = config, device
        self.mean, self.std = 0.0, 1.0
        self._parts: list[tuple[tuple[str, ...], Callable[[Samples], np.ndarray]]] = []
        for source, weight in parse_terms(config.reward):
            self._parts.append(self._part(source, weight))
        self.names = tuple(name for names, _ in self._parts for name in names)
        twice = sorted({name for name in self.names if self.names.count(name) > 1})
        if twice:
            raise ConfigError(f"reward = '{config.reward}': two terms are called '{twice[0]}'; rename a function")

    def split(self, samples: Samples) -> np.ndarray:
        """Return each term's weighted share of the reward, ``[B, K]`` float64, in the terms' own units.

        Raises:
            ConfigError: If a term raises, or gives another number of numbers than there are samples (message names it).
            NumericsError: If a number is not finite (message names the term and the sample).
        """
        terms = np.concatenate([part(samples) for _, part in self._parts], axis=1)
        if not np.isfinite(terms).all():
            b, k = np.argwhere(~np.isfinite(terms))[0]
            raise NumericsError(
                f"the reward '{self.names[k]}' became {terms[b, k]} for sample {b} (prompt {_shown(samples.prompts[b])}, "
                f"completion {_shown(samples.completions[b])}): it must be a finite number for every completion"
            )
        return terms

    def fit(self, terms: np.ndarray) -> None:
        """Take mean and standard deviation of the reward from samples of the reference model, ``[B, K]``.

        Raises:
            ConfigError: If all of them earn the same, so that there is nothing to measure in.
        """
        if not self.config.standardise:
            return
        total = terms.sum(1)
        self.mean, self.std = float(total.mean()), float(total.std())
        if not self.std > 1e-9 * max(1.0, abs(self.mean)):
            raise ConfigError(
                f"reward = '{self.config.reward}': all {len(total)} completions of the reference model earn {self.mean:g}, so "
                "there is no deviation to measure rewards in: check the reward, or use --no-standardise"
            )

    def total(self, terms: np.ndarray, stopped: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the reward that is trained on, and which samples count.

            reward = clamp((sum_k terms_k - mean) / std, -limit, limit),   or -truncated_penalty where cut off, if so configured

        Args:
            terms: As ``split`` gives them, ``[B, K]``.
            stopped: Whether a sample ended by itself, ``[B]`` bool.

        Returns:
            Rewards ``[B]`` float64, and ``[B]`` bool: false for samples that are not to be learned from.
        """
        reward = (terms.sum(1) - self.mean) / self.std
        if self.config.reward_limit is not None:
            reward = reward.clip(-self.config.reward_limit, self.config.reward_limit)
        if self.config.truncated == "penalty":
            reward = np.where(stopped, reward, -self.config.truncated_penalty)
        counts = (
            np.asarray(stopped, dtype=bool) if self.config.truncated == "skip" else np.ones(len(reward), dtype=bool)
        )
        return reward, counts

    def metrics(self, terms: np.ndarray) -> dict[str, float]:
        """Return the mean of the reward and of each of its terms, in their own units."""
        split = {f"reward/{name}": float(mean) for name, mean in zip(self.names, terms.mean(0))}
        return {"reward/mean": float(terms.sum(1).mean()), **(split if len(split) > 1 else {})}

    def state_dict(self) -> dict[str, Any]:
        """What ``fit`` found."""
        return {"mean": self.mean, "std": self.std}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Undo ``state_dict``."""
        self.mean, self.std = float(state["mean"]), float(state["std"])

    def _part(self, source: str, weight: float) -> tuple[tuple[str, ...], Callable[[Samples], np.ndarray]]:
        """Return the names of a source's terms, and what computes them: samples -> ``[B, names]``."""
        if source in COLUMNS:
            column = source
            return (source,), lambda samples: weight * Columns(samples)[column][:, None]
        if ":" in source:
            return _user_part(source, weight)
        if not Path(source).is_dir():
            hint = did_you_mean(source, COLUMNS)
            raise ConfigError(
                f"reward = '{source}': no such column ({hint}), and no directory of a reward model; "
                "a function of yours is written module:function"
            )
        model = open_reward_model(source, self.device)

        def by_model(samples: Samples) -> np.ndarray:
            scores = model.score(samples.prompts, samples.completions)
            return weight * _numbers(scores, source, len(samples.completions))[:, None]

        return (Path(source).name,), by_model


def parse_terms(text: str) -> list[tuple[str, float]]:
    """Read a reward: terms with commas between them, each a source and its weight.

    Raises:
        ConfigError: If a weight is not a finite number.

    >>> parse_terms("judge.py:score, length=-0.01")
    [('judge.py:score', 1.0), ('length', -0.01)]
    """
    terms = []
    for word in filter(None, (word.strip() for word in text.split(","))):
        source, equals, weight = word.rpartition("=")
        try:
            number = float(weight) if equals else 1.0
        except ValueError:
            number = math.nan
        if not math.isfinite(number) or (equals and not source):
            raise ConfigError(f"reward = {text!r}: '{word}' must be SOURCE or SOURCE=WEIGHT, with a number as weight")
        terms.append((source.strip() if equals else word, number))
    return terms


def code_named_by(reward: str) -> list[str]:
    """Return the paths of somebody's own code that a reward names, for the check of trust."""
    return [source for source, _ in parse_terms(reward) if ":" in source]


def distinct(*texts: str, n: int = 2) -> float:
    """Return the share of different ones among all runs of ``n`` words; 1 if there is none.

    Source:
        Li et al. 2016, "A diversity-promoting objective function for neural conversation models".

    >>> distinct("so good so good so good"), distinct("so good", "so good"), distinct("one two three")
    (0.4, 0.5, 1.0)
    """
    words = [text.lower().split() for text in texts]
    runs = [tuple(line[i : i + n]) for line in words for i in range(len(line) - n + 1)]
    return len(set(runs)) / len(runs) if runs else 1.0


def sentiment(text: str, ratings: Mapping[str, float] | None = None) -> float:
    """Return how positive a text is by the ratings of its words, in (-1, 1); a word after a negation counts the other way.

        score = s / sqrt(s^2 + 15),    s = sum of ratings from -4 to 4, times -0.74 within three words of a negation

    Args:
        text: Any text.
        ratings: Rating of each word that has one; those of the embedded lexicon if not given.

    Source:
        Hutto & Gilbert 2014 (VADER). Differs from source: no boosters, capitals, punctuation or idioms.

    >>> round(sentiment("It is good", {"good": 1.9}), 3), round(sentiment("not very good", {"good": 1.9}), 3)
    (0.44, -0.341)
    """
    ratings, total = _lexicon() if ratings is None else ratings, 0.0
    words = re.findall(r"[\w']+", text.lower())
    for position, word in enumerate(words):
        if word in ratings:
            before = words[max(0, position - 3) : position]
            negated = any(other in _NEGATIONS or other.endswith("n't") for other in before)
            total += ratings[word] * (-0.74 if negated else 1.0)
    return total / math.sqrt(total * total + 15.0)


_NEGATIONS = frozenset(
    ("no", "not", "never", "none", "nobody", "nothing", "neither", "nor", "cannot", "without", "hardly")
)


@cache
def _lexicon() -> dict[str, float]:
    from cumulant.data.materials import fetch

    lines = fetch("sentiment-lexicon")["lexicon.tsv"].read_text(encoding="utf-8").splitlines()
    return {word: float(rating) for word, rating, *_ in (line.split("\t") for line in lines if "\t" in line)}


def _user_part(source: str, weight: float) -> tuple[tuple[str, ...], Callable[[Samples], np.ndarray]]:
    """Return the terms of a user's function (prompts, completions) -> numbers, or of a Reward over the columns."""
    found = load_attribute(source)
    needed = []
    if callable(found) and not isinstance(found, Reward):
        needed = [p for p in inspect.signature(found).parameters.values() if p.default is p.empty]
    if len(needed) == 2:
        name = source.rpartition(":")[2]
        return (name,), lambda samples: weight * _called(found, source, samples)[:, None]
    if len(needed) > 2:
        takes = ", ".join(p.name for p in needed)
        raise ConfigError(
            f"reward '{source}' takes ({takes}): it must be a function of (prompts, completions), or a Reward"
        )
    reward = resolve(source, {})
    terms = tuple(Term(term.name, weight * term.weight, term.function) for term in reward.terms)
    scaled = Reward(reward.name, terms)
    return scaled.term_names, lambda samples: scaled.split(Columns(samples), unit="sample")


def _called(function: Callable[..., Any], source: str, samples: Samples) -> np.ndarray:
    try:
        scores = function(list(samples.prompts), list(samples.completions))
    except CumulantError:
        raise
    except Exception as problem:  # it is the user's own function
        raise ConfigError(
            f"reward '{source}' raised {type(problem).__name__}: {problem} (on {len(samples.prompts)} completions, the first "
            f"{_shown(samples.completions[0])} to {_shown(samples.prompts[0])})"
        ) from problem
    return _numbers(scores, source, len(samples.completions))


def _numbers(scores: Any, source: str, count: int) -> np.ndarray:
    """Return what a scorer gave as ``[B]`` float64, refusing all that is not one number for each sample."""
    try:
        found = np.asarray(scores, dtype=np.float64)
    except (TypeError, ValueError) as problem:
        wrong = next((i for i, score in enumerate(scores) if not _is_number(score)), 0) if _is_list(scores) else None
        where = (
            f"for sample {wrong} it gave {scores[wrong]!r}" if wrong is not None else f"it gave {type(scores).__name__}"
        )
        raise ConfigError(f"reward '{source}': {where}; it must give one number for each completion") from problem
    if found.shape != (count,):
        gave = f"{len(found)} numbers" if found.ndim == 1 else f"an array of shape {list(found.shape)}"
        raise ConfigError(f"reward '{source}' gave {gave} for {count} completions; it must give one for each, in order")
    return found


def _is_list(scores: Any) -> bool:
    return isinstance(scores, list | tuple) and len(scores) > 0


def _is_number(score: Any) -> bool:
    try:
        float(score)
    except (TypeError, ValueError):
        return False
    return True


def _shown(text: str, most: int = 60) -> str:
    return repr(text if len(text) <= most else text[: most - 3] + "...")
