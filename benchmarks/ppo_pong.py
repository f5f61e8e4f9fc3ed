"""PPO on an Atari game with convolutions, end to end (rollout and update): ours, Stable-Baselines3, and a plain script.

The same network (three convolutions, 512 units, linear outputs), the same hyper-parameters and the same preprocessing: four
frames a step, the larger pixel of the last two, 84 x 84 grey, four of them, rewards clipped to their sign, up to 30 idle steps at
the start. Each measurement is a process of its own, on one core, with one thread; the two take turns. The first iteration is not
counted. Ours also writes metrics, TensorBoard events and checkpoints. It is timed a second time with coarser convolutions, which
is no comparison of equals.

    python benchmarks/ppo_pong.py                         needs ale-py on both sides, and opencv on theirs
    python benchmarks/ppo_pong.py --env ALE/Breakout-v5
"""

from __future__ import annotations

import argparse
import json
from typing import Any

from measure import Race, contenders, one_thread, pin, race_options, time_training

SETTINGS: dict[str, Any] = {
    "num_envs": 8,
    "horizon": 128,
    "epochs": 4,
    "minibatches": 4,  # of 256
    "learning_rate": 2.5e-4,
    "gamma": 0.99,
    "lam": 0.95,
    "clip": 0.1,
    "entropy_coef": 0.01,
    "max_grad_norm": 0.5,
}
REPEATED = 0.25  # chance that the console repeats the action before


def time_ours(wanted: dict[str, Any]) -> dict[str, Any]:
    """Time ours."""
    env = wanted.pop("env")
    precision = wanted.pop("precision", "float32")
    return time_training(
        "ppo",
        env,
        wanted,
        env_options={"repeat_action_probability": wanted.pop("repeat_action_probability")},
        learning_rate_end=wanted["learning_rate"],
        value_coef=1.0,  # of half the squared error
        hidden=(),
        precision=precision,
    )


def main() -> None:
    parser = race_options(__doc__, "4,096")
    parser.add_argument("--env", default="ALE/Pong-v5", help="game")
    parser.add_argument("--precision", default="float32", help=argparse.SUPPRESS)
    options = parser.parse_args()
    one_thread()
    pin(options.core)
    if options.time_ours:
        print(json.dumps(time_ours(json.loads(options.time_ours) | {"precision": options.precision})))
        return
    game = {"env": options.env, "repeat_action_probability": REPEATED}
    wanted = SETTINGS | game | {"total_steps": options.steps or 4 * 1024}
    peers = {"Stable-Baselines3": "sb3_pong.py", "single-file script, gymnasium": "single_file_ppo.py"}
    commands = contenders(options, __file__, peers)
    ours = commands["Cumulant"]
    commands["Cumulant, --precision bfloat16,"] = [*ours[:-1], "--precision", "bfloat16", ours[-1]]
    race = Race.run(f"PPO on {options.env}", commands, wanted, options.repeats)
    race.report(options, wanted, f"ppo_{options.env.split('/')[-1].split('-')[0].lower()}", ("ale-py",))


if __name__ == "__main__":
    main()
