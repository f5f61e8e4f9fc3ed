"""Bandits: epsilon-greedy, UCB1, Thompson sampling and LinUCB over one set of statistics.

Every step is one decision: see a context, choose an arm, get its reward. What follows later does not count. Each arm has a
ridge regression of its rewards on the context; the strategies differ only in the score that they give to an arm, and the
highest score is chosen. Without a context, or with one of a few symbols, the regression is a table of averages.

    gram_a  = sum of x x^T,   total_a = sum of reward x             over the decisions for arm a in context x
    theta_a = (ridge I + gram_a)^-1 total_a
    mean_a  = theta_a . x,    width_a = sqrt(x^T (ridge I + gram_a)^-1 x)

    epsilon_greedy        mean_a, but a random arm with probability epsilon
    ucb1                  average_a + confidence * sqrt(log(n) / n_a)
    thompson              a draw from the normal posterior: mean_a + reward_std * width_a * normal
    thompson_bernoulli    a draw from the Beta posterior of the probability of reward 1, from a uniform prior
    linucb                mean_a + confidence * width_a

Axes: B parallel environments, A arms, F features.

Source: Auer et al. 2002 (UCB1); Li et al. 2010, algorithm 1 (LinUCB); Agrawal & Goyal 2013 (normal posterior of a linear model);
Thompson 1933 (Beta posterior); Sutton & Barto 2018, section 2.2 (epsilon-greedy). Differs from source: ties are shared.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import gymnasium
import numpy as np
import torch
import tyro
from gymnasium import spaces

from cumulant.engine.evaluate import Keeper, episode_metrics
from cumulant.engine.policy import Policy
from cumulant.engine.vector import make_vector
from cumulant.errors import ConfigError
from cumulant.maths.exploration import epsilon_greedy, ucb_scores
from cumulant.maths.schedules import linear
from cumulant.nn.actor_critic import ActorCritic
from cumulant.nn.encoder import encode
from cumulant.run.config import require
from cumulant.run.run import Run

CATEGORY = "bandit"
USE = "decisions whose consequences end with their reward; few arms and few features"


@dataclass(frozen=True)
class Config:
    """Options of the bandit strategies."""

    env: Annotated[str, tyro.conf.Suppress] = "bandit-gaussian"
    """Environment: short name, Gymnasium id, or module:Class."""
    env_options: Annotated[Mapping[str, Any], tyro.conf.Suppress] = field(default_factory=dict)
    """Options of the environment."""
    total_steps: int = 10_000
    """Decisions to make."""
    num_envs: int = 1
    """Decisions that are made at once, before any of their rewards is seen (B)."""
    horizon: int = 100
    """Decisions of each environment per iteration, that is per row of the log."""
    strategy: Literal["epsilon_greedy", "ucb1", "thompson", "thompson_bernoulli", "linucb"] = "thompson"
    """How arms are scored; ucb1 and thompson_bernoulli need a Discrete context, the latter rewards from 0 to 1."""
    epsilon: float = 0.1
    """Share of random arms at the start (epsilon_greedy)."""
    epsilon_end: float = 0.0
    """Share of random arms at the end; linear in between (epsilon_greedy)."""
    confidence: float = math.sqrt(2.0)
    """How many widths are added to the mean (ucb1, for rewards in [0, 1], and linucb)."""
    reward_std: float = 1.0
    """Standard deviation that a reward is believed to have around its mean (thompson)."""
    ridge: float = 1.0
    """Weight of the belief that rewards are 0, in decisions per feature (not ucb1, not thompson_bernoulli)."""
    eval_episodes: int = 1000
    """Episodes of each of the twenty evaluations that keep the best policy."""

    def __post_init__(self) -> None:
        for name in ("total_steps", "num_envs", "horizon", "eval_episodes"):
            require(self, name, getattr(self, name) >= 1, "at least 1")
        for name in ("epsilon", "epsilon_end"):
            require(self, name, 0.0 <= getattr(self, name) <= 1.0, "in [0, 1]")
        for name in ("confidence", "reward_std", "ridge"):
            require(self, name, getattr(self, name) > 0.0, "above 0")


class Statistics:
    """What is known of every arm: all that the strategies need of the past.

    Args:
        arms: A.
        features: F.

    Attributes:
        gram: Sum of the outer products of the contexts, ``[A, F, F]`` float64; on its diagonal, the decisions per symbol.
        total: Sum of the rewards times their contexts, ``[A, F]`` float64.
        regret: Sum over all decisions of what the best arm would have brought more, where the environment says.
    """

    def __init__(self, arms: int, features: int) -> None:
        self.gram = np.zeros((arms, features, features))
        self.total = np.zeros((arms, features))
        self.regret = 0.0

    def add(self, context: np.ndarray, action: np.ndarray, reward: np.ndarray) -> None:
        """Add decisions: contexts ``[B, F]``, arms ``[B]``, rewards ``[B]``."""
        chosen = np.eye(len(self.total))[action]  # [B, A]
        self.gram += np.einsum("ba,bf,bg->afg", chosen, context, context)
        self.total += np.einsum("ba,bf,b->af", chosen, context, reward)

    def posterior(self, ridge: float) -> tuple[np.ndarray, np.ndarray]:
        """Return the weights of every arm, ``[A, F]``, and their covariance in units of the noise, ``[A, F, F]``."""
        covariance = np.linalg.inv(self.gram + ridge * np.eye(self.total.shape[1]))
        return np.einsum("afg,ag->af", covariance, self.total), covariance

    def state_dict(self) -> dict[str, Any]:
        """Everything that a resumed run needs."""
        return {"gram": self.gram.copy(), "total": self.total.copy(), "regret": self.regret}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Undo ``state_dict``."""
        self.gram[:], self.total[:], self.regret = state["gram"], state["total"], float(state["regret"])


