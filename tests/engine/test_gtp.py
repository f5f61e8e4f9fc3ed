"""Engines in processes of their own: real ones, and one that crashes, hangs and lies on demand."""

import io
import os
import shlex
import shutil
import sys
import time
from pathlib import Path

import pytest

from cumulant.engine.gtp import gtp_player
from cumulant.engine.gtp_server import GtpServer
from cumulant.engine.matches import play_games
from cumulant.engine.players import make_player
from cumulant.envs.games.lookup import listing, make_game
from cumulant.errors import PlayerFault, UsageError

FAKE = Path(__file__).with_name("fake_gtp.py")


def fake(mode, *words):
    return shlex.join([sys.executable, str(FAKE), mode, *map(str, words)])


def alive(pid):
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False


def play(mode, games=2, seconds=1.0, file=None, opponent="random"):
    """Let the fake engine play, and return the records."""
    game = make_game("connect_four")
    engine = gtp_player(fake(mode, *([file] if file else [])), game, seconds)
    try:
        other = make_player(opponent, game)
        return play_games(game, (engine, other), [(5, 5)] * games, [(0, 1)] * games)
    finally:
        engine.close()


def test_an_honest_engine_plays_to_the_end_in_one_process(tmp_path):
    records = play("honest", games=3, file=tmp_path / "pids")
    assert [record.reason for record in records] == ["played out"] * 3
    for record in records:
        own = record.moves[2::2]
        assert own[:3] == (3, 3, 3) or 3 in record.moves[3::2]
    pids = (tmp_path / "pids").read_text().split()
    assert len(pids) == 1
    assert not alive(pids[0])


@pytest.mark.parametrize(
    ("mode", "reason"),
    [
        ("crashes", "crashed at 'genmove b', exit code 3: segmentation fault, sort of"),
        ("hangs", "hung: no answer to 'genmove b' in 1 s"),
        ("cheats", "answered 'genmove' with '9', which is no move of connect_four"),
        ("chatters", "answered 'genmove b' with 'thinking... =3 4', which is no answer to it"),
        ("confused", "answered 'genmove b' with '=77 4', which is no answer to it"),
        ("refuses", "refused 'play b 6': illegal move"),
        ("floods", "answered 'genmove b' with more than 1048576 bytes"),
    ],
)
def test_a_faulty_engine_loses_with_the_reason_and_the_next_game_gets_a_new_process(mode, reason, tmp_path):
    began = time.monotonic()
    records = play(mode, games=2, file=tmp_path / "pids")
    assert [record.points for record in records] == [0.0, 0.0]
    for record in records:
        said = record.reason.removeprefix(f"gtp:{fake(mode, tmp_path / 'pids')} ")
        assert said.replace("=5 4", "=3 4") == reason
    pids = (tmp_path / "pids").read_text().split()
    assert len(pids) == 2
    assert not any(alive(pid) for pid in pids)
    assert time.monotonic() - began < 60


def test_a_full_column_is_an_illegal_move_and_giving_up_is_no_fault():
    game = make_game("connect_four")
    engine = gtp_player(fake("overfills"), game, 5.0)
    (record,) = play_games(game, (engine, engine), [(3, 3, 3, 3, 3, 3)], [(0, 1)])
    engine.close()
    assert record.points == 0.0
    assert record.reason.endswith("made an illegal move: 4")
    (record,) = play("resigns", games=1)
    assert (record.points, record.reason) == (0.0, "resigned")


def test_an_engine_that_fails_three_games_in_a_row_is_asked_no_more(tmp_path):
    records = play("crashes", games=5, file=tmp_path / "pids")
    assert len((tmp_path / "pids").read_text().split()) == 3
    assert "is not asked any more: 3 games in a row it crashed" in records[4].reason
    assert [record.points for record in records] == [0.0] * 5


def test_what_an_engine_started_is_ended_with_it(tmp_path):
    play("family", games=1, file=tmp_path / "pids")
    pids = (tmp_path / "pids").read_text().split()
    assert len(pids) == 2
    end = time.monotonic() + 5.0
    while any(alive(pid) for pid in pids) and time.monotonic() < end:
        time.sleep(0.05)
    assert not any(alive(pid) for pid in pids)


@pytest.mark.parametrize(
    ("mode", "message"),
    [
        ("silent", "hung: no answer to 'protocol_version' in 0.5 s"),
        ("dies", "crashed at 'protocol_version', exit code 1: no licence found"),
        ("old", "speaks version '1' of GTP, not 2"),
    ],
)
def test_an_engine_that_is_none_is_refused_at_once(mode, message):
    with pytest.raises(PlayerFault, match=message):
        gtp_player(fake(mode), make_game("connect_four"), 0.5 if mode == "silent" else 20.0)


