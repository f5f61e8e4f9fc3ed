"""Deep Q-learning with replay, up to Rainbow by switches.

Act by the values of a network, remember every step, and fit the values of remembered steps to their reward plus the discounted
best value of what followed, as a slower copy of the network sees it. Each improvement is a switch: double, dueling, n-step,
prioritised replay, noisy weights, and heads that learn the distribution of the return; all together are Rainbow:

    cumulant train dqn ENV --double --dueling --noisy --head c51 --prioritised --n-step 3

Axes: B parallel environments, M remembered transitions, A actions, K atoms or quantiles.

Source: Mnih et al. 2015; double: van Hasselt et al. 2016; Rainbow: Hessel et al. 2018; the parts are named where they are.
Differs from source: time limits bootstrap from the final observation; the updates that follow one step of the environments
draw together and share one pass for their targets.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import numpy as np
import torch
import tyro

from cumulant.data.replay import Replay, ReplayConfig, Transitions
from cumulant.engine.choice import began_by, choose_engine, record_engine
from cumulant.engine.compiled_dqn import CompiledDQN, obstacle
from cumulant.engine.evaluate import Keeper, episode_metrics
from cumulant.engine.persistence import Persistence
from cumulant.engine.policy import Policy
from cumulant.engine.vector import make_vector
from cumulant.kernels.tabular import choose_by
from cumulant.maths.distributional import categorical_loss, categorical_target, quantile_huber_loss, quantile_target
from cumulant.maths.exploration import boltzmann
from cumulant.maths.schedules import linear
from cumulant.maths.value import double_q_target, huber_loss, q_learning_target
from cumulant.nn.flat import Flat, FlatAdam
from cumulant.nn.network import check_net
from cumulant.nn.q_network import QNetwork
from cumulant.run.config import require
from cumulant.run.run import Run

CATEGORY = "value-based"
USE = "few discrete actions and steps that are worth remembering: learns from each of them many times"


@dataclass(frozen=True)
class NetworkConfig:
    """The network."""

    net: str = "auto"
    """What reads observations: auto (convolutions for images), mlp, cnn, impala, or path:Class of your own."""
    hidden: tuple[int, ...] = (128, 128)
    """Hidden layers."""
    dueling: bool = False
    """Learn the value of an observation and the advantages of its actions apart."""
    noisy: bool = False
    """Explore by learned noise on the weights instead of random actions."""
    head: Literal["scalar", "c51", "quantile"] = "scalar"
    """Learn the mean of the return, or its distribution over fixed atoms, or its quantiles."""
    num_atoms: int = 51
    """Atoms or quantiles of a distribution."""
    value_range: tuple[float, ...] = (0.0, 100.0)
    """Smallest and largest return that c51 can represent."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Arithmetic of convolutions: bfloat16 is faster where the processor has it, and coarser; weights stay float32."""

    def __post_init__(self) -> None:
        check_net(self)
        require(self, "net", self.net != "residual", "another one: residual layers have no noisy form")
        require(self, "hidden", all(size >= 1 for size in self.hidden), "sizes of at least 1")
        require(self, "num_atoms", self.num_atoms >= 2, "at least 2")
        ascending = len(self.value_range) == 2 and self.value_range[0] < self.value_range[1]
        require(self, "value_range", ascending, "two numbers, the smaller one first")


@dataclass(frozen=True)
class ExploreConfig:
    """How actions are chosen during training; falls linearly, then stays."""

    strategy: Literal["epsilon_greedy", "persistent", "boltzmann"] = "epsilon_greedy"
    """Random actions now and then, or such that are kept up for a while, or better actions more often."""
    epsilon: float = 0.9
    """Share of random actions at the start."""
    epsilon_end: float = 0.05
    """Share of random actions from the end of exploration on."""
    temperature: float = 1.0
    """Boltzmann temperature at the start, in units of the value."""
    temperature_end: float = 0.05
    """Boltzmann temperature from the end of exploration on."""
    exploration: float = 0.5
    """Part of the training in which it falls."""

    def __post_init__(self) -> None:
        for name in ("epsilon", "epsilon_end"):
            require(self, name, 0.0 <= getattr(self, name) <= 1.0, "in [0, 1]")
        for name in ("temperature", "temperature_end"):
            require(self, name, getattr(self, name) >= 1e-6, "at least 1e-6")
        require(self, "exploration", 0.0 < self.exploration <= 1.0, "in (0, 1]")


