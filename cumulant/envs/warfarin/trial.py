"""The trial: an agent and the protocols on the same held-out patients, and what became of them.

Everybody meets the same people, the same measurement errors and the same draws for bleeds and thrombo-embolisms
(common random numbers: all of them are functions of seed, patient and day). The comparisons are kept apart, by when
the INR is seen:

A  clinic     the agent and every protocol see it on days 1, 3, 5, 7, 10, 14, 21, 28
B  daily      everybody sees it every day; protocols change the dose no sooner than their own rules allow
C  reference  every protocol on its own schedule; an agent's row there says how many tests it had
D  ordered    instead of all these, where the agent orders its tests: every protocol on its own schedule, tests cost

Axes: T days, B patients.
"""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from cumulant.envs.warfarin import NOTICE, charts, protocols
from cumulant.envs.warfarin.course import Act, Course, held_out, play_agent, play_protocol
from cumulant.envs.warfarin.env import Warfarin
from cumulant.envs.warfarin.measures import COLUMNS, NOTES, interval, metrics, returns
from cumulant.envs.warfarin.patients import Patients

# The protocol that stands beside the agent in subgroups and curves: the best whose source means it for everybody.
REFERENCE = "uw_initiation"


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
    found = []
    for title, members in patients.divisions().items():
        if title not in ("Genotype sensitivity", "Age"):
            continue
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
        rule += " The agent knows the genotype, and so do the protocols that ask for it."
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
    if options.observe != "all" and not options.belief:  # a map cannot vary what else is seen together with the INR
        result["policy_map"] = charts.policy_map(act, options)
    return result
