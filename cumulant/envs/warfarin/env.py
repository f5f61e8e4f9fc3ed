"""Warfarin dosing as an environment: thirty mornings, one decision each.

On the morning of day d the INR is measured, if d is a test day; the agent decides; the dose is given; the true INR 24
h later is what the day is rewarded and judged by. Measured INR = true INR x exp(noise_cv N(0, 1)), rounded to 0.1.

The end after ``days`` is ``terminated``, not ``truncated``: the first thirty days are the task, the agent sees the
day, and nothing that follows is worth anything to it (so its last few doses are free; reports judge days, never the
state at the end).

What really matters, ``info["outcome"]`` (the column `good_days`), is no reward that anybody trains on: each day counts
1 if the true INR is in range, less HARM_DAYS for each major bleed and each thrombo-embolism that is to be expected at
that INR (expected, not drawn: bleeds are too rare to be judged by counting them), without any teaching multiplier.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from gymnasium import spaces
from numba import njit

from cumulant.envs.batched import Kernel
from cumulant.envs.constant import ConstantActions
from cumulant.envs.counter_rng import normal, uniform
from cumulant.envs.dosing import Dosing
from cumulant.envs.warfarin import NOTICE, actions, belief, harm, model, patients, people, shielded
from cumulant.envs.warfarin.actions import ACTIONS, DOSE_MAX
from cumulant.envs.warfarin.checks import DOSING
from cumulant.errors import ConfigError
from cumulant.reward import Product, Reward, Term, resolve

ENVIRONMENTS = {"warfarin": "Warfarin-v0"}

CLINIC_DAYS = (1, 3, 5, 7, 10, 14, 21, 28)  # and weekly after that, when the episode is longer
MEASURED_MIN, MEASURED_MAX = 0.8, 25.0  # what the laboratory reports
_SCHEDULES = ("daily", "clinic", "ordered")
_OBSERVE = ("standard", "genotype", "all")
# What an event costs, in days in range. A fifth of major bleeds kill (harm.BLEED_FATALITY), and a patient of about 70 years has
# some ten years ahead: 0.2 x 3650. A thrombo-embolism, which kills less often and disables more, is set equal. It is our choice.
HARM_DAYS = 730.0
STROKE_FATALITY = (0.16, 0.06)  # INR below 2, 2 and more: from the source of the hazards (harm.py)
SWEEP_MG = (0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.5, 10.0)  # of a search among constant doses
SWEEP_PATIENTS = 20_000

REWARDS = {
    "inr_band": Reward(
        "inr_band",
        (
            Term("in_range", 1.0, Product("in_range")),
            Term("below", -0.5, Product("below")),
            Term("above_4", -2.0, Product("above_4")),
            Term("major_bleed", -5.0, Product("major_bleed")),
        ),
    ),
    "survival": Reward("survival", (Term("alive", 1.0, Product("alive")),)),
    "survival_strokes": Reward("survival_strokes", (Term("alive", 1.0, Product("alive_strokes")),)),
    "flat_above_4": Reward("flat_above_4", (Term("above_4", -2.0, Product("above_4")),)),
    "measured_days": Reward(
        "measured_days",
        (
            Term("in_range", 1.0, Product("in_range", "tested")),
            Term("below", -0.5, Product("below", "tested")),
            Term("above_4", -2.0, Product("above_4", "tested")),
            Term("major_bleed", -5.0, Product("major_bleed")),
        ),
    ),
}

OUTCOMES = (
    "inr", "in_range", "below", "above_4", "major_bleed", "thromboembolism", "death", "alive",
    "dose_mg", "dose_changed", "tested", "bleed_risk", "thromboembolism_risk", "death_risk",
    "alive_strokes", "good_days", "cost", "missed", "intracranial", "gastrointestinal",
)  # fmt: skip
_MISSED, _INTRACRANIAL, _GASTROINTESTINAL = (
    OUTCOMES.index(name) for name in ("missed", "intracranial", "gastrointestinal")
)

# State columns, after those of the patient. Lists are newest first.
DOSE = patients.PATIENT_SIZE  # doses of the last 3 days, mg
MEASURED = DOSE + 3  # last 4 measured INRs
TEST_DAY = MEASURED + 4  # and the days on which they were measured
ALIVE, INR, ALIVE_STROKES = TEST_DAY + 4, TEST_DAY + 5, TEST_DAY + 6
BODY = ALIVE_STROKES + 1  # from here on, the columns of the patient's model
# Parameters; from _TESTED on, whether day 1, 2, ... is a test day; then the table of the actions; from params[_PEOPLE]
# on, ``People.block``. The columns of the filter begin at _BELIEF, 0 for none.
_START_DOSE, _DAYS, _NOISE, _DEATH_ENDS, _BLEED_ENDS, _LEVEL, _BELIEF, _PEOPLE, _TESTED = range(9)


@dataclass(frozen=True)
class Warfarin(people.People):
    """Dose warfarin by noisy INR through a patient's first 30 days (Hamberg 2010; simulated patients)."""

    notice: ClassVar[str] = NOTICE
    dosing: ClassVar[Dosing] = DOSING

    schedule: Literal["daily", "clinic", "ordered"] = "daily"
    """INR every morning; on days 1, 3, 5, 7, 10, 14, 21, 28 (then weekly); or on day 1 and when the agent orders it."""
    test_cost: float = 0.1
    """What every ordered INR test takes off the reward (only with schedule = ordered)."""
    reward: str = "inr_band"
    """inr_band, survival, survival_strokes, flat_above_4, measured_days, or your own as module:function."""
    observe: Literal["standard", "genotype", "all"] = "standard"
    """What the agent sees; genotype adds alleles, all adds the hidden truth (a ceiling, not an agent)."""
    belief: bool = False
    """Whether it also sees what a Bayesian filter makes of all tests so far (see ``belief``)."""
    actions: Literal["step", "step5", "percent", "dose"] = "step"
    """step: 1 mg less, hold, 1 mg more; step5: half a mg, too; percent: 20 or 10 % less or more; dose: 0 to 15 mg."""
    tablets_mg: tuple[float, ...] = ()
    """Doses are rounded to what whole tablets of these sizes make (halves are sizes, too); none for no rounding."""
    shield: str = ""
    """Safety rules between the agent and the patient: standard, or your own as module:rules; none for no shield."""
    start_dose_mg: float = 5.0
    """Dose that the first decision starts from, mg; of a maintenance start it is the patient's own."""
    days: int = 30
    """Length of an episode."""
    noise_cv: float = 0.10
    """Coefficient of variation of the measured INR around the true one."""
    death_ends: bool = False
    """Whether a fatal bleed ends the episode; otherwise the body is simulated on and only `alive` falls to 0."""
    bleed_ends: bool = False
    """Whether any major bleed ends the episode: what a reward for the days that follow does then."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, allowed in (("schedule", _SCHEDULES), ("observe", _OBSERVE), ("actions", ACTIONS)):
            if getattr(self, name) not in allowed:
                raise ConfigError(f"warfarin: {name} = {getattr(self, name)!r}; it must be one of {', '.join(allowed)}")
        if not 0.0 <= self.start_dose_mg <= DOSE_MAX:
            raise ConfigError(f"warfarin: start_dose_mg = {self.start_dose_mg}; give a dose from 0 to {DOSE_MAX:g} mg")
        if not 1 <= self.days <= 3650:
            raise ConfigError(f"warfarin: days = {self.days}; give 1 to 3650")
        if not 0.0 <= self.noise_cv <= 1.0:
            raise ConfigError(f"warfarin: noise_cv = {self.noise_cv}; give 0 (exact) to 1")
        if not 0.0 <= self.test_cost < math.inf:
            raise ConfigError(f"warfarin: test_cost = {self.test_cost}; give 0 or more")
        actions.doses_of_tablets(self.tablets_mg)
        if self.actions == "percent" and self.start_dose_mg == 0.0:
            raise ConfigError("warfarin: start_dose_mg = 0 with actions = percent; no percentage leads away from 0 mg")

    @property
    def test_days(self) -> tuple[int, ...]:
        """Days on whose morning the INR is measured whatever the agent does, from 1 to ``days``."""
        if self.schedule == "ordered":
            return (1,)
        if self.schedule == "daily":
            return tuple(range(1, self.days + 1))
        return tuple(d for d in (*CLINIC_DAYS, *range(CLINIC_DAYS[-1] + 7, self.days + 1, 7)) if d <= self.days)

    def kernel(self) -> Kernel:
        """Return the compiled environment.

        Raises:
            ConfigError: If the reward or the shield cannot be found (they are imported only here: reading options imports
                nothing).
        """
        if self.shield:
            return shielded.shielded(self)
        tested = np.zeros(self.days + 1)  # with the morning after the last day, which daily testing sees too
        tested[np.array(self.test_days) - 1] = 1.0
        tested[-1] = 1.0 if self.schedule == "daily" else 0.0
        numbers = np.zeros(_TESTED)
        numbers[_START_DOSE], numbers[_DAYS], numbers[_NOISE] = self.start_dose_mg, self.days, self.noise_cv
        numbers[_DEATH_ENDS], numbers[_BLEED_ENDS] = self.death_ends, self.bleed_ends
        table = actions.table(self.actions, self.tablets_mg)
        numbers[_LEVEL] = _OBSERVE.index(self.observe)
        numbers[_BELIEF] = BODY + patients.BODY_SIZES[self.model] if self.belief else 0.0
        numbers[_PEOPLE] = _TESTED + len(tested) + len(table)
        low, high = _bounds(self)
        reward = resolve(self.reward, REWARDS)
        if self.schedule == "ordered":
            tests = Term("tests", -self.test_cost, Product("tested"))
            reward = Reward(reward.name, (*reward.terms, tests))
        return Kernel(
            observation_space=spaces.Box(low, high, dtype=np.float32),
            action_space=actions.space(self.actions, self.schedule == "ordered"),
            state_size=BODY + patients.BODY_SIZES[self.model] + self.belief * belief.SIZE,
            reset=_reset,
            step=_step_dose if self.actions == "dose" else _step_move,
            params=np.concatenate([numbers, tested, table, self.block(self.days)]),
            reward=reward,
            outcome_names=OUTCOMES,
            outcome="good_days",
        )

    def constant_actions(self) -> ConstantActions | None:
        """Return the constant doses of a policy search (``cumulant.envs.constant``); None where tests are ordered, too."""
        if self.schedule == "ordered":
            return None
        return ConstantActions("constant dose, mg a day", SWEEP_MG, {"actions": "dose"}, SWEEP_PATIENTS)

    def evaluation(
        self, act: Callable[[np.ndarray], np.ndarray], episodes: int, seed: int, label: str
    ) -> dict[str, Any]:
        """Compare a policy with the clinical protocols on the same held-out patients; see ``trial.evaluation``."""
        from cumulant.envs.warfarin import trial  # it reads this module

        found = trial.evaluation(act, dataclasses.replace(self, hazard_multiplier=1.0), episodes, seed, label)
        if self.hazard_multiplier != 1.0:
            found["notice"] += (
                f" Trained on {self.hazard_multiplier:g} times the risks, for teaching; evaluated on the real ones."
            )
        return found

    def clinical(
        self, agents: Mapping[int, Any], episodes: int, seed: int, label: str, ceilings: Any
    ) -> dict[str, Any]:
        """Return what a clinic would ask of a policy; see ``clinical.pack``."""
        from cumulant.envs.warfarin import clinical  # it reads this module

        return clinical.pack(agents, dataclasses.replace(self, hazard_multiplier=1.0), episodes, seed, label, ceilings)


def obs_names(observe: str = "standard", model_name: str = "hamberg2010", *, believes: bool = False) -> tuple[str, ...]:
    """Return what each number of an observation is, with its unit.

    Args:
        observe: Option of that name.
        model_name: Option ``model``: what ``all`` shows ends with its compartments.
        believes: Option ``belief``.

    >>> len(obs_names()), obs_names()[0], obs_names()[8]
    (14, 'measured INR, newest', 'dose 1 day ago, mg')
    """
    order = ("newest", "2nd newest", "3rd newest", "4th newest")
    names = [f"measured INR, {which}" for which in order] + [f"days since the {which} test" for which in order]
    names += [f"dose {d} day{'s' if d > 1 else ''} ago, mg" for d in (1, 2, 3)] + ["day", "age, years", "weight, kg"]
    if observe in ("genotype", "all"):
        names += ["CYP2C9 *2 alleles", "CYP2C9 *3 alleles", "VKORC1 A alleles"]
    if observe == "all":
        names += ["clearance, L/h", "volume, L", "EC50, mg/L", "true INR", "plasma concentration, mg/L"]
        sizes = {"hamberg2010": {"quick": 3, "slow": 3}, "hamberg2007": {"quick": 6, "slow": 1}}[model_name]
        names += [f"{chain} chain, compartment {k}" for chain, size in sizes.items() for k in range(1, size + 1)]
    return (*names, *belief.NAMES) if believes else tuple(names)


def _bounds(options: Warfarin) -> tuple[np.ndarray, np.ndarray]:
    """Return the lowest and highest observation that can occur."""
    days = float(options.days)
    low = [MEASURED_MIN] * 4 + [0.0] * 7 + [1.0, patients.AGE_MIN, patients.WEIGHT_MIN]
    high = [MEASURED_MAX] * 4 + [days] * 4 + [DOSE_MAX] * 3 + [days + 1.0, patients.AGE_MAX, patients.WEIGHT_MAX]
    if options.observe in ("genotype", "all"):
        low, high = low + [0.0] * 3, high + [2.0] * 3
    if options.observe == "all":
        lowest, highest = patients.bounds_of_truth(options, DOSE_MAX)
        low, high = low + lowest, high + highest
    if options.belief:
        low, high = low + belief.LOW.tolist(), high + belief.HIGH.tolist()
    return np.array(low, np.float32), np.array(high, np.float32)


# Inlined because passing the arrays on to what is called for every patient and day was a tenth of the step.
@njit(inline="always", error_model="numpy")
def _measure(key: np.uint64, i: int, day: int, params: np.ndarray, state: np.ndarray) -> None:
    """Measure the INR on the morning of this day; before there are four, the earliest stands for the missing ones."""
    noise = params[_NOISE] * normal(key, day - 2, 20)
    measured = min(max(math.floor(state[i, INR] * math.exp(noise) * 10.0 + 0.5) / 10.0, MEASURED_MIN), MEASURED_MAX)
    first = state[i, TEST_DAY] == 0.0
    for k in range(3, 0, -1):
        state[i, MEASURED + k] = measured if first else state[i, MEASURED + k - 1]
        state[i, TEST_DAY + k] = day if first else state[i, TEST_DAY + k - 1]
    state[i, MEASURED], state[i, TEST_DAY] = measured, day
    if params[_BELIEF] > 0.0:
        belief.learn(state, i, int(params[_BELIEF]), measured)


@njit(inline="always", error_model="numpy")
def _observe(i: int, day: int, params: np.ndarray, state: np.ndarray, obs: np.ndarray) -> None:
    for k in range(4):
        obs[i, k] = state[i, MEASURED + k]
        obs[i, 4 + k] = day - state[i, TEST_DAY + k]
    for k in range(3):
        obs[i, 8 + k] = state[i, DOSE + k]
    obs[i, 11], obs[i, 12], obs[i, 13] = day, state[i, patients.AGE], state[i, patients.WEIGHT]
    if params[_LEVEL] >= 1.0:
        cyp2c9 = int(state[i, patients.CYP2C9])
        obs[i, 14], obs[i, 15] = patients.STAR2[cyp2c9], patients.STAR3[cyp2c9]
        obs[i, 16] = state[i, patients.VKORC1]
    if params[_LEVEL] >= 2.0:
        obs[i, 17], obs[i, 18], obs[i, 19] = state[i, patients.CL], state[i, patients.V], state[i, patients.EC50]
        obs[i, 20] = state[i, INR]
        patients.observe_body(state, i, BODY, obs[i, 21:])
    if params[_BELIEF] > 0.0:
        belief.tell(state, i, int(params[_BELIEF]), obs, obs.shape[1] - belief.NUM_MOMENTS)


@njit(cache=True, error_model="numpy")
def _reset(mask: np.ndarray, key: np.ndarray, params: np.ndarray, state: np.ndarray, obs: np.ndarray) -> None:
    for i in range(mask.shape[0]):
        if mask[i]:
            state[i, ALIVE], state[i, ALIVE_STROKES] = 1.0, 1.0
            state[i, INR] = patients.draw_patient(key[i], state, i, BODY, params, int(params[_PEOPLE]))
            before_mg = state[i, patients.MAINTENANCE]  # 0 if nothing was given yet: what is changed first is the start
            state[i, DOSE : DOSE + 3] = before_mg if before_mg > 0.0 else params[_START_DOSE]
            state[i, TEST_DAY] = 0.0
            if params[_BELIEF] > 0.0:
                belief.start(state, i, int(params[_BELIEF]), params[_LEVEL] > 0.0, before_mg)
            _measure(key[i], i, 1, params, state)
            _observe(i, 1, params, state, obs)


@njit(inline="always", error_model="numpy")
def _live_a_day(
    i: int,
    key: np.uint64,
    clock: int,
    dose_mg: float,
    order: bool,
    params: np.ndarray,
    state: np.ndarray,
    obs: np.ndarray,
    outcomes: np.ndarray,
) -> bool:
    """Give the dose, live 24 h, write outcomes and the next observation; return whether the episode is over."""
    day = clock + 1
    changed = 1.0 if day > 1 and abs(dose_mg - state[i, DOSE]) > 1e-6 else 0.0  # the first is a start, no change
    of = int(params[_PEOPLE])
    if params[of + people.PLAIN] > 0.0:  # the same as below, as short as it can be
        state[i, patients.TAKEN], inr = dose_mg, model.advance(state, i, BODY, dose_mg)
    else:
        inr = patients.live(key, day, dose_mg, state, i, BODY, params, of)
    if params[_BELIEF] > 0.0:
        belief.advance(state, i, int(params[_BELIEF]), dose_mg)
    alive, table, multiplier = state[i, ALIVE], int(params[of + people.HARM]), params[of + people.MULTIPLIER]
    bleed_risk = harm.bleed_probability(inr, table, multiplier)
    clot_risk = harm.thromboembolism_probability(inr, table, multiplier)
    bleed = alive if uniform(key, clock, 0) < bleed_risk else 0.0
    clot = alive if uniform(key, clock, 1) < clot_risk else 0.0
    death, intracranial, gastrointestinal = 0.0, 0.0, 0.0
    if bleed > 0.0:
        site, fatal = harm.site_of_bleed(uniform(key, clock, 2))
        death = 1.0 if fatal else 0.0
        intracranial, gastrointestinal = 1.0 if site == 0 else 0.0, 1.0 if site == 1 else 0.0
    alive -= death
    alive_strokes = min(state[i, ALIVE_STROKES], alive)
    if clot > 0.0 and uniform(key, clock, 3) < (STROKE_FATALITY[0] if inr < 2.0 else STROKE_FATALITY[1]):
        alive_strokes = 0.0
    outcomes[i, 0] = inr
    outcomes[i, 1] = 1.0 if 2.0 <= inr <= 3.0 else 0.0
    outcomes[i, 2] = 1.0 if inr < 2.0 else 0.0
    outcomes[i, 3] = 1.0 if inr > 4.0 else 0.0
    outcomes[i, 4], outcomes[i, 5], outcomes[i, 6], outcomes[i, 7] = bleed, clot, death, alive
    outcomes[i, 8], outcomes[i, 9], outcomes[i, 10] = dose_mg, changed, 1.0 if state[i, TEST_DAY] == day else 0.0
    outcomes[i, 11], outcomes[i, 12], outcomes[i, 13] = bleed_risk, clot_risk, bleed_risk * harm.BLEED_FATALITY
    outcomes[i, 14] = alive_strokes
    outcomes[i, 15] = outcomes[i, 1] - HARM_DAYS * (bleed_risk + clot_risk) / multiplier
    outcomes[i, 16] = outcomes[i, 3]  # what a limit on costs counts: days above INR 4
    outcomes[i, _MISSED] = 1.0 if state[i, patients.TAKEN] < dose_mg else 0.0
    outcomes[i, _INTRACRANIAL], outcomes[i, _GASTROINTESTINAL] = intracranial, gastrointestinal
    state[i, DOSE + 2], state[i, DOSE + 1], state[i, DOSE] = state[i, DOSE + 1], state[i, DOSE], dose_mg
    state[i, ALIVE], state[i, ALIVE_STROKES], state[i, INR] = alive, alive_strokes, inr
    if order or params[_TESTED + day] > 0.0:
        _measure(key, i, day + 1, params, state)
    _observe(i, day + 1, params, state, obs)
    dead = alive == 0.0 and params[_DEATH_ENDS] > 0.0
    return day >= params[_DAYS] or dead or (bleed > 0.0 and params[_BLEED_ENDS] > 0.0)


@njit(cache=True, error_model="numpy")
def _step_move(
    key: np.ndarray,
    clock: np.ndarray,
    action: np.ndarray,
    params: np.ndarray,
    state: np.ndarray,
    obs: np.ndarray,
    reward: np.ndarray,
    terminated: np.ndarray,
    outcomes: np.ndarray,
) -> None:
    add_mg, factor, tablets = actions.unpacked(params[_TESTED + int(params[_DAYS]) + 1 :])
    for i in range(key.shape[0]):
        order = action[i] >= add_mg.shape[0]
        move = action[i] - add_mg.shape[0] if order else action[i]
        dose_mg = actions.moved(state[i, DOSE], add_mg[move], factor[move], tablets)
        terminated[i] = _live_a_day(i, key[i], clock[i], dose_mg, order, params, state, obs, outcomes)


@njit(cache=True, error_model="numpy")
def _step_dose(
    key: np.ndarray,
    clock: np.ndarray,
    action: np.ndarray,
    params: np.ndarray,
    state: np.ndarray,
    obs: np.ndarray,
    reward: np.ndarray,
    terminated: np.ndarray,
    outcomes: np.ndarray,
) -> None:
    _, _, tablets = actions.unpacked(params[_TESTED + int(params[_DAYS]) + 1 :])
    for i in range(key.shape[0]):
        dose_mg = actions.named(float(action[i, 0]), tablets)
        order = action.shape[1] > 1 and action[i, action.shape[1] - 1] > 0.5
        terminated[i] = _live_a_day(i, key[i], clock[i], dose_mg, order, params, state, obs, outcomes)
