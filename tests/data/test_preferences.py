"""Pairs, ratings and how far people agree: hand-made votes with known answers, every format, places in errors."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cumulant.data.preferences import Comparison, Pair, human_agreement, load_comparisons, load_pairs
from cumulant.data.tokenizer import train_tokenizer
from cumulant.errors import DataError


def pairs_of(*rows, **options):
    return load_pairs({"train": list(rows), "test": list(rows)}, **options)


def row(chosen="x", rejected="y", **more):
    return {"prompt": "p", "chosen": chosen, "rejected": rejected, **more}


def test_pairs_with_margin_tie_and_share():
    assert pairs_of(row(), row(margin=2), row(tie=True), row(share=0.7, margin=1.5), row(skip=True)) == [
        Pair("p", "x", "y"),
        Pair("p", "x", "y", 2.0),
        Pair("p", "x", "y", None, 0.5),
        Pair("p", "x", "y", 1.5, 0.7),
    ]


def test_rows_of_several_raters_become_one_pair():
    said = [row(rater="ann"), row("y", "x", rater="bob"), row("y", "x", rater="cat"), row(tie=True, rater="dan")]
    said += [row(rater="eve", skip=True)]
    (pair,) = pairs_of(*said)
    assert (pair.chosen, pair.rejected, pair.raters, pair.margin) == ("y", "x", 4, None)
    assert pair.share == pytest.approx(2.5 / 4)
    (comparison,) = load_comparisons({"test": said}, "held-out")
    assert comparison.votes == (1.0, -1.0, -1.0, 0.0)
    other = {**row(rater="ann"), "prompt": "q"}
    assert len(pairs_of(*said, other)) == 2
    assert len(load_comparisons({"test": [*said, other]}, "held-out")) == 1  # one rater says nothing of agreement


def test_raters_margins_are_averaged_towards_the_chosen_one():
    (pair,) = pairs_of(row(rater="ann", margin=3), row("y", "x", rater="bob", margin=1))
    assert (pair.chosen, pair.share, pair.margin) == ("x", 0.5, 1.0)
    (pair,) = pairs_of(row(rater="a", margin=9), row("y", "x", rater="b", margin=1), row("y", "x", rater="c", margin=1))
    assert (pair.chosen, pair.margin) == ("y", 0.0)  # the mean is for the other one


@pytest.mark.parametrize(
    "ratings",
    [
        {"ann": [4, 2, None], "bob": [1, 3, 3], "cat": [5, 1, 4]},
        [[4, 1, 5], [2, 3, 1], [None, 3, 4]],
    ],
    ids=["by rater", "by response"],
)
def test_ratings_by_several_raters_become_pairs_with_share_and_margin(ratings):
    said = {"prompt": "p", "responses": ["x", "y", "z"], "ratings": ratings}
    xy, xz, yz = pairs_of(said)
    assert (xy.chosen, xy.rejected, xy.raters) == ("x", "y", 3)
    assert (xy.share, xy.margin) == (pytest.approx(2 / 3), pytest.approx((2 - 2 + 4) / 3))
    assert (xz.chosen, xz.rejected, xz.raters) == ("z", "x", 2)  # ann did not rate z
    assert (xz.share, xz.margin) == (0.5, pytest.approx((2 - 1) / 2))
    assert (yz.chosen, yz.raters, yz.share, yz.margin) == ("z", 2, pytest.approx(0.75), pytest.approx(1.5))


@pytest.mark.parametrize(
    ("said", "message"),
    [
        (
            {"prompt": "p", "chosen": "x"},
            "pairs need prompt and chosen and rejected, or prompt and responses and ratings",
        ),
        ({"prompt": "p", "chosen": "x", "rejectd": "y"}, "'rejectd' looks like 'rejected' misspelled"),
        (row(margin="big"), "column 'margin': must be a finite number, and is 'big'"),
        (row(share=1.5), "column 'share': must be within 0 and 1, and is 1.5"),
        (row(tie="no"), "column 'tie': must be true or false"),
        (
            {"prompt": "p", "responses": ["x", "y"], "ratings": [[1]]},
            "column 'ratings': must be for each of the 2 responses",
        ),
        ({"prompt": "p", "responses": ["x", "y"], "ratings": [[1, 2], [1]]}, "column 'ratings': must be for each"),
        (
            {"prompt": "p", "responses": ["x", "y"], "ratings": [["good"], ["bad"]]},
            "column 'ratings': must be for each",
        ),
        ({"prompt": "p", "responses": ["x", "y"], "ratings": 3}, "column 'ratings': must be for each"),
        ({"prompt": "p", "responses": "xy", "ratings": []}, "column 'responses': must be a list of texts"),
        ({"prompt": [{"role": "user", "content": "p"}], "chosen": "x", "rejected": "y"}, "need a tokenizer"),
    ],
)
def test_a_row_that_is_no_pair_is_named(tmp_path, said, message):
    path = tmp_path / "train.jsonl"
    path.write_text(json.dumps(row()) + "\n\n" + json.dumps(said) + "\n")
    (tmp_path / "test.jsonl").write_text(json.dumps(row()))
    with pytest.raises(DataError, match=f"train.jsonl, line 3.*{message}"):
        load_pairs(tmp_path)


def test_dialogues_are_rendered_by_the_template():
    tokenizer = train_tokenizer(["hello there"], 300, chat_template=True)
    user = [{"role": "user", "content": "hi"}]
    yes, no = ([{"role": "assistant", "content": content}] for content in ("yes", "no"))
    expected = Pair("<|startoftext|>User: hi\nAssistant:", " yes", " no")
    for said in (
        {"prompt": user, "chosen": yes, "rejected": no},
        {"prompt": "hi", "chosen": yes, "rejected": no},
        {"prompt": user, "chosen": "yes", "rejected": "no"},
        {"chosen": user + yes, "rejected": user + no},
    ):
        assert pairs_of(said, tokenizer=tokenizer) == [expected]


# -- agreement ---------------------------------------------------------------------------------------------------------


def agreement(votes, thresholds=(0.0,)):
    comparisons = [Comparison("", "a", "b", tuple(map(float, of_pair))) for of_pair in votes]
    return human_agreement(comparisons, np.random.default_rng(0), thresholds)


def test_agreement_by_hand():
    (found,) = agreement([(1, 1, -1), (1, 1, 1)])
    # of (1, 1, -1): the others' means are 0, 0, 1; only the third rater has others who find a difference, and disagrees
    assert found.one_rater.mean == pytest.approx((0 + 3) / (1 + 3))
    assert found.pairs == 2
    (found,) = agreement([(2, 1, 0), (3, 3, 3)])
    assert found.one_rater.mean == pytest.approx((2.5 + 3) / 6)  # a tie counts half


def test_agreement_counts_pairs_that_others_find_different_enough():
    low, high = agreement([(1, 1), (3, 3), (3, -3)], thresholds=(0.0, 2.0))
    assert (low.pairs, high.pairs) == (3, 2)
    assert (low.one_rater.mean, high.one_rater.mean) == (pytest.approx(2 / 3), pytest.approx(1 / 2))
    assert (low.half.mean, high.half.mean) == (pytest.approx(2 / 3), pytest.approx(1 / 2))


def test_people_who_vote_at_random_agree_half_of_the_time():
    votes = np.random.default_rng(1).choice([-1, 1], (4000, 7))
    (found,) = agreement(votes)
    assert found.one_rater.low < 0.5 < found.one_rater.high  # what counting a rater among the others would flatter
    assert found.half.low < 0.5 < found.half.high
    assert found.one_rater.high - found.one_rater.low < 0.03


@given(st.lists(st.lists(st.integers(-3, 3), min_size=2, max_size=6), min_size=1, max_size=10))
def test_turning_every_vote_round_changes_nothing(votes):
    one, other = agreement(votes)[0], agreement([[-vote for vote in of_pair] for of_pair in votes])[0]
    assert (one.pairs, other.pairs) == (other.pairs, one.pairs)
    for name in ("one_rater", "half"):
        np.testing.assert_allclose(getattr(one, name), getattr(other, name))


def test_without_raters_in_common_there_is_no_figure():
    (found,) = agreement([(1,), (1,)])
    assert found.pairs == 0
    assert np.isnan(found.one_rater.mean)
    (found,) = agreement([(1, 1)])
    assert found.one_rater.mean == 1.0
    assert np.isnan(found.one_rater.low)
