"""People rank responses with the real command: what they answer is kept line by line, once, in the order that they saw."""

import io
import json
import os
import pty
import re
import select
import subprocess
import sys
import termios
import time

import pytest

import cumulant
from cumulant import ranking
from cumulant.data.preferences import load_comparisons, load_pairs
from cumulant.errors import ConfigError, DataError, StorageError, UsageError

ROWS = [
    {"prompt": "The film is", "responses": [" good", " bad", " good"]},
    {"prompt": "The plot is", "responses": [" thin", " [bold]x[/bold] \x1b[2J", " y\nz"]},
    {"prompt": "The cast is", "chosen": " fine", "rejected": " loud"},
]
KEYS = [  # of the five questions that these are
    ("The film is", {" good", " bad"}),
    ("The plot is", {" thin", " [bold]x[/bold] \x1b[2J"}),
    ("The plot is", {" thin", " y\nz"}),
    ("The plot is", {" [bold]x[/bold] \x1b[2J", " y\nz"}),
    ("The cast is", {" fine", " loud"}),
]


@pytest.fixture
def file(workspace):
    path = workspace / "responses.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return path.name


def rank(*words, keys=""):
    """Run the command in a process of its own, with answers from a pipe."""
    command = [sys.executable, "-m", "cumulant", "rank", *map(str, words)]
    environment = {**os.environ, "COLUMNS": "100"}
    ran = subprocess.run(command, input=keys, capture_output=True, text=True, timeout=120, env=environment)
    assert ran.returncode == 0, ran.stderr
    return ran


def lines(path="preferences.jsonl"):
    with open(path) as opened:
        return [json.loads(line) for line in opened]


def keys_of(rows):
    return [(row["prompt"], {row["chosen"], row["rejected"]}) for row in rows]


def test_answers_are_kept_and_nothing_is_asked_twice(file):
    ran = rank(file, "--rater", "ann", keys="a\nwhat?\nTIE\nquit\nb\n")
    assert "2 answered, 3 left for ann" in ran.stdout
    assert ran.stdout.count("better: a, b, tie, skip or quit?") == 4
    first, second = lines()
    assert keys_of([first, second]) == KEYS[:2]
    assert (first["rater"], first["first"], second["tie"]) == ("ann", "chosen", True)
    assert "first" not in second
    ran = rank(file, "--rater", "ann", keys="s\nb\n")  # and then the pipe ends
    assert "2 answered, 1 left for ann" in ran.stdout
    assert keys_of(lines()) == KEYS[:4]
    assert lines()[2]["skip"] is True
    assert lines()[3]["first"] == "rejected"
    ran = rank(file, "--rater", "ann", keys="a\na\na\n")
    assert keys_of(lines()) == KEYS
    ran = rank(file, "--rater", "ann", keys="a\n")
    assert "0 answered, none left for ann" in ran.stdout
    assert "better:" not in ran.stdout
    assert len(lines()) == 5


def test_a_and_b_are_what_the_screen_shows_and_their_order_is_random(file, workspace):
    (workspace / "many.jsonl").write_text(
        "".join(json.dumps({"prompt": f"p{n}", "responses": ["xxx", "yyy"]}) + "\n" for n in range(40))
    )
    ran = rank("many.jsonl", "--rater", "ann", keys="a\nb\n" * 20)
    shown = [line.split()[1] for line in ran.stdout.splitlines() if line.startswith("  a  ")]
    chosen = [row["chosen"] for row in lines()]
    assert len(shown) == 40
    assert [first == said for first, said in zip(shown, chosen)] == [True, False] * 20
    assert 10 < shown.count("xxx") < 30
    other = rank("many.jsonl", "--rater", "bob", keys="a\n" * 40)
    assert shown != [line.split()[1] for line in other.stdout.splitlines() if line.startswith("  a  ")]
    assert "ann: 40 preferred, the one shown first in 50%" in other.stdout
    assert "bob: 40 preferred, the one shown first in 100%" in other.stdout


