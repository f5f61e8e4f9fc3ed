"""A reward model's scores: those of plain transformers, the same with padding and from cached states; what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from cumulant.data.tokenizer import train_tokenizer
from cumulant.engine.scoring import Samples, Scorer, ScoringConfig
from cumulant.engine.text_reward import FrozenStates, TextReward, encode_text, score_tokens
from cumulant.errors import ConfigError, DataError, UsageError
from cumulant.nn.causal_lm import save_model, special_tokens
from cumulant.nn.llama import Llama, LlamaConfig
from cumulant.nn.reward_model import begin_reward_model, load_reward_model, padding_token

TEXTS = ["the film is good", "a dull film that was too long for what it had to say", "good", "no"]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A language model of three layers that has learned nothing, its head tied or not."""
    place = tmp_path_factory.mktemp("base")
    tokenizer = train_tokenizer(TEXTS, 280)
    for name, tied in (("tied", True), ("untied", False)):
        shape = LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=3,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=40,
            initializer_range=0.3,
            tie_word_embeddings=tied,
            **special_tokens(tokenizer),
        )
        save_model(Llama(shape, torch.Generator().manual_seed(0)), tokenizer, place / name)
    return place


@pytest.fixture(scope="module")
def saved(base: Path) -> Path:
    """A reward model with two of the layers and a score that is drawn at random."""
    model, tokenizer = begin_reward_model(base / "tied", 0.67, "float32")
    nn.init.normal_(model.score.weight, generator=torch.Generator().manual_seed(1))
    nn.init.uniform_(model.model.norm.weight, 0.5, 1.5, generator=torch.Generator().manual_seed(2))
    model.save(tokenizer, base / "reward")
    return base / "reward"


def test_plain_transformers_gives_the_same_scores(saved: Path) -> None:
    import transformers

    theirs = transformers.LlamaForSequenceClassification.from_pretrained(saved)
    tokenizer = transformers.AutoTokenizer.from_pretrained(saved)
    assert theirs.num_labels == 1
    assert theirs.config.num_hidden_layers == 2
    batch = tokenizer([text + tokenizer.eos_token for text in TEXTS], padding=True, return_tensors="pt")
    assert not batch["attention_mask"].all()
    with torch.no_grad():
        expected = theirs(**batch).logits[:, 0]
    ours = TextReward.load(saved, "float32").score([""] * len(TEXTS), TEXTS)
    assert np.std(ours) > 0.1
    np.testing.assert_allclose(ours, expected.numpy(), rtol=1e-5, atol=1e-5)


def test_computing_again_keeps_less_and_changes_no_gradient(base: Path) -> None:
    found = []
    for again in (False, True):
        model, tokenizer = begin_reward_model(base / "tied", 1.0, "float32")
        nn.init.normal_(model.score.weight, generator=torch.Generator().manual_seed(1))
        trained, kept = model.train_above(1), []
        states = FrozenStates(model, [encode_text(tokenizer, "", text, 40) for text in TEXTS], 1, 1e9)
        with torch.autograd.graph.saved_tensors_hooks(lambda x, kept=kept: kept.append(x.numel()) or x, lambda x: x):
            states.score(range(4), again).sum().backward()
        found.append((torch.cat([part.grad.reshape(-1) for part in trained]), sum(kept)))
    assert found[0][0].abs().max() > 1e-3
    torch.testing.assert_close(found[1][0], found[0][0], rtol=1e-5, atol=1e-7)
    assert found[1][1] < 0.5 * found[0][1]


def test_a_prompt_is_read_before_the_response(saved: Path) -> None:
    reward = TextReward.load(saved, "float32")
    whole, parts = reward.score(["", "the film"], ["the film is good", " is good"])
    assert encode_text(reward.tokenizer, "the film", " is good", 40).ids[-1] == reward.tokenizer.eos_token_id
    assert whole == pytest.approx(parts, rel=1e-5)  # no token crosses the border here
    other, same = reward.score(["the", "the film"], [" is good", " is good"])
    assert other != pytest.approx(same, abs=1e-3)
    assert np.isfinite(reward.score(["", "the"], ["", ""])).all()


