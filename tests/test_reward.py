import numpy as np
import pytest

from cumulant.envs.accounting import weigh
from cumulant.errors import ConfigError, NumericsError, UsageError
from cumulant.reward import Product, Reward, Term, resolve

OUTCOMES = {"inr": np.array([1.5, 2.5, 4.5]), "bleed": np.array([0.0, 1.0, 0.0])}
OURS = {"calm": Reward("calm", (Term("high", -2.0, lambda o: o["inr"] > 4), Term("bleed", -5.0, lambda o: o["bleed"])))}


def test_terms_are_weighted_one_by_one():
    np.testing.assert_array_equal(OURS["calm"].split(OUTCOMES), [[0, 0], [0, -5], [-2, 0]])
    assert OURS["calm"].term_names == ("high", "bleed")


def test_a_missing_column_and_a_wrong_shape_are_named():
    with pytest.raises(
        ConfigError, match=r"term 'x': there is no outcome column 'dose'; the environment reports inr, bleed"
    ):
        Reward("r", (Term("x", 1.0, lambda o: o["dose"]),)).split(OUTCOMES)
    with pytest.raises(ConfigError, match=r"term 'x' has shape \(\): it must give one number per environment"):
        Reward("r", (Term("x", 1.0, lambda o: o["inr"].mean()),)).split(OUTCOMES)


@pytest.fixture
def lab(workspace):
    (workspace / "lab_rewards.py").write_text(
        "from cumulant.reward import Reward, Term\n"
        "def low(outcomes):\n    return outcomes['inr'] < 2\n"
        "def made():\n    return Reward('made', (Term('low', -1.0, low),))\n"
        "ready = made()\n"
        "number = 3\n"
        "def wrong():\n    return 3\n"
    )
    (workspace / "torn.py").write_text("import math\nmath.nothing\n")
    (workspace / "typo.py").write_text("def f(:\n")


@pytest.mark.parametrize("path", ["lab_rewards:low", "lab_rewards.py:low"])
def test_a_function_of_the_outcomes_is_a_reward_of_one_term(lab, path):
    reward = resolve(path, OURS)
    assert reward.term_names == ("low",)
    np.testing.assert_array_equal(reward.split(OUTCOMES), [[1], [0], [0]])


@pytest.mark.parametrize("name", ["made", "ready"])
def test_a_reward_or_a_function_that_makes_one(lab, name):
    assert resolve(f"lab_rewards.py:{name}", OURS).name == "made"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("clam", "did you mean 'calm'"),
        ("lab_rewards.py:number", "is a int; it must be a Reward or a function"),
        ("lab_rewards.py:wrong", "returned a int"),
        ("lab_rewards.py:hight", "has no 'hight'"),
        ("nowhere.py:f", r"there is no file nowhere.py"),
        ("torn.py:f", r"torn.py does not import: AttributeError: .*\(torn.py, line 2\)"),
        ("typo.py:f", r"typo.py does not import: SyntaxError: .*line 1"),
    ],
)
def test_what_is_no_reward_says_why(lab, name, message):
    with pytest.raises(UsageError, match=message):
        resolve(name, OURS)


def test_a_term_that_raises_is_named():
    def wrong(outcomes):
        raise RuntimeError("no such patient")

    with pytest.raises(ConfigError, match=r"reward 'r', term 'x' raised RuntimeError: no such patient"):
        Reward("r", (Term("x", 1.0, wrong),)).split(OUTCOMES)
    with pytest.raises(ConfigError, match=r"term 'x' raised ValueError: could not convert"):
        Reward("r", (Term("x", 1.0, lambda o: np.array(["a", "b", "c"])),)).split(OUTCOMES)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_term_that_is_not_finite_is_named(value):
    terms = (Term("fine", 1.0, lambda o: o["inr"]), Term("odd", 1.0, lambda o: np.array([0.0, value, 0.0])))
    with pytest.raises(NumericsError, match=rf"term 'odd' became {value} in environment 1"):
        Reward("r", terms).split(OUTCOMES)


def test_products_are_what_compiled_code_computes():
    """The same numbers as ``split``, to the last bit; and no reward that Python is needed for, or a column that is not there."""
    names = ("inr", "tested", "dose")
    outcomes = np.random.default_rng(0).standard_normal((50, 3))
    reward = Reward("r", (Term("a", 0.3, Product("inr", "tested", "dose")), Term("b", -2.0, Product("tested"))))
    products = reward.products(names)
    assert products is not None
    terms = np.full((50, 2), np.nan)
    assert weigh(outcomes, *products, terms)
    np.testing.assert_array_equal(terms, reward.split(dict(zip(names, outcomes.T))))
    outcomes[3, 1] = np.inf
    assert not weigh(outcomes, *products, terms)
    assert Reward("r", (*reward.terms, Term("c", 1.0, lambda o: o["inr"]))).products(names) is None
    assert reward.products(("inr", "dose")) is None
    assert Reward("r", ()).products(names) is None
    with pytest.raises(ConfigError, match="no outcome columns"):
        Product()