def test_several_raters_share_a_file_that_the_reward_model_reads(file):
    for rater, verdict in (("ann", " good"), ("bob", " good"), ("cat", " bad")):
        cumulant.rank(file, lambda p, a, b, v=verdict: "a" if a == v else "b" if b == v else "tie", rater=rater)
    result = json.loads(rank(file, "--rater", "dan", "--json", keys="s\n").stdout)
    assert result["raters"]["ann"] == {
        "preferred": 1,
        "tie": 4,
        "skipped": 0,
        "first": result["raters"]["ann"]["first"],
    }
    assert result["raters"]["dan"]["skipped"] == 1
    assert [(*pair["raters"], pair["pairs"], pair["same"]) for pair in result["agreement"]] == [
        ("ann", "bob", 5, 1.0),
        ("ann", "cat", 5, 0.8),
        ("bob", "cat", 5, 0.8),
    ]
    assert result["left"] == 4
    pairs = {pair.prompt: pair for split in ("train", "held-out") for pair in load_pairs("preferences.jsonl", split)}
    film = pairs["The film is"]
    assert (film.chosen, film.raters, round(film.share, 3)) == (" good", 3, 0.667)
    assert pairs["The cast is"].share == 0.5
    cumulant.rank(file, lambda prompt, a, b: "a", rater="eve")
    agreement = {tuple(pair["raters"]): pair for pair in ranking.summary("preferences.jsonl")["agreement"]}
    assert agreement["ann", "eve"]["same"] in (
        0.4,
        0.6,
    )  # four ties against preferences, half each, and one answer to compare
    votes = [c.votes for split in ("train", "held-out") for c in load_comparisons("preferences.jsonl", split)]
    assert sorted(map(len, votes)) == [4] * 5


def test_what_models_write_cannot_move_the_cursor(file):
    said = rank(file, "--rater", "ann", keys="a\n" * 5).stdout
    assert "\x1b" not in said
    assert "[bold]x[/bold]" in said


def test_on_a_terminal_one_key_is_an_answer(file):
    controller, terminal = pty.openpty()
    before = termios.tcgetattr(terminal)
    command = [sys.executable, "-m", "cumulant", "rank", file, "--rater", "ann"]
    process = subprocess.Popen(command, stdin=terminal, stdout=terminal, stderr=terminal)
    said, answers = "", ["b", "x", "t", "\x04"]  # no Enter; the last is Ctrl-D
    deadline = time.monotonic() + 100
    while process.poll() is None or select.select([controller], [], [], 0.2)[0]:
        assert time.monotonic() < deadline, said
        if select.select([controller], [], [], 0.2)[0]:
            said += os.read(controller, 4096).decode()
        waiting = not termios.tcgetattr(terminal)[3] & termios.ICANON  # keys are read one by one
        if answers and waiting and said.count("or quit?") > 4 - len(answers):
            os.write(controller, answers.pop(0).encode())
    assert process.returncode == 0
    assert not answers
    assert termios.tcgetattr(terminal) == before
    os.close(controller)
    os.close(terminal)
    assert "2 answered, 3 left for ann" in said
    assert [row.get("first") or row.get("tie") for row in lines()] == ["rejected", True]