def test_a_board_that_an_engine_does_not_play_is_refused_at_once():
    with pytest.raises(PlayerFault, match=r"fake_gtp\.py big refused 'boardsize 3': unacceptable size"):
        make_player(f"gtp:{fake('big')}", make_game("tictactoe"), seconds=20.0)


def test_a_command_that_does_not_exist_is_refused():
    with pytest.raises(PlayerFault, match="no-such-engine --gtp cannot be started: No such file"):
        gtp_player("no-such-engine --gtp", make_game("connect_four"), 1.0)
    with pytest.raises(UsageError, match="needs a command"):
        gtp_player(" ", make_game("connect_four"), 1.0)


# -- our own server ----------------------------------------------------------------------------------------------------


def session(*lines, game="connect_four", player="mcts:200", start="44444"):
    board = make_game(game)
    server, said = GtpServer(board, make_player(player, board)), io.StringIO()
    for number, move in enumerate(start):
        server.answer(f"play {'bw'[number % 2]} {move}")
    server.serve([f"{line}\n" for line in lines], said.write)
    return said.getvalue().split("\n\n")[:-1]


def test_the_server_keeps_the_game_and_answers_by_the_protocol():
    said = session("1 protocol_version", "name", "# only a comment", "", "7 known_command genmove", "known_command foo")
    assert said == ["=1 2", "= Cumulant", "=7 true", "= false"]
    said = session("play w 1", "4 genmove b", "showboard", "undo", "genmove b", "quit", "name", start="4121")
    assert said[0] == "? it is black's turn"
    assert said[1].startswith("=4 ")
    assert "X" in said[2]
    assert said[3] == "="
    assert said[4].startswith("= ")
    assert said[5:] == ["="]  # nothing after quit
    said = session("known_command quit", "# quit", "9 quit", "name")
    assert said == ["= true", "=9"]


def test_the_server_refuses_what_cannot_be():
    said = session(
        "play b 9", "play b", "play x 1", "boardsize 19", "boardsize seven", "komi lots", "foo", "final_score", start=""
    )
    assert said == [
        "? '9' is no move of connect_four: give a column, 1 to 7",
        "? syntax error: a colour and a move",
        "? syntax error: the colour is b or w",
        "? unacceptable size",
        "? boardsize not an integer",
        "? komi not a float",
        "? unknown command",
        "? cannot score",
    ]
    assert session("play w 4", start="44444")[0] == "="
    assert session("play b 4", start="444444")[0] == "? illegal move"
    assert session("undo", start="")[0] == "? cannot undo"


def test_the_server_passes_no_illegal_move_on():
    board = make_game("connect_four")
    engine = gtp_player(fake("overfills"), board, 5.0)
    server = GtpServer(board, engine)
    for move in ("b 4", "w 4", "b 4", "w 4", "b 4", "w 4"):
        server.answer(f"play {move}")
    said = server.answer("genmove b")
    engine.close()
    assert said.startswith("? gtp:")
    assert said.endswith("made an illegal move: 4")
    assert len(server.moves) == 6


def test_the_server_wins_won_games_and_scores_them():
    said = session("genmove b", "final_score", "genmove w", start="112233")
    assert said == ["= 4", "= B+1", "? the game has ended"]


def test_client_and_server_understand_each_other(tmp_path):
    """Our own program, in a process of its own, plays perfectly through the protocol."""
    game = make_game("tictactoe")
    command = shlex.join([sys.executable, "-m", "cumulant", "play", "perfect", "--game", "tictactoe", "--gtp"])
    engine = make_player(f"gtp:{command}", game, seconds=60.0)
    try:
        records = play_games(game, (engine, make_player("random", game)), [(k,) for k in range(9)], [(1, 0)] * 9)
    finally:
        engine.close()
    assert all(record.reason == "played out" for record in records)
    assert max(record.points for record in records) <= 0.5  # the engine came second and never lost


@pytest.mark.skipif(
    shutil.which("gnugo") is None and not os.path.exists("/usr/games/gnugo"), reason="gnugo is not installed"
)
@pytest.mark.skipif("go" not in listing(), reason="there is no Go")
def test_gnu_go_plays_whole_games_and_beats_random_play():
    program = shutil.which("gnugo") or "/usr/games/gnugo"
    game = make_game("go", size=7)
    engine = make_player(f"gtp:{program} --mode gtp --level 1 --chinese-rules --capture-all-dead", game, seconds=60.0)
    try:
        records = play_games(game, (engine, make_player("random", game)), [(), ()], [(0, 1), (1, 0)])
    finally:
        engine.close()
    assert [record.reason for record in records] == ["played out"] * 2
    assert [record.points for record in records] == [1.0, 0.0]
