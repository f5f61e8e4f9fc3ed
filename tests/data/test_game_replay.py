"""Positions are packed without loss, take little room, and a checkpoint writes only what is new."""

import shutil
from dataclasses import replace

import numpy as np
import pytest

from cumulant.data.game_replay import UNKNOWN, GameReplay, WindowConfig
from cumulant.data.packed_planes import Packing, pack_owners, unpack_owners
from cumulant.envs.games.lookup import make_game
from cumulant.errors import CheckpointError, ConfigError

GAMES = {
    "tictactoe": {},
    "connect_four": {},
    "othello": {"size": 6},
    "go": {"size": 5, "komi": 6.5},
}


def positions(game, count, seed=0):
    rng = np.random.default_rng(seed)
    state, planes = game.start(), []
    while len(planes) < count:
        planes.append(game.planes(state))
        if np.isnan(game.outcome(state)):
            game.play(state, int(rng.choice(game.legal_actions(state))))
        else:
            state = game.start()
    return np.stack(planes)


@pytest.mark.parametrize("name", GAMES)
def test_positions_are_packed_without_loss(name):
    game = make_game(name, **GAMES[name])
    planes = positions(game, 300)
    packing = Packing(game)
    rows = packing.pack(planes)
    assert rows.shape == (300, packing.size)
    np.testing.assert_array_equal(packing.unpack(rows), planes.reshape(300, game.num_planes, -1))
    np.testing.assert_array_equal(
        packing.unpack(rows[::-7]), planes[::-7].reshape(-1, game.num_planes, planes[0, 0].size)
    )


def test_planes_with_more_values_are_refused_or_kept_whole():
    game = replace(make_game("go", size=4), two_valued=False)
    planes = np.random.default_rng(0).normal(size=(7, game.num_planes, game.rows, game.columns)).astype(np.float32)
    packing = Packing(game)
    np.testing.assert_array_equal(packing.unpack(packing.pack(planes)), planes.reshape(7, game.num_planes, -1))


@pytest.mark.parametrize("two_valued", [True, False])
def test_what_was_packed_does_not_change_with_the_planes(two_valued):
    game = replace(make_game("tictactoe"), two_valued=two_valued)
    packing, planes = Packing(game), positions(game, 9)
    before, rows = planes.copy(), packing.pack(planes)
    planes[:] = 0.0  # self-play writes every move's into the same memory
    np.testing.assert_array_equal(packing.unpack(rows), before.reshape(9, game.num_planes, -1))


def test_a_game_that_says_the_wrong_thing_of_its_planes_is_told():
    game = make_game("tictactoe")
    planes = np.ones((1, 2, 3, 3), np.float32)
    planes[0, 1, 0, 0] = 0.5
    with pytest.raises(ConfigError, match="tictactoe: a plane has more than one value"):
        Packing(game).pack(planes)


def test_owners_are_packed_without_loss():
    owners = np.random.default_rng(0).integers(-1, UNKNOWN + 1, (50, 81)).astype(np.int8)
    packed = pack_owners(owners)
    assert packed.shape == (50, 21)
    np.testing.assert_array_equal(unpack_owners(packed, 81), owners)


def test_nine_by_nine_go_takes_little_room(tmp_path):
    """320 bytes a position; the row of a state alone has 2,576."""
    replay = GameReplay(make_game("go", size=9), WindowConfig(capacity=10), 1, tmp_path)
    assert sum(array[0].nbytes for array in replay._ring.values()) < 340


def played(replay, count, seed=0):
    """Add games of one position each."""
    game, rng = replay.game, np.random.default_rng(seed)
    for planes in positions(game, count, seed):
        policy = rng.dirichlet(np.ones(game.num_actions))[None]
        replay.remember(replay.packing.pack(planes[None]), policy, np.zeros(1), np.zeros(1, np.int8), np.ones(1, bool))
        replay.finish(0, float(rng.integers(-1, 2)), 0, rng.integers(-1, 2, replay.points).astype(np.float32))


def test_a_window_of_power_1_keeps_everything(tmp_path):
    game = make_game("tictactoe")
    replay = GameReplay(game, WindowConfig(capacity=5000, window=49, window_power=1.0), 1, tmp_path)
    for replay.added in range(5000):
        assert replay.window == replay.added


def test_a_checkpoint_writes_what_is_new_and_keeps_what_is_needed(tmp_path):
    game = make_game("go", size=5)
    config = WindowConfig(capacity=1000, window=100, window_power=0.5)
    replay = GameReplay(game, config, 1, tmp_path)
    states = []
    for number in range(8):
        played(replay, 150, number)
        states.append(replay.state_dict())
    sizes = [record["rows"] for record in states[-1]["shards"]]
    assert sizes == [150] * len(sizes)
    assert sorted(path.stem for path in tmp_path.glob("*.safetensors")) == [f"{150 * k:012d}" for k in range(4, 8)], (
        "the window has 346 of 1200, and the one of two checkpoints before begins at 593"
    )
    older = tmp_path / "older"
    shutil.copytree(tmp_path, older)
    other = GameReplay(game, config, 1, older)
    other.load_state_dict(states[-2])  # as after a torn checkpoint
    assert other.window == 324
    np.testing.assert_array_equal(other.newest(324).planes, replay._at(np.arange(1050 - 324, 1050)).planes)
    other = GameReplay(game, config, 1, tmp_path)
    other.load_state_dict(states[-1])
    played(other, 40, 9)
    played(replay, 40, 9)
    for one, two in zip(
        replay.draw(500, np.random.default_rng(0)), other.draw(500, np.random.default_rng(0)), strict=True
    ):
        np.testing.assert_array_equal(one, two)
    before = len(list(tmp_path.glob("*.safetensors")))
    assert other.state_dict()["added"] == 1240
    assert len(list(tmp_path.glob("*.safetensors"))) == before + 1


def test_a_damaged_shard_is_named(tmp_path):
    game = make_game("tictactoe")
    replay = GameReplay(game, WindowConfig(), 1, tmp_path)
    played(replay, 20)
    state = replay.state_dict()
    path = next(tmp_path.glob("*.safetensors"))
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match=path.name):
        GameReplay(game, WindowConfig(), 1, tmp_path).load_state_dict(state)
