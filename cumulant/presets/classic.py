"""Classic control."""

from __future__ import annotations

from cumulant.presets.preset import Preset

_NORMALISED = {"normalize_advantage": True, "network": {"normalize_obs": True}}
_A2C_CAR = {**_NORMALISED, "normalize_reward": True, "num_steps": 64, "lam": 0.98}

# Random actions that are kept up find the goal; afterwards its reward is passed back over several steps.
_OFF_POLICY_CAR = {
    "total_steps": 60_000,
    "num_envs": 8,
    "horizon": 64,
    "gamma": 0.999,
    "learning_rate": 1e-3,
    "batch_size": 128,
    "updates_per_step": 0.25,
    "warmup_steps": 30_000,
    "warmup": "persistent",
    "polyak": 0.01,
    "network": {"hidden": (64, 64), "normalize_obs": True},
    "replay": {"n_step": 5},
}

_SAC_DISCRETE = {
    "num_envs": 8,
    "horizon": 64,
    "learning_rate": 1e-3,
    "batch_size": 128,
    "updates_per_step": 0.25,
    "polyak": 0.02,
    "target_entropy": 0.1,
    "network": {"hidden": (128, 128), "normalize_obs": True},
    "replay": {"n_step": 5},
}

PRESETS: dict[tuple[str, str], Preset] = {
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
    ("sac", "acrobot"): Preset(
        config={**_SAC_DISCRETE, "total_steps": 60_000, "warmup_steps": 10_000, "warmup": "persistent"},
        seen="return -90.0 over 5 seeds, interquartile mean (-102.0, -88.4, -92.7, -89.1, -88.2)",
        how="cumulant train sac Acrobot-v1 --seeds 5",
    ),
    ("sac", "mountain-car"): Preset(
        config={**_SAC_DISCRETE, "total_steps": 100_000, "warmup_steps": 40_000, "warmup": "persistent"},
        seen="return -104.2 over 5 seeds, interquartile mean (-104.2, -105.5, -103.3, -104.0, -104.4)",
        how="cumulant train sac MountainCar-v0 --seeds 5",
    ),
    ("sac", "mountain-car-continuous"): Preset(
        config=_OFF_POLICY_CAR,
        seen="return 95.0 over 5 seeds, interquartile mean (95.3, 94.9, 95.1, 93.8, 95.0)",
        how="cumulant train sac MountainCarContinuous-v0 --seeds 5",
    ),
    ("td3", "mountain-car-continuous"): Preset(
        config=_OFF_POLICY_CAR,
        seen="return 93.4 over 5 seeds, interquartile mean (93.5, 93.4, 93.2, 93.3, 93.4)",
        how="cumulant train td3 MountainCarContinuous-v0 --seeds 5",
    ),
    ("tqc", "mountain-car-continuous"): Preset(
        config=_OFF_POLICY_CAR,
        seen="return 95.0 over 5 seeds, interquartile mean (73.7, 95.0, 95.1, 95.4, 94.7)",
        how="cumulant train tqc MountainCarContinuous-v0 --seeds 5",
    ),
}
