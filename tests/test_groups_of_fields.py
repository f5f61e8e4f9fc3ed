"""Defaults, preset over them, the user's fields over both; groups of fields in part."""

import pytest

from cumulant import api
from cumulant.algos import dqn, sac
from cumulant.errors import ConfigError
from cumulant.presets import PRESETS, Preset
from cumulant.run.config import to_dict


@pytest.fixture
def preset(monkeypatch):
    settings = {"gamma": 0.9, "network": {"hidden": [7], "dueling": True}}
    monkeypatch.setitem(PRESETS, ("dqn", "cartpole"), Preset(settings, "", ""))


def config_of(**fields):
    return api.make_spec("dqn", "CartPole-v1", **fields)["config"]


def test_a_group_is_put_together_field_by_field(preset):
    config = config_of(network={"dueling": False, "noisy": True}, replay={"n_step": 5})
    assert config["gamma"] == 0.9
    assert config["network"] == to_dict(dqn.NetworkConfig(hidden=(7,), noisy=True))
    assert config["replay"] == to_dict(dqn.ReplayConfig(n_step=5))
    assert config["explore"] == to_dict(dqn.ExploreConfig())
    assert PRESETS["dqn", "cartpole"].config["network"] == {"hidden": [7], "dueling": True}  # as it was


def test_a_whole_group_replaces_the_preset(preset):
    assert config_of(network=dqn.NetworkConfig())["network"] == to_dict(dqn.NetworkConfig())


def test_a_field_of_a_group_may_be_given_by_its_own_name(preset):
    config = config_of(noisy=True, n_step=5, network={"dueling": False})
    assert config["network"] == to_dict(dqn.NetworkConfig(hidden=(7,), noisy=True))
    assert config["replay"]["n_step"] == 5
    assert config_of(network=dqn.NetworkConfig(noisy=True), dueling=True)["network"] == to_dict(
        dqn.NetworkConfig(noisy=True, dueling=True)
    )


def test_the_rest_of_a_group_is_the_default_of_the_algorithm():
    """SAC's networks have another activation than networks have by default, and its replay another capacity."""
    config = api.make_spec("sac", "warfarin", hidden=(7,), replay={"n_step": 3})["config"]
    assert config["network"] == to_dict(sac.NetworkConfig(hidden=(7,), activation="relu"))
    assert config["replay"] == to_dict(sac.ReplayConfig(n_step=3, capacity=1_000_000))


def test_a_wrong_field_of_a_group_is_named(preset):
    with pytest.raises(ConfigError, match=r"dqn: replay: there is no field 'n_steps': did you mean 'n_step'"):
        config_of(replay={"n_steps": 3})


def test_flags_of_groups_win_over_the_preset(preset, cli, workspace):
    answer = cli(
        "train", "dqn", "CartPole-v1", "--total-steps", 600, "--no-dueling", "--n-step", 2, "--eval-episodes", 2
    )
    assert answer.code == 0, answer.err
    config = api.read_spec(workspace / "runs" / "dqn-cartpole-001")["config"]
    assert config["network"]["hidden"] == [7]
    assert config["network"]["dueling"] is False
    assert config["replay"]["n_step"] == 2
    assert config["gamma"] == 0.9
