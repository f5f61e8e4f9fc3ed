"""Tables against Gymnasium's, exact solutions against hand numbers and against each other, kernels against tables."""

import gymnasium
import numpy as np
import pytest

from cumulant.envs import lookup
from cumulant.envs.batched import Batch
from cumulant.envs.gridworlds import ENVIRONMENTS, LAKE, CliffWalking, FourRooms, Garnet, SlipperyLake
from cumulant.envs.mdp import TabularMDP
from cumulant.errors import ConfigError


def row(mdp: TabularMDP, s: int, a: int) -> dict:
    """The results of an action, equal ones added up: (next, reward, terminated) -> probability."""
    results: dict = {}
    for k in range(mdp.prob.shape[2]):
        if mdp.prob[s, a, k] > 0:
            key = (int(mdp.next_obs[s, a, k]), float(mdp.reward[s, a, k]), bool(mdp.terminated[s, a, k]))
            results[key] = results.get(key, 0.0) + mdp.prob[s, a, k]
    return results


def gymnasium_row(table, s: int, a: int) -> dict:
    results: dict = {}
    for prob, to, reward, terminated in table[s][a]:
        key = (int(to), float(reward), bool(terminated))
        results[key] = results.get(key, 0.0) + prob
    return results


@pytest.mark.parametrize("world", ["cliff", "lake"])
def test_tables_are_those_of_gymnasium(world):
    """In every state that can be acted in, the same results with the same probabilities."""
    if world == "cliff":
        mdp, peer, order = CliffWalking().mdp(), gymnasium.make("CliffWalking-v1"), (0, 1, 2, 3)
    else:
        # FrozenLake counts its actions left, down, right, up
        desc = LAKE.strip().replace(".", "F").replace("O", "H").splitlines()
        mdp, peer, order = SlipperyLake().mdp(), gymnasium.make("FrozenLake-v1", desc=desc), (3, 2, 1, 0)
    table = peer.unwrapped.P
    for s in np.flatnonzero(mdp.reachable()):
        for a in range(4):
            assert row(mdp, s, a) == pytest.approx(gymnasium_row(table, s, order[a]))
    peer.close()


def test_cliff_by_hand():
    """The short path is 13 steps of -1; undiscounted from the start -13, and discounted the geometric sum."""
    mdp = CliffWalking().mdp()
    assert (mdp.num_states, mdp.num_actions) == (48, 4)
    start = int(mdp.start.argmax())
    assert start == 36
    assert mdp.value_iteration(1.0)[start].max() == pytest.approx(-13)
    assert CliffWalking().exact_values(0.9)[start].max() == pytest.approx(-(1 - 0.9**13) / 0.1)
    assert mdp.value_iteration(1.0)[start, 1] == pytest.approx(-100 - 13)  # right: a fall, and back


def test_cautious_values_avoid_the_edge():
    """With one action in ten at random the best policy climbs first: at the start, not in the row along the edge."""
    cautious = CliffWalking().mdp().value_iteration(1.0, epsilon=0.1)
    assert cautious[24 + 5].argmax() == 0  # along the edge: up, away from it
    assert CliffWalking().mdp().value_iteration(1.0)[24 + 5].argmax() == 1  # without chance: right, along it


def test_four_rooms_by_hand():
    """20 steps from corner to corner, so that the reward 1 is discounted 19 times."""
    mdp = FourRooms().mdp()
    assert mdp.num_states == 104
    assert mdp.value_iteration(0.9)[0].max() == pytest.approx(0.9**19)
    assert mdp.reachable().sum() == 103  # all but the goal
    assert mdp.start[mdp.reachable()] == pytest.approx(1 / 103)


def test_four_rooms_slips_as_said():
    mdp = FourRooms(slip=1 / 3).mdp()
    aside = {(to, 0.0, False): 1 / 9 for to in (13, 22, 11)}
    assert row(mdp, 12, 0) == pytest.approx({(2, 0.0, False): 2 / 3} | aside)


