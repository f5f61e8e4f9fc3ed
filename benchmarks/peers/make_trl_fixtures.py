"""Write down what TRL's own trainers compute, for tests/maths/test_peers_trl.py; runs in an environment of its own.

Usage: make_trl_fixtures.py [FOLDER], by default tests/fixtures/trl. Needs what benchmarks/peers_text.txt lists.

Nothing is restated here. Each trainer is built on a Llama of random weights and a vocabulary of a few words, in double
precision; its own loss function is called on its own batch while what goes in (log-probabilities, scores, advantages) and
what comes out (losses, logged figures, gradients of those inputs) is noted. B sequences, chosen first; T tokens; G group.
"""

import json
import platform
import sys
import tempfile
from importlib import metadata
from pathlib import Path

import torch
from datasets import Dataset
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, LlamaForSequenceClassification, PreTrainedTokenizerFast
from trl import DPOConfig, DPOTrainer, GRPOConfig, GRPOTrainer, RewardConfig, RewardTrainer

FOLDER = Path(__file__).parents[2] / "tests" / "fixtures" / "trl"
PACKAGES = ("trl", "transformers", "torch")
WORDS = [
    "a",
    "bad",
    "dull",
    "fine",
    "good",
    "great",
    "film",
    "it",
    "plot",
    "is",
    "not",
    "slow",
    "the",
    "very",
    "warm",
    "was",
]
GROUP, NEW_TOKENS = 4, 7
PAIRS = [
    {"prompt": "the film", "chosen": " was very good", "rejected": " was dull"},
    {"prompt": "it is", "chosen": " great", "rejected": " not a good film it was bad"},
    {"prompt": "a warm plot", "chosen": " it was fine", "rejected": " is slow"},
]


