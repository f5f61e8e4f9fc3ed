"""Adapters in PEFT's format are added into their model: ours, PEFT's own, of Llama and of another architecture."""

import json
import warnings

import pytest
import torch
from safetensors.torch import load_file, save_file

import cumulant
from cumulant.data.tokenizer import train_tokenizer
from cumulant.errors import UsageError
from cumulant.nn.causal_lm import load_model, save_model, special_tokens
from cumulant.nn.llama import Llama, LlamaConfig
from cumulant.nn.lora import add_lora, merged, save_adapter

transformers = pytest.importorskip("transformers")
peft = pytest.importorskip("peft")

IDS = torch.tensor([[5, 9, 70, 12, 3]])


@pytest.fixture
def base(tmp_path):
    tokenizer = train_tokenizer(["the film is good and the plot is bad"] * 2, 270)
    shape = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=48, num_hidden_layers=3, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=32, initializer_range=0.2, **special_tokens(tokenizer),
    )  # fmt: skip
    save_model(Llama(shape, torch.Generator().manual_seed(0)), tokenizer, tmp_path / "base")
    return tmp_path / "base"


def logits(model):
    with torch.no_grad():
        return model.logits(model.hidden(IDS))


def of_peft(base, folder, **options):
    """Save an adapter that PEFT made, with random weights, and return what its model says."""
    with warnings.catch_warnings(), torch.random.fork_rng():
        warnings.simplefilter("ignore")  # PEFT's own
        torch.manual_seed(1)
        network = transformers.AutoModelForCausalLM.from_pretrained(base)
        model = peft.get_peft_model(network, peft.LoraConfig(task_type="CAUSAL_LM", init_lora_weights=False, **options))
        model.save_pretrained(folder)
    with torch.no_grad():
        return model.eval()(IDS).logits


@pytest.mark.parametrize(
    "options",
    [
        {"r": 3, "lora_alpha": 6, "target_modules": ["q_proj", "v_proj"]},
        {"r": 4, "lora_alpha": 5, "use_rslora": True, "target_modules": "all-linear"},
        {
            "r": 2,
            "rank_pattern": {"down_proj": 5},
            "target_modules": ["down_proj", "k_proj"],
            "layers_to_transform": [1],
        },
    ],
)
def test_an_adapter_of_peft_gives_the_same_logits_as_there(base, tmp_path, options):
    theirs = of_peft(base, tmp_path / "adapter", **options)
    model, _ = load_model(tmp_path / "adapter", "float32")
    torch.testing.assert_close(logits(model), theirs, rtol=0, atol=1e-4)
    assert (logits(load_model(base, "float32")[0]) - theirs).abs().max() > 0.05


def test_an_adapter_of_another_architecture(base, tmp_path):
    tokenizer = load_model(base, "float32")[1]
    shape = transformers.GPT2Config(vocab_size=len(tokenizer), n_positions=32, n_embd=16, n_layer=2, n_head=2)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        transformers.GPT2LMHeadModel(shape).save_pretrained(tmp_path / "gpt2")
    tokenizer.save_pretrained(tmp_path / "gpt2")
    options = {"r": 3, "target_modules": ["c_attn"], "fan_in_fan_out": True}
    theirs = of_peft(tmp_path / "gpt2", tmp_path / "adapter", **options)
    model, _ = load_model(tmp_path / "adapter", "float32")
    torch.testing.assert_close(logits(model), theirs, rtol=0, atol=1e-4)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_an_adapter_of_ours_is_what_was_merged(base, tmp_path, dtype):
    model, _ = load_model(base, dtype)
    add_lora(model, 4, 8.0, 1, torch.Generator().manual_seed(1))
    for part in model.parameters():
        if part.requires_grad:
            part.data.normal_(0.0, 0.2, generator=torch.Generator().manual_seed(2))
    save_adapter(model, tmp_path / "adapter", str(base))
    loaded, whole = load_model(tmp_path / "adapter", dtype)[0], merged(model)
    for (name, one), (_, other) in zip(loaded.named_parameters(), whole.named_parameters()):
        # which neighbour a bfloat16 number is rounded to by chance differs, joined or not
        torch.testing.assert_close(one, other, rtol=0.0 if dtype == "float32" else 0.01, atol=1e-6, msg=name)


def test_a_run_s_adapter_is_loaded_by_its_path(base, tmp_path):
    rows = [{"prompt": f"the film number {n} is", "completion": " good"} for n in range(40)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    fields = {
        "model": str(base),
        "precision": "float32",
        "lora_rank": 4,
        "total_steps": 3,
        "batch_size": 4,
        "context": 31,
    }
    data = str(tmp_path / "rows.jsonl")
    cumulant.train("sft", data, out=tmp_path / "sft", eval_examples=2, sample_tokens=2, learning_rate=0.02, **fields)
    whole, alone = (load_model(tmp_path / "sft" / part, "float32")[0] for part in ("", "adapter"))
    torch.testing.assert_close(logits(whole), logits(alone), rtol=0, atol=1e-5)
    assert len(cumulant.load(tmp_path / "sft" / "adapter").generate(["the film"], max_new_tokens=2)) == 1
    fields["model"] = str(tmp_path / "sft" / "adapter")
    cumulant.train("dpo", pairs(tmp_path), out=tmp_path / "dpo", max_new_tokens=2, eval_pairs=2, **fields)
    settings = json.loads((tmp_path / "dpo" / "adapter" / "adapter_config.json").read_text())
    assert settings["base_model_name_or_path"] == fields["model"]  # an adapter on an adapter
    moved = load_model(tmp_path / "dpo" / "adapter", "float32")[0]
    torch.testing.assert_close(logits(moved), logits(load_model(tmp_path / "dpo", "float32")[0]), rtol=0, atol=1e-5)


def pairs(place):
    rows = [{"prompt": f"the film number {n} is", "chosen": " good", "rejected": " bad"} for n in range(40)]
    (place / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(place / "pairs.jsonl")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"peft_type": "IA3"}, "of kind 'IA3'; only LORA is read"),
        ({"use_dora": True}, "use_dora = True is more than a low-rank sum"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"base_model_name_or_path": ""}, "does not name the model that it goes with"),
        ({"base_model_name_or_path": "nowhere"}, "goes with the model nowhere: there is no model 'nowhere'"),
    ],
)
def test_what_cannot_be_added_is_refused(base, tmp_path, changes, message):
    of_peft(base, tmp_path / "adapter", r=2, target_modules=["q_proj"])
    file = tmp_path / "adapter" / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
    with pytest.raises(UsageError, match=message):
        load_model(tmp_path / "adapter")


def test_an_adapter_for_another_model_is_refused_and_so_is_a_pickled_one(base, tmp_path):
    of_peft(base, tmp_path / "adapter", r=2, target_modules=["q_proj"])
    file = tmp_path / "adapter" / "adapter_model.safetensors"
    tensors = load_file(file)
    save_file({name.replace("layers.0", "layers.7"): part for name, part in tensors.items()}, file)
    with pytest.raises(
        UsageError, match=r"layers\.7\.self_attn\.q_proj' does not fit .*base: it goes with another model"
    ):
        load_model(tmp_path / "adapter")
    save_file({name: part for name, part in tensors.items() if "lora_A" in name}, file)
    with pytest.raises(UsageError, match="other weights than pairs of lora_A and lora_B"):
        load_model(tmp_path / "adapter")
    file.rename(file.with_name("adapter_model.bin"))
    with pytest.raises(UsageError, match=r"holds no adapter_model\.safetensors"):
        load_model(tmp_path / "adapter")
