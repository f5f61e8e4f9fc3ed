"""A trained tokenizer writes every text, is the same every time, and loads anywhere."""

import json
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cumulant.data.tokenizer import END, PAD, START, train_tokenizer
from cumulant.errors import ConfigError

CORPUS = [
    f"The film number {n} is {word}, and it's {word} again." for n in range(40) for word in ("good", "bad", "long")
]
TRAINED = train_tokenizer(CORPUS, 400)


@given(st.text())
def test_every_text_comes_back(text):
    ids = TRAINED(text, add_special_tokens=False)["input_ids"]
    if not any(special in text for special in (START, END, PAD)):
        assert TRAINED.decode(ids) == text
        assert not set(ids) & {TRAINED.bos_token_id, TRAINED.eos_token_id, TRAINED.pad_token_id}


def test_it_begins_texts_by_itself_and_its_tokens_differ():
    assert TRAINED("film")["input_ids"][0] == TRAINED.bos_token_id
    assert len({TRAINED.bos_token_id, TRAINED.eos_token_id, TRAINED.pad_token_id}) == 3
    assert len(train_tokenizer(CORPUS, 300)) == 300
    assert len(TRAINED) < 400  # the texts give no more


def test_it_is_the_same_in_another_process():
    code = (
        f"from cumulant.data.tokenizer import train_tokenizer; corpus = {CORPUS!r}\n"
        "print(train_tokenizer(corpus, 400).backend_tokenizer.to_str())"
    )
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert json.loads(other) == json.loads(TRAINED.backend_tokenizer.to_str())


def test_it_can_be_saved_and_loaded_by_plain_transformers(tmp_path):
    from transformers import AutoTokenizer

    made = train_tokenizer(CORPUS, 400, lower_case=True, chat_template=True)
    made.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    said = "The FILM is good."
    assert loaded(said)["input_ids"] == made(said)["input_ids"] == made(said.lower())["input_ids"]
    assert loaded.decode(loaded(said)["input_ids"], skip_special_tokens=True) == said.lower()
    assert (loaded.bos_token, loaded.eos_token, loaded.pad_token) == (START, END, PAD)
    talk = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    assert loaded.apply_chat_template(talk, tokenize=False) == f"{START}User: Hi\nAssistant: Hello{END}\n"
    assert loaded.apply_chat_template(talk[:1], tokenize=False, add_generation_prompt=True).endswith(
        "User: Hi\nAssistant:"
    )
    assert train_tokenizer(CORPUS, 400).chat_template is None


def test_a_larger_vocabulary_needs_fewer_tokens():
    few, many = (len(train_tokenizer(CORPUS, size)(" ".join(CORPUS))["input_ids"]) for size in (270, 350))
    assert many < 0.8 * few


def test_a_vocabulary_without_room_for_the_bytes_is_refused():
    with pytest.raises(ConfigError, match="vocabulary = 258: at least 259"):
        train_tokenizer(CORPUS, 258)
