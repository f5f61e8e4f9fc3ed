"""Games of OpenSpiel behind the same facts, where it is installed."""

import numpy as np
import pytest

from cumulant.envs.batched import Batch
from cumulant.envs.games.env import kernel_of
from cumulant.envs.games.lookup import make_game
from cumulant.errors import ConfigError, MissingPackage, UsageError


def test_without_the_package_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pyspiel", None)
    with pytest.raises(MissingPackage, match=r"cumulant\[openspiel\]"):
        make_game("openspiel:hex(board_size=5)")


@pytest.fixture
def openspiel():
    pytest.importorskip("pyspiel", reason="needs an extra: pip install 'cumulant[openspiel]'")


@pytest.mark.usefixtures("openspiel")
def test_a_game_of_both_is_the_same():
    """Connect Four of OpenSpiel and ours, in the same random games."""
    ours, theirs = make_game("connect_four"), make_game("openspiel:connect_four")
    rng, keys = np.random.default_rng(0), set()
    for _ in range(6):
        a, b = ours.start(), theirs.start()
        while len(legal := ours.legal_actions(a)):
            np.testing.assert_array_equal(legal, theirs.legal_actions(b))
            assert ours.player(a) == theirs.player(b)
            assert np.isnan(theirs.outcome(b))
            assert (theirs.planes(b)[-1] == ours.player(a)).all()
            action = int(rng.choice(legal))
            ours.play(a, action)
            theirs.play(b, action)
            keys.add(int(theirs.key(b)))
        assert not len(theirs.legal_actions(b))
        assert ours.outcome(a) == theirs.outcome(b)
        assert ours.player(a) == theirs.player(b)
    assert len(keys) > 60


@pytest.mark.usefixtures("openspiel")
def test_other_games_are_played_by_compiled_code():
    game = make_game("openspiel:hex(board_size=4)")
    assert make_game("openspiel:hex(board_size=4)") is game
    batch = Batch(kernel_of(game), 4, seed=0)
    rng, ended = np.random.default_rng(0), 0
    for _ in range(30):
        mask = batch.obs[:, : game.num_actions]
        batch.step((rng.random(mask.shape) * mask).argmax(axis=1))
        assert set(batch.reward[batch.ended]) <= {-1.0, 1.0}  # there is no draw
        ended += batch.ended.sum()
    assert ended > 5
    assert "x" in game.render(game.position(["3"]))


@pytest.mark.usefixtures("openspiel")
@pytest.mark.parametrize(
    ("name", "why"),
    [("pig", "chance"), ("kuhn_poker", "chance"), ("tic_tac_toe(players=3)", "refuses"), ("matrix_rps", "in turn")],
)
def test_what_does_not_fit_is_refused(name, why):
    with pytest.raises(ConfigError, match=why):
        make_game(f"openspiel:{name}")


@pytest.mark.usefixtures("openspiel")
def test_what_there_is_not_is_refused():
    with pytest.raises(UsageError, match="did you mean 'breakthrough'"):
        make_game("openspiel:breakthru")
    with pytest.raises(UsageError, match="give a number, 0 to 15"):
        make_game("openspiel:hex(board_size=4)").parse_action("a1")
