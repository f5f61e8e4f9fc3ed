"""Two processes that train together give the losses of one; what cannot be shared out is refused."""

import json
import os
import socket
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file

from cumulant.engine import ranks

WORDS = ("red", "blue", "old", "wet", "loud")
FIELDS = (
    "--vocabulary", "290", "--total-steps", "6", "--width", "16", "--layers", "2", "--heads", "2", "--key-value-heads", "2",
    "--inner", "24", "--context", "24", "--batch-size", "5", "--micro-batch", "2", "--precision", "float32",
    "--eval-documents", "4", "--sample-tokens", "4", "--quiet", "--checkpoint-seconds", "0",
)  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = tmp_path_factory.mktemp("ranks")
    lines = [
        f"{who} {does} {what}" for who in ("cats", "dogs") for does in ("see", "eat", "want") for what in range(20)
    ]
    (place / "lines.txt").write_text("\n".join(lines))
    return place


def port():
    """A port that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return str(free.getsockname()[1])


def together(place, *words, count=2, torchrun=False):
    """Run a command line in several processes that know of each other; return code and stderr of the first."""
    at = port()
    command = [sys.executable, "-m", "cumulant", *map(str, words)]
    if torchrun:
        launch = ["-m", "torch.distributed.run", "--nproc-per-node", str(count), "--master-addr", "127.0.0.1"]
        command = [sys.executable, *launch, "--master-port", at, *command[1:]]
        started = [subprocess.Popen(command, cwd=place, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)]
    else:
        about = {"WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": at}
        started = [
            subprocess.Popen(
                command,
                cwd=place,
                env=os.environ | about | {"RANK": str(rank)},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for rank in range(count)
        ]
    said = [process.communicate(timeout=200) for process in started]
    assert all(out == "" for out, _ in said[1:])
    return [process.returncode for process in started], [err for _, err in said]


def rows(run):
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_two_processes_give_the_losses_of_one_and_can_be_resumed(place):
    assert subprocess.run(
        [sys.executable, "-m", "cumulant", "train", "pretrain", "lines.txt", *FIELDS, "--out", "one"],
        cwd=place, capture_output=True, check=True,
    )  # fmt: skip
    codes, errors = together(place, "train", "pretrain", "lines.txt", *FIELDS, "--out", "two", torchrun=True)
    assert codes == [0], errors
    for one, two in zip(rows(place / "one"), rows(place / "two"), strict=True):
        assert one["data/tokens"] == two["data/tokens"]
        assert two["loss/train"] == pytest.approx(one["loss/train"], abs=1e-6)
    for name, tensor in load_file(place / "one/model/model.safetensors").items():
        assert (load_file(place / "two/model/model.safetensors")[name] - tensor).abs().mean() < 1e-7
    whole = (place / "two/model/model.safetensors").read_bytes()
    (place / "two/evaluation.json").unlink()
    (place / "two/state/00000006.pt").unlink()  # as after a kill in the last step
    codes, errors = together(place, "resume", "two", "--quiet")
    assert codes == [0, 0], errors
    assert (place / "two/model/model.safetensors").read_bytes() == whole


WRITES = {
    "reward": "{place}/reward.py:codes",
    "reference_samples": 8,
    "max_new_tokens": 6,
    "eval_prompts": 2,
    "micro_batch": 2,
}
STAGES = {
    "sft of all weights": ("sft", {"lora_rank": 0, "context": 40, "eval_examples": 4, "sample_tokens": 4}),
    "sft of adapters": ("sft", {"lora_rank": 2, "context": 40, "eval_examples": 4, "sample_tokens": 4}),
    "reward model": ("reward_model", {"depth": 1.0, "trained_layers": 1, "context": 40}),
    "dpo of all weights": ("dpo", {"lora_rank": 0, "max_new_tokens": 4, "eval_pairs": 2}),
    "dpo of adapters": ("dpo", {"lora_rank": 2, "max_new_tokens": 4, "eval_pairs": 2}),
    "rlhf of adapters": ("rlhf", {**WRITES, "lora_rank": 2}),
    "rlhf with values in training": ("rlhf", {**WRITES, "lora_rank": 0, "value_features": "policy", "epochs": 2}),
    "grpo": ("grpo", {**WRITES, "lora_rank": 2, "batch_size": 6, "group_size": 3}),
    "one pair for two": ("dpo", {"lora_rank": 2, "batch_size": 1, "max_new_tokens": 4, "eval_pairs": 2}),
    "one pair for two, scored": ("reward_model", {"batch_size": 1, "depth": 1.0, "trained_layers": 2, "context": 40}),
}
TOGETHER = """
import json, os, sys
import cumulant
for number, (algo, data, port, fields) in enumerate(json.load(open("stages.json"))):
    os.environ["MASTER_PORT"] = port
    try:
        cumulant.train(algo, data, out=f"together{number}", **fields)
    except SystemExit as end:  # of a process that is not the first
        assert end.code == 0, end.code
