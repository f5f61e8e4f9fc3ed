"""The dosing assistant."""

from __future__ import annotations

from cumulant.presets.preset import Preset

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
}
