"""The training steps of every stage, ours and TRL's on the same weights and data; ``rlhf.py`` runs it."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from measure import OURS, Spread, run_json, table

SIZES = {
    "vocab_size": 4096, "hidden_size": 320, "intermediate_size": 864, "num_hidden_layers": 8, "num_attention_heads": 10,
    "max_position_embeddings": 1024, "tie_word_embeddings": True, "pad_token_id": 1,
}  # fmt: skip
TRL = "TRL"
SHARED: dict[str, Any] = {"learning_rate": 1e-5, "warmup": 1, "parts": 1, "context": 128, "new": 64}
TASKS: dict[str, dict[str, Any]] = {  # share: of TRL's time, at most, that we want to need
    "SFT, packed 8 x 128": {"algo": "sft", "data": "texts", "rows": 8, "steps": 8, "share": 1.0},
    "reward model, 8 pairs": {"algo": "reward_model", "data": "pairs", "rows": 8, "steps": 12, "share": 1.0},
    "DPO, 8 pairs": {"algo": "dpo", "data": "pairs", "rows": 8, "steps": 12, "share": 0.6, "beta": 0.1},
    "DPO, 8 pairs, reference known to both": {
        "algo": "dpo", "data": "pairs", "rows": 8, "steps": 12, "beta": 0.1, "reference_known": True,
    },
    "GRPO, 4 x 8 answers of 64": {
        "algo": "grpo", "data": "prompts", "rows": 32, "parts": 2, "group": 8, "steps": 3, "share": 0.7, "beta": 0.04,
    },
    "PPO, 32 answers of 64": {
        "algo": "rlhf", "data": "prompts", "rows": 32, "parts": 2, "steps": 3, "share": 0.6, "beta": 0.05,
    },
}  # fmt: skip
NOTES = """A step is all that belongs to it: batches, writing, scoring, both passes, the optimiser, metrics. All weights are
trained, in float32; nothing is computed twice to save memory, and no checkpoints are written, on either side. The texts have the
same tokens; where an answer ends by itself (one token in 4,096) ours has less to do."""
GIVEN = """- SFT: 1,024 tokens a step, two texts of 64 in a row; ours keeps texts in a row apart, TRL's rows (`wrapped`) run on.
- Reward model, DPO: answers of 16 to 64 tokens. Ours puts pairs of like length together, as it does by default.
- DPO: our reference is computed once for each answer. The row counts that in full, as if every pair were read once only; "further
  passes" are the steps alone, which is what a second reading of the pairs costs, and TRL's, whose reference runs in every step by
  default. "Known to both" has TRL compute it beforehand, too (`precompute_ref_log_probs`), and counts it for neither."""
OWN = """- GRPO: the score is a function in Python, the KL loss has the weight 0.04.
- PPO: one pass over 32 answers, a reward model of the same size on both sides. TRL trains a second model for values. Ours reads
  them from the reference's states, which are there already: less work by method, and part of the ratio."""
SECTIONS = {  # of the results: stages, and how they were measured
    "Training steps on given texts": (("sft", "reward_model", "dpo"), GIVEN),
    "Training steps on answers of the model's own": (("grpo", "rlhf"), OWN),
}


