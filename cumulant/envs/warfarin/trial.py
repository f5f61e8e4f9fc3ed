"""The trial: an agent and the protocols on the same held-out patients, and what became of them.

Everybody meets the same people, the same measurement errors and the same draws for bleeds and thrombo-embolisms
(common random numbers: all of them are functions of seed, patient and day). The comparisons are kept apart, by when
the INR is seen:

A  clinic     the agent and every protocol see it on days 1, 3, 5, 7, 10, 14, 21, 28
B  daily      everybody sees it every day; protocols change the dose no sooner than their own rules allow
C  reference  every protocol on its own schedule; an agent's row there says how many tests it had
D  ordered    instead of all these, where the agent orders its tests: every protocol on its own schedule, tests cost

An evaluation with seed s plays under the batch seed ``HELD_OUT + s``. A training run's batch seed is small or a hash of
64 bits, so that its patients are others (a hash meets the held-out range once in 2**32 runs).

Axes: T days, B patients.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from cumulant.envs.batched import Batch, as_batch_action
from cumulant.envs.warfarin import NOTICE, charts, protocols
from cumulant.envs.warfarin.env import MEASURED, Warfarin
from cumulant.envs.warfarin.patients import SENSITIVITIES, Patients
from cumulant.stats import mean_interval

HELD_OUT = 2**62
# The protocol that stands beside the agent in subgroups and curves: the best whose source means it for everybody.
REFERENCE = "uw_initiation"

Act = Callable[[np.ndarray], np.ndarray]
Metric = dict[str, Any]

COLUMNS: dict[str, dict[str, Any]] = {
    "return": {"label": "Return", "unit": "", "better": "higher", "digits": 2},
    "return_gain": {"label": "Return vs best protocol", "unit": "", "better": "higher", "digits": 2},
    "ttr": {"label": "True TTR", "unit": "%", "better": "higher", "digits": 1},
    "tests": {"label": "INR tests", "unit": "", "better": "", "digits": 1},
    "ttr_rosendaal": {"label": "Rosendaal TTR", "unit": "%", "better": "higher", "digits": 1},
    "below_2": {"label": "INR < 2", "unit": "%", "better": "lower", "digits": 1},
    "above_4": {"label": "INR > 4", "unit": "%", "better": "lower", "digits": 2},
    "bleeds": {"label": "Major bleeds", "unit": "/100 patient-years", "better": "lower", "digits": 2},
    "thromboembolisms": {"label": "Thrombo-embolisms", "unit": "/100 patient-years", "better": "lower", "digits": 2},
    "dose_changes": {"label": "Dose changes", "unit": "", "better": "", "digits": 1},
}

NOTES = (
    "Protocols are our own simplified re-codings. Bleeds and thrombo-embolisms are expected numbers: published rates at "
    "each day's true INR. True TTR: share of days with the true INR from 2 to 3. Rosendaal TTR: the same of the measured "
    "INR, interpolated between a policy's own tests."
)


@dataclass(frozen=True)
class Course:
    """What happened to B patients under one policy.

    Args:
        inr: True INR 24 h after each dose, ``[T, B]``.
        dose_mg: Doses, ``[T, B]``.
        measured: INR that the laboratory would report each morning, ``[T, B]``.
        tested: Mornings on which the policy saw it, ``[T, B]`` bool.
        live: Days that belong to the episode, ``[T, B]`` bool (all, unless death ends it).
        columns: Other outcome columns and "reward", ``[T, B]`` each.
    """

    inr: np.ndarray
    dose_mg: np.ndarray
    measured: np.ndarray
    tested: np.ndarray
    live: np.ndarray
    columns: dict[str, np.ndarray]


class _Recorder:
    """Collects a course day by day."""

    def __init__(self, batch: Batch) -> None:
        self.batch = batch
        self.live = np.ones(batch.num_envs, bool)
        self.days: list[dict[str, np.ndarray]] = []

    def step(self, action: np.ndarray, tested: np.ndarray | None = None, test_cost: float = 0.0) -> None:
        """Live one day; ``tested`` replaces the environment's own column, at this cost each."""
        batch = self.batch
        before = {"measured": batch.state[:, MEASURED].copy(), "live": self.live.copy()}
        batch.step(as_batch_action(batch.action_space, action))
        row = before | {name: batch.outcomes[:, k].copy() for k, name in enumerate(batch.outcome_names)}
        row["reward"] = batch.reward.astype(np.float64)
        row["tested"] = (row["tested"] > 0.5) if tested is None else tested.copy()
        row["reward"] -= test_cost * row["tested"]
        self.live &= ~batch.terminated
        self.days.append(row)

    def course(self) -> Course:
        """Return what was recorded."""
        whole = {name: np.stack([day[name] for day in self.days]) for name in self.days[0]}
        own = {name: whole.pop(name) for name in ("inr", "dose_mg", "measured", "tested", "live")}
        return Course(**own, columns=whole)


