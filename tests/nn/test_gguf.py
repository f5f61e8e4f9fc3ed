"""GGUF files: our parser and dequantiser against plain definitions, against transformers', and what damage does."""

import struct

import numpy as np
import pytest
import torch

from cumulant.data.materials import fetch
from cumulant.errors import UsageError
from cumulant.nn.causal_lm import load_model, save_model
from cumulant.nn.gguf import dequantise, load_gguf, read_gguf

transformers = pytest.importorskip("transformers")

KINDS = {"F32": 0, "F16": 1, "Q4_0": 2, "Q4_1": 3, "Q8_0": 8, "BF16": 30}
SIZES = dict(D=32, I=64, H=4, K=2, V=262, L=2)  # noqa: C408 (letters of the axes legend)


def blocks(kind, weights, source):
    """Return random bytes of one block format and the weights that they mean, by the plainest code there is."""
    raw, values = b"", []
    if kind in ("F32", "F16", "BF16"):
        x = source.standard_normal(weights).astype(np.float32)
        if kind == "BF16":
            x = torch.from_numpy(x).bfloat16()
            return x.view(torch.int16).numpy().tobytes(), x.float().tolist()
        x = x.astype(np.float32 if kind == "F32" else np.float16)
        return x.tobytes(), x.astype(np.float32).tolist()
    for _ in range(weights // 32):
        scale, least = source.standard_normal(2).astype(np.float16) * np.float16(0.005)
        if kind == "Q8_0":
            q = source.integers(-128, 128, 32).astype(np.int8)
            raw += scale.tobytes() + q.tobytes()
            values += [np.float32(scale) * np.float32(n) for n in q]
            continue
        q = source.integers(0, 256, 16).astype(np.uint8)
        raw += scale.tobytes() + (least.tobytes() if kind == "Q4_1" else b"") + q.tobytes()
        whole = [int(n) & 15 for n in q] + [int(n) >> 4 for n in q]
        for n in whole:
            if kind == "Q4_0":
                values.append(np.float32(scale) * np.float32(n - 8))
            else:
                values.append(np.float32(scale) * np.float32(n) + np.float32(least))
    return raw, values


@pytest.mark.parametrize("kind", KINDS)
def test_every_block_format_means_what_it_says(kind):
    raw, values = blocks(kind, 320, np.random.default_rng(0))
    ours = dequantise(torch.frombuffer(bytearray(raw), dtype=torch.uint8), KINDS[kind])
    assert ours.dtype == torch.float32
    assert ours.tolist() == [float(value) for value in values]


def text(word):
    return struct.pack("<Q", len(word.encode())) + word.encode()


def value(x):
    if isinstance(x, bool):
        return struct.pack("<I?", 7, x)
    if isinstance(x, int):
        return struct.pack("<II", 4, x)
    if isinstance(x, float):
        return struct.pack("<If", 6, x)
    if isinstance(x, str):
        return struct.pack("<I", 8) + text(x)
    if isinstance(x[0], str):
        return struct.pack("<IIQ", 9, 8, len(x)) + b"".join(text(word) for word in x)
    return struct.pack(f"<IIQ{len(x)}i", 9, 5, len(x), *x)


def a_file(path, *, tied=False, kind="Q8_0", **changes):
    """Write a small random model with a byte-level tokenizer."""
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    s, source = SIZES, np.random.default_rng(1)
    words = ["<|end|>", "<|begin|>", *bytes_to_unicode().values(), "he", "ll", "hell", "Ġw"]
    metadata = {
        "general.architecture": "llama", "general.name": "a model",
        "llama.block_count": s["L"], "llama.context_length": 128, "llama.embedding_length": s["D"],
        "llama.feed_forward_length": s["I"], "llama.attention.head_count": s["H"],
        "llama.attention.head_count_kv": s["K"], "llama.rope.freq_base": 5000.0, "llama.vocab_size": s["V"],
        "llama.attention.layer_norm_rms_epsilon": 1e-5, "tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": "smollm",
        "tokenizer.ggml.tokens": words, "tokenizer.ggml.token_type": [3, 3] + [1] * (len(words) - 2),
        "tokenizer.ggml.merges": ["h e", "l l", "he ll", "Ġ w"], "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 0, "tokenizer.ggml.add_bos_token": False,
        "tokenizer.chat_template": "{% for m in messages %}<|begin|>{{ m['content'] }}<|end|>{% endfor %}",
        **changes,
    }  # fmt: skip
    width, pairs = s["D"], s["D"] // s["H"] * s["K"]
    shapes = {"token_embd.weight": (s["V"], width), "output_norm.weight": (width,)}
    shapes |= {} if tied else {"output.weight": (s["V"], width)}
    for i in range(s["L"]):
        parts = {
            "attn_norm": (width,), "ffn_norm": (width,), "attn_q": (width, width), "attn_k": (pairs, width),
            "attn_v": (pairs, width), "attn_output": (width, width), "ffn_gate": (s["I"], width),
            "ffn_up": (s["I"], width), "ffn_down": (width, s["I"]),
        }  # fmt: skip
        shapes |= {f"blk.{i}.{name}.weight": shape for name, shape in parts.items()}
    header, body = b"", b""
    for name, shape in shapes.items():
        own = "F32" if len(shape) == 1 else kind
        header += text(name) + struct.pack(f"<I{len(shape)}Q", len(shape), *reversed(shape))
        header += struct.pack("<IQ", KINDS[own], len(body))
        body += blocks(own, int(np.prod(shape)), source)[0]
        body += b"\0" * (-len(body) % 32)
    pairs_of_metadata = b"".join(text(key) + value(x) for key, x in metadata.items())
    front = b"GGUF" + struct.pack("<IQQ", 3, len(shapes), len(metadata)) + pairs_of_metadata + header
    path.write_bytes(front + b"\0" * (-len(front) % 32) + body)
    return path


@pytest.mark.parametrize(("tied", "kind"), [(True, "Q4_1"), (False, "Q8_0"), (False, "F16")])
def test_a_file_gives_the_weights_and_logits_that_transformers_reads_from_it(tmp_path, tied, kind):
    pytest.importorskip("gguf")
    a_file(tmp_path / "small.gguf", tied=tied, kind=kind)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path, gguf_file="small.gguf", dtype=torch.float32
    ).eval()
    model, _ = load_model(tmp_path / "small.gguf", "float32")
    expected = theirs.state_dict()
    assert all(torch.equal(part, expected[name]) for name, part in model.named_parameters())
    ids = torch.arange(40)[None]
    with torch.no_grad():
        torch.testing.assert_close(model.logits(model.hidden(ids)), theirs(ids).logits, rtol=1e-4, atol=1e-4)


