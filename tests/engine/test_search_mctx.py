"""Visits, policies and values equal those of mctx (fixtures: benchmarks/peers/make_mctx_fixtures.py)."""

import json
from pathlib import Path

import numpy as np
import pytest
from numba import njit

from cumulant.engine.search import Search, SearchConfig
from cumulant.envs.games.game import Game

FIXTURE = json.loads((Path(__file__).parents[1] / "fixtures" / "mctx" / "searches.json").read_text())
FACTS = FIXTURE["facts"]
POSITIONS, ACTIONS = FACTS["positions"], FACTS["actions"]


@njit
def _initial(state):
    state[:] = 0


@njit
def _legal(state, mask):
    mask[:] = 1


@njit
def _play(state, action):
    state[0] = (state[0] * 5 + action * 37 + 1) % POSITIONS
    state[1] += 1


@njit
def _outcome(state):
    return np.nan


@njit
def _player(state):
    return state[1] % 2


@njit
def _encode(state, planes):
    planes[0, 0, 0] = state[0]


@njit
def _key(state):
    return np.uint64(state[0])


@pytest.fixture(scope="module")
def game():
    identity = np.arange(1)[None], np.arange(ACTIONS)[None]
    return Game(
        "endless", 1, 1, ACTIONS, 1, 2, 200, _initial, _legal, _play, _outcome, _player, _encode, _key, *identity, str, str, int
    )  # fmt: skip


def noise(position, salt):
    return ((position * 7919 + salt * 104729 + 12345) * 31337 % 65536) / 65536


def evaluate(planes):
    position = planes[:, 0, 0, 0].astype(np.int64)
    logits = np.stack([4 * noise(position, 1 + a) - 2 for a in range(ACTIONS)], 1)
    return logits.astype(np.float32), (2 * noise(position, 99) - 1).astype(np.float32)


class Given:
    def __init__(self, noise):
        self.noise = np.array(noise)

    def gumbel(self, size):
        return self.noise


def test_search_is_that_of_mctx(game):
    """On every root, every number of simulations, both methods: the same number of visits of each action."""
    states = np.array([[root, 0] for root in FACTS["roots"]])
    assert len(FIXTURE["cases"]) == 16
    for case in FIXTURE["cases"]:
        options = {key: value for key, value in case.items() if key in SearchConfig.__dataclass_fields__}
        search = Search(game, SearchConfig(**options, solve=False, forced=0.0), len(states), evaluate)
        generator = Given(case["noise"]) if "noise" in case else None
        found = search.run(states, generator=generator)
        np.testing.assert_array_equal(found.visits, case["visits"], err_msg=str(options))
        if case["method"] == "gumbel":
            np.testing.assert_allclose(found.policy, case["policy"], atol=2e-5)
            np.testing.assert_array_equal(found.action, case["action"])
        else:
            np.testing.assert_allclose(found.value, case["value"], atol=1e-5)
