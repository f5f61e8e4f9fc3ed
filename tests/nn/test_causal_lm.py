"""Models as directories: what we save transformers loads, what it saves we load, and nothing is unpickled or run."""

import json

import pytest
import torch

from cumulant.errors import ConfigError, StorageError, UsageError
from cumulant.nn.causal_lm import HubModel, load_model, pick_dtype, save_model, share_equal
from cumulant.nn.llama import Llama, LlamaConfig

transformers = pytest.importorskip("transformers")
tokenizers = pytest.importorskip("tokenizers")


def small(**changes):
    sizes = {
        "vocab_size": 64, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "max_position_embeddings": 64,
    }  # fmt: skip
    return Llama(LlamaConfig(**{**sizes, **changes}), torch.Generator().manual_seed(0))


def words():
    """Return a tokenizer of 62 words and two marks."""
    vocabulary = {"<end>": 0, "<pad>": 1, **{f"w{i}": i for i in range(2, 64)}}
    own = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="<pad>"))
    own.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    return transformers.PreTrainedTokenizerFast(tokenizer_object=own, eos_token="<end>", pad_token="<pad>")


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_saved_model_loads_in_plain_transformers_and_back(tmp_path, tied, dtype):
    model, ids = small(tie_word_embeddings=tied).to(pick_dtype(dtype)), torch.arange(20)[None]
    save_model(model, words(), tmp_path / "model")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    assert theirs.dtype == pick_dtype(dtype)
    again, tokenizer = load_model(tmp_path, dtype)  # a directory that holds model/, as a run does
    with torch.no_grad():
        assert torch.equal(again.logits(again.hidden(ids)), model.logits(model.hidden(ids)))
        loose = {"rtol": 0, "atol": 1e-5 if dtype == "float32" else 2e-2}
        torch.testing.assert_close(theirs(ids).logits, model.logits(model.hidden(ids)), **loose)
    assert tokenizer("w5 w7 <end>")["input_ids"] == [5, 7, 0]
    assert theirs.generation_config.eos_token_id == 0
    assert theirs.generation_config.pad_token_id == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model"]  # nothing temporary is left


def test_what_two_models_have_in_common_is_in_memory_once():
    tuned, reference, ids = small(), small(), torch.arange(20)[None]
    with torch.no_grad():
        tuned.model.layers[1].self_attn.k_proj.weight.mul_(2.0)
        before = [model.hidden(ids) for model in (tuned, reference)]
        share_equal(tuned, reference)
        assert all(torch.equal(model.hidden(ids), was) for model, was in zip((tuned, reference), before))
    shared = {
        name
        for (name, own), like in zip(tuned.named_parameters(), reference.parameters())
        if own.data_ptr() == like.data_ptr()
    }
    assert {name for name, _ in tuned.named_parameters()} - shared == {"model.layers.1.self_attn.k_proj.weight"}
    lower = tuned.model.layers[0].weights()
    assert lower.qkv.data_ptr() == reference.model.layers[0].weights().qkv.data_ptr()  # still one block, not a copy


def test_models_of_other_formats_share_nothing():
    coarse, exact = small().to(torch.bfloat16), small()
    share_equal(coarse, exact)
    assert coarse.head.dtype == torch.bfloat16
    assert coarse.head.data_ptr() != exact.head.data_ptr()


def test_what_transformers_saves_loads_here(tmp_path):
    config = transformers.LlamaConfig(
        vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, eos_token_id=[3, 4], rope_parameters={"rope_type": "default", "rope_theta": 777.0},
    )  # fmt: skip
    theirs = transformers.LlamaForCausalLM(config).eval()
    theirs.save_pretrained(tmp_path, max_shard_size="20KB")
    assert (tmp_path / "model.safetensors.index.json").is_file()  # several files
    words().save_pretrained(tmp_path)
    model, _ = load_model(tmp_path, "float32")
    assert isinstance(model, Llama)
    assert (model.config.rope_theta, model.config.eos_token_id) == (777.0, 3)
    ids = torch.arange(30)[None]
    with torch.no_grad():
        torch.testing.assert_close(model.logits(model.hidden(ids)), theirs(ids).logits, rtol=0, atol=1e-5)


def test_another_architecture_runs_through_transformers(tmp_path):
    config = transformers.GPT2Config(vocab_size=64, n_positions=64, n_embd=32, n_layer=2, n_head=4)
    theirs = transformers.GPT2LMHeadModel(config).eval()
    theirs.save_pretrained(tmp_path / "in")
    words().save_pretrained(tmp_path / "in")
    model, tokenizer = load_model(tmp_path / "in", "float32")
    assert isinstance(model, HubModel)
    ids, mask = torch.arange(24).view(2, 12), torch.ones(2, 12, dtype=torch.bool)
    mask[1, :5] = False
    with torch.no_grad():
        alone, padded = model.logp(ids[1:, 5:]), model.logp(ids, mask)
        torch.testing.assert_close(padded[1, 5:], alone[0], rtol=0, atol=1e-5)
        scores = theirs(ids[:1]).logits[:, :-1].log_softmax(-1).gather(2, ids[:1, 1:, None])[..., 0]
        torch.testing.assert_close(padded[:1], scores, rtol=0, atol=1e-5)
    save_model(model, tokenizer, tmp_path / "out")
    again = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    torch.testing.assert_close(again(ids).logits, theirs(ids).logits)
    with pytest.raises(ConfigError, match="kind 'gpt2' runs whole"):
        model.hidden(ids, stop=1)


