"""What ``cumulant align`` makes: the stages of each preset, and how its models are judged.

A field whose value begins with ``@`` is the directory of another stage, which then comes first: ``model="@sft"``.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cumulant.errors import ConfigError, UsageError, did_you_mean

NOTICE = "The reward is how positive people find a film review: this steers a model towards praise, and makes it no more helpful."


@dataclass(frozen=True)
class Stage:
    """One run of an alignment.

    Args:
        name: Of its directory.
        algo: Algorithm.
        label: What reports call its model.
        what: What it does, one line.
        fields: Of its Config.
        data: What it learns from, if not the recipe's data.
    """

    name: str
    algo: str
    label: str
    what: str
    fields: Mapping[str, Any] = field(default_factory=dict)
    data: str = ""

    @property
    def after(self) -> tuple[str, ...]:
        """Stages that must have ended before."""
        return tuple(value[1:] for value in self.fields.values() if isinstance(value, str) and value.startswith("@"))


@dataclass(frozen=True)
class Recipe:
    """Everything that an alignment follows from.

    Args:
        preset: Its name.
        data: Data set, or path.
        base: The model that nothing was trained on here: a name, a path, or ``@pretrain``.
        stages: In the order in which they begin.
        prompts: Held-out prompts that every model answers.
        max_new_tokens: Where an answer is cut off.
        notice: What must be said wherever results are shown.
        seed: Of every stage and of the judgement.
        seeds: How many of these alignments are made, one after the other.
        threads: Torch threads of a process.
    """

    preset: str
    data: str
    base: str
    stages: tuple[Stage, ...]
    prompts: int = 192
    max_new_tokens: int = 22
    notice: str = ""
    seed: int = 0
    seeds: int = 1
    threads: int = 1

    def stage(self, name: str) -> Stage:
        """Return a stage by its name."""
        return next(stage for stage in self.stages if stage.name == name)

    def base_model(self, directory: Path) -> str:
        """Return the base model's name or path."""
        return str(directory / self.base[1:]) if self.base.startswith("@") else self.base


_POLICY = {"model": "@sft", "reward": "@reward_model"}


def _stages(
    base: str,
    sft: Mapping[str, Any],
    scorer: Mapping[str, Any],
    policy: Mapping[str, Any],
    pairs: Mapping[str, Any],
    betas: Sequence[float] = (0.2, 0.0),
    free: Mapping[str, Any] | None = None,
) -> tuple[Stage, ...]:
    """Return the stages after pre-training, with the fields of fine-tuning, reward model, PPO, DPO, and of PPO at beta 0."""
    policies = [
        Stage(
            "rlhf" if beta == betas[0] else f"rlhf_beta_{beta:g}",
            "rlhf",
            f"PPO, beta {beta:g}",
            "earns reward, and pays for every nat that it leaves SFT" if beta else "earns reward at any price",
            {**_POLICY, **policy, "beta": beta, **(free or {} if beta == 0.0 else {})},
        )
        for beta in betas
    ]
    return (
        Stage("sft", "sft", "SFT", "imitates how people went on", {"model": base, **sft}),
        Stage(
            "reward_model", "reward_model", "reward model", "learns which text people prefer", {"model": base, **scorer}
        ),
        *policies,
        Stage(
            "dpo",
            "dpo",
            "DPO",
            "prefers what the reward model prefers, without sampling as it learns",
            {**_POLICY, **pairs},
        ),
    )


_PPO = {"eval_prompts": 32, "total_steps": 30, "batch_size": 64, "minibatches": 4}
_BETAS = (0.13, 0.0)
_DPO = {"eval_pairs": 64, "sample_pairs": 320, "total_steps": 40}

