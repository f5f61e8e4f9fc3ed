"""Time OpenSpiel's games at random play; runs in the peers' environment. Prints one JSON line.

Usage: openspiel_steps.py '{"game": "go(board_size=9)", "seconds": 2.0}', as ``benchmarks/games.py`` calls it.
"""

import json
import random
import sys
import time
from importlib import metadata

import pyspiel


def main():
    wanted = json.loads(sys.argv[1])
    game, rng = pyspiel.load_game(wanted["game"]), random.Random(0)
    steps, state = 0, game.new_initial_state()
    begin = time.process_time()
    while (spent := time.process_time() - begin) < wanted["seconds"]:
        for _ in range(200):
            legal = state.legal_actions()
            state.apply_action(legal[int(rng.random() * len(legal))])
            steps += 1
            if state.is_terminal():
                state = game.new_initial_state()
    print(json.dumps({"rate": steps / spent, "version": metadata.version("open_spiel")}))


if __name__ == "__main__":
    main()
