"""Steps per second of real environments: our batches beside Gymnasium's own vector environments, in one run.

Needs the extras (``pip install 'cumulant[mujoco]' 'cumulant[atari]'``); what is not installed is left out and named.
CPU time counts all threads of the process, so two threads that gain nothing show as half the steps per CPU second.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

from measure import Spread, facts, facts_lines, one_thread, table, write_results

MUJOCO = ("Hopper-v5", "Walker2d-v5", "HalfCheetah-v5", "Ant-v5", "Humanoid-v5")
ATARI = ("ALE/Pong-v5", "ALE/Breakout-v5")
NUM_ENVS = 8
TITLE = "Steps per second of real environments"


def ours(env: str, threads: int) -> tuple[Callable[[Any], None], Any]:
    """Return the step function of our vector environment and its action space."""
    import torch

    from cumulant.engine.vector import make_vector

    torch.set_num_threads(threads)
    envs = make_vector(env, NUM_ENVS, 0)
    return envs.step, envs.action_space


def gym_vector(env: str, threads: int) -> tuple[Callable[[Any], None], Any]:
    """Return ``GymVector``'s."""
    from cumulant.engine.gym_vector import GymVector
    from cumulant.engine.single import make_single

    envs = GymVector(env, NUM_ENVS, 0, lambda: make_single(env, {}))
    return envs.step, envs.action_space


def sync_vector(env: str, threads: int) -> tuple[Callable[[Any], None], Any]:
    """Return Gymnasium's ``SyncVectorEnv``'s; of an Atari game with the same preprocessing, by its wrappers."""
    import gymnasium
    from gymnasium.wrappers import AtariPreprocessing, FrameStackObservation

    def make() -> gymnasium.Env:
        if env not in ATARI:
            return gymnasium.make(env)
        import ale_py

        gymnasium.register_envs(ale_py)
        return FrameStackObservation(AtariPreprocessing(gymnasium.make(env, frameskip=1)), 4)

    envs = gymnasium.vector.SyncVectorEnv([make] * NUM_ENVS)
    envs.reset(seed=0)
    return envs.step, envs.single_action_space


def rollout(env: str, threads: int) -> tuple[Callable[[Any], None], Any]:
    """Return ``mujoco.rollout``'s, physics alone: no observation, no reward, a cold solver, and episodes that never end.

    What lies on the floor is dearer to simulate than what stands, so Humanoid's figure is of another situation.
    """
    import gymnasium
    import mujoco
    import numpy as np
    from mujoco.rollout import Rollout

    single: Any = gymnasium.make(env).unwrapped
    model, repeat = single.model, single.frame_skip
    kind = mujoco.mjtState.mjSTATE_FULLPHYSICS
    state = np.zeros((NUM_ENVS, mujoco.mj_stateSize(model, kind)))
    for k, row in enumerate(state):
        single.reset(seed=k)
        mujoco.mj_getState(model, single.data, row, kind)
    pool, models = Rollout(nthread=threads if threads > 1 else 0), [model] * NUM_ENVS
    data = [mujoco.MjData(model) for _ in range(threads)]
    warm = np.zeros((NUM_ENVS, model.nv))
    after = np.zeros((NUM_ENVS, repeat, state.shape[1]))
    sensed = np.zeros((NUM_ENVS, repeat, model.nsensordata))

    def step(action: Any) -> None:
        control = np.repeat(action[:, None].astype(np.float64), repeat, 1)
        pool.rollout(
            models, data, state, control, skip_checks=True, nstep=repeat, initial_warmstart=warm, state=after,
            sensordata=sensed,
        )  # fmt: skip
        state[:] = after[:, -1]

    return step, single.action_space


VARIANTS: dict[str, tuple[Callable[[str, int], tuple[Callable[[Any], None], Any]], int]] = {
    "Gymnasium SyncVectorEnv": (sync_vector, 1),
    "GymVector": (gym_vector, 1),
    "mujoco.rollout, physics alone": (rollout, 1),
    "mujoco.rollout, 2 threads": (rollout, 2),
    "ours": (ours, 1),
    "ours, 2 threads": (ours, 2),
}


def timed(step: Callable[[Any], None], actions: Any, seconds: float) -> tuple[float, float]:
    """Return steps per CPU second and per second of wall time."""
    count, wall, cpu = 0, time.perf_counter(), time.process_time()
    while time.perf_counter() - wall < seconds:
        step(actions[count % len(actions)])
        count += 1
    steps = count * NUM_ENVS
    return steps / (time.process_time() - cpu), steps / (time.perf_counter() - wall)


def measured(envs: list[str], repeats: int, seconds: float) -> dict[str, dict[str, dict[str, Spread]]]:
    """Time every variant on every environment, turn by turn."""
    import numpy as np
    from gymnasium.spaces import Discrete

    found: dict[str, dict[str, dict[str, Spread]]] = {}
    for env in envs:
        made = {}
        for name, (make, threads) in VARIANTS.items():
            atari = env in ATARI
            if (make is rollout and atari) or (make is gym_vector and atari):
                continue
            if make is sync_vector and atari and importlib.util.find_spec("cv2") is None:
                continue
            step, space = make(env, threads)
            rng = np.random.default_rng(0)
            if isinstance(space, Discrete):
                actions: Any = rng.integers(0, space.n, (500, NUM_ENVS))
            else:
                actions = rng.uniform(space.low, space.high, (500, NUM_ENVS, *space.shape)).astype(np.float32)
            timed(step, actions, seconds / 4)
            made[name] = (step, actions)
        times: dict[str, list[tuple[float, float]]] = {name: [] for name in made}
        for _ in range(repeats):
            for name, (step, actions) in made.items():
                times[name].append(timed(step, actions, seconds))
        found[env] = {
            name: {"cpu": Spread.of([c for c, _ in rows]), "wall": Spread.of([w for _, w in rows])}
            for name, rows in times.items()
        }
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each measurement")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--write", action="store_true", help="write benchmarks/results/real_environments.md")
    known = parser.parse_args()
    one_thread()
    warnings.simplefilter("ignore")
    os.environ.setdefault("ALE_LOG_LEVEL", "error")
    envs, missing = [], []
    for package, names in (("mujoco", MUJOCO), ("ale_py", ATARI)):
        if importlib.util.find_spec(package) is None:
            missing.append(f"{', '.join(names)}: left out, {package} is not installed")
        else:
            envs += names
    found = measured(envs, known.repeats, known.seconds)
    if known.json:
        print(json.dumps({"runs": found, "missing": missing}))
        return
    parts = ["\n".join(missing)] if missing else []
    for unit, title in (("cpu", "Steps per CPU second"), ("wall", "Steps per second of wall time")):
        rows = []
        for env, variants in found.items():
            base = variants.get("Gymnasium SyncVectorEnv")
            for name, spreads in variants.items():
                ratio = f"{spreads[unit].median / base[unit].median:.2f}x" if base else ""
                rows.append([f"{env}, {name}", f"{spreads[unit]:,.0f}", ratio])
        if rows:
            parts.append(
                f"{title}, {NUM_ENVS} environments, random actions\n\n" + table(["", "steps/s", "ratio"], rows)
            )
    parts.append("\n".join(facts_lines(facts(-1, ["cumulant", "gymnasium", "mujoco", "ale-py", "numpy"]))))
    print("\n\n".join(parts))
    if known.write:
        print(write_results("real_environments", TITLE, parts), file=sys.stderr)


if __name__ == "__main__":
    main()
