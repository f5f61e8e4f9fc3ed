"""Let people say which of two responses they prefer, one rater at a time, and keep what they say.

Answers are appended to a file line by line, so that a rater may stop at any moment and go on later, several may rate at the same
time, and nobody is asked the same pair twice. ``cumulant train reward_model FILE`` reads that file.
"""

from __future__ import annotations

import datetime
import fcntl
import hashlib
import itertools
import json
import os
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cumulant import group
from cumulant.data.materials import MATERIALS
from cumulant.data.rows import Row, read_all
from cumulant.errors import ConfigError, DataError, RunError, StorageError, UsageError
from cumulant.stats import mean_interval

ANSWERS = ("a", "b", "tie", "skip", "quit")
Answer = Callable[[str, str, str], str]
_Key = tuple[str, frozenset[str]]


@dataclass(frozen=True)
class Question:
    """Two different responses to a prompt, in the order of the file."""

    prompt: str
    first: str
    second: str

    @property
    def key(self) -> _Key:
        """What makes two questions the same: prompt and responses, whichever comes first."""
        return self.prompt, frozenset((self.first, self.second))

    def shown_to(self, rater: str) -> tuple[str, str]:
        """Return the responses in the order in which a rater sees them: random, and the same every time."""
        text = json.dumps([rater, self.prompt, sorted((self.first, self.second))])
        turned = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[0] & 1
        both = sorted((self.first, self.second))
        return (both[1], both[0]) if turned else (both[0], both[1])


def questions_of(data: Any) -> list[Question]:
    """Return every pair of different responses to every prompt: columns prompt and responses, or prompt, chosen, rejected.

    Raises:
        DataError: If the data cannot be read, have other columns, or hold no pair (message names file and line).
    """
    found: dict[_Key, Question] = {}
    for row in read_all(data):
        shape = row.shape("questions", ("prompt", "responses"), ("prompt", "chosen", "rejected"))
        responses = row.texts("responses") if "responses" in shape else [row.text(column) for column in shape[1:]]
        if len(responses) < 2:
            raise DataError(f"{row.where}, column 'responses': there must be at least 2, and there is {len(responses)}")
        for first, second in itertools.combinations(dict.fromkeys(responses), 2):
            question = Question(row.text("prompt"), first, second)
            found.setdefault(question.key, question)
    if not found:
        raise DataError(f"{data}: no prompt has two different responses, so there is nothing to compare")
    return list(found.values())


