"""Run directories that look like real ones, written in a moment: for tests of what reads them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

NOTICE = "Research and education only. Simulated patients. Not a medical device."

COLUMNS = {
    "return": {"label": "Return", "unit": "", "better": "higher", "digits": 2},
    "ttr": {"label": "True TTR", "unit": "%", "better": "higher", "digits": 1},
    "rosendaal": {"label": "Rosendaal TTR", "unit": "%", "better": "higher", "digits": 1},
    "below_2": {"label": "INR < 2", "unit": "%", "better": "lower", "digits": 1},
    "above_4": {"label": "INR > 4", "unit": "%", "better": "lower", "digits": 2},
    "bleeds": {"label": "Bleeds", "unit": "per 100 y", "better": "lower", "digits": 1},
    "te": {"label": "Thrombo-embolisms", "unit": "per 100 y", "better": "lower", "digits": 1},
    "tests": {"label": "INR tests", "unit": "", "better": "lower", "digits": 1},
    "changes": {"label": "Dose changes", "unit": "", "better": "lower", "digits": 1},
}
#                           return   ttr  rosend  <2    >4   bleeds  te  tests changes
POLICIES = {
    "ppo": ("PPO (this run)", "agent", (23.18, 84.4, 81.9, 13.1, 0.31, 3.4, 3.9, 30.0, 7.9)),
    "band": ("Above 3 down, below 2 up", "protocol", (20.02, 76.1, 73.0, 18.0, 2.10, 3.9, 4.4, 30.0, 11.4)),
    "uw": ("UW nomogram", "protocol", (15.61, 63.2, 58.4, 33.9, 0.92, 3.2, 6.3, 30.0, 4.2)),
    "aurora": ("Aurora", "protocol", (17.40, 68.8, 64.0, 24.6, 2.94, 4.1, 5.0, 30.0, 5.0)),
    "fixed": ("Fixed 5 mg", "protocol", (9.31, 50.2, 46.1, 38.0, 5.10, 4.8, 6.9, 0.0, 0.0)),
    "zero": ("No treatment", "floor", (-15.0, 0.0, 0.0, 100.0, 0.0, 1.9, 14.2, 0.0, 1.0)),
    "oracle": ("Oracle constant dose", "ceiling", (22.01, 82.3, 80.2, 17.2, 0.04, 3.1, 4.1, 0.0, 0.0)),
}


def _measures(values: tuple[float, ...], scale: float = 1.0) -> dict[str, Any]:
    halves = (0.11, 0.35, 0.4, 0.33, 0.06, 0.5, 0.6, 0.0, 0.05)
    return {
        key: {"mean": value, "interval": [round(value - scale * half, 4), round(value + scale * half, 4)]}
        for key, value, half in zip(COLUMNS, values, halves)
    }


def _course(rng: np.random.Generator, need_mg: float, clever: bool) -> dict[str, list[float]]:
    """INR and dose of one patient: a first-order response to the dose, and a policy that is quick or slow."""
    day, inr, dose = list(range(31)), [1.05], [5.0]
    level = 1.05
    for _ in range(30):
        aim = 1.0 + 1.5 * (dose[-1] / need_mg) ** 1.4
        level += 0.17 * (aim - level)
        inr.append(round(level * float(rng.lognormal(0, 0.03)), 4))
        if clever:
            ahead = 2.45 - (level + 0.45 * (aim - level))
            step = 1.0 if ahead > 0.22 else -1.0 if ahead < -0.22 else 0.0
        else:
            step = 1.0 if inr[-1] < 2 and len(inr) % 3 == 0 else -1.0 if inr[-1] > 3 and len(inr) % 2 == 0 else 0.0
        dose.append(float(min(15.0, max(0.0, dose[-1] + step))))
    return {"x": day, "y": inr, "y2": dose}


def evaluation(seed: int = 0) -> dict[str, Any]:
    """An evaluation with every part."""
    rng = np.random.default_rng(seed)
    shift = rng.normal(scale=0.1)
    policies = {
        name: (label, kind, tuple(v + shift * (name == "ppo") * (i == 0) for i, v in enumerate(values)))
        for name, (label, kind, values) in POLICIES.items()
    }
    agent = _measures(policies["ppo"][2])
    rows = [
        {"name": name, "label": label, "kind": kind, "metrics": _measures(values)}
        for name, (label, kind, values) in policies.items()
    ]
    own = {
        "uw": (9.9, 51.0, 48.8, 44.6, 1.3, 3.4, 7.4, 6.1, 2.9),
        "aurora": (13.5, 60.7, 55.0, 35.0, 3.4, 4.2, 6.1, 5.6, 3.0),
    }
    reference = [
        {"name": name, "label": POLICIES[name][0], "kind": "protocol", "metrics": _measures(values)}
        for name, values in own.items()
    ]
    sensitivity = {"normal": 3590, "sensitive": 1265, "highly sensitive": 145}
    ages = {"under 65": 1510, "65 to 74": 1720, "75 and over": 1770}

    def subgroup(title: str, parts: dict[str, int], drop: float) -> dict[str, Any]:
        return {
            "title": title,
            "reference_label": "Aurora",
            "rows": [
                {
                    "label": label,
                    "episodes": count,
                    "agent": _measures((23.4 - 1.2 * i, 85.1 - 2.1 * i, 82.0, 12.0, 0.3), 60 / count**0.5),
                    "reference": _measures((18.1 - drop * i, 70.2 - 2.5 * drop * i, 65.0, 22.0, 2.0), 60 / count**0.5),
                }
                for i, (label, count) in enumerate(parts.items())
            ],
        }

    inr = [round(1.0 + 0.1 * i, 2) for i in range(36)]
    dose = [float(mg) for mg in range(16)]
    patients = [
        "VKORC1 G/G, CYP2C9 *1/*1, 58 years",
        "VKORC1 G/A, CYP2C9 *1/*3, 71 years",
        "VKORC1 A/A, CYP2C9 *1/*1, 66 years",
        "VKORC1 A/A, CYP2C9 *2/*3, 80 years",
    ]
    return {
        "schema": 1,
        "environment": "cumulant/Warfarin-v0",
        "options": {"schedule": "daily", "reward": "inr_band", "genotype": False},
        "episodes": 5000,
        "seed": 123,
        "return_mean": agent["return"]["mean"],
        "return_interval": agent["return"]["interval"],
        "outcomes": {key: value for key, value in agent.items() if key != "return"},
        "columns": COLUMNS,
        "comparisons": [
            {
                "key": "B",
                "title": "B. Daily INR for all",
                "note": "Every policy sees the INR every day; protocols "
                "change the dose no sooner than their own rules allow. Protocols are our re-codings.",
                "rows": rows,
            },
            {
                "key": "C",
                "title": "C. Each protocol on its own schedule",
                "note": "A reference line, not a contest: these protocols test far less often.",
                "rows": reference,
            },
        ],
        "subgroups": [subgroup("Genotype sensitivity", sensitivity, 3.6), subgroup("Age", ages, 0.8)],
        "trajectories": {
            "band": [2.0, 3.0],
            "x_label": "Day",
            "y_label": "INR (true)",
            "y2_label": "Dose (mg)",
            "cases": [
                {
                    "title": f"patient {17 + 31 * i}: {who}",
                    "lines": [
                        {"label": "PPO", **_course(rng, need, True)},
                        {"label": "Aurora", **_course(rng, need, False)},
                    ],
                }
                for i, (who, need) in enumerate(zip(patients, (6.8, 4.1, 3.2, 1.6)))
            ],
        },
        "policy_map": {
            "title": "What the policy does on day 10, when the INR has been steady",
            "x_label": "Measured INR",
            "y_label": "Current dose (mg)",
            "x": inr,
            "y": dose,
            "legend": ["decrease", "hold", "increase"],
            "z": [[2 if v < 2.35 - mg / 30 else 0 if v > 2.9 - mg / 30 and mg > 0 else 1 for v in inr] for mg in dose],
        },
        "notice": NOTICE,
    }


def write_run(
    place: Path,
    *,
    seed: int = 0,
    iterations: int = 65,
    env: str = "warfarin",
    options: dict[str, Any] | None = None,
    evaluated: bool = True,
    plain: bool = False,
) -> Path:
    """Write one run directory.

    Args:
        place: Made if needed.
        seed: Of the run.
        iterations: Rows of metrics.
        env: Environment's name.
        options: Environment's options.
        evaluated: With an ``evaluation.json``.
        plain: As of an ordinary Gymnasium environment: no outcomes, reward terms or comparisons.
    """
    place.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed + 100)
    options = {"schedule": "daily", "reward": "inr_band", "genotype": False} if options is None else options
    config = {
        "total_steps": 1024 * 30 * iterations,
        "num_envs": 1024,
        "horizon": 30,
        "learning_rate": 1e-3,
        "gamma": 0.99,
        "lam": 0.95,
        "clip": 0.2,
        "epochs": 4,
        "net": {"hidden": [64, 64], "activation": "tanh"},
    }
    head = {"algo": "ppo", "env": env, "env_options": {} if plain else options, "config": config, "seed": seed}
    _write(place / "config.json", head)
    _write(
        place / "manifest.json",
        {
            "versions": {"python": "3.12.4", "cumulant": "0.1.0", "torch": "2.13.0", "numpy": "2.4.6"},
            "machine": {"system": "Linux", "architecture": "x86_64", "processor": "some processor"},
            "host": "private-host",
            "cores": 2,
            "commit": "0f3a9c2",
            "seed": seed,
            "threads": 1,
            "created": "2026-03-02T10:11:12Z",
        },
    )
    rows, timing = [], []
    for i in range(iterations):
        learned = 1 - np.exp(-i / (0.16 * iterations) * (1 + 0.1 * seed))
        noise = float(rng.normal(scale=0.35))
        row: dict[str, Any] = {"iteration": i, "steps": 30720 * (i + 1)}
        if plain:
            row |= {
                "episode/return": 20 + 480 * learned + 8 * noise,
                "episode/length": 20 + 480 * learned,
                "episode/return_std": 60 * (1.1 - learned),
            }
        else:
            total = -2.5 + 25.3 * learned + noise
            row |= {
                "episode/return": total,
                "episode/length": 30.0,
                "episode/return_std": 6.5 - 2.6 * learned,
                "outcome/in_range": 0.37 + 0.46 * learned + noise / 90,
                "outcome/below": 0.4 - 0.27 * learned,
                "outcome/above_4": 0.05 - 0.047 * learned,
                "reward/in_range": 11 + 14 * learned + noise,
                "reward/below": -6 + 4.1 * learned,
                "reward/above_4": -3 + 2.85 * learned,
                "reward/bleed": -0.02 + 0.01 * float(rng.random()),
            }
        row |= {
            "loss/policy": -0.01 - 0.001 * noise,
            "loss/value": 3 * np.exp(-i / 20),
            "loss/entropy": 1.09 - 0.6 * learned,
        }
        if i % 8 == 7 or i == iterations - 1:
            row["eval/return"] = row["episode/return"] + (0.4 if not plain else 5)
            if not plain:
                row["eval/ttr"] = 100 * row["outcome/in_range"] + 1.4
        rows.append(row)
        timing.append({"iteration": i, "seconds": round(0.74 * (i + 1) * (1 + 0.02 * seed), 3)})
    (place / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (place / "timing.jsonl").write_text("".join(json.dumps(row) + "\n" for row in timing))
    if evaluated and plain:
        _write(
            place / "evaluation.json",
            {
                "schema": 1,
                "environment": env,
                "options": {},
                "episodes": 100,
                "seed": 7,
                "return_mean": 497.25 + seed,
                "return_interval": [495.5 + seed, 499.0 + seed],
                "outcomes": {"length": {"mean": 497.25, "interval": [495.5, 499.0]}},
            },
        )
    elif evaluated:
        made = evaluation(seed)
        made["options"] = options
        _write(place / "evaluation.json", made)
    return place


def write_group(place: Path, seeds: tuple[int, ...] = (0, 1), *, evaluated: bool = True, **arguments: Any) -> Path:
    """Write a group of seeds with a merged evaluation."""
    place.mkdir(parents=True, exist_ok=True)
    _write(place / "seeds.json", {"seeds": list(seeds)})
    for seed in seeds:
        write_run(place / f"seed_{seed}", seed=seed, evaluated=evaluated, **arguments)
    if evaluated:
        own = {seed: json.loads((place / f"seed_{seed}" / "evaluation.json").read_text()) for seed in seeds}
        merged = dict(own[seeds[0]])
        merged["return_mean"] = float(np.mean([each["return_mean"] for each in own.values()]))
        merged["agent_seeds"] = [
            {"seed": seed, "return_mean": each["return_mean"], "outcomes": each["outcomes"]}
            for seed, each in own.items()
        ]
        _write(place / "evaluation.json", merged)
    return place


def _write(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=1))


def rewrite(path: Path, change: Callable[[Any], Any]) -> None:
    """Replace a JSON file by a changed version of itself."""
    _write(path, change(json.loads(path.read_text())))
