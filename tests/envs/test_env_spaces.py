"""Observations and actions as arrays, and back, over random spaces; the layout is Gymnasium's own."""

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st

from cumulant.envs.actions import action_parts, action_shape, from_native, to_native
from cumulant.envs.spaces import (
    Layout,
    array_space,
    choice_sizes,
    flatten,
    mask_slice,
    masked,
    parts,
    same_kind,
    unflatten,
)
from cumulant.errors import ConfigError
from cumulant.nn.heads import head_for

SHAPES = st.lists(st.integers(1, 3), max_size=2).map(tuple)
LEAVES = st.one_of(
    st.builds(lambda n, start: spaces.Discrete(n, start=start), st.integers(1, 5), st.integers(-3, 3)),
    st.builds(
        lambda nvec, start: spaces.MultiDiscrete(nvec, start=[start] * len(nvec)),
        st.lists(st.integers(1, 4), min_size=1, max_size=3),
        st.integers(-3, 3),
    ),
    st.just(spaces.MultiDiscrete([[2, 3], [4, 1]], start=[[1, 0], [-1, 5]])),
    st.builds(spaces.MultiBinary, st.one_of(st.integers(1, 4), st.just((2, 3)))),
    st.builds(lambda shape: spaces.Box(-2.0, 2.0, shape, np.float32), SHAPES),
    st.builds(lambda shape: spaces.Box(-2.0, 2.0, shape, np.float64), SHAPES),
    st.builds(lambda shape: spaces.Box(0, 255, shape, np.uint8), SHAPES),
)
SPACES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.dictionaries(st.sampled_from("abcd"), inner, min_size=1, max_size=3).map(spaces.Dict),
        st.lists(inner, min_size=1, max_size=3).map(spaces.Tuple),
    ),
    max_leaves=5,
)


def same(one, other):
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return np.shape(one) == np.shape(other) and np.allclose(one, other, rtol=1e-6)


def stacked(values):
    if isinstance(values[0], dict):
        return {key: stacked([value[key] for value in values]) for key in values[0]}
    if isinstance(values[0], tuple):
        return tuple(stacked(column) for column in zip(*values))
    return np.stack(values)


@settings(max_examples=80, deadline=None)
@given(SPACES, st.integers(0, 100))
def test_an_observation_survives_the_gate_alone_and_in_a_batch(space, seed):
    space.seed(seed)
    values = [space.sample() for _ in range(3)]
    for value in values:
        again = unflatten(space, flatten(space, value))
        assert same(again, value)
        assert space.contains(again)
    batch = flatten(space, stacked(values))
    np.testing.assert_array_equal(batch, np.stack([flatten(space, value) for value in values]))
    assert same(unflatten(space, batch), stacked(values))


@settings(max_examples=80, deadline=None)
@given(SPACES, st.integers(0, 100))
def test_the_layout_is_that_of_gymnasium(space, seed):
    space.seed(seed)
    value = space.sample()
    array = flatten(space, value)
    assert array.shape == array_space(space).shape
    if isinstance(space, spaces.Dict | spaces.Tuple):
        np.testing.assert_array_equal(array, gymnasium.spaces.flatten(space, value).astype(np.float32))
        flat = gymnasium.spaces.flatten_space(space)
        np.testing.assert_array_equal(array_space(space).low, flat.low.astype(np.float32))
        np.testing.assert_array_equal(array_space(space).high, flat.high.astype(np.float32))
        assert array.dtype == np.float32
        assert array_space(space).contains(array)
    else:
        assert array_space(space) is space
        np.testing.assert_array_equal(array, value)


@settings(max_examples=80, deadline=None)
@given(SPACES, st.integers(0, 100))
def test_an_action_survives_the_gate_alone_and_in_a_batch(space, seed):
    space.seed(seed)
    values = [space.sample() for _ in range(3)]
    shape, dtype = action_shape(space)
    rows = [from_native(space, value) for value in values]
    for row, value in zip(rows, values):
        assert row.shape == shape
        assert row.dtype == dtype
        native = to_native(space, row)
        assert same(native, value)
        assert space.contains(native)
    batch = from_native(space, stacked(values))
    np.testing.assert_array_equal(batch, np.stack(rows))
    assert same(to_native(space, batch), stacked(values))


def test_actions_count_from_zero_and_a_hybrid_has_a_column_for_each_number():
    assert to_native(spaces.Discrete(3, start=5), np.array(1)) == 6
    assert isinstance(to_native(spaces.Discrete(3, start=5), np.array(1)), int)
    many = spaces.MultiDiscrete([3, 2], start=[1, -4])
    assert to_native(many, np.array([0, 1])).tolist() == [1, -3]
    hybrid = spaces.Tuple([spaces.Discrete(3, start=5), spaces.Box(-1, 1, (2,)), many])
    assert [(part.start, part.stop) for part in action_parts(hybrid)] == [(0, 1), (1, 3), (3, 5)]
    gear, wheel, rest = to_native(hybrid, np.array([2, 0.5, -0.5, 1, 0], np.float32))
    assert gear == 7
    assert wheel.tolist() == [0.5, -0.5]
    assert rest.tolist() == [2, -4]
    assert from_native(hybrid, (gear, wheel, rest)).tolist() == [2, 0.5, -0.5, 1, 0]


