"""Sample games and the search's view in a report: drawn when they are there, left out when they are not what they say."""

import json

import numpy as np
import pytest
from gymnasium import spaces

from cumulant.engine.board_policy import BoardPolicy
from cumulant.engine.sample_games import write_sample_games
from cumulant.engine.trained_players import board_player
from cumulant.envs.games.lookup import make_game
from cumulant.errors import ConfigError, UsageError
from cumulant.nn.board import BoardNet
from cumulant.report.games import sections


@pytest.fixture(scope="module")
def policy():
    import torch

    game = make_game("tictactoe")
    generator = torch.Generator()
    generator.manual_seed(0)
    shape = spaces.Box(0.0, 1.0, (game.num_planes, game.rows, game.columns))
    net = BoardNet(shape, spaces.Discrete(game.num_actions), 8, 1, False, False, generator)
    return BoardPolicy(net, {"env": "tictactoe", "env_options": {}, "config": {}})


def test_a_policy_is_a_player_of_its_own_game_only(policy):
    game = make_game("tictactoe")
    player = board_player(policy, game, "net", 16)
    found = player.analyse(game.start()[None], [()])
    assert found.visits.shape == (1, 9)
    assert 0 < found.visits.sum() <= 16
    assert found.policy.sum() == pytest.approx(1.0, abs=1e-5)
    assert found.action[0] in range(9)
    assert np.array_equal(player.choose(game.start()[None], [()]), found.action)
    with pytest.raises(
        UsageError, match=r"net plays tictactoe, not othello \(size 6\): its network fits no other board"
    ):
        board_player(policy, make_game("othello", size=6), "net", 16)
    with pytest.raises(ConfigError, match="at least 1"):
        board_player(policy, game, "net", 0)


def test_games_and_views_are_drawn(policy, tmp_path):
    game = make_game("tictactoe")
    write_sample_games(board_player(policy, game, "net", 16), game, tmp_path, "mcts:20")
    found = json.loads((tmp_path / "games.json").read_text())
    assert [(each["first"], each["second"]) for each in found["games"]] == [
        ("net", "net"), ("net", "mcts:20"), ("mcts:20", "net"),
    ]  # fmt: skip
    last = found["games"][1]
    assert last["boards"][-1]["after"] == len(last["moves"])
    state = game.position(last["moves"])
    assert last["boards"][-1]["board"] == game.render(state, game.parse_action(last["moves"][-1]))
    page = sections(tmp_path)
    assert page.count("<h3>") == 3
    assert "net against mcts:20: " in page
    assert page.count("<td>") == 3 * sum(len(view["moves"]) for view in found["views"])


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        '{"games": 3, "views": "x"}',
        '{"games": [{"points": "1"}, 4, {"boards": []}]}',
        "[" * 5000,
        '{"games": [{"points": NaN}]}',
    ],
)
def test_what_is_no_file_of_games_is_left_out(tmp_path, content):
    (tmp_path / "games.json").write_text(content)
    assert sections(tmp_path) == ""


def test_what_strangers_wrote_is_escaped(tmp_path):
    game = {
        "first": "<b>",
        "second": "y",
        "points": 1,
        "reason": "<i>",
        "moves": ["<u>"],
        "boards": [{"after": 1, "board": "<pre>"}],
    }
    view = {"after": 0, "board": "<s>", "value": 0.5, "moves": [{"move": "<a>", "policy": 0.5, "visits": 1}]}
    (tmp_path / "games.json").write_text(json.dumps({"games": [game], "views": [view]}))
    page = sections(tmp_path)
    for tag in ("<b>", "<i>", "<u>", "<s>", "<a>"):
        assert tag not in page
        assert tag.replace("<", "&lt;").replace(">", "&gt;") in page
    assert sections(tmp_path / "gone") == ""
