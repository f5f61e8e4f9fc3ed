"""PPO for language models: reinforcement learning from human feedback, held near a reference by a KL penalty.

A completion is an episode: its tokens are the actions, the score of the whole text is the reward at its last token, and every
token pays for leaving the reference model. From there on it is PPO: advantages (GAE), whitening, the clipped surrogate; the
formulas are those that ``ppo`` calls.

    reward_t = -beta * kl_t + (score, at the last real token),    kl_t estimates KL(policy || reference) from the sampled token

Axes: B sequences, T tokens of prompt and completion, N tokens of the completion alone, F features. Text is ``[B, T]``.

Source: Ziegler et al. 2019, "Fine-tuning language models from human preferences"; Stiennon et al. 2020; Ouyang et al. 2022.
Differs from source: rewards are measured in standard deviations of the reference's own completions, so that beta means the same
under every scorer; the value is linear in features (of the frozen reference, a regression over all updates, or of the policy).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import torch
import tyro
from torch import Tensor

from cumulant.engine.completions import (
    Experience,
    completion_states,
    draw_prompts,
    experience,
    of_completions,
    read_prompts,
    wanted,
)
from cumulant.engine.judgement import judge
from cumulant.engine.ranks import add_up, add_up_gradients, share
from cumulant.engine.scoring import Scorer, ScoringConfig
from cumulant.engine.tuned import ComputeConfig, Critic, Tuned, TuningConfig
from cumulant.maths.kl import adaptive_coefficient, kl_estimate
from cumulant.maths.masked import masked_mean, masked_sum, masked_whiten
from cumulant.maths.policy import clip_fraction, clipped_policy_loss
from cumulant.maths.returns import gae
from cumulant.maths.value import clipped_value_loss, value_loss
from cumulant.run.config import require
from cumulant.run.run import Run

CATEGORY = "language model"
USE = (
    "to make a language model's answers score higher under a reward model or any function, without losing its language"
)
IN_PARALLEL = True  # several processes may train together, as torchrun starts them


@dataclass(frozen=True)
class KLConfig:
    """What leaving the reference costs."""

    beta: float = 0.2
    """Price of a nat of KL(policy || reference), in the unit of the reward."""
    kl_goal: float | None = None
    """Nats per completion to which the price is steered; none for a fixed price."""
    kl_step: float = 0.5
    """How fast it is steered: a fifth of this is the most that the price changes per update."""
    kl_estimate: Literal["k1", "k2", "k3"] = "k1"
    """How KL is estimated from a token: unbiased; biased and calm; unbiased and calm."""

    def __post_init__(self) -> None:
        require(self, "beta", self.beta >= 0.0, "at least 0")
        require(self, "kl_goal", self.kl_goal is None or self.kl_goal > 0.0, "above 0, or none")
        require(self, "kl_step", 0.0 <= self.kl_step <= 1.0, "in [0, 1]")
        if self.kl_goal is not None:
            require(self, "beta", self.beta > 0.0, "above 0 where it is steered")


@dataclass(frozen=True)
class CriticConfig:
    """How values are learned."""

    value_features: Literal["frozen", "policy"] = "frozen"
    """What values are read from: the reference's states, which stand still, or the policy's, which learn them too."""
    value_ridge: float = 3.0
    """Pull of frozen values towards their mean; they are solved anew after every update, by ridge regression."""
    value_memory: float = 0.9
    """Weight that the samples of earlier updates keep in that regression."""
    value_learning_rate: float = 1e-3
    """Step size of AdamW for values of the policy's states."""
    value_coef: float = 0.5
    """Weight of their loss."""
    value_clip: float | None = None
    """How far they may move per update; none for no limit."""

    def __post_init__(self) -> None:
        require(self, "value_ridge", self.value_ridge > 0.0, "above 0")
        require(self, "value_memory", 0.0 <= self.value_memory <= 1.0, "in [0, 1]")
        require(self, "value_learning_rate", self.value_learning_rate > 0.0, "above 0")
        require(self, "value_coef", self.value_coef >= 0.0, "at least 0")
        require(self, "value_clip", self.value_clip is None or self.value_clip > 0.0, "above 0, or none")