def tokenizer():
    vocabulary = {word: index for index, word in enumerate(["<pad>", "<end>", "<unknown>", *WORDS])}
    inner = Tokenizer(models.WordLevel(vocabulary, unk_token="<unknown>"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    special = {"pad_token": "<pad>", "eos_token": "<end>", "unk_token": "<unknown>"}
    return PreTrainedTokenizerFast(tokenizer_object=inner, **special)


def model(kind, seed):
    """Return a Llama of random weights, far enough from uniform for the losses to differ."""
    torch.manual_seed(seed)
    sizes = {"hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    ends = {"vocab_size": 3 + len(WORDS), "pad_token_id": 0, "eos_token_id": 1, "bos_token_id": None}
    made = kind(LlamaConfig(**sizes, **ends, num_labels=1, initializer_range=0.7))
    return made.double()


def options(folder, **more):
    """Return what every trainer is told: one device, nothing reported, no checkpointing, no mixed precision."""
    quiet = {"report_to": "none", "disable_tqdm": True, "save_strategy": "no", "use_cpu": True, "bf16": False}
    return {"output_dir": folder, "activation_checkpointing": False, **quiet, **more}


def noting(module, kept):
    """Keep every output of a module; its floating-point tensors keep their gradients."""

    def hook(_, arguments, output):
        for tensor in vars(output).values() if not isinstance(output, dict) else output.values():
            if isinstance(tensor, torch.Tensor) and tensor.requires_grad:
                tensor.retain_grad()
        kept.append(output)

    return module.register_forward_hook(hook)


def logged(trainer, *names):
    return {name: trainer._metrics["train"][name][-1] for name in names}


def dpo(folder):
    """Losses of DPO on the same log-probabilities, by loss type; the labels' noise counts in the robust one."""
    result = {"beta": 0.3, "label_smoothing": 0.15, "losses": {}}
    for loss_type in ("sigmoid", "robust", "ipo"):
        smoothing = {"label_smoothing": result["label_smoothing"]} if loss_type == "robust" else {}
        trainer = DPOTrainer(
            model=model(LlamaForCausalLM, 1),
            ref_model=model(LlamaForCausalLM, 2),
            args=DPOConfig(
                **options(folder, loss_type=loss_type, beta=result["beta"], per_device_train_batch_size=3, **smoothing)
            ),
            train_dataset=Dataset.from_list(PAIRS),
            processing_class=tokenizer(),
        )
        policy, reference = [], []
        noting(trainer.model, policy)
        noting(trainer.ref_model, reference)
        batch = next(iter(trainer.get_train_dataloader()))
        loss = trainer.compute_loss(trainer.model, batch)
        loss.backward()
        ((ours,), (theirs,)) = policy, reference
        result |= {
            "completion": batch["completion_mask"][:, 1:].bool(),  # [2 B, T-1]
            "logp": ours.log_probs,
            "logp_ref": theirs.log_probs,
        }
        names = ("rewards/chosen", "rewards/rejected", "rewards/accuracies", "rewards/margins", "logps/chosen")
        result["losses"][loss_type] = {
            "loss": loss,
            "logp_grad": ours.log_probs.grad,
            "logged": logged(trainer, *names),
        }
    return result


def reward(folder):
    """Loss of a reward model with a margin in the data and its scores pulled to a mean of zero."""
    pairs = [pair | {"margin": margin} for pair, margin in zip(PAIRS, (0.0, 0.7, 1.3))]
    centring = 0.05
    trainer = RewardTrainer(
        model=model(LlamaForSequenceClassification, 3),
        args=RewardConfig(**options(folder, center_rewards_coefficient=centring, per_device_train_batch_size=3)),
        train_dataset=Dataset.from_list(pairs),
        processing_class=tokenizer(),
    )
    kept = []
    noting(trainer.model, kept)
    batch = next(iter(trainer.get_train_dataloader()))
    margin = batch["margin"].clone()
    loss = trainer.compute_loss(trainer.model, batch)
    loss.backward()
    (output,) = kept
    return {
        "centring": centring,
        "margin": margin,
        "score": output.logits.squeeze(-1),
        "score_grad": output.logits.grad.squeeze(-1),
        "loss": loss,
        "logged": logged(trainer, "accuracy", "margin"),
    }


def words_of_praise(completions, **_):
    return [sum(text.split().count(word) for word in ("good", "great", "fine", "warm")) for text in completions]


def grpo(folder):
    """Losses and advantages of GRPO by loss type, on generated completions and an older policy's log-probabilities."""
    result = {"clip": 0.2, "beta": 0.04, "max_completion_length": NEW_TOKENS, "losses": {}}
    model(LlamaForCausalLM, 6).save_pretrained(f"{folder}/reference")
    for loss_type in ("grpo", "dr_grpo", "dapo"):
        policy = model(LlamaForCausalLM, 4)
        policy.config._name_or_path = f"{folder}/reference"  # whence the trainer reads its reference
        clip = {"epsilon": result["clip"], "beta": result["beta"]}
        size = {"per_device_train_batch_size": 2 * GROUP, "num_generations": GROUP}
        trainer = GRPOTrainer(
            model=policy,
            reward_funcs=words_of_praise,
            args=GRPOConfig(
                **options(folder, loss_type=loss_type, max_completion_length=NEW_TOKENS, seed=5, **size, **clip),
                scale_rewards="none" if loss_type == "dr_grpo" else "group",  # as its authors have it
            ),
            train_dataset=Dataset.from_list([{"prompt": pair["prompt"]} for pair in PAIRS]),
            processing_class=tokenizer(),
        )
        trainer.ref_model.double()
        trainer.model.train()
        trainer.current_gradient_accumulation_steps = 1
        rewards = []
        score = trainer._calculate_rewards
        trainer._calculate_rewards = lambda *given, score=score, kept=rewards: kept.append(score(*given)) or kept[-1]
        batch = trainer._generate_and_score_completions(next(iter(trainer.get_train_dataloader())))
        noise = torch.randn(batch["completion_ids"].shape, generator=torch.Generator().manual_seed(7)) * 0.3
        kept = []
        noting(trainer.model, kept)
        with torch.no_grad():
            trainer.compute_loss(trainer.model, batch)
        columns = batch["completion_ids"].shape[1]
        logp_old = kept.pop().log_probs[:, -columns:] + noise.double()
        loss = trainer.compute_loss(trainer.model, batch | {"old_per_token_logps": logp_old})
        loss.backward()
        (output,) = kept
        mask = batch["completion_mask"].bool()
        result |= {
            "completion": mask,  # [B, T]
            "reward": rewards[0].sum(1).reshape(-1, GROUP),  # [B / G, G]
            "logp": output.log_probs[:, -columns:],
            "logp_old": logp_old,
            "logp_ref": batch["ref_per_token_logps"],
        }
        assert not mask.all()  # some end by themselves
        result["losses"][loss_type] = {
            "advantage": batch["advantages"],
            "loss": loss,
            "logp_grad": output.log_probs.grad[:, -columns:],
            "logged": logged(trainer, "kl", "clip_ratio/low_mean", "clip_ratio/high_mean"),
        }
    return result


def plain(value):
    """Return something that JSON can hold, numbers to twelve digits."""
    if isinstance(value, dict):
        return {name: plain(inner) for name, inner in value.items()}
    if isinstance(value, torch.Tensor):
        value = value.detach().tolist()
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    return float(f"{value:.12g}") if isinstance(value, float) else value


def main():
    torch.set_num_threads(1)
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER
    target.mkdir(parents=True, exist_ok=True)
    made_with = {name: metadata.version(name) for name in PACKAGES} | {"python": platform.python_version()}
    with tempfile.TemporaryDirectory() as scratch:
        for make in (dpo, reward, grpo):
            text = json.dumps({"made_with": made_with} | plain(make(scratch)))
            (target / f"{make.__name__}.json").write_text(text + "\n", encoding="utf-8")
            print(f"{make.__name__}: {len(text):,} bytes")
    print(made_with)


if __name__ == "__main__":
    main()
