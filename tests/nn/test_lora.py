"""Adapters: gradients, the reference with the adapters off, merging, and what PEFT makes of the files."""

import json
import math

import pytest
import torch

from cumulant.engine.generate import generate
from cumulant.errors import ConfigError
from cumulant.nn.causal_lm import HubModel, load_model, save_model
from cumulant.nn.llama import Llama, LlamaConfig
from cumulant.nn.lora import adapter, add_lora, has_lora, merge, merged, save_adapter, trainable

transformers = pytest.importorskip("transformers")


def model(dtype=torch.float32, layers=4):
    config = LlamaConfig(
        vocab_size=64, hidden_size=48, intermediate_size=80, num_hidden_layers=layers, num_attention_heads=6,
        num_key_value_heads=2, max_position_embeddings=64, tie_word_embeddings=True, initializer_range=0.15,
    )  # fmt: skip
    return Llama(config, torch.Generator().manual_seed(3)).to(dtype)


def with_adapters(first_layer=0, dtype=torch.float32, size=0.05):
    """Return a model whose adapters have been trained already, so to say."""
    own = model(dtype)
    source = torch.Generator().manual_seed(5)
    add_lora(own, 4, 8.0, first_layer, source)
    with torch.no_grad():
        for name, part in own.named_parameters():
            if name.endswith("_b"):
                part.normal_(0.0, size, generator=source)
    return own


IDS = torch.randint(0, 64, (3, 15), generator=torch.Generator().manual_seed(0))


def test_new_adapters_change_nothing_and_the_model_is_frozen():
    plain, own = model(), model()
    found = add_lora(own, 4, 8.0, 2, torch.Generator().manual_seed(0))
    assert torch.equal(own.hidden(IDS), plain.hidden(IDS))
    names = [name for name, part in own.named_parameters() if part.requires_grad]
    assert len(found) == len(names) == 2 * 8
    assert all(name.startswith(("model.layers.2.lora.", "model.layers.3.lora.")) for name in names)
    assert found == trainable(own)
    assert all(part.dtype == torch.float32 for part in found)


def test_gradients_are_those_of_finite_differences():
    own = with_adapters(first_layer=1).to(torch.float64)
    source = torch.Generator().manual_seed(1)
    seen = torch.randn(3, 15, 48, generator=source, dtype=torch.float64)
    (own.hidden(IDS) * seen).mean().backward()
    for name, part in own.named_parameters():
        if not part.requires_grad:
            assert part.grad is None
            continue
        way = torch.randn(part.shape, generator=source, dtype=torch.float64)
        with torch.no_grad():
            step, values = 1e-5, []
            for sign in (1, -1):
                part.add_(way, alpha=sign * step)
                values.append((own.hidden(IDS) * seen).mean().item())
                part.sub_(way, alpha=sign * step)
        slope = (values[0] - values[1]) / (2 * step)
        assert (part.grad * way).sum().item() == pytest.approx(slope, rel=1e-6), name


@pytest.mark.parametrize("checkpointing", [False, True])
def test_entering_above_the_frozen_layers_gives_the_same_gradients(checkpointing):
    own = with_adapters(first_layer=2)
    own.checkpointing = checkpointing
    own.logp(IDS).mean().backward()
    expected = [part.grad.clone() for part in trainable(own)]
    own.zero_grad()
    lower = own.hidden(IDS, stop=2)
    assert not lower.requires_grad  # nothing below is trained: nothing is kept for it
    own.logp(IDS, start=2, hidden=lower).mean().backward()
    for part, grad in zip(trainable(own), expected):
        assert grad.abs().max() > 0
        torch.testing.assert_close(part.grad, grad)


def test_recomputing_gives_the_same_gradients_of_all_weights():
    plain, sparing = model(), model()
    sparing.checkpointing = True
    for own in (plain, sparing):
        own.logp(IDS).mean().backward()
    for one, two in zip(plain.parameters(), sparing.parameters()):
        assert torch.equal(one.grad, two.grad)


def test_switched_off_the_model_is_its_own_reference():
    plain, own = model(), with_adapters()
    with adapter(own, on=False):
        assert torch.equal(own.hidden(IDS), plain.hidden(IDS))
        greedy = [[1, 2, 3]], dict(max_new_tokens=8, temperature=0.0, eos_id=None, generator=torch.Generator())  # noqa: C408
        assert generate(own, greedy[0], **greedy[1]).tokens() == generate(plain, greedy[0], **greedy[1]).tokens()
    assert (own.hidden(IDS) - plain.hidden(IDS)).abs().max() > 0.01
    with pytest.raises(ZeroDivisionError), adapter(own, on=False):
        _ = 1 / 0
    assert own.adapters_on