def test_a_killed_process_loses_no_answer(file):
    command = [sys.executable, "-m", "cumulant", "rank", file, "--rater", "ann"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    process.stdin.write("a\nb\n")
    process.stdin.flush()
    said = ""
    while said.count("or quit?") < 3:  # it is waiting for the third answer
        said += process.stdout.read(1)
    process.kill()
    process.communicate()
    assert keys_of(lines()) == KEYS[:2]


def test_a_line_that_a_crash_cut_short_is_taken_off(file, workspace):
    rank(file, "--rater", "ann", keys="a\na\n")
    kept = (workspace / "preferences.jsonl").read_text()
    (workspace / "preferences.jsonl").write_text(kept + '{"prompt": "The plot is", "chos')
    rank(file, "--rater", "ann", keys="a\n")
    assert (workspace / "preferences.jsonl").read_text().startswith(kept)
    assert keys_of(lines()) == KEYS[:3]


def test_a_disk_that_is_full_keeps_what_was_answered(file, workspace):
    resource = pytest.importorskip("resource")
    rank(file, "--rater", "ann", keys="a\na\n")
    before = (workspace / "preferences.jsonl").read_bytes()

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 40, len(before) + 40))

    command = [sys.executable, "-B", "-m", "cumulant", "rank", file, "--rater", "ann"]
    ran = subprocess.run(command, input="a\n", capture_output=True, text=True, preexec_fn=limit, timeout=120)
    assert ran.returncode == 1
    assert "preferences.jsonl could not be written" in ran.stderr
    assert (workspace / "preferences.jsonl").read_bytes() == before