def test_a_box_of_whole_numbers_gets_whole_numbers_within_its_bounds():
    space = spaces.Box(0, 255, (3,), np.uint8)
    native = to_native(space, np.array([-3.0, 7.6, 300.0], np.float32))
    assert native.tolist() == [0, 8, 255]
    assert space.contains(native)


def test_native_actions_may_be_changed_without_changing_the_batch():
    batch = np.ones((2, 2), np.float32)
    to_native(spaces.Box(-1, 1, (2,), np.float32), batch[0])[:] = 9.0
    assert (batch == 1.0).all()


NESTED = spaces.Dict({"a": spaces.Discrete(3), "b": spaces.Box(-1, 1, (2,))})


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"a": 1}, "no part b"),
        ([1, 2], "no part a"),
        ({"a": 3, "b": [0, 0]}, r"part a is 3, which is not in Discrete\(3\)"),
        ({"a": -1, "b": [0, 0]}, "part a is -1"),
        ({"a": 0.5, "b": [0, 0]}, "part a is 0.5"),
        ({"a": [0, 7], "b": [[0, 0], [0, 0]]}, "part a is"),
        ({"a": 1, "b": [0, 0, 0]}, r"part b of shape \(3,\): its space has \(2,\)"),
        ({"a": [1, 2], "b": [0, 0]}, r"part b has the leading axes \(\)"),
    ],
)
def test_what_is_not_of_the_space_is_named(value, message):
    with pytest.raises(ValueError, match=message):
        flatten(NESTED, value)


@pytest.mark.parametrize(
    "part", [spaces.Text(3), spaces.Graph(spaces.Discrete(2), None), spaces.Sequence(spaces.Discrete(2))], ids=repr
)
def test_what_is_no_array_is_named_with_its_place(part):
    kind = type(part).__name__
    space = spaces.Dict({"eye": spaces.Box(0, 1, (2,)), "hand": spaces.Tuple([spaces.Discrete(2), part])})
    with pytest.raises(ConfigError, match=f"part hand/1 of the observations is {kind}, .*FilterObservation"):
        array_space(space)
    with pytest.raises(ConfigError, match=f"the observations are {kind}, which is not supported"):
        array_space(part)
    with pytest.raises(ConfigError, match=f"part hand/1 of the actions is {kind}, .*TransformAction"):
        action_shape(space)


def test_a_mask_is_found_wherever_it_lies():
    plain = spaces.Discrete(4)
    assert mask_slice(plain) is None
    assert mask_slice(spaces.Dict({"action_mask": spaces.MultiBinary(2)})) is None
    assert mask_slice(masked(plain, 3)) == slice(0, 3)
    late = spaces.Dict(observation=plain, action_mask=spaces.Box(0, 1, (2,), np.int8))
    assert mask_slice(late) == slice(4, 6)
    with pytest.raises(ConfigError, match="action mask is Discrete"):
        mask_slice(spaces.Dict(observation=plain, action_mask=spaces.Discrete(2)))


def test_every_choice_has_as_many_mask_entries_as_options():
    assert choice_sizes(spaces.MultiDiscrete([[3, 2], [4, 1]], start=[[4, 4], [4, 4]])) == (3, 2, 4, 1)
    assert choice_sizes(spaces.Box(-1, 1, (2,))) == ()
    hybrid = spaces.Dict(gear=spaces.Discrete(4), lamps=spaces.MultiBinary(2), wheel=spaces.Box(-1, 1, (2,)))
    assert choice_sizes(hybrid) == (4, 2, 2)
    assert sum(choice_sizes(hybrid)) == head_for(hybrid).num_choices  # what networks read


def test_flatten_writes_where_it_is_told_and_parts_say_where():
    layout, out = Layout(NESTED), np.full(5, 9.0, np.float32)
    assert layout.flatten({"a": 2, "b": [0.5, 0.25]}, out) is out
    assert out.tolist() == [0, 0, 1, 0.5, 0.25]
    first, second = parts(NESTED)
    assert first.of(out).tolist() == [0, 0, 1]
    assert second.of(out[None]).tolist() == [[0.5, 0.25]]


def test_kinds_of_spaces():
    assert same_kind(NESTED, spaces.Dict({"a": spaces.Discrete(3, start=1), "b": spaces.Box(0, 9, (2,))}))
    assert not same_kind(NESTED, spaces.Dict({"a": spaces.Discrete(4), "b": spaces.Box(0, 9, (2,))}))
    assert not same_kind(NESTED, spaces.Dict({"a": spaces.Discrete(3)}))
    assert not same_kind(spaces.MultiDiscrete([2, 3]), spaces.MultiDiscrete([3, 2]))
    assert not same_kind(spaces.MultiBinary(2), spaces.MultiBinary(3))
    assert not same_kind(spaces.Tuple([spaces.Discrete(2)]), spaces.Tuple([spaces.Discrete(2)] * 2))
