"""Time steps of TRL's trainers; runs in an environment of its own and knows nothing of ours. Prints one JSON line.

Usage: trl_stages.py '{"task": "sft", ...}', as ``rlhf.py`` calls it. PPO needs TRL 1.10, the last that had it; the others any.
"""

import json
import sys
import tempfile
import time
import warnings

import torch
import transformers
import trl
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer, TrainerCallback


class Clock(TrainerCallback):
    """Notes CPU time at the end of every step: from one to the next is a step with all that belongs to it."""

    def __init__(self):
        self.marks = []

    def on_step_end(self, *_, **__):
        self.marks.append(time.process_time())


def options(config, wanted, folder, **more):
    """Return the trainer's options: float32 and everything kept in memory, as ours; nothing reported or saved."""
    known = {field for kind in config.__mro__ for field in getattr(kind, "__dataclass_fields__", ())}
    given = {
        "output_dir": folder,
        "report_to": "none",
        "save_strategy": "no",
        "logging_steps": 1000,
        "max_steps": wanted["warmup"] + wanted["steps"],
        "per_device_train_batch_size": wanted["rows"] // wanted["parts"],
        "gradient_accumulation_steps": wanted["parts"],
        "learning_rate": wanted["learning_rate"],
        "lr_scheduler_type": "constant",
        "seed": wanted["seed"],
        "bf16": False,
        "use_cpu": True,
        "disable_tqdm": True,
    }
    names = ("gradient_checkpointing", "activation_checkpointing")  # the name changed
    given |= {name: False for name in names if name in known}
    return config(**given, **more)


def rows(wanted):
    with open(wanted["data"] + "/train.jsonl", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def policy(wanted):
    return AutoModelForCausalLM.from_pretrained(wanted["model"], dtype=torch.float32)


def scorer(folder):
    return AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32, num_labels=1)


def sft(wanted, folder, shared):
    args = options(
        trl.SFTConfig, wanted, folder, max_length=wanted["context"], packing=True, packing_strategy="wrapped"
    )
    return trl.SFTTrainer(model=policy(wanted), args=args, train_dataset=Dataset.from_list(rows(wanted)), **shared)


def reward_model(wanted, folder, shared):
    args = options(trl.RewardConfig, wanted, folder, max_length=wanted["context"])
    data = Dataset.from_list(rows(wanted))
    return trl.RewardTrainer(model=scorer(wanted["reward"]), args=args, train_dataset=data, **shared)


def dpo(wanted, folder, shared):
    known = {"precompute_ref_log_probs": wanted["reference_known"], "beta": wanted["beta"]}
    args = options(trl.DPOConfig, wanted, folder, max_length=wanted["context"], **known)
    both = {"model": policy(wanted), "ref_model": policy(wanted)}
    return trl.DPOTrainer(**both, args=args, train_dataset=Dataset.from_list(rows(wanted)), **shared)


def vowels(completions, **_):
    return [sum(text.count(letter) for letter in "aeiou") / max(1, len(text)) for text in completions]


def grpo(wanted, folder, shared):
    own = {"num_generations": wanted["group"], "max_completion_length": wanted["new"], "beta": wanted["beta"]}
    args = options(trl.GRPOConfig, wanted, folder, **own)
    data = Dataset.from_list(rows(wanted))
    trainer = trl.GRPOTrainer(model=policy(wanted), reward_funcs=vowels, args=args, train_dataset=data, **shared)
    assert {part.dtype for part in trainer.ref_model.parameters()} == {torch.float32}
    return trainer


def ppo(wanted, folder, shared):
    from trl.experimental.ppo import PPOConfig, PPOTrainer

    tokenizer = shared["processing_class"]
    tokenizer.padding_side = "left"
    args = options(
        PPOConfig,
        wanted,
        folder,
        total_episodes=wanted["rows"] * (wanted["warmup"] + wanted["steps"]),
        num_mini_batches=1,
        num_ppo_epochs=1,
        response_length=wanted["new"],
        local_rollout_forward_batch_size=wanted["rows"],
        num_sample_generations=0,
        temperature=1.0,
        kl_coef=wanted["beta"],
    )
    data = Dataset.from_list([{"input_ids": tokenizer(row["prompt"])["input_ids"]} for row in rows(wanted)])
    models = {"model": policy(wanted), "ref_model": policy(wanted)}
    models |= {"reward_model": scorer(wanted["reward"]), "value_model": scorer(wanted["reward"])}
    return PPOTrainer(args=args, train_dataset=data, **models, **shared)


def peak():
    """Return the most memory that this process has had, in MiB."""
    with open("/proc/self/status", encoding="ascii") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmHWM")) / 1024


def main():
    wanted = json.loads(sys.argv[1])
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    transformers.logging.set_verbosity_error()
    clock = Clock()
    shared = {"processing_class": AutoTokenizer.from_pretrained(wanted["model"]), "callbacks": [clock]}
    make = {"sft": sft, "reward_model": reward_model, "dpo": dpo, "grpo": grpo, "rlhf": ppo}[wanted["algo"]]
    with tempfile.TemporaryDirectory() as folder:
        trainer = make(wanted, folder, shared)
        printed, sys.stdout = sys.stdout, sys.stderr
        trainer.train()
        sys.stdout = printed
    first, last = clock.marks[wanted["warmup"] - 1], clock.marks[wanted["warmup"] + wanted["steps"] - 1]
    found = {"version": trl.__version__, "transformers": transformers.__version__, "torch": torch.__version__}
    print(json.dumps({**found, "cpu_seconds": (last - first) / wanted["steps"], "peak_mib": peak()}))


if __name__ == "__main__":
    main()
