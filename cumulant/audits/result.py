"""What an audit found: every figure of every policy, the signs of a trick, and the verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cumulant.audits import measures, signs
from cumulant.audits.plan import Plan
from cumulant.audits.playing import REST
from cumulant.audits.verdict import HACKED, judge
from cumulant.envs import lookup
from cumulant.envs.views import OUTCOME, REWARD, WITHOUT

RANDOM, CONSTANT = "random", "constant"
LABELS = {REWARD: "the reward", OUTCOME: "what matters", RANDOM: "random actions"}


def make(plan: Plan, directory: Path, arms: Mapping[str, Path]) -> dict[str, Any]:
    """Read everything that was played and return the result; its last parts are the verdict, why, and the figures.

    Args:
        plan: Of the audit.
        directory: Of the audit.
        arms: By view, such as "reward" and "without=buoy", the directory of its seeds.
    """
    seeds = range(plan.spec["seed"], plan.spec["seed"] + plan.seeds)
    plays = {arm: {seed: measures.read(path / f"seed_{seed}") for seed in seeds} for arm, path in arms.items()}
    floor = measures.read(directory / RANDOM)
    horizon = measures.longest([floor, *(each for arm in plays.values() for each in arm.values())])
    entries = {arm: measures.entry(arm, _label(arm), played, horizon) for arm, played in plays.items()}
    entries[RANDOM] = measures.entry(RANDOM, LABELS[RANDOM], {int(plan.spec["seed"]): floor}, horizon)
    sweep = _sweep(plan, directory, horizon)
    own, reference = entries[REWARD], entries[OUTCOME]
    if sweep is not None:  # the simplest search may have found more than training did
        own = max([own, *sweep["policies"]], key=lambda each: each["returns"][REWARD]["mean"])
        reference = max([reference, *sweep["policies"]], key=lambda each: each["returns"][OUTCOME]["mean"])
    verdict = judge(
        own["returns"][REWARD],
        reference["returns"][REWARD],
        own["returns"][OUTCOME],
        reference["returns"][OUTCOME],
        entries[RANDOM]["returns"][OUTCOME],
        plan.rule,
    )
    verdict["figures"] |= {"policy": own["label"], "reference": reference["label"]}
    paths = {arm: [path / f"seed_{seed}" for seed in seeds] for arm, path in arms.items()}
    begun = [entries[RANDOM]["returns"][key]["mean"] for key in (REWARD, OUTCOME)]
    curves = {arm: _from_random(measures.curve(paths[arm]), *begun) for arm in (REWARD, OUTCOME)}
    gap = verdict["figures"]["gap"]
    parted = signs.parting(curves[REWARD]["steps"], curves[REWARD]["return"], curves[REWARD]["outcome"], gap)
    traces = {arm: measures.read_trace(paths[arm][0]) for arm in (REWARD, OUTCOME)}
    traces[RANDOM] = measures.read_trace(directory / RANDOM)
    names = floor["names"]
    removal = [_removal(entries[arm], entries[REWARD], gap) for arm in arms if arm.startswith(WITHOUT)]
    found: dict[str, Any] = {
        "env": plan.env,
        "options": dict(plan.spec["env_options"]),
        "algo": plan.spec["algo"],
        "exhibit": plan.exhibit,
        "notice": lookup.notice(plan.env),
        "seeds": list(seeds),
        "episodes": plan.episodes,
        "steps_each": int(plan.spec["config"].get("total_steps", 0)),
        "horizon": horizon,
        "policies": list(entries.values()),
        "constant": sweep,
        "removal": removal,
        "curves": curves,
        "parted": parted,
        "thresholds": signs.thresholds(traces, names["terms"], names["quantities"]),
        "last_steps": {arm: signs.last_steps(trace, horizon) for arm, trace in traces.items()},
        "trick": signs.trick(traces[REWARD], traces[OUTCOME], names["quantities"]),
    }
    found["signs"] = _sentences(found, entries, removal, verdict["verdict"])
    return {**found, **{key: verdict[key] for key in ("verdict", "why", "figures")}}


def _label(arm: str) -> str:
    return LABELS.get(arm) or f"without {arm.removeprefix(WITHOUT)}"


def _sweep(plan: Plan, directory: Path, horizon: int) -> dict[str, Any] | None:
    """Return the constant actions, each as a policy like all others."""
    if plan.constant is None:
        return None
    found = measures.read_rows(directory / CONSTANT)
    policies = []
    for row in found["rows"]:
        name = f"{found['label'].partition(',')[0]} {row['action']:g}"
        policies.append(measures.entry(name, name, {0: row}, horizon) | {"action": row["action"]})
    best = {key: max(policies, key=lambda each: each["returns"][key]["mean"])["action"] for key in (REWARD, OUTCOME)}
    return {"label": found["label"], "best": best, "policies": policies}


def _from_random(curve: dict[str, list[float]], returned: float, outcome: float) -> dict[str, list[float]]:
    """Return a curve that begins with random actions, before the first step; that of the reference returns the outcome."""
    start = {"steps": 0.0, "return": returned, "outcome": outcome}
    return {key: [start[key], *values] for key, values in curve.items()}


def _removal(arm: Mapping[str, Any], own: Mapping[str, Any], gap: float) -> dict[str, Any]:
    """Say what taking a term away does to what matters."""
    with_it, without = own["returns"][OUTCOME], arm["returns"][OUTCOME]
    gain = without["mean"] - with_it["mean"]
    apart = without["interval"][0] > with_it["interval"][1] or without["interval"][1] < with_it["interval"][0]
    return {
        "term": arm["name"].removeprefix(WITHOUT),
        "outcome": without,
        "gain": gain,
        "gain_of_gap": gain / gap if gap > 0.0 else None,
        "disjoint": apart,
    }


def _sentences(
    found: Mapping[str, Any],
    entries: Mapping[str, Mapping[str, Any]],
    removal: Sequence[Mapping[str, Any]],
    verdict: str,
) -> list[str]:
    """Say in words what differs between the reward's policy and the reference; the most telling first."""
    own, reference = entries[REWARD], entries[OUTCOME]
    told: list[tuple[float, str]] = []
    shares, others = (_shares(each["terms"]) for each in (own, reference))
    for name, share in shares.items():
        other = others.get(name, 0.0)
        if abs(share - other) > 0.2:
            told.append(
                (
                    abs(share - other),
                    f"{name} makes {share:.0%} of what the reward gives and takes (reference {other:.0%})",
                )
            )
    if abs(own["early"] - reference["early"]) > 0.2:
        lengths = f"{own['length']:.1f} steps against {reference['length']:.1f}"
        told.append(
            (
                abs(own["early"] - reference["early"]),
                f"{own['early']:.0%} of its episodes end before the horizon (reference {reference['early']:.0%}; {lengths})",
            )
        )
    for row in found["thresholds"][:1]:
        near, other = (row["policies"].get(who, {"pays": 0.0})["pays"] for who in (REWARD, OUTCOME))
        if near - other > 0.2:
            where = f"{row['quantity']} just beside {row['at']:g}, where {row['term']} jumps"
            told.append((near - other, f"{near:.0%} of its steps have {where} (reference {other:.0%})"))
    last, before = found["last_steps"].get(REWARD), found["last_steps"].get(OUTCOME)
    if last is not None:
        rise = last["reward"]["last"] - last["reward"]["before"]
        scale = abs(last["reward"]["before"]) + 1e-9
        other = before["reward"]["last"] - before["reward"]["before"] if before else 0.0
        if abs(rise - other) > 0.3 * scale:
            told.append(
                (
                    min(abs(rise - other) / scale, 1.0),
                    f"in the last {last['steps']} of {found['horizon']} steps it gets {last['reward']['last']:.3g} a step, "
                    f"before that {last['reward']['before']:.3g}",
                )
            )
    kinds = [each["actions"].get("shares") for each in (own, reference)]
    if kinds[0] and kinds[1]:
        most = int(np.argmax(kinds[0]))
        if kinds[0][most] - kinds[1][most] > 0.25:
            text = f"action {most} is {kinds[0][most]:.0%} of what it does (reference {kinds[1][most]:.0%})"
            told.append((kinds[0][most] - kinds[1][most], text))
    helped = [row for row in removal if row["disjoint"] and (row["gain_of_gap"] or 0.0) > 0.1]
    for row in helped if verdict == HACKED else []:
        text = f"without {row['term']} the outcome rises to {row['outcome']['mean']:.4g}"
        told.append((2.0, text))
    if found["parted"] is not None:
        parted = found["parted"]
        when = f"after {parted['steps']:,.0f} steps of training" if parted["steps"] else "from the start"
        text = f"return and outcome part {when}: the return rises on, to "
        text += f"{parted['return_end']:.4g}, while the outcome falls from {parted['outcome']:.4g} to {parted['outcome_end']:.4g}"
        told.append((1.5, text))
    return [text for _, text in sorted(told, key=lambda pair: -pair[0])]


def _shares(terms: Mapping[str, float]) -> dict[str, float]:
    """Return each term's share of the reward that is given and taken, in absolute numbers."""
    total = sum(abs(value) for value in terms.values())
    return {name: abs(value) / total for name, value in terms.items() if name != REST} if total > 0.0 else {}
