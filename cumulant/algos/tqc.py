"""Truncated quantile critics: SAC that learns distributions of returns and drops the largest quantiles.

Like SAC, but every critic gives quantiles of the return. For a target all critics' quantiles are mixed and the largest ones
dropped: what is overestimated is mostly there, and how many are dropped says finely how cautious the values are.

Axes: B parallel environments, N critics, M remembered transitions, A actions, K quantiles.

Source: Kuznetsov et al. 2020, "Controlling Overestimation Bias with Truncated Mixture of Continuous Distributional Quantile
Critics". Differs from source: two critics instead of five unless told otherwise; time limits bootstrap from the final
observation; n-step rewards (without the entropies in between) and drawing by priority are possible.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import torch
import tyro
from torch import Tensor

from cumulant.data.replay import Replay, ReplayConfig, Transitions
from cumulant.engine.choice import began_by, choose_engine, record_engine
from cumulant.engine.compiled_soft import CompiledTQC
from cumulant.engine.compiled_towers import obstacle
from cumulant.engine.evaluate import Keeper, episode_metrics
from cumulant.engine.persistence import Persistence
from cumulant.engine.policy import Policy
from cumulant.engine.vector import make_vector
from cumulant.errors import ConfigError
from cumulant.maths.distributional import quantile_huber_loss, quantile_target, truncated_mixture
from cumulant.maths.schedules import linear
from cumulant.maths.soft import sac_policy_loss, temperature_loss
from cumulant.nn.actor import Actor, Temperature
from cumulant.nn.backward import frozen
from cumulant.nn.flat import Flat, FlatAdam
from cumulant.nn.network import NetworkConfig
from cumulant.nn.q_critic import QCritics
from cumulant.nn.squashed import SquashedGaussian
from cumulant.run.config import require
from cumulant.run.run import Run

CATEGORY = "continuous control"
USE = "continuous actions where sac's values run away or its result is not enough; costs a little more per update"


@dataclass(frozen=True)
class Config:
    """Options of TQC."""

    env: Annotated[str, tyro.conf.Suppress] = "Pendulum-v1"
    """Environment: short name, Gymnasium id, or module:Class."""
    env_options: Annotated[Mapping[str, Any], tyro.conf.Suppress] = field(default_factory=dict)
    """Options of the environment."""
    total_steps: int = 100_000
    """Environment steps to train for."""
    num_envs: int = 1
    """Environments that run in lock-step (B)."""
    horizon: int = 250
    """Steps of each environment per iteration: per row of metrics."""
    gamma: float = 0.99
    """Discount per step."""
    learning_rate: float = 3e-4
    """Step size of Adam, for policy, critics and temperature."""
    weight_decay: float = 0.0
    """How fast weights shrink, per unit of the step size (AdamW); 0.01 with residual networks."""
    batch_size: int = 256
    """Remembered transitions per update."""
    updates_per_step: float = 1.0
    """Updates per environment step."""
    warmup_steps: int = 1000
    """Environment steps with random actions before the first update."""
    warmup: Literal["independent", "persistent"] = "independent"
    """Those actions: each by itself, or kept up for a while, which finds what is far away."""
    polyak: float = 0.005
    """How far the slower copies of the critics move towards them per update."""
    temperature: float | None = None
    """Price of a nat of entropy; none to learn it."""
    target_spread: float = 0.089
    """Wanted spread of each continuous action, in half-widths of its range; 0.089 is an entropy of -1 nat."""
    num_critics: int = 2
    """Critics; the paper has 5."""
    num_quantiles: int = 25
    """Quantiles of the return that each of them gives."""
    drop: int = 2
    """Largest quantiles that a target leaves out, per critic."""
    network: NetworkConfig = field(default_factory=lambda: NetworkConfig(hidden=(256, 256), activation="relu"))
    """The network."""
    replay: ReplayConfig = field(default_factory=lambda: ReplayConfig(capacity=1_000_000))
    """What is remembered and how it is drawn."""
    eval_every_steps: int = 0
    """Steps between evaluations that keep the best policy; 0 for twenty in a run."""
    eval_episodes: int = 10
    """Episodes of each of them."""
    device: str = "cpu"
    """Where the networks live: cpu, cuda or mps."""
    engine: Literal["auto", "torch", "compiled"] = "auto"
    """What computes: compiled code is faster on perceptrons; auto takes it where it can."""

    def __post_init__(self) -> None:
        for name in ("total_steps", "num_envs", "horizon", "batch_size", "num_critics", "eval_episodes"):
            require(self, name, getattr(self, name) >= 1, "at least 1")
        for name in ("learning_rate", "updates_per_step", "target_spread"):
            require(self, name, getattr(self, name) > 0.0, "above 0")
        for name in ("weight_decay", "warmup_steps", "eval_every_steps", "drop"):
            require(self, name, getattr(self, name) >= 0, "at least 0")
        require(self, "gamma", 0.0 <= self.gamma <= 1.0, "in [0, 1]")
        require(self, "num_quantiles", self.num_quantiles > self.drop, "above drop")
        require(self, "polyak", 0.0 < self.polyak <= 1.0, "in (0, 1]")
        require(self, "temperature", self.temperature is None or self.temperature >= 0.0, "at least 0, or none")


def train(config: Config, run: Run) -> Policy:
    """Train a policy and its critics.

    Args:
        config: Options.
        run: Where it is logged and saved.

    Returns:
        The policy with the best periodic evaluation.
    """
    envs = make_vector(config.env, config.num_envs, run.seed_for("envs"), config.env_options)
    spaces = (envs.observation_space, envs.action_space)
    network = vars(config.network)
    actor = Actor(*spaces, **network, generator=run.rng("init")).to(config.device)
    if not isinstance(actor.head, SquashedGaussian):
        raise ConfigError(f"tqc needs continuous actions, and this environment has {envs.action_space}: use sac or dqn")
    critics, slow_critics = (
        QCritics(*spaces, config.num_critics, config.num_quantiles, **network, generator=generator).to(config.device)
        for generator in (run.rng("init"), None)
    )
    temperature = Temperature(1.0 if config.temperature is None else config.temperature).to(config.device)
    actor_flat, critics_flat, slow_flat, temperature_flat = map(Flat, (actor, critics, slow_critics, temperature))
    slow_flat.parameter.data.copy_(critics_flat.parameter.data)
    actor_optimizer, critics_optimizer = (
        FlatAdam(flat, config.learning_rate, weight_decay=config.weight_decay) for flat in (actor_flat, critics_flat)
    )
    temperature_optimizer = FlatAdam(temperature_flat, config.learning_rate)
    goal_reward, folder = getattr(envs, "goal_reward", None), run.directory / "state" / "replay"
    replay = Replay(config.replay, config.num_envs, *spaces, config.gamma, folder, goal_reward=goal_reward)
    keeper = Keeper(Policy(actor), run, config.env, config.env_options, config.eval_episodes)
    run.track(actor=actor, critics=critics, slow_critics=slow_critics, temperature=temperature)
    run.track(actor_optimizer=actor_optimizer, critics_optimizer=critics_optimizer)
    run.track(temperature_optimizer=temperature_optimizer, replay=replay, envs=envs, keeper=keeper)
    persistence = None
    if config.warmup == "persistent":
        persistence = Persistence(config.num_envs, run.rng("persistence"), actor.head.size)
        run.track(persistence=persistence)
    act_rng, replay_rng, noise_rng = run.rng("act"), run.rng("replay"), run.rng("noise")

    steps_per_iteration = config.num_envs * config.horizon
    total = -(-config.total_steps // steps_per_iteration)
    eval_every = max(1, config.eval_every_steps // steps_per_iteration if config.eval_every_steps else total // 20)
    entropy_wanted = actor.head.size * (math.log(config.target_spread) + 0.5 * math.log(2.0 * math.pi * math.e))

    possible, why = choose_engine(config.engine, obstacle(actor, critics, config.weight_decay), __name__, began_by(run))
    record_engine(run, possible, why)
    compiled = None
    if possible:
        optimizers = actor_optimizer, critics_optimizer, temperature_optimizer
        wanted = entropy_wanted if config.temperature is None else None
        compiled = CompiledTQC(config.drop, actor, critics, slow_flat.parameter, optimizers, config.polyak, wanted)

    def updates_after(steps: int) -> int:
        return int(max(0, steps - config.warmup_steps) * config.updates_per_step)

    def learn(batch: Transitions, next_noise: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Take an update; return the critics' loss, the policy's, its entropy and the mean value, and how wrong each was."""
        assert isinstance(actor.head, SquashedGaussian)
        target = targets(config, actor, slow_critics, temperature, batch, next_noise)
        encoded = actor.encode(batch.obs)
        q = critics(encoded, batch.action)  # [N, M, K]
        loss = quantile_huber_loss(q, target.expand(len(q), -1, -1)) / config.num_quantiles  # [N, M]
        critic_loss = (loss if batch.weight is None else loss * batch.weight).mean(1).sum()
        critics_flat.zero_grad()
        critic_loss.backward()
        critics_optimizer.step()

        new_action, logp = actor.head.sample_logp(actor(encoded), noise)
        with frozen(critics):
            new_q = critics(encoded, new_action).mean((0, 2))
        loss = sac_policy_loss(new_q, logp, temperature())
        actor_flat.zero_grad()
        loss.mean().backward()
        actor_optimizer.step()

        if config.temperature is None:
            temperature_flat.zero_grad()
            temperature_loss(temperature.log, -logp, entropy_wanted).mean().backward()
            temperature_optimizer.step()
        slow_flat.parameter.data.lerp_(critics_flat.parameter.data, config.polyak)
        measured = torch.stack([critic_loss.detach(), loss.detach().mean(), -logp.detach().mean(), q.detach().mean()])
        return measured, (q.detach().mean((0, 2)) - target.mean(-1)).abs()

    for iteration in run.iterations(total):
        weight_power = linear(config.replay.weight_power, config.replay.weight_power_end, iteration / total)
        action_noise = actor.head.noise((config.horizon, config.num_envs), act_rng).to(config.device)
        measures = []

        for step in range(config.horizon):
            steps = iteration * steps_per_iteration + (step + 1) * config.num_envs
            obs = envs.obs.copy()
            with torch.no_grad():
                flat_obs = actor.flat(torch.from_numpy(obs).to(config.device))
                actor.observe(flat_obs)
                if steps <= config.warmup_steps:
                    action = actor.random(flat_obs, act_rng).numpy()
                    if persistence is not None:
                        action = persistence.keep_up(action)
                else:
                    action = actor.sample(actor.normalise(flat_obs), action_noise[step]).cpu().numpy()
            envs.step(actor.head.to_env(action))
            if persistence is not None:
                persistence.left[envs.ended] = 0
            replay.add(obs, action, envs.reward, envs.next_obs, envs.terminated, envs.ended)

            first, stop = updates_after(steps - config.num_envs), updates_after(steps)
            if first == stop:
                continue
            drawn = replay.sample(config.batch_size, stop - first, replay_rng, weight_power, config.device)
            noise = actor.head.noise((2, len(drawn.slot)), noise_rng).to(config.device)
            for batch, (next_noise, now_noise) in zip(
                drawn.split(config.batch_size), noise.split(config.batch_size, dim=1)
            ):
                measured, error = (learn if compiled is None else compiled.learn)(batch, next_noise, now_noise)
                if batch.weight is not None:
                    replay.prioritise(batch.slot, torch.as_tensor(error).cpu().numpy())
            measures.append(torch.as_tensor(measured))

        metrics = episode_metrics(envs)
        if measures:
            names = ("loss/value", "loss/policy", "policy/entropy", "value/mean")
            metrics |= dict(zip(names, torch.stack(measures).mean(0).tolist()))
            metrics["policy/temperature"] = temperature().item()
        run.log(steps=(iteration + 1) * steps_per_iteration, **metrics)
        if (iteration + 1) % eval_every == 0 or iteration + 1 == total:
            keeper.update()

    envs.close()
    return keeper.finish()


@torch.no_grad()
def targets(
    config: Config, actor: Actor, slow_critics: QCritics, temperature: Temperature, batch: Transitions, noise: Tensor
) -> Tensor:
    """Return samples of what the return of each action taken should be, ``[M, N * (K - drop)]``."""
    assert isinstance(actor.head, SquashedGaussian)
    encoded = actor.encode(batch.next_obs)
    action, logp = actor.head.sample_logp(actor(encoded), noise)
    kept = truncated_mixture(slow_critics(encoded, action).transpose(0, 1), config.drop)
    soft = kept - temperature() * logp.unsqueeze(-1)
    return quantile_target(batch.reward, soft, batch.terminated, batch.discount)
