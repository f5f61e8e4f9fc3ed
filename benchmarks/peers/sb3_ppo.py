"""Time PPO of Stable-Baselines3; runs in the peers' environment and knows nothing of ours. Prints one JSON line.

Usage: sb3_ppo.py '{"num_envs": 8, ...}', as ``ppo_cartpole.py``, ``time_to_475.py``, and
``ppo_gymnasium.py`` and ``ppo_warfarin.py`` (which name the environment) call it.
"""

import importlib
import json
import os
import sys
import time

import stable_baselines3
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env


class Clock(BaseCallback):
    """Notes CPU and wall time at the start of every rollout, and stops once the last 100 episodes have a mean return."""

    def __init__(self, until):
        super().__init__()
        self.marks, self.until, self.reached = [], until, False

    def _on_rollout_start(self):
        self.marks.append((self.num_timesteps, time.process_time(), time.perf_counter()))
        last = [episode["r"] for episode in self.model.ep_info_buffer]
        self.reached = len(last) == 100 and sum(last) / 100 >= self.until

    def _on_step(self):
        return not self.reached


def environment(env):
    """Return what make_vec_env takes: an id, or the class that a path names."""
    if ":" not in env:
        return env
    module, name = env.split(":")
    return getattr(importlib.import_module(module), name)


def main():
    wanted = json.loads(sys.argv[1])
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    hidden = list(wanted["hidden"])
    model = PPO(
        "MlpPolicy",
        make_vec_env(
            environment(wanted.get("env", "CartPole-v1")),
            n_envs=wanted["num_envs"],
            seed=wanted["seed"],
            env_kwargs=wanted.get("env_kwargs"),
        ),
        n_steps=wanted["horizon"],
        batch_size=wanted["num_envs"] * wanted["horizon"] // wanted["minibatches"],
        n_epochs=wanted["epochs"],
        learning_rate=wanted["learning_rate"],
        gamma=wanted["gamma"],
        gae_lambda=wanted["lam"],
        clip_range=wanted["clip"],
        ent_coef=0.0,
        vf_coef=0.5,  # of the squared error, not halved
        max_grad_norm=wanted["max_grad_norm"],
        policy_kwargs={"net_arch": {"pi": hidden, "vf": hidden}, "activation_fn": torch.nn.Tanh},
        seed=wanted["seed"],
        device="cpu",
        verbose=0,
    )
    clock = Clock(wanted.get("until", float("inf")))
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
