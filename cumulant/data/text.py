"""Texts to learn from: documents, prompts with their completions, dialogues; loaded, tokenised, cut to length.

Every loader takes the name of an embedded set ("movie-snippets"), several of them ("movie-reviews+movie-snippets"), a path, or a
`datasets` object, and a part: "train" or "held-out". Formats: docs/language_models.md.

A prompt and its completion are tokenised apart and laid end to end, so that a model learns from exactly the tokens that it is
given when it has to write; the completion usually begins with a space.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from cumulant.data import snippets
from cumulant.data.chat import Message, messages_of, pieces, render_prompt
from cumulant.data.materials import MATERIALS
from cumulant.data.packing import TokenBatch as TokenBatch
from cumulant.data.packing import Tokens as Tokens
from cumulant.data.packing import batch_at as batch_at
from cumulant.data.packing import order as order
from cumulant.data.packing import pack as pack
from cumulant.data.packing import pad as pad
from cumulant.data.rows import Row, Split, read_rows
from cumulant.errors import DataError, did_you_mean

TooLong = Literal["error", "left"]


@dataclass(frozen=True)
class Example:
    """A prompt and what is to be said to it.

    Args:
        prompt: Given; "" where there is none. Of a dialogue, its last message before the reply.
        completion: To be learnt; of a dialogue, its last reply.
        messages: The whole dialogue; empty for plain text.
        where: File and line, for messages.
    """

    prompt: str
    completion: str
    messages: tuple[Message, ...] = ()
    where: str = field(default="", compare=False)


def load_documents(data: Any, split: Split = "train") -> list[str]:
    """Return texts for pre-training: column ``text``, or prompt and completion joined.

    Raises:
        DataError: If the data cannot be read, or have other columns (message names file, line and column).
        MaterialError: If an embedded set cannot be fetched.

    >>> load_documents([{"text": "one"}, {"prompt": "two", "completion": " three"}])
    ['one']
    """
    embedded: dict[str, Callable[[Split], list[str]]] = {
        "movie-snippets": lambda part: [snippet.text for snippet in snippets.snippets(part)],
        "movie-reviews": snippets.review_sentences,
        "movie-reviews-simple": snippets.simple_sentences,
    }
    if (names := embedded_names(data, embedded, "documents")) is not None:
        return [text for name in names for text in embedded[name](split)]
    found = []
    for row in read_rows(data, split):
        shape = row.shape("documents", ("text",), ("prompt", "completion"))
        found.append("".join(row.text(column) for column in shape))
    return found


def load_examples(data: Any, split: Split = "train") -> list[Example]:
    """Return examples for fine-tuning: prompt and completion, messages, text alone, or prompt and chosen of a pair.

    Of "movie-snippets" the prompt is the first 4 to 6 words, the completion what the human wrote after them.

    Raises:
        DataError: If the data cannot be read, or have other columns (message names file, line and column).
        MaterialError: If an embedded set cannot be fetched.

    >>> load_examples([{"prompt": "2 + 2 =", "completion": " 4"}, {"prompt": "1 + 1 =", "completion": " 2"}])
    [Example(prompt='1 + 1 =', completion=' 2', messages=(), where='list, row 2')]
    """
    if (names := embedded_names(data, ("movie-snippets",), "examples")) is not None:
        both = [snippet.parts() for _ in names for snippet in snippets.snippets(split)]
        return [Example(*parts) for parts in both if parts is not None]
    return [_example(row) for row in read_rows(data, split)]


def _example(row: Row) -> Example:
    shape = row.shape("examples", ("messages",), ("prompt", "completion"), ("prompt", "chosen"), ("text",))
    if shape == ("text",):
        return Example("", row.text("text"), where=row.where)
    if shape == ("messages",):
        messages = messages_of(row, "messages", last="assistant")
    elif isinstance(row.values["prompt"], str):
        return Example(row.text("prompt"), row.text(shape[1]), where=row.where)
    else:
        messages = messages_of(row, "prompt") + messages_of(row, shape[1], last="assistant")
    asked = [message["content"] for message in messages[:-1]]
    return Example(asked[-1] if asked else "", messages[-1]["content"], messages, row.where)


def load_prompts(data: Any, split: Split = "train", tokenizer: Any = None) -> list[str]:
    """Return prompts to write completions to, each once: column ``prompt``, dialogues up to the last reply, or lines of text.

    Of "movie-snippets" a held-out prompt is no beginning of a training text.

    Args:
        data: As of every loader.
        split: "train" or "held-out".
        tokenizer: Renders prompts that are messages, by its chat template.

    Raises:
        DataError: If the data cannot be read, have other columns, or need a tokenizer.
        MaterialError: If an embedded set cannot be fetched.
    """
    if (names := embedded_names(data, ("movie-snippets",), "prompts")) is not None:
        found = [example.prompt for example in load_examples("+".join(names), split)]
        if split == "held-out":  # a beginning that training texts have too was learned from
            begun = snippets.beginnings("train")
            found = [prompt for prompt in found if prompt not in begun]
    else:
        found = [_prompt(row, tokenizer) for row in read_rows(data, split)]
    return list(dict.fromkeys(found))


def _prompt(row: Row, tokenizer: Any) -> str:
    (column,) = row.shape("prompts", ("prompt",), ("messages",), ("text",))
    if column == "text" or isinstance(row.values[column], str):
        return row.text(column)
    messages = messages_of(row, column)
    while len(messages) > 1 and messages[-1]["role"] == "assistant":
        messages = messages[:-1]
    if tokenizer is None:
        raise DataError(f"{row.where}, column '{column}': holds messages, which need a tokenizer with a chat template")
    return render_prompt(messages, tokenizer, row.where)


def embedded_names(data: Any, allowed: Any, wanted: str) -> list[str] | None:
    """Return the names of embedded sets that ``data`` is; None where it is something else, such as a path.

    Raises:
        DataError: If there is such a set, and it does not have what is wanted; or if there is neither a set nor a path.
    """
    from pathlib import Path

    if not isinstance(data, str) or Path(data).expanduser().exists():
        return None
    names = data.split("+")
    for name in names:
        if name not in MATERIALS:
            known = [known for known in MATERIALS if known in allowed]
            raise DataError(
                f"no data '{data}': no file or folder of that name; of the embedded sets, {did_you_mean(name, known)}"
            )
        if name not in allowed:
            raise DataError(f"'{name}' has no {wanted}: use {', '.join(allowed)}, or data of your own")
    return names


# -- tokens ------------------------------------------------------------------------------------------------------------


def end_id(tokenizer: Any) -> int:
    """Return the token that ends a text.

    Raises:
        DataError: If the tokenizer has none.
    """
    if tokenizer.eos_token_id is None:
        raise DataError("the tokenizer has no end-of-text token (eos_token), so a model could not learn where to stop")
    return int(tokenizer.eos_token_id)


def pad_id(tokenizer: Any) -> int:
    """Return the token that fills rows: padding, or end-of-text where there is none (masks say what is padding)."""
    return end_id(tokenizer) if tokenizer.pad_token_id is None else int(tokenizer.pad_token_id)


def encode_prompt(tokenizer: Any, prompt: str) -> list[int]:
    """Return the tokens that a model is given before it writes; at least one.

    Where the tokenizer itself begins texts with a token, that is there (once: a chat template may have written it already). An
    empty prompt becomes the token that begins texts, or, in a tokenizer without, the one that ends them.
    """
    has_start = tokenizer.bos_token is not None and prompt.startswith(tokenizer.bos_token)
    ids = list(tokenizer(prompt, add_special_tokens=not has_start)["input_ids"])
    while ids and ids[-1] == tokenizer.eos_token_id and not prompt.endswith(tokenizer.eos_token):
        ids.pop()  # a tokenizer that also ends texts by itself
    return ids or [end_id(tokenizer) if tokenizer.bos_token_id is None else int(tokenizer.bos_token_id)]


def encode_completion(tokenizer: Any, completion: str) -> list[int]:
    """Return the tokens of a completion, end-of-text included; of an empty one, end-of-text alone."""
    return [*tokenizer(completion, add_special_tokens=False)["input_ids"], end_id(tokenizer)]


def tokenize_documents(documents: Sequence[str], tokenizer: Any, context: int) -> list[Tokens]:
    """Tokenise texts whole: begin-of-text, the text, end-of-text; every token but the first is to be predicted, once.

    A text longer than the context becomes several, each of which begins with the last token of the one before.

    Args:
        documents: Texts; empty ones are left out.
        tokenizer: With an end-of-text token.
        context: Most tokens of one piece, at least 2.
    """
    start, end = encode_prompt(tokenizer, ""), end_id(tokenizer)
    kept = [document for document in documents if document]
    found = []
    for inner in tokenizer(kept, add_special_tokens=False)["input_ids"] if kept else ():
        ids = np.array([*start, *inner, end], dtype=np.int32)
        for first in range(0, len(ids) - 1, context - 1):
            piece = ids[first : first + context]
            found.append(Tokens(piece, np.arange(len(piece)) > 0, first + context < len(ids)))
    return found


def tokenize_examples(
    examples: Sequence[Example], tokenizer: Any, context: int, too_long: TooLong = "error"
) -> list[Tokens]:
    """Tokenise examples: loss on the completion and its end-of-text, of a dialogue on everything that the assistant says.

    What does not fit is cut off the end, and end-of-text with it. A prompt that leaves no room for a completion is an error, or,
    with ``too_long="left"``, loses tokens at its beginning: half the context is kept of it, or more where the completion is
    shorter than that. An empty completion is end-of-text alone: a model learns to say nothing.

    Args:
        examples: From `load_examples`.
        tokenizer: With an end-of-text token, and for dialogues a chat template.
        context: Most tokens of an example.
        too_long: "error" or "left".

    Raises:
        DataError: If a prompt is too long, or the tokenizer lacks something (message names file and line).
    """
    return [
        _fitted(*_tokens_of(example, tokenizer), context, too_long, example.where or f"example {number}")
        for number, example in enumerate(examples, 1)
    ]


def _tokens_of(example: Example, tokenizer: Any) -> tuple[list[int], list[bool]]:
    if not example.messages:
        prompt, completion = encode_prompt(tokenizer, example.prompt), encode_completion(tokenizer, example.completion)
        return prompt + completion, [False] * len(prompt) + [True] * len(completion)
    ids: list[int] = []
    loss: list[bool] = []
    for text, is_reply in pieces(example.messages, tokenizer, example.where):
        piece = tokenizer(text, add_special_tokens=False)["input_ids"]
        ids += piece
        loss += [is_reply] * len(piece)
    if loss[-1] and ids[-1] != end_id(tokenizer):  # a template that writes no end-of-text
        ids.append(end_id(tokenizer))
        loss.append(True)
    if loss[0]:
        ids, loss = encode_prompt(tokenizer, "") + ids, [False, *loss]
    return ids, loss


def _fitted(ids: list[int], loss: list[bool], context: int, too_long: TooLong, where: str) -> Tokens:
    prompt = loss.index(True)
    if prompt >= context:
        if too_long == "error":
            raise DataError(
                f"{where}: the prompt has {prompt} tokens, which leaves nothing of the context of {context} for a completion: "
                "raise the context or shorten the prompt; fine-tuning can cut off its beginning (--too-long left)"
            )
        skipped = prompt - max(context // 2, context - (len(ids) - prompt))
        ids, loss = ids[skipped:], loss[skipped:]
    return Tokens(np.array(ids[:context], dtype=np.int32), np.array(loss[:context]), len(ids) > context)


def encode_prompts(prompts: Sequence[str], tokenizer: Any, most: int, too_long: TooLong = "error") -> list[list[int]]:
    """Tokenise prompts for generation.

    Args:
        prompts: From `load_prompts`.
        tokenizer: Of the model.
        most: Tokens that a prompt may have.
        too_long: What to do with a longer one: "error", or "left" to drop its beginning.

    Raises:
        DataError: If a prompt is too long (message shows how it begins).
    """
    found = []
    for prompt in prompts:
        ids = encode_prompt(tokenizer, prompt)
        if len(ids) > most and too_long == "error":
            raise DataError(
                f"the prompt that begins with {prompt[:40]!r} has {len(ids)} tokens, and {most} is the most that leaves room "
                "for an answer: shorten it, or have shorter answers written"
            )
        found.append(ids[-most:])
    return found
