"""Time SAC, TD3, TQC or DQN of Stable-Baselines3 or SBX, the same in JAX; runs in the peers' environment, prints a JSON line.

Usage: sb3_off_policy.py '{"library": "sbx", "algo": "sac", ...}', as ``off_policy_speed.py`` calls it.
"""

import importlib
import json
import sys
import time

import numpy as np
import torch
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.noise import NormalActionNoise


class Clock(BaseCallback):
    """Notes CPU and wall time at the start of every rollout."""

    def __init__(self):
        super().__init__()
        self.marks = []

    def _on_rollout_start(self):
        self.marks.append((self.num_timesteps, time.process_time(), time.perf_counter()))

    def _on_step(self):
        return True


def main():
    wanted = json.loads(sys.argv[1])
    torch.set_num_threads(1)
    library = importlib.import_module(wanted["library"])
    shared = {
        "learning_rate": wanted["learning_rate"],
        "buffer_size": wanted["capacity"],
        "learning_starts": wanted["warmup_steps"],
        "batch_size": wanted["batch_size"],
        "gamma": wanted["gamma"],
        "train_freq": wanted["train_every"],
        "gradient_steps": round(wanted["updates_per_step"] * wanted["train_every"]),
        "policy_kwargs": {"net_arch": list(wanted["hidden"])},
        "seed": wanted["seed"],
        "verbose": 0,
    }
    if wanted["library"] == "stable_baselines3":
        shared["device"] = "cpu"
        if wanted["algo"] == "dqn":  # SBX has no such limit
            shared["max_grad_norm"] = 10.0
        runs_on = f"torch {torch.__version__}"
    else:
        runs_on = f"jax {importlib.import_module('jax').__version__}"
    env = make_vec_env(wanted["env"], n_envs=1, seed=wanted["seed"])
    if wanted["algo"] == "sac":
        model = library.SAC("MlpPolicy", env, tau=wanted["polyak"], **shared)
    elif wanted["algo"] == "tqc":
        if wanted["library"] == "stable_baselines3":  # its TQC is in a package of its own
            library = importlib.import_module("sb3_contrib")
        shared["policy_kwargs"] |= {"n_critics": wanted["num_critics"], "n_quantiles": wanted["num_quantiles"]}
        model = library.TQC(
            "MlpPolicy", env, tau=wanted["polyak"], top_quantiles_to_drop_per_net=wanted["drop"], **shared
        )
    elif wanted["algo"] == "td3":
        size = env.action_space.shape[0]
        model = library.TD3(
            "MlpPolicy",
            env,
            tau=wanted["polyak"],
            policy_delay=wanted["policy_every"],
            action_noise=NormalActionNoise(np.zeros(size), np.full(size, wanted["exploration_noise"])),
            **shared,
        )
    else:
        model = library.DQN(
            "MlpPolicy",
            env,
            target_update_interval=round(wanted["target_every"] / wanted["updates_per_step"]),
            exploration_fraction=wanted["exploration"],
            exploration_initial_eps=wanted["epsilon"],
            exploration_final_eps=wanted["epsilon_end"],
            **shared,
        )
    clock = Clock()
    model.learn(wanted["total_steps"], callback=clock)
    clock.marks.append((model.num_timesteps, time.process_time(), time.perf_counter()))
    steps0, cpu0, wall0 = next(mark for mark in clock.marks if mark[0] >= wanted["count_from"])
    steps, cpu, wall = clock.marks[-1]
    returns = [episode["r"] for episode in model.ep_info_buffer][-5:]
    print(
        json.dumps(
            {
                "version": library.__version__,
                "runs_on": runs_on,
                "steps": steps - steps0,
                "cpu_seconds": cpu - cpu0,
                "wall_seconds": wall - wall0,
                "last_returns": sum(returns) / max(len(returns), 1),
            }
        )
    )


if __name__ == "__main__":
    main()
