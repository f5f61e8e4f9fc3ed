"""Train a byte-level BPE tokenizer that any Hugging Face program loads."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from cumulant.data.chat import PLAIN_TEMPLATE
from cumulant.errors import ConfigError
from cumulant.loading import text_package

START, END, PAD = "<|startoftext|>", "<|endoftext|>", "<|pad|>"
_BYTES = 256


def train_tokenizer(
    documents: Iterable[str], vocabulary: int, *, lower_case: bool = False, chat_template: bool = False
) -> Any:
    """Train a byte-level BPE tokenizer; the same documents in the same order give the same one.

    Every text can be written in it, since every byte is a token. It begins a text with its start token by itself.

    Args:
        documents: Texts to learn from.
        vocabulary: Tokens to end with, the 256 bytes and 3 special ones included; fewer where the texts give no more.
        lower_case: Whether it reads everything in lower case: small models need fewer words then.
        chat_template: Whether it gets a chat template in plain words (``User: ...``, ``Assistant: ...``).

    Returns:
        A ``PreTrainedTokenizerFast`` with start, end and padding tokens.

    Raises:
        ConfigError: If the vocabulary cannot hold the bytes and the special tokens.
        MissingPackage: If transformers or tokenizers is not installed.
    """
    specials = [START, END, PAD]
    if vocabulary < _BYTES + len(specials):
        raise ConfigError(
            f"vocabulary = {vocabulary}: at least {_BYTES + len(specials)}, for 256 bytes and {len(specials)} special tokens"
        )
    tokenizers = text_package("tokenizers")
    transformers = text_package("transformers")
    made = tokenizers.Tokenizer(tokenizers.models.BPE())
    if lower_case:
        made.normalizer = tokenizers.normalizers.Lowercase()
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=specials,
        initial_alphabet=sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    made.train_from_iterator(documents, trainer)
    made.post_processor = tokenizers.processors.TemplateProcessing(
        single=f"{START} $A", pair=f"{START} $A $B", special_tokens=[(START, made.token_to_id(START))]
    )
    whole = transformers.PreTrainedTokenizerFast(
        tokenizer_object=made, bos_token=START, eos_token=END, pad_token=PAD, clean_up_tokenization_spaces=False
    )
    if chat_template:
        whole.chat_template = PLAIN_TEMPLATE
    return whole
