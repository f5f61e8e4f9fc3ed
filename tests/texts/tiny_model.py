"""A language model of a few words with random weights, written as a Hugging Face directory: what the RL stages are tested on."""

import json

import torch

from cumulant.nn.causal_lm import save_model
from cumulant.nn.llama import Llama, LlamaConfig

WORDS = ("red", "green", "blue", "one", "two", "three", "four")
END = "<end>"


def write_model(folder, words=WORDS, seed=0, width=32, layers=2, spread=0.25):
    """Write a model whose vocabulary is an end mark and these words."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocabulary = {END: 0, **{word: number for number, word in enumerate(words, 1)}}
    by_word = Tokenizer(models.WordLevel(vocabulary, unk_token=END))
    by_word.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=by_word, eos_token=END)
    config = LlamaConfig(
        vocab_size=len(vocabulary), hidden_size=width, intermediate_size=2 * width, num_hidden_layers=layers,
        num_attention_heads=4, max_position_embeddings=32, initializer_range=spread, eos_token_id=0,
    )  # fmt: skip
    save_model(Llama(config, torch.Generator().manual_seed(seed)), tokenizer, folder)


def write_prompts(file, prompts):
    """Write prompts as JSONL."""
    file.write_text("".join(json.dumps({"prompt": prompt}) + "\n" for prompt in prompts))
