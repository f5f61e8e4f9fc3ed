"""Several agents at once by one shared policy: each is a row, and no row is ever learned from after its agent has ended."""

import numpy as np
import pytest

from cumulant import api
from cumulant.engine.evaluate import episode_metrics, play
from cumulant.engine.faults import limiting_faults
from cumulant.engine.parallel import ParallelVector
from cumulant.engine.vector import make_vector
from cumulant.envs.spaces import mask_slice
from cumulant.errors import ConfigError, EnvironmentFault, UsageError

TOYS = f"{__file__.rpartition('/')[0]}/toys.py"


def relay(num_envs, seed=0, name="relay", **options):
    whole = options.pop("whole", False)
    masks = options.pop("masks", "never")
    return make_vector(f"{TOYS}:{name}", num_envs, seed, options, masks, training=not whole)


def test_each_agent_is_a_row():
    envs = relay(6)
    assert isinstance(envs, ParallelVector)
    assert envs.observation_space.shape == (2,)
    assert envs.obs.tolist() == [[0, 0], [1, 0], [2, 0]] * 2
    envs.step(np.array([1, 0, 1, 0, 1, 0]))
    assert envs.reward.tolist() == [1, 0, 1, 0, 1, 0]
    assert envs.cost.tolist() == [2, 0, 2, 0, 2, 0]
    assert envs.obs.tolist() == [[0, 1], [1, 1], [2, 1]] * 2
    assert envs.alive.all()
    assert not envs.ended.any()


def test_in_training_the_team_starts_anew_when_its_first_agent_ends():
    envs = relay(3)
    envs.step(np.ones(3, np.int64))
    envs.step(np.ones(3, np.int64))
    assert envs.terminated.tolist() == [False, True, False]
    assert envs.truncated.tolist() == [True, False, True]
    assert envs.next_obs.tolist() == [[0, 2], [1, 2], [2, 2]]  # to bootstrap from
    assert envs.obs.tolist() == [[0, 0], [1, 0], [2, 0]]
    for _ in range(20):
        envs.step(np.ones(3, np.int64))
        assert envs.alive.all()  # no row is ever dead
    metrics = episode_metrics(envs)
    assert metrics["episode/count"] == 33
    assert metrics["episode/length"] == 2.0
    assert metrics["episode/return"] == 1.0
    assert metrics["episode/cost"] == 2.0


def test_whole_episodes_go_on_to_the_last_agent_and_mark_dead_rows():
    envs = relay(3, whole=True)
    rows = []
    for _ in range(4):
        envs.step(np.ones(3, np.int64))
        rows.append((envs.alive.tolist(), envs.ended.tolist(), envs.reward.tolist()))
    assert rows == [
        ([True] * 3, [False] * 3, [1.0] * 3),
        ([True] * 3, [False, True, False], [0.0] * 3),
        ([True, False, True], [False] * 3, [1.0, 0.0, 1.0]),
        ([True, False, True], [True, False, True], [0.0] * 3),
    ]
    assert envs.obs.tolist() == [[0, 0], [1, 0], [2, 0]]
    for _ in range(4):
        envs.step(np.ones(3, np.int64))
    assert sorted(envs.episodes.drain()["length"].tolist()) == [2.0, 2.0, 4.0, 4.0, 4.0, 4.0]


def test_a_time_limit_truncates():
    envs = relay(3, lives=(9, 9, 9), limit=3)
    for _ in range(3):
        envs.step(np.zeros(3, np.int64))
    assert envs.truncated.all()
    assert not envs.terminated.any()


def test_an_evaluation_counts_every_agent_to_its_own_end():
    played = play(lambda obs: np.ones(len(obs), np.int64), relay(4, whole=True), 12)  # rounded up to two teams
    assert played["length"].tolist() == [4, 4, 2, 2, 4, 4] * 2
    assert played["return"].tolist() == [2, 2, 1, 1, 2, 2] * 2
    assert played["cost"].tolist() == [4, 4, 2, 2, 4, 4] * 2


