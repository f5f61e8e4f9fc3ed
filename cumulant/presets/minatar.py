"""MinAtar's five games."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cumulant.presets.preset import Preset

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

_REINFORCE_MINATAR = {
    "total_steps": 2_000_000,
    "num_envs": 64,
    "horizon": 128,
    "learning_rate": 5e-3,
    "entropy_coef": 0.01,
    "normalize_advantage": True,
    "network": {"net": "mlp"},
    "eval_episodes": 50,
}

_SAC_MINATAR = {
    "total_steps": 40_000,
    "num_envs": 16,
    "horizon": 64,
    "learning_rate": 5e-4,
    "batch_size": 128,
    "updates_per_step": 0.25,
    "warmup_steps": 5000,
    "polyak": 0.01,
    "target_entropy": 0.1,
    "network": {"net": "mlp", "hidden": (256, 128)},
    "replay": {"n_step": 3},
    "eval_episodes": 20,
}


def _minatar(
    algo: str, game: str, config: Mapping[str, Any], seen: str, seeds: int = 5
) -> dict[tuple[str, str], Preset]:
    env = f"minatar-{game}"
    return {(algo, env): Preset(config, seen, f"cumulant train {algo} {env} --seeds {seeds}")}


PRESETS: dict[tuple[str, str], Preset] = {
    **_minatar(
        "ppo",
        "asterix",
        _MINATAR_CONVOLVED,
        "return 2.8 over 5 seeds, interquartile mean (2.2, 2.1, 2.3, 6.6, 3.9); on another processor 5.6 "
        "over 4 seeds, and 1.6 without convolutions",
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
    **_minatar("a2c", "asterix", _A2C_MINATAR, "return 0.8 over 5 seeds, interquartile mean (0.8, 0.7, 0.5, 1.0, 1.0)"),
    **_minatar(
        "a2c", "seaquest", _A2C_MINATAR, "return 0.5 over 5 seeds, interquartile mean (0.6, 0.5, 0.4, 0.5, 0.5)"
    ),
    **_minatar(
        "dqn", "breakout", _DQN_MINATAR, "return 9.0 over 5 seeds, interquartile mean (8.4, 8.9, 8.1, 9.8, 12.1)"
    ),
    **_minatar(
        "dqn",
        "space-invaders",
        _DQN_MINATAR,
        "return 29.7 over 5 seeds, interquartile mean (27.1, 30.6, 30.0, 28.8, 30.3)",
    ),
    **_minatar(
        "dqn", "freeway", _DQN_MINATAR, "return 24.9 over 5 seeds, interquartile mean (26.6, 22.1, 28.6, 24.0, 24.2)"
    ),
    **_minatar("dqn", "asterix", _DQN_MINATAR, "return 0.6 over 5 seeds, interquartile mean (0.4, 0.7, 0.6, 0.6, 0.6)"),
    **_minatar(
        "dqn", "seaquest", _DQN_MINATAR, "return 0.5 over 5 seeds, interquartile mean (0.7, 0.4, 0.6, 0.5, 0.4)"
    ),
    **_minatar(
        "reinforce",
        "asterix",
        _REINFORCE_MINATAR,
        "return 0.8 over 5 seeds, interquartile mean (0.8, 1.0, 0.8, 0.7, 0.7)",
    ),
    **_minatar(
        "reinforce",
        "breakout",
        _REINFORCE_MINATAR,
        "return 4.9 over 5 seeds, interquartile mean (4.9, 4.7, 5.0, 4.8, 5.0)",
    ),
    **_minatar(
        "reinforce",
        "freeway",
        _REINFORCE_MINATAR,
        "return 22.7 over 5 seeds, interquartile mean (23.9, 9.8, 23.0, 21.1, 25.0)",
    ),
    **_minatar(
        "reinforce",
        "seaquest",
        _REINFORCE_MINATAR,
        "return 0.6 over 5 seeds, interquartile mean (0.6, 0.3, 0.6, 0.6, 0.6)",
    ),
    **_minatar(
        "reinforce",
        "space-invaders",
        _REINFORCE_MINATAR,
        "return 5.3 over 5 seeds, interquartile mean (3.0, 7.8, 9.0, 3.0, 5.2)",
    ),
    **_minatar("sac", "asterix", _SAC_MINATAR, "return 0.7 over 5 seeds, interquartile mean (0.6, 0.7, 0.6, 0.7, 0.7)"),
    **_minatar(
        "sac", "breakout", _SAC_MINATAR, "return 6.6 over 5 seeds, interquartile mean (6.5, 6.3, 7.6, 6.3, 7.0)"
    ),
    **_minatar("sac", "freeway", _SAC_MINATAR, "return 4.5 over 5 seeds, interquartile mean (1.6, 0.4, 7.7, 6.1, 5.8)"),
    **_minatar(
        "sac", "seaquest", _SAC_MINATAR, "return 0.5 over 5 seeds, interquartile mean (0.3, 0.5, 0.4, 0.6, 0.6)"
    ),
    **_minatar(
        "sac",
        "space-invaders",
        _SAC_MINATAR,
        "return 12.4 over 5 seeds, interquartile mean (12.5, 15.7, 11.6, 11.6, 13.0)",
    ),
}
