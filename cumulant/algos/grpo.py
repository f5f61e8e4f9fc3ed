"""GRPO and RLOO: several answers to each prompt judge one another, so that no value function is needed.

Made for rewards that a program can check. Each prompt is answered ``group_size`` times; an answer's advantage is what it earned
less what its group did, the same for all its tokens; the clipped surrogate of PPO and a KL loss towards the reference follow.

    loss = sum_i w_i * sum_t (clipped surrogate_it + beta * KL loss_it)       over answers i and their real tokens t

``loss`` names the weights w_i: ``grpo`` gives every answer the same (1 / (answers * its tokens)), ``dapo`` every token
(1 / tokens of all answers), ``dr_grpo`` divides by a constant (1 / (answers * max_new_tokens)), so that the length of an answer
does not shrink what is said about it. RLOO is ``--advantage leave_one_out``.
Axes: B sequences, T tokens of prompt and answer, N tokens of the answer alone, G answers to one prompt. Text is ``[B, T]``.

Source: Shao et al. 2024, "DeepSeekMath" (GRPO); Yu et al. 2025, "DAPO"; Liu et al. 2025, "Understanding R1-Zero-like training"
(Dr. GRPO); Ahmadian et al. 2024, "Back to basics" (RLOO). Differs from source: the KL loss is weighted by the ratio, so that its
gradient is that of KL(policy || reference), also on samples of an older policy; DAPO's other clip range is left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import torch
import tyro
from torch import Tensor

from cumulant.engine.completions import draw_prompts, experience, of_completions, read_prompts, wanted
from cumulant.engine.judgement import judge
from cumulant.engine.ranks import add_up, add_up_gradients, share
from cumulant.engine.scoring import Scorer, ScoringConfig
from cumulant.engine.tuned import ComputeConfig, Tuned, TuningConfig
from cumulant.maths.group import group_relative_advantage, leave_one_out_advantage
from cumulant.maths.kl import kl_estimate, off_policy_kl_loss
from cumulant.maths.masked import masked_mean, masked_sum
from cumulant.maths.policy import clip_fraction, clipped_policy_loss
from cumulant.run.config import require
from cumulant.run.run import Run

CATEGORY = "language model"
USE = "answers that a program can check (--reward module:function); needs no reward model and no value function"
IN_PARALLEL = True  # several processes may train together, as torchrun starts them


@dataclass(frozen=True)
class Config:
    """Options of GRPO."""

    env: Annotated[str, tyro.conf.Suppress] = "movie-snippets"
    """Prompts: an embedded set or a file."""
    env_options: Annotated[Mapping[str, Any], tyro.conf.Suppress] = field(default_factory=dict)
    """None."""
    total_steps: int = 50
    """Updates, each on answers of its own."""
    batch_size: int = 32
    """Answers per update (B), a multiple of group_size."""
    group_size: int = 8
    """Answers to each prompt (G)."""
    max_new_tokens: int = 22
    """Where an answer is cut off (N)."""
    temperature: float = 1.0
    """Of sampling, and of the policy that is trained."""
    epochs: int = 1
    """Passes over each batch."""
    minibatches: int = 2
    """Gradient steps that each pass is cut into."""
    micro_batch: int = 16
    """Sequences that are in memory at a time; changes nothing but that."""
    learning_rate: float = 1e-3
    """Step size of AdamW; for all weights (--lora-rank 0) of a pre-trained model rather 1e-5."""
    warmup_steps: int = 2
    """Updates over which the step size rises to its full value."""
    advantage: Literal["group", "centred", "leave_one_out"] = "group"
    """Compared with the group in its standard deviations, without those (Dr. GRPO), or with the others (RLOO)."""
    loss: Literal["grpo", "dapo", "dr_grpo"] = "grpo"
    """What weighs the same: every answer, every token, or every token with a constant in the place of their number."""
    clip: float = 0.2
    """How far the probability ratio may move before the surrogate stops paying."""
    beta: float = 0.04
    """Weight of the KL loss towards the reference."""
    target_kl: float | None = None
    """Stop the passes over a batch once the policy has moved so far from the one that wrote it (nats a token)."""
    max_grad_norm: float = 1.0
    """Gradients are scaled down to this norm."""
    scoring: ScoringConfig = field(default_factory=lambda: ScoringConfig(standardise=False))
    """What scores an answer."""
    reference_samples: int = 128
    """Answers of the reference on which rewards are standardised, if they are."""
    tuning: TuningConfig = field(default_factory=TuningConfig)
    """Which model is trained."""
    compute: ComputeConfig = field(default_factory=ComputeConfig)
    """How it is computed."""
    eval_prompts: int = 192
    """Held-out prompts of the evaluation."""
    fluency_model: str = ""
    """Model under which the evaluation measures fluency, such as the one before fine-tuning; empty for the reference."""

    def __post_init__(self) -> None:
        for name in ("total_steps", "batch_size", "max_new_tokens", "epochs", "micro_batch"):
            require(self, name, getattr(self, name) >= 1, "at least 1")
        require(self, "group_size", self.group_size >= 2, "at least 2")
        require(
            self, "batch_size", self.batch_size % self.group_size == 0, f"a multiple of group_size {self.group_size}"
        )
        require(self, "minibatches", 1 <= self.minibatches <= self.batch_size, "from 1 to batch_size")
        for name in ("reference_samples", "eval_prompts"):
            require(self, name, getattr(self, name) >= 2, "at least 2")
        require(self, "clip", 0.0 < self.clip < 1.0, "between 0 and 1")
        for name in ("learning_rate", "max_grad_norm", "temperature"):
            require(self, name, getattr(self, name) > 0.0, "above 0")
        for name in ("beta", "warmup_steps"):
            require(self, name, getattr(self, name) >= 0, "at least 0")
        require(self, "target_kl", self.target_kl is None or self.target_kl > 0.0, "above 0, or none")


class Batch(NamedTuple):
    """What a gradient step reads; every tensor is ``[B, ...]``, and ``lower`` None where policy and reference share nothing."""

    ids: Tensor
    mask: Tensor
    real: Tensor
    logp_old: Tensor
    logp_ref: Tensor
    advantage: Tensor
    lower: Tensor | None

    def rows(self, index: Tensor) -> Batch:
        """Return some of the sequences."""
        return Batch._make(None if x is None else x[index] for x in self)


class Losses(NamedTuple):
    """What a gradient step minimises and its parts, with the entropy and log-probability of each token, ``[B, N]``."""

    total: Tensor
    policy: Tensor
    kl: Tensor
    entropy: Tensor
    logp: Tensor


def weights(real: Tensor, config: Config) -> Tensor:
    """Return what a token of each answer weighs in the loss of a gradient step, ``[B, N] -> [B]``.

    Args:
        real: Tokens that are learned from, of *all* answers of the step, ``[B, N]`` bool.
        config: Options.
    """
    tokens = real.sum(1)
    if config.loss == "dapo":
        return (1.0 / tokens.sum().clamp(min=1)).expand(len(real))
    answers = (tokens > 0).sum().clamp(min=1)
    if config.loss == "dr_grpo":
        return (1.0 / (answers * config.max_new_tokens)).expand(len(real))
    return 1.0 / (answers * tokens.clamp(min=1))


def minibatch_loss(tuned: Tuned, batch: Batch, config: Config, weight: Tensor) -> Losses:
    """Return the loss of one gradient step, or the share of it that some of its answers have.

    Args:
        tuned: Policy.
        batch: Answers.
        config: Options.
        weight: Of a token of each answer, ``[B]``, from ``weights`` of the whole step: so the losses of its parts add up to
            its own.
    """
    hidden = tuned.hidden(batch.ids, batch.mask, batch.lower)
    of = wanted(batch.real, batch.ids.shape[1])
    logp, entropy = (of_completions(x, batch.real) for x in tuned.logp(hidden, batch.ids, of, config.temperature))
    advantage = batch.advantage[:, None].expand(logp.shape)
    surrogate = clipped_policy_loss(logp, batch.logp_old, advantage, config.clip)
    divergence = off_policy_kl_loss(logp, batch.logp_old, batch.logp_ref)
    policy_loss, kl = (masked_sum(weight[:, None] * x, batch.real) for x in (surrogate, divergence))
    return Losses(policy_loss + config.beta * kl, policy_loss, kl, entropy, logp)


def train(config: Config, run: Run) -> None:
    """Train a language model and save it as ``model/``, with adapters also as ``adapter/``.

    Args:
        config: Options.
        run: Where it is logged and saved.
    """
    tuned = Tuned.begin(config.tuning, run.rng("init"), config.compute)
    scorer = Scorer(config.scoring, tuned.device)
    prompts = read_prompts(config.env, "train", tuned, config.max_new_tokens)
    read_prompts(config.env, "held-out", tuned, config.max_new_tokens)  # what is wrong there is to be said now
    trained = list(tuned.trainable.values())
    optimizer = torch.optim.AdamW(trained, config.learning_rate, betas=(0.9, 0.95), weight_decay=0.0, fused=True)
    run.track(tuned=tuned, scorer=scorer, optimizer=optimizer)
    prompt_rng, sample_rng, shuffle_rng = run.rng("prompts"), run.rng("sample"), run.rng("shuffle")
    shape, size = (config.max_new_tokens, config.temperature), config.group_size

    for iteration in run.iterations(config.total_steps):
        if iteration == 0 and config.scoring.standardise:
            asked = draw_prompts(prompts, config.reference_samples, prompt_rng)
            seen = experience(tuned, scorer, asked, *shape, sample_rng, of_reference=True)
            scorer.fit(seen.terms.numpy())

        asked = draw_prompts(prompts, config.batch_size // size, prompt_rng)
        seen = experience(tuned, scorer, [prompt for prompt in asked for _ in range(size)], *shape, sample_rng)
        groups = seen.reward.view(-1, size), seen.counts.view(-1, size)
        if config.advantage == "leave_one_out":
            advantage = leave_one_out_advantage(*groups)
        else:
            advantage = group_relative_advantage(*groups, standardise=config.advantage == "group")
        learned = seen.real & seen.counts[:, None]  # tokens that are learned from
        lower = seen.frozen.lower
        batch = Batch(seen.ids, seen.mask, learned, seen.logp, seen.logp_ref, advantage.reshape(-1), lower)

        optimizer.param_groups[0]["lr"] = config.learning_rate * min(1.0, (iteration + 1) / (config.warmup_steps + 1))
        for _ in range(config.epochs):
            logp, entropy, sums = torch.zeros_like(seen.logp), torch.zeros_like(seen.logp), seen.logp.new_zeros(2)
            order = torch.randperm(config.batch_size, generator=shuffle_rng)
            for index in order.tensor_split(config.minibatches):
                weight = torch.zeros(config.batch_size, device=tuned.device)
                weight[index] = weights(learned[index], config)
                optimizer.zero_grad()
                mine = index[share(len(index))]  # of several processes, each of which has written all answers
                for rows in mine.split(config.micro_batch) if len(mine) else ():
                    losses = minibatch_loss(tuned, batch.rows(rows), config, weight[rows])
                    losses.total.backward()
                    logp[rows], entropy[rows] = losses.logp.detach(), losses.entropy
                    sums += torch.stack([losses.policy, losses.kl]).detach()
                add_up_gradients(trained)
                grad_norm = torch.nn.utils.clip_grad_norm_(trained, config.max_grad_norm)
                optimizer.step()
            logp, entropy, sums = add_up(logp), add_up(entropy), add_up(sums)
            moved = masked_mean(kl_estimate(seen.logp, logp, "k3"), learned).item()
            if config.target_kl is not None and moved > config.target_kl:
                break

        run.log(
            steps=iteration + 1,
            **scorer.metrics(seen.terms.numpy()),
            **seen.metrics,
            **{
                "group/equal": (advantage == 0.0).all(1).double().mean().item(),  # groups that teach nothing
                "kl/nats": masked_sum(kl_estimate(seen.logp, seen.logp_ref, "k3"), seen.real).item() / len(learned),
                "kl/coefficient": config.beta,
                "loss/policy": sums[0].item() / config.minibatches,
                "loss/kl": sums[1].item() / config.minibatches,
                "loss/grad_norm": float(grad_norm),
                "policy/kl": moved,
                "policy/entropy": masked_mean(entropy, learned).item(),
                "policy/clip_fraction": masked_mean(clip_fraction(logp, seen.logp, config.clip), learned).item(),
            },
        )
        run.log_samples(seen.samples[:2])

    tuned.save(run.directory, config.tuning.model)


def evaluate(config: Config, directory: Path) -> dict[str, Any]:
    """Judge the model that a run has saved, on held-out prompts.

    Args:
        config: Options of the run.
        directory: Of the run.
    """
    tuned = Tuned.finished(config.tuning, directory, config.compute.device)
    prompts = read_prompts(config.env, "held-out", tuned, config.max_new_tokens)[: config.eval_prompts]
    shape = (config.max_new_tokens, config.temperature)
    return judge(tuned, Scorer(config.scoring, tuned.device), prompts, *shape, "grpo", config.fluency_model)
