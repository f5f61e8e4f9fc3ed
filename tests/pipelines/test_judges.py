"""Judges, and the rule by which a degenerate completion cannot win."""

import numpy as np
import pytest

from cumulant.pipelines import judges

HUMAN = [
    "a quiet film with two fine actors and little else",
    "the plot runs out of breath before the end does",
    "funny at times, tired at others, never both at once",
    "the camera loves the sea, and so will you",
    "nobody in it seems to know why they are there",
]
SALAD = ["truly inspiring and truly inspiringly captivating and truly inspiring"] * 5


def traits(texts, fluency=-4.0):
    return judges.Traits.of(texts, np.full(len(texts), fluency))


def test_a_salad_of_praise_cannot_win():
    rule = judges.Rule.from_humans(HUMAN, np.full(len(HUMAN), -4.0))
    assert rule.accepts(traits(HUMAN)).all()
    assert not rule.accepts(traits(SALAD)).any()
    mixed = [SALAD[0], *HUMAN[1:]]  # one salad repeats nobody else's pairs, but itself
    assert rule.accepts(traits(mixed)).tolist() == [False, True, True, True, True]


def test_what_is_less_fluent_than_people_cannot_win():
    rule = judges.Rule.from_humans(HUMAN, np.array([-3.0, -4.0, -5.0, -4.5, -3.5]))
    assert rule.fluency == pytest.approx(-5.0, abs=0.05)
    assert rule.accepts(traits(HUMAN, -4.9)).all()
    assert not rule.accepts(traits(HUMAN, -5.1)).any()


def test_other_answers_that_say_the_same_cannot_win():
    rule = judges.Rule.from_humans(HUMAN, np.full(len(HUMAN), -4.0))
    same = ["an amazing experience for the whole family"] * 3 + HUMAN[:2]
    assert rule.accepts(traits(same)).tolist() == [False, False, False, True, True]


def test_few_answers_together_may_share_less_than_many():
    human = ["a film about the sea", "the end of a summer", "a film about the end", "the sea of a summer"]
    fluency = np.full(4, -4.0)
    whole, halves = judges.Rule.from_humans(human, fluency), judges.Rule.from_humans(human, fluency, size=2)
    assert halves.shared_pairs < 0.3 < whole.shared_pairs
    assert (halves.fluency, halves.own_repeats) == (whole.fluency, whole.own_repeats)
    odd = judges.Rule.from_humans(
        human[:3], fluency[:3], size=2
    )  # a single text shares nothing: it says nothing of two
    assert odd.shared_pairs == pytest.approx(judges.Rule.from_humans(human[:2], fluency[:2]).shared_pairs)


def test_wins_under_the_rule():
    better, worse = np.array([2.0, 2.0, 0.0, 2.0, 1.0]), np.ones(5)
    accepted, other = np.array([True, False, True, False, True]), np.array([True, True, False, False, True])
    assert judges.wins(better, worse, accepted, other).tolist() == [1.0, 0.0, 1.0, 0.5, 0.5]
    assert judges.wins(better, worse).tolist() == [1.0, 1.0, 0.0, 1.0, 0.5]


def test_distinct_counts_over_all_texts():
    assert judges.distinct(HUMAN) > 0.95
    assert judges.distinct(SALAD) < 0.2
    assert judges.distinct([""]) == 0.0


def test_a_bag_of_words_learns_what_raters_like():
    rng = np.random.default_rng(0)
    words = ["good", "fine", "dull", "bad", "film", "plot", "end", "sea"]
    worth = np.array([2.0, 1.0, -1.0, -2.0, 0.0, 0.0, 0.0, 0.0])
    drawn = rng.integers(len(words), size=(400, 6))
    texts = [" ".join(words[k] for k in row) for row in drawn]
    judge = judges.bag_of_words(texts[:300], worth[drawn[:300]].sum(1))
    assert np.corrcoef(judge(texts[300:]), worth[drawn[300:]].sum(1))[0, 1] > 0.9


def test_the_lexicon_knows_negation():
    good, bad = judges.lexicon()(["a good film", "not a good film"])
    assert good > 0 > bad


def test_pairs_that_share_texts_do_not_make_an_interval_narrow():
    rng = np.random.default_rng(0)
    truth = rng.normal(size=30)
    one, two = rng.integers(30, size=(2, 4000))
    wide = truth[one] > truth[two]
    found = judges.agreement(truth + rng.normal(size=30), one[wide], two[wide])  # 2,000 pairs, and 30 texts
    assert found["low"] < found["value"] < found["high"]
    assert found["high"] - found["low"] > 0.1  # 0.04 if every pair were another one


@pytest.mark.slow
def test_the_panel_agrees_with_people_and_people_with_each_other():
    ceiling = judges.ceiling("movie-snippets")
    words, lexicon = judges.panel("movie-snippets")
    assert ceiling["value"] > 0.95
    assert 0.78 < words.accuracy["value"] < ceiling["value"]
    assert 0.62 < lexicon.accuracy["value"] < words.accuracy["value"]
    assert judges.panel("a/file.jsonl") == []
    assert judges.about("movie-snippets")["licence"]
