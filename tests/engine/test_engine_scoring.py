"""What scores a completion: every kind of source, what is refused and how, and how a score becomes a reward."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
import torch

from cumulant.engine.scoring import Samples, Scorer, ScoringConfig, code_named_by, distinct, parse_terms
from cumulant.errors import ConfigError, NumericsError, UsageError

SAMPLES = Samples(
    prompts=["What is 1 + 1?", "And 2 + 2?", "Say something"],
    completions=["2", "so good so good", ""],
    length=np.array([2, 5, 1]),
    stopped=np.array([True, False, True]),
)

JUDGE = """
import math
import numpy as np
from cumulant.reward import Reward, Term

def has_two(prompts, completions):
    assert type(prompts) is list and type(completions) is list
    return [float("2" in text) for text in completions]

def arrays(prompts, completions):
    return np.arange(len(prompts), dtype=np.float32)

def too_few(prompts, completions):
    return [1.0]

def square(prompts, completions):
    return np.zeros((len(prompts), 2))

def words(prompts, completions):
    return [1.0, "x", 2.0]

def nothing(prompts, completions):
    return None

def not_a_number(prompts, completions):
    return [1.0, math.nan, 2.0]

def raises(prompts, completions):
    return {}[prompts[0]]

REWARD = Reward("brief", (Term("short", -0.5, lambda c: c["length"]), Term("ends", 2.0, lambda c: c["stopped"])))
LOST = Reward("lost", (Term("lost", 1.0, lambda c: c["lenght"]),))
BROKEN = Reward("broken", (Term("log", 1.0, lambda c: np.log(c["length"] - 1)),))

def made():
    return REWARD

def many(a, b, c):
    return []