DEMO = Recipe(
    preset="demo",
    data="movie-snippets",
    base="smollm2-135m",
    stages=_stages("smollm2-135m", {}, {}, _PPO, _DPO, _BETAS, {"total_steps": 20}),  # without a price 20 are plenty
    notice=NOTICE,
)
FULL = dataclasses.replace(
    DEMO,
    preset="full",
    seeds=3,
    stages=_stages("smollm2-135m", {}, {}, _PPO, _DPO, (0.13, 0.05, 0.0)),
)
_OWN = {"lora_rank": 0, "precision": "float32"}  # a small model has no use for adapters
SCRATCH = Recipe(
    preset="scratch",
    data="movie-snippets",
    base="@pretrain",
    stages=(
        Stage(
            "pretrain",
            "pretrain",
            "pre-trained",
            "predicts the next token of reviews",
            {"total_steps": 3000, "vocabulary": 4096, "lower_case": True},
            data="movie-reviews-simple+movie-snippets",
        ),
        *_stages(
            "@pretrain",
            {**_OWN, "total_steps": 300, "learning_rate": 1e-3, "context": 64},
            {
                "depth": 1.0,
                "trained_layers": 9,
                "total_steps": 600,
                "learning_rate": 5e-4,
                "max_responses": 0,
                "context": 64,
                "batch_size": 32,
            },
            {**_OWN, "total_steps": 60, "batch_size": 64, "learning_rate": 3e-4, "eval_prompts": 32},
            {**_OWN, "learning_rate": 3e-4, "eval_pairs": 64},
        ),
    ),
    notice=NOTICE,
)
CI = dataclasses.replace(
    SCRATCH,
    preset="ci",
    prompts=64,
    stages=tuple(
        dataclasses.replace(
            stage,
            fields={
                **stage.fields,
                **{
                    "pretrain": {
                        "total_steps": 250,
                        "max_documents": 20_000,
                        "vocabulary": 2048,
                        "width": 64,
                        "inner": 176,
                    },
                    "sft": {"total_steps": 40},
                    "reward_model": {"total_steps": 100, "max_responses": 1500},
                    "rlhf": {"total_steps": 8, "batch_size": 32},
                    "dpo": {"sample_pairs": 64, "total_steps": 8},
                }[stage.algo],
            },
        )
        for stage in SCRATCH.stages
    ),
)

PRESETS: dict[str, tuple[str, Recipe]] = {
    "demo": ("real weights (SmolLM2-135M), about a quarter of an hour on two cores", DEMO),
    "scratch": ("all four stages from nothing, ten minutes", SCRATCH),
    "ci": ("the same in small, two minutes: to try it, not for its figures", CI),
    "full": ("demo at three betas and over three seeds, hours", FULL),
}


def make_recipe(preset: str, data: str | None, model: str | None, seed: int, seeds: int | None) -> Recipe:
    """Return the recipe of a preset, for other data and from another model if they are given.

    Raises:
        UsageError: If there is no such preset.
        ConfigError: If there is no seed, or a model for a preset that makes its own.
    """
    if preset not in PRESETS:
        raise UsageError(f"no preset '{preset}': {did_you_mean(preset, PRESETS)}")
    recipe = PRESETS[preset][1]
    if seed < 0 or (seeds is not None and seeds < 1):
        raise ConfigError(f"seed = {seed}, seeds = {seeds}: the first is at least 0, and there is at least one")
    if model is not None:
        if recipe.base.startswith("@"):
            raise ConfigError(f"model = {model}: the preset '{preset}' trains its own from nothing; take demo")
        swapped = (
            dataclasses.replace(stage, fields={k: model if v == recipe.base else v for k, v in stage.fields.items()})
            for stage in recipe.stages
        )
        recipe = dataclasses.replace(recipe, base=model, stages=tuple(swapped))
    if data is not None:
        recipe = dataclasses.replace(recipe, data=data, notice="" if data != recipe.data else recipe.notice)
    return dataclasses.replace(recipe, seed=seed, seeds=recipe.seeds if seeds is None else seeds)


def to_json(recipe: Recipe) -> dict[str, Any]:
    """Return a recipe as plain values."""
    return dataclasses.asdict(recipe)


def from_json(values: Mapping[str, Any]) -> Recipe:
    """Return the recipe that ``to_json`` wrote; raises KeyError, TypeError or ValueError where it did not."""
    stages = tuple(Stage(**stage) for stage in values["stages"])
    for stage in stages:  # a directory of each: none may lead elsewhere
        if not re.fullmatch(r"\w[\w.-]*", stage.name):
            raise ValueError(f"a stage is called {stage.name!r}")
    return Recipe(**{**values, "stages": stages})
