"""The same audit of aligned language models: the reward model is the reward, independent judges are what matters.

Nothing is trained: an alignment has its models already, each judged on the same held-out prompts. The policy that is audited
is the one with most of the proxy reward among those that PPO made; the reference is the one that the judges prefer most; the
floor is the model that all of them started from.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cumulant.audits.signs import parting
from cumulant.audits.verdict import UNCLEAR, Rule, judge
from cumulant.envs.views import OUTCOME, REWARD
from cumulant.report.align_data import AlignData, Model
from cumulant.report.align_load import load_align
from cumulant.report.evaluation import Measure

_QUANTITIES = {
    "kl_nats": "distance from SFT (KL), nats",
    "fluency": "fluency, log-probability a token",
    "distinct_2": "distinct word pairs",
    "distinct_texts": "distinct answers",
    "accepted": "answers within the rule",
    "length": "length, words",
}
_WORDS = {
    "reward": "the proxy reward",
    "outcome": "judges (preferred to SFT)",
    "policies": "Model",
    "random": "the model that all started from",
    "quantities": "Mean over answers",
    "steps": "updates",
    "points": "Each point is a policy at some update, judged on the same few prompts.",
}


def audit_models(run: Path, rule: Rule) -> dict[str, Any]:
    """Return what an audit of an alignment finds, in the form of audit.json.

    Args:
        run: Directory of the alignment.
        rule: Thresholds of the verdict.

    Raises:
        RunError: If it is not judged yet, or damaged.
    """
    align = load_align(run)
    entries = {model.name: _entry(align, model) for model in align.models if _judged(align, model) is not None}
    tuned = [entries[model.name] for model in align.tuned if model.name in entries and "reward" in model.figures]
    others = [
        each for model in align.models if model.stage and (each := entries.get(model.name)) and _trained(align, model)
    ]
    floor = entries.get("sft_again") or entries.get("sft")
    found: dict[str, Any] = {
        "schema": 1,
        "kind": "audit",
        "title": f"Audit of the {align.title[:1].lower()}{align.title[1:]}",
        "env": align.base,
        "algo": "reward model and independent judges",
        "notice": align.notice,
        "seeds": list(align.seeds),
        "episodes": align.prompts,
        "unit": "prompts",
        "words": _WORDS,
        "policies": list(entries.values()),
    }
    if not tuned or floor is None:
        why = "the alignment has no model that was trained on the reward and judged by an independent judge"
        return {**found, "verdict": UNCLEAR, "why": why, "figures": {}}
    own = max(tuned, key=lambda each: each["returns"][REWARD]["mean"])
    reference = max([*tuned, *others], key=lambda each: each["returns"][OUTCOME]["mean"])
    if own is reference and len({each["name"] for each in (*tuned, *others)}) == 1:
        why = "there is one model only, and nothing to compare it with: train another with a higher beta"
        return {**found, "verdict": UNCLEAR, "why": why, "figures": {}}
    for each in {each["name"]: each for each in (*tuned, *others)}.values():
        each["verdict"] = "reference" if each is reference else _judge(each, reference, floor, rule)["verdict"]
    verdict = _judge(own, reference, floor, rule)
    verdict["figures"] |= {"policy": own["label"], "reference": reference["label"]}
    found["curves"] = {
        part: _curve(align, each["name"])
        for part, each in ((REWARD, own), (OUTCOME, reference))
        if _curve(align, each["name"])
    }
    curve = found["curves"].get(REWARD)
    if curve is not None:
        found["parted"] = parting(curve["steps"], curve["return"], curve["outcome"], verdict["figures"]["gap"])
    found["signs"] = _sentences(own, reference)
    found["texts"] = _texts(align, own, reference)
    return {**found, **verdict}


def _judge(
    own: Mapping[str, Any], reference: Mapping[str, Any], floor: Mapping[str, Any], rule: Rule
) -> dict[str, Any]:
    return judge(
        own["returns"][REWARD],
        reference["returns"].get(REWARD, own["returns"][REWARD]),
        own["returns"][OUTCOME],
        reference["returns"][OUTCOME],
        floor["returns"][OUTCOME],
        rule,
        _WORDS["random"],
    )


def _trained(align: AlignData, model: Model) -> bool:
    """Return whether a model was made from people's preferences."""
    algos = {stage.name: stage.algo for stage in align.stages}
    return algos.get(model.stage) in ("rlhf", "grpo", "dpo") and "reward" in model.figures


