"""The rules against referees: OpenSpiel, in digests of a million random moves, and GNU Go's counting.

The fixtures are written by ``benchmarks/peers/openspiel_games.py`` and ``benchmarks/gnugo_scores.py``.
"""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
from numba import njit, types

from cumulant.envs.counter_rng import mix
from cumulant.envs.games.game import INITIAL, LEGAL, OUTCOME, PLAY, PLAYER, ROW
from cumulant.envs.games.go_board import area
from cumulant.envs.games.lookup import make_game

HERE = Path(__file__).parent
OPENSPIEL = json.loads((HERE / "openspiel.json").read_text())
GNUGO = json.loads((HERE / "gnugo.json").read_text())
MADE = {
    "tictactoe": {},
    "connect_four": {},
    "othello": {},
    "go": {"size": 9, "komi": 7.5},
    "go 5": {"size": 5, "komi": 0.5},
    "go 19": {"size": 19, "komi": 7.5},
}


@njit([types.void(INITIAL, LEGAL, PLAY, OUTCOME, PLAYER, ROW, types.uint8[::1], types.int64, types.uint64[::1])])
def replay(initial, legal, play, outcome, player, state, mask, moves, found):
    digest, written = np.uint64(0), 0
    initial(state)
    for move in range(1, moves + 1):
        legal(state, mask)
        word, count = np.uint64(0), 0
        for action in range(mask.shape[0]):
            word |= np.uint64(mask[action]) << np.uint64(action % 64)
            count += mask[action]
            if action % 64 == 63 or action == mask.shape[0] - 1:
                digest, word = mix(digest ^ word), np.uint64(0)
        left = np.int64(mix(np.uint64(move)) >> np.uint64(33)) % count
        action = -1
        while left >= 0:
            action += 1
            left -= mask[action]
        play(state, action)
        worth = outcome(state)
        if not np.isnan(worth):
            digest = mix(digest ^ np.uint64((worth if player(state) == 0 else -worth) + 2.0))
            initial(state)
        if move % (moves // found.shape[0]) == 0:
            found[written] = digest
            written += 1


def digests(name, moves, checkpoints):
    game, found = make_game(name.split()[0], **MADE[name]), np.zeros(checkpoints, np.uint64)
    replay(
        game.initial, game.legal, game.play, game.outcome, game.player, game.start(),
        np.zeros(game.num_actions, np.uint8), moves, found,
    )  # fmt: skip
    return [f"{each:016x}" for each in found]


@pytest.mark.parametrize("name", MADE)
def test_a_million_random_moves_are_openspiels(name):
    known = OPENSPIEL[name]
    assert digests(name, known["moves"], len(known["digests"])) == known["digests"]


def test_that_is_a_million():
    assert sum(known["moves"] for known in OPENSPIEL.values()) >= 1_000_000


@pytest.mark.parametrize("name", MADE)
def test_the_referee_says_so_today(name):
    pytest.importorskip("pyspiel", reason="needs an extra: pip install 'cumulant[openspiel]'")
    path = Path(__file__).parents[3] / "benchmarks" / "peers" / "openspiel_games.py"
    spec = importlib.util.spec_from_file_location("openspiel_games", path)
    referee = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(referee)
    assert digests(name, 2000, 4) == referee.digests(name, 2000, 4)


@pytest.mark.parametrize("size", sorted({position["size"] for position in GNUGO["positions"]}))
def test_areas_are_counted_as_gnu_go_counts_them(size):
    """By the score of GNU Go 3.8 under Chinese rules, for games that were played until nothing was left to take."""
    for position in (each for each in GNUGO["positions"] if each["size"] == size):
        game = make_game("go", size=size, komi=position["komi"], max_moves=10 * size * size)
        state = game.position(position["moves"].split())
        assert not np.isnan(game.outcome(state))
        assert area(state) * (1 if game.player(state) == 0 else -1) == position["black"]
