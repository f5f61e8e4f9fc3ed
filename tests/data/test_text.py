"""Documents, examples, dialogues and prompts: what is loaded, which tokens are learnt, what happens to what is too long."""

import itertools
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cumulant.data import text
from cumulant.data.chat import PLAIN_TEMPLATE, pieces
from cumulant.data.text import (
    Example,
    load_documents,
    load_examples,
    load_prompts,
    tokenize_documents,
    tokenize_examples,
)
from cumulant.data.tokenizer import train_tokenizer
from cumulant.errors import DataError

CORPUS = ["the film is good. the film is bad! is it good? it is not bad"] * 3
CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + eos_token + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
FORGETFUL = (  # says of the last message that it is the last, and so of none that others follow
    "{% for m in messages %}{{ m['role'] + ('!' if loop.last else '.') + m['content'] }}{% endfor %}"
)
PROUD = (  # the same of replies only
    "{% for m in messages %}{{ m['content'] + ('!' if loop.last and m['role'] == 'assistant' else '.') }}{% endfor %}"
)


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(CORPUS, 320, chat_template=True)


def dialogue(*contents, first="user"):
    roles = ("user", "assistant") if first == "user" else ("assistant", "user")
    return tuple({"role": roles[n % 2], "content": content} for n, content in enumerate(contents))


def parts(rows):
    return {"train": rows, "held-out": rows}


# -- loading -----------------------------------------------------------------------------------------------------------


def test_documents_are_texts_or_prompts_with_what_follows():
    rows = [{"text": "one"}, {"prompt": "two", "completion": " three"}]
    assert load_documents(parts(rows)) == ["one", "two three"]


def test_examples_come_in_every_shape():
    chat = dialogue("hi", "hello", "how", "well")
    rows = [
        {"prompt": "p", "completion": " c"},
        {"prompt": "p", "chosen": " better", "rejected": " worse"},
        {"text": "t"},
        {"messages": chat},
        {"prompt": chat[:3], "completion": chat[3:]},
    ]
    assert load_examples(parts(rows)) == [
        Example("p", " c"),
        Example("p", " better"),
        Example("", "t"),
        Example("how", "well", chat),
        Example("how", "well", chat),
    ]


def test_prompts_come_once_and_in_order(tokenizer):
    rows = [{"prompt": "b"}, {"prompt": "a", "completion": "x"}, {"prompt": "b"}, {"text": "c"}]
    assert load_prompts(parts(rows)) == ["b", "a", "c"]
    chat = dialogue("hi", "hello", "how", "well")
    with pytest.raises(DataError, match=r"row 1, column 'messages': holds messages, which need a tokenizer"):
        load_prompts(parts([{"messages": chat}]))
    (prompt,) = load_prompts(parts([{"messages": chat}]), tokenizer=tokenizer)
    assert prompt == "<|startoftext|>User: hi\nAssistant: hello<|endoftext|>\nUser: how\nAssistant:"
    assert load_prompts(parts([{"prompt": chat[:3]}]), tokenizer=tokenizer) == [prompt]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            {"prompt": "p", "completon": "c"},
            "examples need messages, or prompt and completion, .* 'completon' looks like",
        ),
        ({"prompt": "p", "completion": 3}, "column 'completion': must be a text, and is 3"),
        ({"messages": []}, "column 'messages': must be a list of messages"),
        ({"messages": "hi"}, "column 'messages': must be a list of messages"),
        ({"messages": [{"role": "user"}]}, "column 'messages': message 1 needs 'content'"),
        ({"messages": dialogue("hi")}, "the last message must be of role 'assistant', and is of 'user'"),
    ],
)
def test_a_row_that_is_no_example_is_named(tmp_path, row, message):
    path = tmp_path / "train.jsonl"
    path.write_text(json.dumps({"text": "fine"}) + "\n" + json.dumps(row) + "\n")
    (tmp_path / "test.jsonl").write_text('{"text": "fine"}\n')
    with pytest.raises(DataError, match=f"train.jsonl, line 2.*{message}"):
        load_examples(tmp_path)


def test_what_is_neither_a_set_nor_a_file_is_met_with_the_closest():
    with pytest.raises(DataError, match=r"no data 'movie-snipets': .* did you mean 'movie-snippets'"):
        load_examples("movie-snipets")
    with pytest.raises(DataError, match="'movie-reviews' has no examples: use movie-snippets"):
        load_examples("movie-reviews")
    with pytest.raises(DataError, match="did you mean"):
        load_documents("movie-reviews+movie-snipets")


# -- tokens ------------------------------------------------------------------------------------------------------------


