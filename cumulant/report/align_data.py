"""What judgement.json holds, typed: models, judges, stages, curves. `align_load` makes them of the file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cumulant.report.evaluation import Column, Evaluation, Measure


@dataclass(frozen=True)
class Model:
    """One model that was judged: by which stage it was made, and with which beta, where it has one."""

    name: str
    label: str
    stage: str
    beta: float | None
    figures: Mapping[str, Measure]


@dataclass(frozen=True)
class Answer:
    """What a model wrote after a prompt; ``accepted`` says whether it satisfies the rule, None where it is not said."""

    text: str
    accepted: bool | None
    reward: float | None


@dataclass(frozen=True)
class Prompt:
    """A held-out prompt, how the human text went on, and the answers by model."""

    text: str
    human: str
    answers: Mapping[str, Answer]


@dataclass(frozen=True)
class Judge:
    """An independent judge, with its accuracy on held-out human pairs."""

    name: str
    label: str
    what: str
    accuracy: Measure | None


@dataclass(frozen=True)
class Stage:
    """One stage: how long it took, how many human labels or texts it used, what it does."""

    name: str
    algo: str
    seconds: float | None
    labels: float | None
    what: str
    figures: Mapping[str, tuple[Measure, Column]]


@dataclass(frozen=True)
class Moment:
    """A policy at some update: proxy reward, distance from SFT, share of good answers, and one of them."""

    update: float
    reward: float | None
    kl: float | None
    good: Measure | None
    accepted: Measure | None
    fluency: Measure | None
    prompt: str
    completion: str


@dataclass(frozen=True)
class BetaCurve:
    """A training at one beta: metrics by update, and moments that were judged."""

    name: str
    beta: float | None
    seed: int | None
    updates: Mapping[str, tuple[float | None, ...]]
    moments: tuple[Moment, ...]

    @property
    def label(self) -> str:
        """What it is called in figures."""
        return self.name if self.beta is None else f"beta {self.beta:g}"

    def column(self, key: str) -> tuple[list[float], list[float]]:
        """Return updates and values of a metric, where both are known."""
        pairs = zip(self.updates.get("update", ()), self.updates.get(key, ()))
        known = [(x, y) for x, y in pairs if x is not None and y is not None]
        return [x for x, _ in known], [y for _, y in known]


def _end(end: float | None, mean: float) -> float:
    return mean if end is None else end


@dataclass(frozen=True)
class AlignData:
    """An alignment: everything that its report shows.

    Args:
        path: Its directory.
        preset: Which one was run.
        base: The model it began with.
        data: ``name``, ``licence``, ``citation``, ``task``.
        notice: What must be said wherever results are shown.
        seeds: Seeds that it was run with.
        seconds: Wall seconds of all.
        prompts: Held-out prompts that every model answered.
        rule: Its sentence.
        limits: Thresholds of the rule.
        judges: Independent judges.
        ceiling: How often people agree with people.
        models: In the order of the file.
        samples: The same prompts under each model.
        stages: In the order of the file.
        contrast: Rows of the table SFT | RLHF: title, SFT's cell, RLHF's cell.
        curves: Trainings with PPO, a higher beta first.
        reward_model: Evaluation of the reward model's run; None where that is not there.
        problems: What was missing or left out.
    """

    path: Path
    preset: str
    base: str
    data: Mapping[str, str]
    notice: str
    seeds: tuple[int, ...]
    seconds: float | None
    prompts: int | None
    rule: str
    limits: Mapping[str, float]
    judges: tuple[Judge, ...]
    ceiling: Measure | None
    models: tuple[Model, ...]
    samples: tuple[Prompt, ...]
    stages: tuple[Stage, ...]
    contrast: tuple[tuple[str, str, str], ...]
    curves: tuple[BetaCurve, ...]
    reward_model: Evaluation | None
    problems: tuple[str, ...]

    @property
    def title(self) -> str:
        """What it is."""
        return f"Alignment of {self.base}" + (f" on {self.data['name']}" if self.data.get("name") else "")

    @property
    def tuned(self) -> tuple[Model, ...]:
        """The models that PPO made, a higher beta first."""
        algos = {stage.name: stage.algo for stage in self.stages}
        made = (model for model in self.models if algos.get(model.stage) in ("rlhf", "grpo"))
        return tuple(sorted(made, key=lambda model: -(model.beta or 0.0)))

    @property
    def best(self) -> Model | None:
        """The one of them that the independent judges prefer most under the rule; without judges the one held closest."""
        scored = [(score, model) for model in self.tuned if (score := self.score(model)) is not None]
        return max(scored, key=lambda pair: pair[0])[1] if scored else next(iter(self.tuned), None)

    @property
    def loosest(self) -> Model | None:
        """The model with the smallest beta, where that is another one than ``best``."""
        last = self.tuned[-1] if self.tuned else None
        return None if last is self.best else last

    @property
    def over_optimised(self) -> bool:
        """Whether the model with the smallest beta has more reward than the best one, and pleases every judge clearly less.

        Clearly: its interval lies beneath the other one.
        """
        best, last = self.best, self.loosest
        if best is None or last is None or not {"reward"} <= best.figures.keys() & last.figures.keys():
            return False
        keys = [f"win_{judge.name}" for judge in self.judges]
        pairs = [(last.figures[key], best.figures[key]) for key in keys if key in last.figures and key in best.figures]
        worse = [_end(one.high, one.mean) < _end(other.low, other.mean) for one, other in pairs]
        return last.figures["reward"].mean > best.figures["reward"].mean and bool(worse) and all(worse)

    def score(self, model: Model) -> float | None:
        """Return a model's mean share of wins over the independent judges, under the rule; None without any."""
        known = [model.figures[f"win_{j.name}"].mean for j in self.judges if f"win_{j.name}" in model.figures]
        return sum(known) / len(known) if known else None

    def model(self, name: str) -> Model | None:
        """Return a model by its name."""
        return next((model for model in self.models if model.name == name), None)

    def stage(self, algo: str) -> Stage | None:
        """Return the first stage of an algorithm."""
        return next((stage for stage in self.stages if stage.algo == algo), None)

    @property
    def accuracy(self) -> Measure | None:
        """How often the reward model agrees with people on held-out pairs: a share from 0 to 1."""
        stage = self.stage("reward_model")
        known = (
            sorted((key for key in stage.figures if "accuracy" in key), key=lambda key: key != "accuracy")
            if stage
            else []
        )
        if stage is None or not known:
            return None
        measure, column = stage.figures[known[0]]
        scale = 0.01 if column.unit == "%" else 1.0
        ends = [None if end is None else scale * end for end in (measure.low, measure.high)]
        return Measure(scale * measure.mean, *ends)
