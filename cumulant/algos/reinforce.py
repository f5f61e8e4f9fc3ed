"""REINFORCE: the policy gradient by Monte Carlo, from whole episodes and nothing else.

Play whole episodes with one policy, add up what followed each action until the end of its episode, take one step along the
policy gradient, and forget the episodes. A baseline makes the estimate less noisy without changing what it estimates.
Axes: T time, B parallel environments, N steps that count.

Which episodes count must not depend on how they go: to take those that end within a window would favour short ones. Every
environment therefore starts a new episode after an update, plays on until it finishes the episode that it is in after
``horizon`` steps, and all that it played up to there counts. That is a stopping time, so the sum over those episodes is an
unbiased multiple of the mean over episodes (Wald's identity). What faster environments play while the slowest one finishes
is not learned from; the rows of the log count it in ``steps`` and in ``episode/...``.

What a time limit, or ``cut_after``, cuts off an episode is estimated by the baseline if it is a learned value. The other
baselines know nothing of single observations: without one, or with an average, what was cut off counts as nothing.

Source: Williams 1992, "Simple statistical gradient-following algorithms for connectionist reinforcement learning", sections 5
and 6; Sutton & Barto 2018, section 13.4 (the learned baseline). Differs from source: many episodes per step, Adam.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Annotated, Any, Literal

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
from cumulant.maths.returns import discounted_return
from cumulant.maths.schedules import linear
from cumulant.maths.value import value_loss
from cumulant.nn.actor_critic import ActorCritic
from cumulant.nn.flat import Flat, FlatAdam
from cumulant.nn.network import NetworkConfig
from cumulant.run.config import require
from cumulant.run.run import Run

CATEGORY = "actor-critic"
USE = "short episodes, to learn from or to compare with: the simplest policy gradient, with no bias from a critic"


@dataclass(frozen=True)
class Config:
    """Options of REINFORCE."""

    env: Annotated[str, tyro.conf.Suppress] = "CartPole-v1"
    """Environment: short name, Gymnasium id, or module:Class."""
    env_options: Annotated[Mapping[str, Any], tyro.conf.Suppress] = field(default_factory=dict)
    """Options of the environment."""
    total_steps: int = 500_000
    """Environment steps to train for."""
    num_envs: int = 8
    """Environments that run in lock-step (B)."""
    horizon: int = 64
    """Steps of each environment per iteration; one gradient step takes at least as many, up to the end of an episode."""
    cut_after: int = 10_000
    """Steps of each environment after which a gradient step cuts off the episodes that still go on."""
    gamma: float = 0.99
    """Discount per step."""
    baseline: Literal["value", "average", "none"] = "value"
    """What is subtracted from returns: a learned value of the observation, their moving average, or nothing."""
    average_decay: float = 0.9
    """How much of its moving average a gradient step keeps."""
    learning_rate: float = 3e-3
    """Step size of Adam at the start."""
    learning_rate_end: float = 0.0
    """Step size at the end; linear in between."""
    value_coef: float = 0.5
    """Weight of the loss of the learned value."""
    entropy_coef: float = 0.0
    """Weight of the entropy bonus at the start; falls linearly to nothing."""
    max_grad_norm: float = 0.5
    """Gradients are scaled down to this norm."""
    normalize_advantage: bool = False
    """Divide what remains of the returns by its root mean square, so that settings fit all units of reward (a small bias)."""
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
        for name in ("total_steps", "num_envs", "horizon", "cut_after", "eval_episodes"):
            require(self, name, getattr(self, name) >= 1, "at least 1")
        require(self, "gamma", 0.0 <= self.gamma <= 1.0, "in [0, 1]")
        require(self, "average_decay", 0.0 <= self.average_decay < 1.0, "in [0, 1)")
        for name in ("learning_rate", "max_grad_norm"):
            require(self, name, getattr(self, name) > 0.0, "above 0")
        for name in ("learning_rate_end", "value_coef", "entropy_coef", "eval_every_steps"):
            require(self, name, getattr(self, name) >= 0, "at least 0")


class Episodes:
    """The episodes of the next gradient step: rollouts under one policy that follow each other.

    Args:
        horizon: Steps after which an environment stops at the end of its episode.
        cut_after: Steps after which it stops anyway.
    """

    def __init__(self, horizon: int, cut_after: int) -> None:
        self.horizon, self.cut_after = horizon, cut_after
        self.parts: list[Rollout] = []

    def whole(self) -> tuple[Rollout, torch.Tensor] | None:
        """Return all steps, ``[T, B]``, and which of them count, ``[T, B]`` bool; None while an episode is open."""
        stops = torch.cat([part.ended for part in self.parts])
        stops[: self.horizon - 1] = False
        if len(stops) < self.cut_after and not stops.any(0).all():
            return None
        counts = stops.int().cumsum(0) - stops.int() == 0  # it had not stopped before
        columns = [f.name for f in fields(Rollout) if getattr(self.parts[0], f.name) is not None]
        return Rollout(*(torch.cat([getattr(part, name) for part in self.parts]) for name in columns)), counts

    def state_dict(self) -> dict[str, Any]:
        """The rollouts."""
        return {"parts": [dict(vars(part)) for part in self.parts]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Undo ``state_dict``."""
        self.parts = [Rollout(**part) for part in state["parts"]]