def test_merged_weights_compute_what_the_adapters_do():
    own = with_adapters(first_layer=1)
    plain = merged(own)
    assert not has_lora(plain)
    assert has_lora(own)
    torch.testing.assert_close(plain.hidden(IDS), own.hidden(IDS), rtol=1e-5, atol=1e-5)
    assert not torch.equal(plain.model.layers[3].mlp.down_proj.weight, own.model.layers[3].mlp.down_proj.weight)
    assert torch.equal(plain.model.layers[0].mlp.down_proj.weight, own.model.layers[0].mlp.down_proj.weight)


def test_generation_uses_the_adapters_and_their_log_probabilities_are_those_of_the_training_forward():
    own = with_adapters(size=0.3)
    source = torch.Generator().manual_seed(0)
    answer = generate(own, [[1, 2, 3], [4]], max_new_tokens=12, eos_id=None, generator=source)
    logp = own.logp(answer.ids, answer.mask, first=3)[:, 2:]
    torch.testing.assert_close(answer.logp, logp.detach(), rtol=0, atol=1e-5)
    with adapter(own, on=False):
        assert (own.logp(answer.ids, answer.mask, first=3)[:, 2:] - answer.logp).abs().max() > 0.1


def test_small_updates_survive_merging_in_bf16_on_average():
    own = with_adapters(dtype=torch.bfloat16)
    weights, lora = own.model.layers[0].weights(), own.model.layers[0].lora
    with torch.no_grad():
        lora.down_a.zero_()[0] = 1.0
        lora.down_b.zero_()[:, 0] = 2.0e-5 / lora.scale  # the same small number on every weight
    old, new = weights.down.float(), merge(weights, lora).down.float()
    large = (
        old.abs() > 0.05
    )  # neighbours among bf16 numbers are at least 0.00024 apart there: 24 times the half of the update
    assert ((old + 2.0e-5).bfloat16().float() == old)[large].all()  # rounding to the nearest loses it
    moved = (new - old)[large]
    error = 4 * moved.std() / math.sqrt(len(moved))
    assert moved.mean().item() == pytest.approx(2.0e-5, abs=error.item())
    assert 0 < error < 2.0e-5
    again = merge(weights, lora).down.float()
    assert torch.equal(again, new)
    with torch.no_grad():
        lora.down_b.zero_()
    assert torch.equal(merge(weights, lora).down, weights.down)


def test_a_saved_model_has_the_adapters_in_its_weights(tmp_path):
    from test_causal_lm import words

    own = with_adapters()
    save_model(own, words(), tmp_path / "model")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    with torch.no_grad():
        torch.testing.assert_close(theirs(IDS).logits, own.logits(own.hidden(IDS)), rtol=1e-4, atol=1e-4)
    assert not has_lora(load_model(tmp_path / "model", "float32")[0])


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # between peft and transformers
@pytest.mark.parametrize("first_layer", [0, 2])
def test_peft_reads_the_adapters(tmp_path, first_layer):
    peft = pytest.importorskip("peft")
    from test_causal_lm import words

    own = with_adapters(first_layer)
    save_model(model(), words(), tmp_path / "model")
    save_adapter(own, tmp_path / "adapter", "a-base")
    base = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    theirs = peft.PeftModel.from_pretrained(base, tmp_path / "adapter")
    with torch.no_grad():
        torch.testing.assert_close(theirs(IDS).logits, own.logits(own.hidden(IDS)), rtol=1e-4, atol=1e-4)
    told = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    assert told["layers_to_transform"] == list(range(first_layer, 4))
    assert (told["r"], told["lora_alpha"], told["base_model_name_or_path"]) == (4, 8.0, "a-base")


def test_what_adapters_cannot_be_added_to_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="need a Llama model, not one of kind 'gpt2'"):
        add_lora(HubModel(transformers.GPT2LMHeadModel(transformers.GPT2Config(n_layer=1, n_embd=8, n_head=1))), 4, 8.0)
    with pytest.raises(ConfigError, match="rank is 0"):
        add_lora(model(), 0, 8.0)
    with pytest.raises(ConfigError, match=r"first_layer 4 \(0 to 3\)"):
        add_lora(model(), 4, 8.0, 4)
    with pytest.raises(ConfigError, match="already"):
        add_lora(with_adapters(), 4, 8.0)
    with pytest.raises(ConfigError, match="no adapters to save"):
        save_adapter(model(), tmp_path)
