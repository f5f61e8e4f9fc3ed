import json
from typing import ClassVar

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces

from cumulant.engine.policy import Policy, describe, undescribe
from cumulant.envs.spaces import flatten
from cumulant.errors import ConfigError, RunError
from cumulant.nn.actor_critic import ActorCritic
from cumulant.nn.table import QTable

BOX = spaces.Box(np.array([-1, -np.inf], np.float32), np.array([1, np.inf], np.float32))
CASES = {
    "discrete": ActorCritic(
        BOX, spaces.Discrete(3, start=-1), normalize_obs=True, generator=torch.Generator().manual_seed(0)
    ),
    "continuous": ActorCritic(
        BOX, spaces.Box(-0.01, 0.01, (2, 2), np.float32), generator=torch.Generator().manual_seed(0)
    ),
    "table": QTable(spaces.Discrete(6, start=2), spaces.Discrete(4)),
}
CASES["discrete"].norm.update(torch.randn(50, 2) * 3 + 1)
CASES["table"].q.normal_(generator=torch.Generator().manual_seed(0))
ROVER = spaces.Dict(
    {
        "speed": BOX,
        "wheels": spaces.Tuple([spaces.MultiDiscrete([3, 2]), spaces.MultiBinary(2)]),
        "zone": spaces.Discrete(4),
    }
)


class Mirror(torch.nn.Module):
    """Answers with numbers of the flat observation: the columns of an action that a test chose."""

    spec: ClassVar = {"kind": "mirror"}

    def __init__(self, observation_space, action_space, columns):
        super().__init__()
        self.observation_space, self.action_space, self.columns = observation_space, action_space, columns
        self.register_buffer("weight", torch.ones(1))

    @property
    def head(self):
        return self

    def encode(self, obs):
        return obs

    def mode(self, encoded):
        return encoded[:, self.columns]

    def to_env(self, action):
        return action


@pytest.fixture(params=CASES)
def policy(request):
    return Policy(CASES[request.param], {"env": "x"})


def test_saved_and_loaded_it_acts_the_same(policy, tmp_path):
    policy.save(tmp_path, "best")
    loaded = Policy.load(tmp_path, "best")
    obs = np.stack([policy.observation_space.sample() for _ in range(20)])
    np.testing.assert_array_equal(loaded.act(obs), policy.act(obs))
    generators = [torch.Generator().manual_seed(3) for _ in range(2)]
    np.testing.assert_array_equal(loaded.act(obs, False, generators[0]), policy.act(obs, False, generators[1]))
    assert loaded.card["env"] == "x"
    assert loaded.observation_space == policy.observation_space
    assert loaded.action_space == policy.action_space


def test_one_observation_or_a_batch(policy):
    obs = np.stack([policy.observation_space.sample() for _ in range(5)])
    batch = policy.act(obs)
    for k in range(5):
        action = policy.act(obs[k])
        assert policy.action_space.contains(action), action
        np.testing.assert_allclose(action, batch[k], rtol=1e-3, atol=1e-7)  # other batch sizes round otherwise


def test_a_wrong_shape_is_named():
    with pytest.raises(ConfigError, match=r"observation of shape \(3,\): this policy takes \(2,\)"):
        Policy(CASES["discrete"]).act(np.zeros(3))


def test_dictionaries_of_observations_and_actions_alone_and_in_a_batch():
    action_space = spaces.Dict(
        {"gear": spaces.Discrete(3, start=-1), "lamps": spaces.MultiDiscrete([2, 2]), "steer": spaces.Box(-1, 1, (1,))}
    )
    # columns: gear (the second choice of the first wheel), lamps (both bits), steer (the first speed)
    policy = Policy(Mirror(ROVER, action_space, [3, 7, 8, 0]))
    batch = {
        "speed": np.array([[0.5, 9.0], [-0.25, 8.0]], np.float32),
        "wheels": (np.array([[1, 0], [0, 1]]), np.array([[1, 0], [0, 1]])),
        "zone": np.array([0, 3]),
    }
    acted = policy.act(batch)
    assert acted["gear"].tolist() == [0, -1]
    assert acted["lamps"].tolist() == [[1, 0], [0, 1]]
    assert acted["steer"].tolist() == [[0.5], [-0.25]]
    one = {"speed": batch["speed"][1], "wheels": (np.array([0, 1]), np.array([0, 1])), "zone": 3}
    alone = policy.act(one)
    assert action_space.contains(alone)
    assert (alone["gear"], alone["lamps"].tolist(), alone["steer"].tolist()) == (-1, [0, 1], [-0.25])
    flat = flatten(ROVER, one)
    assert policy.act(flat)["gear"] == -1  # as vector environments show it
    with pytest.raises(ConfigError, match="no part zone"):
        policy.act({"speed": one["speed"], "wheels": one["wheels"]})
    with pytest.raises(ConfigError, match=r"shape \(3,\): this policy takes \(13,\)"):
        policy.act(np.zeros(3))


