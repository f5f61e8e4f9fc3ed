"""Search and self-play on Connect Four against mctx with pgx: simulations per CPU second, side by side in one run.

    python benchmarks/search.py [--core 1] [--write]

The peers live in environments of their own: peers_search.txt, peers_openspiel.txt. Both sides take turns; the median over rounds
counts. ``search`` has no network (uniform logits, random values); ``selfplay`` has a residual network of 64 channels and 4
blocks, in one torch thread, and for mctx in as many as XLA takes: what counts is CPU time, of which XLA's threads burn some while
they wait; ``--core`` keeps it to one, which is the best that it can do for that measure. Games go on from move to move, and
begin anew where one ends.

OpenSpiel's Python AlphaZero has its own network of that size, one game, and the cache of evaluations that it has; ours plays 64
side by side.
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
from measure import facts, facts_lines, pin, write_section

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


def theirs(python, script, *words):
    """Simulations per CPU second of a peer; None where its environment is not there."""
    if not Path(python).exists():
        return None
    command = [python, Path(__file__).parent / "peers" / script, *map(str, words)]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return json.loads(said.splitlines()[-1])["per_cpu_second"]


def row(what, games, simulations, pairs, goal=""):
    """One line of the table, of rates in turns: ours and the peer's."""
    own, other = zip(*pairs)
    cells = [what, games, simulations, f"{statistics.median(own):,.0f}"]
    if None in other:
        cells += ["skipped", "", goal]
    else:
        ratio = statistics.median(own) / statistics.median(other)
        cells += [f"{statistics.median(other):,.0f}", f"{ratio:.{1 if ratio < 100 else 0}f}", goal]
    line = "| " + " | ".join(map(str, cells)) + " |"
    print(line, flush=True)
    return line


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--peers", default=".peers_search/bin/python", help="Python with mctx and pgx")
    parser.add_argument(
        "--peers-openspiel", default=".peers_openspiel/bin/python", help="Python with OpenSpiel's AlphaZero"
    )
    parser.add_argument("--seconds", type=float, default=6.0, help="CPU seconds of each measurement")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--core", type=int, default=-1, help="core to pin everything to; -1 for none")
    parser.add_argument("--write", action="store_true", help="write this section of benchmarks/results/search.md, too")
    known = parser.parse_args()
    torch.set_num_threads(1)
    pin(known.core)
    seconds = known.seconds
    lines = ["| | games | simulations | ours | peer | ratio | goal |", "|---|---|---|---|---|---|---|"]
    print(*lines, sep="\n")
    for kind, games, simulations, goal in ROWS:
        pairs = [
            (
                ours(kind, games, simulations, seconds),
                theirs(known.peers, "mctx_search.py", kind, games, simulations, seconds),
            )
            for _ in range(known.rounds)
        ]
        lines.append(row(f"{kind}, against mctx", games, simulations, pairs, goal))
        if kind == "selfplay":
            shared = ours(kind, games, simulations, seconds, 1 << 18)
            others = [(shared, other) for _, other in pairs]
            lines.append(row(f"{kind}, evaluations shared, against mctx", games, simulations, others))
    pairs = [
        (
            ours("selfplay", 64, 32, seconds),
            theirs(known.peers_openspiel, "openspiel_alphazero.py", 32, 3 * seconds),
        )
        for _ in range(known.rounds)
    ]
    lines.append(row("selfplay, against OpenSpiel's Python AlphaZero", 64, 32, pairs, 100))
    about = [f"- {line}" for line in facts_lines(facts(known.core, ("cumulant", "torch", "numpy", "numba")))]
    if known.write:
        heading = "As they come: mctx takes every core" if known.core < 0 else "Everybody on one core"
        title = "Search and self-play on Connect Four: simulations per CPU-second"
        write_section("search", title, heading, ["\n".join(lines), "\n".join(about)])


if __name__ == "__main__":
    main()