class Average(torch.nn.Module):
    """The moving average of returns: what one can expect without looking."""

    mean: torch.Tensor
    weight: torch.Tensor

    def __init__(self, decay: float) -> None:
        super().__init__()
        self.decay = decay
        self.register_buffer("mean", torch.zeros(()))
        self.register_buffer("weight", torch.zeros(()))  # of all that was seen; below 1 at first

    def value(self) -> torch.Tensor:
        """Return the average; 0 before anything was seen."""
        return self.mean / self.weight.clamp(min=1e-8)

    def update(self, returns: torch.Tensor) -> None:
        """Add the mean of some returns ``[N]``."""
        self.mean.lerp_(returns.mean(), 1.0 - self.decay)
        self.weight.lerp_(torch.ones_like(self.weight), 1.0 - self.decay)


def learn(
    net: ActorCritic,
    flat: Flat,
    optimizer: FlatAdam,
    rollout: Rollout,
    counts: Tensor,
    advantage: Tensor,
    returns: Tensor,
    config: Config,
    entropy_coef: float,
) -> dict[str, float]:
    """Take the gradient step of the steps that count, ``[T, B]`` bool; return its measures."""
    # Divided by a constant: dividing by the random number of steps would count the steps of long batches less.
    batch_size = config.num_envs * config.horizon
    seen = net.features(rollout.obs[counts])
    logp, entropy = net.logp_entropy(seen, rollout.action[counts])
    policy_loss = policy_gradient_loss(logp, advantage).sum() / batch_size
    critic_loss = value_loss(net.value(seen), returns).sum() / batch_size
    loss = policy_loss + config.value_coef * critic_loss - entropy_coef * entropy.sum() / batch_size
    flat.zero_grad()
    loss.backward()
    grad_norm = flat.clip_grad_norm(config.max_grad_norm)
    optimizer.step()
    return {
        "loss/policy": policy_loss.item(),
        "loss/value": critic_loss.item(),
        "loss/grad_norm": grad_norm.item(),
        "policy/entropy": entropy.mean().item(),
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
    optimizer = FlatAdam(flat, config.learning_rate, eps=1e-5)
    episodes, average = Episodes(config.horizon, config.cut_after), Average(config.average_decay).to(config.device)
    keeper = Keeper(Policy(net), run, config.env, config.env_options, config.eval_episodes)
    run.track(net=net, optimizer=optimizer, episodes=episodes, average=average, envs=envs, keeper=keeper)
    act_rng = run.rng("act")
    learned = config.baseline == "value"
    learning = (
        config if learned else replace(config, value_coef=0.0)
    )  # without a value there is nothing for it to learn
    possible, why = use_compiled(config.engine, net, envs, __name__, began_by(run))
    record_engine(run, possible, why)
    compiled = None
    if possible:
        compiled = CompiledPlain(net, optimizer, envs, config.horizon, run.seed_for("act"))

    def play(first_step: int) -> Rollout:
        """Play on for a horizon."""
        if compiled is None:
            return collect(envs, net, config.horizon, act_rng)
        compiled.collect(first_step)
        return compiled.rollout()

    batch_size = config.num_envs * config.horizon
    total = -(-config.total_steps // batch_size)
    eval_every = max(1, config.eval_every_steps // batch_size if config.eval_every_steps else total // 20)

    warm_up = 0 if net.norm is None else batch_size  # steps that only feed the statistics
    for iteration in run.iterations(total):
        fraction = iteration / total
        optimizer.learning_rate = linear(config.learning_rate, config.learning_rate_end, fraction)
        entropy_coef = linear(config.entropy_coef, 0.0, fraction)
        if net.norm is not None and iteration == 0:  # even the first policy must not read raw units
            first = play(0)
            net.observe(first.flat)
            envs.restart(~first.ended[-1].cpu().numpy())

        episodes.parts.append(play((iteration + 1) * config.horizon))
        run.log(steps=warm_up + (iteration + 1) * batch_size, **episode_metrics(envs))
        played = episodes.whole()
        if played is not None:
            rollout, counts = played
            rest = rollout.next_value if learned else torch.zeros_like(rollout.next_value)  # of what was cut off
            returns = discounted_return(rollout.reward, rest, rollout.terminated, rollout.ended, config.gamma)[counts]
            baseline = rollout.value[counts] if learned else average.value()
            average.update(returns)  # after its use: the returns' own average would be a bias
            advantage = returns if config.baseline == "none" else returns - baseline
            if config.normalize_advantage:
                advantage = advantage / (advantage.square().mean().sqrt() + 1e-8)
            if compiled is not None:
                measured = compiled.learn_episodes(
                    rollout, counts, advantage, returns, 1.0 / batch_size, learning, entropy_coef
                )
            else:
                measured = learn(net, flat, optimizer, rollout, counts, advantage, returns, learning, entropy_coef)
            if not learned:
                del measured["loss/value"]
            net.observe(rollout.flat[counts])
            episodes.parts.clear()
            envs.restart(~rollout.ended[-1].cpu().numpy())
            run.log(
                **measured,
                **{"value/average": average.value().item(), "episode/steps_used": counts.float().mean().item()},
            )
        if (iteration + 1) % eval_every == 0 or iteration + 1 == total:
            keeper.update()

    envs.close()
    return keeper.finish()
