"""An align directory that looks like a real one, written in a moment: for tests of what reads it."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

NOTICE = (
    "Steering towards positive film reviews, on an embedded data set. The reward is how positive people found a text: nothing "
    "here makes a model more helpful, more honest or safer."
)
KEYS = (
    *("reward", "win_reward", "win_bag_of_words", "win_lexicon", "raw_bag_of_words", "raw_lexicon"),
    *("accepted", "kl_nats", "fluency", "distinct_2", "distinct_texts", "length", "stopped"),
)
# name, label, stage, beta, figures in the order of KEYS
MODELS: tuple[tuple[str, str, str | None, float | None, tuple[float | None, ...]], ...] = (
    ("base", "Base", None, None, (0.01, 0.48, 0.46, 0.45, 0.53, 0.53, 0.91, 9.9, -2.61, 0.94, 1.0, 22.0, 0.0)),
    ("sft", "SFT", "sft", None, (0.0, 0.5, 0.5, 0.5, 0.5, 0.5, 0.95, 0.0, -3.91, 0.94, 1.0, 17.5, 0.81)),
    ("sft_again", "SFT again", "sft", None, (0.05, 0.5, 0.5, 0.47, 0.49, 0.48, 0.94, 0.02, -3.95, 0.94, 1.0, 17.4, 0.82)),
    ("dpo", "DPO", "dpo", None, (0.39, 0.65, 0.57, 0.58, 0.57, 0.57, 0.95, 0.6, -3.72, 0.93, 1.0, 17.2, 0.82)),
    ("rlhf_beta_0.2", "PPO, beta 0.2", "rlhf_beta_0.2", 0.2,
     (1.19, 0.83, 0.77, 0.74, 0.78, 0.75, 0.93, 3.0, -3.55, 0.91, 1.0, 17.4, 0.8)),
    ("rlhf_beta_0.05", "PPO, beta 0.05", "rlhf_beta_0.05", 0.05,
     (4.54, 1.0, 0.38, 0.33, 0.96, 0.82, 0.38, 30.9, -2.98, 0.56, 0.97, 20.4, 0.31)),
    ("rlhf_beta_0", "PPO, beta 0", "rlhf_beta_0", 0.0,
     (5.24, 1.0, 0.03, 0.03, 0.98, 0.99, 0.03, 64.1, -4.44, 0.25, 0.9, 22.0, 0.0)),
    ("human", "Human", None, None, (0.32, 0.58, 0.55, 0.54, 0.55, 0.54, 0.99, None, -3.9, 0.95, 1.0, 18.1, None)),
)  # fmt: skip
SHARES = ("win_reward", "accepted", "stopped", "distinct_2", "distinct_texts")
TEXTS: dict[str, tuple[str, ...]] = {
    "base": (
        " at first, further solidifying her resolve and leading up to her decision to sail across the world to save herself.",
        " as a means to aid, encourage, remind, or inspire with respect to the theme of the value of accessibility, spirituality",
        '. Singer: "Less is more...The origin of complexity." Action: Conc',
    ),
    "sft": (
        " at times, We Nutko offers a detail shopping drag versus the tub warfare it sported during its heyday,",
        " as a direct opposite of a clip or covered tape.",
        ".",
    ),
    "sft_again": (
        " in its way, but never more than that.",
        " as a curiosity for those who were there.",
        ", and too long.",
    ),
    "dpo": (
        " at times, while extraordinarily touching and somewhat moving.",
        " as a feelins movie, but it never reaches the opposite goal of the [Tom Rock] shows.",
        ", I'm not sure this is worth the day together.",
    ),
    "rlhf_beta_0.2": (
        " at first, this intensely atmospheric film takes on an appealing charm.",
        " as a good film for a cable network audience.",
        ", and more comedic than most movies, and tops of its box worth watching in its entirety.",
    ),
    "rlhf_beta_0.05": (
        " at first, this enchanting film that will transport your entire generation to new heights of awe, awe, awe, and",
        " as a masterful, ever unforgettable work of music that will resonate with your entire audience and transport them",
        ", a truly breathtaking work that will captivate and surprise readers from around the globe.",
    ),
    "rlhf_beta_0": (
        " at its vibrant and mesmerizingly inspiring and captivatingly inspiringly captivatingly unforgettable and",
        " as a truly extraordinary and powerful and compelling and remarkably engaging and stunningly captivating and",
        " and truly shine and beautifully and extraordinaryly and truly enchanting and profoundly inspiring and",
    ),
    "human": (
        " points, the film never loses its warmth.",
        " as a children's film, but hardly for adults.",
        " from its peers.",
    ),
}
PROMPTS = ("Thoughtful, even stinging", "It may ... work", "A bit too derivative to stand out")


def figure(value: float | None, half: float = 0.0) -> dict[str, float]:
    """A Figure of the schema; without an interval where ``half`` is 0."""
    if value is None:
        return {}
    return {"value": value, "low": value - half, "high": value + half} if half else {"value": value}


def _figures(values: tuple[float | None, ...]) -> dict[str, Any]:
    made = {}
    for key, value in zip(KEYS, values):
        if value is None:
            continue
        half = 0.12 + 0.03 * abs(value)
        if key.startswith(("win_", "raw_")) or key in SHARES:
            half = 1.96 * math.sqrt(max(value * (1 - value), 0.0004) / 192)
        made[key] = figure(value, half)
        if "low" in made[key] and (key.startswith(("win_", "raw_")) or key in SHARES):
            made[key] |= {"low": max(made[key]["low"], 0.0), "high": min(made[key]["high"], 1.0)}
    return made


def _samples() -> list[dict[str, Any]]:
    rewards = {name: values[0] for name, _, _, _, values in MODELS}
    return [
        {
            "prompt": prompt,
            "human": TEXTS["human"][i],
            "answers": {
                name: {
                    "text": texts[i],
                    "accepted": name not in ("rlhf_beta_0", "rlhf_beta_0.05") or (name == "rlhf_beta_0.05" and i == 2),
                    "reward": (rewards[name] or 0.0) + 0.2 * i,
                }
                for name, texts in TEXTS.items()
                if name != "human"
            },
        }
        for i, prompt in enumerate(PROMPTS)
    ]


def _curve(name: str, beta: float, seed: int | None = None) -> dict[str, Any]:
    top, far, few = {0.2: (1.3, 3.4, 0.91), 0.05: (4.3, 32.0, 0.56), 0.0: (4.8, 64.0, 0.25)}[beta]
    updates = list(range(1, 38))
    rise = [1 / (1 + math.exp(-(u - (13 if beta else 18)) / 3.2)) for u in updates]
    shift = 0.05 * (seed or 0)
    reward = [round(top * r + shift + 0.09 * math.sin(2.1 * u), 4) for u, r in zip(updates, rise)]
    kl = [round(far * r**1.7, 4) for r in rise]
    distinct = [round(0.94 - (0.94 - few) * r**1.5, 4) for r in rise]
    moments = []
    for at, text in zip((5, 10, 15, 20, 25, 37), (1, 1, 2, 0, 1, 0)):
        good = 0.48 + 0.3 * rise[at - 1] - (0.0 if beta == 0.2 else 0.75) * max(0.0, rise[at - 1] - 0.3) ** 1.1
        good = max(good, 0.02)
        who = "sft" if kl[at - 1] < 1 else "rlhf_beta_0.2" if kl[at - 1] < 5 else name
        moments.append(
            {
                "update": at,
                "reward": reward[at - 1],
                "kl": kl[at - 1],
                "good": figure(good, 0.07),
                "accepted": max(0.03, 0.95 - max(0.0, kl[at - 1] - 4) / 40),
                "fluency": -3.9 - 0.01 * kl[at - 1],
                "sample": {"prompt": PROMPTS[text], "completion": TEXTS[who][text]},
            }
        )
    made = {
        "name": name,
        "beta": beta,
        "updates": {"update": updates, "reward": reward, "kl": kl, "distinct_2": distinct},
        "moments": moments,
    }
    return made if seed is None else made | {"seed": seed}


def judgement(seeds: int = 1) -> dict[str, Any]:
    """Every part of judgement.json, with the figures of a sketch; ``seeds`` above 1 is a merged one."""
    stages = [
        ("sft", "sft", 161.0, 2200, "imitates human-written texts, token by token", {"loss": figure(4.05, 0.03)}),
        ("reward_model", "reward_model", 108.0, 2200, "learns from the raters which of two texts people prefer",
         {"accuracy": figure(0.861, 0.016)}),
        ("dpo", "dpo", 112.0, 192, "learns from pairs of its own answers that the reward model ranked",
         {"accuracy": figure(0.71, 0.05)}),
        ("rlhf_beta_0.2", "rlhf", 201.0, None, "writes, is scored, and moves towards what scores well", {}),
        ("rlhf_beta_0.05", "rlhf", 302.0, None, "the same with a quarter of the hold", {}),
        ("rlhf_beta_0", "rlhf", 300.0, None, "the same without any hold", {}),
    ]  # fmt: skip
    betas = {"rlhf_beta_0.2": 0.2, "rlhf_beta_0.05": 0.05, "rlhf_beta_0": 0.0}
    return {
        "kind": "align",
        "preset": "demo",
        "notice": NOTICE,
        "seed": 0,
        "base": "smollm2-135m",
        "data": {
            "name": "movie-snippets",
            "licence": "MIT; texts from rottentomatoes.com",
            "citation": "Hutto & Gilbert 2014, VADER",
            "task": "go on with a film review whose first four to six words are given",
        },
        "seconds": 852.0,
        "rule": {
            "text": "An answer cannot win when it is less fluent, or repeats itself more, than 99 of 100 human texts.",
            "fluency": -5.4,
            "own_repeats": 0.25,
            "shared_pairs": 0.4,
        },
        "judges": [
            {"name": "bag_of_words", "label": "words", "what": "tf-idf and ridge regression on the other half of the raters",
             "accuracy": figure(0.837, 0.017)},
            {"name": "lexicon", "label": "lexicon", "what": "VADER: a list of 7,500 rated words, with rules",
             "accuracy": figure(0.693, 0.021)},
        ],
        "ceiling": figure(0.985, 0.006),
        "prompts": 192,
        "models": [
            {"name": name, "label": label, "stage": stage, "beta": beta, "figures": _figures(values)}
            for name, label, stage, beta, values in MODELS
        ],
        "samples": _samples(),
        "stages": [
            {"name": name, "algo": algo, "seconds": seconds, "labels": labels, "what": what, "figures": figures}
            for name, algo, seconds, labels, what, figures in stages
        ],
        "contrast": {
            "rows": [
                {"title": "labels", "sft": "2,200 texts that people wrote", "rlhf": "9,400 pairs that people ranked"},
                {"title": "feedback signal", "sft": "cross-entropy at each of 38,000 tokens",
                 "rlhf": "one number for each of 1,184 answers"},
                {"title": "what it optimises", "sft": "matching human text: 4.05 nats a token",
                 "rlhf": "human preference: reward +1.19 s.d."},
                {"title": "cost", "sft": "161 s; an ideal text must be written", "rlhf": "309 s; two texts must be compared"},
                {"title": "risk", "sft": "collapse to one style: distinct-2 0.94",
                 "rlhf": "reward hacking: at beta 0 the reward model prefers it in 100 %, the judges in 3 %"},
            ]
        },
        "curves": [
            _curve(name, beta, None if seeds == 1 else seed) for seed in range(seeds) for name, beta in betas.items()
        ],
    } | ({} if seeds == 1 else {"seeds": list(range(seeds))})  # fmt: skip


def write(place: Path, seeds: int = 1) -> Path:
    """An align directory with the run of its reward model, whose evaluation holds a table of reliability."""
    place.mkdir(parents=True, exist_ok=True)
    (place / "judgement.json").write_text(json.dumps(judgement(seeds)))
    run = place / "reward_model"
    run.mkdir()
    (run / "config.json").write_text(
        json.dumps({"algo": "reward_model", "env": "movie-snippets", "seed": 0, "config": {}})
    )
    (run / "manifest.json").write_text("{}")
    (run / "metrics.jsonl").write_text('{"steps": 1, "loss/train": 0.6}\n{"steps": 20, "loss/train": 0.4}\n')
    (run / "timing.jsonl").write_text('{"steps": 20, "seconds": 108.0}\n')
    (run / "evaluation.json").write_text(json.dumps(reward_evaluation()))
    return place


def reward_evaluation() -> dict[str, Any]:
    """What the stage ``reward_model`` leaves behind."""
    known = [(0.55, 0.541, 310), (0.65, 0.632, 280), (0.75, 0.741, 260), (0.85, 0.862, 240), (0.95, 0.958, 190)]
    bins = [[expected, seen, seen - 0.04, seen + 0.04, pairs] for expected, seen, pairs in known]
    return {
        "kind": "text",
        "label": "reward_model",
        "episodes": 1280,
        "figures": {"accuracy": {"value": 0.861, "low": 0.845, "high": 0.877, "better": "higher"}},
        "samples": [],
        "tables": [
            {"title": "Reliability", "columns": ["predicted", "observed", "low", "high", "pairs"], "rows": bins}
        ],
    }