"""


@pytest.fixture(scope="module")
def stages(place):
    """Every stage trained by one process and by two, as their rows and weights, ``{name: (of one, of two)}``."""
    import cumulant
    from cumulant.data.tokenizer import train_tokenizer
    from cumulant.nn.causal_lm import save_model, special_tokens
    from cumulant.nn.llama import Llama, LlamaConfig

    said = [{"prompt": f"the {a}", "chosen": f" is {a}", "rejected": f" is not so {b}"} for a in WORDS for b in WORDS]
    (place / "rows.jsonl").write_text("".join(json.dumps(row | {"completion": row["chosen"]}) + "\n" for row in said))
    tokenizer = train_tokenizer([row["prompt"] + row["rejected"] for row in said], 280)
    shape = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2,
        max_position_embeddings=48, tie_word_embeddings=True, initializer_range=0.2, **special_tokens(tokenizer),
    )  # fmt: skip
    save_model(Llama(shape, torch.Generator().manual_seed(0)), tokenizer, place / "model")
    shared = {"model": str(place / "model"), "precision": "float32", "batch_size": 5, "total_steps": 4}
    (place / "reward.py").write_text("def codes(prompts, texts): return [sum(map(ord, text)) % 11 for text in texts]")
    wanted = []
    for algo, fields in STAGES.values():
        named = {key: value.format(place=place) if isinstance(value, str) else value for key, value in fields.items()}
        wanted.append((algo, str(place / "rows.jsonl"), port(), shared | named))
    (place / "stages.json").write_text(json.dumps(wanted))
    about = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1", "OMP_NUM_THREADS": "1"}
    started = [
        subprocess.Popen([sys.executable, "-c", TOGETHER], cwd=place, env=os.environ | about | {"RANK": rank},
                         stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        for rank in "01"
    ]  # fmt: skip
    for number, (algo, data, _, fields) in enumerate(wanted):
        cumulant.train(algo, data, out=place / f"alone{number}", **fields)
    for process in started:
        _, err = process.communicate(timeout=250)
        assert process.returncode == 0, err
    return {
        name: tuple((rows(run), load_file(run / "model" / "model.safetensors")) for run in runs)
        for name, runs in ((n, [place / f"{x}{i}" for x in ("alone", "together")]) for i, n in enumerate(STAGES))
    }


@pytest.mark.parametrize("name", STAGES)
def test_two_processes_give_the_losses_of_one_in_every_stage(stages, name):
    (one, weights_of_one), (two, weights_of_two) = stages[name]
    losses = [key for key in one[0] if key.startswith(("loss/", "reward/", "kl/", "text/logp"))]
    assert len(losses) >= 2
    for alone, together_ in zip(one, two, strict=True):
        for key in losses:  # equal but for the order in which float32 numbers are added
            assert together_[key] == pytest.approx(alone[key], rel=1e-5, abs=1e-6), key
    assert len({row[losses[0]] for row in one}) > 1
    for key, tensor in weights_of_one.items():
        assert (weights_of_two[key] - tensor).abs().mean() < 1e-6


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("train", "ppo", "CartPole-v1"), "'ppo' trains without torchrun, which started 2 processes"),
        (("train", "pretrain", "lines.txt", "--seeds", "2"), "several seeds train without torchrun"),
    ],
)
def test_what_trains_in_one_process_is_refused(place, cli, monkeypatch, words, said):
    monkeypatch.chdir(place)
    for name, value in {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)
    answer = cli(*words)
    assert answer.code == 2
    assert said in answer.err
    assert not (place / "runs").exists()


@pytest.mark.parametrize("rows_of_batch", [1, 5, 16])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_every_row_is_one_process_s(monkeypatch, rows_of_batch, count):
    for name, value in {"WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)
    taken = []
    for rank in range(count):
        monkeypatch.setenv("RANK", str(rank))
        taken += list(range(rows_of_batch))[ranks.share(rows_of_batch)]
    assert taken == list(range(rows_of_batch))


def test_alone_nothing_is_added():
    assert ranks.add_up(torch.ones(2)).tolist() == [1.0, 1.0]
