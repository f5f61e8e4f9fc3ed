"""play, arena and analyse on the command line: what a user sees, and what is wrong said in one line."""

import io
import json
import sys

import pytest

from cumulant.cli.play import against_a_person
from cumulant.engine.players import Player, make_player
from cumulant.envs.games.lookup import make_game
from cumulant.errors import PlayerFault

ENGINE = "tests/engine/fake_gtp.py"


@pytest.fixture
def typed(monkeypatch):
    def give(text):
        monkeypatch.setattr(sys, "stdin", io.StringIO(text))

    return give


def test_arena_rates_players_and_writes_every_game(cli, tmp_path):
    out = tmp_path / "arena"
    words = ["random", "perfect", "alphabeta:1", "--game", "tictactoe", "--games", "12", "--opening-moves", "1"]
    said = cli("arena", *words, "--out", out, "--json")
    assert said.code == 0
    result = said.json
    assert json.loads((out / "arena.json").read_text()) == result
    assert result["players"][0]["player"] == "perfect"
    assert result["players"][0]["lost"] == 0
    assert sum(row["points"] for row in result["players"]) == 36
    games = [json.loads(line) for line in (out / "games.jsonl").read_text().splitlines()]
    assert len(games) == 36
    for first, second in zip(games[::2], games[1::2]):
        assert first["moves"][:1] == second["moves"][:1]
        assert (first["first"], first["second"]) == (second["second"], second["first"])
    again = cli("arena", *words, "--out", tmp_path / "again", "--json").json
    assert again | {"run": ""} == result | {"run": ""}
    assert "not empty" in cli("arena", *words, "--out", out).err


def test_arena_shows_a_table_and_what_went_wrong(cli, tmp_path, request):
    engine = f"gtp:{sys.executable} {request.config.rootpath / ENGINE} cheats"
    said = cli("arena", engine, "random", "--game", "connect_four", "--games", "4", "--out", tmp_path / "a", "--quiet")
    assert said.code == 0, said.err
    assert "Elo" in said.out
    flat = " ".join(said.out.split())
    assert "lost 3 games:" in flat
    assert "which is no move of connect_four" in flat
    assert "lost 1 game:" in flat
    assert "is not asked any more" in flat


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["random", "--game", "tictactoe"], "at least two players"),
        (["random", "random"], "which game? --game G, one of"),
        (["random", "random", "--game", "tictactoo"], "did you mean 'tictactoe'"),
        (["random", "random", "--game", "tictactoe", "--games", "3"], "an even number"),
        (["random", "randon", "--game", "tictactoe"], "did you mean 'random'"),
        (["random", "gtp:no-such-engine", "--game", "tictactoe"], "gtp:no-such-engine cannot be started"),
        (["random", "random", "--game", "tictactoe", "--game-option", "size=4"], "has no option 'size'"),
    ],
)
def test_arena_says_what_is_wrong_and_leaves_nothing_behind(cli, workspace, words, message):
    said = cli("arena", *words)
    assert said.code in (1, 2)
    assert message in said.err
    assert len(said.err.splitlines()) == 1
    assert list(workspace.iterdir()) == []


def test_analyse_answers_line_by_line(cli, typed):
    typed("1122334455\n# a comment\n112233\n")
    said = cli("analyse", "alphabeta:2", "--game", "connect_four")
    assert said.code == 2
    assert "line 1: move 8, '4', comes after the end of the game" in said.err
    typed("112233\n# a comment\n\n")
    said = cli("analyse", "mcts:300", "--game", "connect_four")
    first, second = map(json.loads, said.out.splitlines())
    assert first["moves"] == "1 1 2 2 3 3"
    assert first["move"] == "4"
    assert first["value"] > 0.8
    assert sum(first["visits"].values()) == 300
    assert sum(second["policy"].values()) == pytest.approx(1.0, abs=1e-5)
    assert second["moves"] == ""


