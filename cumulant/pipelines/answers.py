"""What a model answers to the held-out prompts, measured under the models that did not make it.

Runs in a process of its own (see ``cumulant.worker``), because it loads models; its result is a file of plain numbers and texts,
which ``judgement`` reads. Axes: B answers, T tokens.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from cumulant.errors import RunError
from cumulant.training import threads

if TYPE_CHECKING:
    from cumulant.data.text import Example

_BATCH = 32


@dataclass(frozen=True)
class Texts:
    """Answers to be measured.

    Args:
        prompts: What was asked, B texts.
        completions: What was answered, B texts.
        stopped: Whether each ended by itself.
        moments: During a training: after how many updates each was written.
        rows: Of a model: the tokens that it read and those that it wrote, its end mark included.
    """

    prompts: list[str]
    completions: list[str]
    stopped: list[bool]
    moments: list[int] | None = None
    rows: list[tuple[list[int], list[int]]] | None = None


def write_answers(parts: Sequence[Mapping[str, Any]], say: Callable[[Mapping[str, float]], None]) -> None:
    """Carry out the parts of an order of ``judgement.orders``: each writes its ``target``.

    The file has for each answer: ``prompt``, ``completion``, ``tokens``, ``stopped``; ``fluency``, the log-probability per token
    under the base model; ``reward`` by the reward model; of a model's answers ``kl``, the log-probability under the model
    minus that under the reference, summed over the tokens that it wrote (not those that its text is cut into anew, which may be
    others): its mean over samples is the divergence from the reference in nats.
    """
    from cumulant.run.checkpoint import write_atomic

    models = _Models()
    for number, part in enumerate(parts):
        target = Path(part["target"])
        if not target.exists():
            with threads(int(part["threads"])), torch.no_grad():
                content = _measured(part, models)
            target.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(target, (json.dumps(content, allow_nan=False) + "\n").encode())
        say({"steps": number + 1, "total_steps": len(parts)})


class _Models:
    """Models that were opened, each once."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[Any, Any]] = {}

    def open(self, path: str) -> tuple[Any, Any]:
        """Return a language model and its tokenizer."""
        from cumulant.nn.causal_lm import load_model, share_equal

        if path not in self._known:
            model, tokenizer = load_model(path)
            for known, _ in self._known.values():
                share_equal(model, known)
            self._known[path] = model, tokenizer
        return self._known[path]


def _measured(order: Mapping[str, Any], models: _Models) -> dict[str, list[Any]]:
    from cumulant.engine.text_reward import TextReward

    base, tokenizer = models.open(order["base"])
    if order["kind"] == "model":
        texts = _written(order, models.open(order["model"])[0], tokenizer)
    else:
        texts = _human(order, tokenizer) if order["kind"] == "human" else _moments(order)

    rows = _tokens(tokenizer, texts, base.config.max_position_embeddings)
    fluency, tokens = _logp(base, rows), np.array([len(completion) for _, completion in rows])
    found: dict[str, list[Any]] = {"prompt": texts.prompts, "completion": texts.completions, "stopped": texts.stopped}
    found |= {"tokens": tokens.tolist(), "fluency": (fluency / tokens).tolist()}
    if texts.moments is not None:
        found["update"] = texts.moments
    if texts.rows is not None:
        own, reference = (_logp(models.open(order[name])[0], texts.rows) for name in ("model", "reference"))
        found["kl"] = (own - reference).tolist()
    if order["reward"] is not None:
        found["reward"] = np.asarray(TextReward.load(order["reward"]).score(texts.prompts, texts.completions)).tolist()
    return found


def _written(order: Mapping[str, Any], model: Any, tokenizer: Any) -> Texts:
    """Let the model answer the held-out prompts."""
    from cumulant.data.text import encode_prompt, load_prompts
    from cumulant.engine.generate import generate

    prompts = load_prompts(order["data"], "held-out", tokenizer)[: order["prompts"]]
    asked = [encode_prompt(tokenizer, prompt) for prompt in prompts]
    written = generate(
        model,
        asked,
        max_new_tokens=order["max_new_tokens"],
        eos_id=tokenizer.eos_token_id,
        generator=torch.Generator().manual_seed(order["seed"]),
    )
    completions = [tokenizer.decode(tokens, skip_special_tokens=True) for tokens in written.tokens()]
    new = written.ids[:, written.prompt_length :]
    wrote = [row[real].tolist() for row, real in zip(new, written.completion_mask)]
    return Texts(prompts, completions, written.stopped.tolist(), rows=list(zip(asked, wrote)))