def test_pickled_weights_are_refused(tmp_path):
    save_model(small(), words(), tmp_path)
    (tmp_path / "model.safetensors").unlink()
    torch.save({}, tmp_path / "pytorch_model.bin")
    with pytest.raises(UsageError, match=r"only as pytorch_model\.bin.*safetensors"):
        load_model(tmp_path)


@pytest.mark.parametrize("kind", ["llama", "gpt2", "own-kind"])
def test_code_that_comes_with_a_model_is_never_run(tmp_path, kind):
    save_model(small(), words(), tmp_path)
    settings = json.loads((tmp_path / "config.json").read_text())
    settings |= {"model_type": kind, "auto_map": {"AutoConfig": "evil.Config", "AutoModelForCausalLM": "evil.Model"}}
    if kind == "llama":
        settings["attention_bias"] = True  # not ours to compute: transformers is asked
    (tmp_path / "config.json").write_text(json.dumps(settings))
    for file in ("tokenizer_config.json",):
        told = json.loads((tmp_path / file).read_text())
        told["auto_map"] = {"AutoTokenizer": ["evil.Tokenizer", "evil.Tokenizer"]}
        (tmp_path / file).write_text(json.dumps(told))
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Config: ...\nclass Model: ...\n")
    try:
        load_model(tmp_path, "float32")
    except UsageError:
        pass
    else:
        assert kind == "llama"
    assert not (tmp_path / "ran").exists()


def damaged(folder, change):
    """Save a model and spoil one thing of it."""
    save_model(small(), words(), folder)
    weights, settings = folder / "model.safetensors", folder / "config.json"
    if change == "no weights":
        weights.unlink()
    elif change == "torn weights":
        weights.write_bytes(weights.read_bytes()[:500])
    elif change == "other sizes":
        settings.write_text(settings.read_text().replace('"vocab_size": 64', '"vocab_size": 65'))
    elif change == "more layers":
        settings.write_text(settings.read_text().replace('"num_hidden_layers": 2', '"num_hidden_layers": 3'))
    elif change == "fewer layers":
        settings.write_text(settings.read_text().replace('"num_hidden_layers": 2', '"num_hidden_layers": 1'))
    elif change == "no tokenizer":
        (folder / "tokenizer.json").unlink()
    elif change == "no configuration":
        settings.unlink()
    else:
        settings.write_text("[")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("no weights", "model.safetensors is missing"),
        ("torn weights", "cannot be read"),
        ("other sizes", r"has shape \[64, 32\], config.json asks for \[65, 32\]"),
        ("more layers", "lacks 9 weights, 'model.layers.2"),
        ("fewer layers", "has not"),
        ("no tokenizer", "no tokenizer"),
        ("no configuration", "holds no model"),
        ("torn configuration", "cannot be read"),
    ],
)
def test_a_damaged_directory_is_a_clear_error(tmp_path, change, says):
    damaged(tmp_path, change)
    with pytest.raises(UsageError, match=says):
        load_model(tmp_path)


def test_a_name_that_is_nothing_and_a_precision_that_is_none():
    with pytest.raises(UsageError, match="there is no model 'nowhere'"):
        load_model("nowhere")
    with pytest.raises(ConfigError, match="float32, bfloat16 or auto"):
        pick_dtype("float8")


def test_weights_are_drawn_where_there_are_none_and_a_generator_is_given(tmp_path):
    save_model(small(), words(), tmp_path)
    (tmp_path / "model.safetensors").unlink()
    one, two = (load_model(tmp_path, "float32", torch.Generator().manual_seed(s))[0] for s in (0, 1))
    assert torch.equal(one.head, small().head)
    assert not torch.equal(one.head, two.head)


def test_saving_replaces_the_whole_directory_or_nothing(tmp_path, monkeypatch):
    save_model(small(), words(), tmp_path / "model")
    (tmp_path / "model" / "stale").touch()
    before = (tmp_path / "model" / "model.safetensors").read_bytes()

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("cumulant.nn.causal_lm.save_file", full)
        with pytest.raises(StorageError, match="free some space"):
            save_model(small(tie_word_embeddings=True), words(), tmp_path / "model")
    assert (tmp_path / "model" / "model.safetensors").read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model"]
    save_model(small(tie_word_embeddings=True), words(), tmp_path / "model")
    assert not (tmp_path / "model" / "stale").exists()
    assert load_model(tmp_path / "model")[0].config.tie_word_embeddings
