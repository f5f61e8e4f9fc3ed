"""The clinical pack: what somebody who would have to answer for a dosing policy asks of it.

Every figure is of held-out patients and has an interval; policies are compared patient by patient (common random
numbers). What is judged was decided beforehand: the subgroups, the margin and the tails of ``stress``, the other worlds,
the size of the tree. Race is in the tables and never in an observation.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from cumulant.envs.warfarin import NOTICE, distil, protocols, stress, whatif
from cumulant.envs.warfarin.course import held_out, play_agent
from cumulant.envs.warfarin.env import Warfarin
from cumulant.envs.warfarin.field import Agent, Field, comparison, measure, play
from cumulant.envs.warfarin.measures import COLUMNS, NOTES, returns
from cumulant.envs.warfarin.patients import Patients
from cumulant.errors import ConfigError
from cumulant.seeds import merged_interval
from cumulant.stats import bootstrap_interval, mean_interval

SCHEDULES: dict[str, tuple[Any, str, str]] = {
    "A": (
        "clinic",
        "A. INR on the clinic's days, for all",
        "Protocols change the dose on days 1, 3, 5, 7, 10, 14, 21, 28 only.",
    ),
    "B": ("daily", "B. INR every day, for all", "Protocols change the dose no sooner than their own rules allow."),
}


def pack(
    agents: Mapping[int, Agent],
    options: Warfarin,
    episodes: int,
    seed: int,
    label: str,
    ceilings: Mapping[str, tuple[Agent, Warfarin]] | None = None,
) -> dict[str, Any]:
    """Return everything that is asked of a policy, as plain JSON values.

    Args:
        agents: The policy of every seed.
        options: The environment that they were trained on.
        episodes: Patients.
        seed: Which patients.
        label: What tables call the policy.
        ceilings: Policies that see every true parameter, by name, with the environment of each: how much of the way from the
            best protocol to them the policy has gone is then said.

    Raises:
        ConfigError: If the policy orders its tests itself.
    """
    if options.schedule == "ordered":
        raise ConfigError(
            "this policy orders its tests itself: the clinical pack compares on the same test days for all"
        )
    own_key = "A" if options.schedule == "clinic" else "B"
    comparisons = []
    for key, (schedule, title, rule) in SCHEDULES.items():  # courses are large: only those on the own days are kept
        played = play(agents, dataclasses.replace(options, schedule=schedule), episodes, seed)
        note = f"{rule} {NOTES}" if key == own_key else f"{rule} The agent was trained on other test days."
        comparisons.append(comparison(played, key, title, note, label))
        if key == own_key:
            field = played
    own = Field(field.agents, play({}, options, episodes, seed, own=True).others, field.kinds)
    title = "C. Every protocol on its own test days (reference)"
    comparisons.append(comparison(own, "C", title, "Mind the number of tests: this is not like for like.", label))
    del own, played
    patients = Patients.from_state(held_out(options, episodes, seed).state)
    found = {
        "schema": 1,
        "kind": "clinical",
        "environment": "cumulant/Warfarin-v0",
        "options": json.loads(json.dumps(dataclasses.asdict(options))),
        "chosen": [f.name for f in dataclasses.fields(options) if getattr(options, f.name) != f.default],
        "label": label,
        "episodes": episodes,
        "seed": seed,
        "agent_seeds": list(agents),
        "schedule": own_key,
        **_headline(comparisons, own_key),
        "columns": COLUMNS,
        "comparisons": comparisons,
        "subgroups": stress.subgroups(field, patients) + stress.burdened(agents, options, episodes, seed),
        "margin": stress.MARGIN,
        "least_members": stress.LEAST_MEMBERS,
        "tails": stress.tails(field, np.random.default_rng(seed)),
        "robustness": stress.robustness(agents, options, max(episodes // 2, 2), seed),
        "shield": stress.shielded(agents, options, episodes, seed),
        "calibration": stress.calibration(agents, options, episodes, seed),
        "notice": NOTICE,
    }
    first = next(iter(agents.values()))
    found["readable"] = distil.readable(first.act, options, episodes, seed)
    found["what_if"] = whatif.curves(first.act, options, episodes, seed, patients)
    found["gaps"] = [gap(field, name, *other, episodes, seed) for name, other in (ceilings or {}).items()]
    return found | {"findings": findings(found)}


def _headline(comparisons: list[dict[str, Any]], key: str) -> dict[str, Any]:
    """Return the agent's own figures as every evaluation has them."""
    table = next(each for each in comparisons if each["key"] == key)
    measures = next(row["metrics"] for row in table["rows"] if row["kind"] == "agent")
    outcomes = {name: found for name, found in measures.items() if not name.startswith("return")}
    returned = measures["return"]
    return {"return_mean": returned["mean"], "return_interval": returned["interval"], "outcomes": outcomes}