WORLDS = [
    CliffWalking(),
    FourRooms(),
    FourRooms(slip=1 / 3),
    SlipperyLake(),
    SlipperyLake(slip=0.1),
    Garnet(),
    Garnet(instance=4),
]


@pytest.mark.parametrize("world", WORLDS, ids=repr)
def test_value_iteration_agrees_with_policy_evaluation(world):
    """The value of the greedy policy is the best value, and no single change of it is an improvement."""
    mdp = world.mdp()
    q = mdp.value_iteration(0.95)
    greedy = np.eye(mdp.num_actions)[q.argmax(axis=1)]
    value = mdp.policy_evaluation(greedy, 0.95)
    np.testing.assert_allclose(value, q.max(axis=1), atol=1e-8)
    np.testing.assert_allclose(mdp.backup(value, 0.95), q, atol=1e-8)


@pytest.mark.parametrize("world", WORLDS, ids=repr)
def test_soft_values_agree_with_policy_evaluation(world):
    """With epsilon, they are the values of the epsilon-greedy policy itself."""
    mdp = world.mdp()
    q = mdp.value_iteration(0.9, epsilon=0.2)
    policy = 0.8 * np.eye(mdp.num_actions)[q.argmax(axis=1)] + 0.2 / mdp.num_actions
    np.testing.assert_allclose(mdp.backup(mdp.policy_evaluation(policy, 0.9), 0.9), q, atol=1e-8)


@pytest.mark.parametrize("name", sorted(ENVIRONMENTS))
def test_kernel_follows_the_tables(name):
    """Frequencies of results in 400,000 random steps are within five standard errors of the table."""
    options = lookup.options_class(name)(slip=0.5) if name == "four-rooms" else lookup.options_class(name)()
    mdp, batch, rng = options.mdp(), Batch(options.kernel(), 1000, seed=1), np.random.default_rng(0)
    count: dict = {}
    for _ in range(400):
        obs, action = batch.obs.copy(), rng.integers(0, mdp.num_actions, 1000)
        batch.step(action)
        for s, a, to, reward, terminated in zip(obs, action, batch.next_obs, batch.reward, batch.terminated):
            results = count.setdefault((int(s), int(a)), {})
            key = (int(to), round(float(reward), 5), bool(terminated))
            results[key] = results.get(key, 0) + 1
    assert len(count) > 0.5 * mdp.reachable().sum() * mdp.num_actions
    for (s, a), results in count.items():
        expected = {(to, round(r, 5), end): p for (to, r, end), p in row(mdp, s, a).items()}
        total = sum(results.values())
        assert set(results) <= set(expected), (s, a)
        for key, p in expected.items():
            assert abs(results.get(key, 0) / total - p) <= 5 * np.sqrt(p * (1 - p) / total) + 1e-9 + (total < 30), (
                s,
                a,
            )


def test_kernel_starts_as_the_table_says():
    mdp = FourRooms().mdp()
    starts = np.bincount(Batch(FourRooms().kernel(), 50_000, seed=2).obs, minlength=104) / 50_000
    assert starts[mdp.start == 0].sum() == 0
    assert np.abs(starts - mdp.start).max() < 5 * np.sqrt(mdp.start.max() / 50_000)


def test_monte_carlo_returns_agree_with_policy_evaluation():
    """Discounted returns of the uniform policy on the lake: within four standard errors of the exact value."""
    mdp = SlipperyLake(max_steps=2000).mdp()
    exact = mdp.policy_evaluation(np.full((36, 4), 0.25), 0.95)[0]
    batch, rng = Batch(SlipperyLake(max_steps=2000).kernel(), 40_000, seed=3, autoreset=False), np.random.default_rng(1)
    total, discount, alive = np.zeros(40_000), 1.0, np.ones(40_000, bool)
    while alive.any():
        batch.step(rng.integers(0, 4, 40_000))
        total += discount * alive * batch.reward
        discount *= 0.95
        alive &= ~batch.ended
    assert abs(total.mean() - exact) < 4 * total.std() / np.sqrt(40_000)
    assert total.std() > 0


