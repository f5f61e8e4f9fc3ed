"""Time PPO of Stable-Baselines3 on an Atari game; runs in the peers' environment and knows nothing of ours. Prints one JSON line.

Usage: sb3_pong.py '{"env": "ALE/Pong-v5", ...}', as ``ppo_pong.py`` calls it.
"""

import json
import sys
import time

import ale_py
import gymnasium
import stable_baselines3
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_atari_env
from stable_baselines3.common.vec_env import VecFrameStack


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
    gymnasium.register_envs(ale_py)
    envs = make_atari_env(
        wanted["env"],
        n_envs=wanted["num_envs"],
        seed=wanted["seed"],
        env_kwargs={"frameskip": 1, "repeat_action_probability": wanted["repeat_action_probability"]},
        wrapper_kwargs={"terminal_on_life_loss": False},
    )
    model = PPO(
        "CnnPolicy",
        VecFrameStack(envs, n_stack=4),
        n_steps=wanted["horizon"],
        batch_size=wanted["num_envs"] * wanted["horizon"] // wanted["minibatches"],
        n_epochs=wanted["epochs"],
        learning_rate=wanted["learning_rate"],
        gamma=wanted["gamma"],
        gae_lambda=wanted["lam"],
        clip_range=wanted["clip"],
        ent_coef=wanted["entropy_coef"],
        vf_coef=0.5,  # of the squared error, not halved
        max_grad_norm=wanted["max_grad_norm"],
        seed=wanted["seed"],
        device="cpu",
        verbose=0,
    )
    clock = Clock()
    model.learn(wanted["total_steps"], callback=clock)
    clock.marks.append((model.num_timesteps, time.process_time(), time.perf_counter()))
    (steps0, cpu0, wall0), (steps, cpu, wall) = clock.marks[1], clock.marks[-1]  # the first iteration is warm-up
    returns = [episode["r"] for episode in model.ep_info_buffer]
    print(
        json.dumps(
            {
                "version": stable_baselines3.__version__,
                "torch": torch.__version__,
                "steps": steps - steps0,
                "cpu_seconds": cpu - cpu0,
                "wall_seconds": wall - wall0,
                "last_returns": sum(returns) / max(len(returns), 1),
            }
        )
    )


if __name__ == "__main__":
    main()
