"""AlphaZero: what is remembered and learned from, the network, evaluation in all symmetries, and that it learns."""

import copy
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from gymnasium import spaces

from cumulant.algos.alphazero import Config, PlayConfig, SelfPlay, shown, turned
from cumulant.boards import _run, find_player
from cumulant.data.game_replay import UNKNOWN, GameReplay, Positions, WindowConfig
from cumulant.engine import board_policy
from cumulant.engine.board_policy import BoardPolicy, NetEvaluator
from cumulant.engine.elo_over_training import EloOverTraining
from cumulant.engine.search import Found, Search, SearchConfig
from cumulant.engine.strength import against_random, measure, solved_sets
from cumulant.engine.trained_players import board_player
from cumulant.envs.games.lookup import make_game
from cumulant.envs.games.minimax import Table, losing_line
from cumulant.errors import ConfigError, PlayerFault, RunError
from cumulant.nn.board import BoardNet, for_inference
from cumulant.run import checkpoint

NOWHERE = Path("nowhere")  # of checkpoints that are never made


def network(game, ownership=False, pooling=False, seed=0):
    shape = spaces.Box(0.0, 1.0, (game.num_planes, game.rows, game.columns))
    net = BoardNet(
        shape, spaces.Discrete(game.num_actions), 8, 2, pooling, ownership, torch.Generator().manual_seed(seed)
    )
    net.train()
    for _ in range(3):  # so that the statistics of normalisation are not those of the start
        net(torch.rand(16, *shape.shape, generator=torch.Generator().manual_seed(seed)))
    return net.eval()


def play(game, moves, config, seed=0):
    replay = GameReplay(game, config.replay, config.num_envs, NOWHERE)
    selfplay = SelfPlay(game, config, network(game), replay)
    return selfplay, replay, shown(selfplay.play(moves, np.random.default_rng(seed)))


def test_results_go_to_who_was_to_move(tmp_path):
    """A game of four positions, won by player 0: plus and minus in turn, mixed with what the search said."""
    game = make_game("tictactoe")
    replay = GameReplay(game, WindowConfig(value_mix=0.25), 2, tmp_path)
    for step in range(4):
        planes = np.full((2, 2, 3, 3), step, np.float32)
        policy = np.full((2, 9), step / 8)
        replay.remember(
            replay.packing.pack(planes),
            policy,
            np.array([0.4, 0.8]),
            np.array([step % 2] * 2),
            np.array([step != 2, True]),
        )
    assert replay.finish(0, -1.0, 1) == 3, "the quick move is not learned from"
    found = replay.newest(3)
    np.testing.assert_array_equal(found.planes[:, 1, 4], [0, 1, 3])
    np.testing.assert_allclose(found.value, [0.75 + 0.1, -0.75 + 0.1, -0.75 + 0.1])
    np.testing.assert_allclose(found.policy[:, 0], [0.0, 0.125, 0.375])
    assert replay.moves.tolist() == [0, 4]
    other = GameReplay(game, WindowConfig(value_mix=0.25), 2, tmp_path)
    other.load_state_dict(replay.state_dict())
    assert other.finish(1, 0.0, 0) == replay.finish(1, 0.0, 0) == 4
    for one, two in zip(replay.newest(7), other.newest(7)):
        np.testing.assert_array_equal(one, two)


def test_the_window_grows_and_forgets():
    game = make_game("tictactoe")
    replay = GameReplay(game, WindowConfig(capacity=300, window=50, window_power=0.5), 1, NOWHERE)
    sizes = []
    for number in range(1200):
        row = replay.packing.pack(np.full((1, 2, 3, 3), number, np.float32))
        replay.remember(row, np.zeros((1, 9)), np.zeros(1), np.zeros(1, int), np.ones(1, bool))
        replay.finish(0, 0.0, 0)
        sizes.append(replay.window)
    assert (sizes[39], sizes[199], sizes[799]) == (40, 100, 200)
    drawn = replay.draw(4000, np.random.default_rng(0)).planes[:, 0, 0]
    assert drawn.min() == 1200 - replay.window
    assert drawn.max() == 1199


