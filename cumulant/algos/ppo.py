"""Proximal policy optimisation: the clipped policy gradient.

Collect a rollout with the current policy, estimate advantages (GAE), then take several epochs of minibatch steps on the
clipped surrogate, which stops paying once the new policy has moved far enough from the one that acted.
Axes: T time, B parallel environments.

Source: Schulman et al. 2017, "Proximal Policy Optimization Algorithms". The details (orthogonal initialisation, advantage
whitening per minibatch, separate networks, global gradient clipping) are those that Andrychowicz et al. 2021 and
Huang et al. 2022 found to matter. Differs from source: time limits bootstrap from the final observation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, NamedTuple

import torch
import tyro
from torch import Tensor

from cumulant.data.batch import Rollout, minibatches
from cumulant.engine.choice import began_by, record_engine
from cumulant.engine.collect import collect
from cumulant.engine.compiled import CompiledPPO, use_compiled
from cumulant.engine.constraint import ConstraintConfig, Multiplier
from cumulant.engine.evaluate import Keeper, episode_metrics
from cumulant.engine.policy import Policy
from cumulant.engine.vector import make_vector
from cumulant.maths.constraint import penalised
from cumulant.maths.kl import kl_estimate
from cumulant.maths.policy import clip_fraction, clipped_policy_loss
from cumulant.maths.returns import gae
from cumulant.maths.schedules import linear
from cumulant.maths.value import clipped_value_loss, value_loss
from cumulant.nn.actor_critic import ActorCritic
from cumulant.nn.flat import Flat, FlatAdam
from cumulant.nn.memory import Remembered
from cumulant.nn.network import NetworkConfig
from cumulant.nn.normalisation import RewardScale
from cumulant.run.config import require
from cumulant.run.run import Run

CATEGORY = "actor-critic"
USE = "the first thing to try: discrete or continuous actions, any simulator that is fast enough"


@dataclass(frozen=True)
class MemoryConfig:
    """Memory, for when an observation does not tell all."""

    memory: Literal["none", "gru", "lstm"] = "none"
    """Remember the episode so far."""
    memory_size: int = 64
    """Length of what is remembered."""

    def __post_init__(self) -> None:
        require(self, "memory_size", self.memory_size >= 1, "at least 1")


@dataclass(frozen=True)
class Config:
    """Options of PPO."""

    env: Annotated[str, tyro.conf.Suppress] = "CartPole-v1"
    """Environment: short name, Gymnasium id, or module:Class."""
    env_options: Annotated[Mapping[str, Any], tyro.conf.Suppress] = field(default_factory=dict)
    """Options of the environment."""
    total_steps: int = 100_000
    """Environment steps to train for."""
    num_envs: int = 8
    """Environments that run in lock-step (B)."""
    horizon: int = 128
    """Steps of each environment per iteration (T)."""
    epochs: int = 4
    """Passes over each rollout."""
    minibatches: int = 4
    """Parts that each pass is cut into."""
    learning_rate: float = 1e-3
    """Step size of Adam at the start."""
    learning_rate_end: float = 0.0
    """Step size at the end; linear in between."""
    gamma: float = 0.99
    """Discount per step."""
    lam: float = 0.95
    """Trace decay of the advantage estimate (GAE)."""
    clip: float = 0.2
    """How far the probability ratio may move before the surrogate stops paying."""
    value_clip: float | None = None
    """How far a value may move per iteration; none for no limit."""
    value_coef: float = 0.5
    """Weight of the value loss."""
    entropy_coef: float = 0.0
    """Weight of the entropy bonus at the start; falls linearly to nothing."""
    target_kl: float | None = None
    """Stop the epochs of a rollout once the policy has moved so far (KL in nats); none for never."""
    max_grad_norm: float = 0.5
    """Gradients are scaled down to this norm."""
    normalize_reward: bool = False
    """Scale rewards by the running spread of the return."""
    network: NetworkConfig = field(default_factory=NetworkConfig)
    """The network."""
    recall: MemoryConfig = field(default_factory=MemoryConfig)
    """What is remembered of the episode so far."""
    constraint: ConstraintConfig = field(default_factory=ConstraintConfig)
    """A limit on what episodes may cost."""
    eval_every_steps: int = 0
    """Steps between evaluations that keep the best policy; 0 for twenty in a run."""
    eval_episodes: int = 100
    """Episodes of each of them."""
    device: str = "cpu"
    """Where the networks live: cpu, cuda or mps."""
    engine: Literal["auto", "torch", "compiled"] = "auto"
    """What computes: compiled code is many times faster on small networks; auto takes it where it can."""

    def __post_init__(self) -> None:
        for name in ("total_steps", "num_envs", "horizon", "epochs", "minibatches", "eval_episodes"):
            require(self, name, getattr(self, name) >= 1, "at least 1")
        for name in ("gamma", "lam"):
            require(self, name, 0.0 <= getattr(self, name) <= 1.0, "in [0, 1]")
        require(self, "clip", 0.0 < self.clip < 1.0, "between 0 and 1")
        for name in ("learning_rate", "max_grad_norm"):
            require(self, name, getattr(self, name) > 0.0, "above 0")
        for name in ("learning_rate_end", "value_coef", "entropy_coef", "eval_every_steps"):
            require(self, name, getattr(self, name) >= 0, "at least 0")
        require(self, "value_clip", self.value_clip is None or self.value_clip > 0.0, "above 0, or none")
        require(self, "target_kl", self.target_kl is None or self.target_kl > 0.0, "above 0, or none")
        samples = self.num_envs * self.horizon // 2  # whitening needs two in each part
        require(self, "minibatches", self.minibatches <= samples, "at most half of num_envs * horizon")
        if self.recall.memory != "none":  # a part is whole sequences
            require(self, "minibatches", self.minibatches <= self.num_envs, "at most num_envs with a memory")


class Losses(NamedTuple):
    """What a gradient step minimises and its parts, with the entropy and log-probability of each sample, ``[N]``."""

    total: Tensor
    policy: Tensor
    value: Tensor
    entropy: Tensor
    logp: Tensor


def minibatch_loss(
    net: ActorCritic, minibatch: Sequence[Tensor], config: Config, entropy_coef: float, costs: bool = False
) -> Losses:
    """Return the loss of one gradient step.

        loss = mean(clipped surrogate) + value_coef * mean(value loss) - entropy_coef * mean(entropy)

    Args:
        net: Policy and values.
        minibatch: obs, action, logp_old, value_old, advantage, target, cost_target, ``[N, ...]`` each, and of a memory
            where the episodes ended and its state before them.
        config: Options.
        entropy_coef: Weight of the entropy bonus.
        costs: Whether a critic of costs learns too.
    """
    obs, action, logp_old, value_old, advantage, target, cost_target, *ended_state = minibatch
    seen = net.features(obs, *ended_state)
    logp, entropy = net.logp_entropy(seen, action)
    value = net.value(seen)
    std, mean = torch.std_mean(advantage)
    whitened = (advantage - mean) / (std + 1e-8)
    policy_loss = clipped_policy_loss(logp, logp_old, whitened, config.clip).mean()
    if config.value_clip is None:
        critic_loss = value_loss(value, target).mean()
    else:
        critic_loss = clipped_value_loss(value, value_old, target, config.value_clip).mean()
    if costs:
        critic_loss = critic_loss + value_loss(net.cost_value(seen), cost_target).mean()
    loss = policy_loss + config.value_coef * critic_loss
    if entropy_coef > 0.0:
        loss = loss - entropy_coef * entropy.mean()
    return Losses(loss, policy_loss, critic_loss, entropy, logp)


def estimate(rollout: Rollout, config: Config, reward_scale: RewardScale, multiplier: Multiplier) -> list[Tensor]:
    """Return what ``minibatch_loss`` reads of a rollout: samples ``[T * B]``, or with a memory sequences ``[B, T]``."""
    reward = reward_scale(rollout.reward, rollout.ended) if config.normalize_reward else rollout.reward
    advantage = gae(
        reward, rollout.value, rollout.next_value, rollout.terminated, rollout.ended, config.gamma, config.lam
    )
    target = cost_target = advantage + rollout.value
    if rollout.cost_value is not None and rollout.next_cost_value is not None:
        cost_advantage = gae(
            rollout.cost,
            rollout.cost_value,
            rollout.next_cost_value,
            rollout.terminated,
            rollout.ended,
            config.gamma,
            config.lam,
        )
        cost_target = cost_advantage + rollout.cost_value
        advantage = penalised(advantage, cost_advantage, multiplier.value)
    samples = [rollout.obs, rollout.action, rollout.logp, rollout.value, advantage, target, cost_target]
    if rollout.state is None:
        return [x.flatten(0, 1) for x in samples]
    return [*(x.transpose(0, 1) for x in (*samples, rollout.ended)), rollout.state]


def learn(
    net: ActorCritic,
    flat: Flat,
    optimizer: FlatAdam,
    samples: Sequence[Tensor],
    config: Config,
    entropy_coef: float,
    costs: bool,
    generator: torch.Generator,
) -> dict[str, float]:
    """Take the epochs of one rollout; return the measures of the last minibatch."""
    for _ in range(config.epochs):
        for minibatch in minibatches(samples, config.minibatches, generator):
            losses = minibatch_loss(net, minibatch, config, entropy_coef, costs)
            flat.zero_grad()
            losses.total.backward()
            grad_norm = flat.clip_grad_norm(config.max_grad_norm)
            optimizer.step()
        logp, logp_old = losses.logp, minibatch[2]
        kl = kl_estimate(logp_old, logp, "k3").mean()
        if config.target_kl is not None and kl > config.target_kl:
            break
    return {
        "loss/policy": losses.policy.item(),
        "loss/value": losses.value.item(),
        "loss/grad_norm": grad_norm.item(),
        "policy/entropy": losses.entropy.mean().item(),
        "policy/kl": kl.item(),
        "policy/clip_fraction": clip_fraction(logp, logp_old, config.clip).mean().item(),
    }


def train(config: Config, run: Run) -> Policy:
    """Train a policy.

    Args:
        config: Options.
        run: Where it is logged and saved.

    Returns:
        The policy with the best periodic evaluation.
    """
    envs = make_vector(config.env, config.num_envs, run.seed_for("envs"), config.env_options, masks="offered")
    net = ActorCritic(
        envs.observation_space,
        envs.action_space,
        **vars(config.network),
        **vars(config.recall),
        costs=config.constraint.cost_limit is not None,
        generator=run.rng("init"),
    ).to(config.device)
    flat = Flat(net)
    optimizer = FlatAdam(flat, config.learning_rate, eps=1e-5)
    reward_scale = RewardScale(config.num_envs, config.gamma).to(config.device)
    remembered, multiplier = Remembered(net.memory, config.num_envs), Multiplier(config.constraint, envs)
    limit = config.constraint.cost_limit
    keeper = Keeper(Policy(net), run, config.env, config.env_options, config.eval_episodes, limit)
    run.track(net=net, optimizer=optimizer, reward_scale=reward_scale, envs=envs, keeper=keeper)
    run.track(remembered=remembered, multiplier=multiplier)
    act_rng, shuffle_rng = run.rng("act"), run.rng("shuffle")
    possible, why = use_compiled(config.engine, net, envs, __name__, began_by(run))
    record_engine(run, possible, why)
    compiled = None
    if possible:
        compiled = CompiledPPO(net, optimizer, envs, config.horizon, run.seed_for("act"), run.seed_for("shuffle"))

    batch_size = config.num_envs * config.horizon
    total = -(-config.total_steps // batch_size)  # rounded up
    eval_every = max(1, config.eval_every_steps // batch_size if config.eval_every_steps else total // 20)

    warm_up = 0 if net.norm is None else batch_size  # steps that only feed the statistics
    for iteration in run.iterations(total):
        fraction = iteration / total
        optimizer.learning_rate = linear(config.learning_rate, config.learning_rate_end, fraction)
        entropy_coef = linear(config.entropy_coef, 0.0, fraction)
        warming_up = net.norm is not None and iteration == 0  # even the first policy must not read raw units
        if compiled is not None:
            if warming_up:
                compiled.collect(0)
                compiled.observe()
            compiled.collect((iteration + 1) * config.horizon)
            measured = compiled.learn(
                iteration, config, entropy_coef, reward_scale if config.normalize_reward else None
            )
            compiled.observe()
        else:
            if warming_up:
                net.observe(collect(envs, net, config.horizon, act_rng, remembered).flat)
            rollout = collect(envs, net, config.horizon, act_rng, remembered)
            samples = estimate(rollout, config, reward_scale, multiplier)
            measured = learn(net, flat, optimizer, samples, config, entropy_coef, multiplier.active, shuffle_rng)
            net.observe(rollout.flat)

        metrics = episode_metrics(envs)
        multiplier.update(metrics)
        run.log(steps=warm_up + (iteration + 1) * batch_size, **metrics, **multiplier.metrics(), **measured)
        if (iteration + 1) % eval_every == 0 or iteration + 1 == total:
            keeper.update({"gamma": config.gamma, "unit": reward_scale.unit if config.normalize_reward else 1.0})

    envs.close()
    return keeper.finish()