def test_garnet_instances_differ_and_repeat():
    assert (Garnet(instance=1).mdp().prob == Garnet(instance=1).mdp().prob).all()
    assert (Garnet(instance=1).mdp().prob != Garnet(instance=2).mdp().prob).any()
    mdp = Garnet(states=7, actions=2, branches=4).mdp()
    assert mdp.prob.shape == (7, 2, 4)
    assert all(len(set(mdp.next_obs[s, a])) == 4 for s in range(7) for a in range(2))


def test_cumulative_probabilities_survive_rounding():
    """Ten tenths do not add up to 1 in floating point; the kernel must not run past the last result."""
    shape = (10, 1, 10)
    prob = np.full(shape, 0.1)
    next_obs = np.broadcast_to(np.arange(10), shape).copy()
    mdp = TabularMDP(next_obs, prob, np.zeros(shape), np.zeros(shape, bool), np.full(10, 0.1))
    assert np.cumsum(prob[0, 0])[-1] != 1.0
    rows = mdp.packed()[4 + 10 :].reshape(10, 1, 10, 4)
    assert (rows[:, :, -1, 0] == 1.0).all()
    assert mdp.packed()[13] == 1.0
    first_only = np.broadcast_to(np.eye(10)[0], shape).copy()
    impossible_last = TabularMDP(next_obs, first_only, np.zeros(shape), np.zeros(shape, bool), np.eye(10)[0])
    assert (impossible_last.packed()[14:].reshape(10, 10, 4)[:, 0, 0] == 1.0).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"reward": np.zeros((2, 1, 2))}, "reward is"),
        ({"start": np.ones(3)}, "start is"),
        ({"start": np.array([0.5, 0.6])}, "start must"),
        ({"prob": np.array([[[0.5]], [[1.0]]])}, "prob must"),
        ({"next_obs": np.array([[[2]], [[0]]])}, "outside 0..1"),
    ],
)
def test_wrong_tables_are_refused(change, message):
    right = {"next_obs": np.zeros((2, 1, 1), int), "prob": np.ones((2, 1, 1)), "reward": np.zeros((2, 1, 1))}
    right |= {"terminated": np.zeros((2, 1, 1), bool), "start": np.array([1.0, 0.0])}
    TabularMDP(**right)
    with pytest.raises(ConfigError, match=message):
        TabularMDP(**right | change)


def test_undiscounted_values_without_an_end_are_refused():
    with pytest.raises(ConfigError, match="gamma = 1"):
        Garnet().mdp().value_iteration(1, max_sweeps=50)


@pytest.mark.parametrize(
    ("cls", "fields"),
    [
        (FourRooms, {"slip": 1.5}),
        (SlipperyLake, {"slip": -0.1}),
        (Garnet, {"branches": 30}),
        (Garnet, {"instance": -1}),
    ],
)
def test_values_out_of_range_are_refused(cls, fields):
    with pytest.raises(ConfigError, match=next(iter(fields))):
        cls(**fields)


def test_nothing_follows_a_terminated_step():
    """A coin pays 1 and ends with probability one half, else comes again: v = 1/2 + gamma v / 2, under any policy."""
    shape = (1, 2, 2)
    pays = np.broadcast_to([1.0, 0.0], shape)
    coin = TabularMDP(np.zeros(shape, int), np.full(shape, 0.5), pays, pays == 1.0, np.ones(1))
    np.testing.assert_allclose(coin.value_iteration(0.5), 0.5 / (1 - 0.25))
    np.testing.assert_allclose(coin.policy_evaluation(np.array([[0.3, 0.7]]), 0.5), 0.5 / (1 - 0.25))
