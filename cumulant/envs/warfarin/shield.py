"""A safety shield: named rules between what an agent wants to give and what a patient gets.

Each rule maps the wanted dose to the dose that it allows; they are applied in order, and each sees what those before it left.
Every override is counted by rule. The shield knows what a clinic knows: the newest measured INR and its age, the doses of the
last week, age, weight, and whether the patient bled yesterday or has just begun a drug that interacts.

An option of the environment, ``shield = standard``, puts it into training and evaluation, whatever the action set; its
overrides are outcome columns, ``override`` and ``override_<rule>``. ``shield_wrappers`` has it for any Gymnasium environment that
takes a dose. Rules of one's own are a list of ``Rule``, by ``module:rules``.

The limits are conventions of our own after common practice, no guideline's. Research and education only.

Axes: B patients, R rules.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from cumulant.envs.warfarin.protocols.rely import Rely
from cumulant.errors import ConfigError, CumulantError, did_you_mean
from cumulant.loading import load_attribute

DAYS_KEPT = 7
_LAST_RISE, _LAST_CHANGE, _USUAL, _BASE, _BLED, _DOSES = range(6)
MEMORY = _DOSES + DAYS_KEPT  # numbers that are remembered of each patient


@dataclass(frozen=True)
class Situation:
    """What a rule may know in the morning, arrays ``[B]``.

    Args:
        day: 1 for the first.
        inr: Newest measured INR.
        inr_age_days: Days since it was measured.
        usual_mg: The last dose that was not 0: what a hold interrupts.
        week_low_mg: The lowest dose of the last 7 days that was not 0; the usual one where there is none.
        days_since_rise: Days since the dose was last raised; large where it never was.
        days_since_change: Days since it was last changed, but for holds; likewise.
        age_years: Age.
        weight_kg: Weight.
        bled: Whether there was a major bleed on the day before.
        new_drug: Whether a drug that interacts was begun in the last 3 days.
        started: Who has had a dose; no rule about changes limits a first one.
    """

    day: np.ndarray
    inr: np.ndarray
    inr_age_days: np.ndarray
    usual_mg: np.ndarray
    week_low_mg: np.ndarray
    days_since_rise: np.ndarray
    days_since_change: np.ndarray
    age_years: np.ndarray
    weight_kg: np.ndarray
    bled: np.ndarray
    new_drug: np.ndarray
    started: np.ndarray


@dataclass(frozen=True)
class Rule:
    """One reason to give another dose than the agent wants, or to ask for a test.

    Args:
        name: What logs, columns and tables call it: letters, digits and underscores.
        says: The rule in a few words.
        dose: Maps the situation and the wanted dose in mg, ``[B]``, to the dose that is allowed, ``[B]``; none for no say in it.
        test: Who must be tested on the next morning, ``[B]`` bool; only heard where the agent orders its tests.
        counts: Whether what it does counts as an override; rounding does not.
    """

    name: str
    says: str
    dose: Callable[[Situation, np.ndarray], np.ndarray] | None = None
    test: Callable[[Situation], np.ndarray] | None = None
    counts: bool = True


def at_most(name: str, says: str, limit: Callable[[Situation], np.ndarray]) -> Rule:
    """Return a rule that lowers what is above a limit.

    Args:
        name: Name of the rule.
        says: The rule in a few words.
        limit: Highest dose that is allowed, ``[B]``; infinite for any.
    """
    return Rule(name, says, lambda now, wanted: np.minimum(wanted, limit(now)))


def _deferred(now: Situation) -> np.ndarray:
    strange = (now.age_years < 30.0) | (now.weight_kg < 40.0) | (now.weight_kg > 160.0)
    return now.bled | ((now.inr > 9.0) & (now.inr_age_days <= 2)) | strange | now.new_drug


def _clinicians_dose(now: Situation, wanted: np.ndarray) -> np.ndarray:
    """Return what stands for a clinician: nothing after a bleed or above INR 9, else RE-LY's percentages on the usual dose."""
    percent = Rely.percent(now.inr)
    percent[(now.inr_age_days > 0) | (now.days_since_change < 3)] = 0.0
    dose = np.where(now.started, now.usual_mg * (1.0 + percent / 100.0), 5.0)
    dose[now.bled | ((now.inr > 9.0) & (now.inr_age_days <= 2))] = 0.0
    return np.where(_deferred(now), np.minimum(dose, wanted), wanted)  # a shield never raises