def held_out(options: Warfarin, episodes: int, seed: int) -> Batch:
    """Return a batch of held-out patients on the morning of day 1."""
    return Batch(options.kernel(), episodes, HELD_OUT + int(seed) % 2**31, autoreset=False)


def play_agent(act: Act, options: Warfarin, episodes: int, seed: int) -> Course:
    """Play an agent on held-out patients.

    Args:
        act: Maps observations ``[B, D]`` to actions ``[B]`` (or ``[B, A]`` with ``actions="dose"``).
        options: The environment that it was trained on.
        episodes: B.
        seed: Which patients.
    """
    batch = held_out(options, episodes, seed)
    recorder = _Recorder(batch)
    if hasattr(act, "forget"):  # these patients are new to it
        act.forget()
    for _ in range(options.days):
        recorder.step(np.asarray(act(batch.obs)).reshape(episodes, *(batch.action_space.shape or ())))
    return recorder.course()


def play_protocol(name: str, options: Warfarin, episodes: int, seed: int, *, own_schedule: bool = False) -> Course:
    """Play a protocol on the same patients, measurement errors and chances.

    Args:
        name: Name in ``protocols.PROTOCOLS``.
        options: As the agent's: the schedule says when the protocol sees the INR, unless ``own_schedule``.
        episodes: B.
        seed: Which patients.
        own_schedule: Test when the protocol asks for it.
    """
    plain = dataclasses.replace(options, schedule="daily", actions="dose", observe="standard", shield="")
    batch = held_out(plain, episodes, seed)
    protocol = protocols.make(name)
    protocol.start(Patients.from_state(batch.state))
    recorder = _Recorder(batch)
    for day in range(1, options.days + 1):
        tested = protocol.next_test_day <= day if own_schedule else np.full(episodes, day in options.test_days)
        dose = protocol.dose(day, batch.state[:, MEASURED].copy(), tested)
        recorder.step(dose[:, None], tested, options.test_cost if options.schedule == "ordered" else 0.0)
    return recorder.course()


def interval(values: np.ndarray) -> Metric:
    """Return the mean over patients with its 95 % interval, leaving out NaN.

    >>> interval(np.array([1.0, 2.0, 3.0]))["mean"]
    2.0
    """
    values = values[~np.isnan(values)]
    if len(values) == 1:
        return {"mean": float(values[0]), "interval": [float(values[0])] * 2}
    mean, low, high = mean_interval(values)
    return {"mean": float(mean), "interval": [float(low), float(high)]}


def share(values: np.ndarray) -> Metric:
    """Return the mean share over patients in percent, with an interval that stays within 0 and 100."""
    measure = interval(100.0 * values)
    measure["interval"] = [max(measure["interval"][0], 0.0), min(measure["interval"][1], 100.0)]
    return measure


