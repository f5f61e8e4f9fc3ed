"""Judge the models of an alignment from their answers: win rates under one rule, KL, fluency, diversity; judgement.json.

Every figure of a model is over the same held-out prompts, with a bootstrap interval over them. A win is against the answer of
the SFT model to the same prompt, and is judged three times: by the reward model that the policy was trained against, and by
two judges that had no part in it. Axes: B prompts.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cumulant.errors import RunError
from cumulant.pipelines import judges
from cumulant.pipelines.recipes import Recipe, Stage
from cumulant.stats import mean_interval

FILE = "judgement.json"
MOMENTS = 7  # points of a training at which its answers are judged
SAMPLES = 12
Answers = Mapping[str, Any]


@dataclass(frozen=True)
class Order:
    """Answers to be made in a process of their own.

    Args:
        after: Stages that must have ended.
        parts: What ``pipelines.answers`` is told, one file each.
    """

    after: tuple[str, ...]
    parts: tuple[Mapping[str, Any], ...]

    @property
    def is_ended(self) -> bool:
        """Whether all files are there."""
        return all(Path(part["target"]).exists() for part in self.parts)


@dataclass(frozen=True)
class Judged:
    """A model that is judged.

    Args:
        name: In judgement.json.
        label: For people.
        model: Its directory or name.
        stage: Its stage; None for the base model.
        seed: Added to that of the samples: all models use the same numbers, but for a second sample of SFT.
    """

    name: str
    label: str
    model: str
    stage: Stage | None
    seed: int = 0


def judged_models(directory: Path, recipe: Recipe) -> list[Judged]:
    """Return the models that are judged, in the order of the report."""
    policies = [stage for stage in recipe.stages if stage.algo in ("sft", "dpo", "rlhf", "grpo")]
    found = [Judged("base", "base model", recipe.base_model(directory), None)]
    for stage in policies:
        found.append(Judged(stage.name, stage.label, str(directory / stage.name), stage))
        if stage.algo == "sft":
            found.append(Judged("sft_again", "SFT, another sample", str(directory / stage.name), stage, seed=1))
    return found


def orders(directory: Path, recipe: Recipe) -> dict[str, Order]:
    """Return by name what has to be answered before there can be a judgement."""
    base, sft = recipe.base_model(directory), recipe.stage("sft")
    scorer = next((stage for stage in recipe.stages if stage.algo == "reward_model"), None)
    common = {
        "base": base,
        "data": recipe.data,
        "prompts": recipe.prompts,
        "max_new_tokens": recipe.max_new_tokens,
        "threads": recipe.threads,
        "reward": None if scorer is None else str(directory / scorer.name),
    }
    needed = (sft.name, *([] if scorer is None else [scorer.name]))

    def part(name: str, **content: Any) -> dict[str, Any]:
        return {**common, "target": str(directory / "answers" / f"{name}.json"), **content}

    found = {}
    judged = judged_models(directory, recipe)
    for stage in recipe.stages:
        parts = []
        for each in judged:
            if each.stage == stage or (each.stage is None and stage == sft):
                terms = {"kind": "model", "model": each.model, "reference": str(directory / sft.name)}
                parts.append(part(each.name, **terms, seed=recipe.seed + each.seed))
        if not parts:
            continue
        if stage == sft:
            parts.append(part("human", kind="human"))
        if stage.algo == "rlhf":
            run = str(directory / stage.name)
            parts.append(part(f"{stage.name}_moments", kind="moments", run=run, moments=MOMENTS))
        found[f"answers of {stage.name}"] = Order(tuple(dict.fromkeys((*needed, stage.name))), tuple(parts))
    return found


def write(directory: Path, content: dict[str, Any]) -> dict[str, Any]:
    """Write judgement.json and return its content."""
    from cumulant.run.checkpoint import write_atomic

    write_atomic(directory / FILE, (json.dumps(content, indent=1, allow_nan=False) + "\n").encode())
    return content


def merged(contents: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Merge the judgements of several seeds: figures are means over seeds with their interval, samples those of the first.

    Raises:
        RunError: If rule, judges or prompts are not the same in all of them.
    """

    def over_seeds(figures: Sequence[Mapping[str, Mapping[str, float]]]) -> dict[str, Any]:
        shared = [name for name in figures[0] if all(name in each for each in figures)]
        found = {}
        for name in shared:
            mean, low, high = mean_interval([each[name]["value"] for each in figures])
            found[name] = {**figures[0][name], "value": float(mean), "low": float(low), "high": float(high)}
        return found

    first = contents[0]
    for each in contents[1:]:
        other = [key for key in ("rule", "judges", "ceiling", "prompts") if each[key] != first[key]]
        if other:
            raise RunError(
                f"seeds {first['seed']} and {each['seed']} were judged by different measures ({', '.join(other)}), so their "
                "figures do not belong together: remove answers/ of both, and resume makes them again"
            )
    content = dict(first)
    for kind in ("models", "stages"):
        content[kind] = [
            {**entry, "figures": over_seeds([each[kind][place]["figures"] for each in contents])}
            for place, entry in enumerate(first[kind])
        ]
    for place, entry in enumerate(content["stages"]):
        known = [seconds for each in contents if (seconds := each["stages"][place]["seconds"]) is not None]
        entry["seconds"] = round(float(np.mean(known)), 1) if known else None
    content["seeds"] = [each["seed"] for each in contents]
    content["seconds"] = round(sum(each["seconds"] for each in contents), 1)
    content["curves"] = [{**curve, "seed": each["seed"]} for each in contents for curve in each["curves"]]
    content["contrast"] = {"rows": contrast(content)}
    return content