def score(config: Config, statistics: Statistics, context: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Score every arm; the highest score is to be chosen.

    Args:
        config: Strategy and its settings.
        statistics: What is known.
        context: ``[B, F]``.
        rng: Source of the draws of Thompson sampling.

    Returns:
        Scores, ``[B, A]``; infinite for an arm that must be tried.
    """
    if config.strategy in ("ucb1", "thompson_bernoulli"):
        count = context @ np.diagonal(statistics.gram, axis1=1, axis2=2).T
        total = context @ statistics.total.T
        if config.strategy == "ucb1":
            average = total / np.maximum(count, 1.0)
            return ucb_scores(torch.from_numpy(average), torch.from_numpy(count), config.confidence).numpy()
        return rng.beta(1.0 + total, 1.0 + count - total)
    theta, covariance = statistics.posterior(config.ridge)
    mean = context @ theta.T
    if config.strategy == "epsilon_greedy":
        return mean
    width = np.sqrt(np.einsum("bf,afg,bg->ba", context, covariance, context))
    if config.strategy == "linucb":
        return mean + config.confidence * width
    return mean + config.reward_std * width * rng.standard_normal(mean.shape)


def train(config: Config, run: Run) -> Policy:
    """Learn which arm is best in which context.

    Args:
        config: Options.
        run: Where it is logged and saved.

    Returns:
        The policy that takes the arm of the highest mean, with the best periodic evaluation.
    """
    envs = make_vector(config.env, config.num_envs, run.seed_for("envs"), config.env_options)
    check_spaces(config, envs.observation_space, envs.action_space)
    net = ActorCritic(envs.observation_space, envs.action_space, hidden=())  # linear: its logits will be the means
    means = net.get_parameter("actor.0.weight")
    net.get_parameter("critic.0.weight").detach().zero_()  # nobody asks for a value
    statistics = Statistics(*means.shape)
    keeper = Keeper(Policy(net), run, config.env, config.env_options, config.eval_episodes)
    run.track(net=net, statistics=statistics, envs=envs, keeper=keeper)
    regret_column = envs.outcome_names.index("regret") if "regret" in envs.outcome_names else None

    batch_size = config.num_envs * config.horizon
    total = -(-config.total_steps // batch_size)
    eval_every = max(1, total // 20)
    for iteration in run.iterations(total):
        rng = np.random.default_rng([run.seed_for("act"), iteration])  # anew, so that there is no state to save
        epsilon = linear(config.epsilon, config.epsilon_end, iteration / total)
        for _ in range(config.horizon):
            context = encode(envs.observation_space, torch.from_numpy(envs.obs)).double().numpy()
            scores = torch.from_numpy(score(config, statistics, context, rng))
            chance = epsilon_greedy(scores, epsilon if config.strategy == "epsilon_greedy" else 0.0).numpy()
            action = (chance.cumsum(1) > rng.random((config.num_envs, 1)) * chance.sum(1, keepdims=True)).argmax(1)
            envs.step(action)
            check_reward(config, envs.reward)
            statistics.add(context, action, envs.reward)
            if regret_column is not None:
                statistics.regret += float(envs.outcomes[:, regret_column].sum())  # type: ignore[attr-defined]
        theta, _ = statistics.posterior(config.ridge)
        with torch.no_grad():
            means.copy_(torch.from_numpy(theta))
        run.log(steps=(iteration + 1) * batch_size, **episode_metrics(envs))
        if config.strategy == "epsilon_greedy":
            run.log(**{"policy/epsilon": epsilon})
        if regret_column is not None:
            run.log(**{"regret/total": statistics.regret})
        if (iteration + 1) % eval_every == 0 or iteration + 1 == total:
            keeper.update()
    envs.close()
    return keeper.finish()


def check_spaces(config: Config, observation_space: gymnasium.Space, action_space: gymnasium.Space) -> None:
    """Refuse an environment that the strategy cannot play.

    Raises:
        ConfigError: Naming the space, and what to choose instead.
    """
    if not isinstance(action_space, spaces.Discrete):
        raise ConfigError(f"a bandit chooses among Discrete actions, and this environment has {action_space}: use ppo")
    if config.strategy in ("ucb1", "thompson_bernoulli") and not isinstance(observation_space, spaces.Discrete):
        raise ConfigError(
            f"strategy = {config.strategy}: it counts the decisions of each Discrete observation, and this environment has "
            f"{observation_space}: use linucb or thompson"
        )


def check_reward(config: Config, reward: np.ndarray) -> None:
    """Refuse rewards that are no successes or failures, where these are counted.

    Raises:
        ConfigError: Naming the reward, and what to choose instead.
    """
    if config.strategy == "thompson_bernoulli" and (reward.min() < 0.0 or reward.max() > 1.0):
        worst = reward.min() if reward.min() < 0.0 else reward.max()
        raise ConfigError(f"strategy = thompson_bernoulli: it needs rewards from 0 to 1 and got {worst}: use thompson")
