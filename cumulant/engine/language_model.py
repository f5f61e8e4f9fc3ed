"""A trained language model with its tokenizer: text in, text out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from cumulant.data.text import encode_prompt
from cumulant.engine.generate import generate


class LanguageModel:
    """What a run on text left behind, or any model that ``nn.causal_lm.load_model`` reads.

    Args:
        model: A causal language model.
        tokenizer: Its tokenizer.

    Example:
        ``cumulant.load("runs/sft-movie-snippets-001").generate(["Review: this film"])``
    """

    def __init__(self, model: Any, tokenizer: Any) -> None:
        self.model, self.tokenizer = model, tokenizer

    @classmethod
    def load(cls, place: Path | str) -> LanguageModel:
        """Load the model of a run, a Hugging Face directory, or an embedded model by its name."""
        from cumulant.nn.causal_lm import load_model

        return cls(*load_model(place))

    def generate(
        self,
        prompts: Sequence[str | Sequence[Mapping[str, str]]],
        *,
        max_new_tokens: int = 64,
        temperature: float = 1.0,
        top_p: float = 1.0,
        seed: int = 0,
    ) -> list[str]:
        """Complete prompts; the same seed gives the same texts.

        Args:
            prompts: Texts, or chats (``[{"role": "user", "content": "..."}]``), which the tokenizer's template renders. An
                empty text is completed from the token on that begins texts: a document of the model's own.
            max_new_tokens: Where a text is cut off that does not end by itself.
            temperature: Of the sampling; 0 takes the most probable token.
            top_p: Sample among the most probable tokens that together have this probability.
            seed: Of the sampling.

        Returns:
            The completions, without the prompts and without special tokens.
        """
        if not prompts:
            return []
        tokens = [self.encode(prompt) for prompt in prompts]
        return self._complete(tokens, max_new_tokens, temperature, top_p, seed)

    def _complete(
        self, prompts: Sequence[Sequence[int]], max_new_tokens: int, temperature: float, top_p: float, seed: int
    ) -> list[str]:
        written = generate(
            self.model,
            prompts,
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            top_p=top_p,
            eos_id=self.tokenizer.eos_token_id,
            generator=torch.Generator().manual_seed(seed),
        )
        return [self.tokenizer.decode(tokens, skip_special_tokens=True) for tokens in written.tokens()]

    def samples(self, prompts: Sequence[str | Sequence[Mapping[str, str]]], max_new_tokens: int) -> list[str]:
        """Return completions for show, one for each prompt; of a prompt that leaves no room for one, its end is completed.

        They are drawn a little on the safe side (temperature 0.8 among the tokens that have 90 % together), which reads better
        than what the model learned; training on samples has to take all of the distribution.
        """
        context = self.model.config.max_position_embeddings
        new = min(max_new_tokens, context // 2)
        tokens = [self.encode(prompt)[-(context - new) :] for prompt in prompts]
        return self._complete(tokens, new, 0.8, 0.9, 0)

    def encode(self, prompt: str | Sequence[Mapping[str, str]]) -> list[int]:
        """Return the tokens of a prompt, at least one."""
        if not isinstance(prompt, str):
            prompt = str(self.tokenizer.apply_chat_template(prompt, tokenize=False, add_generation_prompt=True))
        return encode_prompt(self.tokenizer, prompt)