def judge(directory: Path, recipe: Recipe, seconds: Mapping[str, float]) -> dict[str, Any]:
    """Return what judgement.json holds."""
    models = judged_models(directory, recipe)
    answers = {name: _read(directory, name) for name in [*(each.name for each in models), "human"]}
    human = answers["human"]["completion"], np.array(answers["human"]["fluency"])
    rule = judges.Rule.from_humans(*human)
    panel = judges.panel(recipe.data)
    rewards = np.array(answers["sft"]["reward"]) if "reward" in answers["sft"] else None
    unit = (0.0, 1.0) if rewards is None else (float(rewards.mean()), float(rewards.std()) or 1.0)

    shown = [*models, Judged("human", "human", "", None)]
    traits = {name: judges.Traits.of(each["completion"], each["fluency"]) for name, each in answers.items()}
    verdicts = {name: rule.accepts(each) for name, each in traits.items()}
    scores = {each.name: {name: each.score(_whole(found)) for name, found in answers.items()} for each in panel}
    content: dict[str, Any] = {
        "kind": "align",
        "preset": recipe.preset,
        "notice": recipe.notice,
        "seed": recipe.seed,
        "base": "a model from nothing" if recipe.base.startswith("@") else recipe.base,
        "data": judges.about(recipe.data),
        "seconds": round(sum(seconds.values()), 1),
        "rule": {"text": str(rule), **vars(rule)},
        "judges": [
            {"name": each.name, "label": each.label, "what": each.what, "accuracy": each.accuracy} for each in panel
        ],
        "ceiling": judges.ceiling(recipe.data),
        "prompts": len(answers["sft"]["prompt"]),
        "models": [],
    }
    for each in shown:
        found = answers[each.name]
        figures = _figures(found, traits[each.name], verdicts[each.name], unit)
        if rewards is not None:
            figures["win_reward"] = judges.plain(judges.wins(np.array(found["reward"]), rewards))
        for name, by_model in scores.items():
            own, of_sft = by_model[each.name], by_model["sft"]
            figures[f"win_{name}"] = judges.plain(judges.wins(own, of_sft, verdicts[each.name], verdicts["sft"]))
            figures[f"raw_{name}"] = judges.plain(judges.wins(own, of_sft))
        beta = None if each.stage is None else each.stage.fields.get("beta")
        stage = None if each.stage is None else each.stage.name
        entry = {"name": each.name, "label": each.label, "stage": stage, "beta": beta, "figures": figures}
        content["models"].append(entry)
    content["samples"] = [
        {
            "prompt": answers["sft"]["prompt"][row],
            "human": answers["human"]["completion"][row],
            "answers": {
                each.name: {
                    "text": answers[each.name]["completion"][row],
                    "accepted": bool(verdicts[each.name][row]),
                    **({} if rewards is None else {"reward": (answers[each.name]["reward"][row] - unit[0]) / unit[1]}),
                }
                for each in models
            },
        }
        for row in range(min(SAMPLES, len(answers["sft"]["prompt"])))
    ]
    content["stages"] = [_stage(directory, stage, seconds.get(stage.name)) for stage in recipe.stages]
    sft_scores = {name: by_model["sft"] for name, by_model in scores.items()}
    content["curves"] = [
        _curve(directory, stage, human, panel, sft_scores, unit) for stage in recipe.stages if stage.algo == "rlhf"
    ]
    content["contrast"] = {"rows": contrast(content)}
    return content


def _figures(found: Answers, traits: judges.Traits, accepted: np.ndarray, unit: tuple[float, float]) -> dict[str, Any]:
    texts = found["completion"]
    figures = {
        "accepted": judges.plain(accepted),
        "fluency": judges.plain(traits.fluency),
        "length": judges.plain(found["tokens"]),
        "stopped": judges.plain(found["stopped"]),
        "distinct_2": {"value": judges.distinct(texts)},
        "distinct_texts": {"value": len(set(texts)) / len(texts)},
    }
    if "kl" in found:
        figures["kl_nats"] = judges.plain(found["kl"])
    if "reward" in found:
        figures["reward"] = judges.plain((np.array(found["reward"]) - unit[0]) / unit[1])
    return figures