@dataclass(frozen=True)
class Config:
    """Options of DQN."""

    env: Annotated[str, tyro.conf.Suppress] = "CartPole-v1"
    """Environment: short name, Gymnasium id, or module:Class."""
    env_options: Annotated[Mapping[str, Any], tyro.conf.Suppress] = field(default_factory=dict)
    """Options of the environment."""
    total_steps: int = 100_000
    """Environment steps to train for."""
    num_envs: int = 8
    """Environments that run in lock-step (B)."""
    horizon: int = 64
    """Steps of each environment per iteration: per row of metrics."""
    gamma: float = 0.99
    """Discount per step."""
    learning_rate: float = 2e-3
    """Step size of Adam at the start."""
    learning_rate_end: float = 0.0
    """Step size at the end; linear in between."""
    batch_size: int = 128
    """Remembered transitions per update."""
    updates_per_step: float = 0.25
    """Updates per environment step."""
    train_every: int = 1
    """Steps of every environment between updates; those that fall due meanwhile are made together, which is cheaper."""
    warmup_steps: int = 100
    """Environment steps before the first update."""
    target_every: int = 100
    """Updates between copies of the network to its slower self."""
    double: bool = False
    """Let the network choose the next action and its slower self judge it."""
    max_grad_norm: float = 10.0
    """Gradients are scaled down to this norm."""
    network: NetworkConfig = field(default_factory=NetworkConfig)
    """The network."""
    replay: ReplayConfig = field(default_factory=ReplayConfig)
    """What is remembered and how it is drawn."""
    explore: ExploreConfig = field(default_factory=ExploreConfig)
    """How actions are chosen during training."""
    eval_every_steps: int = 0
    """Steps between evaluations that keep the best policy; 0 for twenty in a run."""
    eval_episodes: int = 100
    """Episodes of each of them."""
    device: str = "cpu"
    """Where the networks live: cpu, cuda or mps."""
    engine: Literal["auto", "torch", "compiled"] = "auto"
    """What computes: compiled code is several times faster on perceptrons; auto takes it where it can."""

    def __post_init__(self) -> None:
        for name in (
            "total_steps",
            "num_envs",
            "horizon",
            "batch_size",
            "train_every",
            "target_every",
            "eval_episodes",
        ):
            require(self, name, getattr(self, name) >= 1, "at least 1")
        for name in ("learning_rate", "updates_per_step", "max_grad_norm"):
            require(self, name, getattr(self, name) > 0.0, "above 0")
        for name in ("learning_rate_end", "warmup_steps", "eval_every_steps"):
            require(self, name, getattr(self, name) >= 0, "at least 0")
        require(self, "gamma", 0.0 <= self.gamma <= 1.0, "in [0, 1]")