@dataclass(frozen=True)
class Config:
    """Options of RLHF."""

    env: Annotated[str, tyro.conf.Suppress] = "movie-snippets"
    """Prompts: an embedded set or a file."""
    env_options: Annotated[Mapping[str, Any], tyro.conf.Suppress] = field(default_factory=dict)
    """None."""
    total_steps: int = 25
    """Updates, each on completions of its own."""
    batch_size: int = 32
    """Completions per update (B)."""
    max_new_tokens: int = 22
    """Where a completion is cut off (N)."""
    temperature: float = 1.0
    """Of sampling, and of the policy that is trained."""
    epochs: int = 1
    """Passes over each batch."""
    minibatches: int = 2
    """Gradient steps that each pass is cut into."""
    micro_batch: int = 16
    """Sequences that are in memory at a time; changes nothing but that."""
    learning_rate: float = 1e-3
    """Step size of AdamW for the policy; for all weights (--lora-rank 0) of a pre-trained model rather 1e-5."""
    warmup_steps: int = 2
    """Updates over which the step sizes rise to their full value."""
    decay: float = 0.5
    """Share of the updates, the last ones, over which the step sizes fall to nothing in a straight line."""
    gamma: float = 1.0
    """Discount per token."""
    lam: float = 0.95
    """Trace decay of the advantage estimate (GAE)."""
    clip: float = 0.2
    """How far the probability ratio may move before the surrogate stops paying."""
    target_kl: float | None = None
    """Stop the passes over a batch once the policy has moved so far from the one that wrote it (nats a token)."""
    max_grad_norm: float = 1.0
    """Gradients are scaled down to this norm."""
    reference_samples: int = 128
    """Completions of the reference on which rewards are standardised and frozen values begin."""
    kl: KLConfig = field(default_factory=KLConfig)
    """What leaving the reference costs."""
    critic: CriticConfig = field(default_factory=CriticConfig)
    """How values are learned."""
    scoring: ScoringConfig = field(default_factory=ScoringConfig)
    """What scores a completion."""
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
        for name in ("reference_samples", "eval_prompts"):
            require(self, name, getattr(self, name) >= 2, "at least 2")
        require(self, "minibatches", 1 <= self.minibatches <= self.batch_size, "from 1 to batch_size")
        for name in ("gamma", "lam"):
            require(self, name, 0.0 <= getattr(self, name) <= 1.0, "in [0, 1]")
        require(self, "clip", 0.0 < self.clip < 1.0, "between 0 and 1")
        for name in ("learning_rate", "max_grad_norm", "temperature"):
            require(self, name, getattr(self, name) > 0.0, "above 0")
        require(self, "warmup_steps", self.warmup_steps >= 0, "at least 0")
        require(self, "decay", 0.0 <= self.decay <= 1.0, "in [0, 1]")
        require(self, "target_kl", self.target_kl is None or self.target_kl > 0.0, "above 0, or none")


class Batch(NamedTuple):
    """What a gradient step reads; every tensor is ``[B, ...]``, and ``None`` where a setting has no use for it."""

    ids: Tensor
    mask: Tensor
    real: Tensor
    logp_old: Tensor
    value_old: Tensor
    advantage: Tensor
    target: Tensor
    lower: Tensor | None
    features: Tensor | None

    def rows(self, index: Tensor) -> Batch:
        """Return some of the sequences."""
        return Batch._make(None if x is None else x[index] for x in self)


class Losses(NamedTuple):
    """What a gradient step minimises and its parts, with the entropy and log-probability of each token, ``[B, N]``."""

    total: Tensor
    policy: Tensor
    value: Tensor
    entropy: Tensor
    logp: Tensor


def minibatch_loss(tuned: Tuned, critic: Critic, batch: Batch, config: Config, count: float | Tensor) -> Losses:
    """Return the loss of one gradient step, or the share of it that some of its sequences have.

        loss = sum(clipped surrogate) / count + value_coef * sum(value loss) / count        sums over real tokens

    Args:
        tuned: Policy.
        critic: Values.
        batch: Sequences; the advantages are whitened.
        config: Options.
        count: Real tokens of the *whole* gradient step: so the losses of its parts add up to its own.
    """
    hidden = tuned.hidden(batch.ids, batch.mask, batch.lower)
    of = wanted(batch.real, batch.ids.shape[1])
    logp, entropy = (of_completions(x, batch.real) for x in tuned.logp(hidden, batch.ids, of, config.temperature))
    value = critic(completion_states(hidden, batch.real) if batch.features is None else batch.features)
    surrogate = clipped_policy_loss(logp, batch.logp_old, batch.advantage, config.clip)
    policy_loss = masked_mean(surrogate, batch.real, denominator=count)
    if config.critic.value_clip is None:
        errors = value_loss(value, batch.target)
    else:
        errors = clipped_value_loss(value, batch.value_old, batch.target, config.critic.value_clip)
    critic_loss = masked_mean(errors, batch.real, denominator=count)
    return Losses(policy_loss + config.critic.value_coef * critic_loss, policy_loss, critic_loss, entropy, logp)