def _human(order: Mapping[str, Any], tokenizer: Any) -> Texts:
    """Return what people wrote after the same prompts, in the same order; the first, where there are several."""
    from cumulant.data.text import load_examples, load_prompts

    examples = load_examples(order["data"], "held-out")
    said = {_asked(example, tokenizer): example.completion for example in reversed(examples)}
    prompts = [prompt for prompt in load_prompts(order["data"], "held-out", tokenizer) if prompt in said] or list(said)
    prompts = prompts[: order["prompts"]]
    return Texts(prompts, [said[prompt] for prompt in prompts], [True] * len(prompts))


def _asked(example: Example, tokenizer: Any) -> str:
    """Return the prompt of an example as ``load_prompts`` gives it."""
    from cumulant.data.chat import render_prompt

    messages = example.messages
    while len(messages) > 1 and messages[-1]["role"] == "assistant":
        messages = messages[:-1]
    return render_prompt(messages, tokenizer, example.where) if messages else example.prompt


def _moments(order: Mapping[str, Any]) -> Texts:
    """Return what a training wrote at some of its updates, evenly spread, the first and the last among them."""
    path = Path(order["run"]) / "samples.jsonl"
    try:
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        updates = sorted({int(row["iteration"]) for row in rows})
        places = np.unique(np.linspace(0, len(updates) - 1, order["moments"]).round().astype(int)).tolist()
        chosen = {updates[place] for place in places}
        rows = [row for row in rows if int(row["iteration"]) in chosen]
        return Texts(
            [str(row["prompt"]) for row in rows],
            [str(row["completion"]) for row in rows],
            [bool(row.get("stopped", True)) for row in rows],
            [int(row["iteration"]) + 1 for row in rows],
        )
    except (OSError, ValueError, KeyError, TypeError) as problem:
        raise RunError(f"{path} is damaged: {problem!r}") from problem


def _tokens(tokenizer: Any, texts: Texts, context: int) -> list[tuple[list[int], list[int]]]:
    """Return the tokens of each prompt and completion.

    People may have written more than the model reads: that is cut off. The end mark counts where the text ended by itself:
    to stop is part of what was said. So it does where nothing else was said.
    """
    from cumulant.data.text import encode_completion, encode_prompt

    rows = []
    for prompt, completion, stopped in zip(texts.prompts, texts.completions, texts.stopped):
        asked, ids = encode_prompt(tokenizer, prompt), encode_completion(tokenizer, completion)
        ids = ids if stopped or len(ids) == 1 else ids[:-1]
        rows.append((asked, ids[: context - len(asked)]))
    return rows


def _logp(model: Any, texts: Sequence[tuple[list[int], list[int]]]) -> np.ndarray:
    """Return the log-probability of each completion under a model, ``[B]`` nats, from the tokens of prompts and completions."""
    total = np.zeros(len(texts))
    by_length = sorted(range(len(texts)), key=lambda row: sum(map(len, texts[row])))
    for start in range(0, len(by_length), _BATCH):
        rows = by_length[start : start + _BATCH]
        width = max(sum(map(len, texts[row])) for row in rows)
        ids, mask = torch.zeros(len(rows), width, dtype=torch.int64), torch.zeros(len(rows), width, dtype=torch.bool)
        for place, row in enumerate(rows):
            both = torch.tensor([*texts[row][0], *texts[row][1]])
            ids[place, : len(both)], mask[place, : len(both)] = both, True
        first = torch.tensor([len(texts[row][0]) for row in rows])
        total[rows] = model.logp(ids, mask, first=first).sum(1).double().numpy()
    return total