def prepare(folder: Path, layers: int) -> dict[str, str]:
    """Write a model, a reward model of its size and data, all random, and return where they are."""
    import torch
    import transformers
    from tokenizers import Tokenizer, models, pre_tokenizers

    from cumulant.nn.causal_lm import save_model
    from cumulant.nn.llama import Llama, LlamaConfig
    from cumulant.nn.reward_model import begin_reward_model

    special = ["<end>", "<pad>", "<unknown>"]
    words = [f"{'aeiou'[index % 5]}{index}" for index in range(SIZES["vocab_size"] - len(special))]
    inner = Tokenizer(models.WordLevel({word: i for i, word in enumerate([*special, *words])}, unk_token="<unknown>"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    names = {"eos_token": "<end>", "pad_token": "<pad>", "unk_token": "<unknown>"}
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=inner, **names)
    paths = {name: str(folder / name) for name in ("model", "reward", "texts", "pairs", "prompts")}
    random_weights, draw = torch.Generator().manual_seed(0), random.Random(0)
    config = LlamaConfig(**SIZES | {"num_hidden_layers": layers})
    save_model(Llama(config, random_weights), tokenizer, paths["model"])
    judge, _ = begin_reward_model(paths["model"], 1.0, "float32")
    torch.nn.init.normal_(judge.score.weight, std=0.05, generator=random_weights)
    judge.save(tokenizer, Path(paths["reward"]))

    def text(count: int) -> str:
        return " ".join(draw.choices(words, k=count))

    def pair() -> dict[str, str]:
        return {"prompt": text(12), **{side: " " + text(draw.randint(16, 64)) for side in ("chosen", "rejected")}}

    data: dict[str, Callable[[], dict[str, str]]] = {
        "texts": lambda: {"text": text(62)},
        "pairs": pair,
        "prompts": lambda: {"prompt": text(12)},
    }
    for name, row in data.items():
        Path(paths[name]).mkdir()
        for part, count in (("train", 14 * 8), ("held-out", 4)):
            lines = "".join(json.dumps(row()) + "\n" for _ in range(count))
            (Path(paths[name]) / f"{part}.jsonl").write_text(lines, encoding="utf-8")
    return paths


class Enough(Exception):
    """All that is timed is over; the evaluation, which would follow, is not part of it."""


def vowels(prompts: list[str], completions: list[str]) -> list[float]:
    """Return the share of vowels in each completion, as a reward."""
    return [sum(text.count(letter) for letter in "aeiou") / max(1, len(text)) for text in completions]


def time_ours(wanted: dict[str, Any]) -> dict[str, Any]:
    """Run a stage as any run does, and time its steps after the first ones."""
    import torch

    from cumulant import __version__, api
    from cumulant.algos import dpo

    last = wanted["warmup"] + wanted["steps"]
    rows, tuning = wanted["rows"], {"model": wanted["model"], "lora_rank": 0, "precision": "float32"}
    fields: dict[str, Any] = {"total_steps": last + 1, "learning_rate": wanted["learning_rate"], "batch_size": rows}
    written = {"minibatches": 1, "epochs": 1, "micro_batch": rows // wanted["parts"], "max_new_tokens": wanted["new"]}
    whole = {"depth": 1.0, "trained_layers": 10**6, "max_responses": 0, "precision": "float32"}
    fields |= {
        "sft": lambda: {
            "batch_size": 2 * rows, "micro_batch": 2 * rows, "context": wanted["context"], "eval_every_steps": 10**9,
            "tuning": tuning,
        },
        "reward_model": lambda: {"model": wanted["model"], "context": wanted["context"], **whole},
        "dpo": lambda: {"beta": wanted["beta"], "micro_batch": rows, "context": wanted["context"], "tuning": tuning},
        "grpo": lambda: {
            **written, "beta": wanted["beta"], "group_size": wanted["group"], "tuning": tuning,
            "scoring": {"reward": f"{__file__}:vowels", "standardise": False},
        },
        "rlhf": lambda: {
            **written, "kl": {"beta": wanted["beta"]}, "scoring": {"reward": wanted["reward"]}, "tuning": tuning,
            "reference_samples": rows,
        },
    }[wanted["algo"]]()  # fmt: skip
    marks: list[float] = []
    known: dict[str, float] = {}

    def note(_: int, row: dict[str, float]) -> None:
        if "loss/grad_norm" in row:  # other rows are looks at held-out texts
            marks.append(time.process_time())
            if len(marks) == last:
                raise Enough

    class Timed(dpo.Responses):
        def __init__(self, tuned: Any, texts: Any, most_bytes: float = 0.0) -> None:
            began = time.process_time()
            super().__init__(tuned, texts, most_bytes)
            known["reference_seconds"] = (time.process_time() - began) / len(texts) * 2 * rows  # of a step's pairs

    dpo.Responses = Timed  # type: ignore[misc]
    with tempfile.TemporaryDirectory() as folder, contextlib.suppress(Enough):
        spec = api.make_spec(wanted["algo"], wanted["data"], wanted["seed"], checkpoint_seconds=1e9, **fields)
        api.train_one(spec, Path(folder) / "run", progress=note)
    seconds = (marks[-1] - marks[wanted["warmup"] - 1]) / wanted["steps"]
    return {"version": __version__, "torch": torch.__version__, "cpu_seconds": seconds, "peak_mib": peak(), **known}


def peak() -> float:
    """Return the most memory that this process has had, in MiB; 0 where the system does not say."""
    with contextlib.suppress(OSError):
        status = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 1024
    return 0.0


def stages(options: argparse.Namespace) -> tuple[dict[str, Any], list[str]]:
    """Let ours and TRL take turns at each stage; return the figures, and what was left out."""
    script, peer_file = (Path(__file__).parent / file for file in ("rlhf.py", "peers/trl_stages.py"))
    quiet = ("HF_HUB_OFFLINE", "HF_HUB_DISABLE_TELEMETRY", "TRL_TELEMETRY_DISABLED", "TRL_EXPERIMENTAL_SILENCE")
    os.environ.update(dict.fromkeys((*quiet, "TQDM_DISABLE"), "1"), TOKENIZERS_PARALLELISM="false")
    runs: dict[str, Any] = {}
    missing: dict[str, None] = {}
    with tempfile.TemporaryDirectory() as folder:
        paths = prepare(Path(folder), options.layers)
        for name, task in TASKS.items():
            if task["algo"] not in options.only:
                continue
            wanted = {**SHARED, "reference_known": False, **task, **{key: paths[key] for key in ("model", "reward")}}
            wanted |= {"data": paths[task["data"]], **({"steps": options.steps} if options.steps else {})}
            python, needs = (
                (options.peers_ppo, "peers_ppo") if task["algo"] == "rlhf" else (options.peers, "peers_text")
            )
            commands = {OURS: [sys.executable, str(script), "--core", str(options.core), "--time-ours"]}
            if python.exists():
                commands[TRL] = [str(python), str(peer_file)]
            else:
                missing[_MISSING.format(python, needs)] = None
                if wanted["reference_known"]:
                    continue  # ours is the same as in the row before
            each: dict[str, list[dict[str, Any]]] = {side: [] for side in commands}
            for repeat in range(options.repeats):
                for side, command in commands.items():
                    each[side].append(run_json([*command, json.dumps({**wanted, "seed": repeat})]))
                    found = each[side][-1]
                    print(f"{name}, {side}: {found['cpu_seconds']:.2f} s, {found['peak_mib']:.0f} MiB", file=sys.stderr)
            once = task["algo"] == "dpo" and not wanted["reference_known"]
            runs[name] = compared(each, task, once)
            if once:
                runs[f"{name}, further passes"] = compared(each, {"algo": task["algo"]}, False)
    return runs, list(missing)


def compared(each: dict[str, list[dict[str, Any]]], task: dict[str, Any], with_reference: bool) -> dict[str, Any]:
    """Return the figures of one row; the ratio is formed within a turn."""
    seconds = {side: [run["cpu_seconds"] for run in runs] for side, runs in each.items()}
    if with_reference:
        seconds[OURS] = [run["cpu_seconds"] + run["reference_seconds"] for run in each[OURS]]
    row: dict[str, Any] = {
        "algo": task["algo"],
        "version": {side: runs[0]["version"] for side, runs in each.items()},
        "cpu_seconds": {side: Spread.of(values)._asdict() for side, values in seconds.items()},
        "peak_mib": {side: Spread.of([run["peak_mib"] for run in runs])._asdict() for side, runs in each.items()},
        "wanted_share": task.get("share"),
    }
    if TRL in seconds:
        row["share_of_peer"] = Spread.of([a / b for a, b in zip(seconds[OURS], seconds[TRL])])._asdict()
    return row


def stage_table(runs: dict[str, Any]) -> str:
    """Return the figures of the stages as a table."""

    def shown(values: dict[str, Any], side: str, spec: str) -> str:
        return format(Spread(**values[side]), spec) if side in values else ""

    rows = []
    for name, run in runs.items():
        share = f"{Spread(**run['share_of_peer']):.2f}x" if "share_of_peer" in run else ""
        asked = f"at most {run['wanted_share']:.1f}x" if run["wanted_share"] else ""
        seconds, memory = run["cpu_seconds"], run["peak_mib"]
        times = [shown(seconds, OURS, ".2f"), shown(seconds, TRL, ".2f"), share, asked]
        rows.append(
            [name, run["version"].get(TRL, ""), *times, shown(memory, OURS, ",.0f"), shown(memory, TRL, ",.0f")]
        )
    step, most = "CPU-seconds a step", "peak memory, MiB"
    sides = [f"{side}, {what}" for what in (step, most) for side in (OURS, TRL)]
    return table(["", TRL, *sides[:2], "ours of TRL's time", "wanted", *sides[2:]], rows)


_MISSING = (
    "TRL: skipped where it needs {0}, which is not there. Make it with `python -m venv FOLDER && FOLDER/bin/pip install -r "
    "benchmarks/{1}.txt`, FOLDER being .{1}, or name the Python of another environment with --peers and --peers-ppo."
)
