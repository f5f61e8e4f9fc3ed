"""Six worlds built to be hacked: under the reward the best policy is not what is wanted, under the twin's it is; exactly."""

import numpy as np
import pytest

from cumulant.envs import lookup, traps
from cumulant.envs.batched import Batch

NAMES = sorted(traps.ENVIRONMENTS)


def tables(world):
    """Per state and action the results, stacked: probability, next state, goes on, columns."""
    cells = [[world.results(s, a) for a in range(world.ACTIONS)] for s in range(world.STATES)]
    most = max(len(cell) for row in cells for cell in row)
    prob, goes_on = np.zeros((2, world.STATES, world.ACTIONS, most))
    there = np.zeros((world.STATES, world.ACTIONS, most), int)
    columns = np.zeros((world.STATES, world.ACTIONS, most, len(world.COLUMNS)))
    for s, row in enumerate(cells):
        for a, cell in enumerate(row):
            for k, result in enumerate(cell):
                prob[s, a, k], there[s, a, k], goes_on[s, a, k] = result.prob, result.state, not result.ends
                columns[s, a, k] = result.columns
    return prob, there, goes_on, columns


def best_outcome(world, by_outcome=False):
    """The outcome of an episode under the policy that is best for the reward (or the outcome), by backward induction."""
    prob, there, goes_on, columns = tables(world)
    by_name = {name: columns[..., k].ravel() for k, name in enumerate(world.COLUMNS)}
    outcome = by_name["outcome"].reshape(prob.shape)
    reward = outcome if by_outcome else world.REWARDS[world.mended].split(by_name).sum(axis=1).reshape(prob.shape)
    value, reached = np.zeros((2, world.STATES))
    for _ in range(world.STEPS):
        q = (prob * (reward + goes_on * value[there])).sum(axis=2)
        along = (prob * (outcome + goes_on * reached[there])).sum(axis=2)
        best = (q - 1e-9 * along).argmax(axis=1)  # of equal ones the worse
        value, reached = (x[np.arange(world.STATES), best] for x in (q, along))
    return reached[list(world.starts())].mean()


def random_outcome(world):
    prob, there, goes_on, columns = tables(world)
    reached = np.zeros(world.STATES)
    for _ in range(world.STEPS):
        reached = (prob * (columns[..., -1] + goes_on * reached[there])).sum(axis=2).mean(axis=1)
    return reached[list(world.starts())].mean()


@pytest.mark.parametrize("name", NAMES)
def test_the_trick_pays_and_the_twin_is_honest(name):
    cls = lookup.options_class(name)
    floor, wanted = random_outcome(cls()), best_outcome(cls(), by_outcome=True)
    assert wanted > floor
    tricked = best_outcome(cls())
    assert wanted - tricked > 0.5 * (wanted - floor)  # far beyond the 20 % that an audit asks for
    honest = best_outcome(cls(mended=True))
    assert wanted - honest < 0.05 * (wanted - floor)


@pytest.mark.parametrize("mended", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_the_kernel_plays_its_table(name, mended):
    world = lookup.options_class(name)(mended=mended)
    prob, there, goes_on, columns = tables(world)
    np.testing.assert_allclose(prob.sum(axis=2), 1.0)
    batch = Batch(world.kernel(), 4000, seed=1)
    counts = np.zeros(prob.shape)
    actions = np.random.default_rng(0)
    for _ in range(world.STEPS):
        state, action = batch.obs.copy(), actions.integers(0, world.ACTIONS, 4000)
        batch.step(action)
        same = (there[state, action] == batch.next_obs[:, None]) & (prob[state, action] > 0)
        same &= np.isclose(columns[state, action], batch.outcomes[:, None]).all(axis=2)
        assert same.any(axis=1).all()
        which = same.argmax(axis=1)
        np.testing.assert_array_equal(batch.terminated, goes_on[state, action, which] == 0)
        np.testing.assert_allclose(batch.reward, batch.terms.sum(axis=1), rtol=1e-6)
        np.add.at(counts, (state, action, which), 1)
    visits = counts.sum(axis=2, keepdims=True)
    often = (visits > 3000) & (prob > 0)
    distinct = (np.diff(np.sort(there, axis=2), axis=2) != 0).all(axis=2, keepdims=True)
    shares = counts / np.maximum(visits, 1)
    np.testing.assert_allclose(shares[often & distinct], prob[often & distinct], atol=0.03)