def test_turned_positions_are_the_same_positions():
    """The policy of a position that says which points are the player's still does so after it is turned."""
    game = make_game("tictactoe")
    states = np.stack([game.position(list(moves)) for moves in ("51", "5192", "12", "3")] * 20)
    own = np.stack([game.planes(state)[0].reshape(-1) for state in states])
    seen = np.stack([game.planes(state).reshape(2, 9) for state in states])
    drawn = Positions(seen, own, np.zeros(len(states), np.float32), np.zeros((len(states), 0), np.int8))
    planes, policy, _, _ = turned(game, drawn, np.random.default_rng(0))
    np.testing.assert_array_equal(planes[:, 0].flatten(1), policy)
    assert len(np.unique(planes[::4].numpy().reshape(20, -1), axis=0)) == 4, "a corner has four images"


def test_quick_moves_are_quick_and_not_learned_from(monkeypatch):
    game = make_game("connect_four")
    config = Config(
        num_envs=64, search=SearchConfig(simulations=20, solve=False), play=PlayConfig(full_share=0.25, quick_simulations=3)
    )  # fmt: skip
    seen = []
    run = Search.run
    monkeypatch.setattr(Search, "run", lambda *given: seen.append(run(*given)) or seen[-1])
    _, replay, _ = play(game, 42, config)
    visits = np.concatenate([found.visits.sum(1) for found in seen])
    assert set(visits) == {3, 20}
    assert 0.22 < (visits == 20).mean() < 0.28
    assert 0.2 < replay.added / (64 * 42 - replay.moves.sum()) < 0.3


def test_hopeless_games_are_given_up_but_for_a_share():
    game = make_game("connect_four")
    play_config = PlayConfig(resign_below=-0.001, resign_never=0.3, opening_moves=0)
    config = Config(num_envs=64, search=SearchConfig(simulations=4), play=play_config)
    _, replay, metrics = play(game, 40, config)
    assert 0.3 < metrics["selfplay/resigned"] < 1.0
    assert 0.0 <= metrics["selfplay/resign_wrong"] <= 1.0
    values = replay.newest(replay.added).value
    assert values.min() < 0.0 < values.max()