@pytest.mark.parametrize(
    ("words", "error", "message"),
    [
        (("nowhere.jsonl",), DataError, "nowhere.jsonl: there is no such file"),
        (("one.jsonl",), DataError, "one.jsonl, line 1, column 'responses': there must be at least 2, and there is 1"),
        (("same.jsonl",), DataError, "same.jsonl: no prompt has two different responses"),
        (
            ("typo.jsonl",),
            DataError,
            "typo.jsonl, line 1: questions need .* 'respones' looks like 'responses' misspelled",
        ),
        (("responses.jsonl", "--rater", " "), UsageError, "a rater needs a name"),
        (("responses.jsonl", "--out", "responses.jsonl"), UsageError, "the answers need a file of their own"),
        (("responses.jsonl", "--prompts", "x.txt"), UsageError, "is no run or model"),
        (("responses.jsonl", "--temperature", "0"), ConfigError, "both responses to a prompt are the same"),
        (("responses.jsonl", "--count", "0"), ConfigError, "at least one prompt"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(cli, file, workspace, words, error, message):
    (workspace / "one.jsonl").write_text('{"prompt": "p", "responses": ["x"]}')
    (workspace / "same.jsonl").write_text('{"prompt": "p", "responses": ["x", "x"]}')
    (workspace / "typo.jsonl").write_text('{"prompt": "p", "respones": ["x", "y"]}')
    answer = cli("rank", *words)
    assert answer.code == error.exit_code
    assert answer.err.startswith("cumulant: ")
    assert len(answer.err.splitlines()) == 1
    assert re.search(message, answer.err)
    assert not (workspace / "preferences.jsonl").exists()


def test_an_answer_that_does_not_exist_is_refused(file):
    with pytest.raises(UsageError, match="the answer 'c' is none of a, b, tie"):
        cumulant.rank(file, lambda prompt, a, b: "c", rater="ann")


def test_an_unwritable_place_is_named(file, workspace):
    (workspace / "taken").write_text("a file")
    with pytest.raises(StorageError, match=r"answers\.jsonl"):
        cumulant.rank(file, lambda prompt, a, b: "a", rater="ann", out="taken/answers.jsonl")


# -- a model writes ----------------------------------------------------------------------------------------------------


@pytest.fixture
def model(workspace):
    import torch

    from cumulant.data.tokenizer import train_tokenizer
    from cumulant.nn.causal_lm import save_model
    from cumulant.nn.llama import Llama, LlamaConfig

    tokenizer = train_tokenizer(["the film is good and the plot is bad"] * 2, 270)
    shape = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=32,
    )
    save_model(Llama(shape, torch.Generator().manual_seed(0)), tokenizer, workspace / "model")
    (workspace / "prompts.txt").write_text("".join(f"the film number {n} is\n" for n in range(30)))
    return "model"


def test_a_model_writes_responses_that_everybody_gets(cli, model, workspace, monkeypatch):
    def here(*words, keys):
        monkeypatch.setattr(sys, "stdin", io.StringIO(keys))
        return cli("rank", model, "--prompts", "prompts.txt", "--count", "4", "--max-new-tokens", "6", *words)

    ran = rank(
        model, "--prompts", "prompts.txt", "--count", "4", "--max-new-tokens", "6", "--rater", "ann", keys="a\nb\nt\n"
    )
    assert "model writes two responses to each of 4 prompts" in ran.stderr
    responses = lines("preferences.responses.jsonl")
    assert len(responses) == 4
    assert len({row["prompt"] for row in responses}) == 4
    assert all(len(row["responses"]) == 2 and row["responses"][0] != row["responses"][1] for row in responses)
    assert keys_of(lines()) == [(row["prompt"], set(row["responses"])) for row in responses[:3]]
    kept = (workspace / "preferences.responses.jsonl").read_bytes()
    answer = here("--rater", "bob", keys="a\na\na\na\n")
    assert "taking the responses that are in preferences.responses.jsonl already" in answer.err
    assert "ann and bob: the same on" in answer.out
    assert "of 3 pairs" in answer.out
    assert (workspace / "preferences.responses.jsonl").read_bytes() == kept
    (workspace / "preferences.responses.jsonl").unlink()
    here("--rater", "cat", keys="q\n")
    assert (workspace / "preferences.responses.jsonl").read_bytes() == kept  # the same seed, the same responses
    here("--rater", "cat", "--seed", "1", "--out", "other.jsonl", keys="q\n")
    assert (workspace / "other.responses.jsonl").read_bytes() != kept


def test_a_model_that_is_no_run_needs_prompts(model):
    with pytest.raises(UsageError, match="so it has no prompts of its own: name some with --prompts DATA"):
        cumulant.rank(model, lambda prompt, a, b: "a", rater="ann")


def test_a_run_writes_people_rank_and_a_reward_model_learns_from_it(cli, workspace, monkeypatch):
    (workspace / "docs.jsonl").write_text(
        "".join(
            json.dumps({"prompt": f"the film number {n} is", "completion": " good or bad"}) + "\n" for n in range(60)
        )
    )
    small = {"vocabulary": 270, "width": 16, "inner": 32, "layers": 1, "heads": 2, "key_value_heads": 2}
    pretrained = cumulant.train(
        "pretrain", "docs.jsonl", out="run", total_steps=3, context=32, batch_size=4, precision="float32", **small
    )
    monkeypatch.setattr(sys, "stdin", io.StringIO("q\n"))
    answer = cli("rank", pretrained.run, "--rater", "ann", "--max-new-tokens", "6")
    assert answer.code == 0
    assert "0 answered, " in answer.out
    assert "nobody has answered yet" in answer.out
    for rater in ("ann", "bob"):
        cumulant.rank(pretrained.run, lambda prompt, a, b: "a" if len(a) > len(b) else "b", rater=rater)
    judged = {row["prompt"] for row in lines()}
    assert 10 < len(judged) <= 20
    assert judged <= {f"the film number {n} is" for n in range(60)}
    learned = cumulant.train("reward_model", "preferences.jsonl", out="judge", model="run", total_steps=2)
    assert learned.evaluation["episodes"] >= 1


def test_questions_are_all_pairs_of_different_responses():
    questions = ranking.questions_of({"train": [{"prompt": "p", "responses": ["x", "y", "x", "z"]}] * 2})
    assert [(q.first, q.second) for q in questions] == [("x", "y"), ("x", "z"), ("y", "z")]


def test_a_rater_sees_a_question_in_one_order_wherever_it_comes_from():
    one, other = ranking.Question("p", "x", "y"), ranking.Question("p", "y", "x")
    raters = [f"rater {n}" for n in range(20)]
    assert [one.shown_to(rater) for rater in raters] == [other.shown_to(rater) for rater in raters]
    assert len({one.shown_to(rater) for rater in raters}) == 2
