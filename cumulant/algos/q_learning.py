"""Q-learning: a table of action values, learned off-policy from the best next action.

Act epsilon-greedily, move the value of the action taken towards the reward plus the discounted best value of what followed.
The behaviour explores; the values are those of the greedy policy. On an environment whose dynamics are a table the whole loop
is compiled. Axes: S states, A actions, B parallel environments.

Source: Watkins & Dayan 1992; Sutton & Barto 2018, section 6.5. Differs from source: time limits bootstrap.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

import numpy as np
import tyro

from cumulant.engine.evaluate import Keeper, episode_metrics
from cumulant.engine.policy import Policy
from cumulant.engine.vector import make_vector
from cumulant.envs.batched import Batch
from cumulant.envs.mdp import is_table
from cumulant.kernels.tabular import Q_LEARNING, choose, td_update, train_on_table
from cumulant.maths.schedules import linear
from cumulant.nn.table import QTable, TableState
from cumulant.run.config import require
from cumulant.run.run import Run

CATEGORY = "tabular"
USE = "few discrete states: exact, fast, and every value can be read"


@dataclass(frozen=True)
class Config:
    """Options of Q-learning."""

    env: Annotated[str, tyro.conf.Suppress] = "cliff-walking"
    """Environment: short name, Gymnasium id, or module:Class."""
    env_options: Annotated[Mapping[str, Any], tyro.conf.Suppress] = field(default_factory=dict)
    """Options of the environment."""
    total_steps: int = 1_000_000
    """Environment steps to train for."""
    num_envs: int = 8
    """Environments that run in lock-step (B)."""
    horizon: int = 500
    """Steps of each environment per iteration."""
    gamma: float = 0.99
    """Discount per step."""
    epsilon: float = 0.9
    """Share of random actions at the start."""
    epsilon_end: float = 0.05
    """Share of random actions from the end of exploration on."""
    exploration: float = 0.8
    """Part of the training in which epsilon falls."""
    step_size: float = 1.0
    """Step size of the first update of a value."""
    step_power: float = 0.7
    """Step sizes fall as visits ** -power; 0 keeps them, 1 averages, 0.5 to 1 converges."""
    eval_episodes: int = 100
    """Episodes of each of the twenty evaluations that keep the best policy."""

    def __post_init__(self) -> None:
        for name in ("total_steps", "num_envs", "horizon", "eval_episodes"):
            require(self, name, getattr(self, name) >= 1, "at least 1")
        for name in ("gamma", "epsilon", "epsilon_end", "step_power"):
            require(self, name, 0.0 <= getattr(self, name) <= 1.0, "in [0, 1]")
        require(self, "num_envs", self.num_envs <= 65536, "at most 65536")  # each needs random numbers of its own
        require(self, "exploration", 0.0 < self.exploration <= 1.0, "in (0, 1]")
        require(self, "step_size", 0.0 < self.step_size <= 1.0, "in (0, 1]")


def train(config: Config, run: Run) -> Policy:
    """Learn a table of action values.

    Args:
        config: Options.
        run: Where it is logged and saved.

    Returns:
        The greedy policy with the best periodic evaluation.
    """
    envs = make_vector(config.env, config.num_envs, run.seed_for("envs"), config.env_options)
    table = QTable(envs.observation_space, envs.action_space, config.epsilon_end)
    state = TableState(table, config.num_envs)  # the table, its visits, and what every environment does next
    keeper = Keeper(Policy(table), run, config.env, config.env_options, config.eval_episodes)
    run.track(table=state, envs=envs, keeper=keeper)
    key = run.seed_for("act")
    q, visits, action, first = state.q, state.visits, state.action, table.first_state
    choose(q, envs.obs - first, config.epsilon, key, -1, action)

    total = -(-config.total_steps // (config.num_envs * config.horizon))
    eval_every = max(1, total // 20)
    for iteration in run.iterations(total):
        epsilon = linear(config.epsilon, config.epsilon_end, min(1.0, iteration / (config.exploration * total)))
        begin = iteration * config.horizon
        rule = {"gamma": config.gamma, "step_size": config.step_size, "step_power": config.step_power}
        if isinstance(envs, Batch) and is_table(envs.kernel):  # the same steps in one compiled call
            train_on_table(
                envs, q, visits, action,
                steps=config.horizon, first_step=begin, key=key, rule=Q_LEARNING, epsilon=epsilon, **rule,
            )  # fmt: skip
        else:
            for step in range(begin, begin + config.horizon):
                obs = envs.obs - first
                envs.step(action)
                next_obs = envs.next_obs - first
                td_update(
                    q, visits, obs, action, envs.reward, next_obs, action, envs.terminated,
                    Q_LEARNING, config.gamma, epsilon, config.step_size, config.step_power,
                )  # fmt: skip
                choose(q, envs.obs - first, epsilon, key, 2 * step + 1, action)
        run.log(
            steps=(iteration + 1) * config.num_envs * config.horizon,
            **episode_metrics(envs),
            **{
                "policy/epsilon": epsilon,
                "value/mean": float(np.mean(q.max(axis=1))),
                "value/states_visited": float(np.mean(visits.any(axis=1))),
            },
        )
        if (iteration + 1) % eval_every == 0 or iteration + 1 == total:
            keeper.update()
    envs.close()
    return keeper.finish()