@pytest.mark.parametrize("pooling", [False, True])
def test_the_network_for_inference_says_the_same(pooling):
    game = make_game("connect_four")
    net = network(game, ownership=True, pooling=pooling)
    planes = torch.rand(9, 2, 6, 7, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        said, fast = net(planes), for_inference(net, "float32")(planes)
    for one, other in zip(said, fast):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
    assert said.ownership.shape == (9, 42)
    assert (said.value.abs() < 1).all()


@pytest.mark.parametrize("rows", [1, 24, 256])
def test_all_symmetries_are_asked_alike(monkeypatch, rows):
    monkeypatch.setattr(board_policy, "_ROWS", rows)  # one, three, all eight at a time
    game = make_game("tictactoe")
    state = game.position(list("512"))
    planes = game.planes(state).reshape(2, 9)
    images = np.stack([planes[:, points].reshape(2, 3, 3) for points in game.symmetries_points])
    for entries in (0, 64):
        logits, values = NetEvaluator(network(game), game, entries, "float32", every_symmetry=True)(images)
        np.testing.assert_allclose(values, values[0], rtol=1e-5)
        for actions, said in zip(game.symmetries_actions, logits):
            np.testing.assert_allclose(said, logits[0][actions], atol=1e-5)


def test_trees_have_room_for_every_budget_and_refuse_more():
    """Compiled code checks no bounds: a budget above the room wrote into the trees beside it."""
    game = make_game("tictactoe")
    config = Config(
        num_envs=8, search=SearchConfig(simulations=1), play=PlayConfig(full_share=0.5, quick_simulations=8)
    )
    selfplay, _, played = play(game, 12, config)
    assert selfplay.search.most == 8
    assert played["selfplay/games"] > 0
    search = Search(game, SearchConfig(simulations=2), 3, NetEvaluator(network(game), game, 0, "float32"))
    for budget in ([8, 2, 2], [2, 0, 2]):
        with pytest.raises(ConfigError, match="room for 1 to 2 a move"):
            search.run(np.tile(game.start(), (3, 1)), np.array(budget))


def test_a_guess_of_one_is_no_proof():
    """A network may be so sure that its value is 1 in float32: the move to take is one that was looked at."""
    game = make_game("tictactoe")
    certain = lambda planes: (np.zeros((len(planes), 9), np.float32), np.ones(len(planes), np.float32))  # noqa: E731
    for method in ("gumbel", "puct"):
        search = Search(game, SearchConfig(simulations=4, method=method), 1, certain)
        found = search.run(game.start()[None])
        assert found.visits[0, found.action[0]] > 0
        assert (found.policy[0] > 0).sum() >= 4


def test_small_runs_learn_at_the_pace_that_was_asked(train_one):
    small = {"num_envs": 2, "horizon": 4, "total_steps": 96, "eval_simulations": 2, "simulations": 2, "passes": 1.0}
    run = train_one("alphazero", "tictactoe", **small, batch_size=512)
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert not any("loss/policy" in row for row in rows), "96 moves are less than a batch of 512"
    run = train_one("alphazero", "tictactoe", **small, batch_size=32, name="small")
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert 2 <= sum("loss/policy" in row for row in rows) <= 3, "8 moves an iteration, 32 a batch"


def test_the_average_plays_and_is_kept(train_one, monkeypatch):
    playing = []
    play = SelfPlay.play
    monkeypatch.setattr(SelfPlay, "play", lambda self, *given: playing.append(self.net) or play(self, *given))
    small = {"num_envs": 8, "horizon": 8, "total_steps": 640, "eval_simulations": 2, "simulations": 2, "elo_games": 2}
    run = train_one("alphazero", "tictactoe", **small, batch_size=32, average=0.5)
    state = checkpoint.restore(run / "state")[1]["parts"]
    learned, average = state["net"], state["average"]["net"]
    last = BoardPolicy.load(run / "policy", "last").net.state_dict()
    for name, tensor in last.items():
        assert torch.equal(tensor, average[name]), name
        assert torch.equal(tensor, playing[-1].state_dict()[name]), name
    assert not torch.allclose(learned["policy.weight"], last["policy.weight"], rtol=1e-3)
    added = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])["replay/added"]
    assert state["average"]["steps"] == int(added * 1.5 / 32) > 10
    run = train_one("alphazero", "tictactoe", **small, batch_size=32, average=0.0, name="plain")
    last = BoardPolicy.load(run / "policy", "last").net.state_dict()
    assert all(
        torch.equal(tensor, last[name]) for name, tensor in checkpoint.restore(run / "state")[1]["parts"]["net"].items()
    )


def test_nobody_knows_the_owners_of_a_game_that_was_given_up():
    game = make_game("othello", size=4)
    replay = GameReplay(game, WindowConfig(capacity=2), 1, NOWHERE)
    for ownership in (np.ones(16), np.ones(16), None):
        replay.remember(
            replay.packing.pack(game.planes(game.start())[None]),
            np.full((1, game.num_actions), 0.1),
            np.zeros(1),
            np.zeros(1, np.int8),
            np.ones(1, bool),
        )
        replay.finish(0, -1.0, 0, ownership)
    found = replay.newest(2).ownership
    assert (found[0] == 1).all()
    assert (found[1] == UNKNOWN).all()


