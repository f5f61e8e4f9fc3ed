"""What every dosing environment must do, whatever it doses: a check to run on your own before anything is trained on it.

An environment that cannot overdose anybody teaches an agent nothing about safety, and no reward repairs that: a published
warfarin environment holds the INR below 2.63 by construction, and 15 mg a day for everybody is its best policy. The
invariants:

| name | what is done | what must follow |
|---|---|---|
| no dose | nothing is given | the effect stays where an untreated patient is |
| usual dose | the same dose every day | the effect rises above that, not all on the first day |
| ten times | ten times the usual dose | the effect becomes dangerous in every patient |
| no ceiling | half to ten times the usual dose | every larger dose has the larger effect, in every patient, up to the last |
| hold | the usual dose, then nothing | the effect is still there the next day, and wears off |
| restart | and then the usual dose again | it rises again |
| sensitivity | patients known to be ever more sensitive, the same dose | ever larger effects |

Simulated patients only: passing says that an environment is no nonsense, not that it is right.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import gymnasium
import numpy as np

from cumulant.envs import lookup
from cumulant.errors import ConfigError, EnvironmentFault, UsageError


@dataclass(frozen=True)
class Dosing:
    """How an environment is dosed, and what counts as an effect.

    Args:
        effect: Key of ``info`` with the true effect after each step, such as "inr"; where there is none, pass ``read`` to
            ``check_dosing``.
        usual_dose: A dose that helps a typical patient.
        untreated: Effect in an untreated patient.
        dangerous: Effect that is dangerously high.
        tolerance: How far from ``untreated`` the effect may be without treatment.
        steps: Doses until the effect of a constant dose has come.
        wear_off: Doses left out until most of the effect has gone.
        lag: Share of the effect that is to come, and to go, later than the first dose or hold; 0 for a drug without memory.
        options: Options of the environment under which it is checked: doses as actions, and no randomness within a patient.
        sensitivity: Options, or groups of options, of patients of growing sensitivity; each group is compared on its own.
    """

    effect: str = "effect"
    usual_dose: float = 1.0
    untreated: float = 0.0
    dangerous: float = 1.0
    tolerance: float = 1e-6
    steps: int = 30
    wear_off: int = 14
    lag: float = 0.2
    options: Mapping[str, Any] = field(default_factory=dict)
    sensitivity: Sequence[Sequence[Mapping[str, Any]]] = ()


@dataclass(frozen=True)
class Finding:
    """What one invariant came to.

    Args:
        name: Of the invariant.
        passed: Whether it holds.
        said: The figures that decided.
    """

    name: str
    passed: bool
    said: str

    def __str__(self) -> str:
        return f"{'ok  ' if self.passed else 'FAIL'}  {self.name}: {self.said}"


def check_dosing(
    make: Callable[..., gymnasium.Env] | str,
    dosing: Dosing | None = None,
    *,
    patients: int = 5,
    seed: int = 0,
    action: Callable[[gymnasium.Env, float], Any] | None = None,
    read: Callable[[Any, Mapping[str, Any]], float] | None = None,
) -> list[Finding]:
    """Give patients of an environment doses that settle whether it can be believed, and say what followed.

    Args:
        make: Makes the environment, called with the options of ``dosing``; or the name of a native one.
        dosing: How it is dosed; a native one may say so itself, as its class attribute ``dosing``.
        patients: How many, each the first episode of a seed of its own; they are the same under every dose.
        seed: Of the first.
        action: Turns a dose into an action; by default an array of the shape of a Box.
        read: Gets the effect from ``(obs, info)``; by default ``info[dosing.effect]``.

    Returns:
        One finding for each invariant; all of them must have ``passed``.

    Raises:
        UsageError: If nothing says how it is dosed.
        ConfigError: If the action space is no Box and no ``action`` was given, or it cannot hold ten times the usual dose.
        EnvironmentFault: If ``info`` has no such effect.

    >>> import gymnasium as gym
    >>> class Capped(gym.Env):  # a dose of d has the effect min(d, 2), at once and gone at once
    ...     observation_space, action_space = gym.spaces.Box(0, 9, (1,)), gym.spaces.Box(0, 30, (1,))
    ...     def reset(self, seed=None, options=None):
    ...         return self.observation_space.sample(), {}
    ...     def step(self, action):
    ...         return self.observation_space.sample(), 0.0, False, False, {"effect": min(float(action[0]), 2.0)}
    >>> failed = [each.name for each in check_dosing(Capped, Dosing(dangerous=3.0)) if not each.passed]
    >>> failed
    ['usual dose', 'ten times', 'no ceiling', 'hold']
    """
    if isinstance(make, str):
        from cumulant.envs.batched import (
            SingleEnv,
        )  # it compiles; whoever checks an environment of their own need not wait

        name, cls = make, lookup.options_class(make)
        dosing, make = dosing or getattr(cls, "dosing", None), lambda **options: SingleEnv(name, **options)
    if dosing is None:
        raise UsageError(
            "say how the environment is dosed: Dosing(effect=..., usual_dose=..., untreated=..., dangerous=...)"
        )
    how = _How(make, dosing, [seed + k for k in range(patients)], action, read)
    usual, steps = dosing.usual_dose, dosing.steps
    none = how.play([0.0] * steps)
    course = {factor: how.play([factor * usual] * steps) for factor in (0.5, 1.0, 2.0, 5.0, 10.0)}
    steady, tenfold = course[1.0], course[10.0]
    away = np.abs(none - dosing.untreated)
    findings = [
        Finding(
            "no dose",
            bool((away <= dosing.tolerance).all()),
            f"at most {away.max():.3g} from {dosing.untreated:g} in {steps} steps",
        )
    ]
    rise, first = steady[-1] - dosing.untreated, steady[0] - dosing.untreated
    findings.append(
        Finding(
            "usual dose",
            bool((rise > dosing.tolerance).all() and (first <= (1.0 - dosing.lag) * rise).all()),
            f"rises by {rise.min():.3g} to {rise.max():.3g}, and on the first day by {first.max():.3g} at most",
        )
    )
    lowest = tenfold.max(axis=0).min()
    findings.append(
        Finding(
            "ten times",
            bool(lowest >= dosing.dangerous),
            f"reaches {lowest:.3g} in everybody; {dosing.dangerous:g} is dangerous",
        )
    )
    ends = [course[factor][-1] for factor in sorted(course)]
    gains = np.diff(np.array([none[-1], *ends]), axis=0)
    middle = ", ".join(f"{float(np.median(end)):.3g}" for end in ends)
    findings.append(
        Finding("no ceiling", bool((gains > dosing.tolerance).all()), f"median effect at growing doses: {middle}")
    )
    findings += _hold(how, dosing)
    findings += [_sensitivity(how, dosing, group) for group in dosing.sensitivity]
    return findings


class _How:
    """Plays doses, and looks at what comes of them."""

    def __init__(self, make: Any, dosing: Dosing, seeds: Sequence[int], action: Any, read: Any) -> None:
        self.make, self.dosing, self.seeds, self.action, self.read = make, dosing, seeds, action, read

    def play(self, doses: Sequence[float], **options: Any) -> np.ndarray:
        """Return the effect after each dose, ``[T, P]``; after the end of an episode, its last one."""
        courses = []
        env = self.make(**{**self.dosing.options, **options})
        try:
            for seed in self.seeds:
                env.reset(seed=seed)
                course: list[float] = []
                ended = False
                for dose in doses:
                    if not ended:
                        obs, _, terminated, truncated, info = env.step(self._as_action(env, dose))
                        ended = terminated or truncated
                        effect = self._effect(obs, info)
                    course.append(effect)
                courses.append(course)
        finally:
            env.close()
        return np.array(courses).T

    def _as_action(self, env: gymnasium.Env, dose: float) -> Any:
        if self.action is not None:
            return self.action(env, dose)
        space = env.action_space
        if not isinstance(space, gymnasium.spaces.Box):
            raise ConfigError(f"the action space is {space}: say what a dose is by `action`")
        if (space.high < dose).any():
            raise ConfigError(f"the action space ends at {space.high.max():g}: a dose of {dose:g} cannot be given")
        return np.full(space.shape, dose, space.dtype)

    def _effect(self, obs: Any, info: Mapping[str, Any]) -> float:
        if self.read is not None:
            return float(self.read(obs, info))
        if self.dosing.effect not in info:
            raise EnvironmentFault(f"info has no '{self.dosing.effect}' but {', '.join(map(str, info))}")
        return float(info[self.dosing.effect])


def _hold(how: _How, dosing: Dosing) -> list[Finding]:
    """Check what a hold does, and a restart."""
    doses = [dosing.usual_dose] * dosing.steps + [0.0] * dosing.wear_off + [dosing.usual_dose] * dosing.steps
    course = how.play(doses) - dosing.untreated
    on, off = course[dosing.steps - 1], course[dosing.steps : dosing.steps + dosing.wear_off]
    left = off / np.maximum(on, 1e-12)
    falls = (np.diff(off, axis=0) < dosing.tolerance).all()
    again = course[-1] / np.maximum(on, 1e-12)
    said = f"{100 * left[0].min():.0f} % or more of the effect is left after a step, {100 * left[-1].max():.0f} % in the end"
    return [
        Finding(
            "hold", bool((left[0] >= dosing.lag).all() and (left[-1] < 0.5).all() and falls and (on > 0).all()), said
        ),
        Finding(
            "restart",
            bool((np.abs(again - 1.0) < 0.25).all()),
            f"{100 * again.min():.0f} to {100 * again.max():.0f} % of the effect comes back",
        ),
    ]


def _sensitivity(how: _How, dosing: Dosing, group: Sequence[Mapping[str, Any]]) -> Finding:
    """Check that patients of growing sensitivity have growing effects."""
    ends = np.array([how.play([dosing.usual_dose] * dosing.steps, **options)[-1].mean() for options in group])
    names = [" ".join(str(value) for value in options.values()) for options in group]
    said = ", ".join(f"{name} {end:.3g}" for name, end in zip(names, ends))
    return Finding("sensitivity", bool((np.diff(ends) > 0).all()), said)
