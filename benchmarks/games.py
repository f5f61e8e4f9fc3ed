"""Moves a CPU second of board games: uniformly random play, legal moves found at every one, games restarted as they end.

Ours is one compiled loop over one row; so do self-play and search use it. OpenSpiel's games are C++ and driven from Python, as
its own self-play is. In turns on one core with one thread; compilation is not counted.

    python -m venv .peers_games && .peers_games/bin/pip install -r benchmarks/peers_games.txt
    python benchmarks/games.py --write
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

from measure import Spread, default_core, facts, facts_lines, one_thread, pin, run_json, table, write_results

one_thread()  # before numpy and numba are imported

import numpy as np  # noqa: E402
from numba import njit, types  # noqa: E402

from cumulant.envs.counter_rng import mix  # noqa: E402
from cumulant.envs.games.game import INITIAL, LEGAL, PLAY, ROW  # noqa: E402
from cumulant.envs.games.lookup import make_game  # noqa: E402

GAMES: dict[str, tuple[str, dict[str, Any], str]] = {
    "tic-tac-toe": ("tictactoe", {}, "tic_tac_toe"),
    "Connect Four": ("connect_four", {}, "connect_four"),
    "Othello": ("othello", {}, "othello"),
    "Go 9x9": ("go", {"size": 9}, "go(board_size=9)"),
    "Go 19x19": ("go", {"size": 19}, "go(board_size=19)"),
}
GOALS = {"Go 9x9": 2.0}


@njit([types.int64(INITIAL, LEGAL, PLAY, ROW, types.uint8[::1], types.int64)], cache=True)
def random_play(initial, legal, play, state, mask, steps):  # type: ignore[no-untyped-def]
    """Play so many moves and return how many games ended."""
    games, actions = 0, mask.shape[0]
    initial(state)
    for step in range(steps):
        legal(state, mask)
        count = 0
        for action in range(actions):
            count += mask[action]
        if count == 0:
            games += 1
            initial(state)
            legal(state, mask)
            for action in range(actions):
                count += mask[action]
        left = np.int64(mix(np.uint64(step)) >> np.uint64(33)) % count
        action = -1
        while left >= 0:
            action += 1
            left -= mask[action]
        play(state, action)
    return games


def ours(name: str, options: dict[str, Any], seconds: float) -> float:
    """Return our moves a CPU second."""
    game = make_game(name, **options)
    state, mask = game.start(), np.zeros(game.num_actions, np.uint8)
    random_play(game.initial, game.legal, game.play, state, mask, 1000)
    steps, begin = 0, time.process_time()
    while (spent := time.process_time() - begin) < seconds:
        random_play(game.initial, game.legal, game.play, state, mask, 20_000)
        steps += 20_000
    return steps / spent


def main() -> None:
    """Measure, print, and write the table with ``--write``."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--peers", type=Path, default=Path(".peers_games/bin/python"), help="Python with open_spiel")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0, help="CPU seconds of each measurement")
    parser.add_argument("--core", type=int, default=default_core())
    parser.add_argument("--write", action="store_true")
    args = parser.parse_args()
    pin(args.core)
    script, version = Path(__file__).parent / "peers" / "openspiel_steps.py", ""
    rows = []
    for title, (name, options, theirs) in GAMES.items():
        mine: list[float] = []
        peers: list[float] = []
        for _ in range(args.repeats):
            mine.append(ours(name, options, args.seconds))
            if args.peers.exists():
                found = run_json([str(args.peers), str(script), json.dumps({"game": theirs, "seconds": args.seconds})])
                version = found["version"]
                peers.append(found["rate"])
        compared = (
            [f"{Spread.of(peers):,.0f}", f"{Spread.of([a / b for a, b in zip(mine, peers)]):.1f}x"]
            if peers
            else ["", ""]
        )
        rows.append([title, f"{Spread.of(mine):,.0f}", *compared, f"{GOALS[title]:.0f}x" if title in GOALS else ""])
    shown = table(["moves per CPU-second", "Cumulant", "OpenSpiel", "ours is faster by", "goal"], rows)
    missing = (
        []
        if args.peers.exists()
        else [
            f"OpenSpiel: skipped, there is no {args.peers}: pip install -r benchmarks/peers_games.txt, or --peers PYTHON."
        ]
    )
    known = facts(args.core, ("cumulant", "numba", "numpy"))
    known["versions"] |= {"open_spiel": version} if version else {}
    notes = "\n".join(f"- {line}" for line in facts_lines(known))
    words = (__doc__ or "").split("\n\n    python", 1)[0]
    parts = [words, f"Median (range) of {args.repeats} turns.", shown, *missing, notes]
    print("\n\n".join(parts[2:]))
    if args.write:
        write_results("games", "Board games: moves a CPU second", parts)


if __name__ == "__main__":
    main()
