"""Compiled tabular learning reaches the exact values, goes on where it was, and refuses what it cannot do."""

import numpy as np
import pytest

from cumulant.envs import lookup
from cumulant.envs.batched import Batch
from cumulant.envs.gridworlds import CliffWalking, FourRooms, Garnet, SlipperyLake
from cumulant.errors import ConfigError
from cumulant.kernels.tabular import EXPECTED_SARSA, Q_LEARNING, SARSA, choose, train_on_table

GAMMA = 0.9


def learn(world, rule, epsilon, steps, seed=0, power=0.7, num_envs=64):
    """Learn from zeros; return the table, the visits and the batch."""
    batch = Batch(world.kernel(), num_envs, seed)
    q = np.zeros((int(batch.observation_space.n), int(batch.action_space.n)))
    visits, action = np.zeros(q.shape, np.int64), np.zeros(num_envs, np.int64)
    setting = {"rule": rule, "gamma": GAMMA, "epsilon": epsilon, "step_size": 1.0, "step_power": power, "key": seed}
    choose(q, batch.obs, epsilon, seed, -1, action)
    train_on_table(batch, q, visits, action, steps=steps, first_step=0, **setting)
    return q, visits, batch


# The largest error over the states in which every action was tried 1000 times; ten seeds stayed below half of it.
Q_LEARNING_CASES = [
    (CliffWalking(), 1e-6),
    (FourRooms(), 1e-6),
    (FourRooms(slip=1 / 3), 0.025),
    (SlipperyLake(), 0.06),
    (Garnet(), 0.03),
]


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize(("world", "tolerance"), Q_LEARNING_CASES, ids=lambda case: repr(case))
def test_q_learning_reaches_value_iteration(world, tolerance, seed):
    q, visits, _ = learn(world, Q_LEARNING, epsilon=0.9, steps=60_000, seed=seed)
    mdp = world.mdp()
    often = visits.min(axis=1) > 1000
    assert often[mdp.reachable()].mean() > 0.7
    exact = mdp.value_iteration(GAMMA)
    assert np.abs(q - exact)[often].max() < tolerance
    greedy = np.eye(4)[q.argmax(axis=1)]
    lost = exact.max(axis=1) - mdp.policy_evaluation(greedy, GAMMA)
    assert mdp.start @ lost < 0.01 * max(1.0, np.abs(mdp.start @ exact.max(axis=1)))


@pytest.mark.parametrize("rule", [SARSA, EXPECTED_SARSA])
@pytest.mark.parametrize("world", [FourRooms(slip=1 / 3), SlipperyLake(), Garnet()], ids=repr)
def test_sarsa_reaches_the_values_of_its_own_policy(world, rule):
    """Not those of the best policy but of the best epsilon-greedy one, which are clearly lower."""
    q, visits, _ = learn(world, rule, epsilon=0.3, steps=60_000)
    mdp = world.mdp()
    own, best = mdp.value_iteration(GAMMA, epsilon=0.3), mdp.value_iteration(GAMMA)
    often = visits > 2000
    assert often.sum() > 30
    error = np.sqrt(((q - own)[often] ** 2).mean())
    assert error < 0.012
    assert np.sqrt(((q - best)[often] ** 2).mean()) > 5 * error


def greedy_walk(world, q) -> tuple[int, int]:
    """Length of the greedy path and its top row on the cliff."""
    batch, cells = Batch(world.kernel(), 1), []
    for _ in range(60):
        batch.step(q[batch.obs].argmax(axis=1))
        cells.append(int(batch.next_obs[0]))
        if batch.ended[0]:
            break
    return len(cells), min(cells) // 12


def test_sarsa_walks_safely_and_q_learning_along_the_edge():
    """Sutton & Barto, example 6.6."""
    daring, _, _ = learn(CliffWalking(), Q_LEARNING, epsilon=0.3, steps=30_000)
    assert greedy_walk(CliffWalking(), daring) == (13, 2)
    cautious, _, _ = learn(CliffWalking(), SARSA, epsilon=0.3, steps=60_000)
    length, top_row = greedy_walk(CliffWalking(), cautious)
    assert top_row < 2
    assert 15 <= length <= 17


def test_truncations_bootstrap():
    """A process without an end, cut every three steps, has the values of the process without an end."""
    world = Garnet(max_steps=3)
    q, _, batch = learn(world, Q_LEARNING, epsilon=0.9, steps=60_000)
    assert np.abs(q - world.mdp().value_iteration(GAMMA)).max() < 0.025
    assert set(batch.episodes.drain()["length"]) == {3.0}