def test_an_evaluation_that_fails_leaves_nothing_behind(monkeypatch):
    game = make_game("tictactoe")
    evaluator = NetEvaluator(network(game), game, 1 << 10, "float32")
    planes = game.planes(game.start())[None]
    say = evaluator._say
    monkeypatch.setattr(evaluator, "_say", lambda planes: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        evaluator(planes)
    monkeypatch.setattr(evaluator, "_say", say)
    fresh = NetEvaluator(network(game), game, 1 << 10, "float32")(planes)
    for one, two in zip(evaluator(planes), fresh):
        np.testing.assert_array_equal(one, two)


def test_an_evaluation_counts_for_the_policy_on_both_sides():
    game = make_game("tictactoe")
    table = Table(game)

    def search(states, simulations):
        worth = np.stack([table.move_values(state) for state in states])
        visits = np.zeros((len(states), 9), np.int64)
        prior = np.where(np.isinf(worth), 1.0, 0.0)  # without a search it would be on what is taken
        return Found(visits, visits.astype(float), worth.argmax(1), np.zeros(len(states)), prior)

    perfect = SimpleNamespace(game=game, search=search)
    results = against_random(board_player(perfect, game, "it", 1), game, 200, 0)
    assert results.shape == (200,)
    assert results.mean() > 0.8
    assert measure(perfect, 1) == {"value_kept_all": 1.0, "network_kept_all": 0.0}
    assert losing_line(lambda states: search(states, 1).action, game) is None


def test_it_learns_tic_tac_toe(train_one):
    """Six CPU seconds: without search the network keeps the value in 85 % of positions, by chance it would be 37 %."""
    known = solved_sets(make_game("tictactoe"))["all"]
    rates = []
    for seed in (0, 1):
        run = train_one("alphazero", "tictactoe", seed, total_steps=14_000, name=str(seed))
        rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        assert rows[-1]["loss/policy"] < rows[0]["loss/policy"] - 0.5
        rates.append(rows[-1]["eval/network_kept_all"])
        policy = BoardPolicy.load(run / "policy", "best")
        assert known.share(policy.act(known.states, 100)) >= 0.99
        said = json.loads((run / "evaluation.json").read_text())
        assert (said["episodes"], said["simulations"], said["game_simulations"]) == (100, 100, 16)
        assert said["return_mean"] > 0.8
        assert len([row for row in rows if "eval/elo" in row]) == len(rows)
        kept = {int(file.stem) for file in (run / "policy").glob("*.safetensors") if file.stem.isdigit()}
        assert kept == {row["steps"] for row in rows}, "each network that was measured"
    assert min(rates) >= 0.85
    assert_an_early_network_is_a_player(run, min(kept), known)
    assert_it_climbs_the_ladder(policy)


def test_a_directory_is_not_taken_for_another_one_with_a_suffix(tmp_path):
    for name in ("run", "run@2024", "run@last:7"):
        (tmp_path / name).mkdir()
    whole = {
        "run": ("run", "best", None), "run@7": ("run", "7", None), "run@7:50": ("run", "7", 50), "run:50": ("run", "best", 50),
        "run@2024": ("run@2024", "best", None), "run@2024:50": ("run@2024", "best", 50), "run@2024@7:50": ("run@2024", "7", 50),
        "run@last:7": ("run@last:7", "best", None), "run@last:8": ("run", "last", 8),
    }  # fmt: skip
    for spec, (name, which, simulations) in whole.items():
        assert _run(f"{tmp_path}/{spec}") == (tmp_path / name, which, simulations), spec
    assert _run(f"{tmp_path}/nobody@7:50") is None


def assert_an_early_network_is_a_player(run, steps, known):
    game = make_game("tictactoe")
    early, last = (find_player(f"{run}@{which}:1", game) for which in (steps, "last"))
    moves = [()] * len(known.states)
    shares = [known.share(player.choose(known.states, moves)) for player in (early, last)]
    assert shares[0] < shares[1]
    with pytest.raises(RunError, match=r"7\.safetensors is missing"):
        find_player(f"{run}@7", game)


def assert_it_climbs_the_ladder(policy):
    """Elo of the trained network over one that has learned nothing, with two simulations; the same after a restart."""
    net = copy.deepcopy(policy.net)
    for each in net.parameters():
        torch.nn.init.normal_(each, std=0.1, generator=torch.Generator().manual_seed(0))
    ladder = EloOverTraining(net, policy.game, SearchConfig(simulations=2, solve=False), 20)
    assert ladder.update() == 0.0
    net.load_state_dict(policy.net.state_dict())
    first = ladder.update()
    assert first > 150
    other = EloOverTraining(net, policy.game, SearchConfig(simulations=2, solve=False), 20)
    other.load_state_dict(copy.deepcopy(ladder.state_dict()))
    again = ladder.update()
    assert again == other.update()
    assert abs(again - first) < 120, "it is the same network"


def test_a_search_that_fails_is_no_defeat(monkeypatch):
    game = make_game("tictactoe")
    ladder = EloOverTraining(network(game), game, SearchConfig(simulations=2), 2)
    ladder.update()

    def fail(*_, **__):
        raise MemoryError("out of memory")

    monkeypatch.setattr(Search, "run", fail)
    with pytest.raises(PlayerFault, match=r"did not come to its end: .*MemoryError: out of memory"):
        ladder.update()