def gap(field: Field, name: str, ceiling: Agent, options: Warfarin, episodes: int, seed: int) -> dict[str, Any]:
    """Return which share of the way from the best protocol to a clairvoyant the agent has gone.

    ``share = (agent - protocol) / (clairvoyant - protocol)`` of mean returns; patients are drawn whole for its interval.

    Args:
        field: Everybody on the agent's schedule.
        name: What to call the clairvoyant.
        ceiling: It.
        options: Its own environment.
        episodes: B.
        seed: Which patients.
    """
    best, protocol = next(iter(field.rivals.items()))
    top = returns(play_agent(ceiling.act, options, episodes, seed))
    rng = np.random.default_rng(seed)

    def gone(rows: np.ndarray, axis: int) -> np.ndarray:
        agent, protocol, top = np.moveaxis(rows.mean(axis=axis), -1, 0)
        return (agent - protocol) / (top - protocol)

    parts = [bootstrap_interval(np.stack([own, protocol, top], 1), rng, gone) for own in field.agent_returns]
    return {
        "name": name,
        "best": protocols.make(best).label,
        "best_return": measure(mean_interval(protocol)),
        "ceiling_return": measure(mean_interval(top)),
        "share": measure(merged_interval(parts)),
    }


def findings(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return what the pack found as sentences, each with whether it is what one would wish; None where nothing is judged.

    Args:
        found: The pack.
    """
    table = next(each for each in found["comparisons"] if each["key"] == found["schedule"])
    agent = next(row for row in table["rows"] if row["kind"] == "agent")
    best = next(row for row in table["rows"] if row["kind"] == "protocol")
    more = agent["metrics"]["return_gain"]
    text = f"Return {_said(agent['metrics']['return'])}, {_said_beside(more)} the best protocol on the same test days"
    said: list[tuple[bool | None, str]] = [(more["interval"][0] > 0.0, f"{text} ({best['label']}).")]
    rows = [(group["title"], row) for group in found["subgroups"] for row in group["rows"]]
    judged = [(title, row) for title, row in rows if row["non_inferior"] is not None]
    if judged:
        title, row = min(judged, key=lambda pair: pair[1]["bound_on_uw"])
        good = sum(row["non_inferior"] for _, row in judged)
        text = f"Non-inferior to UW in {good} of {len(judged)} subgroups of {found['least_members']} patients or more; "
        text += f"closest: {row['label']} ({title.lower()}), where the bound is {row['bound_on_uw']:+.2f}."
        said.append((good == len(judged), text))
    behind = [row["label"] for _, row in rows if row["gain_on_best"]["interval"][1] < 0.0]
    ahead = sum(row["gain_on_best"]["interval"][0] > 0.0 for _, row in rows)
    text = f"Ahead of each subgroup's best protocol in {ahead} of {len(rows)} subgroups"
    said.append((not behind, f"{text}; behind it in {', '.join(behind)}." if behind else f"{text}, behind it in none."))
    for each in found["gaps"]:
        share = each["share"]
        text = f"{100 * share['mean']:.0f} % ({100 * share['interval'][0]:.0f} to {100 * share['interval'][1]:.0f})"
        said.append((None, f"It has gone {text} of the way from {each['best']} to the clairvoyant '{each['name']}'."))
    lost = [row["world"] for row in found["robustness"] if row["gain_on_best"]["interval"][0] <= 0.0]
    worlds = len(found["robustness"])
    text = f"Ahead of every protocol in {worlds - len(lost)} of {worlds} worlds"
    said.append((not lost, f"{text}; not in: {', '.join(lost)}." if lost else f"{text}."))
    if found["calibration"]:
        start = found["calibration"][0]["difference"]
        text = f"At the start its critic is off by {_said(start)}: what it expects less what comes, discounted."
        said.append((start["interval"][0] <= 0.0 <= start["interval"][1], text))
    tree = found["readable"]["tree"]
    text = f"A tree of {tree['leaves']} leaves decides as it does on {100 * tree['fidelity']['mean']:.0f} % of mornings"
    said.append((None, f"{text}; treating by it costs {_said(tree['loss'])} of return."))
    return [{"good": good, "text": text} for good, text in said]


def _said(measure: Mapping[str, Any]) -> str:
    low, high = measure["interval"]
    return f"{measure['mean']:.2f} ({low:.2f} to {high:.2f})"


def _said_beside(gain: Mapping[str, Any]) -> str:
    """Say a difference as more or less than something; the interval keeps its signs when it holds both."""
    low, high = gain["interval"]
    if low <= 0.0 <= high:
        return f"{gain['mean']:+.2f} ({low:+.2f} to {high:+.2f}) beside"
    low, high = sorted((abs(low), abs(high)))
    return f"{abs(gain['mean']):.2f} ({low:.2f} to {high:.2f}) {'more' if gain['mean'] > 0.0 else 'less'} than"