def train(config: Config, run: Run) -> Policy:
    """Train a network of action values.

    Args:
        config: Options.
        run: Where it is logged and saved.

    Returns:
        The greedy policy with the best periodic evaluation.
    """
    envs = make_vector(config.env, config.num_envs, run.seed_for("envs"), config.env_options, masks="offered")
    net, slow_net = (
        QNetwork(
            envs.observation_space,
            envs.action_space,
            **vars(config.network),
            epsilon=config.explore.epsilon_end,
            generator=generator,
        ).to(config.device)
        for generator in (run.rng("init"), None)
    )
    flat, slow = Flat(net), Flat(slow_net)
    slow.parameter.data.copy_(flat.parameter.data)
    optimizer = FlatAdam(flat, config.learning_rate, eps=1e-5)
    spaces = (envs.observation_space, envs.action_space)
    goal_reward, folder = getattr(envs, "goal_reward", None), run.directory / "state" / "replay"
    replay = Replay(config.replay, config.num_envs, *spaces, config.gamma, folder, goal_reward=goal_reward)
    keeper = Keeper(Policy(net), run, config.env, config.env_options, config.eval_episodes)
    run.track(net=net, slow_net=slow_net, optimizer=optimizer, replay=replay, envs=envs, keeper=keeper)
    act_rng, replay_rng, noise_rng = run.rng("act"), run.rng("replay"), run.rng("noise")
    strategy = config.explore.strategy
    action = np.zeros(config.num_envs, np.int64)
    persistence = Persistence(config.num_envs, run.rng("persistence")) if strategy == "persistent" else None
    if persistence is not None:
        run.track(persistence=persistence)

    steps_per_iteration = config.num_envs * config.horizon
    total = -(-config.total_steps // steps_per_iteration)
    eval_every = max(1, config.eval_every_steps // steps_per_iteration if config.eval_every_steps else total // 20)

    possible, why = choose_engine(config.engine, obstacle(net), __name__, began_by(run))
    record_engine(run, possible, why)
    compiled = CompiledDQN(net, slow, optimizer, config.double, config.max_grad_norm) if possible else None

    def updates_after(steps: int) -> int:
        return int(max(0, steps - config.warmup_steps) * config.updates_per_step)

    doubted = False
    for iteration in run.iterations(total):
        fraction = iteration / total
        optimizer.learning_rate = linear(config.learning_rate, config.learning_rate_end, fraction)
        weight_power = linear(config.replay.weight_power, config.replay.weight_power_end, fraction)
        level = exploration_level(config, fraction)
        action_noise = net.head.noise((config.horizon, config.num_envs), act_rng)
        losses: list[float] = []
        values: list[float] = []

        for step, noise in enumerate(action_noise, iteration * config.horizon):
            obs = envs.obs.copy()
            if compiled is not None:
                q = compiled.values(obs)
            else:
                with torch.no_grad():
                    q = net.q(net.encode(torch.from_numpy(obs).to(config.device)), net.noise(noise_rng)).cpu().numpy()
            if strategy == "boltzmann":
                action = net.head.sample(boltzmann(torch.from_numpy(q), level).log(), noise).numpy()
            elif persistence is not None:
                persistence.choose(q, level, noise.numpy(), action)
            else:
                choose_by(q, level, noise.numpy(), action)
            envs.step(action)
            replay.add(obs, action, envs.reward, envs.next_obs, envs.terminated, envs.ended)
            if persistence is not None:
                persistence.left[envs.ended] = 0

            if (step + 1) % config.train_every:
                continue
            steps = (step + 1) * config.num_envs
            first, stop = updates_after(steps - config.train_every * config.num_envs), updates_after(steps)
            if first == stop:
                continue
            drawn = replay.sample(config.batch_size, stop - first, replay_rng, weight_power, config.device)
            if compiled is not None:
                new_losses, error = compiled.learn(drawn, config.batch_size)
            else:
                new_losses, error = learn(config, net, slow_net, flat, optimizer, drawn, noise_rng)
            losses.extend(new_losses)
            values.append(q.max(-1).mean())
            replay.prioritise(drawn.slot, error)
            if first // config.target_every != stop // config.target_every:
                slow.parameter.data.copy_(flat.parameter.data)

        if config.network.head == "c51" and values and not doubted:
            doubted = at_an_end(float(np.mean(values)), config.network.value_range)
        run.log(
            steps=(iteration + 1) * steps_per_iteration,
            **episode_metrics(envs),
            **{f"policy/{'temperature' if strategy == 'boltzmann' else 'epsilon'}": level},
            **({"loss/value": float(np.mean(losses)), "value/mean": float(np.mean(values))} if losses else {}),
        )
        if (iteration + 1) % eval_every == 0 or iteration + 1 == total:
            keeper.update()

    envs.close()
    return keeper.finish()


def exploration_level(config: Config, fraction: float) -> float:
    """Return epsilon or the temperature at a fraction of the run; noisy weights need no random actions."""
    explore, passed = config.explore, min(1.0, fraction / config.explore.exploration)
    if explore.strategy == "boltzmann":
        return linear(explore.temperature, explore.temperature_end, passed)
    return 0.0 if config.network.noisy else linear(explore.epsilon, explore.epsilon_end, passed)


def learn(
    config: Config,
    net: QNetwork,
    slow_net: QNetwork,
    flat: Flat,
    optimizer: FlatAdam,
    drawn: Transitions,
    noise_rng: torch.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Take an update for every minibatch; return the loss of each, and how wrong each value was, ``[M]``."""
    target, encoded = targets(config, net, slow_net, drawn, noise_rng), net.encode(drawn.obs)
    losses, errors = [], []
    for start in range(0, len(target), config.batch_size):
        rows = slice(start, start + config.batch_size)
        made = net.by_hand(encoded[rows])
        out = net(encoded[rows], net.noise(noise_rng)) if made is None else net.read(made.out)
        loss, error = fit(config, of_action(out, drawn.action[rows]), target[rows])
        errors.append(error)
        loss = (loss if drawn.weight is None else loss * drawn.weight[rows]).mean()
        flat.zero_grad()
        loss.backward()
        if made is not None:
            made.backward()
        flat.clip_grad_norm(config.max_grad_norm)
        optimizer.step()
        losses.append(loss.detach())
    return torch.stack(losses).cpu().numpy(), torch.cat(errors).cpu().numpy()


@torch.no_grad()
def targets(
    config: Config, net: QNetwork, slow_net: QNetwork, drawn: Transitions, noise_rng: torch.Generator
) -> torch.Tensor:
    """Return what the outputs for the actions taken should be: ``[M]``, or ``[M, K]`` for a distribution."""
    next_obs = net.encode(drawn.next_obs)
    next_out = slow_net(next_obs, slow_net.noise(noise_rng))
    next_q = slow_net.q_of(next_out, next_obs)
    next_online = net.q(next_obs, net.noise(noise_rng)) if config.double else None
    reward, terminated, discount = drawn.reward, drawn.terminated, drawn.discount
    if config.network.head == "scalar":
        if next_online is None:
            return q_learning_target(reward, next_q, terminated, discount)
        return double_q_target(reward, next_online, next_q, terminated, discount)
    chosen = (next_q if next_online is None else next_online).argmax(-1)
    following = of_action(next_out, chosen)
    if config.network.head == "c51":
        return categorical_target(reward, following.softmax(-1), terminated, discount, slow_net.support)
    return quantile_target(reward, following, terminated, discount)


def fit(config: Config, out: torch.Tensor, target: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the loss of every transition and how wrong it was, for its priority, ``[M]`` each."""
    if config.network.head == "scalar":
        return huber_loss(out, target), (out.detach() - target).abs()
    loss = categorical_loss(out, target) if config.network.head == "c51" else quantile_huber_loss(out, target)
    return loss, loss.detach()


def of_action(out: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
    """Return the outputs of one action each: ``[M, A]`` -> ``[M]``, or ``[M, A, K]`` -> ``[M, K]``."""
    if out.dim() == 2:
        return out.gather(1, action.unsqueeze(1)).squeeze(1)
    return out[torch.arange(len(out), device=out.device), action]


def at_an_end(value: float, value_range: tuple[float, ...]) -> bool:
    """Return whether values lie at an end of the range that c51 can represent, and warn if they do."""
    low, high = value_range
    margin = 0.01 * (high - low)
    if low + margin < value < high - margin:
        return False
    warnings.warn(
        f"values are {value:.3g}, at an end of value_range = {value_range}: c51 takes every return outside it for that end; "
        "choose it around the discounted returns of the environment (--value-range LOW HIGH)",
        stacklevel=3,
    )
    return True
