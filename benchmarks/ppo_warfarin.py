"""PPO on the dosing environment: ours, whole rollouts in one call, and Stable-Baselines3 on the same kernel in Gymnasium's form.

The peers' environment needs numba, too (``pip install numba``), because our environment is compiled; it finds our code by its
path. What Stable-Baselines3 pays for is mostly its own: one step of one patient by ``SingleEnv`` is below.

    python benchmarks/ppo_warfarin.py
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

from measure import Race, contenders, one_thread, pin, race_options
from ppo_cartpole import SETTINGS, time_ours


def single_step() -> float:
    """Return the CPU microseconds of a step of one patient through Gymnasium's interface."""
    from cumulant.envs.batched import SingleEnv

    env = SingleEnv("warfarin")
    env.reset(seed=0)
    env.step(1)
    began = time.process_time()
    for _ in range(3000):
        if env.step(1)[2]:
            env.reset()
    return (time.process_time() - began) / 3000 * 1e6


def main() -> None:
    parser = race_options(__doc__, "20,480")
    options = parser.parse_args()
    one_thread()
    pin(options.core)
    if options.time_ours:
        raw = {"normalize_obs": False, "normalize_reward": False}
        print(json.dumps(time_ours(json.loads(options.time_ours), "warfarin", **raw)))
        return
    os.environ["PYTHONPATH"] = str(Path(__file__).parents[1])
    wanted = SETTINGS | {"total_steps": options.steps or 20 * 1024}
    commands = contenders(options, __file__, {"Stable-Baselines3": "sb3_ppo.py"})
    theirs = {"env": "cumulant.envs.batched:SingleEnv", "env_kwargs": {"name": "warfarin"}}
    race = Race.run("PPO on warfarin", commands, wanted, options.repeats, {"Stable-Baselines3": theirs})
    race.report(
        options, wanted | {"microseconds of a single step": round(single_step(), 1)}, "ppo_warfarin", ("numba",)
    )


if __name__ == "__main__":
    main()
