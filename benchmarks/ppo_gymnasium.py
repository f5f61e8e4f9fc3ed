"""PPO on ordinary Gymnasium environments, which have no native kernel here: ours and Stable-Baselines3.

Both step the same Python object one environment after the other; the rest is as in ``ppo_cartpole.py``. Gymnasium's own CartPole
is named by the path of its class, so that our kernel does not take its place; nobody has a time limit then.

    python benchmarks/ppo_gymnasium.py --env gymnasium.envs.classic_control.cartpole:CartPoleEnv
    python benchmarks/ppo_gymnasium.py --env LunarLander-v3                          needs box2d on both sides
"""

from __future__ import annotations

import json

from measure import Race, contenders, one_thread, pin, race_options
from ppo_cartpole import SETTINGS, time_ours

CARTPOLE = "gymnasium.envs.classic_control.cartpole:CartPoleEnv"


def main() -> None:
    parser = race_options(__doc__, "20,480")
    parser.add_argument("--env", default=CARTPOLE, help="id or module:Class of an environment of Gymnasium")
    options = parser.parse_args()
    one_thread()
    pin(options.core)
    if options.time_ours:
        wanted = json.loads(options.time_ours)
        print(json.dumps(time_ours(wanted, wanted.pop("env"))))
        return
    wanted = SETTINGS | {"env": options.env, "total_steps": options.steps or 20 * 1024}
    short = options.env.split(":")[-1]
    peers = {"Stable-Baselines3": "sb3_ppo.py"}
    race = Race.run(f"PPO on Gymnasium's {short}", contenders(options, __file__, peers), wanted, options.repeats)
    race.report(options, wanted, f"ppo_gymnasium_{short.split('-')[0].lower()}", ())


if __name__ == "__main__":
    main()
