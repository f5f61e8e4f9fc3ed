"""Dialogues through a tokenizer's own chat template, with exact borders between what is given and what is to be said.

A dialogue is rendered once, then cut where each reply of the assistant begins and ends, and the pieces are tokenised one by one.
So no token crosses a border, and the tokens before a reply are those that a model is given when it has to write that reply.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cumulant.data.rows import Row
from cumulant.errors import DataError

Message = Mapping[str, str]

PLAIN_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'assistant' %}"
    "{{ 'Assistant: ' + message['content'] + eos_token + '\n' }}"
    "{% else %}{{ message['role'] | capitalize + ': ' + message['content'] + '\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
)
"""A chat template in plain words, for tokenizers that have none: ``User: ...``, ``Assistant: ...`` and end-of-text.

A reply begins with its space: the tokens of "Assistant:" are then the same whether or not a reply follows."""


def messages_of(row: Row, column: str, last: str | None = None) -> tuple[Message, ...]:
    """Return a column that must be a list of messages.

    Args:
        row: The row.
        column: Of the row.
        last: Role that the last message must have; any for None.

    Raises:
        DataError: If it is not (message names file, line, column and message).
    """
    given = row.values[column]
    if not isinstance(given, Sequence) or isinstance(given, str) or not given:
        raise row.wrong(column, 'a list of messages such as {"role": "user", "content": "..."}')
    for number, message in enumerate(given, 1):
        for key in ("role", "content"):
            if not isinstance(message, Mapping) or not isinstance(message.get(key), str):
                raise DataError(f"{row.where}, column '{column}': message {number} needs '{key}', a text")
    if last is not None and given[-1]["role"] != last:
        raise DataError(
            f"{row.where}, column '{column}': the last message must be of role '{last}', and is of '{given[-1]['role']}'"
        )
    return tuple({"role": message["role"], "content": message["content"]} for message in given)


def render_prompt(messages: Sequence[Message], tokenizer: Any, where: str = "") -> str:
    """Return the text that a model is given to reply to a dialogue.

    Raises:
        DataError: If the tokenizer has no chat template, or its template refuses the messages.
    """
    return _rendered(messages, tokenizer, where, True)


def pieces(messages: Sequence[Message], tokenizer: Any, where: str = "") -> list[tuple[str, bool]]:
    """Cut a rendered dialogue into what is given and what the assistant says, in turn.

    A reply ends with the end-of-text token that the template writes after it; what the template adds behind that, such as a
    line break, belongs to the next piece and is not learnt.

    Args:
        messages: Any roles; at least one of the assistant.
        tokenizer: With a chat template.
        where: File and line, for messages.

    Returns:
        Texts, and whether each is a reply; one after another they are the whole dialogue.

    Raises:
        DataError: If the tokenizer has no chat template, the template refuses the messages, or it renders a turn differently
            once others follow, so that borders cannot be found.
    """
    whole = _rendered(messages, tokenizer, where, False)
    found, position = [], 0
    for number, message in enumerate(messages):
        if message["role"] != "assistant":
            continue
        before = _rendered(messages[:number], tokenizer, where, True) if number else ""
        after = _rendered(messages[: number + 1], tokenizer, where, False)
        if len(before) < position or not (whole.startswith(before) and whole.startswith(after)):
            raise DataError(
                f"{where}: the chat template writes message {number + 1} differently once others follow, so what the assistant "
                "says cannot be told from the rest: keep one reply a dialogue, or give the tokenizer another chat template"
            )
        end = after.rfind(tokenizer.eos_token or "\0", len(before))
        end = len(after) if end < 0 else end + len(tokenizer.eos_token)
        found += [(whole[position : len(before)], False), (whole[len(before) : end], True)]
        position = end
    if not found:
        raise DataError(f"{where}: no message is of role 'assistant', so there is nothing to learn")
    found.append((whole[position:], False))
    return [piece for piece in found if piece[0]]


def _rendered(messages: Sequence[Message], tokenizer: Any, where: str, prompt: bool) -> str:
    if not getattr(tokenizer, "chat_template", None):
        raise DataError(
            f"{where}: has messages, and the tokenizer has no chat template: use columns prompt and completion, or a model "
            "whose tokenizer has one"
        )
    import jinja2

    try:
        return tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=prompt)
    except jinja2.TemplateError as problem:
        raise DataError(f"{where}: the chat template refuses these messages ({problem})") from problem
