"""Self-play of OpenSpiel's Python AlphaZero on Connect Four, one game: simulations per CPU second.

Its own model, evaluator (with its cache) and bot.

python openspiel_alphazero.py SIMULATIONS SECONDS
"""

import json
import sys
import tempfile
import time

import numpy as np
import pyspiel
from open_spiel.python.algorithms import mcts
from open_spiel.python.algorithms.alpha_zero import evaluator, utils


def main():
    simulations, seconds = int(sys.argv[1]), float(sys.argv[2])
    game = pyspiel.load_game("connect_four")
    model = utils.api_selector("nnx").Model.build_model(
        "resnet",
        game.observation_tensor_shape(),
        game.num_distinct_actions(),
        64,
        4,
        1e-4,
        1e-3,
        tempfile.mkdtemp(),
    )
    bot = mcts.MCTSBot(
        game,
        1.25,
        simulations,
        evaluator.AlphaZeroEvaluator(game, model),
        solve=False,
        dirichlet_noise=(0.25, 1.0),
        child_selection_fn=mcts.SearchNode.puct_value,
        random_state=np.random.RandomState(0),
        dont_return_chance_node=True,
    )
    state = game.new_initial_state()

    def move():
        state.apply_action(bot.mcts_search(state).best_child().action)
        return game.new_initial_state() if state.is_terminal() else state

    state = move()
    cpu, moves = time.process_time(), 0
    while time.process_time() - cpu < seconds:
        state = move()
        moves += 1
    print(json.dumps({"per_cpu_second": moves * simulations / (time.process_time() - cpu)}))


if __name__ == "__main__":
    main()