@pytest.mark.parametrize("rule", [Q_LEARNING, SARSA])
def test_resume_is_exact(rule):
    """500 steps are 200 and 300 in a new process: nothing but the saved arrays is needed."""
    kernel = lookup.build("slippery-lake", {})
    setting = {"rule": rule, "gamma": GAMMA, "epsilon": 0.2, "step_size": 0.5, "step_power": 0.0, "key": 2**63 + 5}

    def fresh(seed):
        q, visits, action = np.zeros((36, 4)), np.zeros((36, 4), np.int64), np.zeros(8, np.int64)
        batch = Batch(kernel, 8, seed)
        choose(q, batch.obs, 0.2, np.uint64(setting["key"]), -1, action)
        return batch, [q, visits, action]

    batch, learned = fresh(seed=4)
    train_on_table(batch, *learned, steps=200, first_step=0, **setting)
    saved, saved_arrays = batch.state_dict(), [array.copy() for array in learned]
    train_on_table(batch, *learned, steps=300, first_step=200, **setting)
    resumed, _ = fresh(seed=99)
    resumed.load_state_dict(saved)
    train_on_table(resumed, *saved_arrays, steps=300, first_step=200, **setting)
    for one, other in zip(learned, saved_arrays):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(resumed.episodes.drain()["return"], batch.episodes.drain()["return"])
    for name, array in batch.state_dict().items():
        if name != "log":
            np.testing.assert_array_equal(array, resumed.state_dict()[name])


def test_episodes_are_counted():
    """Each step of each copy is in exactly one episode, ended or open."""
    _, _, batch = learn(SlipperyLake(), Q_LEARNING, epsilon=0.5, steps=2000)
    open_steps = batch.episodes.open[:, 1].sum()
    ended = batch.episodes.drain()
    assert len(ended["length"]) > 1000  # more than the buffer holds at first
    assert ended["length"].sum() + open_steps == 2000 * 64
    assert set(ended["return"]) <= {0.0, 1.0}


def test_chosen_actions_follow_the_probabilities():
    """Two ties share what is not explored, within five standard errors; a new step gives new numbers."""
    q = np.array([[1.0, 3.0, 3.0, 0.0]])
    obs, action = np.zeros(60_000, np.int64), np.zeros(60_000, np.int64)
    choose(q, obs, 0.2, 1, 0, action)
    share = np.bincount(action, minlength=4) / 60_000
    np.testing.assert_allclose(share, [0.05, 0.45, 0.45, 0.05], atol=5 * 0.5 / np.sqrt(60_000))
    again, other = np.zeros_like(action), np.zeros_like(action)
    choose(q, obs, 0.2, 1, 0, again)
    choose(q, obs, 0.2, 1, 1, other)
    assert (action == again).all()
    assert 0.3 < (action != other).mean() < 0.7
    choose(q, obs, 0.0, 1, 2, action)
    assert set(action) == {1, 2}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"q": np.zeros((20, 3))}, r"q is \[20, 3\]"),
        ({"q": np.zeros((20, 4), np.float32)}, "q is .* float32"),
        ({"visits": np.zeros((20, 4))}, "visits is"),
        ({"action": np.zeros(3, np.int64)}, r"action is \[3\]"),
    ],
)
def test_wrong_arrays_are_refused(wrong, message):
    right = {"q": np.zeros((20, 4)), "visits": np.zeros((20, 4), np.int64), "action": np.zeros(2, np.int64)}
    setting = {"steps": 1, "first_step": 0, "key": 0, "rule": 0, "gamma": 0.9, "epsilon": 0.1}
    batch = Batch(Garnet().kernel(), 2)
    with pytest.raises(ConfigError, match=message):
        train_on_table(batch, **(right | wrong), **setting, step_size=1.0, step_power=0.0)


def test_other_environments_are_refused():
    batch = Batch(lookup.build("probe-both", {"tabular": True}), 2)
    arrays = np.zeros((2, 2)), np.zeros((2, 2), np.int64), np.zeros(2, np.int64)
    setting = {"key": 0, "rule": 0, "gamma": 0.9, "epsilon": 0.1, "step_size": 1.0, "step_power": 0.0}
    with pytest.raises(ConfigError, match="not a table"):
        train_on_table(batch, *arrays, steps=1, first_step=0, **setting)