@given(st.text(max_size=30), st.text(max_size=30))
def test_a_model_learns_from_the_tokens_that_it_is_given_when_it_writes(prompt, completion):
    tokenizer = train_once()
    (made,) = tokenize_examples([Example(prompt, completion)], tokenizer, 500)
    given_ids = text.encode_prompt(tokenizer, prompt)
    assert made.ids[: len(given_ids)].tolist() == given_ids
    assert made.loss.tolist() == [False] * len(given_ids) + [True] * (len(made.ids) - len(given_ids))
    assert made.ids[-1] == tokenizer.eos_token_id
    assert tokenizer.decode(made.ids[made.loss][:-1]) == completion
    assert not made.is_cut


def train_once(cache=[]):  # noqa: B006 - hypothesis asks for it a hundred times
    if not cache:
        cache.append(train_tokenizer(CORPUS, 320))
    return cache[0]


@given(st.lists(st.text("abc ", min_size=1, max_size=40), max_size=6), st.integers(2, 9))
def test_every_token_of_a_document_is_predicted_once_from_those_before_it(documents, context):
    tokenizer = train_once()
    found = tokenize_documents(documents, tokenizer, context)
    assert all(2 <= len(piece.ids) <= context and not piece.loss[0] and piece.loss[1:].all() for piece in found)
    predicted = [int(token) for piece in found for token in piece.ids[1:]]
    whole = [
        token
        for document in documents
        for token in [*tokenizer(document, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
    ]
    assert predicted == whole
    for before, after in itertools.pairwise(found):
        assert (after.ids[0] == before.ids[-1]) if before.is_cut else (after.ids[0] == tokenizer.bos_token_id)


def test_a_long_completion_loses_its_end(tokenizer):
    example = Example("the film", " is good" * 10)
    (whole,) = tokenize_examples([example], tokenizer, 100)
    (cut,) = tokenize_examples([example], tokenizer, 8)
    assert cut.ids.tolist() == whole.ids[:8].tolist()
    assert cut.loss.tolist() == whole.loss[:8].tolist()
    assert cut.is_cut
    assert tokenizer.eos_token_id not in cut.ids


def test_a_long_prompt_is_an_error_or_loses_its_beginning(tokenizer):
    example = Example("the film is good. " * 5, " bad", where="a.jsonl, line 7")
    (whole,) = tokenize_examples([example], tokenizer, 100)
    prompt = int((~whole.loss).sum())
    completion = len(whole.ids) - prompt
    assert prompt > 10
    with pytest.raises(
        DataError, match=rf"a.jsonl, line 7: the prompt has {prompt} tokens, .* context of 10 .*--too-long left"
    ):
        tokenize_examples([example], tokenizer, 10)
    with pytest.raises(DataError, match="leaves nothing of the context"):
        tokenize_examples([example], tokenizer, prompt)
    (least,) = tokenize_examples([example], tokenizer, prompt + 1)
    assert (int(least.loss.sum()), least.is_cut) == (1, True)
    (cut,) = tokenize_examples([example], tokenizer, 10, too_long="left")
    assert cut.ids.tolist() == whole.ids[-10:].tolist()
    assert int(cut.loss.sum()) == completion
    assert not cut.is_cut
    long = Example(example.prompt, " is bad" * 20)
    (both,) = tokenize_examples([long], tokenizer, 10, too_long="left")
    (uncut,) = tokenize_examples([long], tokenizer, 500)
    assert both.ids.tolist() == uncut.ids[prompt - 5 : prompt + 5].tolist()  # half and half
    assert both.is_cut


def test_an_empty_completion_is_the_end_of_text_alone(tokenizer):
    (made,) = tokenize_examples([Example("the film", "")], tokenizer, 20)
    assert made.ids[made.loss].tolist() == [tokenizer.eos_token_id]


def test_an_empty_prompt_is_the_token_that_begins_texts(tokenizer):
    assert text.encode_prompt(tokenizer, "") == [tokenizer.bos_token_id]
    bare = train_tokenizer(CORPUS, 320)
    bare.bos_token = None
    bare.backend_tokenizer.post_processor = None
    assert text.encode_prompt(bare, "") == [bare.eos_token_id]
    assert text.encode_prompt(bare, "the") == bare("the")["input_ids"]


def test_a_tokenizer_without_end_or_padding(tokenizer):
    bare = train_tokenizer(CORPUS, 320)
    bare.pad_token = None
    assert text.pad_id(bare) == bare.eos_token_id
    assert text.pad_id(tokenizer) == tokenizer.pad_token_id != tokenizer.eos_token_id
    bare.eos_token = None
    with pytest.raises(DataError, match="no end-of-text token"):
        tokenize_examples([Example("the", " film")], bare, 20)


def test_a_start_token_that_the_text_has_is_not_written_again(tokenizer):
    once = text.encode_prompt(tokenizer, "<|startoftext|>User: hi\n")
    assert once == text.encode_prompt(tokenizer, "User: hi\n")
    assert once.count(tokenizer.bos_token_id) == 1


def test_prompts_for_generation_have_a_limit(tokenizer):
    long, short = "the film is good. " * 5, "the film"
    ids = [text.encode_prompt(tokenizer, prompt) for prompt in (long, short)]
    assert text.encode_prompts([long, short], tokenizer, 100) == ids
    assert text.encode_prompts([long, short], tokenizer, 4, "left") == [ids[0][-4:], ids[1][-4:]]
    with pytest.raises(DataError, match=r"begins with 'the film is good\. .* has \d+ tokens, and 4 is the most"):
        text.encode_prompts([long, short], tokenizer, 4)


# -- dialogues ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("template", [PLAIN_TEMPLATE, CHATML])
@given(st.lists(st.text(max_size=12), min_size=2, max_size=6))
def test_of_a_dialogue_exactly_what_the_assistant_says_is_learnt(template, contents):
    tokenizer = train_once()
    messages = dialogue(*contents)
    if messages[-1]["role"] != "assistant":
        messages = messages[:-1]
    whole = tokenizer.apply_chat_template(list(messages), tokenize=False, chat_template=template)
    tokenizer.chat_template = template
    (made,) = tokenize_examples([Example("", "", messages)], tokenizer, 10_000)
    assert "".join(piece for piece, _ in pieces(messages, tokenizer)) == whole
    assert tokenizer.decode(made.ids, clean_up_tokenization_spaces=False) == whole
    runs = np.flatnonzero(np.diff(np.concatenate([[0], made.loss.astype(int), [0]])))
    said = [tokenizer.decode(made.ids[start:stop]) for start, stop in runs.reshape(-1, 2)]
    replies = [message["content"] for message in messages if message["role"] == "assistant"]
    space = " " if template == PLAIN_TEMPLATE else ""
    assert said == [space + reply + tokenizer.eos_token for reply in replies]


def test_the_tokens_before_a_reply_are_those_of_its_prompt(tokenizer):
    messages = dialogue("the film?", "it is good", "not bad?", "it is")
    (made,) = tokenize_examples([Example("", "", messages)], tokenizer, 500)
    (prompt,) = load_prompts(parts([{"messages": messages}]), tokenizer=tokenizer)
    last_reply = int(np.flatnonzero(np.diff(made.loss.astype(int)) == 1)[-1]) + 1
    assert made.ids[:last_reply].tolist() == text.encode_prompt(tokenizer, prompt)


def test_a_dialogue_that_the_assistant_begins_has_something_before_it(tokenizer):
    bare = train_tokenizer(CORPUS, 320)
    bare.chat_template = "{% for m in messages %}{{ m['content'] }}{% endfor %}"
    (made,) = tokenize_examples([Example("", "", dialogue("hello", first="assistant"))], bare, 50)
    assert made.loss.tolist()[0] is False
    assert made.ids[0] == bare.bos_token_id
    assert made.ids[-1] == bare.eos_token_id  # which this template forgets
    assert made.loss[-1]


@pytest.mark.parametrize("template", [FORGETFUL, PROUD])
def test_a_template_that_rewrites_earlier_turns_is_refused(template):
    bare = train_tokenizer(CORPUS, 320)
    bare.chat_template = template
    with pytest.raises(
        DataError, match=r"a.jsonl, line 3: the chat template writes message 2 differently once others follow"
    ):
        pieces(dialogue("a", "b", "c", "d"), bare, "a.jsonl, line 3")


def test_a_tokenizer_without_template_and_a_template_that_refuses_are_named():
    bare = train_tokenizer(CORPUS, 320)
    with pytest.raises(DataError, match="the tokenizer has no chat template: use columns prompt and completion"):
        pieces(dialogue("a", "b"), bare, "a.jsonl, line 3")
    bare.chat_template = "{{ raise_exception('no system here') }}"
    with pytest.raises(DataError, match=r"line 3: the chat template refuses these messages \(no system here\)"):
        pieces(dialogue("a", "b"), bare, "a.jsonl, line 3")
    bare.chat_template = PLAIN_TEMPLATE
    with pytest.raises(DataError, match="no message is of role 'assistant'"):
        pieces(dialogue("a"), bare, "a.jsonl, line 3")