def rosendaal(measured: np.ndarray, tested: np.ndarray) -> np.ndarray:
    """Return each patient's time in range by linear interpolation, in percent; NaN with fewer than two tests.

    Args:
        measured: Measured INR of each morning, ``[T, B]``; only read where ``tested``.
        tested: ``[T, B]`` bool.

    Source: Rosendaal et al. 1993, Thromb Haemost 69:236; the day of the first test itself is not counted.

    >>> measured = np.array([[1.0], [0.0], [0.0], [0.0], [3.0]])  # 1.5, 2, 2.5 and 3 on the days after the first test
    >>> float(rosendaal(measured, measured > 0)[0])
    75.0
    """
    days = np.arange(len(measured))[:, None]
    before = np.maximum.accumulate(np.where(tested, days, -1), axis=0)  # last test up to this day
    after = np.minimum.accumulate(np.where(tested, days, len(days))[::-1], axis=0)[::-1]  # next test from this day on
    inside = (before >= 0) & (after < len(days)) & (days > tested.argmax(axis=0))
    left = np.take_along_axis(measured, np.maximum(before, 0), axis=0)
    right = np.take_along_axis(measured, np.minimum(after, len(days) - 1), axis=0)
    inr = left + (right - left) * (days - before) / np.maximum(after - before, 1)
    within = inside & (inr >= 2.0 - 1e-9) & (inr <= 3.0 + 1e-9)
    count = inside.sum(axis=0)
    return np.where(count > 0, 100.0 * within.sum(axis=0) / np.maximum(count, 1), np.nan)


def returns(course: Course) -> np.ndarray:
    """Return every patient's return, ``[B]``."""
    return (course.columns["reward"] * course.live).sum(axis=0)


def metrics(course: Course, who: np.ndarray | None = None) -> dict[str, Metric]:
    """Return the measures of a course, each with its 95 % interval.

    Args:
        course: What happened.
        who: Patients to look at, ``[B]`` bool; everybody if left out.
    """
    who = np.ones(course.inr.shape[1], bool) if who is None else who
    live = course.live[:, who]
    days = live.sum(axis=0)

    def total(values: np.ndarray) -> np.ndarray:
        return (values[:, who] * live).sum(axis=0)

    found = {
        "return": interval(returns(course)[who]),
        "ttr": share(total(course.columns["in_range"]) / days),
        "below_2": share(total(course.columns["below"]) / days),
        "above_4": share(total(course.columns["above_4"]) / days),
        "bleeds": interval(36500.0 * total(course.columns["bleed_risk"]) / days),
        "thromboembolisms": interval(36500.0 * total(course.columns["thromboembolism_risk"]) / days),
        "tests": interval(total(course.tested)),
        "dose_changes": interval(total(course.columns["dose_changed"])),
    }
    by_interpolation = rosendaal(course.measured[:, who], (course.tested & course.live)[:, who])
    if not np.isnan(by_interpolation).all():
        found["ttr_rosendaal"] = interval(by_interpolation)
    return {name: found[name] for name in COLUMNS if name in found}


def _rows(courses: dict[str, Course], label: str, agent_kind: str, *, gains: bool) -> tuple[list[dict[str, Any]], str]:
    """Return table rows (agent, protocols, ceilings, floors; best return first) and the label of the best protocol."""
    kinds = {name: agent_kind if name == "agent" else protocols.make(name).kind for name in courses}
    labels = {name: label if name == "agent" else protocols.make(name).label for name in courses}
    mean = {name: returns(course).mean() for name, course in courses.items()}
    best = max((name for name in courses if kinds[name] == "protocol"), key=lambda name: mean[name])
    order = ("agent", "protocol", "ceiling", "floor")
    rows = []
    for name in sorted(courses, key=lambda name: (order.index(kinds[name]), -mean[name])):
        measures = metrics(courses[name])
        if gains and name != best:
            measures["return_gain"] = interval(
                returns(courses[name]) - returns(courses[best])
            )  # paired: the same patients
        measures = {column: measures[column] for column in COLUMNS if column in measures}
        rows.append({"name": name, "label": labels[name], "kind": kinds[name], "metrics": measures})
    return rows, labels[best]


def _subgroups(agent: Course, reference: Course, patients: Patients, label: str) -> list[dict[str, Any]]:
    """Return the agent beside the reference protocol for each class of patients."""
    age = patients.age_years
    classes = {
        "Genotype sensitivity": [(name, patients.sensitivity == k) for k, name in enumerate(SENSITIVITIES)],
        "Age": [("under 65", age < 65), ("65 to 74", (age >= 65) & (age < 75)), ("75 and over", age >= 75)],
    }
    found = []
    for title, members in classes.items():
        rows = [
            {
                "label": name,
                "episodes": int(who.sum()),
                "agent": metrics(agent, who),
                "reference": metrics(reference, who),
            }
            for name, who in members
            if who.any()
        ]
        found.append({"title": title, "rows": rows, "reference_label": label})
    return found


