"""Tuned settings per algorithm and environment, each with the result that it was seen to reach.

``cumulant train ALGO ENV`` starts from the preset if there is one, and says so; options on the command line win over it.
Results are means over seeds of the best policy on held-out episodes, by the command in ``how``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Preset:
    """Settings and what they reached.

    Args:
        config: Fields of the algorithm's Config.
        seen: What was reached, over how many seeds.
        how: The command that repeats it.
    """

    config: Mapping[str, Any]
    seen: str
    how: str


_NORMALISED = {"normalize_advantage": True, "network": {"normalize_obs": True}}
_A2C_CAR = {**_NORMALISED, "normalize_reward": True, "num_steps": 64, "lam": 0.98}

# PPO on MuJoCo's tasks: many small minibatches of few environments; the settings that published results are of.
_MUJOCO = {
    "total_steps": 1_000_000,
    "num_envs": 8,
    "horizon": 256,
    "epochs": 10,
    "minibatches": 32,
    "learning_rate": 3e-4,
    "normalize_reward": True,
    "network": {"normalize_obs": True},
    "eval_episodes": 20,
}

_MINATAR = {
    "total_steps": 1_000_000,
    "num_envs": 64,
    "horizon": 128,
    "minibatches": 8,
    "learning_rate": 5e-3,
    "entropy_coef": 0.01,
    "network": {"net": "mlp"},
    "eval_episodes": 50,
}

_MINATAR_CONVOLVED = {
    **_MINATAR,
    "horizon": 32,
    "minibatches": 4,
    "learning_rate": 1e-3,
    "network": {"net": "auto"},
}

_A2C_MINATAR = {
    "total_steps": 500_000,
    "num_envs": 64,
    "num_steps": 8,
    "horizon": 64,
    "learning_rate": 2e-3,
    "eval_episodes": 20,
}

# Perceptrons: a fifth of the time of convolutions, and updates are what this budget is spent on.
_DQN_MINATAR = {
    "total_steps": 150_000,
    "num_envs": 16,
    "train_every": 4,
    "warmup_steps": 5000,
    "learning_rate": 1e-3,
    "batch_size": 64,
    "target_every": 500,
    "double": True,
    "network": {"net": "mlp", "hidden": (256, 128)},
    "replay": {"n_step": 3},
    "explore": {"epsilon": 1.0, "exploration": 0.4},
    "eval_episodes": 20,
}


def _minatar(
    algo: str, game: str, config: Mapping[str, Any], seen: str, seeds: int = 5
) -> dict[tuple[str, str], Preset]:
    env = f"minatar-{game}"
    return {(algo, env): Preset(config, seen, f"cumulant train {algo} {env} --seeds {seeds}")}


PRESETS: dict[tuple[str, str], Preset] = {
    ("ppo", "warfarin"): Preset(
        config={
            "total_steps": 9_000_000,
            "num_envs": 1024,
            "horizon": 30,
            "epochs": 4,
            "minibatches": 8,
            "learning_rate": 2e-3,
            "entropy_coef": 0.003,
            "network": {"normalize_obs": True},
            "normalize_reward": True,
            "eval_episodes": 2000,
        },
        seen="return 23.12, time in range 84.1 %, INR above 4 0.15 % (5 seeds); any dose and a filter: 26.95 in 2 M steps",
        how="cumulant train ppo warfarin --seeds 5",
    ),
    ("dqn", "cartpole"): Preset(
        config={
            "total_steps": 50_000,
            "warmup_steps": 1000,
            "double": True,
            "replay": {"n_step": 3},
            "explore": {"exploration": 0.2},
        },
        seen="return 498 over 10 seeds, interquartile mean (seven at 496 or more, 492, 479, 445)",
        how="cumulant train dqn CartPole-v1 --seeds 10",
    ),
    ("sac", "cartpole"): Preset(
        config={
            "total_steps": 10_000,
            "num_envs": 8,
            "horizon": 64,
            "gamma": 0.98,
            "learning_rate": 1e-3,
            "batch_size": 128,
            "updates_per_step": 0.25,
            "polyak": 0.02,
            "network": {"hidden": (128, 128), "normalize_obs": True},
            "replay": {"n_step": 3},
        },
        seen="return 497.5 over 5 seeds, interquartile mean (500.0, 496.5, 499.7, 491.7, 496.5)",
        how="cumulant train sac CartPole-v1 --seeds 5",
    ),
    ("sac", "pendulum"): Preset(
        config={"total_steps": 8_000, "learning_rate": 1e-3, "warmup_steps": 500},
        seen="return -150 over 5 seeds, interquartile mean; one of them -290 (-148, -150, -150, -290, -149)",
        how="cumulant train sac Pendulum-v1 --seeds 5",
    ),
    ("alphazero", "connect_four"): Preset(
        config={"total_steps": 450_000, "play": {"opening_moves": 8}, "replay": {"passes": 4.0, "value_mix": 0.5}},
        seen="with 100 simulations 89.6 % of moves keep the value in random play (90.2, 89.3, 89.3), 87.3 % in strong play "
        "(86.3, 87.8, 87.8), over 3 seeds; about 20 minutes of one core each",
        how="cumulant train alphazero connect_four --seeds 3",
    ),
    ("alphazero", "othello"): Preset(
        config={"total_steps": 130_000, "num_envs": 128, "play": {"full_share": 0.5}, "replay": {"passes": 3.0}},
        seen="with 100 simulations 3 of 8 games against rust-reversi at depth 6, 5 at depth 4, 6 at depth 2, and all 8 against "
        "100 random games a move; one seed, about 8 CPU minutes",
        how="cumulant train alphazero othello",
    ),
    ("alphazero", "tictactoe"): Preset(
        config={
            "total_steps": 60_000,
            "num_envs": 64,
            "network": {"channels": 32, "blocks": 2},
            "replay": {"batch_size": 128, "window": 5_000},
        },
        seen="never loses, whatever the opponent does, on 3 of 3 seeds; 35 seconds of one core each",
        how="cumulant train alphazero tictactoe --seeds 3",
    ),
    ("ppo", "cartpole"): Preset(
        config={"total_steps": 100_000},
        seen="mean return 493 to 500 over 100 episodes, on 10 of 10 seeds; 2 seconds of one core each",
        how="cumulant train ppo CartPole-v1 --seeds 10",
    ),
    ("a2c", "cartpole"): Preset(
        config={"total_steps": 200_000, "learning_rate": 3e-3},
        seen="499.95 of 500 over 10 seeds, the lowest 499.5; 200,000 steps, 7 seconds of one core each",
        how="cumulant train a2c CartPole-v1 --seeds 10",
    ),
    ("reinforce", "cartpole"): Preset(
        config={"total_steps": 200_000, "learning_rate": 5e-3},
        seen="500.0 of 500 over 10 seeds; 200,000 steps, 4 seconds of one core each",
        how="cumulant train reinforce CartPole-v1 --seeds 10",
    ),
    ("reinforce", "acrobot"): Preset(
        config={
            "total_steps": 2_000_000,
            "horizon": 128,
            "gamma": 0.97,
            "learning_rate": 5e-3,
            "entropy_coef": 0.02,
            **_NORMALISED,
            "eval_episodes": 20,
        },
        seen="return -82.8 over 5 seeds, interquartile mean (-82.3, -82.3, -83.7, -87.3, -81.8)",
        how="cumulant train reinforce Acrobot-v1 --seeds 5",
    ),
    ("ppo", "acrobot"): Preset(
        config={
            "total_steps": 500_000,
            "num_envs": 16,
            "lam": 0.94,
            "normalize_reward": True,
            "network": {"normalize_obs": True},
        },
        seen="return -81.4 over 5 seeds (-80.3, -83.7, -81.2, -80.3, -81.6)",
        how="cumulant train ppo Acrobot-v1 --seeds 5",
    ),
    ("ppo", "mountain-car"): Preset(
        config={
            "total_steps": 1_000_000,
            "num_envs": 16,
            "horizon": 64,
            "lam": 0.98,
            "normalize_reward": True,
            "network": {"normalize_obs": True},
        },
        seen="return -107.7 over 5 seeds (-108.5, -107.3, -106.1, -109.8, -106.6)",
        how="cumulant train ppo MountainCar-v0 --seeds 5",
    ),
    ("ppo", "mountain-car-continuous"): Preset(
        config={
            "total_steps": 1_000_000,
            "num_envs": 64,
            "horizon": 256,
            "gamma": 0.999,
            "normalize_reward": True,
            "network": {"normalize_obs": True},
        },
        seen="return 97.9 over 5 seeds, interquartile mean (97.6, 98.4, 98.2, 97.3, 97.9)",
        how="cumulant train ppo MountainCarContinuous-v0 --seeds 5",
    ),
    ("ppo", "pendulum"): Preset(
        config={
            "total_steps": 200_000,
            "horizon": 256,
            "epochs": 10,
            "minibatches": 8,
            "gamma": 0.9,
            "normalize_reward": True,
        },
        seen="return -168 over 5 seeds, interquartile mean (-168, -195, -169, -162, -168)",
        how="cumulant train ppo Pendulum-v1 --seeds 5",
    ),
    ("ppo", "Hopper-v5"): Preset(
        config=_MUJOCO,
        seen="return 3399 over 3 seeds (3389, 3514, 3293)",
        how="cumulant train ppo Hopper-v5 --seeds 3",
    ),
    ("ppo", "Walker2d-v5"): Preset(
        config=_MUJOCO,
        seen="return 4107 over 3 seeds (3526, 4399, 4397)",
        how="cumulant train ppo Walker2d-v5 --seeds 3",
    ),
    ("sac", "dm_control/walker-walk"): Preset(
        config={"total_steps": 50_000, "updates_per_step": 2.0, "horizon": 500, "warmup_steps": 2_500},
        seen="return 879 over 2 seeds (911, 846)",
        how="cumulant train sac dm_control/walker-walk --seeds 2",
    ),
    ("sac", "FetchReach-v4"): Preset(
        config={
            "total_steps": 20_000,
            "learning_rate": 1e-3,
            "gamma": 0.95,
            "replay": {"hindsight": 0.8},
            "eval_episodes": 20,
        },
        seen="return -1.63 over 2 seeds (-1.63, -1.62), every goal reached",
        how="cumulant train sac FetchReach-v4 --seeds 2",
    ),
    ("td3", "pendulum"): Preset(
        config={"total_steps": 8_000, "learning_rate": 1e-3, "warmup_steps": 500},
        seen="return -153 over 5 seeds, interquartile mean (-154, -152, -167, -153, -150)",
        how="cumulant train td3 Pendulum-v1 --seeds 5",
    ),
    ("tqc", "pendulum"): Preset(
        config={"total_steps": 6_000, "learning_rate": 1e-3, "warmup_steps": 500},
        seen="return -151 over 5 seeds, interquartile mean (-150, -160, -151, -151, -148)",
        how="cumulant train tqc Pendulum-v1 --seeds 5",
    ),
    ("a2c", "pendulum"): Preset(
        config={
            "total_steps": 1_000_000,
            "num_steps": 16,
            "horizon": 128,
            "gamma": 0.95,
            "lam": 0.95,
            "learning_rate": 2e-3,
            "entropy_coef": 0.0,
            "normalize_reward": True,
            "normalize_advantage": True,
            "eval_episodes": 20,
        },
        seen="return -153 over 5 seeds, interquartile mean (-155, -152, -152, -156, -151)",
        how="cumulant train a2c Pendulum-v1 --seeds 5",
    ),
    ("a2c", "mountain-car"): Preset(
        config={**_A2C_CAR, "total_steps": 2_000_000, "num_envs": 16, "horizon": 64, "learning_rate": 5e-3},
        seen="return -106.7 over 5 seeds, interquartile mean (-107.0, -108.1, -106.2, -106.7, -106.5)",
        how="cumulant train a2c MountainCar-v0 --seeds 5",
    ),
    ("a2c", "mountain-car-continuous"): Preset(
        config={
            **_A2C_CAR,
            "total_steps": 1_000_000,
            "num_envs": 64,
            "horizon": 256,
            "gamma": 0.999,
            "learning_rate": 2e-3,
        },
        seen="return 94.3 over 5 seeds, interquartile mean (93.9, 96.5, 93.6, 94.5, 94.4)",
        how="cumulant train a2c MountainCarContinuous-v0 --seeds 5",
    ),
    ("reinforce", "mountain-car"): Preset(
        config={**_NORMALISED, "total_steps": 4_000_000, "num_envs": 16, "horizon": 200, "learning_rate": 1e-2},
        seen="return -107.6 over 5 seeds, interquartile mean (-107.5, -107.3, -108.0, -106.7, -156.3)",
        how="cumulant train reinforce MountainCar-v0 --seeds 5",
    ),
    ("reinforce", "mountain-car-continuous"): Preset(
        config={
            **_NORMALISED,
            "total_steps": 1_000_000,
            "num_envs": 32,
            "horizon": 256,
            "gamma": 0.999,
            "learning_rate": 5e-3,
        },
        seen="return 96.8, 98.4 and 96.8 on three of 5 seeds; on two it never finds the goal and stands still",
        how="cumulant train reinforce MountainCarContinuous-v0 --seeds 5",
    ),
    ("reinforce", "pendulum"): Preset(
        config={**_NORMALISED, "total_steps": 4_000_000, "horizon": 200, "gamma": 0.9, "learning_rate": 1e-2},
        seen="return -168, -165 and -221 on three of 5 seeds; -968 and -1030, as good as nothing, on two",
        how="cumulant train reinforce Pendulum-v1 --seeds 5",
    ),
    ("a2c", "acrobot"): Preset(
        config={
            "total_steps": 500_000,
            "num_envs": 16,
            "learning_rate": 2e-3,
            "normalize_reward": True,
            "network": {"normalize_obs": True},
        },
        seen="return -82.2 over 5 seeds, interquartile mean (-82.0, -84.5, -83.5, -77.8, -81.0)",
        how="cumulant train a2c Acrobot-v1 --seeds 5",
    ),
    ("dqn", "mountain-car"): Preset(
        config={
            "total_steps": 100_000,
            "warmup_steps": 1000,
            "target_every": 150,
            "double": True,
            "replay": {"n_step": 5},
            "explore": {"strategy": "persistent", "epsilon": 1.0},
            "eval_episodes": 20,
        },
        seen="return -105.5 over 5 seeds, interquartile mean (-107.4, -106.8, -102.2, -102.0, -114.8)",
        how="cumulant train dqn MountainCar-v0 --seeds 5",
    ),
    ("dqn", "acrobot"): Preset(
        config={
            "total_steps": 100_000,
            "warmup_steps": 1000,
            "double": True,
            "replay": {"n_step": 3},
            "explore": {"exploration": 0.2},
        },
        seen="return -83.8 over 5 seeds, interquartile mean (-82.7, -85.4, -84.3, -83.0, -84.0)",
        how="cumulant train dqn Acrobot-v1 --seeds 5",
    ),
    **_minatar(
        "ppo",
        "asterix",
        _MINATAR_CONVOLVED,
        "return 5.6 over 4 seeds, interquartile mean (5.4, 2.6, 5.8, 6.7); a network without convolutions reached 1.6",
        4,
    ),
    **_minatar("ppo", "breakout", _MINATAR, "return 10.5 over 5 seeds, interquartile mean (8.7, 13.1, 9.6, 6.4, 15.9)"),
    **_minatar(
        "ppo", "seaquest", _MINATAR_CONVOLVED, "return 2.6 over 5 seeds, interquartile mean (3.4, 2.2, 2.9, 2.5, 1.7)"
    ),
    **_minatar(
        "ppo",
        "space-invaders",
        _MINATAR_CONVOLVED,
        "return 106 over 5 seeds, interquartile mean (132, 115, 94, 110, 90)",
    ),
    **_minatar("ppo", "freeway", _MINATAR, "return 30.4 over 5 seeds (31.2, 30.8, 30.2, 30.4, 29.6)"),
    **_minatar(
        "a2c", "breakout", _A2C_MINATAR, "return 6.1 over 5 seeds, interquartile mean (5.9, 8.0, 5.7, 6.3, 6.1)"
    ),
    **_minatar("a2c", "freeway", _A2C_MINATAR, "return 19.9 over 5 seeds (22.1, 19.7, 15.7, 22.8, 19.2)"),
    **_minatar(
        "a2c",
        "space-invaders",
        _A2C_MINATAR,
        "return 42.7 over 5 seeds, interquartile mean (54.0, 35.4, 42.7, 45.1, 40.3)",
    ),
    **_minatar("dqn", "breakout", _DQN_MINATAR, "return 10.3 over 3 seeds (10.7, 10.2, 10.1)", 3),
    **_minatar("dqn", "space-invaders", _DQN_MINATAR, "return 28.0 over 3 seeds (23.0, 27.8, 33.2)", 3),
    **_minatar("dqn", "freeway", _DQN_MINATAR, "return 24.7 over 3 seeds (23.2, 22.2, 28.8)", 3),
}
