"""Games as environments: against an opponent (Gymnasium), between two agents (PettingZoo), and learned by PPO."""

import warnings

import numpy as np
import pytest

from cumulant import api
from cumulant.envs import lookup
from cumulant.envs.batched import Batch, SingleEnv
from cumulant.envs.games.aec import aec_env
from cumulant.envs.games.env import against, kernel_of
from cumulant.envs.games.lookup import listing, make_game
from cumulant.errors import ConfigError, UsageError

NAMES = sorted(listing())


def lowest(seen):
    """An opponent that plays the first legal action."""
    return seen["action_mask"].argmax(axis=1)


def test_every_game_is_an_environment():
    assert set(listing()) <= set(lookup.listing())


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("seat", ["first", "second"])
def test_an_environment_is_the_game_with_the_opponents_moves(name, seat):
    """Against an opponent that is known, the same game played by hand shows the same, and has the same end."""
    game = make_game(name)
    batch = Batch(kernel_of(game, seat, lowest), 3, seed=1)
    rng = np.random.default_rng(2)
    states = [game.start() for _ in range(3)]

    def opponent_moves(state):
        game.play(state, int(game.legal_actions(state)[0]))

    if seat == "second":
        for state in states:
            opponent_moves(state)
    ends = 0
    for _ in range(150):
        chosen = np.zeros(3, np.int64)
        for i, state in enumerate(states):
            mask = np.zeros(game.num_actions, np.uint8)
            game.legal(state, mask)
            np.testing.assert_array_equal(batch.obs[i], np.concatenate([mask, game.planes(state).ravel()]))
            chosen[i] = rng.choice(np.flatnonzero(mask))
        batch.step(chosen)
        for i, state in enumerate(states):
            game.play(state, chosen[i])
            worth = -game.outcome(state)
            if np.isnan(worth):
                opponent_moves(state)
                worth = game.outcome(state)
            assert batch.ended[i] == batch.terminated[i] == (not np.isnan(worth))
            assert batch.reward[i] == (0.0 if np.isnan(worth) else worth)
            if batch.ended[i]:
                ends += 1
                assert batch.next_obs[i, : game.num_actions].all()
                game.initial(state)
                if seat == "second":
                    opponent_moves(state)
    assert ends > 3 or name == "go"


@pytest.mark.parametrize(("name", "first"), [("tictactoe", 0.297), ("connect_four", 0.11)])
def test_random_play_has_its_known_worth(name, first):
    """Who begins wins so much more often (tic-tac-toe: 0.585 and 0.288); drawn seats are fair."""
    for seat, worth in (("first", first), ("second", -first), ("any", 0.0)):
        batch = Batch(lookup.build(name, {"seat": seat}), 256, seed=3)
        rng, rewards = np.random.default_rng(4), []
        while len(rewards) < 6000:
            mask = batch.obs[:, : batch.action_space.n]
            batch.step((rng.random(mask.shape) * mask).argmax(axis=1))
            rewards += batch.reward[batch.ended].tolist()
        assert abs(np.mean(rewards) - worth) < 4.0 / np.sqrt(6000)


def test_an_illegal_move_loses():
    batch = Batch(lookup.build("tictactoe", {"seat": "first"}), 1)
    for _ in range(2):
        assert not batch.ended[0]
        batch.step(np.array([0]))
    assert (batch.reward[0], batch.outcomes[0, 0]) == (-1.0, 1.0)


def test_opponents_by_path_and_wrong_ones(workspace):
    (workspace / "players.py").write_text(
        "def last(seen):\n    return seen['action_mask'].shape[1] - 1 - seen['action_mask'][:, ::-1].argmax(axis=1)\n"
        "def stuck(seen):\n    return seen['action_mask'].argmax(axis=1) * 0\n"
        "def silent(seen):\n    return None\n"
    )
    env = SingleEnv("tictactoe", opponent="players.py:last", seat="second")
    seen, _ = env.reset(seed=0)
    assert seen["observation"][1].reshape(-1).tolist() == [0.0] * 8 + [1.0]
    with pytest.raises(ConfigError, match="opponent = 'rnadom': give random, or a function"):
        lookup.build("go", {"opponent": "rnadom"})
    stuck = Batch(lookup.build("connect_four", {"opponent": "players.py:stuck", "seat": "second"}), 1)
    for _ in range(2):
        stuck.step(np.array([0]))
    with pytest.raises(UsageError, match=r"the opponent plays 0, which is not legal in connect_four:\n"):
        stuck.step(np.array([0]))
    with pytest.raises(UsageError, match="the opponent answered 1 positions with array"):
        Batch(lookup.build("tictactoe", {"opponent": "players.py:silent", "seat": "second"}), 1)
    with pytest.raises(ConfigError, match="neither a function nor has it a method 'act'"):
        against(3, "tictactoe")


@pytest.mark.parametrize("name", NAMES)
def test_pettingzoo_has_nothing_to_say(name, capsys):
    pytest.importorskip("pettingzoo", reason="needs an extra: pip install 'cumulant[games]'")
    from pettingzoo.test import api_test

    with warnings.catch_warnings():  # it has a list of its own environments of which it does not say so
        warnings.filterwarnings("ignore", "Observation (is not a NumPy|numpy array is all zeros|space for each agent)")
        api_test(aec_env(name, **({"size": 5} if name == "go" else {})), num_cycles=200, verbose_progress=False)
    assert "Passed" in capsys.readouterr().out


def test_two_agents_take_turns_and_one_wins():
    pytest.importorskip("pettingzoo", reason="needs an extra: pip install 'cumulant[games]'")
    env = aec_env("tictactoe", render_mode="ansi")
    env.reset()
    for action, agent in ((0, "player_0"), (3, "player_1"), (1, "player_0"), (4, "player_1"), (2, "player_0")):
        assert env.agent_selection == agent
        assert env.observe(agent)["action_mask"][action] == 1
        env.step(action)
    assert env.render().splitlines()[0] == " X X(X)"
    assert env.rewards == {"player_0": 1.0, "player_1": -1.0}
    assert all(env.terminations.values())


def test_ppo_learns_to_beat_random_play(tmp_path):
    """Random play is worth 0 from drawn seats, play that never errs about 0.95."""
    spec = api.make_spec(
        "ppo", "tictactoe", 1, total_steps=80_000, num_envs=32, horizon=64, learning_rate=2e-3, entropy_coef=0.02,
        eval_every_steps=10**9,
    )  # fmt: skip
    api.train_one(spec, tmp_path / "run")
    policy, rewards = api.load(tmp_path / "run"), []
    batch = Batch(lookup.build("tictactoe", {}), 200, seed=5)
    for _ in range(25):
        batch.step(policy.act_batch(batch.obs))
        rewards += batch.reward[batch.ended].tolist()
        assert not batch.outcomes.any()  # an action mask is not learned but kept
    assert np.mean(rewards) > 0.7
    env = against(policy, "tictactoe", seat="second")  # a policy is an opponent, too
    assert env.reset(seed=0)[0]["observation"][1].sum() == 1.0


def test_dqn_plays_by_the_masks(tmp_path):
    api.train_one(api.make_spec("dqn", "tictactoe", 0, total_steps=2_000), tmp_path / "run")
    rows = (tmp_path / "run" / "metrics.jsonl").read_text()
    assert '"episode/illegal": 0.0' in rows or '"eval/illegal": 0.0' in rows
