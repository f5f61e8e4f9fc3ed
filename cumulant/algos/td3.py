"""Twin delayed deep deterministic policy gradient: off-policy, with noise for exploration instead of entropy.

Remember every step. Fit two critics to the reward plus the discounted value of the next action as slower copies of policy and
critics see it, the smaller value counting and the action blurred by noise, so that no critic is believed at a single point. Move
the policy towards what the first critic likes, but only after every other update of the critics.

Axes: B parallel environments, N critics, M remembered transitions, A actions.

Source: Fujimoto et al. 2018, "Addressing Function Approximation Error in Actor-Critic Methods". Differs from source: time limits
bootstrap from the final observation; n-step rewards and drawing by priority are possible.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import torch
import tyro
from torch import Tensor

from cumulant.data.replay import Replay, ReplayConfig, Transitions
from cumulant.engine.choice import began_by, choose_engine, record_engine
from cumulant.engine.compiled_td3 import CompiledTD3
from cumulant.engine.compiled_towers import obstacle
from cumulant.engine.evaluate import Keeper, episode_metrics
from cumulant.engine.persistence import Persistence
from cumulant.engine.policy import Policy
from cumulant.engine.vector import make_vector
from cumulant.maths.policy import smoothed_action
from cumulant.maths.schedules import linear
from cumulant.maths.value import one_step_target, value_loss
from cumulant.nn.actor import Actor
from cumulant.nn.backward import frozen
from cumulant.nn.flat import Flat, FlatAdam
from cumulant.nn.network import NetworkConfig
from cumulant.nn.q_critic import QCritics
from cumulant.run.config import require
from cumulant.run.run import Run

CATEGORY = "continuous control"
USE = "continuous actions where a deterministic policy is wanted; try sac first"


@dataclass(frozen=True)
class Config:
    """Options of TD3."""

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
    learning_rate: float = 1e-3
    """Step size of Adam, for policy and critics."""
    weight_decay: float = 0.0
    """How fast weights shrink, per unit of the step size (AdamW)."""
    batch_size: int = 256
    """Remembered transitions per update."""
    updates_per_step: float = 1.0
    """Updates per environment step."""
    warmup_steps: int = 1000
    """Environment steps with random actions before the first update."""
    warmup: Literal["independent", "persistent"] = "independent"
    """Those actions: each by itself, or kept up for a while, which finds what is far away."""
    polyak: float = 0.005
    """How far the slower copies move towards the networks per update of the policy."""
    policy_every: int = 2
    """Updates of the critics per update of the policy."""
    exploration_noise: float = 0.1
    """Deviation of the noise on actions, in half-widths of their range."""
    smoothing_noise: float = 0.2
    """Deviation of the noise on the next action of a target, in half-widths."""
    smoothing_clip: float = 0.5
    """Largest such noise."""
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
        for name in ("total_steps", "num_envs", "horizon", "batch_size", "policy_every", "eval_episodes"):
            require(self, name, getattr(self, name) >= 1, "at least 1")
        for name in ("learning_rate", "updates_per_step", "smoothing_clip"):
            require(self, name, getattr(self, name) > 0.0, "above 0")
        for name in ("weight_decay", "warmup_steps", "eval_every_steps", "exploration_noise", "smoothing_noise"):
            require(self, name, getattr(self, name) >= 0, "at least 0")
        require(self, "gamma", 0.0 <= self.gamma <= 1.0, "in [0, 1]")
        require(self, "polyak", 0.0 < self.polyak <= 1.0, "in (0, 1]")


def train(config: Config, run: Run) -> Policy:
    """Train a policy and its critics.

    Args:
        config: Options.
        run: Where it is logged and saved.

    Returns:
        The policy with the best periodic evaluation.
    """
    envs = make_vector(config.env, config.num_envs, run.seed_for("envs"), config.env_options)
    spaces, network = (envs.observation_space, envs.action_space), vars(config.network)
    actor, slow_actor = (
        Actor(*spaces, True, config.exploration_noise, **network, generator=generator).to(config.device)
        for generator in (run.rng("init"), None)
    )
    critics, slow_critics = (
        QCritics(*spaces, **network, generator=generator).to(config.device) for generator in (run.rng("init"), None)
    )
    actor_flat, slow_actor_flat, critics_flat, slow_critics_flat = map(Flat, (actor, slow_actor, critics, slow_critics))
    slow_actor_flat.parameter.data.copy_(actor_flat.parameter.data)
    slow_critics_flat.parameter.data.copy_(critics_flat.parameter.data)
    actor_optimizer, critics_optimizer = (
        FlatAdam(flat, config.learning_rate, weight_decay=config.weight_decay) for flat in (actor_flat, critics_flat)
    )
    goal_reward, folder = getattr(envs, "goal_reward", None), run.directory / "state" / "replay"
    replay = Replay(config.replay, config.num_envs, *spaces, config.gamma, folder, goal_reward=goal_reward)
    keeper = Keeper(Policy(actor), run, config.env, config.env_options, config.eval_episodes)
    run.track(actor=actor, slow_actor=slow_actor, critics=critics, slow_critics=slow_critics)
    run.track(actor_optimizer=actor_optimizer, critics_optimizer=critics_optimizer)
    run.track(replay=replay, envs=envs, keeper=keeper)
    persistence = None
    if config.warmup == "persistent":
        persistence = Persistence(config.num_envs, run.rng("persistence"), actor.head.size)
        run.track(persistence=persistence)
    act_rng, replay_rng, noise_rng = run.rng("act"), run.rng("replay"), run.rng("noise")

    steps_per_iteration = config.num_envs * config.horizon
    total = -(-config.total_steps // steps_per_iteration)
    eval_every = max(1, config.eval_every_steps // steps_per_iteration if config.eval_every_steps else total // 20)

    possible, why = choose_engine(config.engine, obstacle(actor, critics, config.weight_decay), __name__, began_by(run))
    record_engine(run, possible, why)
    compiled = None
    if possible:
        slow = slow_actor_flat.parameter, slow_critics_flat.parameter
        optimizers = actor_optimizer, critics_optimizer
        smoothing = config.smoothing_noise, config.smoothing_clip
        compiled = CompiledTD3(actor, critics, slow, optimizers, config.polyak, smoothing)

    def updates_after(steps: int) -> int:
        return int(max(0, steps - config.warmup_steps) * config.updates_per_step)

    def learn(batch: Transitions, noise: Tensor, moves: bool) -> tuple[Tensor, Tensor]:
        """Take an update, of the policy, too, if it moves.

        Returns:
            The critics' loss, the mean value and the policy's loss, 0 if it does not move; and how wrong each value was.
        """
        target = targets(config, actor, slow_actor, slow_critics, batch, noise)
        encoded = actor.encode(batch.obs)
        q = critics(encoded, batch.action)  # [N, M]
        loss = value_loss(q, target)
        critic_loss = (loss if batch.weight is None else loss * batch.weight).mean(1).sum()
        critics_flat.zero_grad()
        critic_loss.backward()
        critics_optimizer.step()

        policy_loss = torch.zeros((), device=q.device)
        if moves:
            with frozen(critics):
                policy_loss = -critics(encoded, actor.mode(encoded), members=1).mean()
            actor_flat.zero_grad()
            policy_loss.backward()
            actor_optimizer.step()
            slow_actor_flat.parameter.data.lerp_(actor_flat.parameter.data, config.polyak)
            slow_critics_flat.parameter.data.lerp_(critics_flat.parameter.data, config.polyak)
        measured = torch.stack([critic_loss.detach(), q.detach().mean(), policy_loss.detach()])
        return measured, (q.detach() - target).abs().mean(0)

    for iteration in run.iterations(total):
        weight_power = linear(config.replay.weight_power, config.replay.weight_power_end, iteration / total)
        action_noise = actor.head.noise((config.horizon, config.num_envs), act_rng).to(config.device)
        measures, policy_losses = [], []

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
            noise = actor.head.noise((len(drawn.slot),), noise_rng).to(config.device)
            for update, batch, part in zip(
                range(first + 1, stop + 1), drawn.split(config.batch_size), noise.split(config.batch_size)
            ):
                moves = update % config.policy_every == 0
                measured, error = (learn if compiled is None else compiled.learn)(batch, part, moves)
                if batch.weight is not None:
                    replay.prioritise(batch.slot, torch.as_tensor(error).cpu().numpy())
                measures.append(torch.as_tensor(measured[:2]))
                policy_losses.extend([torch.as_tensor(measured[2])] if moves else [])

        metrics = episode_metrics(envs)
        if measures:
            metrics |= dict(zip(("loss/value", "value/mean"), torch.stack(measures).mean(0).tolist()))
        if policy_losses:
            metrics["loss/policy"] = torch.stack(policy_losses).mean().item()
        run.log(steps=(iteration + 1) * steps_per_iteration, **metrics)
        if (iteration + 1) % eval_every == 0 or iteration + 1 == total:
            keeper.update()

    envs.close()
    return keeper.finish()


@torch.no_grad()
def targets(
    config: Config, actor: Actor, slow_actor: Actor, slow_critics: QCritics, batch: Transitions, noise: Tensor
) -> Tensor:
    """Return what both critics should say of the actions taken, ``[N, M]``."""
    encoded = actor.encode(batch.next_obs)  # the statistics of observations are those of the faster policy
    action = smoothed_action(slow_actor.mode(encoded), noise, config.smoothing_noise, config.smoothing_clip)
    next_q = slow_critics(encoded, action).amin(0)
    return one_step_target(batch.reward, next_q, batch.terminated, batch.discount).expand(2, -1)