def test_analyse_reads_a_file_whole_before_it_answers(cli, tmp_path):
    path = tmp_path / "positions.txt"
    path.write_text("15\n19\n")
    said = cli("analyse", "perfect", path, "--game", "tictactoe")
    rows = [json.loads(line) for line in said.out.splitlines()]
    assert [row["value"] for row in rows] == [0.0, 1.0]
    assert rows[0]["visits"] is None
    path.write_text("15\n1 1\n")
    said = cli("analyse", "perfect", path, "--game", "tictactoe")
    assert (said.code, said.out) == (2, "")
    assert f"{path}, line 2: move 2, '1', is not legal; legal there: 2 3 4 5 6 7 8 9" in said.err
    path.write_text("1524\n15243\n")
    assert "line 2: the game is over there" in cli("analyse", "perfect", path, "--game", "tictactoe").err
    assert "has only moves to tell" in cli("analyse", "random", path, "--game", "tictactoe").err
    assert "cannot be read" in cli("analyse", "perfect", tmp_path / "gone", "--game", "tictactoe").err


def test_a_person_plays_takes_back_and_quits(cli, typed):
    typed("5\nfive\n5\nundo\nundo\n1\nmoves\nquit\n")
    said = cli("play", "perfect", "--game", "tictactoe")
    assert said.code == 0, said.err
    assert "'five' is no move of tictactoe" in said.out
    assert "5 is not legal here; legal:" in said.out
    assert "there is no move of yours to take back" in said.out
    assert "perfect plays 5" in said.out  # the answer to a corner
    assert said.out.rstrip().endswith("the game is broken off")


def test_the_end_of_the_input_ends_the_game(cli, typed):
    typed("5\n")
    said = cli("play", "random", "--game", "tictactoe", "--second")
    assert said.code == 0
    assert "you come second" in said.out
    assert "the game is broken off" in said.out


def test_what_learned_a_game_as_an_environment_plays_it(cli, train_one):
    run = train_one("dqn", "tictactoe", total_steps=600, warmup_steps=200)
    said = cli("arena", run, "random", "--games", "10", "--out", run.parent / "arena", "--json")
    assert said.code == 0, said.err
    assert said.json["game"] == "tictactoe"
    assert said.json["faults"] == []
    assert "takes no simulations" in cli("play", f"{run}:5").err
    assert "plays tictactoe, not connect_four" in cli("play", run, "--game", "connect_four").err
    assert "has only moves to tell" in cli("analyse", run, "--game", "tictactoe").err


def test_a_run_that_learned_no_game_is_refused(cli, train_one):
    run = train_one("q_learning", "slippery-lake", total_steps=200)
    assert f"{run} learned no board game" in cli("play", run).err


def scripted(moves):
    answers = iter(moves)
    return lambda question: next(answers, None)


def test_the_result_is_the_persons():
    game, shown = make_game("connect_four"), []
    fixed = Player("rank", lambda states, moves: game.legal_actions(states[0])[:1])
    assert against_a_person(game, fixed, 0, scripted("4444"), shown.append) == 1.0
    assert shown[-1] == "you have won"
    assert against_a_person(game, fixed, 1, scripted("345"), shown.append) == -1.0
    assert shown[-1] == "rank has won"
    assert against_a_person(game, Player("q", lambda s, m: [-1]), 1, scripted(""), shown.append) == 1.0
    with pytest.raises(PlayerFault, match="q made an illegal move after 0 moves: action 8"):
        against_a_person(game, Player("q", lambda s, m: [8]), 1, scripted(""), shown.append)


def test_nobody_beats_the_perfect_player_of_tictactoe():
    game = make_game("tictactoe")
    for seat, moves in ((0, "5137"), (1, "19")):
        result = against_a_person(game, make_player("perfect", game, seed=3), seat, scripted(moves), lambda text: None)
        assert result in (None, 0.0, -1.0)


def test_gtp_and_second_do_not_go_together(cli):
    assert "--second goes with a person" in cli("play", "random", "--game", "tictactoe", "--gtp", "--second").err


def test_a_program_plays_through_gtp(cli, typed):
    typed("protocol_version\nplay b 5\ngenmove w\nquit\n")
    said = cli("play", "perfect", "--game", "tictactoe", "--gtp")
    assert said.out.split("\n\n")[:2] == ["= 2", "="]
    assert said.out.split("\n\n")[2] in ("= 1", "= 3", "= 7", "= 9")
