"""Simulated robots: MuJoCo, dm_control, goals."""

from __future__ import annotations

from cumulant.presets.preset import Preset

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

PRESETS: dict[tuple[str, str], Preset] = {
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
}