"""


@pytest.fixture
def judge(tmp_path):
    file = tmp_path / "judge.py"
    file.write_text(JUDGE)
    return file


def scored(reward, **fields):
    scorer = Scorer(ScoringConfig(reward, **fields))
    return scorer, scorer.split(SAMPLES)


def test_columns_by_hand():
    scorer, terms = scored("length=-0.1, words, stopped=2, distinct_2=0.5")
    assert scorer.names == ("length", "words", "stopped", "distinct_2")
    expected = [[-0.2, 1, 2, 0.5], [-0.5, 4, 0, 0.5 * 2 / 3], [-0.1, 0, 2, 0.5]]
    np.testing.assert_allclose(terms, expected)
    metrics = scorer.metrics(terms)
    assert metrics["reward/words"] == pytest.approx(5 / 3)
    assert metrics["reward/mean"] == pytest.approx(sum(map(sum, expected)) / 3)
    assert set(scored("length")[0].metrics(terms[:, :1])) == {"reward/mean"}


def test_distinct_counts_pairs_over_all_texts():
    assert distinct("a b", "a b", "a c") == pytest.approx(2 / 3)
    assert distinct("A b a B", n=1) == pytest.approx(0.5)
    assert distinct("one", "") == 1.0


def test_a_function_a_reward_and_a_factory(judge):
    np.testing.assert_array_equal(scored(f"{judge}:has_two")[1], [[1.0], [0.0], [0.0]])
    np.testing.assert_array_equal(scored(f"{judge}:arrays=3")[1], [[0.0], [3.0], [6.0]])
    for name in ("REWARD", "made"):
        scorer, terms = scored(f"{judge}:{name}=2")
        assert scorer.names == ("short", "ends")
        np.testing.assert_allclose(terms, [[-2, 4], [-5, 0], [-1, 4]])
    scorer, terms = scored(f"{judge}:has_two,{judge}:arrays,length")
    assert scorer.names == ("has_two", "arrays", "length")
    assert code_named_by(f"{judge}:has_two,length=2") == [f"{judge}:has_two"]


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("too_few", ConfigError, "judge.py:too_few' gave 1 numbers for 3 completions"),
        ("square", ConfigError, r"judge.py:square' gave an array of shape \[3, 2\] for 3"),
        ("words", ConfigError, "judge.py:words': for sample 1 it gave 'x'"),
        ("nothing", ConfigError, "judge.py:nothing' gave an array of shape"),
        (
            "not_a_number",
            NumericsError,
            r"'not_a_number' became nan for sample 1 \(prompt 'And 2 \+ 2\?', completion 'so good",
        ),
        ("raises", ConfigError, "judge.py:raises' raised KeyError: 'What is 1"),
        ("LOST", ConfigError, "term 'lost': there is no outcome column 'lenght'; the sample reports length, words"),
        ("BROKEN", NumericsError, "term 'log' became -inf in sample 2"),
    ],
)
def test_what_a_user_gets_wrong_is_named(judge, name, error, message):
    scorer = Scorer(ScoringConfig(f"{judge}:{name}"))
    with pytest.raises(error, match=message), np.errstate(divide="ignore"):
        scorer.split(SAMPLES)


def test_what_does_not_exist_is_refused_before_anything_is_scored(judge):
    for reward, message in (
        ("lenght", "no such column .did you mean 'length'"),
        (f"{judge}:has_too", "did you mean 'has_two'"),
        (f"{judge}:many", r"takes \(a, b, c\)"),
        ("nowhere.py:f", "there is no file nowhere.py"),
        (f"{judge}:has_two,{judge}:has_two", "two terms are called 'has_two'"),
    ):
        with pytest.raises(UsageError, match=message):
            Scorer(ScoringConfig(reward)).split(SAMPLES)
    for reward in ("", " , ", "length=x", "length=nan", "=2"):
        with pytest.raises(ConfigError, match="reward = "):
            ScoringConfig(reward)
    assert parse_terms("a/b=c.py:f=2") == [("a/b=c.py:f", 2.0)]


def test_a_reward_model_is_a_term(tmp_path):
    """What a trained model says of each text, read from its directory; here with weights by chance."""
    from cumulant.data.tokenizer import train_tokenizer
    from cumulant.nn.llama import Llama, LlamaConfig
    from cumulant.nn.reward_model import RewardModel, padding_token

    tokenizer = train_tokenizer([*SAMPLES.prompts, *SAMPLES.completions], 270)
    shape = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2,
        max_position_embeddings=64, tie_word_embeddings=True, eos_token_id=tokenizer.eos_token_id,
    )  # fmt: skip
    draw = torch.Generator().manual_seed(0)
    model = RewardModel(Llama(shape, draw), padding_token(tokenizer))
    torch.nn.init.normal_(model.score.weight, generator=draw)
    model.save(tokenizer, tmp_path / "rm")
    source = str(tmp_path / "rm")
    scorer, terms = scored(f"{source}=2,length")
    assert scorer.names == ("rm", "length")
    ids = [[*tokenizer(p)["input_ids"], *tokenizer(c)["input_ids"], tokenizer.eos_token_id]
           for p, c in zip(SAMPLES.prompts, SAMPLES.completions)]  # fmt: skip
    alone = [model(torch.tensor([row]), torch.ones(1, len(row), dtype=torch.bool)).item() for row in ids]
    np.testing.assert_allclose(terms[:, 0], 2 * np.array(alone), rtol=0.05, atol=0.02)  # bfloat16 where it is faster
    assert np.ptp(terms[:, 0]) > 0.1


def test_rewards_are_measured_in_deviations_of_the_reference():
    scorer, terms = scored("length=3,words")
    scorer.fit(terms)
    reward, counts = scorer.total(terms, SAMPLES.stopped)
    assert reward.mean() == pytest.approx(0.0, abs=1e-12)
    assert reward.std() == pytest.approx(1.0)
    assert counts.all()
    other, more = scored("length=30,words=10")
    other.load_state_dict({key: 10 * value for key, value in scorer.state_dict().items()})
    np.testing.assert_allclose(other.total(more, SAMPLES.stopped)[0], reward)
    plain, terms = scored("length", standardise=False)
    plain.fit(terms)
    np.testing.assert_array_equal(plain.total(terms, SAMPLES.stopped)[0], [2, 5, 1])
    with pytest.raises(ConfigError, match=r"all 3 completions of the reference model earn 0\.1"):
        scorer.fit(np.full((3, 1), 0.1))


def test_truncated_samples_have_their_own_rule():
    for rule, expected, counting in (
        ("score", [2, 5, 1], [True, True, True]),
        ("penalty", [2, -7, 1], [True, True, True]),
        ("skip", [2, 5, 1], [True, False, True]),
    ):
        scorer, terms = scored("length", standardise=False, truncated=rule, truncated_penalty=7.0)
        reward, counts = scorer.total(terms, SAMPLES.stopped)
        np.testing.assert_array_equal(reward, expected)
        np.testing.assert_array_equal(counts, counting)
    scorer, terms = scored("length=3", standardise=False, reward_limit=4.0)
    np.testing.assert_array_equal(scorer.total(terms, SAMPLES.stopped)[0], [4, 4, 3])
    for wrong in ({"reward_limit": 0.0}, {"truncated_penalty": math.nan}, {"reward_limit": math.inf}):
        with pytest.raises(ConfigError, match=re.escape(f"{next(iter(wrong))} = ")):
            ScoringConfig(**wrong)


@pytest.mark.slow
def test_the_lexicon_knows_good_from_bad():
    texts = ("a wonderful, touching film", "a film", "a terrible, boring film", "not a good film")
    samples = Samples([""] * 4, texts, np.ones(4), np.ones(4, dtype=bool))
    scores = Scorer(ScoringConfig("sentiment")).split(samples)[:, 0]
    assert scores[0] > 0.5
    assert scores[1] == 0.0
    assert scores[2] < -0.5
    assert scores[3] < 0.0


def test_a_fragment_has_fewer_than_three_words():
    texts = ["", ".", "a film", "a good film", "a really good film"]
    samples = Samples([""] * 5, texts, np.ones(5), np.ones(5, dtype=bool))
    found = Scorer(ScoringConfig("fragment=-3")).split(samples)[:, 0]
    np.testing.assert_array_equal(found, [-3.0, -3.0, -3.0, 0.0, 0.0])