def _curve(
    directory: Path,
    stage: Stage,
    human: tuple[list[str], np.ndarray],
    panel: Sequence[judges.Expert],
    of_sft: Mapping[str, np.ndarray],
    unit: tuple[float, float],
) -> dict[str, Any]:
    """Return how a training went: its own figures at every update, and what others say of its answers at some."""
    rows = [
        json.loads(line) for line in (directory / stage.name / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    names = {"reward": "reward/mean", "kl": "kl/nats", "distinct_2": "text/distinct_2"}
    updates = {short: [row.get(name) for row in rows] for short, name in names.items()}
    updates["reward"] = [None if reward is None else (reward - unit[0]) / unit[1] for reward in updates["reward"]]
    found = _read(directory, f"{stage.name}_moments")
    moments = []
    for update in sorted(set(found["update"])):
        rows_of = [row for row, number in enumerate(found["update"]) if number == update]
        texts = [found["completion"][row] for row in rows_of]
        traits = judges.Traits.of(texts, np.array(found["fluency"])[rows_of])
        accepted = judges.Rule.from_humans(*human, size=len(texts)).accepts(traits)
        moment: dict[str, Any] = {
            "update": update,
            "kl": updates["kl"][update - 1],
            "reward": updates["reward"][update - 1],
            "accepted": float(accepted.mean()),
            "fluency": float(traits.fluency.mean()),
            "sample": {"prompt": found["prompt"][rows_of[0]], "completion": texts[0]},
        }
        if panel:
            score = panel[0].score([found["prompt"][row] + found["completion"][row] for row in rows_of])
            moment["good"] = judges.plain(accepted & (score > np.median(of_sft[panel[0].name])))
        moments.append(moment)
    numbers = [int(row["iteration"]) + 1 for row in rows]
    return {
        "name": stage.name,
        "beta": stage.fields.get("beta"),
        "updates": {"update": numbers, **updates},
        "moments": moments,
    }


def _stage(directory: Path, stage: Stage, seconds: float | None) -> dict[str, Any]:
    evaluation = json.loads((directory / stage.name / "evaluation.json").read_text(encoding="utf-8"))
    figures = evaluation.get("figures", {})
    labels = figures["labels"]["value"] if "labels" in figures else None  # what people ranked
    if stage.algo == "sft":  # what people wrote; fine-tuning may see less than there is
        settings = json.loads((directory / stage.name / "config.json").read_text(encoding="utf-8"))["config"]
        labels = settings["total_steps"] * settings["batch_size"]
    return {
        "name": stage.name,
        "algo": stage.algo,
        "seconds": None if seconds is None else round(seconds, 1),
        "labels": labels,
        "what": stage.what,
        "figures": figures,
    }


def contrast(content: Mapping[str, Any]) -> list[dict[str, str]]:
    """Return the table SFT | RLHF, with what was measured here."""
    models = {model["name"]: model["figures"] for model in content["models"]}
    stages = {stage["name"]: stage for stage in content["stages"]}
    if "rlhf" not in models or "win_bag_of_words" not in models["rlhf"] or "reward_model" not in stages:
        return []
    sft, tuned = models["sft"], models["rlhf"]
    seconds = {name: stage["seconds"] or 0.0 for name, stage in stages.items()}
    ranking = seconds["reward_model"] + seconds["rlhf"]
    labels = stages["sft"]["labels"], stages["reward_model"]["labels"]
    count = [f"{int(number):,}" if number is not None else "?" for number in labels]
    gap = tuned["win_reward"]["value"] - tuned["raw_bag_of_words"]["value"]  # both without the rule
    return [
        {
            "title": "labels",
            "sft": f"ideal responses written by people: {count[0]} texts",
            "rlhf": f"people's rankings of responses: {count[1]} pairs",
        },
        {
            "title": "feedback signal",
            "sft": "cross-entropy of every token",
            "rlhf": "one number for a whole response",
        },
        {
            "title": "what it optimises",
            "sft": f"to match human text: {sft['fluency']['value']:.2f} nats a token under the untouched model",
            "rlhf": f"to be preferred: {tuned['win_bag_of_words']['value']:.0%} of responses beat SFT's by the independent judge",
        },
        {
            "title": "cost",
            "sft": f"writing ideals; {seconds['sft']:.0f} s here",
            "rlhf": f"ranking pairs, which is cheaper; {ranking:.0f} s here, reward model included",
        },
        {
            "title": "risk",
            "sft": f"collapse to one style: distinct-2 is {sft['distinct_2']['value']:.2f}",
            "rlhf": f"reward hacking: wins by the learned reward exceed those by the independent judge by {gap:+.0%}",
        },
    ]


def _whole(found: Answers) -> list[str]:
    return [prompt + completion for prompt, completion in zip(found["prompt"], found["completion"])]


def _read(directory: Path, name: str) -> dict[str, Any]:
    path = directory / "answers" / f"{name}.json"
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as problem:
        raise RunError(
            f"{path} is damaged ({problem}): remove it, and `cumulant resume {directory}` makes it again"
        ) from problem
