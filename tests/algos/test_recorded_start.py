"""AlphaZero begins with games that were written down, when it is given some."""

import json

import numpy as np
import pytest
import torch
from gymnasium import spaces

from cumulant import api
from cumulant.data.game_records import parse_record
from cumulant.data.game_replay import UNKNOWN
from cumulant.data.recorded_positions import RecordedPositions, read_positions
from cumulant.engine.board_policy import BoardPolicy
from cumulant.engine.recorded_start import foreseen
from cumulant.envs.games.lookup import make_game
from cumulant.errors import DataError, Interrupted
from cumulant.nn.board import BoardNet
from cumulant.tournament import arena

SMALL = {
    "num_envs": 8, "horizon": 4, "total_steps": 64, "simulations": 2, "eval_simulations": 2, "channels": 16, "blocks": 2,
    "batch_size": 64,
}  # fmt: skip


def test_positions_are_what_was_played_there_and_who_won():
    game = make_game("connect_four")
    records = [parse_record("1122334", game, "a"), parse_record("44 0-1", game, "b")]
    known = RecordedPositions(game, records)
    assert len(known) == 9
    found = known.at(np.arange(9))
    assert found.policy.argmax(1).tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 3]
    assert found.policy.sum(1).tolist() == [1.0] * 9
    assert found.value.tolist() == [1.0, -1.0, 1.0, -1.0, 1.0, -1.0, 1.0, -1.0, 1.0]
    np.testing.assert_array_equal(found.planes[4].reshape(2, 6, 7), game.planes(game.position(list("1122"))))
    opening = RecordedPositions(
        game, [parse_record("1122334", game, "a").__class__(**{**vars(records[0]), "opening": 5})]
    )
    assert opening.at(np.arange(2)).policy.argmax(1).tolist() == [2, 3]


def test_owners_are_those_at_the_end_for_who_is_to_move():
    game = make_game("go", size=2, komi=0.5)
    known = RecordedPositions(game, [parse_record("A1 pass pass", game, "a"), parse_record("A1 1-0", game, "b")])
    owners = known.at(np.arange(4)).ownership
    assert owners[:3].tolist() == [[1] * 4, [-1] * 4, [1] * 4]
    assert owners[3].tolist() == [UNKNOWN] * 4, "it was given up"


def test_whole_games_are_kept_apart(tmp_path):
    path = tmp_path / "games.txt"
    games = [f"{a}{b}{a}{b}{a}{b}{a}" for a in range(1, 6) for b in (6, 7)]
    path.write_text("".join(f"{each}\n" * (1 + k) for k, each in enumerate(games)))  # some are there ten times
    game = make_game("connect_four")
    learned, apart = read_positions(path, game, 0.3, seed=1)
    assert len(learned) + len(apart) == 7 * 55

    def looks(positions):
        return {each.tobytes() for each in positions.at(np.arange(len(positions))).planes[6::7]}  # before the last move

    assert len(looks(apart)) == 3
    assert len(looks(learned)) == 7
    assert not looks(apart) & looks(learned)
    assert read_positions(path, game, 0.0, seed=1)[1] is None
    path.write_text("1122334\n")
    with pytest.raises(DataError, match="holds 1 different games, too few to keep 10% of them apart"):
        read_positions(path, game, 0.1, seed=1)


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    """Games of a perfect player, and of one who looks far ahead."""
    folder = tmp_path_factory.mktemp("arena") / "arena"
    arena(["perfect", "mcts:300"], "tictactoe", games=240, opening_moves=2, out=folder)
    return folder / "games.jsonl"


def rows_of(run):
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_it_learns_to_foresee_moves_before_self_play(train_one, records):
    game = make_game("tictactoe")
    _, apart = read_positions(records, game, 0.2, seed=0)
    shape, actions = spaces.Box(0.0, 1.0, (2, 3, 3)), spaces.Discrete(9)
    untrained = BoardNet(shape, actions, 16, 2, False, False, torch.Generator().manual_seed(0)).eval()
    before = foreseen(untrained, apart)["records/foreseen"]
    run = train_one("alphazero", "tictactoe", **SMALL, records=str(records), record_steps=250, held_out=0.2)
    rows = rows_of(run)
    assert [row["steps"] for row in rows] == [0, 0, 0, 32, 64]
    assert before < 0.3
    assert rows[2]["records/foreseen"] > before + 0.2
    assert rows[2]["records/value_error"] < rows[0]["records/value_error"] + 0.05
    assert rows[2]["eval/network_kept_all"] > 0.6, "it plays like them, too, before any game of its own"
    assert "records/foreseen" not in rows[3]
    assert BoardPolicy.load(run / "policy", "best").game.name == "tictactoe"


def test_a_start_that_was_stopped_goes_on_as_if_it_had_not_been(train_one, records, tmp_path):
    words = {**SMALL, "records": str(records), "record_steps": 250}
    whole = train_one("alphazero", "tictactoe", **words)

    def stop(seed, row):
        if row["iteration"] == 1:
            import os
            import signal

            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Interrupted):
        train_one("alphazero", "tictactoe", **words, name="torn", progress=stop)
    api.train_one(api.read_spec(tmp_path / "torn"), tmp_path / "torn", resume=True)
    for name in ("metrics.jsonl", "policy/last.safetensors", "evaluation.json"):
        assert (whole / name).read_bytes() == (tmp_path / "torn" / name).read_bytes()


@pytest.mark.parametrize(
    ("content", "message"),
    [("", "holds no game"), ("5 1\n5 5\n", "line 2: move 2, '5', is not legal"), ("5 1 9\n", "the game is not over")],
)
def test_bad_records_are_named_and_leave_nothing_behind(cli, workspace, content, message):
    (workspace / "games.txt").write_text(content)
    answer = cli("train", "alphazero", "tictactoe", "--records", "games.txt", "--quiet")
    assert answer.code != 0
    assert message in answer.err
    assert len(answer.err.splitlines()) == 1
    assert [path.name for path in workspace.iterdir()] == ["games.txt"]