def test_several_choices_are_offset_by_their_start():
    policy = Policy(Mirror(spaces.MultiBinary(2), spaces.MultiDiscrete([2, 2], start=[5, -3]), [0, 1]))
    assert policy.act(np.array([1, 0])).tolist() == [6, -3]
    assert policy.act(np.array([[1, 0], [0, 1]])).tolist() == [[6, -3], [5, -2]]


def test_spaces_survive_as_json():
    kinds = (
        BOX,
        spaces.Discrete(4, start=3),
        spaces.MultiBinary(5),
        spaces.Box(0, 255, (2, 3), np.uint8),
        spaces.MultiDiscrete([3, 2], start=[1, -4]),
        spaces.MultiDiscrete([[3, 2]], np.int32),
        ROVER,
        spaces.Tuple([ROVER, spaces.Discrete(2)]),
    )
    for space in kinds:
        assert undescribe(json.loads(json.dumps(describe(space)))) == space
    late = spaces.Dict(b=spaces.Discrete(2), a=BOX)  # the order is that of the flat vector, and JSON must not change it
    assert list(undescribe(json.loads(json.dumps(describe(late)))).spaces) == ["b", "a"]
    with pytest.raises(ConfigError, match="over Text"):
        describe(gymnasium.spaces.Text(3))
    with pytest.raises(ConfigError, match="over Text"):
        describe(spaces.Dict({"said": gymnasium.spaces.Text(3)}))


def test_a_missing_or_damaged_policy_is_named(tmp_path):
    with pytest.raises(RunError, match=r"card.json is missing"):
        Policy.load(tmp_path)
    Policy(CASES["discrete"]).save(tmp_path)
    with pytest.raises(RunError, match=r"other.safetensors is missing"):
        Policy.load(tmp_path, "other")
    (tmp_path / "policy.safetensors").write_bytes(b"\x00" * 100)
    with pytest.raises(RunError, match="cannot be read"):
        Policy.load(tmp_path)
    Policy(CASES["discrete"]).save(tmp_path)
    card = json.loads((tmp_path / "card.json").read_text())
    (tmp_path / "card.json").write_text(json.dumps(card | {"network": {"kind": "actor_critik"}}))
    with pytest.raises(RunError, match="did you mean 'actor_critic'"):
        Policy.load(tmp_path)


@pytest.mark.parametrize(
    "space",
    [
        spaces.Box(-np.inf, np.inf, (2,), np.int64),
        spaces.Box(0, 2**63 - 1, (1,), np.int64),
        spaces.Box(0, 2**64 - 1, (1,), np.uint64),
        spaces.Box(-1.7e308, 1.7e308, (1,), np.float64),
        spaces.Box(-(2**53) - 1, 2**53 + 1, (1,), np.int64),
    ],
    ids=str,
)
def test_extreme_bounds_survive(space):
    again = undescribe(json.loads(json.dumps(describe(space), allow_nan=False)))
    np.testing.assert_array_equal(again.low, space.low)
    np.testing.assert_array_equal(again.high, space.high)
    assert again.dtype == space.dtype
    assert all(isinstance(x, int) for x in describe(space)["low"]) == (space.dtype.kind in "iu")


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ({"format": 1}, "has format 1, and this version reads 2: use the version that wrote it"),
        ({"format": None}, "has format None"),
        ({"action_space": {"kind": "Discrete", "n": 10**30, "start": 0}}, "cannot be read"),
        ({"action_space": {"kind": "Discrete", "n": 3, "start": 10**30}}, "cannot be read: OverflowError"),
        ({"action_space": {"kind": "Discrete", "n": -3, "start": 0}}, "cannot be read: (Assertion|Value)Error"),
        ({"action_space": []}, "cannot be read"),
        (
            {"action_space": {"kind": "MultiDiscrete", "n": [10**9], "start": [0], "dtype": "int64"}},
            "only [0-9]+ numbers",
        ),
        ({"action_space": {"kind": "MultiDiscrete", "n": [2], "start": [0], "dtype": "str"}}, "cannot be read"),
        (
            {"action_space": {"kind": "Tuple", "parts": [{"kind": "Discrete", "n": 10**9, "start": 0}]}},
            "only [0-9]+ numb",
        ),
        (
            {"observation_space": {"kind": "Dict", "parts": [["a", {"kind": "MultiBinary", "shape": [10**9]}]]}},
            "only [0-9]+",
        ),
        ({"observation_space": {"kind": "Dict", "parts": [["a"]]}}, "cannot be read"),
        (
            {"observation_space": {"kind": "Dict", "parts": [[[], {"kind": "MultiBinary", "shape": [1]}]]}},
            "cannot be read",
        ),
        ({"network": {"kind": "actor_critic", "hidden": [40_000, 40_000]}}, "only [0-9]+ numbers in the file"),
        ({"network": {"kind": "actor_critic", "hidden": [1e400]}}, "does not fit network"),
        ({"network": 3}, "cannot be read"),
    ],
)
def test_a_card_that_holds_anything_is_a_run_error(tmp_path, part, message):
    Policy(CASES["discrete"]).save(tmp_path)
    card = json.loads((tmp_path / "card.json").read_text())
    (tmp_path / "card.json").write_text(json.dumps(card | part))
    with pytest.raises(RunError, match=message):
        Policy.load(tmp_path)
