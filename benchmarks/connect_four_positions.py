"""Write the two sets of solved Connect Four positions: moves, and what every move is worth.

    python benchmarks/connect_four_positions.py --write

Random games for one set. For the other, games of strong players: two random stones, then Monte Carlo tree search with 10,000
random games a move (drawn by the visits until 8 stones stand). Positions with 8 to 28 stones, most of them with less than 12,
because those are hard; nobody wins at once, and some moves keep the value and some do not; at most one of a game. Five minutes of
one core.
"""

import argparse
import time
from pathlib import Path

import numpy as np

from cumulant.engine.rollouts import tree_search
from cumulant.envs.games.lookup import make_game
from cumulant.envs.games.solved_positions import SETS
from cumulant.envs.games.solver_connect_four import NO_MOVE, Solver, position

FOLDER = Path(__file__).parents[1] / "cumulant" / "envs" / "games"
NUMBERS = {stones: 30 if stones < 12 else 5 for stones in range(8, 29)}  # of positions
SIGNS = {1: "+", 0: "=", -1: "-", NO_MOVE: "."}


def play_on(game, state, stones, strong, rng):
    """Choose a move as the players of a set do."""
    if not strong or stones < 2:
        return int(rng.choice(game.legal_actions(state)))
    visits = tree_search(game, state[None], 10_000, int(rng.integers(2**31)))[0][0].astype(float)
    return int(rng.choice(len(visits), p=visits / visits.sum()) if stones < 8 else visits.argmax())


def candidate(game, solver, stones, strong, rng):
    """Play a game to a number of stones; return moves and values, or None where the position does not qualify."""
    state, moves = game.start(), ""
    for count in range(stones):
        action = play_on(game, state, count, strong, rng)
        moves += game.action_name(action)
        game.play(state, action)
        if not np.isnan(game.outcome(state)):
            return None
    for action in game.legal_actions(state):
        after = state.copy()
        game.play(after, action)
        if game.outcome(after) == -1.0:
            return None
    values = solver.move_scores(*position(moves), sign_only=True)
    legal = values[values != NO_MOVE]
    return (moves, values) if legal.min() < legal.max() else None


def make(name, stones, number, seed):
    """Make the positions of one set with this many stones; what other sets and numbers hold does not matter."""
    game, solver, lines, seen = make_game("connect_four"), Solver(), [], set()
    rng = np.random.default_rng([seed, SETS.index(name), stones])
    began = time.process_time()
    while len(lines) < number:
        found = candidate(game, solver, stones, name == "strong", rng)
        if found is None or position(found[0]) in seen:
            continue
        seen.add(position(found[0]))
        lines.append(f"{found[0]} {''.join(SIGNS[int(value)] for value in found[1])}")
    print(f"{name}, {stones} stones: {time.process_time() - began:.1f} s", flush=True)
    return lines


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--sets", nargs="+", choices=SETS, default=SETS)
    parser.add_argument("--stones", nargs="+", type=int, choices=NUMBERS, default=list(NUMBERS), help="only these")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write", action="store_true", help="write them where the package has them")
    known = parser.parse_args()
    for name in known.sets:
        lines = [line for stones in known.stones for line in make(name, stones, NUMBERS[stones], known.seed)]
        if known.write:
            (FOLDER / f"connect_four_{name}.txt").write_text("\n".join(lines) + "\n", encoding="ascii")


if __name__ == "__main__":
    main()