def _judged(align: AlignData, model: Model) -> dict[str, Any] | None:
    """Return the mean share of wins over the judges, in percent; its interval is the mean of theirs, never too narrow."""
    wins = [model.figures[f"win_{judge.name}"] for judge in align.judges if f"win_{judge.name}" in model.figures]
    if not wins:
        return None
    ends = [[100.0 * _end(each, side) for each in wins] for side in ("low", "high")]
    mean = 100.0 * sum(each.mean for each in wins) / len(wins)
    return {"mean": mean, "interval": [sum(side) / len(side) for side in ends]}


def _end(measure: Measure, side: str) -> float:
    end = getattr(measure, side)
    return measure.mean if end is None else end


def _figure(measure: Measure, factor: float = 1.0) -> dict[str, Any]:
    mean, low, high = (
        round(factor * value, 9) for value in (measure.mean, _end(measure, "low"), _end(measure, "high"))
    )
    return {"mean": mean, "interval": [low, high]}


def _entry(align: AlignData, model: Model) -> dict[str, Any]:
    returns = {REWARD: _figure(model.figures["reward"])} if "reward" in model.figures else {}
    returns[OUTCOME] = _judged(align, model) or {}
    for each in align.judges:
        for prefix, kind in (("win_", ""), ("raw_", ", without the rule")):
            if (measure := model.figures.get(prefix + each.name)) is not None:
                returns[f"{each.label}{kind}"] = _figure(measure, 100.0)
    quantities = {text: model.figures[key].mean for key, text in _QUANTITIES.items() if key in model.figures}
    return {"name": model.name, "label": model.label, "returns": returns, "quantities": quantities}


def _curve(align: AlignData, name: str) -> dict[str, list[float]] | None:
    """Return proxy reward and share of good answers at the judged updates of a training, mean over seeds."""
    points: dict[float, list[tuple[float, float]]] = {}
    for curve in align.curves:
        for moment in curve.moments if curve.name == name else ():
            if moment.reward is not None and moment.good is not None:
                points.setdefault(moment.update, []).append((moment.reward, 100.0 * moment.good.mean))
    steps = sorted(points)
    if len(steps) < 2:
        return None
    returned, outcome = ([sum(pair[k] for pair in points[step]) / len(points[step]) for step in steps] for k in (0, 1))
    return {"steps": steps, "return": returned, "outcome": outcome}


def _sentences(own: Mapping[str, Any], reference: Mapping[str, Any]) -> list[str]:
    """Say in which quantities the two models differ most."""
    told = []
    for name, value in own["quantities"].items():
        other = reference["quantities"].get(name)
        size = abs(value) + abs(other or 0.0)
        if other is not None and size > 0.0 and abs(value - other) > 0.2 * size:
            told.append(
                (abs(value - other) / size, f"{name}: {value:.3g}, against {other:.3g} of {reference['label']}")
            )
    return [text for _, text in sorted(told, reverse=True)]


def _texts(align: AlignData, own: Mapping[str, Any], reference: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return prompts with both answers: those whose answer has most reward first."""
    found = []
    for sample in align.samples:
        one, other = (sample.answers.get(each["name"]) for each in (own, reference))
        if one is not None and other is not None:
            answers = {each["label"]: answer.text for each, answer in ((own, one), (reference, other))}
            found.append((-(one.reward or 0.0), {"prompt": sample.text, "answers": answers}))
    return [text for _, text in sorted(found, key=lambda pair: pair[0])][:6]


def write(directory: Path, found: Mapping[str, Any]) -> None:
    """Write audit.json of an audited alignment."""
    from cumulant.run.checkpoint import write_atomic

    write_atomic(directory / "audit.json", (json.dumps(found, indent=1) + "\n").encode())
