"""Soft actor-critic: off-policy, with the randomness of the policy as part of the reward.

Remember every step. Fit two critics to the reward plus the discounted value of an action that the policy would take next, by
slower copies of themselves, the smaller of the two counting. Move the policy towards actions that the critics like, and towards
randomness, at a price (the temperature) that keeps its entropy at a wanted value. With discrete actions every mean over the
policy is taken exactly. A limit on costs adds a third critic, of the cost, whose price is raised until episodes keep to it:

    cumulant train sac ENV --net residual --hidden 256 256 --normalize-obs --weight-decay 0.01     as SimBa
    cumulant train sac ENV --cost-limit 25                                                         with a constraint

Axes: B parallel environments, N critics, M remembered transitions, A actions.

Source: Haarnoja et al. 2018b, "Soft Actor-Critic Algorithms and Applications"; discrete: Christodoulou 2019; SimBa: Lee et al.
2024; the constraint: Ha et al. 2020. Differs from source: time limits bootstrap from the final observation; after n-step rewards
the entropies in between are not counted.
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
from cumulant.engine.compiled_soft import CompiledSAC, obstacle
from cumulant.engine.constraint import ConstraintConfig, Multiplier
from cumulant.engine.evaluate import Keeper, episode_metrics
from cumulant.engine.persistence import Persistence
from cumulant.engine.policy import Policy
from cumulant.engine.vector import make_vector
from cumulant.maths.constraint import penalised
from cumulant.maths.policy import categorical_entropy
from cumulant.maths.schedules import linear
from cumulant.maths.soft import (
    discrete_sac_policy_loss,
    discrete_sac_target,
    sac_policy_loss,
    sac_target,
    temperature_loss,
)
from cumulant.maths.value import one_step_target, value_loss
from cumulant.nn.actor import Actor, Temperature
from cumulant.nn.backward import frozen
from cumulant.nn.flat import Flat, FlatAdam
from cumulant.nn.heads import Categorical
from cumulant.nn.network import NetworkConfig
from cumulant.nn.q_critic import QCritics
from cumulant.nn.squashed import SquashedGaussian
from cumulant.run.config import require
from cumulant.run.run import Run

CATEGORY = "actor-critic"
USE = "continuous actions and slow simulators: few steps, many updates; discrete actions and cost limits, too"


@dataclass(frozen=True)
class Config:
    """Options of SAC."""

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
    target_entropy: float = 0.3
    """Wanted entropy with discrete actions, as a share of the greatest possible one."""
    network: NetworkConfig = field(default_factory=lambda: NetworkConfig(hidden=(256, 256), activation="relu"))
    """The network."""
    replay: ReplayConfig = field(default_factory=lambda: ReplayConfig(capacity=1_000_000))
    """What is remembered and how it is drawn."""
    constraint: ConstraintConfig = field(default_factory=ConstraintConfig)
    """A limit on what episodes may cost."""
    eval_every_steps: int = 0
    """Steps between evaluations that keep the best policy; 0 for twenty in a run."""
    eval_episodes: int = 10
    """Episodes of each of them."""
    device: str = "cpu"
    """Where the networks live: cpu, cuda or mps."""
    engine: Literal["auto", "torch", "compiled"] = "auto"
    """What computes: compiled code is faster on perceptrons; auto takes it where it can."""

    def __post_init__(self) -> None:
        for name in ("total_steps", "num_envs", "horizon", "batch_size", "eval_episodes"):
            require(self, name, getattr(self, name) >= 1, "at least 1")
        for name in ("learning_rate", "updates_per_step", "target_spread"):
            require(self, name, getattr(self, name) > 0.0, "above 0")
        for name in ("weight_decay", "warmup_steps", "eval_every_steps"):
            require(self, name, getattr(self, name) >= 0, "at least 0")
        for name in ("gamma", "target_entropy"):
            require(self, name, 0.0 <= getattr(self, name) <= 1.0, "in [0, 1]")
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
    envs = make_vector(config.env, config.num_envs, run.seed_for("envs"), config.env_options, masks="offered")
    spaces = (envs.observation_space, envs.action_space)
    multiplier = Multiplier(config.constraint, envs)
    network = vars(config.network)
    actor = Actor(*spaces, **network, generator=run.rng("init")).to(config.device)
    critics, slow_critics = (
        QCritics(*spaces, **network, num_critics=2 + multiplier.active, generator=generator).to(config.device)
        for generator in (run.rng("init"), None)
    )
    temperature = Temperature(1.0 if config.temperature is None else config.temperature).to(config.device)
    actor_flat, critics_flat, slow_flat, temperature_flat = map(Flat, (actor, critics, slow_critics, temperature))
    slow_flat.parameter.data.copy_(critics_flat.parameter.data)
    actor_optimizer, critics_optimizer = (
        FlatAdam(flat, config.learning_rate, weight_decay=config.weight_decay) for flat in (actor_flat, critics_flat)
    )
    temperature_optimizer = FlatAdam(temperature_flat, config.learning_rate)
    sums, goal_reward = ("cost",) if multiplier.active else (), getattr(envs, "goal_reward", None)
    folder = run.directory / "state" / "replay"
    replay = Replay(config.replay, config.num_envs, *spaces, config.gamma, folder, sums, goal_reward)
    limit = config.constraint.cost_limit
    keeper = Keeper(Policy(actor), run, config.env, config.env_options, config.eval_episodes, limit)
    run.track(actor=actor, critics=critics, slow_critics=slow_critics, temperature=temperature)
    run.track(actor_optimizer=actor_optimizer, critics_optimizer=critics_optimizer)
    run.track(temperature_optimizer=temperature_optimizer, multiplier=multiplier)
    run.track(replay=replay, envs=envs, keeper=keeper)
    persistence = None
    if config.warmup == "persistent":
        size = 0 if isinstance(actor.head, Categorical) else actor.head.size
        persistence = Persistence(config.num_envs, run.rng("persistence"), size)
        run.track(persistence=persistence)
    act_rng, replay_rng, noise_rng = run.rng("act"), run.rng("replay"), run.rng("noise")

    steps_per_iteration = config.num_envs * config.horizon
    total = -(-config.total_steps // steps_per_iteration)
    eval_every = max(1, config.eval_every_steps // steps_per_iteration if config.eval_every_steps else total // 20)
    entropy_wanted = wanted_entropy(config, actor)

    possible, why = choose_engine(config.engine, obstacle(actor, critics, config.weight_decay), __name__, began_by(run))
    record_engine(run, possible, why)
    compiled = None
    if possible:
        optimizers = actor_optimizer, critics_optimizer, temperature_optimizer
        wanted = entropy_wanted if config.temperature is None else None
        compiled = CompiledSAC(actor, critics, slow_flat.parameter, optimizers, config.polyak, wanted)

    def updates_after(steps: int) -> int:
        return int(max(0, steps - config.warmup_steps) * config.updates_per_step)

    def learn(batch: Transitions, next_noise: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Take an update; return the critics' loss, the policy's, its entropy and the mean value, and how wrong each was."""
        target = targets(actor, slow_critics, temperature, batch, next_noise)
        encoded = actor.encode(batch.obs)
        q = of_action(critics, encoded, batch.action)
        loss = value_loss(q, target)  # [N, M]
        critic_loss = (loss if batch.weight is None else loss * batch.weight).mean(1).sum()
        critics_flat.zero_grad()
        critic_loss.backward()
        critics_optimizer.step()

        with frozen(critics):
            loss, entropy = policy_loss(actor, critics, temperature, multiplier, encoded, noise)
        actor_flat.zero_grad()
        loss.mean().backward()
        actor_optimizer.step()

        if config.temperature is None:
            temperature_flat.zero_grad()
            temperature_loss(temperature.log, entropy, entropy_wanted).mean().backward()
            temperature_optimizer.step()
        slow_flat.parameter.data.lerp_(critics_flat.parameter.data, config.polyak)
        measured = torch.stack([critic_loss.detach(), loss.detach().mean(), entropy.mean(), q.detach()[:2].mean()])
        return measured, (q.detach() - target).abs().mean(0)

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
                        action = persistence.keep_up(action, actor.allowed(flat_obs))
                else:
                    action = actor.sample(actor.normalise(flat_obs), action_noise[step]).cpu().numpy()
            envs.step(actor.head.to_env(action))
            if persistence is not None:
                persistence.left[envs.ended] = 0
            costs = {"cost": envs.cost} if multiplier.active else {}
            replay.add(obs, action, envs.reward, envs.next_obs, envs.terminated, envs.ended, **costs)

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
        multiplier.update(metrics)
        if measures:
            names = ("loss/value", "loss/policy", "policy/entropy", "value/mean")
            metrics |= dict(zip(names, torch.stack(measures).mean(0).tolist()))
            metrics["policy/temperature"] = temperature().item()
        run.log(steps=(iteration + 1) * steps_per_iteration, **metrics, **multiplier.metrics())
        if (iteration + 1) % eval_every == 0 or iteration + 1 == total:
            keeper.update()

    envs.close()
    return keeper.finish()


