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


def together(place, *words, count=2, torchrun=False):
    """Run a command line in several processes that know of each other; return code and stderr of the first."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    command = [sys.executable, "-m", "cumulant", *map(str, words)]
    if torchrun:
        launch = ["-m", "torch.distributed.run", "--nproc-per-node", str(count), "--master-addr", "127.0.0.1"]
        command = [sys.executable, *launch, "--master-port", port, *command[1:]]
        started = [subprocess.Popen(command, cwd=place, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)]
    else:
        about = {"WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
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
