"""Align directories, read: judgement.json checked and typed; it may come from a stranger, or be damaged.

What does not have the shape it should have is left out, and a note says so; only a directory without any judgement is
an error. Strings are freed of control characters here, and escaped where they are printed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from cumulant.errors import CumulantError, RunError
from cumulant.report.align_data import AlignData, Answer, BetaCurve, Judge, Model, Moment, Prompt, Stage
from cumulant.report.evaluation import Evaluation, Measure
from cumulant.report.load import load
from cumulant.report.parsing import LONGEST_TEXT, MOST_POINTS, MOST_ROWS, Parts, _list, _object
from cumulant.report.parsing import _figures as stage_figures
from cumulant.report.wording import number, plain, plain_lines

PLAN_FILE, JUDGEMENT_FILE = "align.json", "judgement.json"
MOST_MODELS, MOST_PROMPTS = 24, 60

T = TypeVar("T")


def is_align(path: Path) -> bool:
    """Return whether a directory is one of an alignment."""
    return (path / PLAN_FILE).is_file() or (path / JUDGEMENT_FILE).is_file()


def load_align(path: str | Path) -> AlignData:
    """Read an align directory.

    Args:
        path: Directory with a ``judgement.json``.

    Raises:
        RunError: If it has none yet, or one that is torn.
    """
    place = Path(path)
    file, shown = place / JUDGEMENT_FILE, plain(str(place), 500)
    if not file.is_file():
        raise RunError(f"'{shown}' has no {JUDGEMENT_FILE} yet: `cumulant resume {shown}` goes on with its stages")
    try:
        raw = json.loads(file.read_text(encoding="utf-8", errors="replace"))
    except (OSError, ValueError, RecursionError) as problem:
        reason = plain(str(problem), 200)
        raise RunError(
            f"'{shown}/{JUDGEMENT_FILE}' is damaged ({reason}): delete it, and `cumulant resume {shown}` judges again"
        ) from problem
    if not isinstance(raw, dict) or raw.get("kind") != "align":
        raise RunError(f"'{shown}/{JUDGEMENT_FILE}' is no judgement of models: its kind is not \"align\"")
    return parse_judgement(raw, place)


def parse_judgement(raw: Mapping[str, Any], place: Path) -> AlignData:
    """Check a judgement and give its parts types.

    Args:
        raw: What ``judgement.json`` held.
        place: The directory it stands for.
    """
    parts = Parts(raw, JUDGEMENT_FILE)
    part, many = parts.one, parts.many
    nothing: Mapping[str, Any] = {}
    rule, data = part("rule", _object, nothing), part("data", _object, nothing)
    listed = part("seeds", lambda items: list(_list(items)), [raw.get("seed")])
    seeds = tuple(int(seed) for seed in map(number, listed) if seed is not None)
    curves = sorted(many("curves", _curve), key=lambda curve: -(curve.beta or 0.0))
    stages = many("stages", _stage)
    return AlignData(
        path=place,
        preset=plain(raw.get("preset") or "", 60),
        base=plain(raw.get("base") or "?", 120),
        data={plain(k, 40): plain(v, 600) for k, v in data.items() if v is not None},
        notice=plain(raw.get("notice") or "", 600),
        seeds=seeds[:100],
        seconds=number(raw.get("seconds")),
        prompts=None if (count := number(raw.get("prompts"))) is None else int(count),
        rule=_sentence(plain(rule.get("text") or "", 600)),
        limits={plain(key, 40): value for key, each in rule.items() if (value := number(each)) is not None},
        judges=many("judges", _judge, 6),
        ceiling=_figure(raw.get("ceiling")),
        models=many("models", _model, MOST_MODELS),
        samples=many("samples", _prompt, MOST_PROMPTS),
        stages=stages,
        contrast=part(
            "contrast", lambda value: tuple(map(_contrast, _list(_object(value).get("rows"))[:MOST_ROWS])), ()
        ),
        curves=tuple(curves),
        reward_model=_reward_model(place, stages, seeds, parts.problems),
        problems=tuple(parts.problems),
    )


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + ("" if not text or text[-1] in ".!?" else ".")


def _figure(value: object) -> Measure | None:
    """A Figure of the file, or a bare number; None when there is no number."""
    entry = value if isinstance(value, Mapping) else {"value": value}
    mean, low, high = (number(entry.get(key)) for key in ("value", "low", "high"))
    if mean is None:
        return None
    return Measure(mean) if low is None or high is None else Measure(mean, low, high)


def _figures(value: object) -> dict[str, Measure]:
    found = {plain(key, 60): _figure(each) for key, each in list(_object(value or {}).items())[:MOST_ROWS]}
    return {key: measure for key, measure in found.items() if measure is not None}


def _model(raw: object) -> Model:
    entry = _object(raw)
    name = plain(entry.get("name", ""), 60)
    label, stage = plain(entry.get("label") or name, 40), plain(entry.get("stage") or "", 60)
    return Model(name, label[:1].upper() + label[1:], stage, number(entry.get("beta")), _figures(entry.get("figures")))


def _judge(raw: object) -> Judge:
    entry = _object(raw)
    name = plain(entry.get("name", ""), 40)
    label = plain(entry.get("label") or name.replace("_", " "), 40)
    return Judge(name, label, plain(entry.get("what") or "", 300), _figure(entry.get("accuracy")))


def _prompt(raw: object) -> Prompt:
    entry = _object(raw)
    answers = {}
    for name, each in list(_object(entry.get("answers") or {}).items())[:MOST_MODELS]:
        answer = _object(each)
        accepted = answer.get("accepted")
        answers[plain(name, 60)] = Answer(
            plain_lines(answer.get("text") or "", LONGEST_TEXT),
            accepted if isinstance(accepted, bool) else None,
            number(answer.get("reward")),
        )
    text, human = (plain_lines(entry.get(key) or "", LONGEST_TEXT) for key in ("prompt", "human"))
    return Prompt(text, human, answers)


def _stage(raw: object) -> Stage:
    entry = _object(raw)
    name, algo, what = (plain(entry.get(key) or "", most) for key, most in (("name", 60), ("algo", 60), ("what", 300)))
    return Stage(
        name,
        algo,
        number(entry.get("seconds")),
        number(entry.get("labels")),
        what,
        stage_figures(entry.get("figures") or {}),
    )


def _contrast(raw: object) -> tuple[str, str, str]:
    entry = _object(raw)
    return plain(entry.get("title") or "", 60), plain(entry.get("sft") or "", 400), plain(entry.get("rlhf") or "", 400)


def _curve(raw: object) -> BetaCurve:
    entry = _object(raw)
    columns = {}
    for key, values in list(_object(entry.get("updates") or {}).items())[:MOST_ROWS]:
        columns[plain(key, 40)] = tuple(number(value) for value in _list(values)[:MOST_POINTS])
    moments = [_moment(each) for each in _list(entry.get("moments") or [])[:MOST_ROWS]]
    seed = number(entry.get("seed"))
    return BetaCurve(
        plain(entry.get("name", ""), 60),
        number(entry.get("beta")),
        None if seed is None else int(seed),
        columns,
        tuple(sorted((each for each in moments if each is not None), key=lambda moment: moment.update)),
    )


def _moment(raw: object) -> Moment | None:
    entry = _object(raw)
    update = number(entry.get("update"))
    if update is None:
        return None
    sample = _object(entry.get("sample") or {})
    prompt, completion = (plain_lines(sample.get(key) or "", LONGEST_TEXT) for key in ("prompt", "completion"))
    good, accepted, fluency = (_figure(entry.get(key)) for key in ("good", "accepted", "fluency"))
    return Moment(
        update, number(entry.get("reward")), number(entry.get("kl")), good, accepted, fluency, prompt, completion
    )


def _reward_model(
    place: Path, stages: tuple[Stage, ...], seeds: tuple[int, ...], problems: list[str]
) -> Evaluation | None:
    """The evaluation of the reward model's own run: a directory in this one, whatever the file calls it."""
    name = next((stage.name for stage in stages if stage.algo == "reward_model"), "reward_model")
    if name in ("", ".", "..") or Path(name).name != name:  # it may name no other place
        return None
    found = next(
        (
            each
            for each in (place / name, *(place / f"seed_{seed}" / name for seed in seeds[:1]))
            if (each / "config.json").is_file()
        ),
        None,
    )
    if found is None:
        return None
    try:
        return load(found).evaluation
    except CumulantError as problem:
        problems.append(f"the run of the reward model is left out: {problem}")
        return None
