"""Advantage actor-critic, synchronous: one gradient step on every few steps of many environments.

Collect a short rollout with the current policy, estimate advantages, take one step along the policy gradient and towards the
value targets, and forget the rollout. Nothing is used twice, so nothing needs clipping; with ``lam`` 1 the estimate is the
n-step return of the source, below 1 it is GAE.
Axes: T time, B parallel environments.

Source: Mnih et al. 2016, "Asynchronous Methods for Deep Reinforcement Learning", algorithm S3. Differs from source: the
environments run in lock-step instead of one thread each, policy and value are separate networks, gradients are averaged
over the rollout and not summed, RMSProp has no shared threads to serve, and time limits bootstrap from the final observation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, NamedTuple

import torch
import tyro
from torch import Tensor

from cumulant.data.batch import Rollout
from cumulant.engine.choice import began_by, record_engine
from cumulant.engine.collect import collect
from cumulant.engine.compiled import use_compiled
from cumulant.engine.compiled_plain import CompiledPlain
from cumulant.engine.evaluate import Keeper, episode_metrics
from cumulant.engine.policy import Policy
from cumulant.engine.vector import make_vector
from cumulant.maths.policy import policy_gradient_loss
from cumulant.maths.returns import gae
from cumulant.maths.schedules import linear
from cumulant.maths.value import value_loss
from cumulant.nn.actor_critic import ActorCritic
from cumulant.nn.flat import Flat, FlatRMSProp
from cumulant.nn.network import NetworkConfig
from cumulant.nn.normalisation import RewardScale
from cumulant.run.config import require
from cumulant.run.run import Run

CATEGORY = "actor-critic"
USE = "many fast environments, and an actor-critic that can be read in a minute; ppo needs fewer steps"


@dataclass(frozen=True)
class Config:
    """Options of A2C."""

    env: Annotated[str, tyro.conf.Suppress] = "CartPole-v1"
    """Environment: short name, Gymnasium id, or module:Class."""
    env_options: Annotated[Mapping[str, Any], tyro.conf.Suppress] = field(default_factory=dict)
    """Options of the environment."""
    total_steps: int = 500_000
    """Environment steps to train for."""
    num_envs: int = 16
    """Environments that run in lock-step (B)."""
    num_steps: int = 5
    """Steps of each environment per gradient step (T), after which returns bootstrap."""
    horizon: int = 100
    """Steps of each environment per iteration, that is per row of the log."""
    learning_rate: float = 1e-3
    """Step size of RMSProp at the start."""
    learning_rate_end: float = 0.0
    """Step size at the end; linear in between."""
    rms_decay: float = 0.99
    """How much of its running mean square RMSProp keeps per step."""
    gamma: float = 0.99
    """Discount per step."""
    lam: float = 1.0
    """Trace decay of the advantage estimate (GAE); 1 gives n-step returns."""
    value_coef: float = 0.5
    """Weight of the value loss."""
    entropy_coef: float = 0.01
    """Weight of the entropy bonus at the start; falls linearly to nothing."""
    max_grad_norm: float = 0.5
    """Gradients are scaled down to this norm."""
    normalize_advantage: bool = False
    """Shift and scale the advantages of each gradient step to mean 0 and variance 1."""
    normalize_reward: bool = False
    """Scale rewards by the running spread of the return."""
    network: NetworkConfig = field(default_factory=NetworkConfig)
    """The network."""
    eval_every_steps: int = 0
    """Steps between evaluations that keep the best policy; 0 for twenty in a run."""
    eval_episodes: int = 100
    """Episodes of each of them."""
    device: str = "cpu"
    """Where the networks live: cpu, cuda or mps."""
    engine: Literal["auto", "torch", "compiled"] = "auto"
    """What computes: compiled code is many times faster on small networks; auto takes it where it can."""

    def __post_init__(self) -> None:
        for name in ("total_steps", "num_envs", "num_steps", "horizon", "eval_episodes"):
            require(self, name, getattr(self, name) >= 1, "at least 1")
        for name in ("gamma", "lam"):
            require(self, name, 0.0 <= getattr(self, name) <= 1.0, "in [0, 1]")
        require(self, "rms_decay", 0.0 <= self.rms_decay < 1.0, "in [0, 1)")
        for name in ("learning_rate", "max_grad_norm"):
            require(self, name, getattr(self, name) > 0.0, "above 0")
        for name in ("learning_rate_end", "value_coef", "entropy_coef", "eval_every_steps"):
            require(self, name, getattr(self, name) >= 0, "at least 0")
        enough = not self.normalize_advantage or self.num_envs >= 2  # the last part of a horizon may be a single step
        require(self, "num_envs", enough, "at least 2 with normalize_advantage")


class Losses(NamedTuple):
    """What a gradient step minimises and its parts, with the entropy of each sample, ``[N]``."""

    total: Tensor
    policy: Tensor
    value: Tensor
    entropy: Tensor


def rollout_loss(
    net: ActorCritic,
    obs: Tensor,
    action: Tensor,
    advantage: Tensor,
    target: Tensor,
    config: Config,
    entropy_coef: float,
) -> Losses:
    """Return the loss of one gradient step.

        loss = mean(-logp * advantage) + value_coef * mean(value loss) - entropy_coef * mean(entropy)

    Args:
        net: Policy and values.
        obs: Encoded observations, ``[N, D]``, or with any leading axes.
        action: What was done.
        advantage: How much better that was than expected, ``[N]``.
        target: What values should be, ``[N]``.
        config: Options.
        entropy_coef: Weight of the entropy bonus.
    """
    seen = net.features(obs)
    logp, entropy = net.logp_entropy(seen, action)
    policy_loss = policy_gradient_loss(logp, advantage).mean()
    critic_loss = value_loss(net.value(seen), target).mean()
    return Losses(
        policy_loss + config.value_coef * critic_loss - entropy_coef * entropy.mean(), policy_loss, critic_loss, entropy
    )


def learn(
    net: ActorCritic,
    flat: Flat,
    optimizer: FlatRMSProp,
    rollout: Rollout,
    config: Config,
    entropy_coef: float,
    reward_scale: RewardScale,
) -> dict[str, float]:
    """Take the gradient step of one rollout; return its measures."""
    reward = reward_scale(rollout.reward, rollout.ended) if config.normalize_reward else rollout.reward
    advantage = gae(
        reward, rollout.value, rollout.next_value, rollout.terminated, rollout.ended, config.gamma, config.lam
    )
    target = advantage + rollout.value
    if config.normalize_advantage:
        std, mean = torch.std_mean(advantage)
        advantage = (advantage - mean) / (std + 1e-8)
    losses = rollout_loss(net, rollout.obs, rollout.action, advantage, target, config, entropy_coef)
    flat.zero_grad()
    losses.total.backward()
    grad_norm = flat.clip_grad_norm(config.max_grad_norm)
    optimizer.step()
    return {
        "loss/policy": losses.policy.item(),
        "loss/value": losses.value.item(),
        "loss/grad_norm": grad_norm.item(),
        "policy/entropy": losses.entropy.mean().item(),
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
    net = ActorCritic(envs.observation_space, envs.action_space, **vars(config.network), generator=run.rng("init")).to(
        config.device
    )
    flat = Flat(net)
    optimizer = FlatRMSProp(flat, config.learning_rate, config.rms_decay, eps=1e-5)
    reward_scale = RewardScale(config.num_envs, config.gamma).to(config.device)
    keeper = Keeper(Policy(net), run, config.env, config.env_options, config.eval_episodes)
    run.track(net=net, optimizer=optimizer, reward_scale=reward_scale, envs=envs, keeper=keeper)
    act_rng = run.rng("act")
    possible, why = use_compiled(config.engine, net, envs, __name__, began_by(run))
    record_engine(run, possible, why)
    compiled = None
    if possible:
        compiled = CompiledPlain(net, optimizer, envs, config.num_steps, run.seed_for("act"))

    batch_size = config.num_envs * config.horizon
    total = -(-config.total_steps // batch_size)
    eval_every = max(1, config.eval_every_steps // batch_size if config.eval_every_steps else total // 20)

    warm_up = 0 if net.norm is None else batch_size  # steps that only feed the statistics
    for iteration in run.iterations(total):
        fraction = iteration / total
        optimizer.learning_rate = linear(config.learning_rate, config.learning_rate_end, fraction)
        entropy_coef = linear(config.entropy_coef, 0.0, fraction)
        warming_up = net.norm is not None and iteration == 0  # even the first policy must not read raw units
        first_step = (iteration + 1) * config.horizon  # the first horizon is the warm-up's
        if warming_up and compiled is not None:
            compiled.collect(0, config.horizon)
            compiled.observe()
        elif warming_up:
            net.observe(collect(envs, net, config.horizon, act_rng).flat)

        for first in range(0, config.horizon, config.num_steps):
            num_steps = min(config.num_steps, config.horizon - first)
            if compiled is not None:
                compiled.collect(first_step + first, num_steps)
                measured = compiled.learn(config, entropy_coef, reward_scale if config.normalize_reward else None)
                compiled.observe()
            else:
                rollout = collect(envs, net, num_steps, act_rng)  # [T, B]
                measured = learn(net, flat, optimizer, rollout, config, entropy_coef, reward_scale)
                net.observe(rollout.flat)

        # Of the last gradient step.
        run.log(steps=warm_up + (iteration + 1) * batch_size, **episode_metrics(envs), **measured)
        if (iteration + 1) % eval_every == 0 or iteration + 1 == total:
            keeper.update({"gamma": config.gamma, "unit": reward_scale.unit if config.normalize_reward else 1.0})

    envs.close()
    return keeper.finish()