RULES: tuple[Rule, ...] = (
    Rule(
        "defer",
        "INR above 9, a bleed, a new drug, under 30 years, under 40 or over 160 kg: a clinician decides "
        "(here: no dose in the first two cases, else no more than RE-LY's algorithm gives)",
        _clinicians_dose,
    ),
    at_most("range", "no more than 10 mg a day", lambda now: np.full(len(now.day), 10.0)),
    at_most(
        "change",
        "no more than 2 mg or 20 % above the usual dose at once",
        lambda now: np.where(now.started, now.usual_mg + np.maximum(2.0, 0.2 * now.usual_mg), np.inf),
    ),
    at_most(
        "week",
        "no more than 5 mg or 50 % above the lowest dose of the last 7 days",
        lambda now: np.where(now.started, now.week_low_mg + np.maximum(5.0, 0.5 * now.week_low_mg), np.inf),
    ),
    at_most(
        "wait",
        "no second increase before 3 days",
        lambda now: np.where(now.started & (now.days_since_rise < 3), now.usual_mg, np.inf),
    ),
    at_most(
        "above_3",
        "no increase while the newest INR is above 3",
        lambda now: np.where(now.started & (now.inr > 3.0), now.usual_mg, np.inf),
    ),
    Rule(
        "old_test",
        "no increase on an INR older than 7 days, and a test tomorrow",
        lambda now, wanted: np.where(now.started & (now.inr_age_days > 7), np.minimum(wanted, now.usual_mg), wanted),
        lambda now: now.inr_age_days >= 7,
    ),
    Rule(
        "hold",
        "no dose for 3 days from a measured INR above 5, until one that is not, and a test tomorrow",
        lambda now, wanted: np.where((now.inr > 5.0) & (now.inr_age_days <= 2), 0.0, wanted),
        lambda now: now.inr > 5.0,
    ),
    Rule(
        "tablets", "whole halves of a milligram", lambda now, wanted: np.floor(wanted * 2.0 + 0.5) / 2.0, counts=False
    ),
)
SHIELDS: dict[str, tuple[Rule, ...]] = {"standard": RULES}


def resolve(name: str) -> tuple[Rule, ...]:
    """Return the rules of a built-in shield, or of ``module:rules`` or ``file.py:rules``: a list of ``Rule``.

    Raises:
        ConfigError: If there is no such shield, or it is no list of rules with names of their own (message says so).
    """
    if name in SHIELDS:
        return SHIELDS[name]
    if ":" not in name:
        raise ConfigError(f"no shield '{name}': {did_you_mean(name, SHIELDS)} (or give your own as module:rules)")
    return checked(load_attribute(name), f"shield '{name}'")


def checked(rules: Sequence[Rule], what: str = "shield") -> tuple[Rule, ...]:
    """Return rules as a tuple, after looking at them.

    Raises:
        ConfigError: If they are no list of rules with names of their own (message says so).
    """
    if not isinstance(rules, list | tuple) or not rules or not all(isinstance(rule, Rule) for rule in rules):
        raise ConfigError(f"{what} must be a list of Rule, and is {rules!r}"[:300])
    names = [rule.name for rule in rules]
    if len(set(names)) < len(names) or not all(name.isidentifier() for name in names):
        raise ConfigError(
            f"{what} has the rules {', '.join(names)}: each needs a name of its own, of letters and underscores"
        )
    return tuple(rules)


@dataclass(frozen=True)
class Decision:
    """What a shield made of the wanted doses.

    Args:
        dose_mg: Doses to give, ``[B]``.
        test: Who is to be tested on the next morning, ``[B]`` bool; only of use where tests are ordered.
        fired: Which rules changed the dose or asked for a test, ``[B, R]`` bool.
        override: Whether one that counts did, ``[B]`` bool.
    """

    dose_mg: np.ndarray
    test: np.ndarray
    fired: np.ndarray
    override: np.ndarray