def evaluation(
    act: Act, options: Warfarin, episodes: int = 5000, seed: int = 0, label: str = "PPO (this run)"
) -> dict[str, Any]:
    """Compare an agent with the protocols on held-out patients.

    Args:
        act: The agent's greedy policy: observations ``[B, D]`` -> actions ``[B]``.
        options: The environment that it was trained on; its schedule decides which comparisons fit.
        episodes: Patients.
        seed: Which patients; the same for every policy that is to be compared.
        label: What tables call the agent.

    Returns:
        The evaluation, ready for JSON: return and outcomes with 95 % intervals, comparisons, subgroups, trajectories
        and a map of the policy.
    """
    agent = play_agent(act, options, episodes, seed)
    own = {name: play_protocol(name, options, episodes, seed, own_schedule=True) for name in protocols.USUAL}
    ordered = options.schedule == "ordered"
    same = own if ordered else {name: play_protocol(name, options, episodes, seed) for name in protocols.USUAL}
    if ordered:
        key, title = "D", "D. Everybody tests when they see fit"
        rule = (
            f"The agent orders its tests, protocols follow their own schedules; each test costs {options.test_cost:g}."
        )
    elif options.schedule == "daily":
        key, title = "B", "B. INR every day, for all"
        rule = "The same noisy INR is seen daily; protocols change the dose no sooner than their rules allow."
    else:
        key, title = "A", "A. INR on the clinic's days, for all"
        days = ", ".join(map(str, options.test_days))
        rule = (
            f"The same noisy INR is seen on days {days}. Protocols change the dose on those days only, the agent daily."
        )
    if options.observe == "all":
        label = f"{label}, clairvoyant"
        rule += " The clairvoyant sees every true parameter and the true INR: a ceiling, no agent."
    elif options.observe == "genotype":
        rule += " The agent alone knows the genotype."
    if options.start_dose_mg != 5.0:
        rule += f" The agent starts from {options.start_dose_mg:g} mg, protocols by their own rules."
    agent_kind = "ceiling" if options.observe == "all" else "agent"
    rows, best = _rows({"agent": agent, **same}, label, agent_kind, gains=True)
    tests = agent.tested.sum(axis=0).mean()
    own_rows, _ = _rows({"agent": agent, **own}, f"{label}: {tests:.3g} tests", agent_kind, gains=False)
    comparisons = [
        {"key": key, "title": title, "note": f"{rule} Gains are paired, against {best}. {NOTES}", "rows": rows},
        {
            "key": "C",
            "title": "C. Every protocol on its own schedule (reference)",
            "note": "Mind the number of tests: this is not a like-for-like comparison with the agent.",
            "rows": own_rows,
        },
    ][: 1 if ordered else 2]
    found = metrics(agent)
    patients = Patients.from_state(held_out(options, episodes, seed).state)
    reference_label = protocols.make(REFERENCE).label
    result = {
        "schema": 1,
        "environment": "cumulant/Warfarin-v0",
        "options": json.loads(json.dumps(dataclasses.asdict(options))),  # tuples as lists
        "episodes": int(episodes),
        "seed": int(seed),
        "return_mean": found["return"]["mean"],
        "return_interval": found["return"]["interval"],
        "return_std": float(returns(agent).std()),
        "outcomes": {name: measure for name, measure in found.items() if name != "return"},
        "columns": COLUMNS,
        "comparisons": comparisons,
        "subgroups": _subgroups(agent, same[REFERENCE], patients, reference_label),
        "trajectories": charts.trajectories(
            {label: (agent.inr, agent.dose_mg), reference_label: (same[REFERENCE].inr, same[REFERENCE].dose_mg)},
            patients,
        ),
        "notice": NOTICE,
    }
    if options.observe != "all":  # a map cannot vary the hidden truth together with the INR
        result["policy_map"] = charts.policy_map(act, options)
    return result
