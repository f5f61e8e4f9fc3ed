"""Games that were written down: every malformed one is named by file, line and move."""

import json

import numpy as np
import pytest

from cumulant.data.game_records import parse_record, read_records
from cumulant.envs.games.lookup import make_game
from cumulant.errors import DataError

GAME = make_game("connect_four")


def test_games_are_read_with_their_results(tmp_path):
    path = tmp_path / "games.txt"
    path.write_text("# two games\n\n1122334\n4 4 4 0-1\n12 1/2-1/2\n")
    won, given_up, drawn = read_records(path, GAME)
    assert won.actions == (0, 0, 1, 1, 2, 2, 3)
    assert np.array_equal(won.state, GAME.position(list("1122334")))
    assert [won.result, given_up.result, drawn.result] == [1.0, -1.0, 0.0]
    assert given_up.where.endswith("games.txt, line 4")


def test_a_beginning_is_a_record_without_a_result():
    record = parse_record("44", GAME, "line 1")
    assert record.actions == (3, 3)
    assert np.isnan(record.result)
    assert parse_record("", GAME, "line 1").actions == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("4x4", "games.txt, line 2: move 2: 'x' is no move of connect_four"),
        ("4444444 1-0", "games.txt, line 2: move 7, '4', is not legal; legal there: 1 2 3 5 6 7"),
        ("11223344", "games.txt, line 2: move 8, '4', comes after the end of the game"),
        ("1122334 0-1", "games.txt, line 2: the result is said to be 0-1, and the moves make it 1-0"),
        ("44", "games.txt, line 2: the game is not over after 2 moves; end the line with its result"),
        ("1-0", "games.txt, line 2: a result without moves"),
    ],
)
def test_a_malformed_game_is_named(tmp_path, text, message):
    path = tmp_path / "games.txt"
    path.write_text(f"1122334\n{text}\n")
    with pytest.raises(DataError) as caught:
        read_records(path, GAME)
    assert message in str(caught.value)


def test_a_file_that_is_none_is_named(tmp_path):
    with pytest.raises(DataError, match=r"gone\.txt cannot be read: No such file"):
        read_records(tmp_path / "gone.txt", GAME)
    (tmp_path / "empty.txt").write_text("# nothing\n\n")
    with pytest.raises(DataError, match=r"empty\.txt holds no game"):
        read_records(tmp_path / "empty.txt", GAME)
    (tmp_path / "binary.txt").write_bytes(b"44\xff\xfe")
    with pytest.raises(DataError, match="byte 2 is not UTF-8"):
        read_records(tmp_path / "binary.txt", GAME)


OF_ARENA = {
    "game": "connect_four", "game_options": {}, "first": "a", "second": "b", "points": 1.0, "reason": "played out",
    "opening": 2, "moves": list("1122334"),
}  # fmt: skip


def test_games_of_an_arena_are_read_but_those_lost_by_a_fault(tmp_path):
    path = tmp_path / "games.jsonl"
    lines = [
        OF_ARENA,
        {**OF_ARENA, "reason": "b crashed"},
        {**OF_ARENA, "moves": ["4"], "points": 0.0, "reason": "resigned"},
    ]
    path.write_text("\n".join(map(json.dumps, lines)))
    won, given_up = read_records(path, GAME)
    assert (won.actions, won.result, won.opening) == ((0, 0, 1, 1, 2, 2, 3), 1.0, 2)
    assert (given_up.actions, given_up.result) == ((3,), -1.0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"game": "go", "game_options": {"size": 9}},
            "it is of go with options {'size': 9}, not of connect_four with {}",
        ),
        ({"points": 0.5}, "the result is said to be 1/2-1/2, and the moves make it 1-0"),
        ({"points": 7}, "line 1: it is no game of an arena: StopIteration"),
        ({"moves": [1, 1, 9]}, "line 1: move 3: '9' is no move of connect_four"),
        ({"opening": float("inf")}, "line 1: it is no game of an arena: OverflowError"),
        ({"opening": -2}, "line 1: it is no game of an arena: ValueError: opening = -2 moves"),
        ({"moves": None}, "line 1: it is no game of an arena: TypeError"),
    ],
)
def test_a_malformed_game_of_an_arena_is_named(tmp_path, change, message):
    path = tmp_path / "games.jsonl"
    path.write_text(json.dumps(OF_ARENA | change))
    with pytest.raises(DataError) as caught:
        read_records(path, GAME)
    assert message in str(caught.value)
    path.write_text("{")
    with pytest.raises(DataError, match="line 1: it is no game of an arena: JSONDecodeError"):
        read_records(path, GAME)