def decide(rules: Sequence[Rule], now: Situation, wanted_mg: np.ndarray, ordered: np.ndarray | None = None) -> Decision:
    """Apply rules to the wanted doses, in order.

    Args:
        rules: R rules.
        now: The situation, ``[B]``.
        wanted_mg: Doses, ``[B]``.
        ordered: Who is tested on the next morning anyway, ``[B]``; none where nobody can order tests.

    Raises:
        ConfigError: If a rule raises, or gives no finite dose of at least 0 for each patient (message names it).
    """
    dose = np.asarray(wanted_mg, np.float64)
    test = np.ones(len(dose), bool) if ordered is None else ordered
    fired = np.zeros((len(dose), len(rules)), bool)
    for k, rule in enumerate(rules):
        try:
            allowed = dose if rule.dose is None else np.asarray(rule.dose(now, dose), np.float64)
            asks = np.zeros_like(test) if rule.test is None else np.asarray(rule.test(now), bool) & ~test
        except CumulantError:
            raise
        except Exception as problem:  # it may be the user's own function
            raise ConfigError(f"shield, rule '{rule.name}' raised {type(problem).__name__}: {problem}") from problem
        if (
            allowed.shape != dose.shape
            or asks.shape != test.shape
            or not (np.isfinite(allowed) & (allowed >= 0.0)).all()
        ):
            raise ConfigError(
                f"shield, rule '{rule.name}': it must give a dose of at least 0 mg for each of {len(dose)} patients"
            )
        fired[:, k] = (np.abs(allowed - dose) > 1e-6) | asks
        dose, test = allowed, test | asks
    counting = np.array([rule.counts for rule in rules])
    return Decision(dose, test, fired, (fired & counting).any(axis=1))


def start(memory: np.ndarray, who: np.ndarray, last_mg: np.ndarray, treated: np.ndarray | None = None) -> None:
    """Forget these patients and meet the next ones.

    Args:
        memory: ``[B, MEMORY]``, written in place.
        who: ``[B]`` bool.
        last_mg: The dose before day 1, or the one that the first decision starts from, ``[B]``.
        treated: Who has taken that dose already, ``[B]`` bool; nobody if left out.
    """
    memory[who] = 0.0
    memory[who, _LAST_RISE] = memory[who, _LAST_CHANGE] = -1000.0
    memory[who, _USUAL] = memory[who, _BASE] = last_mg[who]
    if treated is not None:
        memory[who & treated, _DOSES:] = last_mg[who & treated, None]


def situation(
    memory: np.ndarray,
    day: np.ndarray,
    inr: np.ndarray,
    inr_age_days: np.ndarray,
    age_years: np.ndarray,
    weight_kg: np.ndarray,
    new_drug: np.ndarray | None = None,
) -> Situation:
    """Return the situation of this morning from what is seen and what is remembered."""
    doses = memory[:, _DOSES:]
    lowest = np.where(doses > 0.0, doses, np.inf).min(axis=1)
    usual = memory[:, _USUAL].copy()
    return Situation(
        day=day,
        inr=inr,
        inr_age_days=inr_age_days,
        usual_mg=usual,
        week_low_mg=np.where(np.isfinite(lowest), lowest, usual),
        days_since_rise=day - memory[:, _LAST_RISE],
        days_since_change=day - memory[:, _LAST_CHANGE],
        age_years=age_years,
        weight_kg=weight_kg,
        bled=memory[:, _BLED] > 0.0,
        new_drug=np.zeros(len(usual), bool) if new_drug is None else new_drug,
        started=(day > 1) | (doses > 0.0).any(axis=1),
    )


def base_mg(memory: np.ndarray) -> np.ndarray:
    """Return the doses that changes start from, ``[B]``: the last ones that no rule withheld."""
    return memory[:, _BASE]


def remember(
    memory: np.ndarray, day: np.ndarray, wanted_mg: np.ndarray, given_mg: np.ndarray, bled: np.ndarray
) -> None:
    """Note what became of this day.

    Args:
        memory: ``[B, MEMORY]``, written in place.
        day: ``[B]``.
        wanted_mg: Doses that the agent wanted, ``[B]``.
        given_mg: Doses that were given, ``[B]``.
        bled: Whether there was a major bleed, ``[B]``.
    """
    rose, fell = given_mg > memory[:, _USUAL] + 1e-6, (given_mg < memory[:, _USUAL] - 1e-6) & (given_mg > 0.0)
    for column, moved in ((_LAST_RISE, rose), (_LAST_CHANGE, rose | fell)):
        memory[moved & (day > 1), column] = day[moved & (day > 1)]
    memory[:, _USUAL] = np.where(given_mg > 0.0, given_mg, memory[:, _USUAL])
    withheld = (given_mg == 0.0) & (wanted_mg > 0.0)
    memory[:, _BASE] = np.where(withheld, memory[:, _BASE], given_mg)
    memory[:, _DOSES + 1 :] = memory[:, _DOSES:-1].copy()
    memory[:, _DOSES] = given_mg
    memory[:, _BLED] = bled