def test_neighbours_and_padding_do_not_change_a_score(saved: Path) -> None:
    reward = TextReward.load(saved, "float32")
    alone = [reward.score([""], [text])[0] for text in TEXTS]
    np.testing.assert_allclose(reward.score([""] * len(TEXTS), TEXTS), alone, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("most_bytes", [1e9, 10.0], ids=["kept", "computed again"])
@pytest.mark.parametrize("layers", [0, 1, 2])
def test_cached_states_give_the_same_scores_and_gradients(saved: Path, layers: int, most_bytes: float) -> None:
    model, tokenizer = load_reward_model(saved, "float32")
    texts = [encode_text(tokenizer, "", text, 40) for text in TEXTS]
    states = FrozenStates(model, texts, layers, most_bytes)
    assert (states.kept is not None) == (layers > 0 and most_bytes > 100)
    trained = model.train_above(layers)
    scores = states.score([2, 0, 3])
    whole = score_tokens(model, texts)
    np.testing.assert_allclose(scores.detach().numpy(), whole[[2, 0, 3]], rtol=1e-5, atol=1e-6)
    scores.sum().backward()
    assert all(part.grad is not None for part in trained)
    assert {part.grad is None for part in model.parameters() if not part.requires_grad} <= {True}
    assert len(trained) == len(list(model.parameters())) - (9 * layers + 1 if layers else 0)


def test_left_out_layers_change_nothing_below(base: Path) -> None:
    """With all layers the states are those of the language model, and every text begins with the score 0."""
    for name in ("tied", "untied"):
        model, tokenizer = begin_reward_model(base / name, 1.0, "float32")
        assert model.config.num_hidden_layers == 3
        assert "lm_head.weight" not in dict(model.named_parameters())
        texts = [encode_text(tokenizer, "", text, 40) for text in TEXTS]
        assert score_tokens(model, texts).tolist() == [0.0] * len(TEXTS)
    assert begin_reward_model(base / "tied", 0.01, "float32")[0].config.num_hidden_layers == 1


def test_padding_is_never_the_token_that_ends_a_text(base: Path) -> None:
    """As of models whose tokenizer pads with end-of-text, which transformers would not read the score at."""
    place = base / "pads_with_end"
    shutil.copytree(base / "tied", place, dirs_exist_ok=True)
    settings = json.loads((place / "tokenizer_config.json").read_text())
    (place / "tokenizer_config.json").write_text(json.dumps(settings | {"pad_token": settings["eos_token"]}))
    model, tokenizer = begin_reward_model(place, 1.0, "float32")
    assert tokenizer.pad_token_id == model.pad_id != tokenizer.eos_token_id


def test_a_long_response_loses_its_end_and_a_long_prompt_is_refused(saved: Path) -> None:
    reward = TextReward.load(saved, "float32")
    cut = encode_text(reward.tokenizer, "the film", " good" * 60, 40)
    assert (len(cut.ids), cut.is_cut, cut.ids[-1]) == (40, True, reward.tokenizer.eos_token_id)
    with pytest.raises(DataError, match=r"rows\.jsonl, line 3: the prompt has \d+ tokens"):
        encode_text(reward.tokenizer, "good " * 60, " film", 40, "rows.jsonl, line 3")


def test_scoring_by_a_reward_model(saved: Path) -> None:
    scorer = Scorer(ScoringConfig(reward=f"{saved}=2.0"))
    samples = Samples(["", ""], TEXTS[:2], np.array([4, 12]), np.array([True, True]))
    np.testing.assert_allclose(
        scorer.split(samples)[:, 0], 2 * TextReward.load(saved).score(["", ""], TEXTS[:2]), rtol=1e-5
    )


def test_what_is_no_reward_model_is_refused(base: Path, saved: Path) -> None:
    with pytest.raises(UsageError, match="holds no reward model: LlamaForCausalLM"):
        load_reward_model(base / "tied")
    broken = base / "broken"
    shutil.copytree(saved, broken, dirs_exist_ok=True)
    settings = json.loads((broken / "config.json").read_text())
    (broken / "config.json").write_text(json.dumps({**settings, "id2label": {"0": "a", "1": "b"}}))
    with pytest.raises(UsageError, match="with 2 outputs"):
        load_reward_model(broken)
    (broken / "config.json").write_text(json.dumps({**settings, "pad_token_id": None}))
    with pytest.raises(UsageError, match="names no pad_token_id"):
        load_reward_model(broken)
    (broken / "config.json").write_text(json.dumps(settings))
    weights = load_file(broken / "model.safetensors")
    del weights["score.weight"]
    save_file(weights, broken / "model.safetensors")
    with pytest.raises(UsageError, match=r"lacks 1 weights, 'score\.weight'"):
        load_reward_model(broken)
    only_end = SimpleNamespace(eos_token="<end>", pad_token="<end>", all_special_tokens=["<end>"])
    with pytest.raises(ConfigError, match="no special token besides"):
        padding_token(only_end)
