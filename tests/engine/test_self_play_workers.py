"""Several processes play: what they play comes in once, whatever dies on the way, and they see the newest weights."""

import json
import os
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from cumulant import api
from cumulant.algos import alphazero
from cumulant.data.game_replay import GameReplay
from cumulant.engine.faults import TICKS, limiting_faults
from cumulant.engine.self_play_workers import SelfPlayWorkers
from cumulant.engine.shared_weights import SharedWeights
from cumulant.errors import ConfigError, PlayerFault
from cumulant.run import checkpoint

SMALL = {
    "num_envs": 16, "horizon": 5, "simulations": 4, "eval_simulations": 2, "channels": 8, "blocks": 1, "batch_size": 32,
    "processes": 2,
}  # fmt: skip
MODULE = alphazero.__name__


def test_weights_are_shared_where_memory_has_no_room_for_files(monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    one, other = torch.nn.Linear(3, 2), torch.nn.Linear(3, 2)
    shared = SharedWeights(one)
    shared.write()
    assert SharedWeights(other, os.dup(shared.descriptor)).read() == 1
    assert torch.equal(one.weight, other.weight)
    shared.close()


def crew(tmp_path, **play):
    config = alphazero.Config(
        num_envs=16,
        horizon=5,
        search=alphazero.SearchConfig(simulations=4),
        network=alphazero.BoardNetConfig(channels=8, blocks=1),
        play=alphazero.PlayConfig(processes=2, **play),
    )
    game, net = alphazero.build(config, torch.Generator().manual_seed(0))
    replay = GameReplay(game, config.replay, 16, tmp_path)
    return SelfPlayWorkers(MODULE, config, net, replay, 7), replay


def assert_every_move_came_in_once(replay, moves):
    """As many positions as moves; and within each open game one stone after the other, none left out, none twice."""
    assert replay.added + replay.moves.sum() == moves
    for g, count in enumerate(replay.moves):
        assert_one_stone_at_a_time(replay.packing.unpack(replay._open["row"][g, :count]))


def assert_one_stone_at_a_time(game):
    stones = game.sum((1, 2))
    assert (np.diff(stones) == 1).all()
    assert (stones[:1] <= 6).all(), "a game begins with at most six random moves"


def test_what_workers_play_comes_in_once_though_one_is_killed(tmp_path, monkeypatch):
    workers, replay = crew(tmp_path)
    lengths, finish = [], replay.finish
    monkeypatch.setattr(replay, "finish", lambda *given: lengths.append(finish(*given)))
    games, rounds, killed = 0.0, 0, 0
    with workers, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        one = workers._workers[1]
        while rounds < 8 or not killed or one.chunks <= killed + 3:  # what was under way before counts, and new ones
            games += workers.play(5, np.random.default_rng(0))["count"]
            rounds += 1
            if not killed and one.chunks >= 2:
                killed = one.chunks
                one.process.kill()
            time.sleep(0.05)  # as long as it might learn
        assert workers.faults == 1
        assert_every_move_came_in_once(replay, rounds * 80)
        where = workers.state_dict()
    assert sum(where["chunks"]) == 2 * rounds
    assert min(where["chunks"]) > 0
    finished = [state["states"] for state in where["states"]]
    assert np.concatenate(finished).shape == (16, 2)
    assert games == len(lengths) > 60
    for game in np.split(replay.newest(replay.added).planes, np.cumsum(lengths)[:-1]):
        assert_one_stone_at_a_time(game)
    assert all(worker.process.poll() is not None for worker in workers._workers), "nobody is left"


def test_a_worker_that_dies_too_often_ends_the_run(tmp_path):
    workers, _ = crew(tmp_path)
    with limiting_faults(1, 0.0), workers, warnings.catch_warnings():
        workers.play(5, np.random.default_rng(0))
        warnings.simplefilter("ignore")
        for worker in workers._workers:
            worker.process.kill()
        with pytest.raises(PlayerFault, match="ended with exit code -9; it is fault 2 of this run, and max_faults = 1"):
            workers.play(5, np.random.default_rng(0))


def test_a_worker_that_hangs_is_started_again_and_nothing_counts_twice(tmp_path, monkeypatch):
    workers, replay = crew(tmp_path)
    with workers:
        rounds = 0

        def play_while(going):
            nonlocal rounds
            while going():
                workers.play(5, np.random.default_rng(0))
                rounds += 1

        play_while(lambda: rounds < 2)
        one, hung = workers._workers[1], workers._workers[1].process
        os.kill(hung.pid, signal.SIGSTOP)
        start = workers._start

        def patiently(worker):  # a new process may take its time to import
            workers.timeout = 300.0
            start(worker)

        monkeypatch.setattr(workers, "_start", patiently)
        workers.timeout = 3.0
        with pytest.warns(UserWarning, match=r"process 1 hung: no move in 3 s \(--worker-timeout\); .* \(fault 1, 10"):
            play_while(lambda: not workers.faults)
        assert hung.returncode == -signal.SIGKILL
        chunks = one.chunks
        play_while(lambda: one.chunks < chunks + 3)
        assert workers.faults == 1
        assert_every_move_came_in_once(replay, rounds * 80)


def test_a_worker_that_hung_before_is_given_twice_the_time(tmp_path, monkeypatch):
    workers, _ = crew(tmp_path)
    with workers:
        workers.play(5, np.random.default_rng(0))
        one, taken_for_hung = workers._workers[1], []
        os.kill(one.process.pid, signal.SIGSTOP)
        time.sleep(0.2)  # what it said before has been read
        one.hung, one.asked, one.seen, one.silent = 1, one.sent + 1, one.words, 0
        monkeypatch.setattr(workers, "_bear", lambda worker, message: taken_for_hung.append((worker, message[1])))
        workers.timeout, looks = 0.01 * TICKS, 0
        while not any(worker is one for worker, _ in taken_for_hung):
            time.sleep(0.011)
            workers._look()
            looks += 1
        assert looks == 2 * TICKS + 1
        (said,) = [said for worker, said in taken_for_hung if worker is one]
        assert f"no move in {2 * workers.timeout:g} s" in said


def test_a_worker_that_waits_for_the_learner_is_not_taken_for_one_that_hangs(tmp_path):
    workers, _ = crew(tmp_path)
    with workers:
        workers.play(5, np.random.default_rng(0))
        while any(worker.asked > worker.sent for worker in workers._workers):
            time.sleep(0.05)
        workers.timeout = 0.04
        for _ in range(10):
            time.sleep(0.02)
            workers._look()
        assert workers.faults == 0


def test_what_a_worker_raises_is_said_with_its_place(tmp_path, monkeypatch):
    module = tmp_path / "broken.py"
    module.write_text(
        "from cumulant.algos.alphazero import Config, build\nclass SelfPlay:\n"
        "    def __init__(self, *given): pass\n    def play(self, *given): raise KeyError('oh')\n"
    )
    workers, _ = crew(tmp_path)
    workers._order["module"] = str(module)
    with (
        limiting_faults(0, 0.0),
        workers,
        pytest.raises(PlayerFault, match=r"raised KeyError: 'oh' \(broken.py, line 4\)"),
    ):
        workers.play(5, np.random.default_rng(0))


def test_weights_are_seen_whole_and_new():
    _, net = alphazero.build(alphazero.Config(), torch.Generator().manual_seed(0))
    _, other = alphazero.build(alphazero.Config(), torch.Generator().manual_seed(1))
    one = SharedWeights(net)
    two = SharedWeights(other, one.descriptor)
    for number in (1, 2, 3):
        with torch.no_grad():
            for each in net.parameters():
                each.fill_(number)
        net.stem.norm.running_mean.fill_(-number)
        one.write()
        assert two.read() == number
        assert {each.unique().item() for each in other.parameters()} == {number}
        assert other.stem.norm.running_mean.unique().item() == -number
    one.close()


def test_games_are_shared_equally():
    with pytest.raises(ConfigError, match="num_envs = 7: it must be a multiple of processes = 2"):
        alphazero.Config(num_envs=7, play=alphazero.PlayConfig(processes=2))


WORDS = [arg for name, value in SMALL.items() for arg in (f"--{name.replace('_', '-')}", str(value))]


def test_after_a_kill_everything_adds_up_and_no_process_is_left(tmp_path):
    run = tmp_path / "run"
    command = [
        sys.executable,
        "-m",
        "cumulant.cli.main",
        "train",
        "alphazero",
        "tictactoe",
        "--total-steps",
        "1200",
        *WORDS,
    ]
    process = subprocess.Popen(
        [*command, "--quiet", "--checkpoint-seconds", "0", "--out", run],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    rows = run / "metrics.jsonl"
    while process.poll() is None and not (rows.exists() and len(rows.read_bytes().splitlines()) > 6):
        time.sleep(0.01)
    children = [int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]
    process.kill()
    assert process.wait(timeout=60) == -9
    assert len(children) == 2
    deadline = time.monotonic() + 30
    while any(os.path.exists(f"/proc/{pid}") for pid in children):
        assert time.monotonic() < deadline, "a worker outlives the run"
        time.sleep(0.1)
    api.train_one(api.read_spec(run), run, resume=True)
    written = [json.loads(line) for line in rows.read_text().splitlines()]
    assert [row["steps"] for row in written] == [80 * (k + 1) for k in range(15)]
    iteration, state = checkpoint.restore(run / "state")
    assert iteration == 15
    replay = GameReplay(alphazero.make_game("tictactoe"), alphazero.WindowConfig(), 16, run / "state" / "replay")
    replay.load_state_dict(state["parts"]["replay"])
    assert_every_move_came_in_once(replay, 1200)
    games = sum(row["selfplay/games"] for row in written)
    assert sum(row.get("selfplay/moves", 0) * row["selfplay/games"] for row in written) == pytest.approx(replay.added)
    assert games > 100
    assert {row["selfplay/faults"] for row in written} == {0}