def test_what_was_read_can_be_saved(tmp_path):
    model, tokenizer = load_gguf(a_file(tmp_path / "small.gguf"))
    save_model(model, tokenizer, tmp_path / "saved")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "saved")
    assert torch.equal(theirs.state_dict()["model.layers.1.self_attn.q_proj.weight"], dict(model.named_parameters())[
        "model.layers.1.self_attn.q_proj.weight"
    ])  # fmt: skip
    again = transformers.AutoTokenizer.from_pretrained(tmp_path / "saved")
    for words in ("hello world 12 Ünï\n", "<|begin|>hell<|end|>"):
        assert again(words)["input_ids"] == tokenizer(words)["input_ids"]
        assert tokenizer.decode(tokenizer(words)["input_ids"]) == words
    assert tokenizer("hello w")["input_ids"] == [260, tokenizer.get_vocab()["o"], 261]
    assert tokenizer("<|end|>")["input_ids"] == [tokenizer.eos_token_id] == [0]
    chat = [{"role": "user", "content": "hello"}]
    assert again.apply_chat_template(chat, tokenize=False) == "<|begin|>hello<|end|>"


def test_a_start_mark_is_added_where_the_file_says_so(tmp_path):
    _, tokenizer = load_gguf(a_file(tmp_path / "small.gguf", **{"tokenizer.ggml.add_bos_token": True}))
    assert tokenizer("he")["input_ids"] == [1, 258]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"general.architecture": "gemma"}, "kind 'gemma'"),
        ({"llama.rope.scaling.type": "yarn"}, "scaled positions"),
        ({"tokenizer.ggml.model": "llama"}, r"tokenizer \(llama, smollm\)"),
        ({"tokenizer.ggml.pre": "qwen2"}, r"tokenizer \(gpt2, qwen2\)"),
        ({"llama.block_count": 3}, "weights are not those of a Llama model"),
        ({"llama.feed_forward_length": 60}, "has shape"),
        ({"llama.embedding_length": "wide"}, "how large"),
    ],
)
def test_what_is_not_supported_is_named(tmp_path, changes, says):
    with pytest.raises(UsageError, match=says):
        load_gguf(a_file(tmp_path / "small.gguf", **changes))


def test_any_torn_file_is_a_clear_error(tmp_path):
    path = a_file(tmp_path / "small.gguf")
    whole = path.read_bytes()
    for length in (0, 3, 20, 100, 5_000, len(whole) // 2, len(whole) - 40):
        path.write_bytes(whole[:length])
        with pytest.raises(UsageError, match="copy it again"):
            load_gguf(path)
    for place in range(8, 400, 7):  # lengths and counts gone wild
        path.write_bytes(whole[:place] + b"\xff\xff\xff\xff" + whole[place + 4 :])
        try:
            load_gguf(path)
        except UsageError:
            continue
    path.write_bytes(b"PK" + whole[2:])
    with pytest.raises(UsageError, match="it starts with b'PK"):
        read_gguf(path)


TEXTS = (
    "Hello 2024, 1234567 and 12.5%  two  spaces\n\n\ttabs", "naïve café “quotes” 日本語 😀", "  leading", " 12 123",
    "<|im_start|>user\nhi<|im_end|>", "don't I'LL we've", "def f(x):\n    return x**2 # 3", "", "\r\n\x00", "<|endoftext|>",
)  # fmt: skip


@pytest.mark.slow
def test_smollm2_is_what_transformers_reads():
    pytest.importorskip("gguf")
    path = fetch("smollm2-135m")["model.gguf"]
    where = {"pretrained_model_name_or_path": str(path.parent), "gguf_file": path.name}
    theirs = transformers.AutoModelForCausalLM.from_pretrained(**where, dtype=torch.float32).state_dict()
    model, tokenizer = load_model("smollm2-135m", "float32")
    assert sum(part.numel() for part in model.parameters()) == 134_515_008
    for name, part in model.named_parameters():
        assert torch.equal(part, theirs[name]), name
    other = transformers.AutoTokenizer.from_pretrained(**where)
    for words in TEXTS:
        assert tokenizer(words)["input_ids"] == other(words)["input_ids"]
        assert tokenizer.decode(tokenizer(words)["input_ids"]) == words
    chat = [{"role": "user", "content": "Hi 12"}, {"role": "assistant", "content": "Yes"}]
    for options in ({}, {"add_generation_prompt": True}):
        ours = tokenizer.apply_chat_template(chat, tokenize=False, **options)
        assert ours == other.apply_chat_template(chat, tokenize=False, **options)
