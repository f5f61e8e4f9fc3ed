"""Search and self-play on Connect Four against mctx with pgx: simulations per CPU second, side by side in one run.

    python benchmarks/search.py --peers PYTHON [--seconds 6] [--rounds 2] [--write]

PYTHON is an interpreter with mctx and pgx. Both sides take turns; the median over rounds counts. ``search`` has no network
(uniform logits, random values); ``selfplay`` has a residual network of 64 channels and 4 blocks, in one torch thread, and for
mctx in as many as XLA takes: what counts is CPU time. Games go on from move to move, and begin anew where one ends.

With --peers-openspiel PYTHON, an interpreter with open_spiel, jax, flax, optax, chex and orbax-checkpoint, OpenSpiel's Python
AlphaZero plays against itself, too: its own network of that size, one game, with the cache of evaluations that it has.
"""

import argparse
import json
import statistics
import subprocess
import time
from pathlib import Path

import numpy as np
import torch
from gymnasium import spaces
from measure import facts, facts_lines

from cumulant.engine.board_policy import NetEvaluator
from cumulant.engine.search import Search, SearchConfig
from cumulant.envs.games.lookup import make_game
from cumulant.kernels.rules import play_rows, rules_of
from cumulant.nn.board import BoardNet

ROWS = [  # kind, games side by side, simulations, goal
    ("search", 256, 32, 5.0),
    ("search", 256, 100, 8.0),
    ("selfplay", 64, 32, 2.0),
    ("selfplay", 16, 32, 1.0),
]
RESULTS = Path(__file__).parent / "results" / "search.md"


def without_network(seed=0):
    values, at = np.random.default_rng(seed).uniform(-1, 1, 1 << 16).astype(np.float32), np.random.default_rng(seed)

    def evaluate(planes):
        start = at.integers(0, len(values) - len(planes))
        return np.zeros((len(planes), 7), np.float32), values[start : start + len(planes)]

    return evaluate


def ours(kind, games, simulations, seconds, entries=0):
    """Simulations per CPU second of ours."""
    game = make_game("connect_four")
    evaluate = without_network()
    if kind == "selfplay":
        shape = spaces.Box(0.0, 1.0, (game.num_planes, game.rows, game.columns))
        net = BoardNet(shape, spaces.Discrete(game.num_actions), 64, 4, generator=torch.Generator().manual_seed(0))
        evaluate = NetEvaluator(net, game, entries)
    search = Search(game, SearchConfig(simulations=simulations, solve=False), games, evaluate)
    states, generator = np.tile(game.start(), (games, 1)), np.random.default_rng(0)
    outcome, player = np.zeros(games), np.zeros(games, np.int8)

    def move():
        found = search.run(states, generator=generator)
        play_rows(rules_of(game), states, found.action, outcome, player)
        states[~np.isnan(outcome)] = game.start()

    move()
    cpu, moves = time.process_time(), 0
    while time.process_time() - cpu < seconds or moves == 0:
        move()
        moves += games
    return moves * simulations / (time.process_time() - cpu)


def openspiel(python, simulations, seconds):
    script = Path(__file__).parent / "peers" / "openspiel_alphazero.py"
    command = [python, script, str(simulations), str(seconds)]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return json.loads(said.splitlines()[-1])["per_cpu_second"]


def theirs(python, kind, games, simulations, seconds):
    script = Path(__file__).parent / "peers" / "mctx_search.py"
    command = [python, script, kind, str(games), str(simulations), str(seconds)]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return json.loads(said.splitlines()[-1])["per_cpu_second"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--peers", required=True, help="Python with mctx and pgx")
    parser.add_argument("--peers-openspiel", help="Python with OpenSpiel's AlphaZero")
    parser.add_argument("--seconds", type=float, default=6.0, help="CPU seconds of each measurement")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--write", action="store_true", help=f"write {RESULTS.name}")
    known = parser.parse_args()
    torch.set_num_threads(1)
    lines = ["| | games | simulations | ours | mctx | ratio | goal |", "|---|---|---|---|---|---|---|"]
    for kind, games, simulations, goal in ROWS:
        pairs = [
            (
                ours(kind, games, simulations, known.seconds),
                theirs(known.peers, kind, games, simulations, known.seconds),
            )
            for _ in range(known.rounds)
        ]
        own, other = (statistics.median(side) for side in zip(*pairs))
        row = f"| {kind} | {games} | {simulations} | {own:,.0f} | {other:,.0f} | {own / other:.1f} | {goal:g} |"
        print(row, flush=True)
        lines.append(row)
        if kind == "selfplay":
            shared = ours(kind, games, simulations, known.seconds, 1 << 18)
            what = f"{kind}, evaluations shared"
            lines.append(
                f"| {what} | {games} | {simulations} | {shared:,.0f} | {other:,.0f} | {shared / other:.1f} | |"
            )
            print(lines[-1], flush=True)
    if known.peers_openspiel:
        pairs = [
            (ours("selfplay", 64, 32, known.seconds), openspiel(known.peers_openspiel, 32, 3 * known.seconds))
            for _ in range(known.rounds)
        ]
        own, other = (statistics.median(side) for side in zip(*pairs))
        lines += [
            "",
            f"OpenSpiel's Python AlphaZero, 32 simulations: {other:,.0f} a CPU second; ours, 64 games, nothing shared:",
        ]
        lines += [f"{own:,.0f}, {own / other:.0f} times as many."]
        print("\n".join(lines[-2:]), flush=True)
    lines += ["", *(f"- {line}" for line in facts_lines(facts(-1, ("cumulant", "torch", "numpy", "numba"))))]
    if known.write:
        RESULTS.write_text(f"# {__doc__.splitlines()[0]}\n\n" + "\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
