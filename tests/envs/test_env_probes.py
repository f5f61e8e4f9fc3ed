"""The probes' exact values, against returns simulated under the best policy."""

import dataclasses

import numpy as np
import pytest

from cumulant.envs import lookup, probes
from cumulant.envs.batched import Batch
from cumulant.errors import ConfigError

GAMMA = 0.9
TABLES = [name for name in probes.ENVIRONMENTS if name != "probe-continuous"]
VARIANTS = [(name, {"tabular": tabular}) for name in TABLES for tabular in (False, True)] + [("probe-continuous", {})]


def simulate(options, num_envs=64, max_steps=None):
    """First observations and discounted returns of one episode each under the best policy, [num_envs]."""
    kernel = options.kernel()
    if max_steps:
        kernel = dataclasses.replace(kernel, max_steps=max_steps)
    batch = Batch(kernel, num_envs, seed=5, autoreset=False)
    first, returns, alive, discount = batch.obs.copy(), np.zeros(num_envs), np.ones(num_envs, bool), 1.0
    while alive.any():
        batch.step(options.best_action(batch.obs))
        returns += alive * discount * batch.reward
        discount *= GAMMA
        alive &= ~batch.ended
    return first, returns


@pytest.mark.parametrize(("name", "fields"), VARIANTS)
def test_exact_value_is_the_return_of_the_best_policy(name, fields):
    options = lookup.options_class(name)(**fields)
    horizon = 400 if name == "probe-truncation" else None  # long enough for 0.9^400 to vanish
    obs, returns = simulate(options, max_steps=horizon)
    np.testing.assert_allclose(returns, options.exact_value(obs, GAMMA), atol=1e-6)
    if name in ("probe-observation", "probe-both", "probe-continuous"):
        assert len(np.unique(obs)) == 2


@pytest.mark.parametrize("fields", [{}, {"tabular": True}])
def test_discount_probe_shows_its_second_step(fields):
    """Its second observation is the other symbol, and its value is 1."""
    options = probes.ProbeDiscount(**fields)
    batch = Batch(options.kernel(), 3, autoreset=False)
    np.testing.assert_allclose(options.exact_value(batch.obs, GAMMA), GAMMA)
    batch.step(np.zeros(3, np.int64))
    assert not batch.ended.any()
    np.testing.assert_allclose(batch.reward, 0)
    np.testing.assert_allclose(options.exact_value(batch.next_obs, GAMMA), 1)


def test_truncation_probe_is_only_ever_truncated():
    options = probes.ProbeTruncation(max_steps=4)
    batch = Batch(options.kernel(), 2)
    flags = []
    for _ in range(12):
        batch.step(np.zeros(2, np.int64))
        assert not batch.terminated.any()
        flags.append(bool(batch.truncated.all()))
    assert flags == [False, False, False, True] * 3
    np.testing.assert_allclose(options.exact_value(batch.obs, GAMMA), 10.0)


@pytest.mark.parametrize(("name", "worse"), [("probe-action", -1.0), ("probe-both", -1.0), ("probe-value", 1.0)])
def test_the_other_action_earns_what_it_should(name, worse):
    options = lookup.options_class(name)()
    batch = Batch(options.kernel(), 32, autoreset=False)
    batch.step(1 - options.best_action(batch.obs))
    np.testing.assert_allclose(batch.reward, worse)


def test_continuous_probe_is_quadratic():
    options = probes.ProbeContinuous()
    batch = Batch(options.kernel(), 32, autoreset=False)
    batch.step(options.best_action(batch.obs) + np.float32(0.25))
    np.testing.assert_allclose(batch.reward, -(0.25**2), rtol=1e-5)


def test_truncation_probe_refuses_one_step():
    with pytest.raises(ConfigError, match="max_steps = 1"):
        probes.ProbeTruncation(max_steps=1)
