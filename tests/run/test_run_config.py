import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

import pytest

from cumulant.errors import ConfigError
from cumulant.run.config import from_dict, require, to_dict


@dataclasses.dataclass(frozen=True)
class Net:
    width: int = 64


@dataclasses.dataclass(frozen=True)
class Config:
    gamma: float = 0.99
    steps: int = 10
    hidden: tuple[int, ...] = (64, 64)
    clip: float | None = None
    kind: Literal["a", "b"] = "a"
    fast: bool = False
    net: Net = dataclasses.field(default_factory=Net)
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self):
        require(self, "gamma", 0 <= self.gamma <= 1, "in [0, 1]")


def test_round_trip_through_plain_values():
    config = Config(gamma=0.5, hidden=(8,), clip=0.1, net=Net(3), options={"x": [1]})
    assert from_dict(Config, to_dict(config)) == config


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"gama": 0.9}, "there is no field 'gama': did you mean 'gamma'"),
        ({"gamma": "much"}, "gamma = 'much': it must be float, not str"),
        ({"steps": 1.5}, "steps = 1.5: it must be int, not float"),
        ({"steps": True}, "it must be int, not bool"),
        ({"fast": 1}, "fast = 1: it must be bool, not int"),
        ({"kind": "c"}, "kind = 'c': it must be one of 'a', 'b'"),
        ({"hidden": [1, "x"]}, "hidden = 'x': it must be int"),
        ({"net": {"wide": 1}}, "net: there is no field 'wide'"),
        ({"gamma": 2.0}, r"gamma = 2.0: it must be in \[0, 1\]"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(values, message):
    with pytest.raises(ConfigError, match=message):
        from_dict(Config, values)


def test_harmless_conversions():
    config = from_dict(Config, {"gamma": 1, "steps": 5.0, "hidden": [32], "clip": None})
    assert (config.gamma, config.steps, config.hidden, config.clip) == (1.0, 5, (32,), None)
    assert isinstance(config.gamma, float)
    assert isinstance(config.steps, int)
