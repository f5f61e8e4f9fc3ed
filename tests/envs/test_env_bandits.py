"""Bandits: rewards have the means that the options class says, and regret is counted exactly."""

import numpy as np
import pytest

from cumulant.envs import lookup
from cumulant.envs.bandits import ENVIRONMENTS, BernoulliBandit, GaussianBandit, LinearBandit
from cumulant.envs.batched import Batch
from cumulant.errors import ConfigError

NAMES = sorted(ENVIRONMENTS)
PULLS = 40_000


@pytest.mark.parametrize("name", NAMES)
def test_rewards_have_the_stated_means(name):
    """Reward minus stated mean averages to zero for every arm, within four standard errors."""
    options = lookup.options_class(name)(arms=3, instance=2)
    batch = Batch(options.kernel(), PULLS, seed=1)
    action = np.arange(PULLS) % 3
    stated = options.action_values(batch.obs)[np.arange(PULLS), action]
    batch.step(action)
    surplus = batch.reward - stated
    for a in range(3):
        chosen = surplus[action == a]
        assert abs(chosen.mean()) < 4 * chosen.std() / np.sqrt(len(chosen))
        assert chosen.std() > 0
    assert batch.terminated.all()


def test_noise_is_as_wide_as_said():
    for options in (GaussianBandit(noise=0.5), LinearBandit(noise=0.5)):
        batch = Batch(options.kernel(), PULLS, seed=1)
        stated = options.action_values(batch.obs)[:, 0]
        batch.step(np.zeros(PULLS, np.int64))
        assert (batch.reward - stated).std() == pytest.approx(0.5, rel=0.02)
    batch = Batch(BernoulliBandit().kernel(), 100)
    batch.step(np.zeros(100, np.int64))
    assert set(batch.reward) == {0.0, 1.0}


@pytest.mark.parametrize("name", NAMES)
def test_regret_is_exact(name):
    """Regret and optimality follow from the stated means; the best action has none."""
    options = lookup.options_class(name)(instance=5)
    batch = Batch(options.kernel(), 500, seed=3, autoreset=False)
    values = options.action_values(batch.obs)
    action = np.arange(500) % 10
    batch.step(action)
    regret, optimal = batch.outcomes.T
    np.testing.assert_allclose(regret, values.max(axis=1) - values[np.arange(500), action], atol=1e-12)
    np.testing.assert_array_equal(optimal == 1, action == values.argmax(axis=1))
    np.testing.assert_allclose(options.exact_value(batch.obs), values.max(axis=1))
    best = Batch(options.kernel(), 500, seed=3, autoreset=False)
    best.step(options.best_action(best.obs))
    np.testing.assert_array_equal(best.outcomes, np.tile([0.0, 1.0], (500, 1)))


@pytest.mark.parametrize("name", NAMES)
def test_instances_are_fixed_by_their_number(name):
    cls = lookup.options_class(name)
    obs = Batch(cls().kernel(), 4).obs
    assert (cls(instance=1).action_values(obs) == cls(instance=1).action_values(obs)).all()
    assert (cls(instance=1).action_values(obs) != cls(instance=2).action_values(obs)).all()


def test_contexts_are_new_and_uniform():
    batch = Batch(LinearBandit().kernel(), 20_000, seed=1)
    first = batch.obs.astype(np.float64)
    assert np.abs(first.mean(axis=0)).max() < 4 * np.sqrt(1 / 3 / 20_000)
    assert first.var(axis=0) == pytest.approx(1 / 3, rel=0.04)
    batch.step(np.zeros(20_000, np.int64))
    np.testing.assert_array_equal(batch.next_obs, first.astype(np.float32))
    assert (batch.obs != batch.next_obs).all()


@pytest.mark.parametrize(
    ("cls", "fields"),
    [
        (GaussianBandit, {"arms": 1}),
        (GaussianBandit, {"noise": -1.0}),
        (LinearBandit, {"features": 0}),
        (BernoulliBandit, {"instance": -1}),
    ],
)
def test_values_out_of_range_are_refused(cls, fields):
    with pytest.raises(ConfigError, match=next(iter(fields))):
        cls(**fields)