def test_a_restored_batch_goes_on_exactly_where_it_was():
    envs, rng = relay(6, lives=(9, 7, 9)), np.random.default_rng(0)
    actions = rng.integers(0, 2, (60, 6))
    for action in actions[:31]:
        envs.step(action)
    restored = relay(6, seed=4, lives=(9, 7, 9))
    restored.load_state_dict(envs.state_dict())
    np.testing.assert_array_equal(restored.obs, envs.obs)
    for action in actions[31:]:
        for each in (envs, restored):
            each.step(action)
        for name in ("obs", "next_obs", "reward", "cost", "terminated", "truncated"):
            np.testing.assert_array_equal(getattr(restored, name), getattr(envs, name))
    assert episode_metrics(restored) == episode_metrics(envs)


@pytest.mark.filterwarnings("ignore:environment")
def test_a_fault_truncates_every_agent_of_its_copy():
    with limiting_faults(1000, 0.0):
        envs = relay(6, lives=(5, 5, 5), fails_at=3)
    before, split = envs.obs.copy(), False
    for _ in range(40):
        before[:] = envs.obs
        faults = envs.faults
        envs.step(np.ones(6, np.int64))
        copies = envs.faulted.reshape(2, 3)
        assert (copies.all(1) == copies.any(1)).all()
        assert envs.faults - faults == copies.all(1).sum()
        assert envs.truncated[envs.faulted].all()
        assert not envs.reward[envs.faulted].any()
        np.testing.assert_array_equal(envs.next_obs[envs.faulted], before[envs.faulted])
        split |= copies.all(1).sum() == 1
    assert split  # one copy failed and the other went on
    assert set(envs.episodes.drain()["length"].tolist()) == {5.0}
    with limiting_faults(0, 0.0):
        envs = relay(3, lives=(5, 5, 5), fails_at=3)
    with pytest.raises(EnvironmentFault, match="the baton fell; it is fault 1"):
        play(lambda obs: np.ones(3, np.int64), envs, 60)


def test_masks_of_agents():
    envs, rng = relay(6, name="Choosy", masks="always"), np.random.default_rng(0)
    mask = mask_slice(envs.observation_space)
    assert mask == slice(0, 2)
    for _ in range(30):
        envs.step(np.array([rng.choice(np.flatnonzero(row)) for row in envs.obs[:, mask]]))
    with pytest.raises(ConfigError, match="relay' has no action masks: its infos have no"):
        relay(3, masks="always")


@pytest.mark.parametrize(
    ("num_envs", "options", "error", "message"),
    [
        (8, {}, ConfigError, "num_envs = 8: environment '.*relay' has 3 agents, .*: give a multiple, such as 9"),
        (
            3,
            {"mixed": True},
            UsageError,
            "'runner_0' and 'runner_1' have the observations Box.*must have the same spaces",
        ),
        (3, {"late": True}, UsageError, "starts without agent 'runner_0'"),
        (3, {"lives": ()}, UsageError, "has no agents"),
    ],
)
def test_what_cannot_be_shared_says_why(num_envs, options, error, message):
    with pytest.raises(error, match=message):
        relay(num_envs, **options)


def test_a_shared_policy_learns_a_role_for_each_agent(workspace):
    fields = {"num_envs": 6, "horizon": 64, "total_steps": 6000, "eval_every_steps": 6000, "eval_episodes": 6}
    options = {"lives": [6, 3, 6], "roles": True}
    result = api.train("ppo", f"{TOYS}:relay", env_options=options, out="run", **fields)
    length = result.evaluation["outcomes"]["length"]["mean"]
    assert length == pytest.approx((6 + 3 + 6) / 3, abs=0.05)  # each to its own end
    assert result.evaluation["return_mean"] == length  # and paid at each step of it
    acted = [result.policy.act(np.array([agent, 0.0], np.float32)) for agent in range(3)]
    assert acted == [1, 2, 2]  # as the environment wants them
