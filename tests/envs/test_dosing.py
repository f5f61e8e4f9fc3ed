"""The invariants of dosing: every native dosing environment passes them, and environments that cannot be believed do not."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from cumulant.envs import lookup
from cumulant.envs.batched import SingleEnv
from cumulant.envs.dosing import Dosing, check_dosing
from cumulant.errors import ConfigError, EnvironmentFault, UsageError

DOSED = [name for name in sorted(lookup.listing()) if hasattr(lookup.options_class(name), "dosing")]
MINE = Dosing(effect="level", usual_dose=1.0, dangerous=5.0, steps=30, wear_off=20)


class Body(gym.Env):
    """One compartment: each dose adds to the level, and a share of it is left a step later; `twist` breaks something."""

    observation_space = gym.spaces.Box(0, np.inf, (1,))
    action_space: gym.Space = gym.spaces.Box(0, 100, (1,))

    def __init__(self, twist: str = "", sensitivity: float = 1.0) -> None:
        self.twist, self.sensitivity = twist, sensitivity

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        self.level = self.step_count = 0.0
        return np.zeros(1, np.float32), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        kept = {"no memory": 0.0, "never wears off": 1.0}.get(self.twist, 0.8)
        self.step_count += 1
        self.level = kept * self.level + (1 - kept if kept < 1 else 0.03) * float(action[0]) * self.sensitivity
        level = self.level
        if self.twist == "ceiling":
            level = (
                6 * level / (level + 5)
            )  # what any dose can do ends at 6, and ten times the dose is not yet dangerous
        if self.twist == "hard ceiling":
            level = min(level, 4.0)
        if self.twist == "starts high":
            level += 0.5
        if self.twist == "tolerance":
            level *= 0.97**self.step_count
        return np.array([level], np.float32), 0.0, False, False, {"level": level}


def failures(env: Any, dosing: Dosing = MINE, **how: Any) -> set[str]:
    return {each.name for each in check_dosing(env, dosing, **how) if not each.passed}


def test_there_is_one() -> None:
    assert "warfarin" in DOSED


@pytest.mark.parametrize("name", DOSED)
def test_every_native_dosing_environment_passes(name: str) -> None:
    findings = check_dosing(name)
    assert all(each.passed for each in findings), "\n".join(map(str, findings))
    assert {"no dose", "usual dose", "ten times", "no ceiling", "hold", "restart", "sensitivity"} == {
        each.name for each in findings
    }


@pytest.mark.parametrize(
    "options",
    [{"model": "hamberg2007"}, {"calibration": "iwpc"}, {"variability": "published", "cohort": "*3/*3 A/A"}],
)
def test_warfarin_passes_under_other_options(options: dict[str, Any]) -> None:
    def make(**given: Any) -> gym.Env:
        return SingleEnv("warfarin", **{**options, **given, **{k: options[k] for k in options if k == "variability"}})

    findings = check_dosing(make, lookup.options_class("warfarin").dosing, patients=3)
    assert all(each.passed for each in findings), "\n".join(map(str, findings))


def test_a_sound_body_passes_and_each_twist_is_found() -> None:
    assert failures(Body) == set()
    assert "ten times" in failures(lambda: Body("ceiling"))
    assert "no ceiling" in failures(lambda: Body("hard ceiling"))
    assert "no dose" in failures(lambda: Body("starts high"))
    assert {"usual dose", "hold"} <= failures(lambda: Body("no memory"))
    assert "hold" in failures(lambda: Body("never wears off"))
    assert "restart" in failures(lambda: Body("tolerance"))


def test_sensitivity_must_order_the_effects() -> None:
    right, wrong = ({"sensitivity": 1.0}, {"sensitivity": 2.0}), ({"sensitivity": 2.0}, {"sensitivity": 1.0})
    for groups, expected in (([right], set()), ([right, wrong], {"sensitivity"})):
        dosing = Dosing(effect="level", dangerous=5.0, wear_off=20, sensitivity=groups)
        assert failures(Body, dosing) == expected


def test_a_structural_ceiling_of_the_inr_is_found() -> None:
    """As in a published environment: synthesis falls to 6 % at most, so that the INR ends at 2.63 whatever is given."""

    class Ceiling(Body):
        def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
            obs, reward, terminated, truncated, _ = super().step(action)
            return obs, reward, terminated, truncated, {"inr": 1.0 + 1.63 * self.level / (self.level + 3.0)}

    found = failures(Ceiling, Dosing(effect="inr", usual_dose=5.0, untreated=1.0, dangerous=5.0, wear_off=25))
    assert found == {"ten times"}


def test_other_actions_and_effects() -> None:
    class Tablets(Body):
        action_space = gym.spaces.Discrete(101)

        def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
            obs, *rest, _ = super().step([action / 2])
            return (obs, *rest, {})

    with pytest.raises(ConfigError, match=r"Discrete\(101\): say what a dose is"):
        check_dosing(Tablets, MINE)
    as_action = lambda _, dose: round(2 * dose)  # noqa: E731
    with pytest.raises(EnvironmentFault, match="info has no 'level'"):
        check_dosing(Tablets, MINE, action=as_action)
    assert failures(Tablets, MINE, action=as_action, read=lambda obs, _: obs[0]) == set()


def test_what_cannot_be_checked_is_said() -> None:
    with pytest.raises(ConfigError, match="ends at 100: a dose of 110 cannot be given"):
        check_dosing(Body, Dosing(effect="level", usual_dose=11.0))
    with pytest.raises(UsageError, match="say how the environment is dosed"):
        check_dosing(Body)
    with pytest.raises(UsageError, match="say how the environment is dosed"):
        check_dosing("cartpole")
