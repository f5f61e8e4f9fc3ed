"""What a sweep varies: as users write it, and as the table proposes it."""

import pytest

from cumulant import catalogue, search
from cumulant.errors import ConfigError
from cumulant.search import Choice, Range


def config_of(algo, env="CartPole-v1", **fields):
    return catalogue.default_config(catalogue.load_algorithm(algo), algo, env, fields)


@pytest.fixture(scope="module")
def ppo():
    return config_of("ppo")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("learning_rate=1e-4..1e-2:log", Range(1e-4, 1e-2, log=True)),
        ("learning-rate = .1..1.", Range(0.1, 1.0)),
        ("horizon=8..256:log", Range(8, 256, log=True, whole=True)),
        ("horizon=64|128|1e3", Choice((64, 128, 1000))),
        ("gamma=0|1", Choice((0.0, 1.0))),
        ("activation=tanh|relu", Choice(("tanh", "relu"))),
        ("normalize_obs=true|false", Choice((True, False))),
        ("value_clip=none|0.2", Choice((None, 0.2))),
        ("value_clip=0.1..0.3", Range(0.1, 0.3)),
        ("hidden=64,64|256", Choice(([64, 64], [256]))),
    ],
)
def test_what_users_write(ppo, text, found):
    (one,) = search.space(ppo, text).values()
    assert one == found
    assert search.from_json(search.to_json({"x": one})) == {"x": one}


def test_several_fields_also_those_of_groups():
    found = search.space(config_of("dqn"), "gamma=0.9..0.99,hidden=64,64|128,n-step=1|3")
    assert list(found) == ["gamma", "hidden", "n_step"]
    changed = search.with_fields(config_of("dqn"), {"n_step": 3, "gamma": 0.9})
    assert (changed.replay.n_step, changed.gamma) == (3, 0.9)


def test_choices_from_python_are_read_as_the_field_is(ppo):
    found = search.space(ppo, {"gamma": [0, 1], "hidden": [(8,), (16, 16)], "clip": "0.1..0.2"})
    assert found == {"gamma": Choice((0.0, 1.0)), "hidden": Choice(([8], [16, 16])), "clip": Range(0.1, 0.2)}
    assert isinstance(found["gamma"].values[0], float)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("gama=0.9..0.99", "no field 'gama': did you mean 'gamma' or 'lam'"),
        ("gamma", "'gamma': write it as field=low..high"),
        ("gamma=0.99..0.9", "range is empty"),
        ("gamma=0.9..0.9", "range is empty"),
        ("gamma=0.9..1.5", "gamma = 1.5: it must be in"),
        ("gamma=0.9..x", "with two numbers"),
        ("gamma=0.9..0.99:lin", "not ':lin'"),
        ("learning_rate=0..1:log", "begins above 0"),
        ("horizon=1.5..8", "whole number, and so must both ends be"),
        ("horizon=64|1.5", "'1.5' is no whole number"),
        ("gamma=0.9", "one value is nothing to search"),
        ("gamma=0.9|0.90", "named twice"),
        ("gamma=0.9..0.99,gamma=0|1", "named twice"),
        ("gamma=0.9|high", "'high' is no number"),
        ("activation=tanh|gelu", "'gelu': it must be one of 'tanh', 'relu', 'silu'"),
        ("activation=1..2", "no number; give choices, tanh|relu|silu"),
        ("hidden=1..2", "no number; give choices, 64,64|256,256"),
        ("normalize_obs=true|yes", "'yes' must be true or false"),
        ("total_steps=10..20", "the same in every trial"),
        ("env=a|b", "the same in every trial"),
    ],
)
def test_what_cannot_be_searched_is_said(ppo, text, said):
    with pytest.raises(ConfigError) as caught:
        search.space(ppo, text)
    assert said in str(caught.value)


def test_what_is_set_is_not_searched():
    config = config_of("ppo", gamma=0.9)
    assert "gamma" not in search.space(config, None, {"gamma"})
    with pytest.raises(ConfigError, match=r"both searched and set to 0\.9"):
        search.space(config, "gamma=0.9..0.99", {"gamma"})


@pytest.mark.parametrize("algo", [name for name, a in catalogue.algorithms().items() if not a.is_text])
def test_every_algorithm_has_fields_to_search_which_hold_its_own_values(algo):
    """So the first trial of a sweep is what a training takes by itself; and no end of a range is refused."""
    config = config_of(algo)
    found = search.space(config)
    assert len(found) >= 2
    for name, one in found.items():
        assert search.fields_of(config)[name].value in one
        assert search.space(config, {name: str(one)})[name].__class__ is one.__class__


def test_a_preset_moves_its_own_ranges():
    assert search.space(config_of("ppo"))["learning_rate"] == Range(1e-4, 1e-2, log=True)
    assert search.space(config_of("ppo", "warfarin"))["learning_rate"] == Range(2e-4, 2e-2, log=True)
    assert 0.003 in search.space(config_of("ppo", "warfarin"))["entropy_coef"]
    assert search.space(config_of("ppo", clip=0.5))["clip"] == Range(0.1, 0.5)


def test_every_proposed_range_is_of_a_field_that_exists():
    known = {name for algo in catalogue.algorithms() for name in search.fields_of(config_of(algo))}
    assert set(search.FIELDS) <= known
