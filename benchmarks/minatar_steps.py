"""Frames a CPU second of MinAtar's games: the batch kernels, and the package that they agree with frame for frame.

Random actions, episodes restarted as they end, sticky keys and rising difficulty as by default, the observation of every frame
made. All run in this process on one core with one thread, in turns; compilation is not counted.

    pip install MinAtar && python benchmarks/minatar_steps.py
"""

from __future__ import annotations

import argparse
import time

from measure import Spread, default_core, facts, facts_lines, one_thread, pin, table, write_results

one_thread()  # before numpy and numba are imported

import numpy as np  # noqa: E402
from minatar import Environment  # noqa: E402

from cumulant.envs import lookup  # noqa: E402
from cumulant.envs.batched import Batch  # noqa: E402

GAMES = ("asterix", "breakout", "freeway", "seaquest", "space_invaders")
BATCHES = (1, 64, 1024)


def original(game: str, frames: int) -> float:
    """Return the original's frames a second."""
    env = Environment(game)
    env.seed(0)
    env.reset()
    actions = np.random.default_rng(0).integers(0, 6, frames).tolist()
    begin = time.process_time()
    for action in actions:
        _, over = env.act(action)
        env.state()
        if over:
            env.reset()
    return frames / (time.process_time() - begin)


def ours(game: str, num_envs: int, frames: int) -> float:
    """Return the frames a second of a batch."""
    batch = Batch(lookup.build("minatar-" + game.replace("_", "-"), {}), num_envs, seed=0)
    actions = np.random.default_rng(0).integers(0, 6, (max(frames // num_envs, 100), num_envs))
    for action in actions[:50]:
        batch.step(action)
    begin = time.process_time()
    for action in actions:
        batch.step(action)
    return actions.size / (time.process_time() - begin)


def main() -> None:
    """Measure, print, and write the table with ``--write``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--frames", type=int, default=20_000)
    parser.add_argument("--core", type=int, default=default_core())
    parser.add_argument("--write", action="store_true")
    args = parser.parse_args()
    pin(args.core)
    rows = []
    for game in GAMES:
        theirs: list[float] = []
        mine: dict[int, list[float]] = {size: [] for size in BATCHES}
        for _ in range(args.repeats):
            theirs.append(original(game, args.frames))
            for size in BATCHES:
                mine[size].append(ours(game, size, args.frames * min(size, 20)))
        base = Spread.of(theirs)
        cells = [
            f"{Spread.of(mine[size]).median:,.0f} ({Spread.of(mine[size]).median / base.median:.0f}x)"
            for size in BATCHES
        ]
        rows.append([game.replace("_", " "), f"{base.median:,.0f}", *cells])
    shown = table(["game", "original", *(f"batch {size:,}" for size in BATCHES)], rows)
    notes = "\n".join(f"- {line}" for line in facts_lines(facts(args.core, ("cumulant", "MinAtar", "numba", "numpy"))))
    print(shown, notes, sep="\n\n")
    if args.write:
        words = __doc__.split("\n\n    pip", 1)[0] if __doc__ else ""
        write_results("minatar_steps", "MinAtar: frames a CPU second", [words, shown, notes])


if __name__ == "__main__":
    main()