def wanted_entropy(config: Config, actor: Actor) -> float:
    """Return the entropy that the temperature aims at, in nats."""
    if isinstance(actor.head, Categorical):
        return config.target_entropy * math.log(actor.head.size)
    return actor.head.size * (math.log(config.target_spread) + 0.5 * math.log(2.0 * math.pi * math.e))


def of_action(critics: QCritics, encoded: Tensor, action: Tensor) -> Tensor:
    """Return what every critic says of the actions taken, ``[N, M]``."""
    if not critics.discrete:
        return critics(encoded, action)
    return critics(encoded)[:, torch.arange(len(action), device=action.device), action]


@torch.no_grad()
def targets(
    actor: Actor, slow_critics: QCritics, temperature: Temperature, batch: Transitions, noise: Tensor
) -> Tensor:
    """Return what every critic should say of the actions taken, ``[N, M]``: the first two the same, the third the cost."""
    encoded = actor.encode(batch.next_obs)
    if isinstance(actor.head, Categorical):
        logp = actor(encoded).log_softmax(-1)
        q = slow_critics(encoded)  # [N, M, A]
        target = discrete_sac_target(batch.reward, q[:2].amin(0), logp, batch.terminated, batch.discount, temperature())
    else:
        assert isinstance(actor.head, SquashedGaussian)
        action, logp = actor.head.sample_logp(actor(encoded), noise)
        q = slow_critics(encoded, action)  # [N, M]
        target = sac_target(batch.reward, q[:2].amin(0), logp, batch.terminated, batch.discount, temperature())
    if len(q) == 2:
        return target.expand(2, -1)
    next_cost = (logp.exp() * q[2]).sum(-1) if q.dim() == 3 else q[2]
    cost = one_step_target(batch.sums["cost"], next_cost, batch.terminated, batch.discount)
    return torch.stack([target, target, cost])


def policy_loss(
    actor: Actor, critics: QCritics, temperature: Temperature, multiplier: Multiplier, encoded: Tensor, noise: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the loss of the policy and its entropy at every observation, ``[M]`` each."""
    if isinstance(actor.head, Categorical):
        logp = actor(encoded).log_softmax(-1)
        with torch.no_grad():
            worth = worth_of(critics(encoded), multiplier)
        return discrete_sac_policy_loss(worth, logp, temperature()), categorical_entropy(logp.detach())
    assert isinstance(actor.head, SquashedGaussian)
    action, logp = actor.head.sample_logp(actor(encoded), noise)
    worth = worth_of(critics(encoded, action), multiplier)
    return sac_policy_loss(worth, logp, temperature()), -logp.detach()


def worth_of(q: Tensor, multiplier: Multiplier) -> Tensor:
    """Return the smaller of two critics' values, less the priced cost if there is a limit on it."""
    worth = q[:2].amin(0)
    return penalised(worth, q[2], multiplier.value) if multiplier.active else worth