class Price:
    """What a nat of KL costs, steered towards a target if there is one; part of the run's state."""

    def __init__(self, config: KLConfig) -> None:
        self.config, self.beta = config, config.beta

    def update(self, kl: float) -> None:
        """Take note of the divergence of a batch, nats per completion."""
        if self.config.kl_goal is not None:
            self.beta = adaptive_coefficient(self.beta, kl, self.config.kl_goal, self.config.kl_step)

    def state_dict(self) -> dict[str, float]:
        """The price."""
        return {"beta": self.beta}

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Undo ``state_dict``."""
        self.beta = float(state["beta"])


def token_advantage(
    score: Tensor, kl: Tensor, value: Tensor, real: Tensor, beta: float, gamma: float, lam: float
) -> Tensor:
    """Return the advantage of every token: what is left of the completion is worth, less what it was expected to be.

    Args:
        score: Reward of each completion, ``[B]``; read at its last real token.
        kl: Divergence at each token, ``[B, N]``.
        value: Value of the state in which each token was chosen, ``[B, N]``.
        real: Real tokens, ``[B, N]`` bool; a completion has at least one.
        beta: Price of a nat.
        gamma: Discount per token.
        lam: Trace decay.

    Returns:
        Advantages, ``[B, N]``; 0 in the padding.
    """
    last = real.sum(1, keepdim=True) - 1
    reward = (-beta * kl).scatter_add(1, last, score[:, None]).masked_fill(~real, 0.0)
    value = value.masked_fill(~real, 0.0)
    next_value = torch.cat([value[:, 1:], torch.zeros_like(value[:, :1])], 1)
    ended = torch.arange(real.shape[1], device=real.device) >= last  # nothing flows back out of the padding
    over = ended.T.contiguous()
    return gae(reward.T, value.T, next_value.T, over, over, gamma, lam).T


def value_features(seen: Experience) -> Tensor:
    """Return what the frozen value head reads of the reference, ``[B, N, F]``: its last state, and the mean of those half-way up.

    The mean is over all tokens so far: what was said, where a state by itself says more of the next token.
    """
    states = [completion_states(seen.frozen.hidden, seen.real).float()]
    if seen.frozen.lower is not None:
        mask = seen.mask[..., None]
        total = seen.frozen.lower.float().masked_fill(~mask, 0.0).cumsum(1)
        states.append(completion_states(total / mask.cumsum(1).clamp(min=1), seen.real))
    return torch.cat(states, -1)


def step_size(config: Config, iteration: int) -> float:
    """Return the share of the full step size at an update: it rises, stays, and falls, so that the noise of steps dies away."""
    rise = (iteration + 1) / (config.warmup_steps + 1)
    fall = (config.total_steps - iteration) / max(1.0, config.decay * config.total_steps)
    return min(1.0, rise, fall)


def train(config: Config, run: Run) -> None:
    """Train a language model and save it as ``model/``, with adapters also as ``adapter/``.

    Args:
        config: Options.
        run: Where it is logged and saved.
    """
    tuned = Tuned.begin(config.tuning, run.rng("init"), config.compute)
    scorer, price = Scorer(config.scoring, tuned.device), Price(config.kl)
    prompts = read_prompts(config.env, "train", tuned, config.max_new_tokens)
    read_prompts(config.env, "held-out", tuned, config.max_new_tokens)  # what is wrong there is to be said now
    frozen_values = config.critic.value_features == "frozen"
    critic = Critic(tuned.width * (2 if frozen_values and tuned.first_layer else 1), frozen_values).to(tuned.device)
    regression = (config.critic.value_ridge, config.critic.value_memory)
    groups: list[dict[str, Any]] = [{"params": list(tuned.trainable.values()), "lr": config.learning_rate}]
    if not frozen_values:
        groups.append({"params": list(critic.parameters()), "lr": config.critic.value_learning_rate})
    rates = [group["lr"] for group in groups]
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.95), weight_decay=0.0, fused=True)
    trained = [part for group in groups for part in group["params"]]
    run.track(tuned=tuned, critic=critic, scorer=scorer, price=price, optimizer=optimizer)
    prompt_rng, sample_rng, shuffle_rng = run.rng("prompts"), run.rng("sample"), run.rng("shuffle")
    shape = (config.max_new_tokens, config.temperature)

    for iteration in run.iterations(config.total_steps):
        if iteration == 0:  # what the reference earns: the unit of the reward, and where values begin
            asked = draw_prompts(prompts, config.reference_samples, prompt_rng)
            seen = experience(tuned, scorer, asked, *shape, sample_rng, of_reference=True)
            scorer.fit(seen.terms.numpy())
            if frozen_values:
                score = scorer.total(seen.terms.numpy(), seen.stopped.numpy())[0]
                target = torch.from_numpy(score).to(tuned.device)[:, None].expand(seen.real.shape)
                critic.fit(value_features(seen)[seen.real], target[seen.real], *regression)

        seen = experience(tuned, scorer, draw_prompts(prompts, config.batch_size, prompt_rng), *shape, sample_rng)
        kl = kl_estimate(seen.logp, seen.logp_ref, config.kl.kl_estimate)  # shapes the reward, and is what is reported
        lower, features = seen.frozen.lower, value_features(seen) if frozen_values else None
        with torch.no_grad():
            if (states := features) is None:
                states = completion_states(tuned.hidden(seen.ids, seen.mask, lower), seen.real)
            value = critic(states)
        advantage = token_advantage(seen.reward, kl, value, seen.real, price.beta, config.gamma, config.lam)
        learned = seen.real & seen.counts[:, None]  # tokens that are learned from
        whitened = masked_whiten(advantage, learned)
        batch = Batch(seen.ids, seen.mask, learned, seen.logp, value, whitened, advantage + value, lower, features)

        for group, rate in zip(optimizer.param_groups, rates):
            group["lr"] = rate * step_size(config, iteration)
        for _ in range(config.epochs):
            logp, entropy, sums = torch.zeros_like(seen.logp), torch.zeros_like(seen.logp), seen.logp.new_zeros(2)
            order = torch.randperm(config.batch_size, generator=shuffle_rng)
            for index in order.tensor_split(config.minibatches):
                count = learned[index].sum().clamp(min=1)
                optimizer.zero_grad()
                mine = index[share(len(index))]  # of several processes, each of which has written all completions
                for rows in mine.split(config.micro_batch) if len(mine) else ():
                    losses = minibatch_loss(tuned, critic, batch.rows(rows), config, count)
                    losses.total.backward()
                    logp[rows], entropy[rows] = losses.logp.detach(), losses.entropy
                    sums += torch.stack([losses.policy, losses.value]).detach()
                add_up_gradients(trained)
                grad_norm = torch.nn.utils.clip_grad_norm_(trained, config.max_grad_norm)
                optimizer.step()
            logp, entropy, sums = add_up(logp), add_up(entropy), add_up(sums)
            moved = masked_mean(kl_estimate(seen.logp, logp, "k3"), learned).item()
            if config.target_kl is not None and moved > config.target_kl:
                break

        if features is not None:  # only now: values fitted to these outcomes would have known them
            critic.fit(features[learned], batch.target[learned], *regression)

        nats = masked_sum(kl, seen.real).item() / len(kl)
        run.log(
            steps=iteration + 1,
            **scorer.metrics(seen.terms.numpy()),
            **seen.metrics,
            **{
                "reward/trained": seen.reward.mean().item(),
                "kl/nats": nats,
                "kl/coefficient": price.beta,
                "loss/policy": sums[0].item() / config.minibatches,
                "loss/value": sums[1].item() / config.minibatches,
                "loss/grad_norm": float(grad_norm),
                "policy/kl": moved,
                "policy/entropy": masked_mean(entropy, learned).item(),
                "policy/clip_fraction": masked_mean(clip_fraction(logp, seen.logp, config.clip), learned).item(),
            },
        )
        run.log_samples(seen.samples)
        price.update(nats)

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
    return judge(tuned, Scorer(config.scoring, tuned.device), prompts, *shape, "rlhf", config.fluency_model)