def rank(
    source: Path | str,
    answer: Answer,
    *,
    rater: str,
    out: Path | str = "preferences.jsonl",
    prompts: Any = None,
    count: int = 20,
    temperature: float = 1.0,
    max_new_tokens: int = 48,
    seed: int = 0,
    say: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Ask a rater about pairs of responses and append every answer to a file.

    Args:
        source: A file with prompts and responses, or the directory of a run or model, which then writes two responses to each
            of ``count`` prompts. These are kept beside ``out`` as ``NAME.responses.jsonl``, and taken from there next time.
        answer: Called with the prompt and the two responses; returns "a", "b", "tie", "skip" or "quit".
        rater: Who answers.
        out: File of the answers; those of this rater that are in it are not asked again.
        prompts: Data with prompts for a model; by default those that the run was trained on.
        count: How many prompts a model responds to.
        temperature: At which it does.
        max_new_tokens: Where a response is cut off.
        seed: Of the choice of prompts and of the responses.
        say: Receives a line about what is going on.

    Returns:
        ``file``, ``rater``, ``answered`` (now), ``left`` (questions for this rater), ``raters`` and ``agreement`` as `summary`
        gives them.

    Raises:
        UsageError: If there is no source, the rater has no name, or ``answer`` returns something else.
        DataError: If a file cannot be read as such (message names file and line).
        StorageError: If the disk refuses an answer; all before it are kept.
    """
    if not rater.strip():
        raise UsageError("a rater needs a name: --rater NAME")
    if count < 1:
        raise ConfigError(f"count = {count}: there must be at least one prompt")
    if temperature <= 0:
        raise ConfigError(
            f"temperature = {temperature}: it must be above 0, or both responses to a prompt are the same"
        )
    out, source = Path(out), Path(source)
    if _is_model(source):
        source = _written_by_model(source, out, prompts, count, temperature, max_new_tokens, seed, say)
    elif prompts is not None:
        raise UsageError(f"{source} is no run or model: prompts go with one, and a file brings its own")
    questions = questions_of(source)
    if out.exists() and source.exists() and out.samefile(source):
        raise UsageError(f"{out}: the answers need a file of their own; choose another --out")
    _mend(out)
    asked = {_question(row).key for row in _answers(out) if row.values.get("rater") == rater}
    todo = [question for question in questions if question.key not in asked]
    answered = 0
    for question in todo:
        shown = question.shown_to(rater)
        began = time.monotonic()
        given = answer(question.prompt, *shown)
        if given == "quit":
            break
        if given not in ANSWERS:
            raise UsageError(f"the answer '{given}' is none of {', '.join(ANSWERS)}")
        _append(out, _line(question.prompt, shown, given, rater, time.monotonic() - began))
        answered += 1
    return {
        "file": str(out),
        "rater": rater,
        "answered": answered,
        "left": len(todo) - answered,
        **summary(out),
    }


def summary(path: Path | str) -> dict[str, Any]:
    """Return what is in a file of answers.

    Returns:
        ``raters``: for each of them how many pairs were ``preferred``, called a ``tie`` and ``skipped``, and the fraction in
        which the response that was shown ``first`` was preferred (far from a half it says more of the place than of the text).
        ``agreement``: for every two raters, ``pairs`` that both judged and the fraction ``same`` with its 95 % interval
        ``low`` to ``high``; a tie against a preference counts half.
    """
    by_rater: dict[str, list[Row]] = {}
    for row in _answers(Path(path)):
        by_rater.setdefault(str(row.values.get("rater")), []).append(row)
    raters, votes = {}, {}
    for rater, rows in by_rater.items():
        judged = [row for row in rows if not row.flag("skip")]
        preferred = [row for row in judged if not row.flag("tie")]
        first = [row.values.get("first") == "chosen" for row in preferred]
        raters[rater] = {
            "preferred": len(preferred),
            "tie": len(judged) - len(preferred),
            "skipped": len(rows) - len(judged),
            "first": sum(first) / len(first) if first else None,
        }
        votes[rater] = {_question(row).key: "" if row.flag("tie") else row.text("chosen") for row in judged}
    agreement = []
    for one, other in itertools.combinations(sorted(votes), 2):
        shared = sorted(votes[one].keys() & votes[other].keys(), key=repr)
        same = [_same(votes[one][key], votes[other][key]) for key in shared]
        if same:
            mean, low, high = mean_interval(same) if len(same) > 1 else (same[0], float("nan"), float("nan"))
            limits = {"low": max(float(low), 0.0), "high": min(float(high), 1.0)} if low == low else {}
            agreement.append({"raters": [one, other], "pairs": len(same), "same": float(mean), **limits})
    return {"raters": raters, "agreement": agreement}


def _same(one: str, other: str) -> float:
    return 1.0 if one == other else 0.5 if "" in (one, other) else 0.0


# -- the file ----------------------------------------------------------------------------------------------------------


def _line(prompt: str, shown: tuple[str, str], given: str, rater: str, seconds: float) -> dict[str, Any]:
    chosen, rejected = (shown[1], shown[0]) if given == "b" else shown
    line: dict[str, Any] = {"prompt": prompt, "chosen": chosen, "rejected": rejected, "rater": rater}
    if given in ("tie", "skip"):
        line[given] = True
    else:
        line["first"] = "rejected" if given == "b" else "chosen"
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    return line | {"seconds": round(seconds, 1), "at": now}


def _append(path: Path, line: dict[str, Any]) -> None:
    """Append one line, whole or not at all, and bring it to the disk; raters may share the file."""
    payload = (json.dumps(line) + "\n").encode()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab", buffering=0) as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            before = os.fstat(file.fileno()).st_size
            try:
                if file.write(payload) != len(payload):
                    raise OSError(28, "No space left on device")
                os.fsync(file.fileno())
            except OSError:
                file.truncate(before)
                raise
    except OSError as problem:
        from cumulant.run.checkpoint import refused  # torch, for which nobody shall wait before the first question

        raise refused(path, problem) from problem


def _mend(path: Path) -> None:
    """Cut off a last line that a crash left without its end."""
    try:
        with path.open("r+b", buffering=0) as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            content = file.read()
            if content and not content.endswith(b"\n"):
                file.truncate(content.rfind(b"\n") + 1)
    except FileNotFoundError:
        return
    except OSError as problem:
        raise StorageError(f"{path} cannot be read and written: {problem.strerror}; choose another --out") from problem


def _answers(path: Path) -> Iterable[Row]:
    return read_all(path) if path.exists() and path.stat().st_size else []


def _question(row: Row) -> Question:
    row.shape("answers", ("prompt", "chosen", "rejected"))
    return Question(row.text("prompt"), row.text("chosen"), row.text("rejected"))


# -- responses of a model ----------------------------------------------------------------------------------------------


def _is_model(source: Path) -> bool:
    """Whether a source writes responses; anything else is data."""
    embedded = MATERIALS.get(str(source))
    if source.is_dir():
        return (source / "config.json").exists() or (source / "model").is_dir() or bool(group.seeds_of(source))
    return embedded is not None and embedded.kind == "model" and not source.exists()


def _written_by_model(
    run: Path,
    out: Path,
    prompts: Any,
    count: int,
    temperature: float,
    max_new_tokens: int,
    seed: int,
    say: Callable[[str], None],
) -> Path:
    """Let a model write two responses to each prompt, keep them beside the answers, and return that file."""
    from cumulant.run.checkpoint import write_atomic

    kept = out.with_name(f"{out.stem}.responses.jsonl")
    if kept.exists():
        say(f"taking the responses that are in {kept} already")
        return kept
    texts = _prompts_for(run, prompts)
    say(f"{run} writes two responses to each of {min(count, len(texts[0]))} prompts")
    rows = respond(run, *texts, count, temperature, max_new_tokens, seed)
    kept.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(kept, "".join(json.dumps(row) + "\n" for row in rows).encode())
    return kept


def _prompts_for(run: Path, prompts: Any) -> tuple[list[str], Any, Any]:
    """Return prompts, model and tokenizer."""
    from cumulant.data.text import load_prompts
    from cumulant.nn.causal_lm import load_model

    if prompts is None:
        try:
            prompts = group.read_spec(run)["env"]
        except RunError:
            raise UsageError(
                f"{run} is no run, so it has no prompts of its own: name some with --prompts DATA"
            ) from None
    seeds = list(group.members(run).values()) if group.seeds_of(run) else []
    model, tokenizer = load_model(seeds[0] if seeds else run)
    return load_prompts(prompts, "train", tokenizer), model, tokenizer


def respond(
    run: Path,
    prompts: Sequence[str],
    model: Any,
    tokenizer: Any,
    count: int,
    temperature: float,
    max_new_tokens: int,
    seed: int,
) -> list[dict[str, Any]]:
    """Return ``count`` prompts, chosen at random, each with two responses of a model."""
    import torch

    from cumulant.data.text import encode_prompts
    from cumulant.engine.generate import generate

    most = int(model.config.max_position_embeddings) - max_new_tokens
    chosen = [prompts[index] for index in np.random.default_rng(seed).permutation(len(prompts))[:count]]
    ids = encode_prompts(chosen, tokenizer, most, "left")
    generator = torch.Generator()
    generator.manual_seed(seed)
    written = generate(
        model,
        [tokens for tokens in ids for _ in range(2)],
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        eos_id=tokenizer.eos_token_id,
        generator=generator,
    )
    texts = [tokenizer.decode(tokens, skip_special_tokens=True) for tokens in written.tokens()]
    return [{"prompt": prompt, "responses": texts[2 * n : 2 * n + 2]} for n, prompt in enumerate(chosen)]
